//! Events to measure with: page views of many visitors, as rich as a site's own.

use bytes::Bytes;
use tributary_eventlog::{Record, partition_for};
use tributary_schemas::wire::encode_event;
use tributary_schemas::{Event, EventKind};

/// 2026-10-01T00:00:00Z.
const BEGIN_US: i64 = 1_790_812_800_000_000;
/// Visitors on the site at a time; each makes ten page views, a minute apart.
const AT_A_TIME: usize = 1_000;
const PAGES_EACH: usize = 10;

/// The event of this number: always the same one, in time order.
pub(crate) fn event(number: usize) -> Event {
    let round = number / (AT_A_TIME * PAGES_EACH);
    let page = number / AT_A_TIME % PAGES_EACH;
    let visitor = round * AT_A_TIME + number % AT_A_TIME;
    let minutes = whole(round * PAGES_EACH + page);
    let time_us = BEGIN_US + minutes * 60_000_000 + whole(number % AT_A_TIME) * 1_000;
    let mut event = Event::new("bench", "segment", &format!("e-{number:012}"), "page", time_us);
    event.event_kind = EventKind::Page;
    event.anonymous_id = Some(format!("visitor-{visitor:09}"));
    event.client_time_us = Some(time_us);
    event.url_host = Some("shop.example".to_owned());
    // Two in three go on to the next page, the others look at products.
    event.url_path = Some(match (visitor * 7 + page * 3) % 3 {
        0 => format!("/product/{}", (visitor + page) % 500),
        _ => format!("/step/{}", page % 5 + 1),
    });
    event.title = Some("A page of the shop".to_owned());
    event.language = Some("de-DE".to_owned());
    event.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36".to_owned());
    event.ip_truncated = Some(format!("192.0.{}.0/24", visitor % 256));
    if page == 0 && visitor.is_multiple_of(4) {
        event.utm_source = Some("google".to_owned());
        event.utm_medium = Some("cpc".to_owned());
        event.utm_campaign = Some("brand".to_owned());
        event.gclid = Some(format!("Cj0KCQ{visitor:016x}"));
    }
    event.properties = Some(format!(r#"{{"position":{page},"category":"shoes","in_stock":true}}"#));
    event
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).expect("nobody measures with 2^63 events")
}

/// Its record and partition, addressed as the door addresses it.
pub(crate) fn record(event: &Event, partitions: u32) -> (u32, Record) {
    let key = format!("{}:{}", event.source, event.anonymous_id.as_deref().unwrap_or_default());
    let partition = partition_for(key.as_bytes(), partitions);
    let record = Record {
        key: Some(Bytes::from(key)),
        value: Bytes::from(encode_event(event)),
        time_ms: event.event_time_us / 1_000,
    };
    (partition, record)
}

/// The same event as a client of the door would send it.
pub(crate) fn segment_json(event: &Event) -> serde_json::Value {
    let path = event.url_path.as_deref().unwrap_or("/");
    let query = event
        .gclid
        .as_ref()
        .map_or_else(String::new, |id| format!("?utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid={id}"));
    let properties: serde_json::Value =
        event.properties.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    serde_json::json!({
        "type": "page",
        "messageId": event.event_id,
        "anonymousId": event.anonymous_id,
        "timestamp": jiff::Timestamp::from_microsecond(event.event_time_us).map(|time| time.to_string()).ok(),
        "properties": properties,
        "context": {
            "page": {"url": format!("https://shop.example{path}{query}"), "path": path, "title": event.title},
            "userAgent": event.user_agent,
            "locale": event.language,
        },
    })
}
