//! From where to where a session reaches, and what the next cut depends on.
//!
//! In:       the facts of one session in order.
//! Out:      `Span`: small enough to walk a whole line with.
//! Promise:  the rule asks nothing else of a session than stands here.
//! Not here: sums (`draft.rs`).

use super::fact::Fact;
use super::texts::Text;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Span {
    pub(super) start_us: i64,
    /// Tie key of its first event: with the start, what names it within its key.
    pub(super) start_tie: u64,
    pub(super) end_us: i64,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    /// 0 where there is no session yet.
    pub(super) event_count: i64,
    /// The campaign last named in it, by its tags and by its name; none where none was.
    pub(super) campaign_tags: [Text; 4],
    pub(super) campaign_name: [Text; 2],
    /// The user last named in it.
    pub(super) user: Text,
}

impl Span {
    pub(super) fn add(&mut self, fact: &Fact) {
        if self.event_count == 0 {
            (self.start_us, self.start_tie) = (fact.time_us, fact.tie);
            (self.first_offset, self.last_offset) = (fact.offset, fact.offset);
        }
        self.end_us = fact.time_us;
        self.first_offset = self.first_offset.min(fact.offset);
        self.last_offset = self.last_offset.max(fact.offset);
        self.event_count += 1;
        let (tags, name) = (fact.campaign_tags(), fact.campaign_name());
        if tags != [Text::NONE; 4] {
            self.campaign_tags = tags;
        }
        if name[0].is_some() {
            self.campaign_name = name;
        }
        self.user = fact.user().or(self.user);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.event_count == 0
    }

    pub(super) fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// What names it within its key.
    pub(super) fn name(&self) -> (i64, u64) {
        (self.start_us, self.start_tie)
    }
}
