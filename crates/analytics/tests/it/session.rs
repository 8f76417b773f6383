//! Sessions of the stream against the batch definition, and against DuckDB.
//!
//! In:       random small logs with ties, jumps, late events, reused ids, broken clocks, silent sources; any rule; random
//!           points of commit, crash, restart from tables and restart from a snapshot. `tests/data/session_*.csv`:
//!           gaps-and-islands SQL run by DuckDB 2.0 (see the README there); the whole set where
//!           `TRIBUTARY_ORACLES` names the folder that holds `sessions_retention`.
//! Out:      pass or fail.
//! Promise:  the rows a lake would show at the end are the sessions of `testkit::oracle::session`, field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;
use tributary_analytics::session::{
    CampaignSplits, Change, Changes, GapCloses, Midnight, Observed, Session, SessionEvent, SessionId, SessionKey,
    SessionRule, Sessionizer, Shown, Standing, Touch, affected, resession,
};
use tributary_schemas::{EngagementClass, EventKind, Money};
use tributary_testkit::oracle::session as oracle;

use crate::fixtures::{Record, records, records_at};

const MINUTE_US: i64 = 60_000_000;

/// The clock begins an hour and a half before the night in which New York's summer time ends: 2023-11-05 02:30 UTC. Its
/// midnight is at 04:00 then, and at 05:00 the next day.
const BEGIN_US: i64 = 1_699_151_400_000_000;

/// What happens between one event of the log and the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    GoOn,
    /// Look at what would be told.
    Peek,
    /// Drain and commit.
    Commit,
    /// Commit, stop, and start again from the tables.
    Restart,
    /// Commit, stop, and start again from a snapshot.
    Snapshot,
    /// Fall over with the work since the last commit undone, and start again from the tables.
    Crash,
    /// A source has been silent: its watermark is raised to so many minutes before the event's time, and committed.
    Advance(i64),
}

#[derive(Debug, Clone)]
struct Case {
    rule: SessionRule,
    events: Vec<oracle::Event>,
    then: Vec<Then>,
}

impl Case {
    /// The advances as the oracle takes them: before the next event.
    fn advances(&self) -> Vec<oracle::Advance> {
        let then = self.then.iter().zip(&self.events).enumerate();
        then.filter_map(|(index, (then, event))| match then {
            Then::Advance(_) => Some((index + 1, event.source.clone(), advanced_us(*then, event))),
            _ => None,
        })
        .collect()
    }
}

fn advanced_us(then: Then, event: &oracle::Event) -> i64 {
    let Then::Advance(minutes) = then else { panic!("asked of an advance") };
    event.ingest_time_us - minutes * MINUTE_US
}

fn any_rule() -> impl Strategy<Value = SessionRule> {
    let boundary = prop_oneof![Just(GapCloses::Over), Just(GapCloses::AtLeast)];
    let zone = prop_oneof![3 => Just(None), 1 => Just(Some("UTC")), 1 => Just(Some("America/New_York"))];
    let events_max = prop_oneof![2 => Just(None), 1 => (1_u32..6).prop_map(Some)];
    let lengths = (1_i64..12, 0_i64..30, 0_i64..60, 0_i64..4);
    let campaigns = prop_oneof![
        4 => Just(CampaignSplits::Never), 1 => Just(CampaignSplits::Tags), 1 => Just(CampaignSplits::Name)
    ];
    (lengths, boundary, zone, events_max, campaigns, prop::bool::weighted(0.3)).prop_map(
        |((gap, more, lateness, delay), boundary, zone, events_max, campaign_splits, user_switch_splits)| SessionRule {
            gap_us: gap * MINUTE_US,
            boundary,
            duration_us_max: (gap + more) * MINUTE_US,
            events_max,
            midnight: zone.map(|zone| Midnight::in_zone(zone).unwrap()),
            campaign_splits,
            user_switch_splits,
            lateness_us: lateness * MINUTE_US,
            watermark_delay_us: delay * MINUTE_US,
        },
    )
}

prop_compose! {
    /// One event, with the step of the clock before it, how far behind the clock it is, and how far it comes after its
    /// time, in minutes.
    fn any_event()(
        source in prop::sample::select(vec!["app", "web"]),
        session_key in prop::sample::select(vec!["a", "b", "c"]),
        // Few ids, so that one comes again with other content, at the same time or another. Long ones go by their hash.
        event_id in 0..30_u32,
        kind in prop::sample::select(vec![
            EventKind::Page, EventKind::Page, EventKind::Page, EventKind::Click, EventKind::Conversion,
            EventKind::Identify, EventKind::Impression, EventKind::Open,
        ]),
        class in prop::sample::select(vec![
            EngagementClass::Bot, EngagementClass::Prefetch, EngagementClass::Scanner, EngagementClass::Unknown,
            EngagementClass::Human,
        ]),
        words in prop::array::uniform15(prop::option::weighted(0.3, 0..3_u8)),
        micros in prop::option::of(-5_i64..100),
        step in prop::sample::select(vec![0_i64, 0, 0, 1, 1, 2, 3, 5, 8, 13, 40]),
        behind in prop::sample::select(vec![0_i64, 0, 0, 0, 1, 2, 5, 9, 14, 22, 45, 80]),
        // A clock that is far ahead.
        ahead in prop_oneof![30 => Just(0_i64), 1 => Just(3), 1 => Just(600)],
    ) -> (oracle::Event, i64, i64, i64) {
        let word = |index: usize, name: &str| words[index].map(|word| format!("{name}{word}"));
        let long = if event_id % 3 == 0 { "-with-a-long-name" } else { "" };
        let mut event = oracle::Event::new(source, session_key, &format!("e{event_id:02}{long}"), 0, 0);
        event.kind = kind;
        event.class = class;
        // Sometimes the key itself.
        event.user_id = words[0].map(|word| if word == 0 { session_key.to_owned() } else { format!("user{word}") });
        event.path = word(1, "/");
        event.channel = word(2, "channel");
        event.campaign_id = word(3, "campaign");
        event.utm_campaign = word(12, "campaign");
        event.utm_medium = word(13, "source");
        event.utm_term = word(14, "term");
        event.referrer_host = word(4, "host");
        event.click_id = word(5, "gclid:");
        event.country = word(6, "C");
        event.host = word(7, "www");
        event.utm_source = word(8, "source");
        event.ad_id = word(9, "ad");
        event.referrer_medium = word(10, "medium");
        event.browser = word(11, "browser");
        event.value = micros.map(|micros| (if micros % 2 == 0 { "EUR" } else { "USD" }.to_owned(), micros));
        event.variant = words[0].zip(words[6]).map(|(a, b)| (format!("experiment{a}"), format!("variant{b}")));
        (event, step, behind, ahead)
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let then = prop_oneof![
        16 => Just(Then::GoOn), 6 => Just(Then::Commit), 2 => Just(Then::Restart), 2 => Just(Then::Crash),
        2 => Just(Then::Snapshot), 2 => Just(Then::Peek), 1 => (-5_i64..40).prop_map(Then::Advance)
    ];
    (any_rule(), prop::collection::vec((any_event(), then), 0..90)).prop_map(|(rule, steps)| {
        let mut clock_us = BEGIN_US;
        let mut case = Case { rule, events: Vec::new(), then: Vec::new() };
        for (index, ((mut event, step, behind, ahead), then)) in steps.into_iter().enumerate() {
            clock_us += step * MINUTE_US;
            event.time_us = clock_us + (ahead - behind) * MINUTE_US;
            event.ingest_time_us = clock_us;
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

/// The event as the stream sees it. `shown`: from `shown_of`.
fn event_of<'a>(event: &'a oracle::Event, shown: &'a [Shown<'a>]) -> SessionEvent<'a> {
    SessionEvent {
        ingest_time_us: event.ingest_time_us,
        engagement_class: event.class,
        user_id: event.user_id.as_deref(),
        url_host: event.host.as_deref(),
        url_path: event.path.as_deref(),
        browser: event.browser.as_deref(),
        country: event.country.as_deref(),
        touch: Touch {
            channel: event.channel.as_deref(),
            campaign_id: event.campaign_id.as_deref(),
            utm_campaign: event.utm_campaign.as_deref(),
            utm_source: event.utm_source.as_deref(),
            utm_medium: event.utm_medium.as_deref(),
            utm_term: event.utm_term.as_deref(),
            ad_id: event.ad_id.as_deref(),
            referrer_host: event.referrer_host.as_deref(),
            referrer_medium: event.referrer_medium.as_deref(),
            click_id: event.click_id.as_deref().map(|click| click.split_once(':').unwrap()),
            ..Touch::default()
        },
        value_micros: event.value.as_ref().map(|value| value.1),
        currency: event.value.as_ref().map(|value| value.0.as_str()),
        exposures: shown,
        ..SessionEvent::plain(event.time_us, event.offset, &event.event_id, event.kind)
    }
}

/// A row of the table `sessions`: what the oracle knows, and what it does not.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: SessionId,
    late_event_count: i64,
    is_final: bool,
    session: oracle::Session,
}

/// A told session in the oracle's words. The first event is known through the id: it is left out, and the ids compared.
fn row_of(session: Session<'_>) -> Row {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    assert_eq!(session.duration_us(), session.end_time_us() - session.start_time_us());
    let oracle_session = oracle::Session {
        source: session.key().source.to_owned(),
        session_key: session.key().session_key.to_owned(),
        first_event_id: String::new(),
        start_time_us: session.start_time_us(),
        end_time_us: session.end_time_us(),
        engaged_us: session.engaged_us(),
        event_count: session.event_count(),
        page_count: session.page_count(),
        conversion_count: session.conversion_count(),
        is_bounce: session.is_bounce(),
        value_by_currency: session.value_by_currency().into_iter().map(|(code, sum)| (code.to_owned(), sum)).collect(),
        user_id: owned(session.user_id()),
        entry_host: owned(session.entry_host()),
        entry_path: owned(session.entry_path()),
        exit_host: owned(session.exit_host()),
        exit_path: owned(session.exit_path()),
        first_channel: owned(session.first_channel()),
        first_campaign_id: owned(session.first_campaign_id()),
        first_utm_campaign: owned(session.first_utm_campaign()),
        first_utm_source: owned(session.first_utm_source()),
        first_ad_id: owned(session.first_ad_id()),
        last_channel: owned(session.last_channel()),
        last_campaign_id: owned(session.last_campaign_id()),
        last_utm_campaign: owned(session.last_utm_campaign()),
        last_utm_source: owned(session.last_utm_source()),
        last_ad_id: owned(session.last_ad_id()),
        first_referrer_host: owned(session.first_referrer_host()),
        first_referrer_medium: owned(session.first_referrer_medium()),
        last_referrer_host: owned(session.last_referrer_host()),
        last_referrer_medium: owned(session.last_referrer_medium()),
        first_click_id: owned(session.first_click_id()),
        last_click_id: owned(session.last_click_id()),
        browser: owned(session.browser()),
        country: owned(session.country()),
        variants: session.exposures().map(|shown| (shown.experiment.to_owned(), shown.variant.to_owned())).collect(),
        class: session.engagement_class(),
        first_offset: session.first_offset(),
        last_offset: session.last_offset(),
    };
    Row {
        id: session.session_id(),
        late_event_count: session.late_event_count(),
        is_final: session.is_final(),
        session: oracle_session,
    }
}

fn key_of_row(row: &Row) -> SessionKey<'_> {
    SessionKey { source: &row.session.source, session_key: &row.session.session_key }
}

/// The table `sessions`: the latest version of each id, `None` for a tombstone.
type Table = BTreeMap<SessionId, Option<Row>>;

/// Writes the changes into the table, and checks what each must keep to.
fn apply(changes: &Changes<'_>, rows: &mut Table) {
    let order: Vec<_> = changes.iter().map(|change| (change.first_offset(), change.session_id())).collect();
    assert!(order.is_sorted(), "changes come by first offset, then id");
    let ids: BTreeSet<_> = changes.iter().map(|change| change.session_id()).collect();
    assert_eq!(ids.len(), changes.len(), "an id is told once");
    for change in changes.iter() {
        match change {
            Change::Upsert(session) => {
                rows.insert(session.session_id(), Some(row_of(session)));
            }
            Change::Tombstone(tombstone) => {
                let old = rows.insert(tombstone.session_id, None).flatten();
                let old = old.expect("only what was told and lives is taken back");
                let session = &old.session;
                assert_eq!(
                    (session.start_time_us, session.end_time_us, session.first_offset, session.last_offset),
                    (tombstone.start_time_us, tombstone.end_time_us, tombstone.first_offset, tombstone.last_offset),
                );
                assert_eq!(key_of_row(&old), tombstone.key);
            }
        }
    }
    for change in changes.iter() {
        if let Change::Tombstone(tombstone) = change {
            let heir = rows.get(&tombstone.superseded_by).and_then(Option::as_ref).expect("what takes over lives");
            assert!((heir.session.start_time_us..=heir.session.end_time_us).contains(&tombstone.start_time_us));
        }
    }
}

/// The stream job and its tables.
struct Line<'a> {
    case: &'a Case,
    sessionizer: Sessionizer,
    rows: Table,
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
            let observed = self.sessionizer.observe(key_of(event), &event_of(event, &shown_of(event)));
            self.late.push(observed == Observed::Late);
            let then = self.case.then[index];
            match then {
                Then::GoOn => {}
                Then::Peek => self.peek(),
                Then::Commit => self.commit(),
                Then::Restart => {
                    self.commit();
                    self.restart();
                }
                Then::Snapshot => {
                    self.commit();
                    self.restart_from_snapshot();
                }
                Then::Crash if crashed.insert(index) => self.restart(),
                Then::Crash => {}
                Then::Advance(_) => {
                    self.sessionizer.advance(&event.source, advanced_us(then, event));
                    // Recorded before another event is folded.
                    self.commit();
                }
            }
        }
        self.commit();
    }

    fn peek(&mut self) {
        let mut looked_at = self.rows.clone();
        apply(&self.sessionizer.peek(), &mut looked_at);
        self.commit();
        assert_eq!(looked_at, self.rows, "a look shows what a report tells");
    }

    fn commit(&mut self) {
        apply(&self.sessionizer.drain(), &mut self.rows);
        self.committed = self.late.len();
        self.remember_watermarks();
        self.check_memory();
    }

    fn remember_watermarks(&mut self) {
        self.watermarks = self.sessionizer.watermarks().map(|(name, us)| (name.to_owned(), us)).collect();
    }

    fn unsealed(&self) -> Vec<&Row> {
        let watermarks: BTreeMap<_, _> = self.watermarks.iter().map(|(name, us)| (name.as_str(), *us)).collect();
        let live = self.rows.values().flatten();
        live.filter(|row| !self.case.rule.is_sealed(row.session.end_time_us, watermarks[&*row.session.source]))
            .collect()
    }

    /// What can change is kept; what cannot goes in time.
    fn check_memory(&self) {
        let unsealed = self.unsealed();
        assert!(self.sessionizer.open_sessions() >= unsealed.len());
        let lowest = unsealed.iter().map(|row| row.session.first_offset).min();
        let low = self.sessionizer.low_offset();
        assert!(lowest.is_none_or(|lowest| low.is_some_and(|low| low <= lowest)), "{low:?} is above {lowest:?}");
        // A bucket, and what the oldest of a line's sessions holds back in it.
        let rule = &self.case.rule;
        let bucket_us = 1_000_000.max((rule.gap_us + rule.lateness_us) / 32);
        let watermarks: BTreeMap<_, _> = self.watermarks.iter().map(|(name, us)| (name.as_str(), *us)).collect();
        let kept_at_most = self.rows.values().flatten().filter(|row| {
            let kept_us = row.session.end_time_us.saturating_add(2 * bucket_us + rule.gap_us + rule.lateness_us);
            !rule.is_sealed(kept_us, watermarks[&*row.session.source])
        });
        assert!(self.sessionizer.open_sessions() <= kept_at_most.count());
    }

    fn restart(&mut self) {
        let mut restorer = Sessionizer::restorer(self.case.rule.clone());
        for (name, watermark_us) in &self.watermarks {
            restorer.watermark(name, *watermark_us);
        }
        for row in self.unsealed() {
            restorer.unsealed(key_of_row(row), row.session.start_time_us, row.id);
        }
        // In no particular order: backwards.
        for index in (0..self.committed).rev() {
            let event = &self.case.events[index];
            if !self.late[index] && restorer.wants(key_of(event), event.time_us) {
                restorer.event(key_of(event), &event_of(event, &shown_of(event)));
            }
        }
        self.sessionizer = restorer.finish().unwrap();
        self.goes_on_from_here();
    }

    fn restart_from_snapshot(&mut self) {
        let mut bytes = b"head".to_vec();
        self.sessionizer.write_snapshot(&mut bytes);
        let (open, low) = (self.sessionizer.open_sessions(), self.sessionizer.low_offset());
        self.sessionizer = Sessionizer::read_snapshot(self.case.rule.clone(), &bytes[4..]).unwrap();
        assert_eq!((self.sessionizer.open_sessions(), self.sessionizer.low_offset()), (open, low));
        self.goes_on_from_here();
    }

    fn goes_on_from_here(&mut self) {
        self.late.truncate(self.committed);
        assert!(self.sessionizer.drain().is_empty(), "everything restored has been told");
        let watermarks: Vec<_> = self.sessionizer.watermarks().map(|(name, us)| (name.to_owned(), us)).collect();
        assert_eq!(watermarks, self.watermarks);
        self.check_memory();
    }

    /// The sessions the view `sessions` would show, with their ids, in the oracle's order.
    fn shown(&self) -> Vec<Row> {
        let mut shown: Vec<Row> = self.rows.values().flatten().cloned().collect();
        shown.sort_by(|a, b| (key_of_row(a), a.session.start_time_us).cmp(&(key_of_row(b), b.session.start_time_us)));
        shown
    }
}

/// The date there, by the library's own calendar.
fn date_in(zone: &str, time_us: i64) -> i64 {
    let time = jiff::Timestamp::from_microsecond(time_us).unwrap();
    let date = time.in_tz(zone).unwrap().date();
    i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day())
}

fn oracle_rule(rule: &SessionRule) -> oracle::Rule {
    oracle::Rule {
        gap_us: rule.gap_us,
        gap_itself_closes: rule.boundary == GapCloses::AtLeast,
        duration_us_max: rule.duration_us_max,
        events_max: rule.events_max.map(|max| usize::try_from(max).unwrap()),
        day_of: rule.midnight.as_ref().map(|midnight| match midnight.zone() {
            "UTC" => (|time_us: i64| date_in("UTC", time_us)) as fn(i64) -> i64,
            "America/New_York" => |time_us: i64| date_in("America/New_York", time_us),
            other => panic!("no oracle for {other}"),
        }),
        campaign_splits: match rule.campaign_splits {
            CampaignSplits::Never => None,
            CampaignSplits::Tags => Some(oracle::Campaigns::UniversalAnalytics),
            CampaignSplits::Name => Some(oracle::Campaigns::Matomo),
        },
        user_switch_splits: rule.user_switch_splits,
        lateness_us: rule.lateness_us,
        watermark_delay_us: rule.watermark_delay_us,
    }
}

#[track_caller]
fn assert_rows_are(shown: &[Row], expected: Vec<oracle::Session>) {
    let ids: Vec<SessionId> = shown.iter().map(|row| row.id).collect();
    let expected_ids: Vec<SessionId> = expected
        .iter()
        .map(|session| {
            let key = SessionKey { source: &session.source, session_key: &session.session_key };
            SessionId::of(key, &session.first_event_id, session.start_time_us)
        })
        .collect();
    assert_eq!(ids, expected_ids);
    for (shown, expected) in shown.iter().zip(expected) {
        assert_eq!(shown.session, oracle::Session { first_event_id: String::new(), ..expected });
    }
}

fn assert_is_the_batch_definition(case: &Case) {
    let mut line = Line::new(case);
    line.run();
    let rule = oracle_rule(&case.rule);
    let late = oracle::late_flags_with_advances(&rule, &case.events, &case.advances());
    assert_eq!(line.late, late);
    assert_rows_are(&line.shown(), oracle::sessions_of(&rule, &case.events, &late));
    repair(&mut line);
    assert_rows_are(&line.shown(), oracle::sessions_of(&rule, &case.events, &vec![false; case.events.len()]));
    let late_rows: i64 = line.shown().iter().map(|row| row.late_event_count).sum();
    assert_eq!(late_rows, late.iter().map(|late| i64::from(*late)).sum::<i64>(), "each late event is counted once");
    assert!(repair(&mut line).is_empty(), "what is as it stands is not told again");
}

/// Puts the late events in, as a scheduled repair does: key by key, from the tables, reading the affected spans only.
/// Returns the ids it told of.
fn repair(line: &mut Line<'_>) -> Vec<SessionId> {
    let case = line.case;
    let mut told = Vec::new();
    let keys: BTreeSet<SessionKey<'_>> = case.events.iter().map(key_of).collect();
    for key in keys {
        let standing: Vec<Row> = line.shown().into_iter().filter(|row| key_of_row(row) == key).collect();
        let spans: Vec<_> = standing.iter().map(|row| (row.session.start_time_us, row.session.end_time_us)).collect();
        let of_key = || case.events.iter().zip(&line.late).filter(|(event, _)| key_of(event) == key);
        let mut late_us: Vec<i64> = of_key().filter(|(_, late)| **late).map(|(event, _)| event.time_us).collect();
        late_us.sort_unstable();
        for (from_us, to_us) in affected(&case.rule, &spans, &late_us) {
            let of_span = |time_us: i64| (from_us..=to_us).contains(&time_us);
            let stands: Vec<Standing> =
                standing.iter().filter(|row| of_span(row.session.start_time_us)).map(standing_of).collect();
            let read: Vec<_> = of_key().filter(|(event, _)| of_span(event.time_us)).collect();
            let shown: Vec<Vec<Shown<'_>>> = read.iter().map(|(event, _)| shown_of(event)).collect();
            let events = read.iter().zip(&shown);
            let events =
                events.map(|((event, late), shown)| SessionEvent { is_late: **late, ..event_of(event, shown) });
            let rows = &mut line.rows;
            resession(&case.rule, key, events, &stands, i64::MIN, |changes| {
                apply(changes, rows);
                told.extend(changes.iter().map(|change| change.session_id()));
            })
            .unwrap();
        }
    }
    told
}

fn standing_of(row: &Row) -> Standing {
    Standing {
        session_id: row.id,
        start_time_us: row.session.start_time_us,
        end_time_us: row.session.end_time_us,
        first_offset: row.session.first_offset,
        last_offset: row.session.last_offset,
        event_count: row.session.event_count,
        late_event_count: row.late_event_count,
    }
}

fn shown_of(event: &oracle::Event) -> Vec<Shown<'_>> {
    let shown = event.variant.iter().map(|(experiment, variant)| Shown {
        experiment,
        variant,
        decision_id: None,
        probability: None,
    });
    shown.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_order_any_commits_and_any_restarts_give_the_sessions_of_the_batch(case in any_case()) {
        assert_is_the_batch_definition(&case);
    }
}

const SECOND_US: i64 = 1_000_000;

/// A rule for the DuckDB events: late never, no longest session.
fn duckdb_rule(gap_s: i64, boundary: GapCloses) -> SessionRule {
    SessionRule {
        gap_us: gap_s * SECOND_US,
        boundary,
        duration_us_max: SessionRule::US_MAX,
        lateness_us: SessionRule::US_MAX,
        watermark_delay_us: 0,
        ..SessionRule::ga4()
    }
}

/// The sessions of these events of all users as one shuffled log.
///
/// * `apart`: whether events of one second are set a microsecond apart, in the order of their ids. SQL parts them where
///   a campaign changes; we never part what happens at one moment.
fn duckdb_sessions(rule: SessionRule, events: &[Record], apart: bool) -> Vec<Row> {
    let mut at_second: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for record in events {
        let second = (record.text("user_id"), record.integer("ts"));
        at_second.entry(second).or_default().push(record.integer("event_id"));
    }
    at_second.values_mut().for_each(|ids| ids.sort_unstable());
    let mut sessionizer = Sessionizer::new(rule);
    let mut rows = Table::new();
    for (index, record) in events.iter().enumerate() {
        let kind = match record.text("event") {
            "page_view" => EventKind::Page,
            "purchase" => EventKind::Conversion,
            _ => EventKind::Custom,
        };
        // DuckDB orders ids as numbers, we as text.
        let event_id = format!("{:08}", record.integer("event_id"));
        let offset = i64::try_from(index).unwrap();
        let (user, second) = (record.text("user_id"), record.integer("ts"));
        let place = at_second[&(user, second)].iter().position(|id| *id == record.integer("event_id")).unwrap();
        let time_us = second * SECOND_US + if apart { i64::try_from(place).unwrap() } else { 0 };
        let (channel, utm_source) = (Some(record.text("utm_source")), Some(record.text("utm_source")));
        let event = SessionEvent {
            url_path: Some(record.text("page")),
            touch: Touch { channel, utm_source, ..Touch::default() },
            value_micros: Some(Money::parse(record.text("revenue")).unwrap().micros),
            currency: Some("EUR"),
            ..SessionEvent::plain(time_us, offset, &event_id, kind)
        };
        let key = SessionKey { source: "shop", session_key: user };
        assert_eq!(sessionizer.observe(key, &event), Observed::Counted);
        if index % 97 == 0 {
            apply(&sessionizer.drain(), &mut rows);
        }
    }
    apply(&sessionizer.drain(), &mut rows);
    let mut sessions: Vec<Row> = rows.into_values().flatten().collect();
    sessions.sort_by(|a, b| (key_of_row(a), a.session.start_time_us).cmp(&(key_of_row(b), b.session.start_time_us)));
    sessions
}

fn assert_same_cuts(ours: &[Row], theirs: &[Record]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().map(|row| &row.session).zip(theirs) {
        let what = format!("{} {}", theirs.text("user_id"), theirs.text("session_no"));
        assert_eq!(ours.session_key, theirs.text("user_id"), "{what}");
        assert_eq!(ours.start_time_us / SECOND_US, theirs.integer("start_ts"), "{what}");
        assert_eq!(ours.end_time_us / SECOND_US, theirs.integer("end_ts"), "{what}");
        assert_eq!(ours.event_count, theirs.integer("n_events"), "{what}");
    }
}

fn assert_same_summaries(ours: &[Row], theirs: &[Record]) {
    assert_same_cuts(ours, theirs);
    for (ours, theirs) in ours.iter().map(|row| &row.session).zip(theirs) {
        let what = format!("{} {}", theirs.text("user_id"), theirs.text("session_no"));
        assert_eq!(ours.page_count, theirs.integer("n_page_views"), "{what}");
        assert_eq!(ours.first_channel.as_deref(), Some(theirs.text("entry_source")), "{what}");
        let value_micros = ours.value_by_currency.values().sum::<i64>();
        // A sum of floats there, of decimals here.
        assert!((theirs.float("revenue") * 1e6 - value_micros as f64).abs() < 1.0, "{what}");
        // Their first page may be that of a purchase; ours is that of a page view.
        if ours.page_count == ours.event_count {
            assert_eq!(ours.entry_path.as_deref(), Some(theirs.text("entry_page")), "{what}");
            assert_eq!(ours.exit_path.as_deref(), Some(theirs.text("exit_page")), "{what}");
        }
    }
}

/// The seven rules of the reference, each with the name of its file there and of our part of it.
fn assert_as_the_reference(events: &[Record], expected: impl Fn(&str, &str) -> Vec<Record>) {
    let sessions = |rule: SessionRule| duckdb_sessions(rule, events, false);
    let over = || duckdb_rule(1_800, GapCloses::Over);
    let midnight = |zone: &str| SessionRule { midnight: Midnight::in_zone(zone), ..over() };
    assert_same_summaries(&sessions(over()), &expected("gap_gt_1800", "gap_over_1800"));
    let at_least = duckdb_rule(1_800, GapCloses::AtLeast);
    assert_same_summaries(&sessions(at_least), &expected("gap_ge_1800", "gap_at_least_1800"));
    let short = duckdb_rule(600, GapCloses::Over);
    assert_same_summaries(&sessions(short), &expected("gap_gt_600", "gap_over_600"));
    assert_same_summaries(&sessions(midnight("UTC")), &expected("gap_or_midnight_utc", "midnight_utc"));
    let new_york = midnight("America/New_York");
    assert_same_summaries(&sessions(new_york), &expected("gap_or_midnight_newyork", "midnight_new_york"));
    let campaign = SessionRule { campaign_splits: CampaignSplits::Tags, ..over() };
    let of_campaigns = duckdb_sessions(campaign, events, true);
    assert_same_summaries(&of_campaigns, &expected("gap_or_campaign_change", "campaign_change"));
    let hour = SessionRule { duration_us_max: 3_600 * SECOND_US, ..over() };
    assert_same_cuts(&sessions(hour), &expected("gap_1800_max_3600", "gap_over_1800_max_3600"));
}

#[test]
fn seven_rules_cut_as_in_duckdb() {
    assert_as_the_reference(&records("session_events.csv"), |_, ours| records(&format!("session_expected_{ours}.csv")));
}

/// The whole set has 26,481 events of 900 users; it is not part of the repository.
#[test]
fn seven_rules_cut_all_events_as_in_duckdb() {
    let Some(oracles) = std::env::var_os("TRIBUTARY_ORACLES") else { return };
    let folder = PathBuf::from(oracles).join("sessions_retention");
    let events = records_at(&folder.join("events.csv"));
    assert_as_the_reference(&events, |theirs, _| records_at(&folder.join(format!("expected_sessions_{theirs}.csv"))));
    eprintln!("{} events under seven rules agree with {}", events.len(), folder.display());
}
