//! The row of a session: what its events say together.
//!
//! In:       the events of one session in their order.
//! Out:      `Session`: the columns of the table `sessions` without `version`, `superseded_by`, `log_partition` and
//!           `start_date`, under the same names.
//! Promise:  depends on the events alone, not on when or how often they were summed up.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tributary_schemas::{EngagementClass, EventKind, Exposure, Money};

use super::event::SessionEvent;
use super::id::{SessionId, SessionKey};

/// The longest a step from one event to the next counts as engaged time: 5 minutes. Whoever is silent for longer has
/// left the page open.
pub const ENGAGED_STEP_US_MAX: i64 = 300 * 1_000_000;

/// Under which code a value without a currency is summed: ISO 4217's own for "no currency involved".
pub const NO_CURRENCY: &str = "XXX";

/// A sum in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyValue {
    pub currency: Arc<str>,
    /// Millionths of the currency's unit; held at `Money::MICROS_MAX` should a sum grow beyond what the lake can store.
    pub micros: i64,
}

/// One session. The fields are the columns of the table `sessions`; their meaning is told there.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub session_id: SessionId,
    pub source: Arc<str>,
    pub session_key: Arc<str>,
    pub anonymous_id: Option<Arc<str>>,
    pub user_id: Option<Arc<str>>,
    pub account_id: Option<Arc<str>>,
    pub start_time_us: i64,
    pub end_time_us: i64,
    pub duration_us: i64,
    pub engaged_us: i64,
    pub event_count: i64,
    pub page_count: i64,
    pub conversion_count: i64,
    pub is_bounce: bool,
    /// Sorted by currency; empty where no conversion had a value.
    pub value_by_currency: Vec<CurrencyValue>,
    pub entry_host: Option<Arc<str>>,
    pub entry_path: Option<Arc<str>>,
    pub exit_path: Option<Arc<str>>,
    pub first_channel: Option<Box<str>>,
    pub first_campaign_id: Option<Box<str>>,
    pub first_utm_source: Option<Box<str>>,
    pub first_utm_medium: Option<Box<str>>,
    pub first_referrer_host: Option<Box<str>>,
    pub first_click_id: Option<Box<str>>,
    pub last_channel: Option<Box<str>>,
    pub last_campaign_id: Option<Box<str>>,
    pub last_utm_source: Option<Box<str>>,
    pub last_utm_medium: Option<Box<str>>,
    pub last_referrer_host: Option<Box<str>>,
    pub last_click_id: Option<Box<str>>,
    pub device_class: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub exposures: Vec<Exposure>,
    pub engagement_class: EngagementClass,
    pub rule: Arc<str>,
    pub first_offset: i64,
    pub last_offset: i64,
}

/// Sums up one session. `events`: in order, at least one.
pub(super) fn summarize(
    id: SessionId,
    source: &Arc<str>,
    session_key: &Arc<str>,
    events: &[SessionEvent],
    rule: &Arc<str>,
) -> Session {
    let first = events.first().expect("a session begins with an event");
    let last = events.last().expect("a session begins with an event");
    let pages = || events.iter().filter(|event| event.kind == EventKind::Page);
    let touches = || events.iter().filter_map(|event| event.touch.as_deref());
    let first_touch = touches().find(|touch| touch.channel.is_some());
    let last_touch = touches().rfind(|touch| touch.channel.is_some());
    let page_count = count(pages());
    Session {
        session_id: id,
        source: source.clone(),
        session_key: session_key.clone(),
        anonymous_id: events.iter().find_map(|event| event.anonymous_id.clone()),
        user_id: events.iter().rev().find_map(|event| event.user_id.clone()),
        account_id: events.iter().rev().find_map(|event| event.account_id.clone()),
        start_time_us: first.time_us,
        end_time_us: last.time_us,
        duration_us: last.time_us - first.time_us,
        engaged_us: engaged_us(events),
        event_count: count(events.iter()),
        page_count,
        conversion_count: count(events.iter().filter(|event| event.kind == EventKind::Conversion)),
        is_bounce: page_count == 1 && !events.iter().any(is_action),
        value_by_currency: value_by_currency(events),
        entry_host: pages().next().and_then(|page| page.url_host.clone()),
        entry_path: pages().next().and_then(|page| page.url_path.clone()),
        exit_path: pages().next_back().and_then(|page| page.url_path.clone()),
        first_channel: first_touch.and_then(|touch| touch.channel.clone()),
        first_campaign_id: first_touch.and_then(|touch| touch.campaign_id.clone()),
        first_utm_source: first_touch.and_then(|touch| touch.utm_source.clone()),
        first_utm_medium: first_touch.and_then(|touch| touch.utm_medium.clone()),
        first_referrer_host: touches().find_map(|touch| touch.referrer_host.clone()),
        first_click_id: touches().find_map(|touch| touch.click_id.clone()),
        last_channel: last_touch.and_then(|touch| touch.channel.clone()),
        last_campaign_id: last_touch.and_then(|touch| touch.campaign_id.clone()),
        last_utm_source: last_touch.and_then(|touch| touch.utm_source.clone()),
        last_utm_medium: last_touch.and_then(|touch| touch.utm_medium.clone()),
        last_referrer_host: touches().rev().find_map(|touch| touch.referrer_host.clone()),
        last_click_id: touches().rev().find_map(|touch| touch.click_id.clone()),
        device_class: events.iter().find_map(|event| event.device_class.clone()),
        country: events.iter().find_map(|event| event.country.clone()),
        exposures: distinct_exposures(events),
        engagement_class: engagement_class(events),
        rule: rule.clone(),
        first_offset: events.iter().map(|event| event.offset).min().expect("a session begins with an event"),
        last_offset: events.iter().map(|event| event.offset).max().expect("a session begins with an event"),
    }
}

impl Session {
    pub fn key(&self) -> SessionKey<'_> {
        SessionKey { source: &self.source, session_key: &self.session_key }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).expect("what fits in memory fits in 63 bits")
}

fn engaged_us(events: &[SessionEvent]) -> i64 {
    events.windows(2).map(|pair| (pair[1].time_us - pair[0].time_us).min(ENGAGED_STEP_US_MAX)).sum()
}

/// Whether a person did this, apart from looking at a page: what makes a visit more than a bounce. Identify, alias,
/// group and consent are what the SDK or a banner says by itself; an impression is shown, not done; and what a machine
/// clicked nobody did.
fn is_action(event: &SessionEvent) -> bool {
    let done = matches!(
        event.kind,
        EventKind::Click | EventKind::Open | EventKind::Conversion | EventKind::Feedback | EventKind::Custom
    );
    done && matches!(event.engagement_class, EngagementClass::Human | EngagementClass::Unknown)
}

fn value_by_currency(events: &[SessionEvent]) -> Vec<CurrencyValue> {
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == EventKind::Conversion) {
        if let Some(micros) = event.value_micros {
            *sums.entry(event.currency.as_deref().unwrap_or(NO_CURRENCY)).or_default() += i128::from(micros);
        }
    }
    let max = i128::from(Money::MICROS_MAX);
    sums.into_iter()
        .map(|(currency, sum)| {
            let micros = i64::try_from(sum.clamp(-max, max)).expect("clamped to what a column of money holds");
            CurrencyValue { currency: currency.into(), micros }
        })
        .collect()
}

/// The first sight of each variant, whole: later sights of it may carry another decision.
fn distinct_exposures(events: &[SessionEvent]) -> Vec<Exposure> {
    let mut seen = HashSet::new();
    let exposures = events.iter().filter_map(|event| event.exposures.as_deref()).flatten();
    exposures.filter(|exposure| seen.insert((&exposure.experiment, &exposure.variant))).cloned().collect()
}

/// Human if any event is, else unknown if any is, else the machine seen most; the first in `ALL` of those seen equally.
fn engagement_class(events: &[SessionEvent]) -> EngagementClass {
    let count_of = |class| events.iter().filter(|event| event.engagement_class == class).count();
    for class in [EngagementClass::Human, EngagementClass::Unknown] {
        if count_of(class) > 0 {
            return class;
        }
    }
    let mut most = (EngagementClass::Unknown, 0);
    for &class in EngagementClass::ALL {
        let seen = count_of(class);
        if seen > most.1 {
            most = (class, seen);
        }
    }
    most.0
}
