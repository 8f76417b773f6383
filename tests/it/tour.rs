//! The end of the README's tour: a page with the SDK, a mail's link and a webhook come to one session.
//!
//! In:      the page as it stands in the README, in a real Chromium; `tributary link`; a report of Postmark's.
//! Out:     one row of `sessions` that holds all of it.

use std::process::Command;
use std::time::Duration;

use tributary_schemas::{Clock as _, SystemClock};

use crate::outside;
use crate::server::{Home, SOURCE, WRITE_KEY};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0";

#[tokio::test]
async fn a_page_a_mail_and_what_became_of_it_are_one_session() {
    let Some(chromium) = outside::browser("a_page_a_mail_and_what_became_of_it_are_one_session") else { return };
    let webhook = format!("provider = \"postmark\"\nsource = \"{SOURCE}\"\nsecret = \"tributary:a-long-password\"");
    let home = Home::embedded().with_lines(&format!("[[ingest.webhooks]]\n{webhook}"));
    let server = home.start().await;
    let door = format!("http://{}", server.address());

    let readme = include_str!("../../README.md");
    let page = readme.split_once("```html\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let page = page.replace("http://127.0.0.1:8080", &door).replace("key: \"KEY\"", &format!("key: \"{WRITE_KEY}\""));
    let file = home.data_dir().with_file_name("shop.html");
    std::fs::write(&file, page).unwrap();
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/js/test/tour.mjs"));
    node.arg("--page").arg(&file).args(["--door", &door, "--chromium"]).arg(chromium);
    outside::json_lines(node).await;

    let of_sdk = "SELECT count(*) FROM events WHERE library LIKE 'tributary-js%' AND event_name = 'Product Viewed'";
    server.wait_until_queryable(of_sdk, 1).await;
    let rows = server.sql("SELECT max(anonymous_id) AS id FROM events WHERE library LIKE 'tributary-js%'").await;
    let device = rows[0]["id"].as_str().unwrap().to_owned();

    let data = home.data_dir().to_str().unwrap().to_owned();
    let mut link = home.tool(&["link", "--data", &data, "--server", &door, "--source", SOURCE]);
    link.args(["--url", "https://shop.example/sale", "--user-id", "ada", "--anonymous-id", &device]);
    link.args(["--message-id", "m1", "--campaign-id", "spring"]);
    let output = tokio::task::spawn_blocking(move || link.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let link = told.lines().find(|line| line.starts_with("link")).and_then(|line| line.split_whitespace().last());
    let link = link.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)));
    let client = reqwest::Client::builder()
        .no_proxy()
        .user_agent(AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let clicked = client.get(link).send().await.unwrap();
    assert_eq!(clicked.headers()["location"], "https://shop.example/sale");
    let opened = serde_json::json!({
        "RecordType": "Open", "MessageID": "m1", "Recipient": "ada@shop.example", "UserAgent": AGENT,
        "ReceivedAt": jiff::Timestamp::from_microsecond(SystemClock.now_us()).unwrap().to_string(),
        "Metadata": {"user_id": "ada", "anonymous_id": device, "campaign_id": "spring"},
    });
    let webhook =
        client.post(server.url(&format!("/webhooks/{SOURCE}"))).basic_auth("tributary", Some("a-long-password"));
    assert_eq!(webhook.body(opened.to_string()).send().await.unwrap().status().as_u16(), 200);

    let all =
        format!("SELECT count(*) FROM events WHERE anonymous_id = '{device}' AND event_kind IN ('click', 'open')");
    server.wait_until_queryable(&all, 2).await;
    let events = server.number(&format!("SELECT count(*) FROM events WHERE anonymous_id = '{device}'")).await;
    assert_eq!(events, 5, "the page, who it is, the product, the click and the open");
    let sessions = format!(
        "SELECT user_id, event_count, page_count, last_campaign_id FROM sessions WHERE anonymous_id = '{device}' \
         AND event_count = {events}"
    );
    server.wait_until_queryable(&format!("SELECT count(*) FROM ({sessions})"), 1).await;
    let rows = server.sql(&sessions).await;
    assert_eq!((rows[0]["user_id"].as_str(), rows[0]["last_campaign_id"].as_str()), (Some("ada"), Some("spring")));
    assert_eq!(rows[0]["page_count"], 1);
    assert_eq!(server.number(&format!("SELECT count(*) FROM sessions WHERE anonymous_id = '{device}'")).await, 1);
}
