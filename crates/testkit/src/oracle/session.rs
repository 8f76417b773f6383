//! Sessions by the batch definition: sort, walk, sum up.
//!
//! In:       all events that make sessions, in log order; advances of the watermark among them; the rule.
//! Out:      which of them were late, and the sessions of the rest.
//! Promise:  knows nothing of streaming: no state, no order of arrival but for lateness, no restart.
//! Not here: session ids: a session is known by its key and its first event.

use std::collections::BTreeMap;

use tributary_schemas::{EngagementClass, EventKind};

#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub gap_us: i64,
    /// Whether a quiet time of exactly the gap closes; otherwise only a longer one does.
    pub gap_itself_closes: bool,
    pub duration_us_max: i64,
    pub events_max: Option<usize>,
    /// Which day a time is on, where a session ends with the day.
    pub day_of: Option<fn(i64) -> i64>,
    pub campaign_splits: Option<Campaigns>,
    pub user_switch_splits: bool,
    pub lateness_us: i64,
    pub watermark_delay_us: i64,
}

/// Whose idea of a change of campaign closes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Campaigns {
    /// Any other value of campaign, source, medium or click id.
    UniversalAnalytics,
    /// Another campaign name or keyword; the name is the first of campaign, source and medium.
    Matomo,
}

impl Rule {
    pub const GA4: Self = Self {
        gap_us: 30 * 60_000_000,
        gap_itself_closes: false,
        duration_us_max: 24 * 3_600_000_000,
        events_max: None,
        day_of: None,
        campaign_splits: None,
        user_switch_splits: false,
        lateness_us: 3_600_000_000,
        watermark_delay_us: 30_000_000,
    };
}

/// How far ahead of its receipt the time of an event moves the watermark.
const FUTURE_US_MAX: i64 = 5 * 60_000_000;

/// A watermark that is raised without an event: before the event of this index, of this source, to this time.
pub type Advance = (usize, String, i64);

#[derive(Debug, Clone)]
pub struct Event {
    pub source: String,
    pub session_key: String,
    pub event_id: String,
    pub time_us: i64,
    pub ingest_time_us: i64,
    pub offset: i64,
    pub kind: EventKind,
    pub class: EngagementClass,
    pub user_id: Option<String>,
    pub host: Option<String>,
    pub path: Option<String>,
    pub channel: Option<String>,
    pub campaign_id: Option<String>,
    pub utm_campaign: Option<String>,
    pub utm_source: Option<String>,
    pub utm_medium: Option<String>,
    pub utm_term: Option<String>,
    pub ad_id: Option<String>,
    pub referrer_host: Option<String>,
    pub referrer_medium: Option<String>,
    pub click_id: Option<String>,
    pub browser: Option<String>,
    pub country: Option<String>,
    /// Currency and millionths of it.
    pub value: Option<(String, i64)>,
    /// Experiment and variant.
    pub variant: Option<(String, String)>,
}

impl Event {
    pub fn new(source: &str, session_key: &str, event_id: &str, time_us: i64, offset: i64) -> Self {
        Self {
            source: source.to_owned(),
            session_key: session_key.to_owned(),
            event_id: event_id.to_owned(),
            time_us,
            ingest_time_us: time_us,
            offset,
            kind: EventKind::Page,
            class: EngagementClass::Unknown,
            user_id: None,
            host: None,
            path: None,
            channel: None,
            campaign_id: None,
            utm_campaign: None,
            utm_source: None,
            utm_medium: None,
            utm_term: None,
            ad_id: None,
            referrer_host: None,
            referrer_medium: None,
            click_id: None,
            browser: None,
            country: None,
            value: None,
            variant: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub source: String,
    pub session_key: String,
    pub first_event_id: String,
    pub start_time_us: i64,
    pub end_time_us: i64,
    pub engaged_us: i64,
    pub event_count: i64,
    pub page_count: i64,
    pub conversion_count: i64,
    pub is_bounce: bool,
    pub value_by_currency: BTreeMap<String, i64>,
    pub user_id: Option<String>,
    pub entry_host: Option<String>,
    pub entry_path: Option<String>,
    pub exit_host: Option<String>,
    pub exit_path: Option<String>,
    pub first_channel: Option<String>,
    pub first_campaign_id: Option<String>,
    pub first_utm_campaign: Option<String>,
    pub first_utm_source: Option<String>,
    pub first_ad_id: Option<String>,
    pub last_channel: Option<String>,
    pub last_campaign_id: Option<String>,
    pub last_utm_campaign: Option<String>,
    pub last_utm_source: Option<String>,
    pub last_ad_id: Option<String>,
    pub first_referrer_host: Option<String>,
    pub first_referrer_medium: Option<String>,
    pub last_referrer_host: Option<String>,
    pub last_referrer_medium: Option<String>,
    pub first_click_id: Option<String>,
    pub last_click_id: Option<String>,
    pub browser: Option<String>,
    pub country: Option<String>,
    pub variants: Vec<(String, String)>,
    pub class: EngagementClass,
    pub first_offset: i64,
    pub last_offset: i64,
}

/// For each event, whether it came too late: the highest time its source had shown before, less the delay, less the
/// lateness, is beyond it. A time far ahead of its receipt shows no more than that.
///
/// * `events`: in log order.
pub fn late_flags(rule: &Rule, events: &[Event]) -> Vec<bool> {
    late_flags_with_advances(rule, events, &[])
}

/// The same, where watermarks were raised without an event too.
pub fn late_flags_with_advances(rule: &Rule, events: &[Event], advances: &[Advance]) -> Vec<bool> {
    let mut watermarks: BTreeMap<&str, i64> = BTreeMap::new();
    let mut flags = Vec::new();
    for (index, event) in events.iter().enumerate() {
        for (at, source, watermark_us) in advances {
            if *at == index && watermarks.contains_key(source.as_str()) {
                let known_us = watermarks[source.as_str()];
                watermarks.insert(source, known_us.max(*watermark_us));
            }
        }
        let before_us = watermarks.get(event.source.as_str()).copied();
        flags.push(before_us.is_some_and(|watermark_us| event.time_us < watermark_us - rule.lateness_us));
        let shown_us = event.time_us.min(event.ingest_time_us + FUTURE_US_MAX) - rule.watermark_delay_us;
        watermarks.insert(&event.source, before_us.map_or(shown_us, |us| us.max(shown_us)));
    }
    flags
}

/// The sessions of all events that were not late, by source, key and time.
///
/// * `events`: in log order.
pub fn sessions(rule: &Rule, events: &[Event]) -> Vec<Session> {
    sessions_of(rule, events, &late_flags(rule, events))
}

/// The sessions of all events but those that are left out, by source, key and time.
pub fn sessions_of(rule: &Rule, events: &[Event], left_out: &[bool]) -> Vec<Session> {
    let mut by_key: BTreeMap<(&str, &str), Vec<&Event>> = BTreeMap::new();
    for (event, left_out) in events.iter().zip(left_out) {
        if !left_out {
            by_key.entry((&event.source, &event.session_key)).or_default().push(event);
        }
    }
    let mut sessions = Vec::new();
    for mut line in by_key.into_values() {
        line.sort_by_key(|event| (event.time_us, tie_key(&event.event_id), event.offset));
        while !line.is_empty() {
            let rest = line.split_off(length_of_first(rule, &line));
            sessions.push(sum_up(&line));
            line = rest;
        }
    }
    sessions
}

/// What orders events of one time: the id itself where it has at most eight bytes, else its hash.
fn tie_key(event_id: &str) -> u64 {
    if event_id.len() > 8 {
        return xxhash_rust::xxh3::xxh3_64(event_id.as_bytes());
    }
    let bytes = event_id.bytes().chain(std::iter::repeat(0)).take(8);
    bytes.fold(0, |number, byte| number * 256 + u64::from(byte))
}

/// How many events the session has that begins with the first of `line`.
fn length_of_first(rule: &Rule, line: &[&Event]) -> usize {
    for index in 1..line.len() {
        // What happens in one moment is in one session.
        if line[index].time_us > line[index - 1].time_us && is_new_session(rule, &line[..index], line[index]) {
            return index;
        }
    }
    line.len()
}

fn is_new_session(rule: &Rule, session: &[&Event], event: &Event) -> bool {
    let (first, last) = (session[0], session[session.len() - 1]);
    let quiet_us = event.time_us - last.time_us;
    let long_quiet = quiet_us > rule.gap_us || (rule.gap_itself_closes && quiet_us == rule.gap_us);
    let too_long = event.time_us - first.time_us > rule.duration_us_max;
    let too_many = rule.events_max.is_some_and(|max| session.len() >= max);
    let another_day = rule.day_of.is_some_and(|day_of| day_of(last.time_us) != day_of(event.time_us));

    let campaign = |event: &Event| -> Option<Vec<Option<String>>> {
        let name = event.utm_campaign.clone().or_else(|| event.campaign_id.clone());
        let (source, medium) = (event.utm_source.clone(), event.utm_medium.clone());
        let said = match rule.campaign_splits? {
            Campaigns::UniversalAnalytics => vec![name, source, medium, event.click_id.clone()],
            Campaigns::Matomo => match [name, source, medium].into_iter().flatten().next() {
                Some(name) => vec![Some(name), event.utm_term.clone()],
                None => vec![],
            },
        };
        said.iter().any(Option::is_some).then_some(said)
    };
    let campaign_before = session.iter().rev().find_map(|event| campaign(event));
    let another_campaign = campaign(event).is_some_and(|said| Some(said) != campaign_before);

    let user_before = session.iter().rev().find_map(|event| event.user_id.as_ref());
    let another_user = rule.user_switch_splits
        && user_before.is_some_and(|before| event.user_id.as_ref().is_some_and(|user| user != before));
    long_quiet || too_long || too_many || another_day || another_campaign || another_user
}

fn sum_up(events: &[&Event]) -> Session {
    let (first, last) = (events[0], events[events.len() - 1]);
    let mut session = Session {
        source: first.source.clone(),
        session_key: first.session_key.clone(),
        first_event_id: first.event_id.clone(),
        start_time_us: first.time_us,
        end_time_us: last.time_us,
        engaged_us: 0,
        event_count: 0,
        page_count: 0,
        conversion_count: 0,
        is_bounce: false,
        value_by_currency: BTreeMap::new(),
        user_id: None,
        entry_host: None,
        entry_path: None,
        exit_host: None,
        exit_path: None,
        first_channel: None,
        first_campaign_id: None,
        first_utm_campaign: None,
        first_utm_source: None,
        first_ad_id: None,
        last_channel: None,
        last_campaign_id: None,
        last_utm_campaign: None,
        last_utm_source: None,
        last_ad_id: None,
        first_referrer_host: None,
        first_referrer_medium: None,
        last_referrer_host: None,
        last_referrer_medium: None,
        first_click_id: None,
        last_click_id: None,
        browser: None,
        country: None,
        variants: Vec::new(),
        class: class_of(events),
        first_offset: first.offset,
        last_offset: first.offset,
    };
    let mut before_us = first.time_us;
    let mut action_count = 0;
    for event in events {
        session.engaged_us += i64::min(event.time_us - before_us, 5 * 60_000_000);
        before_us = event.time_us;
        session.event_count += 1;
        session.first_offset = session.first_offset.min(event.offset);
        session.last_offset = session.last_offset.max(event.offset);
        if event.kind == EventKind::Page {
            session.page_count += 1;
            if session.page_count == 1 {
                session.entry_host = event.host.clone();
                session.entry_path = event.path.clone();
            }
            session.exit_host = event.host.clone();
            session.exit_path = event.path.clone();
        }
        if event.kind == EventKind::Conversion {
            session.conversion_count += 1;
            if let Some((currency, micros)) = &event.value {
                *session.value_by_currency.entry(currency.clone()).or_insert(0) += micros;
            }
        }
        let machine = ![EngagementClass::Human, EngagementClass::Unknown].contains(&event.class);
        let doing = [EventKind::Click, EventKind::Open, EventKind::Conversion, EventKind::Feedback, EventKind::Custom];
        if doing.contains(&event.kind) && !machine {
            action_count += 1;
        }
        if event.user_id.is_some() {
            session.user_id = event.user_id.clone();
        }
        if event.channel.is_some() {
            if session.first_channel.is_none() {
                session.first_channel = event.channel.clone();
                session.first_campaign_id = event.campaign_id.clone();
                session.first_utm_campaign = event.utm_campaign.clone();
                session.first_utm_source = event.utm_source.clone();
                session.first_ad_id = event.ad_id.clone();
            }
            session.last_channel = event.channel.clone();
            session.last_campaign_id = event.campaign_id.clone();
            session.last_utm_campaign = event.utm_campaign.clone();
            session.last_utm_source = event.utm_source.clone();
            session.last_ad_id = event.ad_id.clone();
        }
        if event.referrer_host.is_some() {
            if session.first_referrer_host.is_none() {
                session.first_referrer_host = event.referrer_host.clone();
                session.first_referrer_medium = event.referrer_medium.clone();
            }
            session.last_referrer_host = event.referrer_host.clone();
            session.last_referrer_medium = event.referrer_medium.clone();
        }
        if event.click_id.is_some() {
            if session.first_click_id.is_none() {
                session.first_click_id = event.click_id.clone();
            }
            session.last_click_id = event.click_id.clone();
        }
        if session.browser.is_none() {
            session.browser = event.browser.clone();
        }
        if session.country.is_none() {
            session.country = event.country.clone();
        }
        if let Some(variant) = &event.variant
            && !session.variants.contains(variant)
        {
            session.variants.push(variant.clone());
        }
    }
    session.is_bounce = session.page_count == 1 && action_count == 0;
    session
}

fn class_of(events: &[&Event]) -> EngagementClass {
    let count = |class| events.iter().filter(|event| event.class == class).count();
    if count(EngagementClass::Human) > 0 {
        return EngagementClass::Human;
    }
    if count(EngagementClass::Unknown) > 0 {
        return EngagementClass::Unknown;
    }
    let most = EngagementClass::ALL.iter().map(|class| count(*class)).max().unwrap_or(0);
    let first_with_most = EngagementClass::ALL.iter().find(|class| count(**class) == most);
    *first_with_most.expect("the highest count is the count of one of them")
}
