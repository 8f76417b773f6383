//! The fold of all funnel functions: one outcome for each unit, told in different ways.
//!
//! In:       a unit's rows; which steps each meets, which exclusions; the value of the breakdown.
//! Out:      steps, a trend of entries, units one by one, times, or the curve of conversion.
//! Promise:  all count the same outcomes: `analytics::funnel` says what an outcome is.
//! Not here: how steps are counted and rated (`analytics::funnel::FunnelCounts`).

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use tributary_analytics::funnel::{EntryBuckets, FunnelAttempt, FunnelCounts, FunnelFold, FunnelOutcome};
use tributary_analytics::stats::Alpha;

use super::ask::{BreakdownBy, Question};
use crate::fold::{About, Fold, Rows};
use crate::stop::StopFlag;

/// How the outcomes are told.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// A row a step.
    Steps,
    /// A row for each day, week or month in which units entered.
    Trend(EntryBuckets),
    /// A row a unit.
    Actors,
    /// A row a step and class of durations.
    Times,
    /// The Kaplan-Meier curve of conversion.
    Curve,
}

#[derive(Debug)]
pub(super) struct FunnelAnswer {
    pub(super) question: Question,
    pub(super) told: Told,
}

/// What is counted together: the value of the breakdown, and the first day of the period of entry (0 where no trend is told).
type Group = (Option<u32>, i64);

#[derive(Debug)]
struct Counted {
    counts: FunnelCounts,
    /// By step: the time from the first and from the one before, of each attempt that reached it.
    times_us: Vec<(Vec<i64>, Vec<i64>)>,
}

pub(super) struct Part {
    fold: FunnelFold,
    outcome: FunnelOutcome,
    as_of_us: i64,
    groups: BTreeMap<Group, Counted>,
    actors: Vec<Actor>,
    actor_bytes: usize,
    time_count: usize,
}

/// A unit's attempt.
struct Actor {
    unit: Box<str>,
    attempt: i64,
    value: Option<u32>,
    level: i64,
    /// Of each step that was reached: its position and time.
    reached: Vec<(i64, i64)>,
    is_complete: bool,
    is_open: bool,
    is_left_out: bool,
}

impl FunnelAnswer {
    fn step_count(&self) -> usize {
        self.question.definition.step_count()
    }

    fn counted<'p>(&self, part: &'p mut Part, group: Group) -> &'p mut Counted {
        part.groups.entry(group).or_insert_with(|| Counted {
            counts: FunnelCounts::new(&self.question.definition),
            times_us: vec![(Vec::new(), Vec::new()); self.step_count()],
        })
    }

    fn value_of(&self, rows: Rows<'_>, attempt: Option<&FunnelAttempt<'_>>) -> Option<u32> {
        match self.question.breakdown.as_ref()?.1 {
            BreakdownBy::FirstTouch => rows.iter().find_map(|row| row.code(0)),
            BreakdownBy::LastTouch => rows.iter().rev().find_map(|row| row.code(0)),
            BreakdownBy::Step(step) => {
                let reached = attempt?.step(step)?;
                rows.at(usize::try_from(reached.row).expect("it was a place among the rows")).code(0)
            }
        }
    }

    fn keeps_times(&self) -> bool {
        matches!(self.told, Told::Steps | Told::Trend(_))
    }
}

impl Fold for FunnelAnswer {
    type Part = Part;

    fn explain(&self) -> String {
        format!("funnel of {}", self.question.words)
    }

    fn schema(&self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let flag = |name: &str| Field::new(name, DataType::Boolean, true);
        let mut fields: Vec<Field> = self.question.breakdown.iter().map(|(column, _)| text(column)).collect();
        match &self.told {
            Told::Steps => {
                fields.extend([count("position"), text("step"), count("units_reached")]);
                let numbers = [
                    "rate_from_first",
                    "rate_from_previous",
                    "rate_low",
                    "rate_high",
                    "median_seconds_from_first",
                    "p90_seconds_from_first",
                    "median_seconds_from_previous",
                    "mean_seconds_from_first",
                ];
                fields.extend(numbers.map(number));
                fields.extend([count("units_open"), count("units_left_out")]);
            }
            Told::Trend(_) => {
                fields.insert(0, Field::new("period", DataType::Date32, true));
                fields.extend([count("units_entered"), count("units_converted")]);
                fields.extend(["rate", "rate_low", "rate_high", "median_seconds"].map(number));
                fields.push(count("units_open"));
            }
            Told::Actors => {
                fields.insert(0, text("unit"));
                fields.extend([count("attempt"), count("level")]);
                let times = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
                fields.push(Field::new("step_times_us", times, true));
                fields.extend(["is_complete", "is_open", "is_left_out"].map(flag));
            }
            Told::Times => {
                fields.extend([count("position"), text("step")]);
                fields.extend([number("seconds_from"), number("seconds_to"), count("units")]);
            }
            Told::Curve => {
                fields.extend([number("seconds"), count("at_risk"), count("converted")]);
                fields.extend(["share", "share_low", "share_high"].map(number));
            }
        }
        Arc::new(Schema::new(fields))
    }

    fn wanted(&self) -> u32 {
        self.question.definition.opening_mask()
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        Ok(Part {
            fold: FunnelFold::new(&self.question.definition),
            outcome: FunnelOutcome::default(),
            as_of_us: self.question.as_of_us.unwrap_or_else(|| about.times_us.map_or(i64::MIN, |(_, last_us)| last_us)),
            groups: BTreeMap::new(),
            actors: Vec::new(),
            actor_bytes: 0,
            time_count: 0,
        })
    }

    fn unit(&self, part: &mut Part, unit: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let steps = self.step_count();
        let (mut session, mut last_us) = (0, i64::MIN);
        for (place, row) in rows.iter().enumerate() {
            let time_us = row.time_us();
            if let Some(gap_us) = self.question.session_gap_us {
                session += u64::from(gap_us < time_us.saturating_sub(last_us));
                last_us = time_us;
            }
            let mask = row.mask();
            // Steps are the lower conditions, exclusions the upper; all 32 may be steps.
            let excluded = mask.checked_shr(steps as u32).unwrap_or(0);
            part.fold.push(time_us, place as u64, mask, excluded, session);
        }
        let mut outcome = std::mem::take(&mut part.outcome);
        part.fold.finish_into(part.as_of_us, &mut outcome);
        self.count(part, unit, rows, &outcome);
        part.outcome = outcome;
        Ok(())
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        for (group, more) in other.groups {
            let counted = self.counted(part, group);
            counted.counts.merge(&more.counts);
            for (times, more) in counted.times_us.iter_mut().zip(more.times_us) {
                times.0.extend(more.0);
                times.1.extend(more.1);
            }
        }
        part.actors.extend(other.actors);
        part.actor_bytes += other.actor_bytes;
        part.time_count += other.time_count;
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        // A table of classes of durations for each step and group, and once more the actors as columns.
        const COUNTED_BYTES: usize = 8 * 1024;
        part.groups.len() * self.step_count() * COUNTED_BYTES + 2 * part.actor_bytes + part.time_count * 16
    }

    fn finish(&self, part: Part, about: &About<'_>) -> Result<RecordBatch> {
        let value = |code: Option<u32>| about.texts.first().and_then(|texts| texts.get(code)).map(str::to_owned);
        match &self.told {
            Told::Actors => self.actors(part.actors, value),
            Told::Steps => self.steps(part.groups, value),
            Told::Trend(_) => self.trend(part.groups, value),
            Told::Times => self.times(&part.groups, value),
            Told::Curve => self.curve(&part.groups, value),
        }
    }
}

impl FunnelAnswer {
    fn count(&self, part: &mut Part, unit: &str, rows: Rows<'_>, outcome: &FunnelOutcome) {
        if let Told::Actors = self.told {
            self.keep_actors(part, unit, rows, outcome);
            return;
        }
        let keeps_times = self.keeps_times();
        let period = |attempt: &FunnelAttempt<'_>| match &self.told {
            Told::Trend(buckets) => buckets.first_day(attempt.start_us()),
            _ => 0,
        };
        let mut times = 0;
        for attempt in outcome.attempts() {
            let counted = self.counted(part, (self.value_of(rows, Some(&attempt)), period(&attempt)));
            counted.counts.push_attempt(&attempt);
            if !keeps_times {
                continue;
            }
            let start_us = attempt.start_us();
            let mut before_us = start_us;
            for (position, reached) in attempt.reached.iter().enumerate() {
                let step = if self.question.definition.is_by_position() { position } else { reached.step - 1 };
                let (from_first, from_previous) = &mut counted.times_us[step];
                from_first.push(reached.time_us.saturating_sub(start_us));
                from_previous.push(reached.time_us.saturating_sub(before_us));
                before_us = reached.time_us;
                times += 1;
            }
        }
        part.time_count += times;
        if outcome.is_open || outcome.is_voided {
            let attempt = outcome.attempt();
            let group = (self.value_of(rows, attempt.as_ref()), attempt.as_ref().map_or(0, period));
            let counted = self.counted(part, group);
            counted.counts.push_flags(outcome);
        }
    }

    fn keep_actors(&self, part: &mut Part, unit: &str, rows: Rows<'_>, outcome: &FunnelOutcome) {
        let count = outcome.attempts().len();
        for (attempt_index, attempt) in outcome.attempts().enumerate() {
            let reached: Vec<(i64, i64)> =
                attempt.reached.iter().map(|reached| (reached.step as i64, reached.time_us)).collect();
            part.actor_bytes += size_of::<Actor>() + unit.len() + reached.len() * size_of::<(i64, i64)>();
            part.actors.push(Actor {
                unit: unit.into(),
                attempt: attempt_index as i64 + 1,
                value: self.value_of(rows, Some(&attempt)),
                level: attempt.level as i64,
                reached,
                is_complete: attempt.is_complete,
                is_open: outcome.is_open && attempt_index + 1 == count,
                is_left_out: false,
            });
        }
        if outcome.is_voided {
            part.actor_bytes += size_of::<Actor>() + unit.len();
            part.actors.push(Actor {
                unit: unit.into(),
                attempt: 0,
                value: self.value_of(rows, None),
                level: 0,
                reached: Vec::new(),
                is_complete: false,
                is_open: false,
                is_left_out: true,
            });
        }
    }

    /// With the breakdown's column before the others, if there is one.
    fn table(&self, values: Vec<Option<String>>, mut columns: Vec<ArrayRef>, before: usize) -> Result<RecordBatch> {
        if self.question.breakdown.is_some() {
            columns.insert(before, Arc::new(StringArray::from(values)));
        }
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }

    fn steps(
        &self,
        mut groups: BTreeMap<Group, Counted>,
        value: impl Fn(Option<u32>) -> Option<String>,
    ) -> Result<RecordBatch> {
        if groups.is_empty() && self.question.breakdown.is_none() {
            // Nobody at all is an answer too.
            let counts = FunnelCounts::new(&self.question.definition);
            groups.insert((None, 0), Counted { counts, times_us: vec![(Vec::new(), Vec::new()); self.step_count()] });
        }
        let (mut values, mut positions, mut names, mut reached) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut numbers: [Vec<Option<f64>>; 8] = Default::default();
        let (mut open, mut left_out) = (Vec::new(), Vec::new());
        for ((code, _), mut counted) in groups {
            for step in 1..=self.step_count() {
                let counts = &counted.counts;
                let first = counts.rate_from_first(step, Alpha::FIVE_PERCENT);
                let previous = (1 < step).then(|| counts.rate_from_previous(step, Alpha::FIVE_PERCENT));
                values.push(value(code));
                positions.push(step as i64);
                names.push(self.question.names[step - 1].clone());
                reached.push(counts.reached(step) as i64);
                open.push(counts.open_count() as i64);
                left_out.push(counts.voided_count() as i64);
                let mean = counts.time_from_first(step).mean_us();
                let (from_first, from_previous) = &mut counted.times_us[step - 1];
                let told = [
                    first.ratio,
                    previous.and_then(|previous| previous.ratio),
                    first.interval.map(|interval| interval.low),
                    first.interval.map(|interval| interval.high),
                    quantile(from_first, 0.5),
                    quantile(from_first, 0.9),
                    if 1 < step { quantile(from_previous, 0.5) } else { None },
                    mean.map(|us| us / 1e6),
                ];
                numbers.iter_mut().zip(told).for_each(|(column, number)| column.push(number));
            }
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(positions)),
            Arc::new(StringArray::from(names)),
            Arc::new(Int64Array::from(reached)),
        ];
        columns.extend(numbers.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef));
        columns.extend([open, left_out].map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        self.table(values, columns, 0)
    }

    fn trend(
        &self,
        groups: BTreeMap<Group, Counted>,
        value: impl Fn(Option<u32>) -> Option<String>,
    ) -> Result<RecordBatch> {
        let mut groups: Vec<(Group, Counted)> = groups.into_iter().collect();
        groups.sort_by_key(|((code, period), _)| (*period, *code));
        let last = self.step_count();
        let mut values = Vec::new();
        let mut periods = Vec::new();
        let mut counts: [Vec<i64>; 3] = Default::default();
        let mut numbers: [Vec<Option<f64>>; 4] = Default::default();
        for ((code, period), mut counted) in groups {
            let rate = counted.counts.rate_from_first(last, Alpha::FIVE_PERCENT);
            values.push(value(code));
            periods.push(i32::try_from(period).unwrap_or(i32::MAX));
            let told = [rate.of, rate.reached, counted.counts.open_count()];
            counts.iter_mut().zip(told).for_each(|(column, count)| column.push(count as i64));
            let interval = rate.interval;
            let median = quantile(&mut counted.times_us[last - 1].0, 0.5);
            let told = [rate.ratio, interval.map(|of| of.low), interval.map(|of| of.high), median];
            numbers.iter_mut().zip(told).for_each(|(column, number)| column.push(number));
        }
        let [entered, converted, open] = counts.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Date32Array::from(periods)), entered, converted];
        columns.extend(numbers.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef));
        columns.push(open);
        self.table(values, columns, 1)
    }

    fn actors(&self, mut actors: Vec<Actor>, value: impl Fn(Option<u32>) -> Option<String>) -> Result<RecordBatch> {
        actors.sort_unstable_by(|a, b| (&a.unit, a.attempt).cmp(&(&b.unit, b.attempt)));
        let values = actors.iter().map(|actor| value(actor.value)).collect();
        // One time a step, NULL where it was not reached.
        let mut times = ListBuilder::new(Int64Builder::new());
        for actor in &actors {
            for step in 1..=self.step_count() as i64 {
                let time = actor.reached.iter().find(|(reached, _)| *reached == step).map(|(_, time_us)| *time_us);
                times.values().append_option(time);
            }
            times.append(true);
        }
        let count = |of: &dyn Fn(&Actor) -> i64| Arc::new(actors.iter().map(of).collect::<Int64Array>()) as ArrayRef;
        let flag = |of: &dyn Fn(&Actor) -> bool| {
            Arc::new(actors.iter().map(|actor| Some(of(actor))).collect::<BooleanArray>()) as ArrayRef
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(actors.iter().map(|actor| &actor.unit))),
            count(&|actor| actor.attempt),
            count(&|actor| actor.level),
            Arc::new(times.finish()),
            flag(&|actor| actor.is_complete),
            flag(&|actor| actor.is_open),
            flag(&|actor| actor.is_left_out),
        ];
        self.table(values, columns, 1)
    }

    fn times(
        &self,
        groups: &BTreeMap<Group, Counted>,
        value: impl Fn(Option<u32>) -> Option<String>,
    ) -> Result<RecordBatch> {
        let (mut values, mut positions, mut names, mut units) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bounds: [Vec<f64>; 2] = Default::default();
        for ((code, _), counted) in groups {
            for step in 2..=self.step_count() {
                for (least_us, greatest_us, count) in counted.counts.time_from_first(step).classes() {
                    values.push(value(*code));
                    positions.push(step as i64);
                    names.push(self.question.names[step - 1].clone());
                    bounds[0].push(least_us as f64 / 1e6);
                    bounds[1].push(greatest_us as f64 / 1e6);
                    units.push(count as i64);
                }
            }
        }
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(positions)), Arc::new(StringArray::from(names))];
        columns.extend(bounds.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef));
        columns.push(Arc::new(Int64Array::from(units)));
        self.table(values, columns, 0)
    }

    fn curve(
        &self,
        groups: &BTreeMap<Group, Counted>,
        value: impl Fn(Option<u32>) -> Option<String>,
    ) -> Result<RecordBatch> {
        let mut values = Vec::new();
        let mut counts: [Vec<i64>; 2] = Default::default();
        let mut numbers: [Vec<Option<f64>>; 4] = Default::default();
        for ((code, _), counted) in groups {
            for point in counted.counts.conversion_curve().points(Alpha::FIVE_PERCENT) {
                values.push(value(*code));
                counts[0].push(point.at_risk as i64);
                counts[1].push(point.converted as i64);
                let interval = point.interval;
                let told = [
                    Some(point.after_us as f64 / 1e6),
                    Some(point.share),
                    interval.map(|of| of.low),
                    interval.map(|of| of.high),
                ];
                numbers.iter_mut().zip(told).for_each(|(column, number)| column.push(number));
            }
        }
        let [seconds, share, low, high] = numbers.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
        let [at_risk, converted] = counts.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
        self.table(values, vec![seconds, at_risk, converted, share, low, high], 0)
    }
}

/// In seconds, on a straight line between two neighbours, as `percentile_cont`.
fn quantile(times_us: &mut [i64], level: f64) -> Option<f64> {
    let place = level * times_us.len().checked_sub(1)? as f64;
    let (_, low, above) = times_us.select_nth_unstable(place.floor() as usize);
    let low = *low as f64;
    let high = above.iter().min().map_or(low, |high| *high as f64);
    Some((low + (high - low) * place.fract()) / 1e6)
}
