//! What a report tells: sessions as they now stand, and sessions that are no more.
//!
//! In:       the sums of changed sessions, and the texts they refer to.
//! Out:      `Changes`, to be read row by row; nothing is copied that the reader does not take.
//! Promise:  by first offset and then id; no id is mentioned twice.
//! Not here: columns (`pipeline`): the methods of `Session` have their names, the meaning is told there.

use tributary_schemas::{EngagementClass, Money};

use super::draft::Draft;
use super::event::Shown;
use super::fact::{context, ids, touch};
use super::id::{SessionId, SessionKey};
use super::line::Listener;
use super::repair::Standing;
use super::rule::SessionRule;
use super::span::Span;
use super::texts::{Text, Texts};

/// Under which code a value without a currency is summed: ISO 4217's own for "no currency involved".
pub const NO_CURRENCY: &str = "XXX";

/// One change to tell the lake.
#[derive(Debug, Clone, Copy)]
pub enum Change<'c> {
    /// The session as it now stands, whole; it replaces what was told under its id, a tombstone too.
    Upsert(Session<'c>),
    /// This id no longer names a session.
    Tombstone(Tombstone<'c>),
}

/// One session. The methods are the columns of the table `sessions`.
#[derive(Debug, Clone, Copy)]
pub struct Session<'c> {
    id: SessionId,
    key: SessionKey<'c>,
    draft: &'c Draft,
    is_final: bool,
    texts: &'c Texts,
}

/// A session that was told and is no more: merged into another by an event between them, or cut elsewhere because an
/// earlier event moved the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone<'c> {
    pub session_id: SessionId,
    /// The session that now holds the first event of this one. A different id, and one that lives.
    pub superseded_by: SessionId,
    pub key: SessionKey<'c>,
    /// These four are as last told: the tombstone is filed beside the row it takes back.
    pub start_time_us: i64,
    pub end_time_us: i64,
    pub first_offset: i64,
    pub last_offset: i64,
}

/// What changed since the last report.
#[derive(Debug)]
pub struct Changes<'s> {
    told: Held<'s>,
    texts: &'s Texts,
    source_names: Vec<&'s str>,
}

/// A report lends its own room, which is used again; a look makes what it tells.
#[derive(Debug)]
pub(super) enum Held<'s> {
    Lent(&'s Told),
    Made(Box<Told>),
}

/// The changes with numbers for texts.
#[derive(Debug, Default)]
pub(super) struct Told {
    rows: Vec<Row>,
    drafts: Vec<Draft>,
    keys: String,
}

#[derive(Debug)]
struct Row {
    id: SessionId,
    source: u32,
    /// Where its key stands in `Told::keys`.
    key: (usize, usize),
    first_offset: i64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Its number in `Told::drafts`.
    Session {
        draft: usize,
        is_final: bool,
    },
    Gone {
        span: Span,
        by: SessionId,
    },
}

impl Told {
    /// Begins a report.
    ///
    /// * `keys`: the text in which the keys of all lines stand. It is given another, to be filled anew.
    pub(super) fn begin(&mut self, keys: &mut String) {
        self.rows.clear();
        self.drafts.clear();
        self.keys.clear();
        std::mem::swap(&mut self.keys, keys);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let rows = self.rows.capacity() * size_of::<Row>();
        rows + self.drafts.capacity() * size_of::<Draft>() + self.keys.capacity()
    }

    /// Hears of one line.
    pub(super) fn of_line<'t>(
        &'t mut self,
        rule: &'t SessionRule,
        source: (u32, &'t str),
        key: (usize, usize),
        watermark_us: i64,
    ) -> impl Listener + use<'t> {
        OfLine { told: self, rule, source, key, watermark_us }
    }

    pub(super) fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|row| (row.first_offset, row.id));
    }
}

struct OfLine<'t> {
    told: &'t mut Told,
    rule: &'t SessionRule,
    source: (u32, &'t str),
    key: (usize, usize),
    watermark_us: i64,
}

impl OfLine<'_> {
    fn id(&self, (start_us, tie): (i64, u64)) -> SessionId {
        let session_key = &self.told.keys[self.key.0..self.key.1];
        SessionId::of_first(SessionKey { source: self.source.1, session_key }, tie, start_us)
    }

    fn push(&mut self, span: &Span, body: Body) {
        let id = self.id(span.name());
        let (source, key) = (self.source.0, self.key);
        self.told.rows.push(Row { id, source, key, first_offset: span.first_offset, body });
    }
}

impl Listener for OfLine<'_> {
    fn session(&mut self, draft: &Draft) {
        let is_final = self.rule.is_sealed(draft.span.end_us, self.watermark_us);
        let body = Body::Session { draft: self.told.drafts.len(), is_final };
        self.push(&draft.span, body);
        self.told.drafts.push(draft.clone());
    }

    fn gone(&mut self, span: Span, by: (i64, u64)) {
        let by = self.id(by);
        self.push(&span, Body::Gone { span, by });
    }
}

impl<'s> Changes<'s> {
    /// * `told`: sorted.
    pub(super) fn new(told: Held<'s>, texts: &'s Texts, source_names: Vec<&'s str>) -> Self {
        Self { told, texts, source_names }
    }

    fn told(&self) -> &Told {
        match &self.told {
            Held::Lent(told) => told,
            Held::Made(told) => told,
        }
    }

    pub fn len(&self) -> usize {
        self.told().rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.told().rows.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Change<'_>> + Clone {
        self.told().rows.iter().map(|row| self.change(row))
    }

    fn change<'c>(&'c self, row: &'c Row) -> Change<'c> {
        let told = self.told();
        let session_key = &told.keys[row.key.0..row.key.1];
        let key = SessionKey { source: self.source_names[row.source as usize], session_key };
        match &row.body {
            Body::Session { draft, is_final } => Change::Upsert(Session {
                id: row.id,
                key,
                draft: &told.drafts[*draft],
                is_final: *is_final,
                texts: self.texts,
            }),
            Body::Gone { span, by } => Change::Tombstone(Tombstone {
                session_id: row.id,
                superseded_by: *by,
                key,
                start_time_us: span.start_us,
                end_time_us: span.end_us,
                first_offset: span.first_offset,
                last_offset: span.last_offset,
            }),
        }
    }
}

impl Told {
    /// For `repair.rs`: drops the sessions that are not to be told, by their numbers, and adds tombstones of rows of the
    /// one key that is told of.
    pub(super) fn revise(&mut self, is_told: &[bool], gone: &[(Standing, SessionId)]) {
        let mut is_told = is_told.iter();
        self.rows.retain(|_| is_told.next().copied().unwrap_or(true));
        let key = (0, self.keys.len());
        self.rows.extend(gone.iter().map(|(row, by)| {
            let span = Span {
                start_us: row.start_time_us,
                end_us: row.end_time_us,
                first_offset: row.first_offset,
                last_offset: row.last_offset,
                ..Span::default()
            };
            let body = Body::Gone { span, by: *by };
            Row { id: row.session_id, source: 0, key, first_offset: row.first_offset, body }
        }));
        self.sort();
    }
}

/// What a session and a tombstone have in common.
impl<'c> Change<'c> {
    pub fn session_id(&self) -> SessionId {
        match self {
            Self::Upsert(session) => session.id,
            Self::Tombstone(gone) => gone.session_id,
        }
    }

    pub fn key(&self) -> SessionKey<'c> {
        match self {
            Self::Upsert(session) => session.key,
            Self::Tombstone(gone) => gone.key,
        }
    }

    pub fn start_time_us(&self) -> i64 {
        match self {
            Self::Upsert(session) => session.start_time_us(),
            Self::Tombstone(gone) => gone.start_time_us,
        }
    }

    pub fn end_time_us(&self) -> i64 {
        match self {
            Self::Upsert(session) => session.end_time_us(),
            Self::Tombstone(gone) => gone.end_time_us,
        }
    }

    pub fn first_offset(&self) -> i64 {
        match self {
            Self::Upsert(session) => session.first_offset(),
            Self::Tombstone(gone) => gone.first_offset,
        }
    }

    pub fn last_offset(&self) -> i64 {
        match self {
            Self::Upsert(session) => session.last_offset(),
            Self::Tombstone(gone) => gone.last_offset,
        }
    }

    pub fn session(self) -> Option<Session<'c>> {
        match self {
            Self::Upsert(session) => Some(session),
            Self::Tombstone(_) => None,
        }
    }

    pub fn superseded_by(&self) -> Option<SessionId> {
        match self {
            Self::Upsert(_) => None,
            Self::Tombstone(gone) => Some(gone.superseded_by),
        }
    }
}

/// Columns that are a number of the draft, and columns that are a text of it.
macro_rules! columns {
    ($type:ty: $($name:ident => $($path:ident).+,)+) => {
        $(pub fn $name(&self) -> $type { self.draft.$($path).+ })+
    };
    (texts: $($name:ident => $list:ident[$at:expr],)+) => {
        $(pub fn $name(&self) -> Option<&'c str> { self.text(self.draft.$list[$at]) })+
    };
}

impl<'c> Session<'c> {
    pub fn session_id(&self) -> SessionId {
        self.id
    }

    pub fn key(&self) -> SessionKey<'c> {
        self.key
    }

    columns! { i64:
        start_time_us => span.start_us,
        end_time_us => span.end_us,
        engaged_us => engaged_us,
        event_count => span.event_count,
        page_count => page_count,
        conversion_count => conversion_count,
        late_event_count => late_event_count,
        first_offset => span.first_offset,
        last_offset => span.last_offset,
    }

    columns! { texts:
        anonymous_id => ids[ids::ANONYMOUS],
        user_id => ids[ids::USER],
        account_id => ids[ids::ACCOUNT],
        entry_host => entry[0],
        entry_path => entry[1],
        exit_host => exit[0],
        exit_path => exit[1],
        device_class => context[context::DEVICE],
        browser => context[context::BROWSER],
        os => context[context::OS],
        country => context[context::COUNTRY],
        region => context[context::REGION],
        first_channel => first_touch[touch::CHANNEL],
        first_campaign_id => first_touch[touch::CAMPAIGN],
        first_utm_campaign => first_touch[touch::UTM_CAMPAIGN],
        first_utm_source => first_touch[touch::SOURCE],
        first_utm_medium => first_touch[touch::MEDIUM],
        first_utm_term => first_touch[touch::TERM],
        first_creative_id => first_touch[touch::CREATIVE],
        first_ad_id => first_touch[touch::AD],
        first_message_id => first_touch[touch::MESSAGE],
        first_referrer_host => first_touch[touch::REFERRER],
        first_referrer_medium => first_touch[touch::REFERRER_MEDIUM],
        first_referrer_source => first_touch[touch::REFERRER_SOURCE],
        first_click_id => first_touch[touch::CLICK],
        last_channel => last_touch[touch::CHANNEL],
        last_campaign_id => last_touch[touch::CAMPAIGN],
        last_utm_campaign => last_touch[touch::UTM_CAMPAIGN],
        last_utm_source => last_touch[touch::SOURCE],
        last_utm_medium => last_touch[touch::MEDIUM],
        last_utm_term => last_touch[touch::TERM],
        last_creative_id => last_touch[touch::CREATIVE],
        last_ad_id => last_touch[touch::AD],
        last_message_id => last_touch[touch::MESSAGE],
        last_referrer_host => last_touch[touch::REFERRER],
        last_referrer_medium => last_touch[touch::REFERRER_MEDIUM],
        last_referrer_source => last_touch[touch::REFERRER_SOURCE],
        last_click_id => last_touch[touch::CLICK],
    }

    pub fn duration_us(&self) -> i64 {
        self.end_time_us().saturating_sub(self.start_time_us())
    }

    pub fn is_bounce(&self) -> bool {
        self.draft.is_bounce()
    }

    pub fn engagement_class(&self) -> EngagementClass {
        self.draft.engagement_class()
    }

    /// Whether no event in time can change it any more. Most are told before that is so, and not again when it is: see
    /// the column.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// Millionths by currency, sorted; empty where no conversion had a value. A sum beyond what the lake can store is held
    /// at `Money::MICROS_MAX`.
    pub fn value_by_currency(&self) -> Vec<(&'c str, i64)> {
        let mut sums: Vec<(&str, i128)> = Vec::with_capacity(self.draft.values.len());
        for (currency, micros) in &self.draft.values {
            let currency = self.text(*currency).unwrap_or(NO_CURRENCY);
            match sums.iter_mut().find(|sum| sum.0 == currency && currency == NO_CURRENCY) {
                Some(sum) => sum.1 += micros,
                None => sums.push((currency, *micros)),
            }
        }
        sums.sort_unstable();
        let max = i128::from(Money::MICROS_MAX);
        let held = |sum: i128| i64::try_from(sum.clamp(-max, max)).expect("clamped to what a column of money holds");
        sums.into_iter().map(|(currency, sum)| (currency, held(sum))).collect()
    }

    /// Distinct variants in the order of first sight.
    pub fn exposures(&self) -> impl ExactSizeIterator<Item = Shown<'c>> + use<'c> {
        let Self { key, draft, texts, .. } = *self;
        let text = move |text| texts.get(text, key.session_key);
        draft.exposures.iter().map(move |exposed| Shown {
            experiment: text(exposed.experiment).unwrap_or_default(),
            variant: text(exposed.variant).unwrap_or_default(),
            decision_id: text(exposed.decision),
            probability: exposed.probability,
        })
    }

    fn text(&self, text: Text) -> Option<&'c str> {
        self.texts.get(text, self.key.session_key)
    }
}
