//! What the comparisons with packages share: counting, reading their numbers, users as arms and strata.
//!
//! In:       values of their JSON; `users.csv`.
//! Out:      numbers, effects of every kind of metric; a line for each test with `--nocapture`.
//! Promise:  a difference beyond the tolerance fails with the case's name; a case too few fails as well.

use std::path::Path;

use serde_json::Value;
use tributary_analytics::experiment::{
    Effect, Stratum, stratified_cuped_means, stratified_cuped_ratios, stratified_means, stratified_ratios,
};
use tributary_analytics::stats::{Interval, JointMoments};

use crate::fixtures::Record;

/// Counts comparisons and keeps the largest difference.
pub(crate) struct Tally {
    name: String,
    is_whole: bool,
    pub(crate) case_count: usize,
    number_count: usize,
    largest: f64,
}

impl Tally {
    pub(crate) fn new(name: &str, folder: &Path) -> Self {
        let is_whole = !folder.starts_with(env!("CARGO_MANIFEST_DIR"));
        Self { name: name.to_owned(), is_whole, case_count: 0, number_count: 0, largest: 0.0 }
    }

    /// `theirs` may differ by `tolerance`, in proportion for numbers above 1.
    #[track_caller]
    pub(crate) fn close(&mut self, ours: f64, theirs: f64, tolerance: f64, what: &str) {
        self.number_count += 1;
        if ours == theirs {
            return;
        }
        let off = (ours - theirs).abs() / theirs.abs().max(1.0);
        assert!(off <= tolerance, "{}, {what}: {ours} is not {theirs}, off by {off:e}", self.name);
        if tolerance <= TOLERANCE {
            self.largest = self.largest.max(off);
        }
    }

    pub(crate) fn interval(&mut self, ours: Interval, theirs: &Value, tolerance: f64, what: &str) {
        self.close(ours.low, number(&theirs[0]), tolerance, what);
        self.close(ours.high, number(&theirs[1]), tolerance, what);
    }

    /// * `case_counts`: how many cases the committed part has, and the whole.
    pub(crate) fn finish(self, case_counts: [usize; 2]) {
        println!(
            "{} ({}): {} cases, {} numbers, largest difference {:.1e}",
            self.name,
            if self.is_whole { "whole" } else { "committed" },
            self.case_count,
            self.number_count,
            self.largest
        );
        assert_eq!(self.case_count, case_counts[usize::from(self.is_whole)], "{}", self.name);
    }
}

pub(crate) const TOLERANCE: f64 = 1e-9;

/// Infinite ones are written as words.
#[track_caller]
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "inf" => f64::INFINITY,
        Value::String(text) if text == "-inf" => f64::NEG_INFINITY,
        other => other.as_f64().unwrap_or_else(|| panic!("{other} is a number")),
    }
}

pub(crate) fn count(value: &Value) -> u64 {
    number(value) as u64
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is a text"))
}

/// Numerator, denominator and both before, as the reference was given them.
pub(crate) const CUPED_RATIO: [&str; 4] = ["revenue", "sessions", "pre_revenue", "pre_sessions + 1"];

fn value(user: &Record, column: &str) -> f64 {
    match column {
        // Nobody's denominator is 0.
        "pre_sessions + 1" => user.float("pre_sessions") + 1.0,
        column => user.float(column),
    }
}

/// All values of a user, under the names the metrics use.
pub(crate) struct Users(pub(crate) Vec<Record>);

impl Users {
    pub(crate) fn joint<const K: usize>(&self, columns: [&str; K], keep: impl Fn(&Record) -> bool) -> JointMoments<K> {
        let kept = self.0.iter().filter(|user| keep(user));
        kept.map(|user| columns.map(|column| value(user, column))).collect()
    }

    /// One stratum for each value of `strata`, or all users as one.
    pub(crate) fn strata<const K: usize>(
        &self,
        columns: [&str; K],
        treatment: &str,
        strata: Option<&str>,
    ) -> Vec<Stratum<K>> {
        let mut slices: Vec<&str> = strata.map_or(vec![""], |by| self.0.iter().map(|user| user.text(by)).collect());
        slices.sort_unstable();
        slices.dedup();
        let arm = |name: &str, slice: &str| {
            self.joint(columns, |user| user.text("variation") == name && strata.is_none_or(|by| user.text(by) == slice))
        };
        slices
            .iter()
            .map(|slice| Stratum { control: arm("control", slice), treatment: arm(treatment, slice) })
            .collect()
    }

    pub(crate) fn effect(&self, metric: &str, treatment: &str, strata: Option<&str>) -> Effect {
        match metric {
            "mean_revenue" => stratified_means(&self.strata(["revenue"], treatment, strata)),
            "proportion_converted" => stratified_means(&over_n(&self.strata(["converted"], treatment, strata))),
            "ratio_revenue_per_session" => stratified_ratios(&self.strata(["revenue", "sessions"], treatment, strata)),
            "cuped_revenue" => stratified_cuped_means(&self.strata(["revenue", "pre_revenue"], treatment, strata)),
            "cuped_sessions" => stratified_cuped_means(&self.strata(["sessions", "pre_sessions"], treatment, strata)),
            "cuped_proportion" => {
                let columns = self.strata(["converted", "pre_converted"], treatment, strata);
                // Regressions in strata it makes of sums, over n - 1; all else of shares over n.
                stratified_cuped_means(&if strata.is_none() { over_n(&columns) } else { columns })
            }
            "cuped_ratio_revenue_per_session" => stratified_cuped_ratios(&self.strata(CUPED_RATIO, treatment, strata)),
            other => panic!("no metric {other}"),
        }
        .unwrap()
    }
}

/// Variances of shares as the reference takes them, without n / (n - 1).
fn over_n<const K: usize>(strata: &[Stratum<K>]) -> Vec<Stratum<K>> {
    let scaled = |moments: &JointMoments<K>| {
        let units = moments.unit_count() as f64;
        let covariances = moments.covariances().unwrap().map(|row| row.map(|cell| cell * (units - 1.0) / units));
        JointMoments::from_means_and_covariances(moments.unit_count(), moments.means().unwrap(), covariances)
    };
    strata
        .iter()
        .map(|stratum| Stratum { control: scaled(&stratum.control), treatment: scaled(&stratum.treatment) })
        .collect()
}
