//! What one unit did: its arm, and its amount of each metric.
//!
//! In:       a unit's rows in order of time; a `Design`.
//! Out:      a `Subject`, and a `Measured` for each metric.
//! Promise:  the first exposure wins; only what comes at or after it counts (with an activation, at or after that), and for
//!           covariates what comes before. Amounts are whole millionths.
//! Not here: exposure and windows as words: `analytics::experiment`.

use tributary_analytics::experiment::{Exposures, MetricWindow, is_through_funnel};
use tributary_analytics::funnel::ExactRule;

use super::design::{CHANCE, Design, VARIANT, bit};
use super::sums::Amounts;
use crate::fold::{Row, Rows};

#[derive(Debug, Clone)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) measure: Measure,
    pub(super) window: MetricWindow,
}

/// What is measured of a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Measure {
    /// Whether it converted.
    Conversion,
    /// What its conversions are worth together.
    Value,
    /// How often it converted.
    Count,
    /// Two sums over its events.
    Ratio,
    /// The values of its conversions, each by itself.
    Quantile { level: f64 },
    /// Whether it came back.
    Retention,
    /// Whether it went through all steps.
    Funnel { rule: ExactRule },
}

impl Measure {
    /// Whether it is a yes or a no of each unit.
    pub(super) fn is_share(&self) -> bool {
        matches!(self, Self::Conversion | Self::Retention | Self::Funnel { .. })
    }

    pub(super) fn is_quantile(&self) -> bool {
        matches!(self, Self::Quantile { .. })
    }

    pub(super) fn is_of_conversions(&self) -> bool {
        matches!(self, Self::Conversion | Self::Value | Self::Count | Self::Quantile { .. })
    }

    pub(super) fn is_of_value(&self) -> bool {
        matches!(self, Self::Value | Self::Quantile { .. })
    }

    /// Whether it is an amount that one unit may have far more of than others.
    pub(super) fn is_capped(&self) -> bool {
        matches!(self, Self::Value | Self::Count | Self::Ratio)
    }

    pub(super) fn has_covariate(&self) -> bool {
        !matches!(self, Self::Quantile { .. } | Self::Funnel { .. })
    }
}

/// A unit that was exposed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    /// Codes into the texts of their columns.
    pub(super) variant: u32,
    pub(super) slice: Option<u32>,
    pub(super) stratum: Option<u32>,
    pub(super) exposed_us: i64,
    /// From when on metrics count: the exposure, or the activation after it.
    pub(super) starts_us: i64,
    pub(super) is_crossover: bool,
    /// In parts of `CHANCE_WHOLE`.
    pub(super) chance: Option<i64>,
}

/// `None` for who was not exposed, or not activated where that is asked for.
pub(super) fn subject(design: &Design, rows: Rows<'_>) -> Option<Subject> {
    let mut exposures = Exposures::default();
    let mut is_mixed = false;
    for (place, row) in rows.iter().enumerate() {
        if let Some(variant) = row.code(VARIANT) {
            // Rows are in the order of the log, so their place among them will do.
            exposures.push(row.time_us(), place as u64, variant);
            is_mixed |= row.mask() & bit::MIXED != 0;
        }
    }
    let first = exposures.first()?;
    let row = rows.at(usize::try_from(first.sequence).ok()?);
    let exposed_us = first.time_us;
    let activates = |row: &Row<'_>| exposed_us <= row.time_us() && row.mask() & bit::ACTIVATION != 0;
    let starts_us = if design.has_activation { rows.iter().find(activates)?.time_us() } else { exposed_us };
    Some(Subject {
        variant: first.arm,
        slice: design.places.slice.and_then(|place| row.code(place)),
        stratum: design.places.stratum.and_then(|place| row.code(place)),
        exposed_us,
        starts_us,
        is_crossover: is_mixed || exposures.is_crossover(),
        chance: row.value_micros(CHANCE),
    })
}

/// A unit's amounts of one metric.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measured {
    /// A yes is a whole one.
    pub(super) amounts: Amounts,
    /// Whether anything counted: a conversion, a return, the last step, an amount.
    pub(super) has_any: bool,
}

/// A yes, in millionths.
pub(super) const YES: i128 = 1_000_000;

/// What is noticed of the values that were counted besides.
pub(super) trait Notice {
    fn currency(&mut self, code: u32);
    /// One value of a quantile.
    fn value(&mut self, micros: i64);
}

/// A unit's amounts of a metric. `None` where its window is not over and the metric leaves such units out.
pub(super) fn measure(
    design: &Design,
    metric: &Metric,
    subject: &Subject,
    rows: Rows<'_>,
    known_until_us: i64,
    notice: &mut impl Notice,
) -> Option<Measured> {
    let window = &metric.window;
    if !window.takes_unit(subject.starts_us, known_until_us) {
        return None;
    }
    if let Measure::Funnel { rule } = metric.measure {
        let masks = |row: Row<'_>| (row.time_us(), row.mask() >> bit::STEPS_AT);
        let steps: Vec<(i64, u32)> = rows.iter().map(masks).filter(|(_, mask)| *mask != 0).collect();
        let is_through = is_through_funnel(window, subject.starts_us, &steps, rule, known_until_us)?;
        return Some(Measured { amounts: [yes(is_through), 0, 0, 0], has_any: is_through });
    }
    let mut measured = Measured::default();
    for row in rows.iter() {
        let time_us = row.time_us();
        if window.holds(subject.starts_us, time_us, known_until_us) {
            let [amount, denominator, ..] = &mut measured.amounts;
            measured.has_any |= add(design, metric.measure, row, [amount, denominator], notice);
        }
        // What was before the exposure cannot be an effect of it; between exposure and activation it may.
        let is_before = design.before_us.is_some_and(|length_us| {
            MetricWindow::before_exposure(length_us).holds(subject.exposed_us, time_us, i64::MAX)
        });
        if is_before {
            let [_, _, amount, denominator] = &mut measured.amounts;
            add(design, metric.measure, row, [amount, denominator], notice);
        }
    }
    if metric.measure.is_share() {
        measured.amounts[0] = yes(0 < measured.amounts[0]);
        measured.amounts[2] = yes(0 < measured.amounts[2]);
    }
    Some(measured)
}

fn yes(is_yes: bool) -> i128 {
    if is_yes { YES } else { 0 }
}

/// Adds what a row has of the metric; says whether it counts.
pub(super) fn add(
    design: &Design,
    measure: Measure,
    row: Row<'_>,
    [amount, denominator]: [&mut i128; 2],
    notice: &mut impl Notice,
) -> bool {
    let places = &design.places;
    let micros = |place: Option<usize>| place.and_then(|place| row.value_micros(place));
    let counts = match measure {
        Measure::Conversion | Measure::Value | Measure::Count | Measure::Quantile { .. } => {
            row.mask() & bit::CONVERSION != 0
        }
        Measure::Retention => row.mask() & bit::RETURNS != 0,
        Measure::Ratio => micros(places.numerator).is_some() || micros(places.denominator).is_some(),
        Measure::Funnel { .. } => false,
    };
    if !counts {
        return false;
    }
    match measure {
        Measure::Ratio => {
            *amount += i128::from(micros(places.numerator).unwrap_or(0));
            *denominator += i128::from(micros(places.denominator).unwrap_or(0));
        }
        Measure::Value => *amount += i128::from(micros(places.value).unwrap_or(0)),
        Measure::Quantile { .. } => {}
        _ => *amount += YES,
    }
    let is_money = matches!(measure, Measure::Value | Measure::Quantile { .. } | Measure::Ratio);
    if is_money && let Some(currency) = places.currency.and_then(|place| row.code(place)) {
        notice.currency(currency);
    }
    if measure.is_quantile() {
        // An event without a value is none of them.
        let Some(micros) = micros(places.value) else { return false };
        notice.value(micros);
    }
    true
}
