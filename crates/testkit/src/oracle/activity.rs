//! Activity by its definition: sets of units, period by period.
//!
//! In:       for each unit the set of periods it was active in.
//! Out:      what became of them, and how many were there.
//! Promise:  each answer is a question asked of every unit.
//! Not here: speed.

use std::collections::BTreeSet;

/// The periods of each unit.
pub type Active = [BTreeSet<i64>];

/// `(new, returning, resurrecting, dormant)` units of a period.
///
/// * `previous`: the period before it.
pub fn lifecycle(units: &Active, period: i64, previous: i64) -> (u64, u64, u64, u64) {
    let count = |is_one: &dyn Fn(&BTreeSet<i64>) -> bool| units.iter().filter(|periods| is_one(periods)).count() as u64;
    let is_first = |periods: &BTreeSet<i64>| periods.first() == Some(&period);
    let is_active = |periods: &BTreeSet<i64>| periods.contains(&period);
    let was_active = |periods: &BTreeSet<i64>| periods.contains(&previous);
    (
        count(&is_first),
        count(&|periods| is_active(periods) && was_active(periods)),
        count(&|periods| is_active(periods) && !was_active(periods) && !is_first(periods)),
        count(&|periods| !is_active(periods) && was_active(periods)),
    )
}

/// Units active in any of the `length` periods that end with this one.
pub fn trailing(units: &Active, period: i64, length: i64) -> u64 {
    let is_active = |periods: &&BTreeSet<i64>| periods.range(period - length + 1..=period).next().is_some();
    units.iter().filter(is_active).count() as u64
}

/// Units with so many distinct intervals in a period.
///
/// * `units`: for each unit, all its `(period, interval)`.
pub fn with_interval_count(units: &[Vec<(i64, i64)>], period: i64, interval_count: usize) -> u64 {
    let intervals = |rows: &&Vec<(i64, i64)>| {
        let here = rows.iter().filter(|row| row.0 == period).map(|row| row.1);
        here.collect::<BTreeSet<i64>>().len()
    };
    units.iter().filter(|rows| intervals(rows) == interval_count).count() as u64
}
