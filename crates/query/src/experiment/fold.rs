//! The fold of `experiment`, `experiment_days` and `experiment_actors`: each unit's exposure and what came of it.
//!
//! In:       a unit's rows.
//! Out:      the rows of the function.
//! Promise:  all three count the same units in the same way. Amounts of different currencies are refused, not added.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use tributary_analytics::experiment::CapRule;

use super::actors::{self, Actors};
use super::analysis::Analysis;
use super::compare::lines;
use super::days::{self, DayTally, DaysAsked};
use super::design::{Design, VARIANT};
use super::measure::subject;
use super::table;
use super::tally::Tally;
use crate::currencies::Currencies;
use crate::fold::{About, Fold, Rows, Texts};
use crate::stop::StopFlag;

/// What is told of the units.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// A row for each metric, slice and variant.
    Variants(Box<Analysis>),
    Days(DaysAsked),
    Actors,
}

#[derive(Debug)]
pub(super) struct ExperimentFold {
    pub(super) design: Design,
    pub(super) told: Told,
}

pub(super) struct Part {
    known_until_us: i64,
    /// By metric, whether amounts are kept one by one, to be capped.
    keeps_sample: Vec<bool>,
    kept: Kept,
}

enum Kept {
    Tally(Tally),
    Days(DayTally),
    Actors(Actors),
}

impl Fold for ExperimentFold {
    type Part = Part;

    fn explain(&self) -> String {
        let words = &self.design.words;
        match &self.told {
            Told::Variants(analysis) => {
                format!("experiment {words}, {}, alpha {}", analysis.statistics.name(), analysis.alpha.ratio())
            }
            Told::Days(asked) => format!("experiment {words} by {} days since exposure", asked.rule.days),
            Told::Actors => format!("experiment {words} by unit"),
        }
    }

    fn schema(&self) -> SchemaRef {
        match &self.told {
            Told::Variants(_) => Arc::clone(&table::SCHEMA),
            Told::Days(_) => days::schema(),
            Told::Actors => actors::schema(),
        }
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let is_capped = |analysis: &Analysis| analysis.cap != CapRule::None;
        let keeps = matches!(&self.told, Told::Variants(analysis) if is_capped(analysis));
        Ok(Part {
            known_until_us: about.times_us.map_or(i64::MIN, |(_, last_us)| last_us.saturating_add(1)),
            keeps_sample: self.design.metrics.iter().map(|metric| keeps && metric.measure.is_capped()).collect(),
            kept: match &self.told {
                Told::Variants(_) => Kept::Tally(Tally::default()),
                Told::Days(_) => Kept::Days(DayTally::default()),
                Told::Actors => Kept::Actors(Actors::default()),
            },
        })
    }

    fn unit(&self, part: &mut Part, unit: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let Some(subject) = subject(&self.design, rows) else { return Ok(()) };
        let known_until_us = part.known_until_us;
        match (&mut part.kept, &self.told) {
            (Kept::Tally(tally), _) => {
                let number = xxhash_rust::xxh3::xxh3_64(unit.as_bytes());
                tally.push(&self.design, &part.keeps_sample, &subject, (number, rows), known_until_us);
            }
            (Kept::Days(days), Told::Days(asked)) => {
                days.push(&self.design, asked.rule, &subject, rows, known_until_us);
            }
            (Kept::Days(_), _) => {}
            (Kept::Actors(actors), _) => actors.push(&self.design, subject, (unit, rows), known_until_us),
        }
        Ok(())
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        match (&mut part.kept, other.kept) {
            (Kept::Tally(tally), Kept::Tally(other)) => tally.merge(other),
            (Kept::Days(days), Kept::Days(other)) => days.merge(other),
            (Kept::Actors(actors), Kept::Actors(other)) => actors.merge(other),
            _ => return exec_err!("parts of two experiments cannot be merged"),
        }
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        match &part.kept {
            Kept::Tally(tally) => tally.bytes(),
            Kept::Days(days) => days.bytes(),
            Kept::Actors(actors) => actors.bytes(),
        }
    }

    fn finish(&self, part: Part, about: &About<'_>) -> Result<RecordBatch> {
        let wrong = |reason: String| exec_datafusion_err!("{reason}");
        let design = &self.design;
        let variants = &about.texts[VARIANT];
        match (part.kept, &self.told) {
            (Kept::Tally(tally), Told::Variants(analysis)) => {
                self.one_currency(tally.currencies, about)?;
                let span_us = tally.exposed_us.map(|(first_us, last_us)| last_us.saturating_sub(first_us));
                let nothing = Texts::default();
                let texts = design.places.slice.map_or(&nothing, |place| &about.texts[place]);
                let slices = tally.into_slices(design, texts, variants, analysis.slices_max);
                let lines = lines(design, analysis, &slices, span_us).map_err(wrong)?;
                table::batch(design, analysis, &lines)
            }
            (Kept::Days(days), Told::Days(asked)) => {
                self.one_currency(days.currencies, about)?;
                days.batch(design, asked, variants).map_err(wrong)
            }
            (Kept::Actors(actors), _) => {
                self.one_currency(actors.currencies, about)?;
                actors.batch(design, variants)
            }
            _ => exec_err!("a part is told by the experiment it was started by"),
        }
    }
}

impl ExperimentFold {
    fn one_currency(&self, currencies: Currencies, about: &About<'_>) -> Result<()> {
        let several = self.design.places.currency.zip(currencies.several());
        let Some((place, (low, high))) = several else { return Ok(()) };
        let name = |code| about.texts[place].get(Some(code)).unwrap_or_default();
        let (low, high) = (name(low), name(high));
        exec_err!(
            "experiment: the conversions have values in several currencies, {low} and {high} among them (XXX: none \
             said), which cannot be added; choose one: conversion => event_kind = 'conversion' AND currency = '{low}'"
        )
    }
}
