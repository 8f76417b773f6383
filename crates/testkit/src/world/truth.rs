//! The truth about a world, counted from the lives lived in it.
//!
//! In:      touches and purchases with their causes.
//! Out:     what each channel caused; what each model must say; who won the experiment.
//! Promise: credit of each model sums to the purchases that had a touch.

use super::person::{Channel, EXPERIMENT, Life, VARIANTS};
use super::{DAY_US, DAYS};

#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    pub persons: usize,
    pub purchases: u64,
    pub revenue_cents: i64,
    /// Purchases with no touch of a known browser before them: no model can credit a channel for these.
    pub purchases_untouched: u64,
    /// Most effective channel first.
    pub channels: Vec<ChannelTruth>,
    pub experiment: ExperimentTruth,
    /// How far back touches count, for the models below.
    pub look_back_us: i64,
}

/// Planted and counted facts of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelTruth {
    pub channel: &'static str,
    /// Planted: what one visit adds to the chance of a purchase.
    pub effect_ratio: f64,
    pub visits: u64,
    /// Purchases that would not have come without it.
    pub purchases_caused: u64,
    /// What each model gives it: purchases by person, touches by visit, over all known browsers.
    pub last_touch: f64,
    pub first_touch: f64,
    pub linear: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentTruth {
    pub experiment: &'static str,
    pub variants: Vec<VariantTruth>,
    pub winner: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VariantTruth {
    pub variant: &'static str,
    /// Planted: the chance that it makes somebody buy.
    pub effect_ratio: f64,
    pub persons: u64,
    /// Persons who bought at or after they were exposed, for whatever reason, before the world ended.
    pub converted: u64,
    /// Those of them whom the mailing itself made buy.
    pub caused: u64,
}

pub(super) fn count(lives: &[Life]) -> Truth {
    let look_back_us = DAYS * DAY_US;
    let mut channels: Vec<ChannelTruth> = Channel::ALL
        .iter()
        .map(|channel| ChannelTruth {
            channel: channel.name(),
            effect_ratio: channel.effect(),
            visits: 0,
            purchases_caused: 0,
            last_touch: 0.0,
            first_touch: 0.0,
            linear: 0.0,
        })
        .collect();
    let index = |channel: Channel| Channel::ALL.iter().position(|other| *other == channel).expect("ALL holds all");
    let (mut purchases, mut revenue_cents, mut untouched) = (0, 0, 0);
    for life in lives {
        for touch in &life.touches {
            channels[index(touch.channel)].visits += 1;
        }
        let mut touches: Vec<_> = life.touches.iter().filter(|touch| life.known[touch.browser]).collect();
        touches.sort_by_key(|touch| touch.time_us);
        for purchase in &life.purchases {
            purchases += 1;
            revenue_cents += purchase.revenue_cents;
            if let Some(channel) = purchase.caused_by {
                channels[index(channel)].purchases_caused += 1;
            }
            let earliest_us = purchase.time_us - look_back_us;
            let before: Vec<_> =
                touches.iter().filter(|touch| (earliest_us..=purchase.time_us).contains(&touch.time_us)).collect();
            let (Some(first), Some(last)) = (before.first(), before.last()) else {
                untouched += 1;
                continue;
            };
            channels[index(first.channel)].first_touch += 1.0;
            channels[index(last.channel)].last_touch += 1.0;
            for touch in &before {
                channels[index(touch.channel)].linear += 1.0 / before.len() as f64;
            }
        }
    }
    channels.sort_by(|left, right| right.effect_ratio.total_cmp(&left.effect_ratio));
    Truth {
        persons: lives.len(),
        purchases,
        revenue_cents,
        purchases_untouched: untouched,
        channels,
        experiment: count_experiment(lives),
        look_back_us,
    }
}

fn count_experiment(lives: &[Life]) -> ExperimentTruth {
    let variants = VARIANTS.iter().enumerate().map(|(index, (variant, effect_ratio))| {
        let shown = || lives.iter().filter(move |life| life.variant == index);
        let buys_after = |life: &&Life| life.purchases.iter().any(|buy| life.exposed_time_us <= buy.time_us);
        VariantTruth {
            variant,
            effect_ratio: *effect_ratio,
            persons: shown().count() as u64,
            converted: shown().filter(buys_after).count() as u64,
            caused: shown().filter(|life| life.purchases.iter().any(|buy| buy.by_experiment)).count() as u64,
        }
    });
    let winner = VARIANTS.iter().max_by(|left, right| left.1.total_cmp(&right.1)).map(|(variant, _)| *variant);
    ExperimentTruth {
        experiment: EXPERIMENT,
        variants: variants.collect(),
        winner: winner.expect("there are two variants"),
    }
}
