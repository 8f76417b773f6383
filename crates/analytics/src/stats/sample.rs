//! Samples: all values of all units, for what no sum can tell (quantiles, and means capped at a quantile).
//!
//! In:       `K` values per unit; other samples.
//! Out:      quantiles of a column; joint moments, the columns capped or not.
//! Promise:  the order in which units came or states were merged changes no bit of an answer: rows are put in order
//!           first. A quantile is exact, never that of a sketch.
//! Not here: which quantile makes a cap (`experiment::winsor`). The price: 8 × K bytes a unit are kept.

use super::joint::JointMoments;

/// `K` values per unit, in no order.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitSample<const K: usize> {
    rows: Vec<[f64; K]>,
}

impl<const K: usize> Default for UnitSample<K> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<const K: usize> UnitSample<K> {
    pub fn push(&mut self, values: [f64; K]) {
        self.rows.push(values);
    }

    /// The units of both together.
    #[must_use]
    pub fn merge(mut self, mut other: Self) -> Self {
        // The longer one takes the shorter one in; the order of rows means nothing.
        if self.rows.len() < other.rows.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.rows.append(&mut other.rows);
        self
    }

    pub fn unit_count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// One column in ascending order.
    ///
    /// * `column`: below `K`.
    pub fn sorted(&self, column: usize) -> Vec<f64> {
        let mut values: Vec<f64> = self.rows.iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The joint moments, each value brought to within the limits of its column.
    ///
    /// * `limits`: lowest and highest value a column may have; infinite ones change nothing.
    pub fn moments_within(&self, limits: [(f64, f64); K]) -> JointMoments<K> {
        let mut rows: Vec<[f64; K]> = self
            .rows
            .iter()
            .map(|row| std::array::from_fn(|column| row[column].max(limits[column].0).min(limits[column].1)))
            .collect();
        rows.sort_by(|a, b| {
            a.iter()
                .zip(b)
                .map(|(a, b)| a.total_cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        rows.into_iter().collect()
    }

    pub fn moments(&self) -> JointMoments<K> {
        self.moments_within([(f64::NEG_INFINITY, f64::INFINITY); K])
    }
}

impl<const K: usize> FromIterator<[f64; K]> for UnitSample<K> {
    fn from_iter<I: IntoIterator<Item = [f64; K]>>(rows: I) -> Self {
        Self { rows: rows.into_iter().collect() }
    }
}

/// The value below which a share of `level` lies, between two neighbours by straight line.
///
/// * `sorted`: ascending.
/// * `level`: 0 to 1.
/// * Returns `None` for no values.
///
/// Source: Hyndman and Fan (1996), type 7; equals numpy `quantile` and R's default.
pub fn quantile_of_sorted(sorted: &[f64], level: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = level.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}
