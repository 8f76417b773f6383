//! Windows: which of a unit's events count, seen from its exposure.
//!
//! In:       the time of exposure, times of events, the time up to which events are known.
//! Out:      whether an event counts; whether the unit's window is over; a unit's outcome as 0 or 1.
//! Promise:  all spans are differences of microseconds, both ends included, as in funnels and attribution. A unit whose
//!           window is still open is left out or counted as the rule says, in both arms alike, never by its outcome.
//! Not here: which events convert (the caller's predicates).
//!
//! Definitions: `docs/methods.md#metric-windows`.

use crate::funnel::{ExactRule, exact_funnel};

/// 24 hours, with no calendar in it.
const DAY_US: i64 = 86_400_000_000;

/// From the exposure on: `exposure + delay <= event <= exposure + delay + length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricWindow {
    /// Not counted after the exposure; negative to look back.
    pub delay_us: i64,
    /// `None` for ever.
    pub length_us: Option<i64>,
    /// Of these only the last so many microseconds that are known: what lasts, not what was new. `None` for all.
    pub lookback_us: Option<i64>,
    pub in_progress: InProgress,
}

/// What becomes of units whose window is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InProgress {
    /// Counted with what they did so far: more units, but what converts late is missed for the newest.
    Count,
    /// Left out until their window is over: the same time for each unit.
    LeaveOut,
}

impl MetricWindow {
    /// Everything from the exposure on.
    pub const SINCE_EXPOSURE: Self =
        Self { delay_us: 0, length_us: None, lookback_us: None, in_progress: InProgress::Count };

    /// The time before the exposure, for covariates: it ends one microsecond before it.
    ///
    /// * `length_us`: above 0.
    pub fn before_exposure(length_us: i64) -> Self {
        Self { delay_us: length_us.saturating_neg(), length_us: Some(length_us - 1), ..Self::SINCE_EXPOSURE }
    }

    /// The `day`-th 24 hours since the exposure, counting from 0; one day ends before the next begins.
    pub fn of_day(day: u32, in_progress: InProgress) -> Self {
        Self { delay_us: i64::from(day) * DAY_US, length_us: Some(DAY_US - 1), lookback_us: None, in_progress }
    }

    /// Whether an event counts.
    ///
    /// * `known_until_us`: events before this time are all there; later ones do not count yet.
    pub fn holds(&self, exposure_us: i64, event_us: i64, known_until_us: i64) -> bool {
        let (start_us, end_us) = self.span(exposure_us);
        let is_recent =
            self.lookback_us.is_none_or(|lookback_us| known_until_us.saturating_sub(lookback_us) <= event_us);
        start_us <= event_us && event_us <= end_us && event_us < known_until_us && is_recent
    }

    /// Whether a unit counts.
    ///
    /// * `known_until_us`: events before this time are all there.
    pub fn takes_unit(&self, exposure_us: i64, known_until_us: i64) -> bool {
        match self.in_progress {
            InProgress::Count => true,
            // A window without an end is never over, so nobody would ever count: then its start must do.
            InProgress::LeaveOut => match self.length_us {
                Some(_) => self.span(exposure_us).1 < known_until_us,
                None => self.span(exposure_us).0 < known_until_us,
            },
        }
    }

    fn span(&self, exposure_us: i64) -> (i64, i64) {
        let start_us = exposure_us.saturating_add(self.delay_us);
        (start_us, self.length_us.map_or(i64::MAX, |length_us| start_us.saturating_add(length_us)))
    }
}

/// Whether a unit came back in the window: a retention metric. `None` if the unit does not count.
///
/// * `active_us`: times of activity, in any order.
///
/// Day 7 retention is `MetricWindow::of_day(7, ..)`; "within 7 days" wants a delay of some hours, lest the visit of the
/// exposure itself count.
pub fn is_retained(
    window: &MetricWindow,
    exposure_us: i64,
    active_us: impl IntoIterator<Item = i64>,
    known_until_us: i64,
) -> Option<bool> {
    let mut active_us = active_us.into_iter();
    window
        .takes_unit(exposure_us, known_until_us)
        .then(|| active_us.any(|event_us| window.holds(exposure_us, event_us, known_until_us)))
}

/// Whether a unit went through all steps of a funnel within the window: a funnel metric. `None` if the unit does not
/// count.
///
/// * `rows`: as `exact_funnel` takes them; those outside the window are ignored, so the funnel begins at the exposure
///   and is the same as in any other answer.
pub fn is_through_funnel(
    window: &MetricWindow,
    exposure_us: i64,
    rows: &[(i64, u32)],
    rule: ExactRule,
    known_until_us: i64,
) -> Option<bool> {
    let step_count = rule.step_count();
    window.takes_unit(exposure_us, known_until_us).then(|| {
        let inside: Vec<(i64, u32)> =
            rows.iter().copied().filter(|(time_us, _)| window.holds(exposure_us, *time_us, known_until_us)).collect();
        exact_funnel(&inside, rule).level == step_count
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::TieOrder;

    fn window(delay_days: i64, length_days: i64, in_progress: InProgress) -> MetricWindow {
        MetricWindow {
            delay_us: delay_days * DAY_US,
            length_us: Some(length_days * DAY_US),
            lookback_us: None,
            in_progress,
        }
    }

    #[test]
    fn one_day_ends_before_the_next_begins() {
        let day_seven = MetricWindow::of_day(7, InProgress::Count);
        let exposure_us = 5;
        for (event_us, counts) in [
            (exposure_us + 7 * DAY_US - 1, false),
            (exposure_us + 7 * DAY_US, true),
            (exposure_us + 8 * DAY_US - 1, true),
            (exposure_us + 8 * DAY_US, false),
        ] {
            assert_eq!(day_seven.holds(exposure_us, event_us, i64::MAX), counts, "{event_us}");
        }
        let before = MetricWindow::before_exposure(DAY_US);
        let holds = |event_us| before.holds(exposure_us, event_us, i64::MAX);
        assert!(holds(exposure_us - 1) && holds(exposure_us - DAY_US));
        assert!(!holds(exposure_us) && !holds(exposure_us - DAY_US - 1));
    }

    #[test]
    fn a_lookback_counts_the_last_days_only_and_never_before_the_exposure() {
        let recent = MetricWindow { lookback_us: Some(DAY_US), ..MetricWindow::SINCE_EXPOSURE };
        let known_until_us = 5 * DAY_US;
        for (exposure_us, event_us, counts) in [
            (0, 4 * DAY_US - 1, false),
            (0, 4 * DAY_US, true),
            (0, 5 * DAY_US - 1, true),
            (0, 5 * DAY_US, false),
            (4 * DAY_US + 7, 4 * DAY_US + 6, false),
            (4 * DAY_US + 7, 4 * DAY_US + 7, true),
        ] {
            assert_eq!(recent.holds(exposure_us, event_us, known_until_us), counts, "{exposure_us} {event_us}");
        }
    }

    #[test]
    fn a_unit_in_progress_is_left_out_whatever_it_did() {
        let week = window(0, 7, InProgress::LeaveOut);
        assert_eq!(is_retained(&week, 0, [DAY_US], 7 * DAY_US), None);
        assert_eq!(is_retained(&week, 0, [DAY_US], 7 * DAY_US + 1), Some(true));
        assert_eq!(is_retained(&week, 0, [7 * DAY_US], 7 * DAY_US + 1), Some(true));
        assert_eq!(is_retained(&week, 0, [7 * DAY_US + 1], 7 * DAY_US + 1), Some(false));
        let counted = MetricWindow { in_progress: InProgress::Count, ..week };
        assert_eq!(is_retained(&counted, 0, [], DAY_US), Some(false));
    }

    #[test]
    fn a_funnel_begins_at_the_exposure() {
        let rule = ExactRule::new(2, None, TieOrder::Ingest).unwrap();
        let week = window(0, 7, InProgress::Count);
        let steps = [(10, 0b01), (20, 0b10)];
        assert_eq!(is_through_funnel(&week, 0, &steps, rule, DAY_US), Some(true));
        assert_eq!(is_through_funnel(&week, 0, &steps, rule, 20), Some(false));
        assert_eq!(is_through_funnel(&week, 15, &steps, rule, DAY_US), Some(false));
        assert_eq!(is_through_funnel(&week, 0, &[(10, 0b01), (8 * DAY_US, 0b10)], rule, 9 * DAY_US), Some(false));
    }
}
