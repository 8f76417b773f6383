use std::sync::Arc;

use tributary_schemas::{EngagementClass, EventKind};

use super::*;

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
/// 2023-11-14 22:13:20 UTC.
const BASE_US: i64 = 1_700_000_000 * SECOND_US;

const ANNA: SessionKey<'_> = SessionKey { source: "web", session_key: "anna" };
const BERT: SessionKey<'_> = SessionKey { source: "web", session_key: "bert" };

/// Ids to borrow from: `e000` to `e999`.
static IDS: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| (0..1_000).map(|n| format!("e{n:03}")).collect());

/// A page view so many minutes after the base; its id is its offset.
fn page(minute: i64, offset: i64) -> SessionEvent<'static> {
    let id = &IDS[usize::try_from(offset % 1_000).unwrap()];
    SessionEvent::plain(BASE_US + minute * MINUTE_US, offset, id, EventKind::Page)
}

fn observe_pages(sessionizer: &mut Sessionizer, pages: &[(i64, i64)]) {
    for &(minute, offset) in pages {
        assert_eq!(sessionizer.observe(ANNA, &page(minute, offset)), Observed::Counted, "minute {minute}");
    }
}

/// Of each change: start in minutes, event count (0 for a tombstone), id; sorted.
fn told(changes: &Changes<'_>) -> Vec<(i64, i64, SessionId)> {
    let minute = |time_us: i64| (time_us - BASE_US) / MINUTE_US;
    let events = |change: Change<'_>| change.session().map_or(0, |session| session.event_count());
    let mut told: Vec<_> =
        changes.iter().map(|change| (minute(change.start_time_us()), events(change), change.session_id())).collect();
    told.sort_unstable();
    told
}

fn id_of(page: &SessionEvent<'_>) -> SessionId {
    SessionId::of(ANNA, page.event_id, page.time_us)
}

/// What is said of the one session these events make.
fn only_session<'e, T>(events: impl IntoIterator<Item = SessionEvent<'e>>, said: impl FnOnce(Session<'_>) -> T) -> T {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for event in events {
        sessionizer.observe(ANNA, &event);
    }
    let changes = sessionizer.drain();
    assert_eq!(changes.len(), 1);
    said(changes.iter().next().and_then(Change::session).unwrap())
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
        sessionizer.observe(ANNA, &page(0, 0));
        sessionizer.observe(ANNA, &SessionEvent { time_us: BASE_US + quiet_us, ..page(0, 1) });
        assert_eq!(sessionizer.drain().len(), session_count, "{boundary:?} {quiet_us}");
    }
}

#[test]
fn a_day_is_the_longest_session_and_the_event_after_it_opens_the_next() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for step in 0..=73 {
        sessionizer.observe(ANNA, &page(step * 20, step));
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
    let peeked = told(&sessionizer.peek());
    let changes = sessionizer.drain();
    assert_eq!(told(&changes), [(0, 3, first), (50, 0, second)]);
    assert_eq!(peeked, told(&changes), "a look tells what a report will");
    let Some(Change::Tombstone(gone)) = changes.iter().nth(1) else { panic!("{changes:?}") };
    assert_eq!((gone.superseded_by, gone.first_offset, gone.last_offset), (first, 11, 11));
    assert_eq!(sessionizer.open_sessions(), 1);
    assert!(sessionizer.drain().is_empty(), "nothing is told twice");
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
    let at = |time_us| SessionEvent { time_us, ingest_time_us: time_us, ..page(0, 1) };
    let mut sessionizer = Sessionizer::new(rule);
    assert_eq!(sessionizer.observe(ANNA, &at(BASE_US)), Observed::Counted, "the first event of a source is never late");
    assert_eq!(sessionizer.observe(ANNA, &at(BASE_US + 5 * HOUR_US)), Observed::Counted);
    assert_eq!(sessionizer.observe(BERT, &at(late_below_us)), Observed::Counted);
    assert_eq!(sessionizer.observe(BERT, &at(late_below_us - 1)), Observed::Late);
    assert_eq!(sessionizer.watermark_us("web"), Some(BASE_US + 5 * HOUR_US - 30 * SECOND_US), "it never moves back");
    let other = SessionKey { source: "app", session_key: "anna" };
    assert_eq!(sessionizer.observe(other, &at(BASE_US)), Observed::Counted, "each source has its own watermark");
    assert_eq!(sessionizer.watermarks().map(|(name, _)| name).collect::<Vec<_>>(), ["app", "web"]);
    assert_eq!(sessionizer.watermark_us("mail"), None);
}

#[test]
fn a_session_is_forgotten_once_sealed_and_not_before() {
    let rule = SessionRule::ga4();
    let mut sessionizer = Sessionizer::new(rule.clone());
    sessionizer.observe(ANNA, &page(0, 7));
    // Sealed when the watermark, 30 s behind, is more than gap and lateness, 90 minutes, after the end.
    let at = |time_us, offset| SessionEvent { time_us, ingest_time_us: time_us, ..page(0, offset) };
    let edge_us = BASE_US + 90 * MINUTE_US + 30 * SECOND_US;
    sessionizer.observe(BERT, &at(edge_us, 8));
    sessionizer.drain();
    assert_eq!((sessionizer.open_sessions(), sessionizer.low_offset()), (2, Some(7)));
    // It is looked for in buckets of a 32nd of that time.
    sessionizer.observe(BERT, &at(edge_us + 90 * MINUTE_US / 32, 9));
    assert_eq!(sessionizer.low_offset(), Some(7), "only a drain forgets");
    sessionizer.drain();
    assert_eq!((sessionizer.open_sessions(), sessionizer.low_offset()), (1, Some(8)));
    assert_eq!(Sessionizer::new(rule).low_offset(), None);
}

#[test]
fn a_reused_event_id_does_not_make_two_sessions_of_one_name() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for (minute, offset) in [(0, 1), (40, 2)] {
        sessionizer.observe(ANNA, &SessionEvent { event_id: "1", ..page(minute, offset) });
    }
    let told = told(&sessionizer.drain());
    assert_eq!(told.len(), 2);
    assert_ne!(told[0].2, told[1].2);
}

#[test]
fn a_session_row_says_what_its_events_say() {
    let shown = |variant, decision| Shown {
        experiment: "button",
        variant,
        decision_id: Some(decision),
        probability: Some(0.5),
    };
    let spring = Touch {
        channel: Some("email"),
        campaign_id: Some("spring"),
        utm_source: Some("list"),
        utm_medium: Some("mail"),
        utm_term: Some("green"),
        creative_id: Some("c1"),
        ad_id: Some("a1"),
        message_id: Some("m1"),
        click_id: Some(("gclid", "1")),
        ..Touch::default()
    };
    let summer = Touch {
        channel: Some("paid_search"),
        campaign_id: Some("summer"),
        referrer_host: Some("google.com"),
        referrer_medium: Some("search"),
        referrer_source: Some("Google"),
        click_id: Some(("gclid", "2")),
        ..Touch::default()
    };
    // It names no channel, so its campaign is nobody's touch; its referrer is one.
    let unnamed = Touch { campaign_id: Some("unnamed"), referrer_host: Some("blog.example"), ..Touch::default() };
    let first_shown = [shown("red", "d1")];
    let then_shown = [shown("red", "d2"), shown("blue", "d3")];
    let events = [
        SessionEvent {
            anonymous_id: Some("anna"),
            url_host: Some("shop.example"),
            url_path: Some("/"),
            touch: unnamed,
            exposures: &first_shown,
            ..page(0, 4)
        },
        SessionEvent {
            user_id: Some("u1"),
            country: Some("DE"),
            region: Some("BE"),
            touch: spring,
            kind: EventKind::Identify,
            ..page(1, 3)
        },
        SessionEvent {
            url_host: Some("pay.example"),
            url_path: Some("/pay"),
            device_class: Some("mobile"),
            browser: Some("Firefox"),
            os: Some("Android"),
            touch: summer,
            exposures: &then_shown,
            ..page(3, 9)
        },
        SessionEvent {
            user_id: Some("u2"),
            account_id: Some("acme"),
            kind: EventKind::Conversion,
            value_micros: Some(12_500_000),
            currency: Some("EUR"),
            engagement_class: EngagementClass::Human,
            ..page(23, 6)
        },
        SessionEvent { kind: EventKind::Conversion, value_micros: Some(7), ..page(23, 7) },
        SessionEvent { kind: EventKind::Conversion, value_micros: Some(5), currency: Some(NO_CURRENCY), ..page(23, 8) },
        // The value of what is no conversion is nobody's revenue.
        SessionEvent { kind: EventKind::Custom, value_micros: Some(1), currency: Some("EUR"), ..page(24, 10) },
    ];
    only_session(events, |session| {
        assert_eq!((session.session_id(), session.key()), (id_of(&page(0, 4)), ANNA));
        let ids = [session.anonymous_id(), session.user_id(), session.account_id()];
        assert_eq!(ids, [Some("anna"), Some("u2"), Some("acme")]);
        let times = [session.start_time_us(), session.end_time_us(), session.duration_us(), session.engaged_us()];
        // 1 + 2 + (20, counted as 5) + 0 + 0 + 1 minutes.
        assert_eq!(times, [BASE_US, BASE_US + 24 * MINUTE_US, 24 * MINUTE_US, 9 * MINUTE_US]);
        let counts = [session.event_count(), session.page_count(), session.conversion_count()];
        assert_eq!((counts, session.late_event_count()), ([7, 2, 3], 0));
        assert_eq!((session.is_bounce(), session.is_final()), (false, false));
        assert_eq!(session.value_by_currency(), [("EUR", 12_500_000), (NO_CURRENCY, 12)]);
        let entry_and_exit = [session.entry_host(), session.entry_path(), session.exit_host(), session.exit_path()];
        assert_eq!(entry_and_exit.map(Option::unwrap), ["shop.example", "/", "pay.example", "/pay"]);
        let first = [
            session.first_channel(),
            session.first_campaign_id(),
            session.first_utm_source(),
            session.first_utm_medium(),
            session.first_utm_term(),
            session.first_creative_id(),
            session.first_ad_id(),
            session.first_message_id(),
            session.first_referrer_host(),
            session.first_click_id(),
        ];
        let expected = ["email", "spring", "list", "mail", "green", "c1", "a1", "m1", "blog.example", "gclid:1"];
        assert_eq!(first.map(Option::unwrap), expected);
        assert_eq!((session.first_referrer_medium(), session.first_referrer_source()), (None, None));
        let last = [
            session.last_channel(),
            session.last_campaign_id(),
            session.last_referrer_host(),
            session.last_referrer_medium(),
            session.last_referrer_source(),
            session.last_click_id(),
        ];
        let expected = ["paid_search", "summer", "google.com", "search", "Google", "gclid:2"];
        assert_eq!(last.map(Option::unwrap), expected);
        let last_alone = [
            session.last_utm_source(),
            session.last_utm_medium(),
            session.last_utm_term(),
            session.last_creative_id(),
            session.last_ad_id(),
            session.last_message_id(),
        ];
        assert_eq!(last_alone, [None; 6]);
        let context = [session.device_class(), session.browser(), session.os(), session.country(), session.region()];
        assert_eq!(context.map(Option::unwrap), ["mobile", "Firefox", "Android", "DE", "BE"]);
        assert_eq!(session.exposures().collect::<Vec<_>>(), [shown("red", "d1"), shown("blue", "d3")]);
        assert_eq!(session.engagement_class(), EngagementClass::Human);
        assert_eq!((session.first_offset(), session.last_offset()), (3, 10));
    });
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
        assert_eq!(only_session([page(0, 1), second], |it| it.is_bounce()), is_bounce, "{kind} by {class}");
    }
    let only_open = [SessionEvent { kind: EventKind::Open, ..page(0, 1) }];
    assert!(!only_session(only_open, |it| it.is_bounce()), "no page, no bounce");
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
        assert_eq!(only_session(events, |it| it.engagement_class()), expected, "{classes:?}");
    }
}

#[test]
fn a_sum_of_money_stays_within_its_column() {
    let rich = |offset| SessionEvent {
        kind: EventKind::Conversion,
        value_micros: Some(tributary_schemas::Money::MICROS_MAX),
        ..page(0, offset)
    };
    let micros = only_session((0..20).map(rich), |it| it.value_by_currency()[0].1);
    assert_eq!(micros, tributary_schemas::Money::MICROS_MAX);
}

#[test]
fn absurd_times_do_not_overflow() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for (time_us, offset) in [(i64::MIN, 1), (0, 2), (i64::MAX, 3), (i64::MIN, 4)] {
        sessionizer.observe(ANNA, &SessionEvent { time_us, ingest_time_us: time_us, ..page(0, offset) });
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
            assert_eq!(sessionizer.observe(ANNA, &event), Observed::Counted);
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
    assert_eq!(text, "f20cdd335e83be39f9aed4d6945cc447");
    assert_eq!(SessionId::parse(&text), Ok(id));
    for text in ["", "0", "+0000000000000000000000000000000", &text.to_uppercase(), &format!("{text}0")] {
        assert!(SessionId::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_rule_prints_what_decided_the_cuts() {
    let ga4 = SessionRule::ga4();
    assert_eq!(ga4.to_string(), "ga4 gap>1800s max=86400s");
    let custom = SessionRule { boundary: GapCloses::AtLeast, gap_us: 1_500_000, ..ga4.clone() };
    assert_eq!(custom.to_string(), "custom gap>=1500000us max=86400s");
    let berlin = Midnight::in_zone("europe/berlin").unwrap();
    let matomo = SessionRule { lateness_us: 7, ..SessionRule::matomo(berlin.clone()) };
    let text = "gap>1800s max=31622400s";
    assert_eq!(matomo.to_string(), format!("matomo {text} events=10000 midnight=Europe/Berlin campaign_name"));
    assert_eq!(SessionRule::ua(berlin).to_string(), format!("ua {text} midnight=Europe/Berlin campaign_tags"));
    assert_eq!(SessionRule::snowplow().to_string(), "snowplow gap>1800s max=259200s");
    let user = SessionRule { user_switch_splits: true, ..ga4 };
    assert_eq!(user.to_string(), "custom gap>1800s max=86400s user");
}

#[test]
fn each_number_of_a_rule_tells_in_its_fingerprint() {
    let ga4 = SessionRule::ga4();
    let [berlin, rome] = ["Europe/Berlin", "Europe/Rome"].map(Midnight::in_zone);
    assert_eq!(
        ga4.fingerprint(),
        7_235_592_342_912_594_578,
        "the fingerprint of today is that of the lakes of yesterday"
    );
    let rules = [
        ga4.clone(),
        SessionRule { events_max: Some(100), ..ga4.clone() },
        SessionRule { midnight: berlin, ..ga4.clone() },
        SessionRule { midnight: rome, ..ga4.clone() },
        SessionRule { campaign_splits: CampaignSplits::Tags, ..ga4.clone() },
        SessionRule { campaign_splits: CampaignSplits::Name, ..ga4.clone() },
        SessionRule { user_switch_splits: true, ..ga4.clone() },
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
        duration_us_max: -1,
        events_max: Some(0),
        lateness_us: i64::MAX,
        watermark_delay_us: -5,
        ..SessionRule::ga4()
    };
    assert_eq!(
        wrong.check(),
        [
            RuleFault::GapNotPositive { given: 0 },
            RuleFault::DurationBelowGap { given: -1, gap_us: 0 },
            RuleFault::NoEvents,
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
    with_another_first_event.event(ANNA, &SessionEvent { event_id: "e000", ..first });
    let error = with_another_first_event.finish().unwrap_err();
    assert_eq!(
        error,
        RestoreError::NotFound { source_name: web.clone(), session_id: id_of(&first), found: FoundSessions(1) }
    );

    let mut with_one_row_missing = restorer();
    with_one_row_missing.unsealed(ANNA, first.time_us, id_of(&first));
    with_one_row_missing.event(ANNA, &second);
    with_one_row_missing.event(ANNA, &first);
    let error = with_one_row_missing.finish().unwrap_err();
    assert_eq!(error, RestoreError::NotListed { source_name: web.clone(), session_id: id_of(&second) });

    let mut without_watermark = Sessionizer::restorer(SessionRule::ga4());
    without_watermark.unsealed(ANNA, first.time_us, id_of(&first));
    without_watermark.event(ANNA, &first);
    assert_eq!(without_watermark.finish().unwrap_err(), RestoreError::NoWatermark { source_name: web });
}

#[test]
fn midnight_is_that_of_the_zones_own_calendar() {
    // Summer time ended in Berlin on 29 October 2023: midnight lies at 22:00 UTC before, at 23:00 after.
    let berlin = Midnight::in_zone("Europe/Berlin").unwrap();
    let us = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    for (before, after, parted) in [
        ("2023-10-28T21:59:59.999999Z", "2023-10-28T22:00:00Z", true),
        ("2023-10-29T21:59:59Z", "2023-10-29T22:00:01Z", false),
        ("2023-10-29T22:59:59.999999Z", "2023-10-29T23:00:00Z", true),
        // The hour that comes twice is one day.
        ("2023-10-29T00:30:00Z", "2023-10-29T01:30:00Z", false),
        ("1915-06-01T22:59:59Z", "1915-06-01T23:00:00Z", true),
        ("2099-07-01T21:59:59Z", "2099-07-01T22:00:00Z", true),
    ] {
        assert_eq!(berlin.parts(us(before), us(after)), parted, "{before} {after}");
    }
    // Samoa crossed the date line and has no 30 December 2011.
    let apia = Midnight::in_zone("Pacific/Apia").unwrap();
    assert!(apia.parts(us("2011-12-30T09:59:59Z"), us("2011-12-30T10:00:00Z")));
    assert_eq!(Midnight::in_zone("Mars/Olympus"), None);
    let _: [bool; 2] = [(i64::MIN, 0), (0, i64::MAX)].map(|(a, b)| berlin.parts(a, b));
}

#[test]
fn a_direct_visit_is_not_cut_by_a_campaign_it_does_not_name() {
    let rule = SessionRule { campaign_splits: CampaignSplits::Tags, ..SessionRule::ga4() };
    let by = |campaign_id, minute, offset| SessionEvent {
        touch: Touch { campaign_id, channel: Some("any"), ..Touch::default() },
        ..page(minute, offset)
    };
    let starts = |events: &[SessionEvent<'_>]| {
        let mut sessionizer = Sessionizer::new(rule.clone());
        events.iter().for_each(|event| _ = sessionizer.observe(ANNA, event));
        told(&sessionizer.drain()).into_iter().map(|change| change.0).collect::<Vec<_>>()
    };
    let (spring, summer) = (Some("spring"), Some("summer"));
    assert_eq!(starts(&[by(spring, 0, 1), by(None, 1, 2), by(spring, 2, 3), by(None, 3, 4)]), [0]);
    assert_eq!(starts(&[by(spring, 0, 1), by(None, 1, 2), by(summer, 2, 3), by(None, 3, 4)]), [0, 2]);
    assert_eq!(starts(&[by(None, 0, 1), by(spring, 1, 2)]), [0, 1], "it began direct");
    assert_eq!(starts(&[by(spring, 0, 1), by(summer, 0, 2)]), [0], "what happens at one moment is one session");
}

#[test]
fn universal_analytics_and_matomo_have_their_own_idea_of_another_campaign() {
    let newsletter = Touch { utm_source: Some("newsletter"), utm_medium: Some("email"), ..Touch::default() };
    let spring = Touch { utm_campaign: Some("spring"), ..newsletter };
    let cuts = |touches: [Touch<'static>; 2]| {
        [CampaignSplits::Never, CampaignSplits::Tags, CampaignSplits::Name].map(|campaign_splits| {
            let mut sessionizer = Sessionizer::new(SessionRule { campaign_splits, ..SessionRule::ga4() });
            for (minute, touch) in (0..).zip(touches) {
                sessionizer.observe(ANNA, &SessionEvent { touch, ..page(minute, minute) });
            }
            told(&sessionizer.drain()).len() == 2
        })
    };
    assert_eq!(cuts([spring, spring]), [false, false, false]);
    assert_eq!(cuts([spring, Touch { utm_campaign: Some("summer"), ..newsletter }]), [false, true, true]);
    // Matomo knows a campaign by its name, and by the keyword with it.
    assert_eq!(cuts([spring, Touch { utm_source: Some("partner"), ..spring }]), [false, true, false]);
    assert_eq!(cuts([spring, Touch { utm_term: Some("shoes"), ..spring }]), [false, false, true]);
    assert_eq!(cuts([newsletter, Touch { utm_medium: Some("print"), ..newsletter }]), [false, true, false]);
    // Google's own tagging: a click id and nothing else.
    let ad = Touch { click_id: Some(("gclid", "a1")), ..Touch::default() };
    assert_eq!(cuts([Touch::default(), ad]), [false, true, false]);
    assert_eq!(cuts([ad, Touch { click_id: Some(("gclid", "a2")), ..Touch::default() }]), [false, true, false]);
    assert_eq!(cuts([spring, Touch { campaign_id: Some("c7"), ..spring }]), [false, false, false]);
}

#[test]
fn who_logs_in_stays_in_his_session_and_who_comes_after_him_does_not() {
    let rule = SessionRule { user_switch_splits: true, ..SessionRule::ga4() };
    let mut sessionizer = Sessionizer::new(rule);
    let users = [None, Some("u1"), None, Some("u1"), Some("u2"), None, Some("anna")];
    for (minute, user_id) in (0..).zip(users) {
        sessionizer.observe(ANNA, &SessionEvent { user_id, ..page(minute, minute) });
    }
    assert_eq!(told(&sessionizer.drain()).iter().map(|change| change.1).collect::<Vec<_>>(), [4, 2, 1]);
}

#[test]
fn a_clock_of_next_year_makes_nobody_late_and_gathers_nothing() {
    let rule = SessionRule::ga4();
    let mut sessionizer = Sessionizer::new(rule.clone());
    let of_next_year = SessionEvent { time_us: BASE_US + 365 * 24 * HOUR_US, ..page(0, 0) };
    assert_eq!(sessionizer.observe(ANNA, &of_next_year), Observed::Counted);
    let ahead_us = SessionRule::FUTURE_US_MAX - rule.watermark_delay_us;
    assert_eq!(sessionizer.watermark_us("web"), Some(BASE_US + ahead_us));
    for day in 0..30 {
        for minute in 0..20 {
            let time_us = BASE_US + day * 24 * HOUR_US + minute * MINUTE_US;
            let event = SessionEvent { time_us, ingest_time_us: time_us, ..page(0, 1 + day * 20 + minute) };
            assert_eq!(sessionizer.observe(ANNA, &event), Observed::Counted, "day {day}");
        }
        sessionizer.drain();
        assert!(sessionizer.open_sessions() <= 3, "{} on day {day}", sessionizer.open_sessions());
    }
}

#[test]
fn a_silent_source_is_advanced_like_one_that_speaks() {
    let rule = SessionRule::ga4();
    let mut sessionizer = Sessionizer::new(rule.clone());
    observe_pages(&mut sessionizer, &[(0, 1)]);
    sessionizer.drain();
    let later_us = BASE_US + 3 * HOUR_US;
    sessionizer.advance("app", later_us);
    assert_eq!(sessionizer.watermark_us("app"), None, "who was never heard of has no sessions");
    sessionizer.advance("web", later_us);
    sessionizer.advance("web", BASE_US);
    assert_eq!(sessionizer.watermark_us("web"), Some(later_us), "it never moves back");
    assert_eq!(sessionizer.open_sessions(), 1);
    assert!(sessionizer.drain().is_empty(), "the session was told already");
    assert_eq!((sessionizer.open_sessions(), sessionizer.low_offset()), (0, None));
    assert_eq!(sessionizer.observe(ANNA, &page(2 * 60 - 1, 2)), Observed::Late);
    assert_eq!(sessionizer.observe(ANNA, &page(2 * 60, 3)), Observed::Counted);
    sessionizer.advance("web", later_us + 2 * HOUR_US);
    let is_final = sessionizer.drain().iter().next().and_then(Change::session).map(|session| session.is_final());
    assert_eq!(is_final, Some(true));
}

#[test]
fn a_snapshot_that_is_not_whole_or_not_ours_is_refused() {
    let rule = SessionRule::ga4();
    let mut sessionizer = Sessionizer::new(rule.clone());
    let user = SessionEvent { user_id: Some("someone"), currency: Some("EUR"), ..page(1, 2) };
    sessionizer.observe(ANNA, &page(0, 1));
    sessionizer.observe(ANNA, &user);
    sessionizer.observe(SessionKey { source: "app", session_key: "bert" }, &page(3, 3));
    sessionizer.drain();
    let mut bytes = Vec::new();
    sessionizer.write_snapshot(&mut bytes);
    let read = |bytes: &[u8]| Sessionizer::read_snapshot(rule.clone(), bytes).map(|_| ());
    assert_eq!(read(&bytes), Ok(()));
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << (index % 8);
        assert!(read(&damaged).is_err(), "byte {index}");
    }
    assert_eq!(read(&[bytes.clone(), vec![0]].concat()), Err(SnapshotError::Damaged));
    assert_eq!(read(b""), Err(SnapshotError::NoSnapshot { bytes: 0 }));
    let mut newer = bytes.clone();
    newer[4] += 1;
    assert!(matches!(read(&newer), Err(SnapshotError::OtherVersion { .. })));
    let other = SessionRule { lateness_us: 1, ..rule.clone() };
    assert_eq!(Sessionizer::read_snapshot(other, &bytes).map(|_| ()), Err(SnapshotError::OtherRule));
}

#[test]
fn memory_follows_the_open_sessions_and_not_the_log() {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    let mut bytes_after = Vec::new();
    for hour in 0..24 {
        for number in 0..3_000_i64 {
            let time_us = BASE_US + hour * HOUR_US + number * SECOND_US;
            let (device, user) = (format!("device-{hour}-{number}"), format!("user-{hour}-{number}"));
            let event = SessionEvent {
                user_id: Some(&user),
                url_path: Some(&device),
                ingest_time_us: time_us,
                ..SessionEvent::plain(time_us, hour * 3_000 + number, "e", EventKind::Page)
            };
            let key = SessionKey { source: "web", session_key: &device };
            assert_eq!(sessionizer.observe(key, &event), Observed::Counted);
            if number % 500 == 499 {
                let changes = sessionizer.drain();
                let paths: Vec<_> = changes.iter().map(|change| change.session().unwrap().exit_path()).collect();
                assert!(changes.iter().zip(paths).all(|(change, path)| path == Some(change.key().session_key)));
            }
        }
        bytes_after.push(sessionizer.state_bytes());
    }
    // Six thousand sessions are open after any hour, of which each has a path and a user of its own.
    assert!(sessionizer.open_sessions() < 6_500, "{}", sessionizer.open_sessions());
    let (early, last) = (bytes_after[..6].iter().max().unwrap(), bytes_after[23]);
    assert!(last <= early + early / 4, "{bytes_after:?}");
}

#[test]
fn a_robots_late_events_cost_what_its_early_ones_did() {
    const COUNT: i64 = 400_000;
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    let mut spent = Vec::new();
    for part in 0..8 {
        let begun = std::time::Instant::now();
        for number in part * COUNT / 8..(part + 1) * COUNT / 8 {
            // A little out of order.
            let time_us = BASE_US + (number ^ 3) * 100_000;
            sessionizer.observe(ANNA, &SessionEvent { time_us, ingest_time_us: time_us, ..page(0, number) });
            if number % 500 == 499 {
                sessionizer.drain();
            }
        }
        spent.push(begun.elapsed());
    }
    assert_eq!(sessionizer.open_sessions(), 1);
    // Reading all of it at each report would make the last part fifteen times as dear as the first, and both slow.
    assert!(spent[7] < 8 * spent[0], "{spent:?}");
}

#[test]
fn a_repair_without_whole_sessions_is_refused() {
    let stands = Standing {
        session_id: id_of(&page(0, 1)),
        start_time_us: BASE_US,
        end_time_us: BASE_US,
        first_offset: 1,
        last_offset: 1,
        event_count: 1,
        late_event_count: 0,
    };
    let late = SessionEvent { is_late: true, ..page(50, 2) };
    let repair = |events: &[SessionEvent<'_>]| {
        let events = events.iter().copied();
        resession(&SessionRule::ga4(), ANNA, events, &[stands], BASE_US, told)
    };
    assert_eq!(repair(&[late]), Err(RepairError { session_id: stands.session_id }));
    assert_eq!(repair(&[late, page(0, 1)]), Ok(vec![(50, 1, id_of(&page(50, 2)))]));
    let near = SessionEvent { is_late: true, ..page(-10, 2) };
    assert_eq!(repair(&[page(0, 1), near]), Ok(vec![(-10, 2, id_of(&near)), (0, 0, stands.session_id)]));
    let spans = affected(
        &SessionRule::ga4(),
        &[(0, 5 * MINUTE_US), (90 * MINUTE_US, 95 * MINUTE_US)],
        &[30 * MINUTE_US, 58 * MINUTE_US, 200 * MINUTE_US],
    );
    assert_eq!(spans, [(0, 58 * MINUTE_US), (200 * MINUTE_US, 200 * MINUTE_US)]);
}
