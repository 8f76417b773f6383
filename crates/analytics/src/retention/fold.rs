//! One unit's retention, a row at a time.
//!
//! In:       rows of a unit in time order.
//! Out:      the unit in the table, once its rows are over.
//! Promise:  as the module's; the fold is empty again after `finish_into` and keeps its buffers.
//! Not here: how each kind of window is folded (`by_period.rs`, `by_start.rs`).

use super::by_period::ByPeriod;
use super::by_start::ByStart;
use super::counts::RetentionCounts;
use super::definition::{RetentionDefinition, ReturnEvent, Windows};

/// The state of one unit, for one definition; use it again for the next.
#[derive(Debug, Clone)]
pub struct RetentionFold {
    is_same_event: bool,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    ByPeriod(ByPeriod),
    ByStart(ByStart),
}

impl RetentionFold {
    pub fn new(definition: &RetentionDefinition) -> Self {
        let way = match definition.question().windows {
            Windows::Calendar(same_period) => Way::ByPeriod(ByPeriod::new(definition, same_period)),
            Windows::SinceStart(windows) => Way::ByStart(ByStart::new(definition, windows)),
        };
        Self { is_same_event: definition.question().return_event == ReturnEvent::SameAsStart, way }
    }

    /// Takes the unit's next row in.
    ///
    /// * `time_us`: not before that of the last row of this unit.
    /// * `is_return`: not looked at where the return event is the start's.
    /// * `value_micros`: counted if the row is a return.
    #[inline]
    pub fn push(&mut self, time_us: i64, is_start: bool, is_return: bool, value_micros: i64) {
        let is_return = if self.is_same_event { is_start } else { is_return };
        if !is_start && !is_return {
            return;
        }
        match &mut self.way {
            Way::ByPeriod(way) => way.push(time_us, is_start, is_return, value_micros),
            Way::ByStart(way) => way.push(time_us, is_start, is_return, value_micros),
        }
    }

    /// Ends the unit: adds it to the table of the fold's definition and is ready for the next.
    pub fn finish_into(&mut self, counts: &mut RetentionCounts) {
        match &mut self.way {
            Way::ByPeriod(way) => way.finish_into(counts),
            Way::ByStart(way) => way.finish_into(counts),
        }
        self.reset();
    }

    /// Forgets the unit.
    pub fn reset(&mut self) {
        match &mut self.way {
            Way::ByPeriod(way) => way.reset(),
            Way::ByStart(way) => way.reset(),
        }
    }
}
