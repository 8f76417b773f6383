//! The fold of `lifecycle`, `stickiness` and `active_users`.
//!
//! In:       the times at which a unit was active.
//! Out:      a row for each period of the range.

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use tributary_analytics::activity::{
    ActiveCounts, ActivityFold, LifecycleCounts, PeriodRange, StickinessCounts, StickinessFold,
};
use tributary_analytics::calendar::Calendar;
use tributary_analytics::error::AnalyticsError;

use super::{Asked, start_type, starts};
use crate::fold::{About, Fold, Rows};
use crate::stop::StopFlag;

#[derive(Debug)]
pub(super) enum Told {
    Lifecycle,
    /// Windows in periods.
    Active(Vec<u32>),
    /// What is counted within each period.
    Stickiness(Calendar),
}

#[derive(Debug)]
pub(super) struct ActivityAnswer {
    pub(super) calendar: Calendar,
    pub(super) asked: Asked,
    pub(super) told: Told,
}

pub(super) enum Part {
    Nothing,
    Lifecycle(ActivityFold, LifecycleCounts),
    Active(ActivityFold, ActiveCounts),
    Stickiness(Box<StickinessFold>, StickinessCounts),
}

/// Columns of `lifecycle`. Not `new` and the like: that is a word of SQL.
const LIFECYCLE: [&str; 5] = ["new_units", "returning_units", "resurrecting_units", "dormant_units", "active_units"];

fn wrong(error: AnalyticsError) -> datafusion::error::DataFusionError {
    exec_datafusion_err!("{error}")
}

impl Fold for ActivityAnswer {
    type Part = Part;

    fn explain(&self) -> String {
        let what = match &self.told {
            Told::Lifecycle => "lifecycle".to_owned(),
            Told::Active(windows) => format!("active units in the last {windows:?}"),
            Told::Stickiness(intervals) => format!("active {:?}s", intervals.period()),
        };
        format!("{what} by {:?} in {}", self.calendar.period(), self.calendar.zone())
    }

    fn schema(&self) -> SchemaRef {
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        let mut fields = vec![Field::new("period", start_type(&self.calendar), true)];
        match &self.told {
            Told::Lifecycle => fields.extend(LIFECYCLE.map(count)),
            Told::Active(_) => {
                fields.extend(["periods", "units"].map(count));
                // The last window's count is what the others are a part of.
                fields.push(Field::new("share_of_longest", DataType::Float64, true));
            }
            Told::Stickiness(_) => fields.extend(["active_intervals", "units", "units_at_least"].map(count)),
        }
        Arc::new(Schema::new(fields))
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let Some(times_us) = self.asked.range(about) else { return Ok(Part::Nothing) };
        let range = || PeriodRange::new(self.calendar.clone(), times_us.clone()).map_err(wrong);
        Ok(match &self.told {
            Told::Lifecycle => Part::Lifecycle(ActivityFold::new(&range()?), LifecycleCounts::new(&range()?)),
            Told::Active(windows) => {
                let counts = ActiveCounts::new(&range()?, windows).map_err(wrong)?;
                Part::Active(ActivityFold::new(&range()?), counts)
            }
            Told::Stickiness(intervals) => {
                let counts = StickinessCounts::new(self.calendar.clone(), intervals.clone(), times_us.clone());
                let counts = counts.map_err(wrong)?;
                Part::Stickiness(Box::new(StickinessFold::new(&counts)), counts)
            }
        })
    }

    fn unit(&self, part: &mut Part, _: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let times = rows.iter().map(|row| row.time_us());
        match part {
            Part::Nothing => {}
            Part::Lifecycle(fold, counts) => {
                times.for_each(|time_us| fold.push(time_us));
                counts.add_unit(fold.active());
                fold.reset();
            }
            Part::Active(fold, counts) => {
                times.for_each(|time_us| fold.push(time_us));
                counts.add_unit(fold.active());
                fold.reset();
            }
            Part::Stickiness(fold, counts) => {
                times.for_each(|time_us| fold.push(time_us));
                fold.finish_into(counts);
            }
        }
        Ok(())
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        match (part, other) {
            (Part::Lifecycle(_, counts), Part::Lifecycle(_, more)) => counts.merge(&more),
            (Part::Active(_, counts), Part::Active(_, more)) => counts.merge(&more),
            (Part::Stickiness(_, counts), Part::Stickiness(_, more)) => counts.merge(&more),
            _ => {}
        }
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        const PERIOD_BYTES: usize = 64;
        match part {
            Part::Nothing => 0,
            Part::Lifecycle(_, counts) => counts.range().count() * PERIOD_BYTES,
            Part::Active(_, counts) => counts.range().count() * counts.windows().len() * size_of::<u64>(),
            Part::Stickiness(_, counts) => counts.range().count() * PERIOD_BYTES * size_of::<u64>(),
        }
    }

    fn finish(&self, part: Part, _: &About<'_>) -> Result<RecordBatch> {
        let mut periods: Vec<i64> = Vec::new();
        let mut counts: [Vec<i64>; 5] = Default::default();
        let mut shares: Vec<Option<f64>> = Vec::new();
        match part {
            Part::Nothing => {}
            Part::Lifecycle(_, lifecycle) => {
                for (number, of) in lifecycle.periods() {
                    periods.push(number);
                    let told =
                        [of.new_count, of.returning_count, of.resurrecting_count, of.dormant_count, of.active_count()];
                    counts.iter_mut().zip(told).for_each(|(column, count)| column.push(count as i64));
                }
            }
            Part::Active(_, active) => {
                let windows = active.windows();
                let longest = (0..windows.len()).max_by_key(|window| windows[*window]).unwrap_or(0);
                for (window, length) in windows.iter().enumerate() {
                    let numbers = active.range().numbers().zip(active.unit_counts(window));
                    for ((number, units), share) in numbers.zip(active.ratios(window, longest)) {
                        periods.push(number);
                        counts[0].push(i64::from(*length));
                        counts[1].push(units as i64);
                        shares.push(share);
                    }
                }
            }
            Part::Stickiness(_, stickiness) => {
                for (number, units) in stickiness.periods() {
                    let mut at_least: u64 = units.iter().sum();
                    for (fewer, count) in units.iter().enumerate() {
                        periods.push(number);
                        counts[0].push(fewer as i64 + 1);
                        counts[1].push(*count as i64);
                        counts[2].push(at_least as i64);
                        at_least -= count;
                    }
                }
            }
        }
        let schema = Fold::schema(self);
        let mut columns: Vec<ArrayRef> = vec![starts(&self.calendar, &periods)];
        let integers = schema.fields().iter().filter(|field| *field.data_type() == DataType::Int64).count();
        columns.extend(counts.into_iter().take(integers).map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        if let Told::Active(_) = self.told {
            columns.push(Arc::new(Float64Array::from(shares)));
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}
