//! The periods in which one unit was active.
//!
//! In:       the times of its rows, in order.
//! Out:      each period once, in order, and the last before those asked about.
//! Promise:  of what was before the range only the last period is kept: trailing windows and the question whether one is
//!           new need no more.
//! Not here: what follows from it (`lifecycle.rs`, `active.rs`).

use super::PeriodRange;
use crate::calendar::PeriodCursor;

/// What is known of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivePeriods<'a> {
    /// The last period before the range in which it was active.
    pub last_before: Option<i64>,
    /// Those in the range, ascending.
    pub in_range: &'a [i64],
}

/// The state of one unit; `reset` it for the next.
#[derive(Debug, Clone)]
pub struct ActivityFold {
    range: PeriodRange,
    cursor: PeriodCursor,
    current: Option<i64>,
    last_before: Option<i64>,
    in_range: Vec<i64>,
}

impl ActivityFold {
    pub fn new(range: &PeriodRange) -> Self {
        Self {
            range: range.clone(),
            cursor: range.calendar().cursor(),
            current: None,
            last_before: None,
            in_range: Vec::new(),
        }
    }

    /// Takes in the time of the unit's next row, not before the last. Feed rows from before the range too: without them
    /// who was there before is new.
    #[inline]
    pub fn push(&mut self, time_us: i64) {
        let number = self.cursor.number(time_us);
        if self.current != Some(number) {
            self.turn_to(number);
        }
    }

    fn turn_to(&mut self, number: i64) {
        debug_assert!(self.current < Some(number), "rows of a unit come in time order");
        self.current = Some(number);
        if number < self.range.first() {
            self.last_before = Some(number);
        } else if self.range.place(number).is_some() {
            self.in_range.push(number);
        }
    }

    pub fn active(&self) -> ActivePeriods<'_> {
        ActivePeriods { last_before: self.last_before, in_range: &self.in_range }
    }

    /// Forgets the unit and keeps its buffer.
    pub fn reset(&mut self) {
        self.current = None;
        self.last_before = None;
        self.in_range.clear();
    }
}
