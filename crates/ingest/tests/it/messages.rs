//! Pixels and redirects: always an answer, never an open redirect, machines labelled.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;
use tributary_eventlog::LogError;
use tributary_ingest::ticket::{self, Ticket};

use crate::house::{Answer, House, NOW_US, SECRET, assert_columns};
use crate::recorder::Mood;

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36";
const TARGET: &str = "https://shop.example/sale?utm_source=news&gclid=G";

fn click() -> Ticket {
    Ticket {
        user_id: Some("u1".into()),
        message_id: Some("m1".into()),
        campaign_id: Some("spring".into()),
        link_id: Some("2".into()),
        experiment: Some("subject".into()),
        variant: Some("b".into()),
        decision_id: Some("d1".into()),
        ..Ticket::click("mailer", TARGET)
    }
}

fn link(ticket: &Ticket) -> String {
    format!("/r/{}", ticket::sign(ticket, SECRET).unwrap())
}

async fn ask(house: &House, method: Method, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    house.ask(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_signed_link_leads_on_and_is_logged() {
    let house = House::new();
    let answer = ask(&house, Method::GET, &link(&click()), &[("user-agent", CHROME)]).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], TARGET);
    assert_eq!(answer.headers["cache-control"], "no-store, private");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_columns(
        &house.events()[0],
        json!({
            "source": "mailer", "dialect": "redirect", "event_name": "Email Link Clicked", "event_kind": "click",
            "user_id": "u1", "message_id": "m1", "campaign_id": "spring", "link_id": "2", "channel": "email",
            "decision_id": "d1", "exposures": [{"experiment": "subject", "variant": "b", "decision_id": "d1"}],
            "url_host": "shop.example", "utm_source": "news", "gclid": "G", "user_agent": CHROME,
            "ip_truncated": "203.0.113.0/24", "engagement_class": "human", "event_time_us": NOW_US,
            "clock_quality": "received", "flags": 0,
        }),
    );
}

#[tokio::test]
async fn a_click_twice_at_once_is_one_and_later_or_by_a_machine_another() {
    let house = House::new();
    let link = link(&click());
    for _ in 0..2 {
        ask(&house, Method::GET, &link, &[("user-agent", CHROME)]).await;
    }
    ask(&house, Method::HEAD, &link, &[("user-agent", CHROME)]).await;
    house.clock.advance_us(3_600_000_000);
    ask(&house, Method::GET, &link, &[("user-agent", CHROME)]).await;
    let ids: Vec<_> = house.events().iter().map(|event| event["event_id"].to_string()).collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[3]);
}

#[tokio::test]
async fn a_forged_changed_or_expired_ticket_goes_nowhere() {
    let house = House::new();
    let good = link(&click());
    let mut uris = vec![
        "/r/x".to_owned(),
        "/r/%ff".to_owned(),
        "/r/https%3A%2F%2Fevil.example".to_owned(),
        format!("/r/{}", ticket::sign(&click(), "another secret of enough bytes ....").unwrap()),
        // A pixel's ticket is no link.
        link(&Ticket::open("mailer")),
        link(&Ticket { expires_ms: Some(NOW_US / 1_000 - 1), ..click() }),
    ];
    for index in 3..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        uris.push(String::from_utf8(changed).unwrap());
    }
    for uri in uris {
        let answer = house.get(&uri).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{uri}");
        assert!(!answer.headers.contains_key("location"));
        assert!(String::from_utf8_lossy(&answer.body).contains("not known"));
    }
    assert!(house.events().is_empty() && house.dead_letters().is_empty());
}

#[tokio::test]
async fn without_a_secret_no_ticket_is_good_and_an_old_secret_still_is() {
    let mut settings = crate::house::settings();
    settings.ticket_secret = String::new();
    assert_eq!(House::with(settings.clone()).get(&link(&click())).await.status, StatusCode::NOT_FOUND);
    settings.ticket_secret = "a new secret of at least 32 bytes, yes".to_owned();
    settings.former_ticket_secrets = vec![SECRET.to_owned()];
    assert_eq!(House::with(settings).get(&link(&click())).await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_link_leads_on_while_the_log_is_away() {
    let house = House::new();
    house.log.set(Mood::Refusing(LogError::Busy));
    assert_eq!(house.get(&link(&click())).await.status, StatusCode::FOUND);
    assert!(house.events().is_empty());
}

#[tokio::test]
async fn machines_are_labelled_and_get_the_same_answer() {
    for (method, headers, class) in [
        (Method::GET, vec![("user-agent", CHROME)], "human"),
        (Method::HEAD, vec![("user-agent", CHROME)], "prefetch"),
        (Method::GET, vec![("user-agent", CHROME), ("sec-purpose", "prefetch")], "prefetch"),
        (Method::GET, vec![("user-agent", "Mozilla/5.0 (compatible; Mimecast)")], "scanner"),
        (
            Method::GET,
            vec![(
                "user-agent",
                "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            )],
            "privacy_proxy",
        ),
        (Method::GET, vec![("user-agent", "Mozilla/5.0")], "privacy_proxy"),
        (Method::GET, vec![("user-agent", "curl/8.0")], "bot"),
        (Method::GET, vec![], "unknown"),
    ] {
        let house = House::new();
        let answer = ask(&house, method.clone(), &link(&click()), &headers).await;
        assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (StatusCode::FOUND, TARGET));
        assert_eq!(house.events()[0]["engagement_class"], class, "{method} {headers:?}");
    }
}

#[tokio::test]
async fn an_open_ticket_is_an_open() {
    let house = House::new();
    let ticket = Ticket { user_id: Some("u1".into()), message_id: Some("m1".into()), ..Ticket::open("mailer") };
    let answer = house.get(&format!("/p.gif?t={}", ticket::sign(&ticket, SECRET).unwrap())).await;
    assert_eq!(answer.headers["content-type"], "image/gif");
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("no-store"));
    assert!(answer.body.starts_with(b"GIF89a") && answer.body.len() == 43);
    assert_columns(
        &house.events()[0],
        json!({
            "source": "mailer", "dialect": "pixel", "event_name": "Email Opened", "event_kind": "open", "user_id": "u1",
            "message_id": "m1", "channel": "email", "engagement_class": "unknown", "engagement_reasons": ["no_user_agent"],
        }),
    );
}

#[tokio::test]
async fn a_pixel_by_query_is_an_event_with_its_parameters() {
    let house = House::new();
    let uri = "/p.gif?writeKey=WK&event=Ad%20Impression&anonymousId=a1&campaign_id=c1&slot=top&url=https%3A%2F%2Fx.example%2Fp%3Futm_source%3Ds";
    house.get(uri).await;
    house.clock.advance_us(1);
    house.get(uri).await;
    let events = house.events();
    assert_columns(
        &events[0],
        json!({
            "source": "shop", "dialect": "pixel", "event_name": "Ad Impression", "event_kind": "impression",
            "anonymous_id": "a1", "campaign_id": "c1", "url_host": "x.example", "url_path": "/p", "utm_source": "s",
            "properties": "{\"campaign_id\":\"c1\",\"slot\":\"top\",\"url\":\"https://x.example/p?utm_source=s\"}",
        }),
    );
    assert_ne!(events[0]["event_id"], events[1]["event_id"], "seen twice is seen twice");
}

#[tokio::test]
async fn a_pixel_is_an_image_whatever_was_asked() {
    let house = House::new();
    for uri in [
        "/p.gif",
        "/p.gif?t=forged",
        "/p.gif?writeKey=nope&event=E&userId=u",
        "/p.gif?%ff=%fe",
        "/p.gif?writeKey=WK&event=E",
    ] {
        let answer = house.get(uri).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 43), "{uri}");
    }
    assert!(house.events().is_empty());
    // Only the one with a known key left something behind.
    let letters = house.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "no_identity");
    house.log.set(Mood::Refusing(LogError::Busy));
    assert_eq!(house.get("/p.gif?writeKey=WK&event=E&userId=u").await.body.len(), 43);
}

fn way_out() -> String {
    let ticket =
        Ticket { user_id: Some("u1".into()), campaign_id: Some("spring".into()), ..Ticket::unsubscribe("mailer") };
    ticket::sign(&ticket, SECRET).unwrap()
}

#[tokio::test]
async fn looking_at_the_way_out_changes_nothing_and_a_post_leaves_once() {
    let house = House::new();
    let path = format!("/u/{}", way_out());
    for method in ["GET", "HEAD"] {
        let looked = house.ask(Request::builder().method(method).uri(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(looked.status, StatusCode::OK);
        assert!(looked.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    }
    assert_eq!(house.events().len(), 0, "scanners follow every link");
    for body in ["List-Unsubscribe=One-Click", ""] {
        let left = house
            .ask(Request::post(&path).header("user-agent", "python-requests/2.3").body(Body::from(body)).unwrap())
            .await;
        assert_eq!((left.status, left.headers["x-ingest-durability"].to_str().unwrap()), (StatusCode::OK, "log"));
    }
    let events = house.events();
    assert_eq!(events[0]["event_id"], events[1]["event_id"], "to leave twice is to leave");
    assert_columns(
        &events[0],
        json!({"event_name": "Unsubscribed", "event_kind": "feedback", "user_id": "u1", "campaign_id": "spring",
               "source": "mailer", "dialect": "unsubscribe", "channel": "email", "engagement_class": "human"}),
    );
    // Only a ticket of its kind opens it, and it opens nothing else.
    let click = ticket::sign(&Ticket::click("mailer", "https://shop.example/"), SECRET).unwrap();
    assert_eq!(house.get(&format!("/u/{click}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.get(&format!("/r/{}", way_out())).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_cannot_be_let_out_now_is_told_to_come_again() {
    let house = House::new();
    house.log.set(Mood::Refusing(LogError::Busy));
    let answer = house.ask(Request::post(format!("/u/{}", way_out())).body(Body::empty()).unwrap()).await;
    assert_eq!(
        (answer.status, answer.headers["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "30")
    );
}
