//! The server's own page, in a real Chromium: what it shows is what was planted.
//!
//! In:      `sdk/js/test/page.mjs`, which drives the browser and prints what the page showed.
//! Out:     figures, steps, credit, verdicts and rows beside the truth; what a wrong token, an empty lake, a name that is a
//!          script and a question that is cancelled come to.
//! Promise: a scene fails on any request that leaves the origin, any breach of the page's policy and any error of a script.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::outside;
use crate::server::{Home, QUERY_TOKEN, SOURCE, Server, TRUSTED_KEY, WRITE_KEY};

const SCRIPT: &str = "<script>window.pwned=1</script>";
const PATIENCE: Duration = Duration::from_secs(60);

/// What the scenes printed, by name.
async fn scenes(test: &str, server: &Server<'_>, names: &[&str]) -> Option<Map<String, Value>> {
    let chromium = outside::browser(test)?;
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/js/test/page.mjs"));
    node.args(["--door", &format!("http://{}", server.address()), "--token", QUERY_TOKEN, "--key", WRITE_KEY]);
    node.args(["--scenes", &names.join(",")]).arg("--chromium").arg(chromium).env("NO_PROXY", "127.0.0.1");
    let lines = outside::json_lines(node).await;
    let all = lines.into_iter().map(|line| (line["name"].as_str().unwrap().to_owned(), line));
    let all: Map<String, Value> = all.collect();
    assert_eq!(all.len(), names.len());
    Some(all)
}

/// Twenty persons, ten on each of two days. All view a page and are shown a variant (the first ten `a`, the others `b`); the
/// first twelve view a product, the first five order: four for 10 EUR, one for 20 USD. Three of these came by mail, the other
/// seven of their day by paid search, which cost 7.50 EUR.
fn planted() -> Vec<Value> {
    let mut events = Vec::new();
    for number in 1..=20 {
        let day = if number <= 10 { "2026-01-05T10" } else { "2026-01-08T20" };
        let at = |minute: u32, second: u32| format!("{day}:{minute:02}:{second:02}.000Z");
        let user = format!("u{number:02}");
        let query = match number {
            1..=3 => "?utm_source=news&utm_medium=email",
            4..=10 => "?utm_source=google&utm_medium=cpc",
            _ => "",
        };
        let url = format!("https://shop.example/{query}");
        let track = |event: &str, time: String, properties: Value| {
            json!({"type": "track", "event": event, "userId": user, "timestamp": time, "messageId": format!("{event}-{user}"),
                "properties": properties})
        };
        events.push(json!({"type": "page", "userId": user, "timestamp": at(0, 0), "messageId": format!("page-{user}"),
            "properties": {"url": url}, "context": {"page": {"url": url}}}));
        let variant = if number <= 10 { "a" } else { "b" };
        let shown = json!({"experiment_id": "button", "variation_id": variant});
        events.push(track("Experiment Viewed", at(1, 0), shown));
        if number <= 12 {
            events.push(track("Product Viewed", at(2, 0), json!({})));
        }
        if number <= 5 {
            let (revenue, currency) = if number <= 4 { ("10.00", "EUR") } else { ("20.00", "USD") };
            events.push(track("Order Completed", at(10, 0), json!({"revenue": revenue, "currency": currency})));
        }
        if number == 1 {
            events.push(track(SCRIPT, at(11, 0), json!({})));
        }
    }
    let campaign = json!({"source": "google", "medium": "cpc"});
    events.push(json!({"type": "track", "event": "Campaign Cost", "userId": "ads", "messageId": "cost",
        "timestamp": "2026-01-05T09:00:00.000Z", "properties": {"value": "7.50", "currency": "EUR"},
        "context": {"campaign": campaign}}));
    events
}

pub(crate) async fn plant(server: &Server<'_>) {
    let events = planted();
    let count = i64::try_from(events.len()).unwrap();
    let (status, answer) = server.post("/v1/batch", TRUSTED_KEY, json!({"batch": events}).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    server.wait_until_queryable("SELECT count(*) FROM events", count).await;
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[track_caller]
fn says(value: &Value, part: &str) {
    assert!(text(value).contains(part), "{part:?} is not in {value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_view_shows_what_was_planted() {
    let home = Home::embedded();
    let server = home.start().await;
    plant(&server).await;
    let names = ["overview", "zone", "funnel", "attribution", "experiment"];
    let Some(all) = scenes("each_view_shows_what_was_planted", &server, &names).await else { return };

    let overview = &all["overview"];
    says(&overview["before"], "No events in this range");
    says(&overview["before"], "5 Jan 2026");
    let figures = &overview["figures"];
    for (name, shown) in [("events", "59"), ("sessions", "20"), ("persons", "20"), ("conversions", "5")] {
        assert_eq!(figures[name], shown, "{name}: {figures}");
    }
    says(&overview["last"], "8 Jan 2026");
    says(&overview["last"], "22 events · 10 sessions · 0 conversions");
    says(&overview["before_last"], "0 events · 0 sessions · 0 conversions");
    assert_eq!(overview["columns"], 2, "two of four days have sessions");
    assert_eq!(overview["value"], json!([["EUR", "40.00", "4", "10.00"], ["USD", "20.00", "1", "20.00"]]));
    let channels = overview["channels"].as_array().unwrap();
    assert!(channels.contains(&json!(["(nobody)", "10", "0.0 %"])), "{channels:?}");
    assert!(channels.contains(&json!(["email", "3", "100.0 %"])), "{channels:?}");
    // The name of an event stays a name: in rows, in the table, in the file.
    assert_eq!(overview["pwned"], Value::Null);
    assert!(overview["events"].as_array().unwrap().contains(&json!([SCRIPT, "1"])), "{}", overview["events"]);
    assert!(overview["table"].as_array().unwrap().contains(&json!([SCRIPT, "1"])), "{}", overview["table"]);
    assert_eq!(overview["file"], "tributary-events.csv");
    let csv = text(&overview["csv"]);
    assert!(csv.starts_with("event_name,events\n") && csv.contains(&format!("\n{SCRIPT},1\n")), "{csv}");

    // The second day's evening is the morning of the next in Auckland.
    says(&all["zone"]["last"], "9 Jan 2026");
    says(&all["zone"]["last"], "22 events · 10 sessions");

    let funnel = &all["funnel"];
    let steps = funnel["steps"].as_array().unwrap();
    let (first, second, third) = (&steps[0], &steps[1], &steps[2]);
    assert_eq!(json!([first[0], first[1], first[2]]), json!(["1. any page view", "20", "100.0 %"]));
    assert_eq!(json!([second[0], second[1], second[2]]), json!(["2. Product Viewed", "12", "60.0 %"]));
    assert_eq!(json!([third[1], third[2]]), json!(["1", "5.0 %"]));
    // Wilson's interval of 12 in 20, by any textbook: 0.3866 to 0.7812.
    says(&second[3], "38.7 % to 78.1 %");
    says(&second[3], "half within 2 min");
    says(&third[3], "8.3 % of the step before");
    says(&third[3], "half within 10 min");
    let by_source = &funnel["bySource"][0];
    assert_eq!(
        json!([by_source[0], by_source[1], by_source[2], by_source[3], by_source[4]]),
        json!(["backend", "20", "12", "1", "5.0 %"])
    );
    says(&funnel["wrong"], "nothing");
    assert!(funnel["options"].as_array().unwrap().contains(&json!(SCRIPT)), "{}", funnel["options"]);

    let attribution = &all["attribution"];
    let rows = json!([["email", "3.0", "3.0"], ["paid_search", "2.0", "2.0"], ["all", "5.0", "5.0"]]);
    assert_eq!(attribution["conversions"], rows);
    let value = json!([
        ["email", "30.00 EUR", "30.00 EUR"],
        ["paid_search", "10.00 EUR", "10.00 EUR"],
        ["all", "40.00 EUR", "40.00 EUR"]
    ]);
    assert_eq!(attribution["value"], value);
    assert_eq!(attribution["spend"], json!([["paid_search", "7.50 EUR", "1.0", "10.00 EUR", "7.50", "1.33"]]));

    let experiment = &all["experiment"];
    let rows = &experiment["rows"];
    assert_eq!(json!([rows[0][0], rows[0][1], rows[0][2], rows[0][3]]), json!(["a (control)", "10", "5", "50.0 %"]));
    assert_eq!(json!([rows[1][0], rows[1][1], rows[1][2], rows[1][3]]), json!(["b", "10", "0", "0.0 %"]));
    assert_eq!(rows[1][4], "−100.0 %");
    assert!(text(&experiment["verdict"]).starts_with("b: "), "{experiment}");
    says(&experiment["about"], "Nobody was shown two variants");
    assert_eq!(experiment["drawn"], 3, "an interval for each variant and for the difference");
    assert_eq!(experiment["ranged"], 0, "a range would cut the experiment");

    // Somebody on another site, who bought nothing.
    let elsewhere = json!({"type": "page", "anonymousId": "w1", "messageId": "page-w1", "properties": {"url": "https://blog.example/"}});
    let (status, answer) = server.post("/v1/batch", WRITE_KEY, json!({"batch": [elsewhere]}).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    server.wait_until_queryable("SELECT count(*) FROM events", 60).await;
    let Some(all) = scenes("each_view_shows_what_was_planted", &server, &["sources"]).await else { return };
    let sources = &all["sources"];
    assert_eq!(
        json!([sources["options"], sources["all"], sources["own"]]),
        json!([["all", "backend", SOURCE], "21", "20"])
    );
    let credit = sources["credit"].as_array().unwrap().last().unwrap();
    assert_eq!(json!([credit[0], credit[1]]), json!(["all", "0.0"]), "{sources}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_wants_a_token_and_is_usable_by_anybody() {
    let home = Home::embedded();
    let server = home.start().await;
    plant(&server).await;
    let names = ["token", "closed", "access"];
    let Some(all) = scenes("the_page_wants_a_token_and_is_usable_by_anybody", &server, &names).await else { return };
    says(&all["token"]["refused"], "no such token");
    says(&all["token"]["later"], "no such token");
    says(&all["closed"]["told"], "Set query.tokens on the server");
    for pair in all["access"]["contrasts"].as_array().unwrap() {
        assert!(4.5 <= pair[2].as_f64().unwrap(), "{pair}");
    }
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_lake_says_how_to_begin_and_live_events_come_by_themselves() {
    let test = "an_empty_lake_says_how_to_begin_and_live_events_come_by_themselves";
    let home = Home::embedded();
    let server = home.start().await;
    let Some(all) = scenes(test, &server, &["empty", "live"]).await else { return };
    assert_eq!(all["empty"]["figures"]["events"], "1", "the command on the page was run as it stands");
    assert_eq!(all["empty"]["figures"]["conversions"], "1");
    says(&all["empty"]["experiment"], "No event says which variant");
    assert_eq!(all["live"]["isNew"], 1);
    says(&all["live"]["told"], "query.live_urls");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_on_the_page_is_stopped_on_the_server() {
    // One turn: work that went on would keep the next question from being answered.
    let home = Home::embedded().with("query.queries_max", "1");
    let server = home.start().await;
    plant(&server).await;
    let test = "what_is_cancelled_on_the_page_is_stopped_on_the_server";
    if scenes(test, &server, &["cancel"]).await.is_none() {
        return;
    }
    let begun = Instant::now();
    loop {
        let metrics = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
        let abandoned = metrics.lines().any(|line| {
            line.starts_with("tributary_query_total{")
                && line.contains("\"abandoned\"")
                && line.contains("face=\"http\"")
        });
        if abandoned && metrics.contains("tributary_query_running 0") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn clients_of_the_api_get_json_at_the_root_and_a_process_without_the_role_has_no_page() {
    let home = Home::embedded();
    let server = home.start().await;
    let answer = reqwest::get(server.url("/")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    says(&told["questions"], "/v1/sql");
    assert!(server.stop().await.success());

    let home = Home::embedded().with("serve.roles", "ingest,pipeline");
    let server = home.start().await;
    assert_eq!(reqwest::get(server.url("/")).await.unwrap().status().as_u16(), 404);
    assert_eq!(reqwest::get(server.url("/page/main.js")).await.unwrap().status().as_u16(), 404);
    assert!(server.stop().await.success());
}
