//! `experiment_days`: the effect by days since exposure, and whether it changes.
//!
//! In:       subjects with their rows.
//! Out:      a row for each metric, treatment and day.
//! Promise:  a unit counts on a day once it was seen for the whole of it; merging in any order gives the same bits.
//! Not here: the comparison of early with late days: `analytics::experiment::novelty`.

#![allow(clippy::cast_possible_wrap, reason = "counts are far below 2^63")]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use tributary_analytics::calendar::DAY_US;
use tributary_analytics::experiment::{
    DayByDay, Effect, FixedTest, Goal, Novelty, NoveltyRule, Tested, Untestable, novelty,
};
use tributary_analytics::stats::{Alpha, Moments};

use super::compare::control;
use super::design::Design;
use super::measure::{Notice, Subject, YES, add};
use super::sums::Sums;
use crate::currencies::Currencies;
use crate::fold::{Rows, Texts};

#[derive(Debug, Clone)]
pub(super) struct DaysAsked {
    pub(super) rule: NoveltyRule,
    pub(super) alpha: Alpha,
    /// One for each metric.
    pub(super) goals: Vec<Goal>,
    pub(super) control: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct DayTally {
    /// By variant, then metric.
    arms: BTreeMap<u32, Vec<DaySums>>,
    pub(super) currencies: Currencies,
    /// Of one unit, given back for the next.
    amounts: Vec<i128>,
}

#[derive(Debug, Clone)]
struct DaySums {
    days: Vec<Sums>,
    /// Late less early, times the numbers of late and of early days.
    change: Sums,
}

impl Notice for Currencies {
    fn currency(&mut self, code: u32) {
        self.push(code);
    }

    fn value(&mut self, _: i64) {}
}

impl DayTally {
    pub(super) fn push(
        &mut self,
        design: &Design,
        rule: NoveltyRule,
        subject: &Subject,
        rows: Rows<'_>,
        known_until_us: i64,
    ) {
        let days = rule.days as usize;
        let empty =
            || vec![DaySums { days: vec![Sums::default(); days], change: Sums::default() }; design.metrics.len()];
        let arm = self.arms.entry(subject.variant).or_insert_with(empty);
        if subject.is_crossover {
            return;
        }
        let seen = known_until_us.saturating_sub(subject.starts_us) / DAY_US;
        let seen = usize::try_from(seen).unwrap_or(0).min(days);
        for (metric, sums) in design.metrics.iter().zip(arm) {
            self.amounts.clear();
            self.amounts.resize(seen, 0);
            for row in rows.iter().filter(|row| subject.starts_us <= row.time_us()) {
                let day = row.time_us().saturating_sub(subject.starts_us) / DAY_US;
                let Some(amount) = self.amounts.get_mut(usize::try_from(day).unwrap_or(usize::MAX)) else { break };
                add(design, metric.measure, row, [amount, &mut 0], &mut self.currencies);
            }
            if metric.measure.is_share() {
                self.amounts.iter_mut().for_each(|amount| *amount = (*amount).min(YES));
            }
            for (amount, sums) in self.amounts.iter().zip(&mut sums.days) {
                sums.push([*amount, 0, 0, 0]);
            }
            if seen == days {
                let (early, late) = self.amounts.split_at(rule.early_days as usize);
                let total = |days: &[i128]| days.iter().sum::<i128>();
                let change = total(late) * early.len() as i128 - total(early) * late.len() as i128;
                sums.change.push([change, 0, 0, 0]);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (variant, metrics) in other.arms {
            match self.arms.get_mut(&variant) {
                Some(known) => {
                    for (sums, more) in known.iter_mut().zip(metrics) {
                        sums.change.merge(&more.change);
                        sums.days.iter_mut().zip(&more.days).for_each(|(day, more)| day.merge(more));
                    }
                }
                None => _ = self.arms.insert(variant, metrics),
            }
        }
        self.currencies.merge(other.currencies);
    }

    pub(super) fn bytes(&self) -> usize {
        let days = self.arms.values().flatten().map(|sums| sums.days.len() + 1).sum::<usize>();
        days * size_of::<Sums>()
    }

    /// * Fails if the control named is a variant nobody was shown.
    pub(super) fn batch(self, design: &Design, asked: &DaysAsked, variants: &Texts) -> Result<RecordBatch, String> {
        let mut arms: Vec<(&str, &Vec<DaySums>)> =
            self.arms.iter().map(|(code, arm)| (variants.get(Some(*code)).unwrap_or_default(), arm)).collect();
        arms.sort_by_key(|(variant, _)| *variant);
        let names: Vec<&str> = arms.iter().map(|(variant, _)| *variant).collect();
        let mut lines = Lines::default();
        if let Some(control) = control(asked.control.as_deref(), &names)? {
            let days = asked.rule.days as usize;
            let scale = (asked.rule.early_days as usize * (days - asked.rule.early_days as usize)) as f64;
            let day_by_day = |sums: &DaySums| {
                let seen = (0..).zip(&sums.days).map(|(day, sums)| (day, sums.joint().moments(0)));
                let change = sums.change.joint().moments(0);
                let mean = change.mean().unwrap_or(0.0) / scale;
                let variance = change.variance().unwrap_or(0.0) / scale / scale;
                let change = Moments::from_mean_and_variance(change.unit_count(), mean, variance);
                DayByDay::from_moments(seen.filter(|(_, moments)| 0 < moments.unit_count()).collect(), change)
            };
            let test = FixedTest { alpha: asked.alpha, ..FixedTest::CONVENTIONAL };
            for (metric, named) in design.metrics.iter().enumerate() {
                let of_control = arms.iter().find(|(variant, _)| *variant == control).map(|(_, arm)| &arm[metric]);
                for (variant, arm) in arms.iter().filter(|(variant, _)| *variant != control) {
                    let Some(of_control) = of_control else { continue };
                    let told = novelty(&day_by_day(of_control), &day_by_day(&arm[metric]), &test);
                    let words = words(&told, asked.goals[metric], asked);
                    lines.push(&named.name, variant, &told, &words, [of_control, &arm[metric]], &test);
                }
            }
        }
        lines.batch().map_err(|error| error.to_string())
    }
}

/// What became of the effect.
fn words(told: &Novelty, goal: Goal, asked: &DaysAsked) -> String {
    match &told.change {
        Err(Untestable::TooFewUnits { .. }) => {
            format!("cannot be said: fewer than two units of an arm were seen for {} days", asked.rule.days)
        }
        Err(_) => "cannot be said: late days differ from early ones by the same for all units".to_owned(),
        Ok((_, tested)) if asked.alpha.ratio() <= tested.p.p_value => "no change found".to_owned(),
        Ok((effect, _)) => {
            let is_better = match goal {
                Goal::HigherIsBetter => 0.0 < effect.difference,
                Goal::LowerIsBetter => effect.difference < 0.0,
            };
            let change = if is_better { "better: it may have to be learned" } else { "worse: what was new wears off" };
            format!("the effect of late days is {change}")
        }
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let mut fields = vec![text("metric"), text("variant"), count("day"), count("control_persons"), count("persons")];
    fields.extend(NUMBERS.map(number));
    fields.push(text("novelty"));
    Arc::new(Schema::new(fields))
});

const NUMBERS: [&str; 10] = [
    "control_value",
    "metric_value",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "change",
    "change_low",
    "change_high",
    "change_p_value",
];

pub(super) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

#[derive(Default)]
struct Lines {
    /// Metric, variant, novelty.
    texts: [Vec<String>; 3],
    /// Day, units of control and of treatment.
    counts: [Vec<i64>; 3],
    numbers: [Vec<Option<f64>>; 10],
}

impl Lines {
    fn push(
        &mut self,
        metric: &str,
        variant: &str,
        told: &Novelty,
        words: &str,
        arms: [&DaySums; 2],
        test: &FixedTest,
    ) {
        let change = told.change.as_ref().ok();
        for (day, effect) in &told.days {
            let moments = arms.map(|arm| arm.days[*day as usize].joint().moments(0));
            let compared: Option<(&Effect, Tested)> =
                effect.as_ref().ok().map(|effect| (effect, test.run(&effect.absolute())));
            for (column, text) in self.texts.iter_mut().zip([metric, variant, words]) {
                column.push(text.to_owned());
            }
            let counts = [i64::from(*day), moments[0].unit_count() as i64, moments[1].unit_count() as i64];
            self.counts.iter_mut().zip(counts).for_each(|(column, count)| column.push(count));
            let numbers = [
                moments[0].mean(),
                moments[1].mean(),
                compared.map(|(effect, _)| effect.difference),
                compared.map(|(_, tested)| tested.interval.low),
                compared.map(|(_, tested)| tested.interval.high),
                compared.map(|(_, tested)| tested.p.p_value),
                change.map(|(effect, _)| effect.difference),
                change.map(|(_, tested)| tested.interval.low),
                change.map(|(_, tested)| tested.interval.high),
                change.map(|(_, tested)| tested.p.p_value),
            ];
            self.numbers.iter_mut().zip(numbers).for_each(|(column, number)| column.push(number));
        }
    }

    fn batch(self) -> Result<RecordBatch> {
        let [metric, variant, novelty] = self.texts.map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
        let mut columns = vec![metric, variant];
        columns.extend(self.counts.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        columns.extend(self.numbers.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef));
        columns.push(novelty);
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}
