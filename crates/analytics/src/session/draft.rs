//! The sums of a session: what its events say together.
//!
//! In:       the facts of one session, one after the other in their order.
//! Out:      everything its row says, texts as numbers.
//! Promise:  depends on the facts alone, not on when or how often they were summed up; a fact costs the same whether it
//!           is the first or the millionth.
//! Not here: the words (`changes.rs`).

use tributary_schemas::{EngagementClass, EventKind};

use super::fact::{Exposed, Fact, Pile, context, ids, touch};
use super::span::Span;
use super::texts::Text;

/// The longest a step from one event to the next counts as engaged time: 5 minutes. Whoever is silent for longer has
/// left the page open.
pub const ENGAGED_STEP_US_MAX: i64 = 300 * 1_000_000;

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Draft {
    pub(super) span: Span,
    pub(super) engaged_us: i64,
    pub(super) page_count: i64,
    pub(super) conversion_count: i64,
    pub(super) late_event_count: i64,
    /// Whether a person did something, apart from looking at a page.
    has_action: bool,
    classes: [u32; EngagementClass::ALL.len()],
    /// The anonymous id first seen, user and account last seen.
    pub(super) ids: [Text; ids::COUNT],
    pub(super) context: [Text; context::COUNT],
    /// Host and path of its first and of its last page.
    pub(super) entry: [Text; 2],
    pub(super) exit: [Text; 2],
    pub(super) first_touch: [Text; touch::COUNT],
    pub(super) last_touch: [Text; touch::COUNT],
    /// Sums by currency, by number of its text.
    pub(super) values: Vec<(Text, i128)>,
    /// The first sight of each variant, whole: later sights of it may carry another decision.
    pub(super) exposures: Vec<Exposed>,
    /// Experiment and variant of each, sorted.
    seen: Vec<(Text, Text)>,
}

/// Of a touch: where it came from, by the event that names a channel.
const ORIGIN: std::ops::Range<usize> = touch::CHANNEL..touch::REFERRER;
/// Which page linked here, by the event that names its host.
const REFERRER: std::ops::Range<usize> = touch::REFERRER..touch::CLICK;
/// The ad click, by the event that has one.
const CLICK: std::ops::Range<usize> = touch::CLICK..touch::COUNT;

impl Draft {
    /// Empties it, and keeps its room.
    pub(super) fn clear(&mut self) {
        let Self { values, exposures, seen, .. } = std::mem::take(self);
        (self.values, self.exposures, self.seen) = (values, exposures, seen);
        self.values.clear();
        self.exposures.clear();
        self.seen.clear();
    }

    /// Takes in the next fact of the session.
    pub(super) fn add(&mut self, fact: &Fact, pile: &Pile) {
        if !self.span.is_empty() {
            self.engaged_us += fact.time_us.saturating_sub(self.span.end_us).min(ENGAGED_STEP_US_MAX);
        }
        self.span.add(fact);
        self.late_event_count += i64::from(fact.is_late);
        self.classes[fact.class as usize] += 1;
        self.has_action |= is_action(fact);
        match fact.kind {
            EventKind::Page => {
                let page = [fact.host, fact.path];
                if self.page_count == 0 {
                    self.entry = page;
                }
                self.exit = page;
                self.page_count += 1;
            }
            EventKind::Conversion => {
                self.conversion_count += 1;
                if let Some(micros) = fact.value_micros {
                    self.add_value(fact.currency, micros);
                }
            }
            _ => {}
        }
        self.ids[ids::ANONYMOUS] = self.ids[ids::ANONYMOUS].or(fact.ids[ids::ANONYMOUS]);
        for last in [ids::USER, ids::ACCOUNT] {
            self.ids[last] = fact.ids[last].or(self.ids[last]);
        }
        for (known, seen) in self.context.iter_mut().zip(fact.context) {
            *known = known.or(seen);
        }
        if fact.touch != [Text::NONE; touch::COUNT] {
            for part in [ORIGIN, REFERRER, CLICK] {
                // The first of each part is the one without which the rest says nothing.
                if fact.touch[part.start].is_some() {
                    if !self.first_touch[part.start].is_some() {
                        self.first_touch[part.clone()].copy_from_slice(&fact.touch[part.clone()]);
                    }
                    self.last_touch[part.clone()].copy_from_slice(&fact.touch[part]);
                }
            }
        }
        for exposed in fact.shown(pile) {
            let variant = (exposed.experiment, exposed.variant);
            if let Err(at) = self.seen.binary_search(&variant) {
                self.seen.insert(at, variant);
                self.exposures.push(*exposed);
            }
        }
    }

    fn add_value(&mut self, currency: Text, micros: i64) {
        let at = self.values.binary_search_by_key(&currency, |value| value.0).unwrap_or_else(|at| {
            self.values.insert(at, (currency, 0));
            at
        });
        self.values[at].1 += i128::from(micros);
    }

    pub(super) fn is_bounce(&self) -> bool {
        self.page_count == 1 && !self.has_action
    }

    /// Human if any event is, else unknown if any is, else the machine seen most; the first in `ALL` of those seen equally.
    pub(super) fn engagement_class(&self) -> EngagementClass {
        let count_of = |class: &EngagementClass| self.classes[*class as usize];
        let said = [EngagementClass::Human, EngagementClass::Unknown].into_iter().find(|class| count_of(class) > 0);
        let most = EngagementClass::ALL.iter().copied().rev().max_by_key(count_of);
        said.or(most).unwrap_or(EngagementClass::Unknown)
    }

    /// What it holds beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<(Text, i128)>()
            + self.exposures.capacity() * size_of::<Exposed>()
            + self.seen.capacity() * size_of::<(Text, Text)>()
    }
}

/// Whether a person did this, apart from looking at a page: what makes a visit more than a bounce. Identify, alias,
/// group and consent are what the SDK or a banner says by itself; an impression is shown, not done; and what a machine
/// clicked nobody did.
fn is_action(fact: &Fact) -> bool {
    let done = matches!(
        fact.kind,
        EventKind::Click | EventKind::Open | EventKind::Conversion | EventKind::Feedback | EventKind::Custom
    );
    done && matches!(fact.class, EngagementClass::Human | EngagementClass::Unknown)
}
