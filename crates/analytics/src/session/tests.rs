use std::sync::Arc;

use tributary_schemas::{EngagementClass, EventKind, Exposure};

use super::*;

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
/// 2023-11-14 22:13:20 UTC.
const BASE_US: i64 = 1_700_000_000 * SECOND_US;

const ANNA: SessionKey<'_> = SessionKey { source: "web", session_key: "anna" };
const BERT: SessionKey<'_> = SessionKey { source: "web", session_key: "bert" };

/// A page view so many minutes after the base; its id is its offset.
fn page(minute: i64, offset: i64) -> SessionEvent {
    SessionEvent::plain(BASE_US + minute * MINUTE_US, offset, &format!("e{offset:03}"), EventKind::Page)
}

fn observe_pages(sessionizer: &mut Sessionizer, pages: &[(i64, i64)]) {
    for &(minute, offset) in pages {
        assert_eq!(sessionizer.observe(ANNA, page(minute, offset)), Observed::Counted, "minute {minute}");
    }
}

/// Of each change: start in minutes, event count (0 for a tombstone), id; sorted.
fn told(changes: &[SessionChange]) -> Vec<(i64, i64, SessionId)> {
    let minute = |time_us: i64| (time_us - BASE_US) / MINUTE_US;
    let mut told: Vec<_> = changes
        .iter()
        .map(|change| match change {
            SessionChange::Upsert(session) => (minute(session.start_time_us), session.event_count, session.session_id),
            SessionChange::Tombstone(gone) => (minute(gone.start_time_us), 0, gone.session_id),
        })
        .collect();
    told.sort_unstable();
    told
}

fn id_of(page: &SessionEvent) -> SessionId {
    SessionId::of(ANNA, &page.event_id, page.time_us)
}

fn only_session(events: impl IntoIterator<Item = SessionEvent>) -> Session {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for event in events {
        sessionizer.observe(ANNA, event);
    }
    match <[SessionChange; 1]>::try_from(sessionizer.drain()).unwrap() {
        [SessionChange::Upsert(session)] => *session,
        [other] => panic!("{other:?}"),
    }
}

#[test]
fn exactly_half_an_hour_does_not_close_and_a_microsecond_more_does() {
    for (boundary, quiet_us, session_count) in [
        (GapCloses::Over, 30 * MINUTE_US, 1),
        (GapCloses::Over, 30 * MINUTE_US + 1, 2),
        (GapCloses::AtLeast, 30 * MINUTE_US - 1, 1),
        (GapCloses::AtLeast, 30 * MINUTE_US, 2),
    ] {
        let mut sessionizer = Sessionizer::new(SessionRule { boundary, ..SessionRule::ga4() });
        sessionizer.observe(ANNA, page(0, 0));
        sessionizer.observe(ANNA, SessionEvent { time_us: BASE_US + quiet_us, ..page(0, 1) });
        assert_eq!(sessionizer.open_sessions(), session_count, "{boundary:?} {quiet_us}");
    }
}

#[test]
fn a_day_is_the_longest_session_and_the_event_after_it_opens_the_next() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for step in 0..=73 {
        sessionizer.observe(ANNA, page(step * 20, step));
    }
    // The 72nd step is at 24 hours exactly and still belongs; the 73rd does not.
    let told = told(&sessionizer.drain());
    assert_eq!(told.iter().map(|change| (change.0, change.1)).collect::<Vec<_>>(), [(0, 73), (1460, 1)]);
}

#[test]
fn an_event_between_two_sessions_bridges_them_and_takes_the_second_back() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    observe_pages(&mut sessionizer, &[(0, 10), (50, 11)]);
    let (first, second) = (id_of(&page(0, 10)), id_of(&page(50, 11)));
    assert_eq!(told(&sessionizer.drain()), [(0, 1, first), (50, 1, second)]);
    observe_pages(&mut sessionizer, &[(25, 12)]);
    let changes = sessionizer.drain();
    assert_eq!(told(&changes), [(0, 3, first), (50, 0, second)]);
    let SessionChange::Tombstone(gone) = &changes[1] else { panic!("{changes:?}") };
    assert_eq!((gone.superseded_by, gone.first_offset, gone.last_offset), (first, 11, 11));
    assert_eq!(sessionizer.open_sessions(), 1);
    assert_eq!(sessionizer.drain(), [], "nothing is told twice");
}

#[test]
fn an_earlier_first_event_renames_the_session() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    observe_pages(&mut sessionizer, &[(10, 1)]);
    sessionizer.drain();
    observe_pages(&mut sessionizer, &[(5, 2)]);
    let changes = sessionizer.drain();
    assert_eq!(told(&changes), [(5, 2, id_of(&page(5, 2))), (10, 0, id_of(&page(10, 1)))]);
}

#[test]
fn what_came_and_went_between_two_drains_is_not_told() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    observe_pages(&mut sessionizer, &[(0, 1), (50, 2), (25, 3)]);
    assert_eq!(told(&sessionizer.drain()), [(0, 3, id_of(&page(0, 1)))]);
}

#[test]
fn an_id_that_was_taken_back_and_comes_again_is_told_again() {
    // At most 40 minutes: an earlier first event moves every cut after it.
    let rule = SessionRule { duration_us_max: 40 * MINUTE_US, lateness_us: 10 * HOUR_US, ..SessionRule::ga4() };
    let mut sessionizer = Sessionizer::new(rule);
    observe_pages(&mut sessionizer, &[(20, 1), (40, 2), (60, 3), (80, 4)]);
    let eighty = id_of(&page(80, 4));
    assert_eq!(told(&sessionizer.drain()), [(20, 3, id_of(&page(20, 1))), (80, 1, eighty)]);
    observe_pages(&mut sessionizer, &[(0, 5)]);
    assert_eq!(
        told(&sessionizer.drain()),
        [(0, 3, id_of(&page(0, 5))), (20, 0, id_of(&page(20, 1))), (60, 2, id_of(&page(60, 3))), (80, 0, eighty)]
    );
    observe_pages(&mut sessionizer, &[(-20, 6), (-21, 7)]);
    // From -21 to 0, from 20 to 60, and 80 alone again.
    let changes = sessionizer.drain();
    assert!(told(&changes).contains(&(80, 1, eighty)), "{changes:?}");
    assert!(told(&changes).contains(&(20, 3, id_of(&page(20, 1)))), "{changes:?}");
}

#[test]
fn an_event_is_judged_by_the_watermark_it_finds() {
    let rule = SessionRule::ga4();
    let late_below_us = BASE_US + 5 * HOUR_US - rule.watermark_delay_us - rule.lateness_us;
    let at = |time_us| SessionEvent { time_us, ..page(0, 1) };
    let mut sessionizer = Sessionizer::new(rule);
    assert_eq!(sessionizer.observe(ANNA, at(BASE_US)), Observed::Counted, "the first event of a source is never late");
    assert_eq!(sessionizer.observe(ANNA, at(BASE_US + 5 * HOUR_US)), Observed::Counted);
    assert_eq!(sessionizer.observe(BERT, at(late_below_us)), Observed::Counted);
    assert_eq!(sessionizer.observe(BERT, at(late_below_us - 1)), Observed::Late);
    assert_eq!(sessionizer.watermark_us("web"), Some(BASE_US + 5 * HOUR_US - 30 * SECOND_US), "it never moves back");
    let other = SessionKey { source: "app", session_key: "anna" };
    assert_eq!(sessionizer.observe(other, at(BASE_US)), Observed::Counted, "each source has its own watermark");
    assert_eq!(sessionizer.watermarks().map(|(name, _)| name).collect::<Vec<_>>(), ["app", "web"]);
    assert_eq!(sessionizer.watermark_us("mail"), None);
}

#[test]
fn a_session_is_forgotten_once_sealed_and_not_before() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    sessionizer.observe(ANNA, page(0, 7));
    // Sealed when the watermark, 30 s behind, is more than gap and lateness, 90 minutes, after the end.
    let edge = SessionEvent { time_us: BASE_US + 90 * MINUTE_US + 30 * SECOND_US, ..page(0, 8) };
    sessionizer.observe(BERT, edge.clone());
    sessionizer.drain();
    assert_eq!((sessionizer.open_sessions(), sessionizer.low_offset()), (2, Some(7)));
    sessionizer.observe(BERT, SessionEvent { time_us: edge.time_us + 1, offset: 9, ..edge });
    assert_eq!(sessionizer.low_offset(), Some(7), "only a drain forgets");
    sessionizer.drain();
    assert_eq!((sessionizer.open_sessions(), sessionizer.low_offset()), (1, Some(8)));
    assert_eq!(Sessionizer::new(SessionRule::ga4()).low_offset(), None);
}

#[test]
fn a_reused_event_id_does_not_make_two_sessions_of_one_name() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for (minute, offset) in [(0, 1), (40, 2)] {
        sessionizer.observe(ANNA, SessionEvent { event_id: "1".into(), ..page(minute, offset) });
    }
    let told = told(&sessionizer.drain());
    assert_eq!(told.len(), 2);
    assert_ne!(told[0].2, told[1].2);
}

#[test]
fn a_session_row_says_what_its_events_say() {
    let touch = |channel: Option<&str>, campaign: &str, host: Option<&str>, click: Option<&str>| {
        Touch {
            channel: channel.map(Into::into),
            campaign_id: Some(campaign.into()),
            utm_source: Some(format!("{campaign}-source").into()),
            utm_medium: Some(format!("{campaign}-medium").into()),
            referrer_host: host.map(Into::into),
            click_id: click.map(Into::into),
        }
        .boxed()
    };
    let exposure = |variant: &str, decision: &str| Exposure {
        experiment: "button".to_owned(),
        variant: variant.to_owned(),
        decision_id: Some(decision.to_owned()),
        probability: Some(0.5),
    };
    let session = only_session([
        SessionEvent {
            anonymous_id: Some("anna".into()),
            url_host: Some("shop.example".into()),
            url_path: Some("/".into()),
            touch: touch(None, "unnamed", Some("blog.example"), None),
            exposures: Some([exposure("red", "d1")].into()),
            ..page(0, 4)
        },
        SessionEvent {
            user_id: Some("u1".into()),
            country: Some("DE".into()),
            touch: touch(Some("email"), "spring", None, Some("gclid:1")),
            kind: EventKind::Identify,
            ..page(1, 3)
        },
        SessionEvent {
            url_host: Some("pay.example".into()),
            url_path: Some("/pay".into()),
            device_class: Some("mobile".into()),
            touch: touch(Some("paid_search"), "summer", Some("google.com"), Some("gclid:2")),
            exposures: Some([exposure("red", "d2"), exposure("blue", "d3")].into()),
            ..page(3, 9)
        },
        SessionEvent {
            user_id: Some("u2".into()),
            account_id: Some("acme".into()),
            kind: EventKind::Conversion,
            value_micros: Some(12_500_000),
            currency: Some("EUR".into()),
            engagement_class: EngagementClass::Human,
            ..page(23, 6)
        },
        SessionEvent { kind: EventKind::Conversion, value_micros: Some(7), ..page(23, 7) },
        // The value of what is no conversion is nobody's revenue.
        SessionEvent { kind: EventKind::Custom, value_micros: Some(1), currency: Some("EUR".into()), ..page(24, 8) },
    ]);
    let micros = |currency: &str, micros| CurrencyValue { currency: currency.into(), micros };
    let expected = Session {
        session_id: id_of(&page(0, 4)),
        source: "web".into(),
        session_key: "anna".into(),
        anonymous_id: Some("anna".into()),
        user_id: Some("u2".into()),
        account_id: Some("acme".into()),
        start_time_us: BASE_US,
        end_time_us: BASE_US + 24 * MINUTE_US,
        duration_us: 24 * MINUTE_US,
        // 1 + 2 + (20, counted as 5) + 0 + 1 minutes.
        engaged_us: 9 * MINUTE_US,
        event_count: 6,
        page_count: 2,
        conversion_count: 2,
        is_bounce: false,
        value_by_currency: vec![micros("EUR", 12_500_000), micros(NO_CURRENCY, 7)],
        entry_host: Some("shop.example".into()),
        entry_path: Some("/".into()),
        exit_path: Some("/pay".into()),
        first_channel: Some("email".into()),
        first_campaign_id: Some("spring".into()),
        first_utm_source: Some("spring-source".into()),
        first_utm_medium: Some("spring-medium".into()),
        first_referrer_host: Some("blog.example".into()),
        first_click_id: Some("gclid:1".into()),
        last_channel: Some("paid_search".into()),
        last_campaign_id: Some("summer".into()),
        last_utm_source: Some("summer-source".into()),
        last_utm_medium: Some("summer-medium".into()),
        last_referrer_host: Some("google.com".into()),
        last_click_id: Some("gclid:2".into()),
        device_class: Some("mobile".into()),
        country: Some("DE".into()),
        exposures: vec![exposure("red", "d1"), exposure("blue", "d3")],
        engagement_class: EngagementClass::Human,
        rule: "ga4 gap>1800s max=86400s".into(),
        first_offset: 3,
        last_offset: 9,
    };
    assert_eq!(session, expected);
}

#[test]
fn one_page_and_nothing_a_person_did_is_a_bounce() {
    use EngagementClass::{Bot, Human, Unknown};
    for (kind, class, is_bounce) in [
        (EventKind::Identify, Human, true),
        (EventKind::Impression, Human, true),
        (EventKind::Click, Bot, true),
        (EventKind::Click, Unknown, false),
        (EventKind::Custom, Human, false),
        (EventKind::Page, Bot, false),
    ] {
        let second = SessionEvent { kind, engagement_class: class, ..page(1, 2) };
        assert_eq!(only_session([page(0, 1), second]).is_bounce, is_bounce, "{kind} by {class}");
    }
    assert!(!only_session([SessionEvent { kind: EventKind::Open, ..page(0, 1) }]).is_bounce, "no page, no bounce");
}

#[test]
fn a_session_is_human_before_unknown_before_the_machine_seen_most() {
    use EngagementClass::{Bot, Human, Prefetch, Scanner, Unknown};
    for (classes, expected) in [
        (vec![Bot, Bot, Human, Unknown], Human),
        (vec![Bot, Bot, Unknown], Unknown),
        (vec![Bot, Scanner, Bot], Bot),
        (vec![Bot, Scanner, Prefetch], Prefetch),
    ] {
        let events = classes
            .iter()
            .zip(0..)
            .map(|(&engagement_class, offset)| SessionEvent { engagement_class, ..page(0, offset) });
        assert_eq!(only_session(events).engagement_class, expected, "{classes:?}");
    }
}

#[test]
fn a_sum_of_money_stays_within_its_column() {
    let rich = |offset| SessionEvent {
        kind: EventKind::Conversion,
        value_micros: Some(tributary_schemas::Money::MICROS_MAX),
        ..page(0, offset)
    };
    let session = only_session((0..20).map(rich));
    assert_eq!(session.value_by_currency[0].micros, tributary_schemas::Money::MICROS_MAX);
}

#[test]
fn absurd_times_do_not_overflow() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for (time_us, offset) in [(i64::MIN, 1), (0, 2), (i64::MAX, 3), (i64::MIN, 4)] {
        sessionizer.observe(ANNA, SessionEvent { time_us, ..page(0, offset) });
        sessionizer.drain();
    }
    assert_eq!(sessionizer.watermark_us("web"), Some(i64::MAX - 30 * SECOND_US));
}

#[test]
fn newest_first_costs_about_what_oldest_first_does() {
    const COUNT: i64 = 100_000;
    let time = |order: &mut dyn Iterator<Item = i64>| {
        let begun = std::time::Instant::now();
        let mut sessionizer = Sessionizer::new(SessionRule::ga4());
        for (number, offset) in order.zip(0..) {
            let event = SessionEvent { time_us: BASE_US + number * 25_000, ..page(0, offset) };
            assert_eq!(sessionizer.observe(ANNA, event), Observed::Counted);
        }
        assert_eq!(told(&sessionizer.drain())[0].1, COUNT);
        begun.elapsed()
    };
    let oldest_first = time(&mut (0..COUNT));
    let newest_first = time(&mut (0..COUNT).rev());
    // Each into its place at once was hundreds of times dearer; twenty leaves room for a busy machine.
    assert!(newest_first < 20 * oldest_first, "{newest_first:?} and {oldest_first:?}");
}

#[test]
fn what_came_out_of_order_leaves_other_sessions_untold() {
    let mut sessionizer = Sessionizer::new(SessionRule { lateness_us: 10 * HOUR_US, ..SessionRule::ga4() });
    observe_pages(&mut sessionizer, &[(0, 1), (100, 2), (200, 3), (300, 4)]);
    assert_eq!(sessionizer.drain().len(), 4);
    observe_pages(&mut sessionizer, &[(110, 5), (300, 6), (105, 7)]);
    let changed = [(100, 3, id_of(&page(100, 2))), (300, 2, id_of(&page(300, 4)))];
    assert_eq!(told(&sessionizer.drain()), changed);
    assert_eq!(sessionizer.open_sessions(), 4);
}

#[test]
fn what_we_do_to_people_makes_no_sessions() {
    let outside: Vec<&str> =
        EventKind::ALL.iter().filter(|kind| !belongs_to_session(**kind)).map(|kind| kind.as_str()).collect();
    assert_eq!(outside, ["send", "decision", "cost"]);
}

#[test]
fn a_session_id_never_changes_and_reads_back() {
    let id = SessionId::of(ANNA, "e1", BASE_US);
    let text = id.to_string();
    assert_eq!(text, "11fafe531b78a12dc4aceb9e91d663ac");
    assert_eq!(SessionId::parse(&text), Ok(id));
    for text in ["", "0", "+0000000000000000000000000000000", &text.to_uppercase(), &format!("{text}0")] {
        assert!(SessionId::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_rule_prints_what_decided_the_cuts() {
    let ga4 = SessionRule::ga4();
    assert_eq!(ga4.to_string(), "ga4 gap>1800s max=86400s");
    let custom = SessionRule { boundary: GapCloses::AtLeast, gap_us: 1_500_000, ..ga4 };
    assert_eq!(custom.to_string(), "custom gap>=1500000us max=86400s");
}

#[test]
fn each_number_of_a_rule_tells_in_its_fingerprint() {
    let ga4 = SessionRule::ga4();
    let rules = [
        ga4.clone(),
        SessionRule { gap_us: 1, ..ga4.clone() },
        SessionRule { boundary: GapCloses::AtLeast, ..ga4.clone() },
        SessionRule { duration_us_max: ga4.duration_us_max + 1, ..ga4.clone() },
        SessionRule { lateness_us: ga4.watermark_delay_us, watermark_delay_us: ga4.lateness_us, ..ga4.clone() },
        SessionRule { watermark_delay_us: 0, ..ga4.clone() },
    ];
    let fingerprints: std::collections::BTreeSet<i64> = rules.iter().map(SessionRule::fingerprint).collect();
    assert_eq!(fingerprints.len(), rules.len());
    assert!(fingerprints.iter().all(|fingerprint| *fingerprint >= 0));
}

#[test]
fn all_faults_of_a_rule_are_told_together() {
    assert_eq!(SessionRule::ga4().check(), []);
    let wrong = SessionRule {
        gap_us: 0,
        boundary: GapCloses::Over,
        duration_us_max: -1,
        lateness_us: i64::MAX,
        watermark_delay_us: -5,
    };
    assert_eq!(
        wrong.check(),
        [
            RuleFault::GapNotPositive { given: 0 },
            RuleFault::DurationBelowGap { given: -1, gap_us: 0 },
            RuleFault::WatermarkDelayNegative { given: -5 },
            RuleFault::TooLong { name: "the allowed lateness", given: i64::MAX, max: SessionRule::US_MAX },
        ]
    );
}

#[test]
fn a_restore_that_disagrees_with_the_tables_says_so() {
    let restorer = || {
        let mut restorer = Sessionizer::restorer(SessionRule::ga4());
        restorer.watermark("web", BASE_US);
        restorer
    };
    let (first, second) = (page(0, 1), page(50, 2));
    let web: Arc<str> = "web".into();

    let mut without_events = restorer();
    without_events.unsealed(ANNA, first.time_us, id_of(&first));
    let error = without_events.finish().unwrap_err();
    assert_eq!(
        error,
        RestoreError::NotFound { source_name: web.clone(), session_id: id_of(&first), found: FoundSessions(0) }
    );
    assert!(error.to_string().contains("its events give none"), "{error}");

    let mut with_another_first_event = restorer();
    with_another_first_event.unsealed(ANNA, first.time_us, id_of(&first));
    with_another_first_event.event(ANNA, SessionEvent { event_id: "e000".into(), ..first.clone() });
    let error = with_another_first_event.finish().unwrap_err();
    assert_eq!(
        error,
        RestoreError::NotFound { source_name: web.clone(), session_id: id_of(&first), found: FoundSessions(1) }
    );

    let mut with_one_row_missing = restorer();
    with_one_row_missing.unsealed(ANNA, first.time_us, id_of(&first));
    with_one_row_missing.event(ANNA, second.clone());
    with_one_row_missing.event(ANNA, first.clone());
    let error = with_one_row_missing.finish().unwrap_err();
    assert_eq!(error, RestoreError::NotListed { source_name: web.clone(), session_id: id_of(&second) });

    let mut without_watermark = Sessionizer::restorer(SessionRule::ga4());
    without_watermark.unsealed(ANNA, first.time_us, id_of(&first));
    without_watermark.event(ANNA, first);
    assert_eq!(without_watermark.finish().unwrap_err(), RestoreError::NoWatermark { source_name: web });
}
