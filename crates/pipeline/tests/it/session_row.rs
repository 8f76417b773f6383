//! Every column of a row of `sessions`, by its name, as the definitions of the columns say it must be.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use tributary_eventlog::partition_for;
use tributary_schemas::{EngagementClass, Event, EventKind, Exposure, Money, Table};

use crate::replay::{House, PARTITIONS};
use crate::world::{self, Written};

const S: i64 = 1_000_000;
/// 2026-03-02T12:00:00Z.
const NOON: i64 = 1_772_452_800 * S;

/// Texts that no other field of no other event has.
fn event(number: i64, kind: EventKind, tag: &str) -> Event {
    let own = |name: &str| Some(format!("{name}-{tag}"));
    let mut event = Event::new("web", "test", &format!("e-{tag}"), "seen", NOON + number * 60 * S);
    event.event_kind = kind;
    event.ingest_time_us = event.event_time_us;
    event.anonymous_id = Some("device-1".to_owned());
    (event.url_host, event.url_path) = (own("host"), own("path"));
    (event.channel, event.campaign_id, event.utm_campaign) = (own("channel"), own("campaign"), own("utm-campaign"));
    (event.utm_source, event.utm_medium, event.utm_term) = (own("utm-source"), own("utm-medium"), own("utm-term"));
    (event.creative_id, event.ad_id, event.message_id) = (own("creative"), own("ad"), own("message"));
    (event.referrer_host, event.referrer_medium) = (own("referrer"), own("referrer-medium"));
    event.referrer_source = own("referrer-source");
    (event.browser, event.os, event.device_class) = (own("browser"), own("os"), own("device"));
    (event.country, event.region) = (own("country"), own("region"));
    event.exposures = vec![Exposure {
        experiment: format!("experiment-{tag}"),
        variant: format!("variant-{tag}"),
        decision_id: own("decision"),
        probability: Some(0.25),
    }];
    event
}

/// The rows of the newest version of `sessions`, each column by name, as text; absent where it is null.
async fn rows(house: &House) -> Vec<BTreeMap<String, String>> {
    let lake = house.lake_with(house.disk.clone(), 3).await;
    let snapshot = lake.snapshot(Table::Sessions).await.unwrap();
    let schema = snapshot.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let batches: Vec<RecordBatch> = snapshot.read(&names, |_| true).try_collect().await.unwrap();
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells = names.iter().zip(batch.columns()).filter(|(_, column)| column.is_valid(row));
            let text = |column| ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
            rows.push(cells.map(|(name, column)| ((*name).to_owned(), text(column.as_ref()))).collect());
        }
    }
    rows
}

#[tokio::test]
async fn every_column_of_a_session_says_what_its_definition_says() {
    let house = House::new().await;
    let mut first = event(0, EventKind::Page, "a");
    first.gclid = Some("click-a".to_owned());
    let mut second = event(1, EventKind::Page, "b");
    second.user_id = Some("user-b".to_owned());
    second.account_id = Some("account-b".to_owned());
    second.fbclid = Some("click-b".to_owned());
    // Ten minutes later, of which five count as engaged; says nothing of where it came from.
    let mut third = Event::new("web", "test", "e-c", "bought", NOON + 11 * 60 * S);
    third.event_kind = EventKind::Conversion;
    third.ingest_time_us = third.event_time_us;
    third.anonymous_id = Some("device-1".to_owned());
    (third.value, third.currency) = (Some(Money { micros: 12_500_000 }), Some("EUR".to_owned()));
    third.engagement_class = EngagementClass::Human;
    let partition = partition_for(&first.partition_key(), PARTITIONS);
    let written: Vec<_> = [first, second, third].map(|event| Written::Event(Box::new(event))).into();
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.run_to_the_end(1_000).await;

    let mut rows = rows(&house).await;
    let mut row = rows.pop().unwrap();
    assert!(rows.is_empty(), "one session, told once: {rows:?}");
    let id = row.remove("session_id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let partition = partition.to_string();
    let exposures = "[{experiment: experiment-a, variant: variant-a, decision_id: decision-a, probability: 0.25}, \
                     {experiment: experiment-b, variant: variant-b, decision_id: decision-b, probability: 0.25}]";
    let expected: BTreeMap<String, String> = [
        ("version", "3"),
        ("source", "web"),
        ("session_key", "device-1"),
        ("anonymous_id", "device-1"),
        ("user_id", "user-b"),
        ("account_id", "account-b"),
        ("start_time_us", "1772452800000000"),
        ("end_time_us", "1772453460000000"),
        ("duration_us", "660000000"),
        ("engaged_us", "360000000"),
        ("event_count", "3"),
        ("page_count", "2"),
        ("conversion_count", "1"),
        ("is_bounce", "false"),
        ("value_by_currency", "[{currency: EUR, value: 12.500000}]"),
        ("entry_host", "host-a"),
        ("entry_path", "path-a"),
        ("exit_host", "host-b"),
        ("exit_path", "path-b"),
        ("first_channel", "channel-a"),
        ("first_campaign_id", "campaign-a"),
        ("first_utm_campaign", "utm-campaign-a"),
        ("first_utm_source", "utm-source-a"),
        ("first_utm_medium", "utm-medium-a"),
        ("first_utm_term", "utm-term-a"),
        ("first_creative_id", "creative-a"),
        ("first_ad_id", "ad-a"),
        ("first_message_id", "message-a"),
        ("first_referrer_host", "referrer-a"),
        ("first_referrer_medium", "referrer-medium-a"),
        ("first_referrer_source", "referrer-source-a"),
        ("first_click_id", "gclid:click-a"),
        ("last_channel", "channel-b"),
        ("last_campaign_id", "campaign-b"),
        ("last_utm_campaign", "utm-campaign-b"),
        ("last_utm_source", "utm-source-b"),
        ("last_utm_medium", "utm-medium-b"),
        ("last_utm_term", "utm-term-b"),
        ("last_creative_id", "creative-b"),
        ("last_ad_id", "ad-b"),
        ("last_message_id", "message-b"),
        ("last_referrer_host", "referrer-b"),
        ("last_referrer_medium", "referrer-medium-b"),
        ("last_referrer_source", "referrer-source-b"),
        ("last_click_id", "fbclid:click-b"),
        ("device_class", "device-a"),
        ("browser", "browser-a"),
        ("os", "os-a"),
        ("country", "country-a"),
        ("region", "region-a"),
        ("exposures", exposures),
        ("engagement_class", "human"),
        ("log_partition", &partition),
        ("first_offset", "0"),
        ("last_offset", "2"),
        ("is_final", "false"),
        ("rule", "ga4 gap>1800s max=86400s"),
        ("late_event_count", "0"),
        ("start_date", "2026-03-02"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(row, expected);
    // All there are, but for the id and what only a tombstone has.
    assert_eq!(expected.len() + 2, Table::Sessions.arrow_schema().fields().len());
}
