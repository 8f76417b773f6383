#![allow(clippy::unwrap_used)]

use super::*;
use crate::question::Dialect;
use crate::statement;

fn told(sql: &str) -> Understood {
    understood(&statement::parse(sql, Dialect::Generic, usize::MAX).unwrap())
}

#[test]
fn a_call_is_told_with_every_argument_by_name() {
    let call = told("select * from RFM(event_name = 'Order', cut := 'quantiles', timezone => 'Europe/Berlin') limit 3");
    assert_eq!(
        call.definition,
        "SELECT * FROM RFM(purchase => event_name = 'Order', tiles => 5, cut => 'quantiles', as_of => NULL, \
         timezone => 'Europe/Berlin', key => person_id, source => NULL, \
         filter => engagement_class IN ('human', 'unknown') AND event_kind NOT IN ('send', 'decision', 'cost')) LIMIT 3"
    );
    assert_eq!((call.window, call.timezone.as_str()), (None, "Europe/Berlin"));
    assert_eq!(call.functions, ["rfm"]);
}

#[test]
fn windows_and_zones_of_all_calls_are_told_and_plain_sql_counts_in_utc() {
    let two = told(
        "SELECT (SELECT count(*) FROM funnel(steps => [true], window => '7 days')) AS a, \
         (SELECT count(*) FROM lifecycle(since => '2026-10-01', timezone => 'Asia/Tokyo')) AS b",
    );
    assert_eq!(two.window.as_deref(), Some("window => '7 days', since => '2026-10-01'"));
    assert_eq!(two.timezone, "Asia/Tokyo, UTC");
    let by_day = "SELECT period_start('day', event_time_us, 'Europe/Berlin') FROM events";
    assert_eq!(told(by_day).timezone, "Europe/Berlin");
    let by_hour = "SELECT event_time AT TIME ZONE 'UTC' AT TIME ZONE 'America/Lima' FROM person_events";
    assert_eq!(told(by_hour).timezone, "America/Lima");
    let plain = told("SELECT  1");
    assert_eq!((plain.definition.as_str(), plain.window, plain.timezone.as_str()), ("SELECT 1", None, "UTC"));
}

#[test]
fn a_wrong_call_stays_as_it_is() {
    for wrong in
        ["SELECT * FROM rfm(nothing => 1)", "SELECT * FROM rfm(*)", "SELECT * FROM rfm(1, 2, 3, 4, 5, 6, 7, 8, 9)"]
    {
        assert_eq!(told(wrong).definition, wrong);
    }
}

fn facts(definition: &str) -> Facts {
    Facts {
        definition: definition.to_owned(),
        functions: vec!["funnel".to_owned()],
        window: Some("window => '7 days'".to_owned()),
        timezone: "UTC".to_owned(),
        read: Some(ReadFacts {
            rows_read: 14,
            bytes_read: 2_048,
            tables: vec![TableFacts {
                table: "events".to_owned(),
                version: 3,
                live: false,
                written_time_us: Some(1),
                ingest_time_us: Some(1_772_546_400_999_999),
                event_time_us: None,
            }],
            workers: None,
        }),
        ..Facts::default()
    }
}

#[test]
fn a_header_is_ascii_and_gives_the_facts_back() {
    let whole = facts("SELECT 'é\n\u{1F600}'");
    let header = whole.header().unwrap();
    assert!(header.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{header}");
    assert_eq!(Facts::from_header(&header).unwrap(), whole);
    // Who does not see all is told nothing of what was read, not even that it is nothing.
    let untold = Facts { read: None, ..whole };
    let header = untold.header().unwrap();
    assert!(!header.contains("_read") && !header.contains("tables"), "{header}");
    assert_eq!(Facts::from_header(&header).unwrap(), untold);
    let long = facts(&"x".repeat(5_000));
    let header = long.header().unwrap();
    assert!(header.len() < 1_000, "{}", header.len());
    let told = Facts::from_header(&header).unwrap();
    let left_out = told.definition_left_out.clone().unwrap();
    assert_eq!((left_out.bytes, left_out.xxh3.len()), (long.definition.len(), 16));
    assert!(long.definition.starts_with(&left_out.begins) && left_out.told_in.contains("format=json"));
    assert_eq!(told, Facts { definition: String::new(), definition_left_out: Some(left_out), ..long });
}

#[test]
fn people_read_a_line_and_the_call_in_full() {
    assert_eq!(
        facts("SELECT 1").lines().unwrap(),
        "read 14 rows of events at version 3, newest received 2026-03-03 14:00:00; window => '7 days'; UTC\n\
         in full: SELECT 1"
    );
    assert_eq!(Facts::default().lines(), None);
    let unseen = Facts { read: None, ..facts("SELECT 1") };
    let told = "as far as this token may see; window => '7 days'; UTC\nin full: SELECT 1";
    assert_eq!(unseen.lines().as_deref(), Some(told));
    assert_eq!(Facts { functions: Vec::new(), ..unseen }.lines(), None);
    let by = |counted| Some(WorkersFacts { count: 3, tasks: 6, asked_again: false, counted });
    let lines = |counted| {
        let mut told = facts("SELECT 1");
        told.read.as_mut().unwrap().workers = by(counted);
        told.lines().unwrap()
    };
    assert!(lines(true).starts_with("read 14 rows of events at version 3"), "{}", lines(true));
    assert!(lines(true).contains("14:00:00, by 3 workers; window"), "{}", lines(true));
    assert!(lines(false).contains(", besides what 3 workers read, who did not tell; window"), "{}", lines(false));
}
