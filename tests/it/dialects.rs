//! Unmodified clients of every dialect send, and what they sent is what the lake holds: once, whatever the line does.
//!
//! In:      the SDKs of RudderStack, PostHog, Snowplow, Jitsu, Segment's browser, Matomo, GA4's Measurement Protocol and
//!          CloudEvents, as npm and PyPI serve them. Each script prints what it handed in.
//! Out:     rows of `events` that match.

use std::process::Command;

use serde_json::Value;

use crate::outside;
use crate::proxy::{FAULTS, Fault, Proxy, copies_min};
use crate::server::{Home, SOURCE, Server, WRITE_KEY};

const EVENT_COUNT: usize = 40;

/// For clients that put what failed together with what is new: a request that gets through may be their last. So the two
/// faults that let one through come first and last.
const FAULTS_GATHERED: [Fault; 7] = [
    Fault::RequestDoubled,
    Fault::Unavailable,
    Fault::HeadCut,
    Fault::BodyCut,
    Fault::AnswerLost,
    Fault::AnswerCut,
    Fault::AnswerSlow,
];
/// For clients whose events nothing tells from a repeat: an answer they did not hear, or a request that comes twice, would
/// double them, as it does at home.
const FAULTS_HEARD: [Fault; 4] = [Fault::Unavailable, Fault::HeadCut, Fault::AnswerSlow, Fault::BodyCut];
/// For `ga4.py`: half a status line is `BadStatusLine` in Python, neither a `URLError` nor a `ConnectionError` as it expects.
const FAULTS_BUT_A_CUT_ANSWER: [Fault; 6] =
    [Fault::Unavailable, Fault::HeadCut, Fault::RequestDoubled, Fault::BodyCut, Fault::AnswerSlow, Fault::AnswerLost];

struct Client {
    script: &'static str,
    mode: &'static str,
    dialect: &'static str,
    faults: &'static [Fault],
}

const fn client(script: &'static str, mode: &'static str, dialect: &'static str) -> Client {
    Client { script, mode, dialect, faults: &FAULTS }
}

async fn arrives(test: &str, client: Client) {
    for faults in [&[], client.faults] {
        let python = client.script.ends_with(".py");
        let command = if python { outside::python(test, client.script) } else { outside::node(test, client.script) };
        let Some(mut command) = command else { return };
        let home = Home::embedded();
        let server = home.start().await;
        let proxy = Proxy::start(server.address(), faults.to_vec()).await;
        with_arguments(&mut command, &format!("http://{}", proxy.address), client.mode);
        let told = outside::json_lines(command).await;
        holds_exactly(&server, &told, client.dialect).await;
        let (requests, met) = proxy.counts();
        assert_eq!(met, faults.len(), "{test}: of {requests} requests");
        // What came twice is in too, and kept apart.
        let copies = "SELECT count(*) FROM dead_letters WHERE reason = 'duplicate'";
        server.wait_until_at_least(copies, copies_min(faults)).await;
        server.wait_until_queryable("SELECT count(*) FROM events", i64::try_from(EVENT_COUNT).unwrap()).await;
    }
}

fn with_arguments(command: &mut Command, host: &str, mode: &str) {
    command.arg(host).arg(WRITE_KEY).arg(EVENT_COUNT.to_string());
    if !mode.is_empty() {
        command.arg(mode);
    }
}

async fn holds_exactly(server: &Server<'_>, told: &[Value], dialect: &str) {
    assert_eq!(told.len(), EVENT_COUNT);
    server.wait_until_queryable("SELECT count(*) FROM events", i64::try_from(EVENT_COUNT).unwrap()).await;
    let rows = server
        .sql(
            "SELECT event_id, client_event_id, source, dialect, event_name, event_kind, event_time_us, user_id, anonymous_id, previous_id, \
             CAST(value AS VARCHAR) AS value, currency, title, url_path, url_query, properties, clock_quality FROM events",
        )
        .await;
    assert_eq!(rows.len(), EVENT_COUNT);
    let bad = server.number("SELECT count(*) FROM dead_letters WHERE reason <> 'duplicate'").await;
    assert_eq!(bad, 0, "{dialect}: an SDK's event was not read");
    let mut rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    for sent in told {
        let marker = text(sent, "marker").unwrap();
        let is_it = |row: &Value| match text(sent, "event_id") {
            // Of CloudEvents an id is one only within its origin.
            Some(id) => text(row, "event_id") == Some(id) || text(row, "client_event_id") == Some(id),
            None => row.to_string().contains(marker),
        };
        let found = rows.iter().position(is_it).unwrap_or_else(|| panic!("{dialect}: not here: {sent}\n{rows:#?}"));
        let row = rows.swap_remove(found);
        assert_eq!((text(&row, "source"), text(&row, "dialect")), (Some(SOURCE), Some(dialect)));
        assert_eq!(text(&row, "event_kind"), text(sent, "kind"), "{sent}\n{row}");
        // Of an alias the SDKs disagree which of the two is the one before; both must be there.
        let is_alias = text(sent, "kind") == Some("alias") && dialect == "posthog";
        if is_alias {
            let here = [text(&row, "user_id"), text(&row, "previous_id")];
            for id in [text(sent, "user_id"), text(sent, "previous_id")].into_iter().flatten() {
                assert!(here.contains(&Some(id)), "{id}: {sent}\n{row}");
            }
        }
        for column in ["user_id", "anonymous_id", "previous_id", "currency"] {
            if text(sent, column).is_some() && !(is_alias && column != "anonymous_id") {
                assert_eq!(text(&row, column), text(sent, column), "{column}: {sent}\n{row}");
            }
        }
        // What Snowplow calls the value of an event need not be money.
        if let Some(value) = text(sent, "value").filter(|_| text(sent, "kind") == Some("conversion")) {
            assert_eq!(text(&row, "value").map(|value| &value[..value.len() - 4]), Some(value), "{row}");
        }
        if let Some(url) = text(sent, "url") {
            let path = text(&row, "url_path").unwrap_or_else(|| panic!("no path: {sent}\n{row}"));
            assert!(url.contains(path), "{url}: {row}");
        }
        if let Some(time) = text(sent, "time") {
            let time: jiff::Timestamp = time.parse().unwrap();
            assert_eq!(row["event_time_us"], time.as_microsecond(), "{sent}\n{row}");
        }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

#[tokio::test]
async fn rudderstack_node() {
    arrives("rudderstack_node", client("rudder.cjs", "", "segment")).await;
}

#[tokio::test]
async fn rudderstack_python() {
    arrives("rudderstack_python", client("rudder.py", "gzip", "segment")).await;
}

#[tokio::test]
async fn rudderstack_in_a_browser_one_by_one() {
    arrives("rudderstack_in_a_browser_one_by_one", client("rudder_browser.cjs", "", "segment")).await;
}

#[tokio::test]
async fn rudderstack_in_a_browser_in_batches() {
    arrives("rudderstack_in_a_browser_in_batches", client("rudder_browser.cjs", "batching", "segment")).await;
}

#[tokio::test]
async fn segment_in_a_browser_one_by_one() {
    arrives("segment_in_a_browser_one_by_one", client("analytics_next.cjs", "standard", "segment")).await;
}

#[tokio::test]
async fn segment_in_a_browser_in_batches() {
    let gathering = Client { faults: &FAULTS_GATHERED, ..client("analytics_next.cjs", "batching", "segment") };
    arrives("segment_in_a_browser_in_batches", gathering).await;
}

#[tokio::test]
async fn jitsu_in_a_browser() {
    arrives("jitsu_in_a_browser", client("jitsu.cjs", "", "segment")).await;
}

#[tokio::test]
async fn posthog_node() {
    arrives("posthog_node", client("posthog_node.cjs", "v0", "posthog")).await;
}

#[tokio::test]
async fn posthog_node_v1() {
    arrives("posthog_node_v1", client("posthog_node.cjs", "v1", "posthog")).await;
}

#[tokio::test]
async fn posthog_in_a_browser() {
    arrives("posthog_in_a_browser", client("posthog_browser.cjs", "", "posthog")).await;
}

#[tokio::test]
async fn posthog_python() {
    arrives("posthog_python", client("posthog_events.py", "v0", "posthog")).await;
}

#[tokio::test]
async fn posthog_python_v1() {
    arrives("posthog_python_v1", client("posthog_events.py", "v1", "posthog")).await;
}

#[tokio::test]
async fn snowplow_node_by_post() {
    let gathering = Client { faults: &FAULTS_GATHERED, ..client("snowplow_node.cjs", "post", "snowplow") };
    arrives("snowplow_node_by_post", gathering).await;
}

#[tokio::test]
async fn snowplow_node_by_get() {
    arrives("snowplow_node_by_get", client("snowplow_node.cjs", "get", "snowplow")).await;
}

#[tokio::test]
async fn snowplow_in_a_browser_by_post() {
    let gathering = Client { faults: &FAULTS_GATHERED, ..client("snowplow_browser.cjs", "post", "snowplow") };
    arrives("snowplow_in_a_browser_by_post", gathering).await;
}

#[tokio::test]
async fn snowplow_in_a_browser_by_get() {
    arrives("snowplow_in_a_browser_by_get", client("snowplow_browser.cjs", "get", "snowplow")).await;
}

#[tokio::test]
async fn snowplow_python_by_post() {
    let gathering = Client { faults: &FAULTS_GATHERED, ..client("snowplow.py", "post", "snowplow") };
    arrives("snowplow_python_by_post", gathering).await;
}

#[tokio::test]
async fn snowplow_python_by_get() {
    arrives("snowplow_python_by_get", client("snowplow.py", "get", "snowplow")).await;
}

#[tokio::test]
async fn ga4_with_times() {
    let postponed = Client { faults: &FAULTS_BUT_A_CUT_ANSWER, ..client("ga4.py", "postponed", "ga4") };
    arrives("ga4_with_times", postponed).await;
}

#[tokio::test]
async fn ga4_without_times() {
    let now = Client { faults: &FAULTS_HEARD, ..client("ga4.py", "now", "ga4") };
    arrives("ga4_without_times", now).await;
}

#[tokio::test]
async fn matomo_one_by_one() {
    let single = Client { faults: &FAULTS_HEARD, ..client("matomo.cjs", "single", "matomo") };
    arrives("matomo_one_by_one", single).await;
}

#[tokio::test]
async fn matomo_in_bulk() {
    let bulk = Client { faults: &FAULTS_HEARD, ..client("matomo.cjs", "bulk", "matomo") };
    arrives("matomo_in_bulk", bulk).await;
}

#[tokio::test]
async fn cloudevents_in_three_modes() {
    arrives("cloudevents_in_three_modes", client("cloudevents.cjs", "", "cloudevents")).await;
}
