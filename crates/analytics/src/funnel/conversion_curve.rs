//! What share has converted after so long, counting fairly those whose time is not over.
//!
//! In:       how long each unit took to convert, or for how long it is known that it has not.
//! Out:      the Kaplan-Meier curve with its interval.
//! Promise:  merged parts equal the whole. Durations are rounded down to the classes of `DurationCounts`, by less than 1
//!           part in 64; the curve is exact for the rounded ones.
//! Not here: which attempt a unit is judged by (`FunnelOutcome`).

use super::durations::DurationCounts;
use crate::stats::{Alpha, Interval, tail};

/// One step of the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    pub after_us: i64,
    /// Units known not to have converted before, and so watched at this time.
    pub at_risk: u64,
    /// Converted at this time.
    pub converted: u64,
    /// Share converted by then, 0 to 1.
    pub share: f64,
    /// Of the share; from log(-log), which stays within 0 to 1. `None` where all have converted.
    pub interval: Option<Interval>,
}

/// Units that converted and units that were watched in vain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConversionCurve {
    converted: DurationCounts,
    watched: DurationCounts,
}

impl ConversionCurve {
    pub fn push_converted(&mut self, after_us: i64) {
        self.converted.push(after_us);
    }

    pub fn push_watched(&mut self, for_us: i64) {
        self.watched.push(for_us);
    }

    pub fn merge(&mut self, other: &Self) {
        self.converted.merge(&other.converted);
        self.watched.merge(&other.watched);
    }

    /// A point for each class of durations in which units converted, ascending. Who was watched for as long as another
    /// took to convert was at risk then.
    ///
    /// Source: Kaplan and Meier (1958); variance by Greenwood (1926); interval by Kalbfleisch and Prentice.
    pub fn points(&self, alpha: Alpha) -> Vec<CurvePoint> {
        let z = tail::normal_quantile(alpha.ratio() / 2.0);
        let mut at_risk = self.converted.count() + self.watched.count();
        let mut watched = self.watched.steps().peekable();
        let (mut left, mut greenwood) = (1.0_f64, 0.0_f64);
        let mut points = Vec::new();
        for (after_us, converted) in self.converted.steps() {
            while let Some((_, gone)) = watched.next_if(|(for_us, _)| *for_us < after_us) {
                at_risk -= gone;
            }
            let (risk, events) = (at_risk as f64, converted as f64);
            left *= (risk - events) / risk;
            greenwood += events / (risk * (risk - events));
            let interval = (converted < at_risk).then(|| {
                let half_width = z * greenwood.sqrt() / left.ln().abs();
                let bound = |exponent: f64| 1.0 - left.powf(exponent.exp());
                Interval { low: bound(-half_width), high: bound(half_width) }
            });
            points.push(CurvePoint { after_us, at_risk, converted, share: 1.0 - left, interval });
            at_risk -= converted;
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The remission times of the 6-MP group, Freireich et al. (1963); the curve is in every textbook.
    #[test]
    fn curve_equals_the_textbook() {
        let mut curve = ConversionCurve::default();
        for week in [6, 6, 6, 7, 10, 13, 16, 22, 23] {
            curve.push_converted(week);
        }
        for week in [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35] {
            curve.push_watched(week);
        }
        let points = curve.points(Alpha::FIVE_PERCENT);
        let left: Vec<f64> = points.iter().map(|point| ((1.0 - point.share) * 1e4).round() / 1e4).collect();
        assert_eq!(left, [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]);
        let at_risk: Vec<u64> = points.iter().map(|point| point.at_risk).collect();
        assert_eq!(at_risk, [21, 17, 15, 12, 11, 7, 6]);
        let first = points[0].interval.unwrap();
        assert!((1.0 - first.high - 0.6197).abs() < 1e-3 && (1.0 - first.low - 0.9516).abs() < 1e-3, "{first:?}");
    }

    #[test]
    fn nobody_and_everybody_are_answered() {
        assert_eq!(ConversionCurve::default().points(Alpha::FIVE_PERCENT), []);
        let mut curve = ConversionCurve::default();
        curve.push_converted(5);
        let points = curve.points(Alpha::FIVE_PERCENT);
        assert_eq!((points[0].share, points[0].interval), (1.0, None));
    }
}
