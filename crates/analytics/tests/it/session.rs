//! Sessions of the stream against the batch definition, and against DuckDB.
//!
//! In:       random small logs with ties, jumps, late events, reused ids; random points of commit, crash and restart.
//!           `tests/data/session_*.csv`: gaps-and-islands SQL run by DuckDB 2.0 (see the README there).
//! Out:      pass or fail.
//! Promise:  the rows a lake would show at the end are the sessions of `testkit::oracle::session`, field by field.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tributary_analytics::session::{
    GapCloses, Observed, Session, SessionChange, SessionEvent, SessionId, SessionKey, SessionRule, Sessionizer, Touch,
};
use tributary_schemas::{EngagementClass, EventKind, Exposure, Money};
use tributary_testkit::oracle::session as oracle;

use crate::fixtures::{Record, records};

const MINUTE_US: i64 = 60_000_000;

/// What happens between one event of the log and the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    GoOn,
    /// Drain and commit.
    Commit,
    /// Commit, stop, and start again from the tables.
    Restart,
    /// Fall over with the work since the last commit undone, and start again from the tables.
    Crash,
}

#[derive(Debug, Clone)]
struct Case {
    rule: SessionRule,
    events: Vec<oracle::Event>,
    then: Vec<Then>,
}

fn any_rule() -> impl Strategy<Value = SessionRule> {
    let boundary = prop_oneof![Just(GapCloses::Over), Just(GapCloses::AtLeast)];
    (1_i64..12, boundary, 0_i64..30, 0_i64..60, 0_i64..4).prop_map(|(gap, boundary, more, lateness, delay)| {
        SessionRule {
            gap_us: gap * MINUTE_US,
            boundary,
            duration_us_max: (gap + more) * MINUTE_US,
            lateness_us: lateness * MINUTE_US,
            watermark_delay_us: delay * MINUTE_US,
        }
    })
}

prop_compose! {
    /// One event, with the step of the clock before it and how far behind the clock it is, in minutes.
    fn any_event()(
        source in prop::sample::select(vec!["app", "web"]),
        session_key in prop::sample::select(vec!["a", "b", "c"]),
        // Few ids, so that one comes again with other content, at the same time or another.
        event_id in 0..30_u32,
        kind in prop::sample::select(vec![
            EventKind::Page, EventKind::Page, EventKind::Page, EventKind::Click, EventKind::Conversion,
            EventKind::Identify, EventKind::Impression, EventKind::Open,
        ]),
        class in prop::sample::select(vec![
            EngagementClass::Bot, EngagementClass::Prefetch, EngagementClass::Scanner, EngagementClass::Unknown,
            EngagementClass::Human,
        ]),
        words in prop::array::uniform7(prop::option::weighted(0.3, 0..3_u8)),
        micros in prop::option::of(-5_i64..100),
        step in prop::sample::select(vec![0_i64, 0, 0, 1, 1, 2, 3, 5, 8, 13, 40]),
        behind in prop::sample::select(vec![0_i64, 0, 0, 0, 1, 2, 5, 9, 14, 22, 45, 80]),
    ) -> (oracle::Event, i64, i64) {
        let word = |index: usize, name: &str| words[index].map(|word| format!("{name}{word}"));
        let mut event = oracle::Event::new(source, session_key, &format!("e{event_id:02}"), 0, 0);
        event.kind = kind;
        event.class = class;
        event.user_id = word(0, "user");
        event.path = word(1, "/");
        event.channel = word(2, "channel");
        event.campaign_id = word(3, "campaign");
        event.referrer_host = word(4, "host");
        event.click_id = word(5, "gclid:");
        event.country = word(6, "C");
        event.value = micros.map(|micros| (if micros % 2 == 0 { "EUR" } else { "USD" }.to_owned(), micros));
        event.variant = words[0].zip(words[6]).map(|(a, b)| (format!("experiment{a}"), format!("variant{b}")));
        (event, step, behind)
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let then = prop_oneof![
        8 => Just(Then::GoOn), 3 => Just(Then::Commit), 1 => Just(Then::Restart), 1 => Just(Then::Crash)
    ];
    (any_rule(), prop::collection::vec((any_event(), then), 0..90)).prop_map(|(rule, steps)| {
        let mut clock_us = 1_700_000_000_000_000;
        let mut case = Case { rule, events: Vec::new(), then: Vec::new() };
        for (index, ((mut event, step, behind), then)) in steps.into_iter().enumerate() {
            clock_us += step * MINUTE_US;
            event.time_us = clock_us - behind * MINUTE_US;
            // Offsets have holes: control records, and events that make no sessions.
            event.offset = 7 + 2 * i64::try_from(index).unwrap();
            case.events.push(event);
            case.then.push(then);
        }
        case
    })
}

fn key_of(event: &oracle::Event) -> SessionKey<'_> {
    SessionKey { source: &event.source, session_key: &event.session_key }
}

fn session_event(event: &oracle::Event) -> SessionEvent {
    SessionEvent {
        engagement_class: event.class,
        user_id: event.user_id.as_deref().map(Into::into),
        url_path: event.path.as_deref().map(Into::into),
        country: event.country.as_deref().map(Into::into),
        touch: Touch {
            channel: event.channel.as_deref().map(Into::into),
            campaign_id: event.campaign_id.as_deref().map(Into::into),
            referrer_host: event.referrer_host.as_deref().map(Into::into),
            click_id: event.click_id.as_deref().map(Into::into),
            ..Touch::default()
        }
        .boxed(),
        value_micros: event.value.as_ref().map(|value| value.1),
        currency: event.value.as_ref().map(|value| value.0.as_str().into()),
        exposures: event.variant.as_ref().map(|(experiment, variant)| {
            [Exposure {
                experiment: experiment.clone(),
                variant: variant.clone(),
                decision_id: None,
                probability: None,
            }]
            .into()
        }),
        ..SessionEvent::plain(event.time_us, event.offset, &event.event_id, event.kind)
    }
}

/// What the pipeline and the lake are to the sessionizer: a log, two tables, and a commit.
struct Line<'a> {
    case: &'a Case,
    sessionizer: Sessionizer,
    /// Latest version of each session; `None` is a tombstone.
    rows: BTreeMap<SessionId, Option<Session>>,
    watermarks: Vec<(String, i64)>,
    /// Events below this index are committed.
    committed: usize,
    late: Vec<bool>,
}

impl<'a> Line<'a> {
    fn new(case: &'a Case) -> Self {
        let sessionizer = Sessionizer::new(case.rule.clone());
        Self { case, sessionizer, rows: BTreeMap::new(), watermarks: Vec::new(), committed: 0, late: Vec::new() }
    }

    fn run(&mut self) {
        let mut crashed = BTreeSet::new();
        while self.late.len() < self.case.events.len() {
            let index = self.late.len();
            let event = &self.case.events[index];
            let observed = self.sessionizer.observe(key_of(event), session_event(event));
            self.late.push(observed == Observed::Late);
            match self.case.then[index] {
                Then::GoOn => {}
                Then::Commit => self.commit(),
                Then::Restart => {
                    self.commit();
                    self.restart();
                }
                Then::Crash if crashed.insert(index) => self.restart(),
                Then::Crash => {}
            }
        }
        self.commit();
    }

    fn commit(&mut self) {
        let changes = self.sessionizer.drain();
        let order: Vec<_> = changes.iter().map(|change| (change.first_offset(), change.session_id())).collect();
        assert!(order.is_sorted(), "changes come by first offset, then id");
        let ids: BTreeSet<_> = changes.iter().map(SessionChange::session_id).collect();
        assert_eq!(ids.len(), changes.len(), "an id is told once");
        for change in &changes {
            match change {
                SessionChange::Upsert(session) => {
                    self.rows.insert(session.session_id, Some((**session).clone()));
                }
                SessionChange::Tombstone(tombstone) => {
                    let old = self.rows.insert(tombstone.session_id, None).flatten();
                    let old = old.expect("only what was told and lives is taken back");
                    assert_eq!(
                        (old.start_time_us, old.end_time_us, old.first_offset, old.last_offset),
                        (tombstone.start_time_us, tombstone.end_time_us, tombstone.first_offset, tombstone.last_offset),
                    );
                    assert_eq!(
                        old.key(),
                        SessionKey { source: &tombstone.source, session_key: &tombstone.session_key }
                    );
                }
            }
        }
        for change in &changes {
            if let SessionChange::Tombstone(tombstone) = change {
                let heir = self.rows.get(&tombstone.superseded_by).and_then(Option::as_ref);
                let heir = heir.expect("what takes over lives");
                assert!((heir.start_time_us..=heir.end_time_us).contains(&tombstone.start_time_us));
            }
        }
        self.committed = self.late.len();
        self.watermarks = self.sessionizer.watermarks().map(|(name, us)| (name.to_owned(), us)).collect();
        self.check_memory();
    }

    fn unsealed(&self) -> Vec<&Session> {
        let watermarks: BTreeMap<_, _> = self.watermarks.iter().map(|(name, us)| (name.as_str(), *us)).collect();
        let live = self.rows.values().flatten();
        live.filter(|row| !self.case.rule.is_sealed(row.end_time_us, watermarks[&*row.source])).collect()
    }

    fn check_memory(&self) {
        let unsealed = self.unsealed();
        assert_eq!(
            self.sessionizer.open_sessions(),
            unsealed.len(),
            "what is sealed is forgotten, what is not is kept"
        );
        assert_eq!(self.sessionizer.low_offset(), unsealed.iter().map(|row| row.first_offset).min());
    }

    fn restart(&mut self) {
        let mut restorer = Sessionizer::restorer(self.case.rule.clone());
        for (name, watermark_us) in &self.watermarks {
            restorer.watermark(name, *watermark_us);
        }
        for row in self.unsealed() {
            restorer.unsealed(row.key(), row.start_time_us, row.session_id);
        }
        // In no particular order: backwards.
        for index in (0..self.committed).rev() {
            let event = &self.case.events[index];
            if !self.late[index] && restorer.wants(key_of(event), event.time_us) {
                restorer.event(key_of(event), session_event(event));
            }
        }
        self.sessionizer = restorer.finish().unwrap();
        self.late.truncate(self.committed);
        assert_eq!(self.sessionizer.drain(), [], "everything restored has been told");
        let watermarks: Vec<_> = self.sessionizer.watermarks().map(|(name, us)| (name.to_owned(), us)).collect();
        assert_eq!(watermarks, self.watermarks);
        self.check_memory();
    }

    /// The sessions the view `sessions` would show, with their ids, in the oracle's order.
    fn shown(&self) -> Vec<Session> {
        let mut shown: Vec<Session> = self.rows.values().flatten().cloned().collect();
        shown.sort_by(|a, b| (a.key(), a.start_time_us).cmp(&(b.key(), b.start_time_us)));
        shown
    }
}

fn oracle_rule(rule: &SessionRule) -> oracle::Rule {
    oracle::Rule {
        gap_us: rule.gap_us,
        gap_itself_closes: rule.boundary == GapCloses::AtLeast,
        duration_us_max: rule.duration_us_max,
        lateness_us: rule.lateness_us,
        watermark_delay_us: rule.watermark_delay_us,
    }
}

/// A shown session in the oracle's words. The first event is known through the id: give the oracle's, and let the caller
/// compare the ids.
fn in_oracle_words(session: &Session, first_event_id: &str) -> oracle::Session {
    let arc = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let boxed = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    assert_eq!(session.duration_us, session.end_time_us - session.start_time_us);
    oracle::Session {
        source: session.source.to_string(),
        session_key: session.session_key.to_string(),
        first_event_id: first_event_id.to_owned(),
        start_time_us: session.start_time_us,
        end_time_us: session.end_time_us,
        engaged_us: session.engaged_us,
        event_count: session.event_count,
        page_count: session.page_count,
        conversion_count: session.conversion_count,
        is_bounce: session.is_bounce,
        value_by_currency: session
            .value_by_currency
            .iter()
            .map(|value| (value.currency.to_string(), value.micros))
            .collect(),
        user_id: arc(&session.user_id),
        entry_path: arc(&session.entry_path),
        exit_path: arc(&session.exit_path),
        first_channel: boxed(&session.first_channel),
        first_campaign_id: boxed(&session.first_campaign_id),
        last_channel: boxed(&session.last_channel),
        last_campaign_id: boxed(&session.last_campaign_id),
        first_referrer_host: boxed(&session.first_referrer_host),
        last_referrer_host: boxed(&session.last_referrer_host),
        first_click_id: boxed(&session.first_click_id),
        last_click_id: boxed(&session.last_click_id),
        country: arc(&session.country),
        variants: session
            .exposures
            .iter()
            .map(|exposure| (exposure.experiment.clone(), exposure.variant.clone()))
            .collect(),
        class: session.engagement_class,
        first_offset: session.first_offset,
        last_offset: session.last_offset,
    }
}

fn assert_is_the_batch_definition(case: &Case) {
    let mut line = Line::new(case);
    line.run();
    let rule = oracle_rule(&case.rule);
    assert_eq!(line.late, oracle::late_flags(&rule, &case.events));
    let expected = oracle::sessions(&rule, &case.events);
    let shown = line.shown();
    let ids: Vec<SessionId> = shown.iter().map(|session| session.session_id).collect();
    let expected_ids: Vec<SessionId> = expected
        .iter()
        .map(|session| {
            let key = SessionKey { source: &session.source, session_key: &session.session_key };
            SessionId::of(key, &session.first_event_id, session.start_time_us)
        })
        .collect();
    assert_eq!(ids, expected_ids);
    for (shown, expected) in shown.iter().zip(expected) {
        assert_eq!(in_oracle_words(shown, &expected.first_event_id), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_order_any_commits_and_any_restarts_give_the_sessions_of_the_batch(case in any_case()) {
        assert_is_the_batch_definition(&case);
    }
}

/// The DuckDB events of all users as one shuffled log, late never.
fn duckdb_sessions(boundary: GapCloses, duration_us_max: i64) -> Vec<Session> {
    const SECOND_US: i64 = 1_000_000;
    let rule = SessionRule {
        gap_us: 1_800 * SECOND_US,
        boundary,
        duration_us_max,
        lateness_us: SessionRule::US_MAX,
        watermark_delay_us: 0,
    };
    let mut sessionizer = Sessionizer::new(rule);
    let mut rows = BTreeMap::new();
    let mut take = |changes: Vec<SessionChange>| {
        for change in changes {
            match change {
                SessionChange::Upsert(session) => rows.insert(session.session_id, *session),
                SessionChange::Tombstone(tombstone) => rows.remove(&tombstone.session_id),
            };
        }
    };
    for (index, record) in records("session_events.csv").iter().enumerate() {
        let kind = match record.text("event") {
            "page_view" => EventKind::Page,
            "purchase" => EventKind::Conversion,
            _ => EventKind::Custom,
        };
        // DuckDB orders ids as numbers, we as text.
        let event_id = format!("{:08}", record.integer("event_id"));
        let offset = i64::try_from(index).unwrap();
        let event = SessionEvent {
            url_path: Some(record.text("page").into()),
            touch: Touch { channel: Some(record.text("utm_source").into()), ..Touch::default() }.boxed(),
            value_micros: Some(Money::parse(record.text("revenue")).unwrap().micros),
            currency: Some("EUR".into()),
            ..SessionEvent::plain(record.integer("ts") * SECOND_US, offset, &event_id, kind)
        };
        let key = SessionKey { source: "shop", session_key: record.text("user_id") };
        assert_eq!(sessionizer.observe(key, event), Observed::Counted);
        if index % 97 == 0 {
            take(sessionizer.drain());
        }
    }
    take(sessionizer.drain());
    let mut sessions: Vec<Session> = rows.into_values().collect();
    sessions.sort_by(|a, b| (&a.session_key, a.start_time_us).cmp(&(&b.session_key, b.start_time_us)));
    sessions
}

fn assert_same_cuts(ours: &[Session], theirs: &[Record]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let what = format!("{} {}", theirs.text("user_id"), theirs.text("session_no"));
        assert_eq!(&*ours.session_key, theirs.text("user_id"), "{what}");
        assert_eq!(ours.start_time_us, theirs.integer("start_ts") * 1_000_000, "{what}");
        assert_eq!(ours.end_time_us, theirs.integer("end_ts") * 1_000_000, "{what}");
        assert_eq!(ours.event_count, theirs.integer("n_events"), "{what}");
    }
}

fn assert_same_summaries(ours: &[Session], theirs: &[Record]) {
    assert_same_cuts(ours, theirs);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let what = format!("{} {}", theirs.text("user_id"), theirs.text("session_no"));
        assert_eq!(ours.page_count, theirs.integer("n_page_views"), "{what}");
        assert_eq!(ours.first_channel.as_deref(), Some(theirs.text("entry_source")), "{what}");
        let value_micros = ours.value_by_currency.first().map_or(0, |value| value.micros);
        // A sum of floats there, of decimals here.
        assert!((theirs.float("revenue") * 1e6 - value_micros as f64).abs() < 1.0, "{what}");
        // Their first page may be that of a purchase; ours is that of a page view.
        if ours.page_count == ours.event_count {
            assert_eq!(ours.entry_path.as_deref(), Some(theirs.text("entry_page")), "{what}");
            assert_eq!(ours.exit_path.as_deref(), Some(theirs.text("exit_page")), "{what}");
        }
    }
}

#[test]
fn more_than_half_an_hour_closes_as_in_duckdb() {
    let ours = duckdb_sessions(GapCloses::Over, SessionRule::US_MAX);
    assert_same_summaries(&ours, &records("session_expected_gap_over_1800.csv"));
}

#[test]
fn half_an_hour_itself_closes_as_in_duckdb() {
    let ours = duckdb_sessions(GapCloses::AtLeast, SessionRule::US_MAX);
    assert_same_summaries(&ours, &records("session_expected_gap_at_least_1800.csv"));
}

#[test]
fn the_longest_session_cuts_as_the_sequential_reference_does() {
    let ours = duckdb_sessions(GapCloses::Over, 3_600 * 1_000_000);
    assert_same_cuts(&ours, &records("session_expected_gap_over_1800_max_3600.csv"));
}
