//! What a path is.
//!
//! In:       the choices of the question.
//! Out:      a checked definition.
//! Promise:  each choice has one meaning, written here; names of SQL are read here.
//! Not here: how paths are found (`fold.rs`).

use crate::error::AnalyticsError;

/// The most nodes of one path that are kept.
pub const STEP_COUNT_MAX: usize = 50;

/// One end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Where the session begins or ends.
    SessionEdge,
    /// At a row with the mark: `Marks::START` for a start, `Marks::END` for an end.
    Marked,
}

/// From where to where, and which end is step 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// All of the session, from its first node on.
    Session,
    /// From a start to the end of the session.
    Forward { start: Anchor },
    /// From an end back to the begin of the session: step 1 is the end, step 2 what came before it.
    Backward { end: Anchor },
    /// From a start to the next end, which is a later node. A start that no end follows makes no path.
    Between { start: Anchor, end: Anchor },
}

impl Walk {
    const ALLOWED: &'static str = "session, forward, backward, between";

    /// * `direction`: a name; the marks say which conditions the question gave.
    /// * Fails for another name, and for a condition that the direction has no place for.
    pub fn parse(direction: &str, has_start: bool, has_end: bool) -> Result<Self, AnalyticsError> {
        let anchor = |is_marked| if is_marked { Anchor::Marked } else { Anchor::SessionEdge };
        let (walk, takes_start, takes_end) = match direction {
            "session" => (Self::Session, false, false),
            "forward" => (Self::Forward { start: anchor(has_start) }, true, false),
            "backward" => (Self::Backward { end: anchor(has_end) }, false, true),
            "between" => (Self::Between { start: anchor(has_start), end: anchor(has_end) }, true, true),
            _ => return Err(AnalyticsError::PathDirection { given: direction.to_owned(), allowed: Self::ALLOWED }),
        };
        for (is_given, is_taken, condition) in [(has_start, takes_start, "start"), (has_end, takes_end, "end")] {
            if is_given && !is_taken {
                return Err(AnalyticsError::PathCondition { direction: direction.to_owned(), condition });
            }
        }
        Ok(walk)
    }
}

/// Which of a session's marked rows make a path. Without a marked row to begin from a session has one path at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    /// The first start (for `Backward` the first end) alone.
    First,
    /// Each, so that paths of one session may share nodes.
    Each,
}

impl Occurrence {
    const ALLOWED: &'static str = "first, each";

    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        match text {
            "first" => Ok(Self::First),
            "each" => Ok(Self::Each),
            _ => Err(AnalyticsError::PathOccurrence { given: text.to_owned(), allowed: Self::ALLOWED }),
        }
    }
}

/// How a unit's rows are cut into sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionCut {
    /// A row more than so long after the one before it begins a new session.
    Gap { gap_us: i64 },
    /// The rows say their session; they come session after session.
    Given,
}

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathDefinition {
    pub walk: Walk,
    pub occurrence: Occurrence,
    pub cut: SessionCut,
    /// Whether nodes that repeat the node before them are taken as one: its time is that of the first, its marks are those
    /// of all. That is done before starts and ends are looked for.
    pub is_collapsed: bool,
    /// So many nodes of a path are kept, counted from step 1; 1 to `STEP_COUNT_MAX`.
    pub steps_max: usize,
}

impl PathDefinition {
    /// The definition, if its numbers make sense.
    pub fn checked(self) -> Result<Self, AnalyticsError> {
        if !(1..=STEP_COUNT_MAX).contains(&self.steps_max) {
            return Err(AnalyticsError::PathStepCount { given: self.steps_max, max: STEP_COUNT_MAX });
        }
        match self.cut {
            SessionCut::Gap { gap_us } if gap_us < 0 => Err(AnalyticsError::SessionGap { given_us: gap_us }),
            _ => Ok(self),
        }
    }
}
