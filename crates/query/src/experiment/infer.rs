//! Two arms compared on one metric, by the statistics asked for.
//!
//! In:       control and treatment of a slice, by strata.
//! Out:      the difference and the lift with intervals, p or chances, and what the experiment could see.
//! Promise:  what cannot be tested says why, and has no numbers made up.
//! Not here: p values adjusted for each other, verdicts (`compare.rs`); the formulas: `analytics::experiment`.

use std::collections::BTreeSet;

use tributary_analytics::experiment::{
    Alternative, BetaPrior, ConfidenceSequence, Effect, Estimate, FixedTest, Goal, Horizon, LiftInterval, LiftMethod,
    LookBound, Plan, Proportion, QuantilePoints, Reference, Remaining, Scale, Stratum, Tested, Untestable,
    compare_beta, compare_proportions, lift_interval, posterior, quantile_effect, stratified_cuped_means,
    stratified_cuped_ratios, stratified_means, stratified_ratios,
};
use tributary_analytics::stats::{JointMoments, PValue};

use super::analysis::{Analysis, Statistics};
use super::measure::Measure;
use super::reading::Reading;
use super::sums::WIDTH;

/// Both arms, as much of them as the metric wants.
pub(super) struct Pair {
    measure: Measure,
    strata: Vec<Stratum<WIDTH>>,
    shares: [Proportion; 2],
    points: [Option<QuantilePoints>; 2],
    pub(super) unit_counts: [u64; 2],
}

/// What is known beside the two arms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) has_covariate: bool,
    /// Of a group sequential test.
    pub(super) look: Option<LookBound>,
    /// How many units are exposed in a day, of both arms compared.
    pub(super) units_a_day: Option<f64>,
    pub(super) goal: Goal,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Inferred {
    /// Of the difference.
    pub(super) estimate: Estimate,
    pub(super) tested: Tested,
    pub(super) lift: Option<Estimate>,
    pub(super) lift_interval: Option<LiftInterval>,
    pub(super) chances: Option<Chances>,
    pub(super) bound: Option<Bound>,
    /// What the covariate took away of the squared error, 0.3 being 30 %.
    pub(super) variance_reduction: Option<f64>,
    /// The least lift that is found with the power wanted, with the units there are.
    pub(super) detectable_lift: Option<f64>,
    pub(super) remaining: Option<Remaining>,
    pub(super) expected_count_min: Option<f64>,
}

/// What to believe, and what each choice costs on average, in the metric's unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chances {
    pub(super) to_win: f64,
    pub(super) to_lose: f64,
    pub(super) treatment_risk: f64,
    pub(super) control_risk: f64,
}

/// The bound of a look, and whether it is passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) z: f64,
    pub(super) is_passed: bool,
    pub(super) is_last: bool,
}

impl Pair {
    pub(super) fn of(measure: Measure, [control, treatment]: [&Reading; 2]) -> Self {
        let joint = |arm: &Reading, stratum: &Option<u32>| arm.joints.get(stratum).copied().unwrap_or_default();
        let strata: BTreeSet<Option<u32>> = control.joints.keys().chain(treatment.joints.keys()).copied().collect();
        let of_stratum = |stratum| Stratum { control: joint(control, stratum), treatment: joint(treatment, stratum) };
        Self {
            measure,
            strata: strata.iter().map(of_stratum).collect(),
            shares: [control, treatment].map(|arm| arm.share),
            points: [control, treatment].map(|arm| arm.points),
            unit_counts: [control, treatment].map(Reading::unit_count),
        }
    }

    fn is_plain_share(&self, has_covariate: bool) -> bool {
        self.measure.is_share() && !has_covariate && self.strata.len() <= 1
    }

    fn whole(&self) -> Stratum<WIDTH> {
        let empty = Stratum { control: JointMoments::default(), treatment: JointMoments::default() };
        self.strata.iter().fold(empty, |whole, stratum| Stratum {
            control: whole.control.merge(stratum.control),
            treatment: whole.treatment.merge(stratum.treatment),
        })
    }

    fn columns<const K: usize>(&self, of: [usize; K]) -> Vec<Stratum<K>> {
        let columns = |stratum: &Stratum<WIDTH>| Stratum {
            control: stratum.control.columns(of),
            treatment: stratum.treatment.columns(of),
        };
        self.strata.iter().map(columns).collect()
    }

    pub(super) fn effect(&self, has_covariate: bool) -> Result<Effect, Untestable> {
        let is_stratified = 1 < self.strata.len();
        let whole = self.whole();
        let Stratum { control, treatment } = &whole;
        match (self.measure, has_covariate, is_stratified) {
            (Measure::Quantile { .. }, ..) => match &self.points {
                [Some(control), Some(treatment)] => quantile_effect(control, treatment),
                _ => Err(self.too_few()),
            },
            (Measure::Ratio, false, false) => Effect::of_ratios(&control.columns([0, 1]), &treatment.columns([0, 1])),
            (Measure::Ratio, false, true) => stratified_ratios(&self.columns([0, 1])),
            (Measure::Ratio, true, false) => Effect::of_cuped_ratios(control, treatment),
            (Measure::Ratio, true, true) => stratified_cuped_ratios(&self.strata),
            (_, true, false) => Effect::of_cuped_means(&control.columns([0, 2]), &treatment.columns([0, 2])),
            (_, true, true) => stratified_cuped_means(&self.columns([0, 2])),
            (_, false, true) => stratified_means(&self.columns([0])),
            (measure, false, false) if measure.is_share() => Effect::of_proportions(self.shares[0], self.shares[1]),
            (_, false, false) => Effect::of_means(&control.moments(0), &treatment.moments(0)),
        }
    }

    fn too_few(&self) -> Untestable {
        let [control_unit_count, treatment_unit_count] = self.unit_counts;
        Untestable::TooFewUnits { control_unit_count, treatment_unit_count }
    }

    pub(super) fn infer(&self, analysis: &Analysis, beside: Circumstances) -> Result<Inferred, Untestable> {
        let mut inferred = match &analysis.statistics {
            Statistics::Fixed if self.is_plain_share(beside.has_covariate) => self.of_shares(analysis)?,
            Statistics::Fixed => fixed(&self.effect(beside.has_covariate)?, analysis, Reference::Student),
            Statistics::Sequential { tuning_unit_count } => {
                let (alpha, alternative, tuning_unit_count) =
                    (analysis.alpha, Alternative::TwoSided, *tuning_unit_count);
                let sequence = ConfidenceSequence { alpha, alternative, tuning_unit_count };
                by_test(&self.effect(beside.has_covariate)?, |estimate| sequence.run(estimate))
            }
            Statistics::GroupSequential { .. } => {
                let bound = beside.look.ok_or_else(|| self.too_few())?;
                let effect = self.effect(beside.has_covariate)?;
                let (is_passed, _) = bound.run(&effect.absolute(), Alternative::TwoSided);
                let mut inferred = by_test(&effect, |estimate| bound.run(estimate, Alternative::TwoSided).1);
                inferred.bound = Some(Bound { z: bound.z, is_passed, is_last: 1.0 <= bound.information_ratio });
                inferred
            }
            Statistics::Bayes { .. } => self.believed(analysis, beside)?,
        };
        let [control, treatment] = self.shares;
        inferred.expected_count_min = match self.measure.is_share() {
            true => compare_proportions(control, treatment, analysis.alpha).ok().and_then(|of| of.expected_count_min),
            false => None,
        };
        if beside.has_covariate {
            inferred.variance_reduction = self.variance_reduction();
        }
        look_ahead(&mut inferred, analysis, beside.units_a_day);
        Ok(inferred)
    }

    /// The pooled z test, which has an answer where one arm has no spread.
    fn of_shares(&self, analysis: &Analysis) -> Result<Inferred, Untestable> {
        let [control, treatment] = self.shares;
        let compared = compare_proportions(control, treatment, analysis.alpha)?;
        let effect = Effect::of_proportions(control, treatment).ok();
        let by_effect = |method| {
            let test = FixedTest { alpha: analysis.alpha, reference: Reference::Normal, ..FixedTest::CONVENTIONAL };
            effect.as_ref().and_then(|effect| lift_interval(effect, method, &test))
        };
        let estimate = Estimate {
            value: compared.difference,
            standard_error: compared.standard_error,
            degrees_of_freedom: f64::INFINITY,
            unit_count: (compared.control_unit_count + compared.treatment_unit_count) as f64,
        };
        let tested = Tested { statistic: compared.statistic, p: compared.p, interval: compared.difference_interval };
        Ok(Inferred {
            lift: effect.as_ref().and_then(Effect::relative).or_else(|| {
                // Two shares of 0 and 1 have no spread of their own; the lift is there all the same.
                compared.lift_ratio.map(|value| Estimate { value, standard_error: 0.0, ..estimate })
            }),
            lift_interval: match analysis.lift {
                LiftMethod::Delta => compared.lift_interval.map(LiftInterval::Bounded),
                method => by_effect(method),
            },
            ..plain(estimate, tested)
        })
    }

    fn believed(&self, analysis: &Analysis, beside: Circumstances) -> Result<Inferred, Untestable> {
        let Statistics::Bayes { prior } = analysis.statistics else { return Err(self.too_few()) };
        let effect = self.effect(beside.has_covariate)?;
        let believe = |scale| posterior(&effect, scale, prior, analysis.alpha, beside.goal);
        // A prior on the lift says nothing of a control of 0, which lifts are relative to.
        let Some(absolute) = believe(Scale::Absolute) else { return Err(Untestable::NoDenominator) };
        let mut chances = Chances {
            to_win: absolute.chance_to_win,
            to_lose: absolute.chance_to_lose,
            treatment_risk: absolute.treatment_risk,
            control_risk: absolute.control_risk,
        };
        if prior.is_none() && self.is_plain_share(beside.has_covariate) {
            let exact = compare_beta(self.shares[0], self.shares[1], BetaPrior::UNIFORM);
            let higher = [exact.chance_above, exact.chance_below, exact.expected_loss, exact.expected_gain];
            let [to_win, to_lose, treatment_risk, control_risk] = match beside.goal {
                Goal::HigherIsBetter => higher,
                Goal::LowerIsBetter => [higher[1], higher[0], higher[3], higher[2]],
            };
            chances = Chances { to_win, to_lose, treatment_risk, control_risk };
        }
        let as_estimate =
            |of: Estimate, mean: f64, deviation: f64| Estimate { value: mean, standard_error: deviation, ..of };
        let tested = Tested {
            statistic: absolute.mean / absolute.deviation,
            p: PValue { p_value: 1.0, log10_p: 0.0 },
            interval: absolute.interval,
        };
        let relative = believe(Scale::Relative);
        Ok(Inferred {
            lift: relative
                .zip(effect.relative())
                .map(|(believed, estimate)| as_estimate(estimate, believed.mean, believed.deviation)),
            lift_interval: relative.map(|believed| LiftInterval::Bounded(believed.interval)),
            chances: Some(chances),
            ..plain(as_estimate(effect.absolute(), absolute.mean, absolute.deviation), tested)
        })
    }

    fn variance_reduction(&self) -> Option<f64> {
        let squared = |has_covariate| Some(self.effect(has_covariate).ok()?.absolute().standard_error.powi(2));
        Some(1.0 - squared(true)? / squared(false)?)
    }
}

fn plain(estimate: Estimate, tested: Tested) -> Inferred {
    Inferred {
        estimate,
        tested,
        lift: None,
        lift_interval: None,
        chances: None,
        bound: None,
        variance_reduction: None,
        detectable_lift: None,
        remaining: None,
        expected_count_min: None,
    }
}

fn fixed(effect: &Effect, analysis: &Analysis, reference: Reference) -> Inferred {
    let test = FixedTest { alpha: analysis.alpha, reference, ..FixedTest::CONVENTIONAL };
    Inferred {
        lift: effect.relative(),
        lift_interval: lift_interval(effect, analysis.lift, &test),
        ..plain(effect.absolute(), test.run(&effect.absolute()))
    }
}

/// Difference and lift by the same test.
fn by_test(effect: &Effect, run: impl Fn(&Estimate) -> Tested) -> Inferred {
    let lift = effect.relative();
    let interval = lift.filter(|lift| 0.0 < lift.standard_error).map(|lift| LiftInterval::Bounded(run(&lift).interval));
    Inferred { lift, lift_interval: interval, ..plain(effect.absolute(), run(&effect.absolute())) }
}

/// What could be seen by now, and how long it still takes to see the effect one cares for.
fn look_ahead(inferred: &mut Inferred, analysis: &Analysis, units_a_day: Option<f64>) {
    let Some(lift) = inferred.lift.filter(|lift| 0.0 < lift.standard_error && lift.standard_error.is_finite()) else {
        return;
    };
    let horizon = match analysis.statistics {
        Statistics::Sequential { tuning_unit_count } => Horizon::Sequence { tuning_unit_count },
        _ => Horizon::Fixed,
    };
    let plan = Plan { alpha: analysis.alpha, horizon, power: analysis.power };
    inferred.detectable_lift = Some(plan.detectable_effect(&lift));
    inferred.remaining = analysis.effect.and_then(|effect| plan.remaining(&lift, effect, units_a_day));
}
