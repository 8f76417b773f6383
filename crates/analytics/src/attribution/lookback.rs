//! Lookback: which touches are near enough to a conversion to have had a part in it.
//!
//! In:       touch times in order, the conversion's time, how far to look back.
//! Out:      the range of touches that count.
//! Promise:  inclusive at both ends: a touch at the conversion's own time counts, and so does one exactly as old
//!           as the lookback. Ages are differences of microseconds, never of calendar days.
//! Not here: different lookbacks for clicks and views (`journey.rs`).

use std::ops::Range;

/// * `touch_times_us`: ascending.
/// * `lookback_us`: 0 or more; a negative one finds nothing.
/// * Returns the indexes of the touches with `0 <= conversion_time_us - touch_time_us <= lookback_us`.
///
/// Source: `docs/methods.md#attribution`.
pub fn touches_in_lookback(touch_times_us: &[i64], conversion_time_us: i64, lookback_us: i64) -> Range<usize> {
    range_by(touch_times_us, |time_us| *time_us, conversion_time_us, lookback_us)
}

pub(super) fn range_by<T>(
    touches: &[T],
    time_us: impl Fn(&T) -> i64,
    conversion_time_us: i64,
    lookback_us: i64,
) -> Range<usize> {
    debug_assert!(touches.is_sorted_by_key(&time_us), "touches come in time order");
    let earliest_us = conversion_time_us.saturating_sub(lookback_us);
    let start = touches.partition_point(|touch| time_us(touch) < earliest_us);
    let end = touches.partition_point(|touch| time_us(touch) <= conversion_time_us);
    start..end.max(start)
}
