//! What of an event a session needs, and which events make sessions at all.
//!
//! In:       the columns of the table `events`.
//! Out:      `SessionEvent`: held in memory for as long as its session can still change, so kept small.
//! Promise:  the order of events within a key is total: time, event id, offset.
//! Not here: finding the channel of an event that names none (`channel`; the pipeline fills it in before).

use std::sync::Arc;

use tributary_schemas::{EngagementClass, EventKind, Exposure};

/// Whether events of this kind open and extend sessions.
///
/// A send, a decision and a cost are done to a person, or to nobody, by us: they are not activity. Everything else is,
/// also `identify`, `alias`, `group` and `consent`: an SDK sends them when its user does something.
pub const fn belongs_to_session(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Send | EventKind::Decision | EventKind::Cost)
}

/// One event as its session sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEvent {
    pub time_us: i64,
    /// Offset in the log partition; unique there.
    pub offset: i64,
    pub event_id: Box<str>,
    pub kind: EventKind,
    pub engagement_class: EngagementClass,
    pub anonymous_id: Option<Arc<str>>,
    pub user_id: Option<Arc<str>>,
    pub account_id: Option<Arc<str>>,
    pub url_host: Option<Arc<str>>,
    pub url_path: Option<Arc<str>>,
    pub device_class: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    /// Present only when it says something: most events name no campaign. See [`Touch::boxed`].
    pub touch: Option<Box<Touch>>,
    /// Amount in millionths of `currency`.
    pub value_micros: Option<i64>,
    pub currency: Option<Arc<str>>,
    /// `None` stands for no exposures: eight bytes less than an empty list.
    pub exposures: Option<Box<[Exposure]>>,
}

/// What an event says about where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touch {
    pub channel: Option<Box<str>>,
    pub campaign_id: Option<Box<str>>,
    pub utm_source: Option<Box<str>>,
    pub utm_medium: Option<Box<str>>,
    pub referrer_host: Option<Box<str>>,
    /// The ad click id, written kind:id. See [`click_id`](SessionEvent::click_id).
    pub click_id: Option<Box<str>>,
}

impl Touch {
    /// `None` if it says nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl SessionEvent {
    /// An event that says nothing but who, when and what kind.
    pub fn plain(time_us: i64, offset: i64, event_id: &str, kind: EventKind) -> Self {
        Self {
            time_us,
            offset,
            event_id: event_id.into(),
            kind,
            engagement_class: EngagementClass::Unknown,
            anonymous_id: None,
            user_id: None,
            account_id: None,
            url_host: None,
            url_path: None,
            device_class: None,
            country: None,
            touch: None,
            value_micros: None,
            currency: None,
            exposures: None,
        }
    }

    /// The one click id a touch carries, written kind:id: the first that is there.
    pub fn click_id<'a>(ids: impl IntoIterator<Item = (&'static str, Option<&'a str>)>) -> Option<Box<str>> {
        ids.into_iter().find_map(|(kind, id)| id.map(|id| format!("{kind}:{id}").into()))
    }

    /// Its place among the events of its key. The offset settles what a reused event id leaves open.
    pub(super) fn place(&self) -> (i64, &str, i64) {
        (self.time_us, &self.event_id, self.offset)
    }

    /// Takes over the texts it has in common with its neighbour: the events of a visit repeat the same ids, host and
    /// country, and one copy of each is enough.
    pub(super) fn share_with(&mut self, neighbour: &Self) {
        let pairs = [
            (&mut self.anonymous_id, &neighbour.anonymous_id),
            (&mut self.user_id, &neighbour.user_id),
            (&mut self.account_id, &neighbour.account_id),
            (&mut self.url_host, &neighbour.url_host),
            (&mut self.device_class, &neighbour.device_class),
            (&mut self.country, &neighbour.country),
            (&mut self.currency, &neighbour.currency),
        ];
        for (mine, theirs) in pairs {
            if mine.is_some() && mine == theirs {
                mine.clone_from(theirs);
            }
        }
    }
}
