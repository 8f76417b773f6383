//! Unmodified SDKs of Segment send, and what they sent is what the lake holds: once, whatever the line does.
//!
//! In:      `@segment/analytics-node` and `segment-analytics-python`, as their registries serve them.
//! Out:     rows of `events` that match what the SDKs say they sent: id, kind, name, time, people.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::outside;
use crate::proxy::{FAULTS, Proxy, copies_min};
use crate::server::{Home, SOURCE, Server, WRITE_KEY};

const EVENT_COUNT: usize = 250;

fn with_arguments(mut command: Command, door: SocketAddr, more: &[&str]) -> Command {
    command.arg(format!("http://{door}")).arg(WRITE_KEY).arg(EVENT_COUNT.to_string()).args(more);
    command
}

#[tokio::test]
async fn events_of_the_node_sdk_arrive_once_each() {
    let Some(node) = outside::node("events_of_the_node_sdk_arrive_once_each", "send.cjs") else { return };
    let home = Home::embedded();
    let server = home.start().await;
    let told = outside::json_lines(with_arguments(node, server.address(), &[])).await;
    holds_exactly(&server, &told).await;
}

#[tokio::test]
async fn events_of_the_node_sdk_arrive_once_each_over_a_broken_line() {
    let Some(node) = outside::node("events_of_the_node_sdk_arrive_once_each_over_a_broken_line", "send.cjs") else {
        return;
    };
    let home = Home::embedded();
    let server = home.start().await;
    let proxy = Proxy::start(server.address(), FAULTS).await;
    let told = outside::json_lines(with_arguments(node, proxy.address, &[])).await;
    holds_exactly(&server, &told).await;
    every_fault_was_met(&proxy, &server).await;
}

#[tokio::test]
async fn events_of_the_python_sdk_arrive_once_each_plain_and_packed() {
    for packing in ["plain", "gzip"] {
        let test = "events_of_the_python_sdk_arrive_once_each_plain_and_packed";
        let Some(python) = outside::python(test, "send.py") else { return };
        let home = Home::embedded();
        let server = home.start().await;
        let told = outside::json_lines(with_arguments(python, server.address(), &[packing])).await;
        holds_exactly(&server, &told).await;
    }
}

#[tokio::test]
async fn events_of_the_python_sdk_arrive_once_each_over_a_broken_line() {
    let test = "events_of_the_python_sdk_arrive_once_each_over_a_broken_line";
    let Some(python) = outside::python(test, "send.py") else { return };
    let home = Home::embedded();
    let server = home.start().await;
    let proxy = Proxy::start(server.address(), FAULTS).await;
    let told = outside::json_lines(with_arguments(python, proxy.address, &["gzip"])).await;
    holds_exactly(&server, &told).await;
    every_fault_was_met(&proxy, &server).await;
}

async fn holds_exactly(server: &Server<'_>, told: &[Value]) {
    assert_eq!(told.len(), EVENT_COUNT);
    let expected: BTreeMap<&str, &Value> = told.iter().map(|event| (text(event, "event_id").unwrap(), event)).collect();
    assert_eq!(expected.len(), EVENT_COUNT, "the SDK gave each event an id of its own");

    server.wait_until_queryable("SELECT count(*) FROM events", i64::try_from(EVENT_COUNT).unwrap()).await;
    let rows = server
        .sql(
            "SELECT event_id, source, dialect, event_name, event_kind, title, event_time_us, clock_quality, user_id, anonymous_id, \
             previous_id, account_id, CAST(value AS VARCHAR) AS value, currency, utm_source, url_path, properties, flags FROM events",
        )
        .await;
    assert_eq!(rows.len(), EVENT_COUNT);
    for row in rows.into_iter().map(Value::Object) {
        let id = text(&row, "event_id").unwrap();
        let sent = expected.get(id).unwrap_or_else(|| panic!("{id} was never sent"));
        assert_eq!(text(&row, "source"), Some(SOURCE));
        assert_eq!(text(&row, "dialect"), Some("segment"));
        assert_eq!(row["flags"], 0, "{row}");
        let call = text(sent, "kind").unwrap();
        let name = if call == "track" { text(sent, "name") } else { Some(call) };
        assert_eq!(text(&row, "event_name"), name, "{row}");
        let time: jiff::Timestamp = text(sent, "time").unwrap().parse().unwrap();
        assert_eq!(row["event_time_us"], time.as_microsecond(), "{id}: its time to the microsecond");
        for (column, member) in [
            ("user_id", "user_id"),
            ("anonymous_id", "anonymous_id"),
            ("previous_id", "previous_id"),
            ("account_id", "group_id"),
        ] {
            assert_eq!(text(&row, column), text(sent, member), "{id}: {column}");
        }
        match call {
            "track" => {
                assert_eq!(text(&row, "event_kind"), Some("conversion"));
                assert_eq!((text(&row, "value"), text(&row, "currency")), (Some("19.990000"), Some("EUR")));
            }
            "page" => {
                assert_eq!((text(&row, "event_kind"), text(&row, "title")), (Some("page"), Some("Home")));
                assert_eq!(text(&row, "utm_source"), Some("news"));
                assert!(text(&row, "url_path").unwrap().starts_with("/p/"));
            }
            "identify" => {
                let traits: Value = serde_json::from_str(text(&row, "properties").unwrap()).unwrap();
                assert_eq!(traits["name"], "Ännchen Ω 𝄞");
            }
            _ => assert_eq!(text(&row, "event_kind"), Some(call)),
        }
    }
}

/// The broken line was really broken, and what it doubled was kept apart, not counted twice.
async fn every_fault_was_met(proxy: &Proxy, server: &Server<'_>) {
    let (requests, faults) = proxy.counts();
    assert_eq!(faults, FAULTS.len(), "of {requests} requests");
    let doubled = "SELECT count(*) FROM dead_letters WHERE reason = 'duplicate'";
    server.wait_until_at_least(doubled, copies_min(&FAULTS)).await;
    server.wait_until_queryable("SELECT count(*) FROM events", i64::try_from(EVENT_COUNT).unwrap()).await;
    let others = "SELECT count(*) FROM dead_letters WHERE reason <> 'duplicate'";
    assert_eq!(server.number(others).await, 0);
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}
