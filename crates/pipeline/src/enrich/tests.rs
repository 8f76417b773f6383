use tributary_analytics::enrich::burst::BurstRule;
use tributary_analytics::enrich::channel_rules::ChannelRules;
use tributary_analytics::enrich::currency::{NewerRates, Rates};
use tributary_analytics::enrich::referrer::IgnoredReferrers;
use tributary_analytics::session::{SessionRule, Sessionizer};
use tributary_eventlog::{Delivered, Record};
use tributary_schemas::wire::encode_event;
use tributary_schemas::{Event, Money};

use super::*;
use crate::dedup::RecentIds;
use crate::fold::EventsPartition;

const S: i64 = 1_000_000;
/// 2026-03-02 12:00 UTC.
const NOON: i64 = 1_772_452_800 * S;
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";
const GOOGLEBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

fn rules() -> Rules {
    let rates = Rates::parse("date,currency,rate\n2026-03-01,USD,0.9215\n", "EUR", 7);
    let rates = rates.unwrap_or_else(|faults| panic!("{faults:?}"));
    let ignored = IgnoredReferrers::new(&["paypal.com".to_owned()]).unwrap();
    Rules::new(ChannelRules::Tributary, BurstRule::default(), Some(rates), ignored)
}

fn event(number: i64, change: impl FnOnce(&mut Event)) -> Event {
    let time_us = NOON + number * S;
    let mut event = Event::new("web", "segment", &format!("e{number}"), "page", time_us);
    event.event_kind = EventKind::Page;
    event.engagement_class = EngagementClass::Human;
    event.anonymous_id = Some("a".to_owned());
    change(&mut event);
    event
}

/// The rows of `events` they become, folded in runs of `run` records.
fn rows_of(events: &[Event], rules: Rules, run: usize) -> RecordBatch {
    rows_and_count(events, rules, run, |_| {}).0
}

/// Likewise, with how many amounts had no rate; `before` is called before each run with its number.
fn rows_and_count(events: &[Event], rules: Rules, run: usize, before: impl Fn(usize)) -> (RecordBatch, u64) {
    let mut partition = EventsPartition::new(0, "events", 0, RecentIds::new(0), Sessionizer::new(SessionRule::ga4()));
    partition.enrich = Enrichment::new(Arc::new(rules));
    let records: Vec<Delivered> = (0..)
        .zip(events)
        .map(|(offset, event)| {
            let record = Record { key: None, value: encode_event(event).into(), time_ms: 0 };
            Delivered { partition: 0, offset, record }
        })
        .collect();
    for (number, run) in records.chunks(run).enumerate() {
        before(number);
        partition.fold(run);
    }
    let batches = partition.events.take();
    (arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap(), partition.counts.without_rate)
}

fn said(rows: &RecordBatch, row: usize, names: &[&str]) -> Vec<String> {
    let of = |name: &&str| {
        let column = arrow::compute::cast(array(rows, name), &DataType::Utf8).unwrap();
        text_at(column.as_string::<i32>(), row).unwrap_or("-").to_owned()
    };
    names.iter().map(of).collect()
}

/// Some of everything.
fn world() -> Vec<Event> {
    let click = |number: i64, link: &'static str| {
        event(number, move |event| {
            event.dialect = "redirect".to_owned();
            event.event_kind = EventKind::Click;
            event.message_id = Some("m1".to_owned());
            event.user_id = Some("u1".to_owned());
            event.link_id = Some(link.to_owned());
            event.channel = Some("email".to_owned());
            event.user_agent = Some(IPHONE.to_owned());
        })
    };
    vec![
        event(0, |event| {
            event.user_agent = Some(IPHONE.to_owned());
            event.referrer_host = Some("www.google.de".to_owned());
            event.url_host = Some("shop.example".to_owned());
        }),
        event(1, |event| event.user_agent = Some(GOOGLEBOT.to_owned())),
        event(2, |event| {
            event.user_agent = Some("python-requests/2.31".to_owned());
            event.event_kind = EventKind::Conversion;
            event.value = Some(Money { micros: 10_000_000 });
            event.currency = Some("USD".to_owned());
        }),
        event(3, |event| {
            event.value = Some(Money { micros: 5 });
            event.currency = Some("JPY".to_owned());
            event.os = Some("Android".to_owned());
            event.user_agent = Some(IPHONE.to_owned());
        }),
        click(10, "1"),
        click(11, "2"),
        click(12, "3"),
        click(13, "1"),
        click(200, "1"),
        event(201, |event| {
            event.engagement_class = EngagementClass::Prefetch;
            event.engagement_confidence = Some(1.0);
            event.engagement_reasons = vec!["prefetch_header".to_owned()];
            event.user_agent = Some(GOOGLEBOT.to_owned());
            event.utm_source = Some("chatgpt.com".to_owned());
        }),
        event(202, |event| {
            event.engagement_class = EngagementClass::Bot;
            event.engagement_confidence = Some(1.0);
            event.engagement_reasons = vec!["bot_agent".to_owned()];
            event.user_agent = Some("BarracudaCentral".to_owned());
        }),
        event(203, |event| {
            event.event_kind = EventKind::Send;
            event.engagement_class = EngagementClass::Unknown;
            event.user_agent = Some(GOOGLEBOT.to_owned());
        }),
        event(204, |event| {
            event.referrer_host = Some("www.paypal.com".to_owned());
            event.url_host = Some("shop.example".to_owned());
        }),
    ]
}

#[test]
fn columns_are_filled_and_say_by_whom() {
    let rows = rows_of(&world(), rules(), 100);
    let agent = ["browser", "browser_version", "os", "os_version", "device_class"];
    assert_eq!(said(&rows, 0, &agent), ["Mobile Safari", "17.5", "iOS", "17.5.1", "mobile"]);
    assert_eq!(
        said(&rows, 0, &["referrer_medium", "referrer_source", "channel", "enriched"]),
        ["search", "Google", "organic_search", "63"]
    );
    assert_eq!(said(&rows, 0, &["enrichment"]), [rules().version()]);
    assert_eq!(said(&rows, 3, &agent), ["Mobile Safari", "17.5", "Android", "-", "mobile"], "the sender's word stands");
    assert_eq!(said(&rows, 12, &["referrer_host", "referrer_medium", "channel"]), ["www.paypal.com", "internal", "-"]);
    let class = ["engagement_class", "engagement_confidence", "engagement_class_received", "device_class"];
    assert_eq!(said(&rows, 1, &class), ["bot", "1.0", "human", "bot"]);
    assert_eq!(said(&rows, 2, &class)[..3], ["human", "-", "-"], "a shop's server reports what a person did");
    assert_eq!(said(&rows, 9, &class), ["prefetch", "1.0", "-", "bot"], "what the door saw of the request stands");
    assert_eq!(said(&rows, 10, &class)[..3], ["scanner", "1.0", "bot"]);
    assert_eq!(said(&rows, 11, &class)[..3], ["unknown", "-", "-"], "a send is nobody's doing");
    let value = ["value_reporting", "reporting_currency", "rate_date", "enriched"];
    assert_eq!(said(&rows, 2, &value)[..3], ["9.215000", "EUR", "2026-03-01"]);
    assert_eq!(said(&rows, 3, &value)[..3], ["-", "-", "-"]);
    assert_eq!(int(&rows, "enriched").value(3) & mark::NO_RATE, mark::NO_RATE);
    let burst: Vec<_> = (4..9).map(|row| said(&rows, row, &["engagement_class"])[0].clone()).collect();
    assert_eq!(burst, ["human", "human", "scanner", "scanner", "human"]);
    let reasons = array(&rows, "engagement_reasons").as_list::<i32>().value(6);
    assert_eq!(reasons.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["stream_burst_of_links"]);
    assert_eq!(said(&rows, 6, &["channel", "engagement_confidence"]), ["email", "-"]);
    assert_eq!(int(&rows, "enriched").value(6) & mark::CHANNEL, 0, "said by the sender");
}

#[test]
fn the_cut_into_batches_changes_nothing() {
    let whole = rows_of(&world(), rules(), 100);
    for run in [1, 2, 3, 5, 7] {
        assert_eq!(rows_of(&world(), rules(), run), whole, "runs of {run}");
    }
}

#[test]
fn clicks_of_people_nobody_names_are_no_burst() {
    let clicks = |user_id: Option<&str>| {
        let click = |number: i64| {
            event(number, |event| {
                event.event_kind = EventKind::Click;
                event.message_id = Some("mailing".to_owned());
                event.link_id = Some(number.to_string());
                event.anonymous_id = None;
                event.user_id = user_id.map(str::to_owned);
            })
        };
        let rows = rows_of(&[click(1), click(2), click(3)], rules(), 100);
        said(&rows, 2, &["engagement_class"])
    };
    assert_eq!(clicks(Some("u1")), ["scanner"]);
    assert_eq!(clicks(None), ["human"], "they may be three people");
}

#[test]
fn a_newer_table_of_rates_holds_from_the_next_rows_on() {
    let paid = |number: i64, currency: &'static str| {
        event(number, move |event| {
            event.value = Some(Money { micros: 1_000_000 });
            event.currency = Some(currency.to_owned());
        })
    };
    let newer = NewerRates::default();
    let rules = rules().with_newer_rates(newer.clone());
    let table = "date,currency,rate\n2026-03-01,USD,0.9215\n2026-03-02,USD,0.5\n2026-03-02,JPY,0.25\n";
    let before = |number| {
        if number == 2 {
            newer.put(Rates::parse(table, "EUR", 7).unwrap_or_else(|faults| panic!("{faults:?}")));
        }
    };
    let events = [paid(0, "USD"), paid(1, "JPY"), paid(2, "USD"), paid(3, "JPY")];
    let (rows, without_rate) = rows_and_count(&events, rules, 1, before);
    let value = |row| said(&rows, row, &["value_reporting", "rate_date"]);
    assert_eq!(value(0), ["0.921500", "2026-03-01"]);
    assert_eq!(value(1), ["-", "-"]);
    assert_eq!(value(2), ["0.500000", "2026-03-02"]);
    assert_eq!(value(3), ["0.250000", "2026-03-02"]);
    assert_eq!(without_rate, 1);
}

#[test]
fn what_is_not_enriched_is_left_as_it_came() {
    let plain = event(0, |_| {});
    let rows = rows_of(&[plain], Rules::default(), 1);
    for name in OWN.into_iter().filter(|name| !matches!(*name, "enriched" | "enrichment")) {
        assert_eq!(said(&rows, 0, &[name]), ["-"], "{name}");
    }
    assert_eq!(said(&rows, 0, &["channel", "browser", "referrer_medium", "enriched"]), ["-", "-", "-", "0"]);
}
