//! Credit rules: how one conversion is shared among the touches of its path.
//!
//! In:       a rule, a path, the conversion.
//! Out:      one weight per touch, in order.
//! Promise:  weights sum to 1 within 1e-9, but for `Participation`, which gives the whole to each channel; a path of one
//!           touch gives it all. The same path, rule and conversion give the same weights, whatever else there is.
//! Not here: which touches are on the path (`journey.rs`), models that learn (`markov`, `shapley`).

use super::{Conversion, Credit, MarketingTouch, Shares, TouchKind, Views};
use crate::error::AnalyticsError;

const DAY_US: i64 = 86_400_000_000;

/// A way to share one conversion among its touches. Source: `docs/methods.md#rules`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CreditRule {
    First,
    Last,
    /// The last that is not direct; the last of all if all are.
    LastNonDirect,
    /// The last click that was paid for; else as `otherwise` says.
    LastPaid {
        otherwise: WithoutPaid,
    },
    Linear,
    /// A touch so much older than another weighs half as much.
    TimeDecay {
        half_life_us: i64,
    },
    /// `kept_ratio ^ floor(age / step)`: DP6's form, which falls in steps.
    SteppedDecay {
        step_us: i64,
        kept_ratio: f64,
    },
    Position(PositionShares),
    Milestones(MilestoneShares),
    /// The `k`-th touch weighs `k`.
    PositionDecay,
    /// Equal parts to the channels of the path, each in equal parts to its touches. Summed over channels, that is the Shapley
    /// value of the cumulative game (`shapley::cumulative_shapley`); by place on the path, the ordered one. Where views weigh
    /// less, a channel weighs as its heaviest touch: one that was clicked as well loses nothing by having been seen.
    Shapley,
    /// The whole to each channel that took part, at its first touch: totals exceed the conversions.
    Participation,
}

/// What `LastPaid` does on a path without a paid click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutPaid {
    Last,
    LastNonDirect,
}

/// Parts of the first, of all middle ones together, and of the last touch; in any unit, each 0 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositionShares {
    pub first: f64,
    pub middle: f64,
    pub last: f64,
    pub of_two: OfTwo,
}

/// What becomes of the middle part where there is no middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfTwo {
    /// First and last in their proportion: 20/20/60 becomes 25/75. So do Adobe and Google.
    InProportion,
    /// Half to each: 20/20/60 becomes 30/70. So does DP6.
    SplitMiddle,
}

/// Parts of the touch that came first, the one that made a lead, the one that made an opportunity, the last one, and of all
/// others together; in any unit, each 0 or more. Parts without a touch are shared by the others in proportion, and a touch
/// that is two of these gets both parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MilestoneShares {
    pub first: f64,
    pub lead: f64,
    pub opportunity: f64,
    pub last: f64,
    pub others: f64,
}

impl CreditRule {
    pub const U_SHAPED: Self = position(40.0, 20.0, 40.0);
    pub const J_SHAPED: Self = position(20.0, 20.0, 60.0);
    pub const INVERSE_J: Self = position(60.0, 20.0, 20.0);
    pub const W_SHAPED: Self =
        Self::Milestones(MilestoneShares { first: 30.0, lead: 30.0, opportunity: 30.0, last: 0.0, others: 10.0 });
    pub const FULL_PATH: Self =
        Self::Milestones(MilestoneShares { first: 22.5, lead: 22.5, opportunity: 22.5, last: 22.5, others: 10.0 });

    /// Each by its name, with the usual numbers.
    pub const NAMED: [(&str, Self); 14] = [
        ("first_touch", Self::First),
        ("last_touch", Self::Last),
        ("last_non_direct", Self::LastNonDirect),
        ("last_paid", Self::LastPaid { otherwise: WithoutPaid::Last }),
        ("linear", Self::Linear),
        ("time_decay", Self::TimeDecay { half_life_us: 7 * DAY_US }),
        ("u_shaped", Self::U_SHAPED),
        ("j_shaped", Self::J_SHAPED),
        ("inverse_j", Self::INVERSE_J),
        ("w_shaped", Self::W_SHAPED),
        ("full_path", Self::FULL_PATH),
        ("position_decay", Self::PositionDecay),
        ("shapley", Self::Shapley),
        ("participation", Self::Participation),
    ];

    const ALLOWED: &'static str = "first_touch, last_touch, last_non_direct, last_paid, linear, time_decay, u_shaped, \
                                   j_shaped, inverse_j, w_shaped, full_path, position_decay, shapley, participation";

    /// Exact names only; the error lists them.
    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        let named = Self::NAMED.into_iter().find(|(name, _)| *name == text);
        named
            .map(|(_, rule)| rule)
            .ok_or_else(|| AnalyticsError::AttributionModel { given: text.to_owned(), allowed: Self::ALLOWED })
    }

    /// The rule, if its numbers make sense: call this once before the conversions.
    pub fn checked(self) -> Result<Self, AnalyticsError> {
        let parts = match self {
            Self::TimeDecay { half_life_us } if half_life_us <= 0 => {
                return Err(AnalyticsError::DecayTime { given_us: half_life_us });
            }
            Self::SteppedDecay { step_us, .. } if step_us <= 0 => {
                return Err(AnalyticsError::DecayTime { given_us: step_us });
            }
            Self::SteppedDecay { kept_ratio, .. } if !(0.0 < kept_ratio && kept_ratio <= 1.0) => {
                return Err(AnalyticsError::DecayRatio { given: kept_ratio.to_string() });
            }
            Self::Position(shares) => vec![shares.first, shares.middle, shares.last],
            Self::Milestones(shares) => {
                vec![shares.first, shares.lead, shares.opportunity, shares.last, shares.others]
            }
            _ => return Ok(self),
        };
        let sum: f64 = parts.iter().sum();
        let are_shares = parts.iter().all(|part| 0.0 <= *part) && 0.0 < sum && sum.is_finite();
        if are_shares { Ok(self) } else { Err(AnalyticsError::CreditShares { given: format!("{parts:?}") }) }
    }

    /// * `path`: in the order of `Touch`, none later than the conversion.
    /// * Returns one weight per touch; empty for an empty path, and then the conversion is unattributed.
    pub fn weights(self, path: &[MarketingTouch], conversion: &Conversion) -> Vec<f64> {
        let Some(last) = path.len().checked_sub(1) else {
            return Vec::new();
        };
        match self {
            Self::First | Self::Last | Self::LastNonDirect | Self::LastPaid { .. } => {
                all_to(self.winner(path).unwrap_or(last), path.len())
            }
            Self::Linear => vec![1.0 / path.len() as f64; path.len()],
            Self::TimeDecay { half_life_us } => {
                decayed(path, |touch| age_us(touch, conversion) / half_life_us as f64, 0.5)
            }
            Self::SteppedDecay { step_us, kept_ratio } => {
                let steps = |touch: &MarketingTouch| {
                    let age_us = i128::from(conversion.time_us) - i128::from(touch.touch.time_us);
                    age_us.div_euclid(step_us.into()) as f64
                };
                decayed(path, steps, kept_ratio)
            }
            Self::Position(shares) => by_position(shares, path.len()),
            Self::Milestones(shares) => by_milestone(shares, path, conversion),
            Self::PositionDecay => normalised((1..=path.len()).map(|place| place as f64).collect()),
            Self::Shapley => by_channel(path, |_| 1.0),
            Self::Participation => {
                let channels: Vec<u32> = path.iter().map(|touch| touch.channel).collect();
                let mut weights = vec![0.0; path.len()];
                for at in super::Transform::First.kept(&channels) {
                    weights[at] = 1.0;
                }
                weights
            }
        }
    }

    /// The place of the touch that gets all, whatever views weigh; `None` where several share, or on no path at all.
    fn winner(self, path: &[MarketingTouch]) -> Option<usize> {
        let last = path.len().checked_sub(1)?;
        match self {
            Self::First => Some(0),
            Self::Last => Some(last),
            Self::LastNonDirect => Some(last_non_direct(path).unwrap_or(last)),
            Self::LastPaid { otherwise } => {
                let paid = path.iter().rposition(|touch| touch.is_paid && touch.kind == TouchKind::Click);
                let without = match otherwise {
                    WithoutPaid::Last => None,
                    WithoutPaid::LastNonDirect => last_non_direct(path),
                };
                Some(paid.or(without).unwrap_or(last))
            }
            // It is not shared, and a view has its own weight even alone.
            Self::Participation => None,
            _ => (last == 0).then_some(0),
        }
    }
}

/// Shares one conversion among the touches of its path.
///
/// * `views`: that of the path rule; `Views::Weigh` takes part of what an impression would get and gives it to the others.
/// * Returns the touches with credit, in order; empty for an empty path. Ratios sum to 1 and values to the value, to the
///   micro, but for `Participation`, which gives all of it to each channel.
pub fn credit_path(rule: CreditRule, views: Views, path: &[MarketingTouch], conversion: &Conversion) -> Vec<Credit> {
    let mut crediting = Crediting::default();
    crediting.credit(rule, views, path, conversion);
    crediting.credits
}

/// Shares conversions one after the other, in room that is used again.
#[derive(Debug, Default)]
pub struct Crediting {
    shares: Shares,
    credits: Vec<Credit>,
}

impl Crediting {
    /// As `credit_path`.
    pub fn credit(
        &mut self,
        rule: CreditRule,
        views: Views,
        path: &[MarketingTouch],
        conversion: &Conversion,
    ) -> &[Credit] {
        self.credits.clear();
        let value_micros = conversion.value_micros;
        if let Some(winner) = rule.winner(path) {
            self.credits.push(Credit { touch: path[winner].touch, credit_ratio: 1.0, value_micros });
            return &self.credits;
        }
        if rule == CreditRule::Linear && !matches!(views, Views::Weigh { .. }) {
            let credit_ratio = 1.0 / path.len() as f64;
            let shares = self.shares.split_equally(value_micros, path.len());
            let credit = |(touch, share): (&MarketingTouch, &i64)| Credit {
                touch: touch.touch,
                credit_ratio,
                value_micros: *share,
            };
            self.credits.extend(path.iter().zip(shares).map(credit));
            return &self.credits;
        }
        let weights = weighed(rule, views, path, conversion);
        if rule == CreditRule::Participation {
            // Nobody shares here: each gets its own whole.
            for (touch, credit_ratio) in path.iter().zip(weights).filter(|(_, ratio)| 0.0 < *ratio) {
                let value_micros = self.shares.split(value_micros, &[credit_ratio, 1.0 - credit_ratio])[0];
                self.credits.push(Credit { touch: touch.touch, credit_ratio, value_micros });
            }
            return &self.credits;
        }
        let shares = self.shares.split(value_micros, &weights);
        let credits = path.iter().zip(weights).zip(shares).filter(|((_, ratio), _)| 0.0 < *ratio);
        self.credits.extend(credits.map(|((touch, credit_ratio), value_micros)| Credit {
            touch: touch.touch,
            credit_ratio,
            value_micros: *value_micros,
        }));
        &self.credits
    }
}

/// The weights of a rule where views weigh as they are to.
fn weighed(rule: CreditRule, views: Views, path: &[MarketingTouch], conversion: &Conversion) -> Vec<f64> {
    let Views::Weigh { ratio } = views else { return rule.weights(path, conversion) };
    if rule == CreditRule::Shapley && (0.0 < ratio || path.iter().any(|touch| touch.kind != TouchKind::Impression)) {
        return by_channel(path, |touch| if touch.kind == TouchKind::Impression { ratio } else { 1.0 });
    }
    let mut weights = rule.weights(path, conversion);
    weigh_views(rule, ratio, path, &mut weights);
    weights
}

/// Each channel by the heaviest of its touches, and those of one in proportion.
///
/// * `weight`: of a touch, 0 or more; not 0 for all.
fn by_channel(path: &[MarketingTouch], weight: impl Fn(&MarketingTouch) -> f64) -> Vec<f64> {
    // With each the heaviest and the sum of its touches.
    let of_one = |touch: &MarketingTouch| (touch.channel, weight(touch), weight(touch));
    let mut channels: Vec<(u32, f64, f64)> = path.iter().map(of_one).collect();
    channels.sort_unstable_by_key(|(channel, ..)| *channel);
    channels.dedup_by(|touch, channel| {
        let is_same = touch.0 == channel.0;
        if is_same {
            channel.1 = channel.1.max(touch.1);
            channel.2 += touch.2;
        }
        is_same
    });
    let all: f64 = channels.iter().map(|(_, heaviest, _)| heaviest).sum();
    let of_touch = |touch: &MarketingTouch| {
        let (_, heaviest, sum) = channels[channels.partition_point(|(channel, ..)| *channel < touch.channel)];
        if sum == 0.0 { 0.0 } else { heaviest / all * (weight(touch) / sum) }
    };
    path.iter().map(of_touch).collect()
}

fn weigh_views(rule: CreditRule, ratio: f64, path: &[MarketingTouch], weights: &mut [f64]) {
    let before: f64 = weights.iter().sum();
    let weighed = |(touch, weight): (&MarketingTouch, &f64)| match touch.kind {
        TouchKind::Impression => *weight * ratio,
        TouchKind::Click | TouchKind::Other => *weight,
    };
    let lighter: Vec<f64> = path.iter().zip(&*weights).map(weighed).collect();
    let after: f64 = lighter.iter().sum();
    if 0.0 < after {
        let up = if rule == CreditRule::Participation { 1.0 } else { before / after };
        weights.iter_mut().zip(lighter).for_each(|(weight, lighter)| *weight = lighter * up);
    }
}

const fn position(first: f64, middle: f64, last: f64) -> CreditRule {
    CreditRule::Position(PositionShares { first, middle, last, of_two: OfTwo::InProportion })
}

fn all_to(winner: usize, touch_count: usize) -> Vec<f64> {
    let mut weights = vec![0.0; touch_count];
    weights[winner] = 1.0;
    weights
}

fn last_non_direct(path: &[MarketingTouch]) -> Option<usize> {
    path.iter().rposition(|touch| !touch.is_direct)
}

fn age_us(touch: &MarketingTouch, conversion: &Conversion) -> f64 {
    (i128::from(conversion.time_us) - i128::from(touch.touch.time_us)) as f64
}

/// `kept_ratio` to the power of each touch's age. Ages are counted from the youngest, which changes no proportion and keeps
/// touches of long ago from all becoming 0.
fn decayed(path: &[MarketingTouch], age: impl Fn(&MarketingTouch) -> f64, kept_ratio: f64) -> Vec<f64> {
    let ages: Vec<f64> = path.iter().map(age).collect();
    let youngest = ages.iter().copied().fold(f64::INFINITY, f64::min);
    normalised(ages.into_iter().map(|age| kept_ratio.powf(age - youngest)).collect())
}

fn by_position(shares: PositionShares, touch_count: usize) -> Vec<f64> {
    let PositionShares { first, middle, last, of_two } = shares;
    normalised(match touch_count {
        1 => vec![1.0],
        2 => match of_two {
            OfTwo::InProportion => vec![first, last],
            OfTwo::SplitMiddle => vec![first + middle / 2.0, last + middle / 2.0],
        },
        _ => {
            let mut weights = vec![middle / (touch_count - 2) as f64; touch_count];
            weights[0] = first;
            weights[touch_count - 1] = last;
            weights
        }
    })
}

fn by_milestone(shares: MilestoneShares, path: &[MarketingTouch], conversion: &Conversion) -> Vec<f64> {
    // The touch that made a milestone is the last one up to its time; without one before it, nobody's touch made it.
    let maker = |time_us: Option<i64>| {
        path.partition_point(|touch| time_us.is_some_and(|time_us| touch.touch.time_us <= time_us)).checked_sub(1)
    };
    let made = [
        (Some(0), shares.first),
        (maker(conversion.milestones.lead_time_us), shares.lead),
        (maker(conversion.milestones.opportunity_time_us), shares.opportunity),
        (Some(path.len() - 1), shares.last),
    ];
    let mut weights = vec![0.0; path.len()];
    for (touch, part) in made {
        if let Some(touch) = touch {
            weights[touch] += part;
        }
    }
    let other_count = weights.iter().filter(|weight| **weight == 0.0).count();
    for weight in &mut weights {
        if *weight == 0.0 {
            *weight = shares.others / other_count as f64;
        }
    }
    normalised(weights)
}

/// The same proportions, summing to 1; equal parts if there is nothing to be in proportion to.
fn normalised(mut weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    let count = weights.len() as f64;
    for weight in &mut weights {
        *weight = if 0.0 < sum { *weight / sum } else { 1.0 / count };
    }
    weights
}
