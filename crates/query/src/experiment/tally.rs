//! What is kept of all units: statistics by variant, slice and stratum.
//!
//! In:       subjects with their rows, other tallies.
//! Out:      slices, the largest by themselves and the rest as one, each with its arms.
//! Promise:  merging in any order gives the same bits; each unit is in one cell; what grows is counted in `bytes`.
//! Not here: what the statistics say (`compare.rs`).

use std::collections::BTreeMap;

use tributary_analytics::experiment::{ClusteredSample, OTHER, RecordedArm};
use tributary_analytics::stats::{JointMoments, UnitSample};

use super::design::{CHANCE_WHOLE, Design};
use super::measure::{Measured, Notice, Subject, measure};
use super::sums::{MICROS, Sums, WIDTH};
use crate::currencies::Currencies;
use crate::fold::{Rows, Texts};

/// What a value of a slice is called where the unit has none.
pub(super) const UNSET: &str = "(unset)";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    slice: Option<u32>,
    variant: u32,
    stratum: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    cells: BTreeMap<Key, Cell>,
    pub(super) currencies: Currencies,
    /// Units first exposed at the earliest and latest, of those counted.
    pub(super) exposed_us: Option<(i64, i64)>,
    sample_rows: usize,
    values: usize,
}

/// Units of one arm, slice and stratum.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) persons: u64,
    pub(super) crossovers: u64,
    chances: Chances,
    pub(super) metrics: Vec<MetricCell>,
}

/// The chances units had of the variant they were shown, as far as they are recorded.
#[derive(Debug, Clone, Copy, Default)]
struct Chances {
    known: u64,
    sum: i128,
    bounds: Option<(i64, i64)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct MetricCell {
    pub(super) unit_count: u64,
    /// Left out because their window is not over.
    pub(super) in_progress: u64,
    pub(super) with_any: u64,
    sums: Sums,
    /// Instead of the sums where amounts are capped at a percentile.
    pub(super) sample: UnitSample<WIDTH>,
    pub(super) values: ClusteredSample,
}

impl MetricCell {
    /// * `cap`: the most that counts of the metric, and of its covariate.
    pub(super) fn joint(&self, cap: Option<f64>) -> JointMoments<WIDTH> {
        let Some(cap) = cap else { return self.sums.joint() };
        let (capped, free) = ((f64::NEG_INFINITY, cap), (f64::NEG_INFINITY, f64::INFINITY));
        self.sample.moments_within([capped, free, capped, free])
    }

    fn push(&mut self, measured: &Measured, keeps_sample: bool) {
        self.unit_count += 1;
        self.with_any += u64::from(measured.has_any);
        if keeps_sample {
            self.sample.push(measured.amounts.map(|micros| micros as f64 / MICROS));
        } else {
            self.sums.push(measured.amounts);
        }
    }

    fn merge(&mut self, other: Self) {
        self.unit_count += other.unit_count;
        self.in_progress += other.in_progress;
        self.with_any += other.with_any;
        self.sums.merge(&other.sums);
        self.sample = std::mem::take(&mut self.sample).merge(other.sample);
        self.values = std::mem::take(&mut self.values).merge(other.values);
    }
}

impl Cell {
    fn of(metric_count: usize) -> Self {
        Self { metrics: vec![MetricCell::default(); metric_count], ..Self::default() }
    }

    fn merge(&mut self, other: Self) {
        self.persons += other.persons;
        self.crossovers += other.crossovers;
        self.chances.known += other.chances.known;
        self.chances.sum += other.chances.sum;
        if let Some((low, high)) = other.chances.bounds {
            self.chances.see(low);
            self.chances.see(high);
        }
        for (metric, more) in self.metrics.iter_mut().zip(other.metrics) {
            metric.merge(more);
        }
    }
}

impl Chances {
    fn see(&mut self, chance: i64) {
        let (low, high) = self.bounds.unwrap_or((chance, chance));
        self.bounds = Some((low.min(chance), high.max(chance)));
    }
}

impl Tally {
    /// Takes in one unit.
    ///
    /// * `unit`: a number of its own.
    /// * `keeps_sample`: by metric, whether amounts are kept one by one.
    pub(super) fn push(
        &mut self,
        design: &Design,
        keeps_sample: &[bool],
        subject: &Subject,
        (unit, rows): (u64, Rows<'_>),
        known_until_us: i64,
    ) {
        let key = Key { slice: subject.slice, variant: subject.variant, stratum: subject.stratum };
        let cell = self.cells.entry(key).or_insert_with(|| Cell::of(design.metrics.len()));
        if subject.is_crossover {
            cell.crossovers += 1;
            return;
        }
        cell.persons += 1;
        let (first_us, last_us) = self.exposed_us.unwrap_or((subject.exposed_us, subject.exposed_us));
        self.exposed_us = Some((first_us.min(subject.exposed_us), last_us.max(subject.exposed_us)));
        if let Some(chance) = subject.chance {
            cell.chances.known += 1;
            cell.chances.sum += i128::from(chance);
            cell.chances.see(chance);
        }
        for ((metric, kept), keeps_sample) in design.metrics.iter().zip(&mut cell.metrics).zip(keeps_sample) {
            let mut noticed = Noticed { currencies: &mut self.currencies, values: &mut kept.values, unit, count: 0 };
            let measured = measure(design, metric, subject, rows, known_until_us, &mut noticed);
            self.values += noticed.count;
            match measured {
                Some(measured) => kept.push(&measured, *keeps_sample),
                None => kept.in_progress += 1,
            }
            self.sample_rows += usize::from(*keeps_sample);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, cell) in other.cells {
            match self.cells.get_mut(&key) {
                Some(known) => known.merge(cell),
                None => _ = self.cells.insert(key, cell),
            }
        }
        self.currencies.merge(other.currencies);
        let exposed_us = self.exposed_us.into_iter().chain(other.exposed_us);
        self.exposed_us = exposed_us.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.sample_rows += other.sample_rows;
        self.values += other.values;
    }

    pub(super) fn bytes(&self) -> usize {
        let metrics = self.cells.values().next().map_or(0, |cell| cell.metrics.len());
        let cell_bytes = size_of::<Key>() + size_of::<Cell>() + metrics * size_of::<MetricCell>();
        // Twice: cells are joined to slices, samples are sorted, as are values, of which the units are counted besides.
        let samples = self.sample_rows * size_of::<[f64; WIDTH]>() + self.values * 2 * size_of::<(f64, u64)>();
        2 * (self.cells.len() * cell_bytes + samples)
    }

    /// The slices, largest first and those of a size by name; at most so many, and the rest joined to one, which is last.
    pub(super) fn into_slices(self, design: &Design, texts: &Texts, variants: &Texts, slices_max: usize) -> Vec<Slice> {
        let name = |slice: Option<u32>| design.places.slice.map(|_| texts.get(slice).unwrap_or(UNSET).to_owned());
        let mut sizes: BTreeMap<Option<String>, u64> = BTreeMap::new();
        for (key, cell) in &self.cells {
            *sizes.entry(name(key.slice)).or_default() += cell.persons;
        }
        let mut ranked: Vec<(Option<String>, u64)> = sizes.into_iter().collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let kept = if slices_max < ranked.len() { slices_max.max(1) - 1 } else { ranked.len() };
        let mut slices: Vec<Slice> =
            ranked.iter().take(kept).map(|(name, _)| Slice { name: name.clone(), arms: BTreeMap::new() }).collect();
        let places: BTreeMap<Option<String>, usize> =
            ranked.iter().enumerate().map(|(rank, (name, _))| (name.clone(), rank.min(kept))).collect();
        if kept < ranked.len() {
            slices.push(Slice { name: Some(OTHER.to_owned()), arms: BTreeMap::new() });
        }
        for (key, cell) in self.cells {
            let arms = &mut slices[places[&name(key.slice)]].arms;
            let variant = variants.get(Some(key.variant)).unwrap_or_default();
            let strata = arms.entry(variant.to_owned()).or_default();
            match strata.0.get_mut(&key.stratum) {
                Some(known) => known.merge(cell),
                None => _ = strata.0.insert(key.stratum, cell),
            }
        }
        slices
    }
}

struct Noticed<'a> {
    currencies: &'a mut Currencies,
    values: &'a mut ClusteredSample,
    unit: u64,
    count: usize,
}

impl Notice for Noticed<'_> {
    fn currency(&mut self, code: u32) {
        self.currencies.push(code);
    }

    fn value(&mut self, micros: i64) {
        self.values.push(self.unit, micros as f64 / MICROS);
        self.count += 1;
    }
}

/// Units that have the same value, by variant.
#[derive(Debug)]
pub(super) struct Slice {
    /// `None` where none were asked for.
    pub(super) name: Option<String>,
    pub(super) arms: BTreeMap<String, Arm>,
}

/// The cells of one arm by stratum.
#[derive(Debug, Default, Clone)]
pub(super) struct Arm(pub(super) BTreeMap<Option<u32>, Cell>);

impl Arm {
    pub(super) fn sum(&self, of: impl Fn(&Cell) -> u64) -> u64 {
        self.0.values().map(of).sum()
    }

    pub(super) fn recorded(&self) -> RecordedArm {
        let chances = self.0.values().map(|cell| cell.chances);
        let bounds = chances.clone().filter_map(|chances| chances.bounds).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (low, high) = bounds.unwrap_or_default();
        RecordedArm {
            unit_count: self.sum(|cell| cell.persons),
            known_count: chances.clone().map(|chances| chances.known).sum(),
            chance_sum: chances.map(|chances| chances.sum).sum::<i128>() as f64 / CHANCE_WHOLE,
            chance_min: low as f64 / CHANCE_WHOLE,
            chance_max: high as f64 / CHANCE_WHOLE,
        }
    }
}
