//! What of an event a session needs, and which events make sessions at all.
//!
//! In:       the columns of the table `events`.
//! Out:      `SessionEvent`: borrowed, so that a row of a batch becomes one without an allocation.
//! Promise:  says nothing of how it is kept (`fact.rs`).
//! Not here: finding the channel of an event that names none (`channel`; the pipeline fills it in before).

use tributary_schemas::{EngagementClass, EventKind};

/// Whether events of this kind open and extend sessions.
///
/// A send, a decision and a cost are done to a person, or to nobody, by us: they are not activity. Everything else is,
/// also `identify`, `alias`, `group` and `consent`: an SDK sends them when its user does something.
pub const fn belongs_to_session(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Send | EventKind::Decision | EventKind::Cost)
}

/// One event as its session sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionEvent<'a> {
    pub time_us: i64,
    /// When the door received it: bounds how far its time may push the watermark.
    pub ingest_time_us: i64,
    /// Offset in the log partition; unique there.
    pub offset: i64,
    pub event_id: &'a str,
    pub kind: EventKind,
    pub engagement_class: EngagementClass,
    /// It came too late for the stream, and a repair puts it in.
    pub is_late: bool,
    pub anonymous_id: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub account_id: Option<&'a str>,
    pub url_host: Option<&'a str>,
    pub url_path: Option<&'a str>,
    pub device_class: Option<&'a str>,
    pub browser: Option<&'a str>,
    pub os: Option<&'a str>,
    pub country: Option<&'a str>,
    pub region: Option<&'a str>,
    pub touch: Touch<'a>,
    /// Amount in millionths of `currency`.
    pub value_micros: Option<i64>,
    pub currency: Option<&'a str>,
    pub exposures: &'a [Shown<'a>],
}

/// What an event says about where it came from. Most say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touch<'a> {
    pub channel: Option<&'a str>,
    pub campaign_id: Option<&'a str>,
    pub utm_campaign: Option<&'a str>,
    pub utm_source: Option<&'a str>,
    pub utm_medium: Option<&'a str>,
    pub utm_term: Option<&'a str>,
    pub creative_id: Option<&'a str>,
    pub ad_id: Option<&'a str>,
    pub message_id: Option<&'a str>,
    pub referrer_host: Option<&'a str>,
    pub referrer_medium: Option<&'a str>,
    pub referrer_source: Option<&'a str>,
    /// The one ad click id it carries, with its kind: the first that is there. The row says kind:id.
    pub click_id: Option<(&'a str, &'a str)>,
}

/// A variant shown with an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown<'a> {
    pub experiment: &'a str,
    pub variant: &'a str,
    pub decision_id: Option<&'a str>,
    pub probability: Option<f64>,
}

impl<'a> SessionEvent<'a> {
    /// An event that says nothing but who, when and what kind; received when it happened.
    pub const fn plain(time_us: i64, offset: i64, event_id: &'a str, kind: EventKind) -> Self {
        Self {
            time_us,
            ingest_time_us: time_us,
            offset,
            event_id,
            kind,
            engagement_class: EngagementClass::Unknown,
            is_late: false,
            anonymous_id: None,
            user_id: None,
            account_id: None,
            url_host: None,
            url_path: None,
            device_class: None,
            browser: None,
            os: None,
            country: None,
            region: None,
            touch: Touch {
                channel: None,
                campaign_id: None,
                utm_campaign: None,
                utm_source: None,
                utm_medium: None,
                utm_term: None,
                creative_id: None,
                ad_id: None,
                message_id: None,
                referrer_host: None,
                referrer_medium: None,
                referrer_source: None,
                click_id: None,
            },
            value_micros: None,
            currency: None,
            exposures: &[],
        }
    }
}
