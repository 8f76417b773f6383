//! A marketing world whose truth was planted: people, campaigns, mails, visits, purchases.
//!
//! In:       a seed, a size, the time the world ends at.
//! Out:      events as a website and a mailer would send them, in time order; the truth about them.
//! Promise:  the same output for the same input; the truth is counted from what was simulated, with rules
//!           written here a second time, so that it can disagree with the line it checks.
//! Not here: the slow versions of single rules (`oracle`).
//!
//! People see campaigns on three channels. Each visit a channel brings makes a purchase more likely by that
//! channel's planted effect, and we remember which visit caused which purchase: the truth no real shop has.
//! Paid social often works late: its purchases come days afterwards, and other channels may visit in between.
//! That is why last touch sells it short here, as it does in life.

mod person;
mod truth;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

pub use truth::{ChannelTruth, ExperimentTruth, Truth, VariantTruth};

/// How much of a world to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldSize {
    pub persons: usize,
}

impl WorldSize {
    /// About 80,000 events: enough for the planted order to stand out, done in seconds.
    pub const DEMO: Self = Self { persons: 2_000 };
    pub const SMALL: Self = Self { persons: 200 };
}

/// Which of the world's two systems sent an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// The website, with a browser's anonymous id.
    Web,
    /// The mailer, which knows people by user id.
    Mailer,
}

/// One event in Segment's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldEvent {
    pub time_us: i64,
    pub sender: Sender,
    pub json: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Ascending by time.
    pub events: Vec<WorldEvent>,
    pub truth: Truth,
}

/// 2026-10-01T00:00:00Z: the end of worlds made for tests.
pub const TEST_NOW_US: i64 = 1_790_812_800_000_000;

pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const HOUR_US: i64 = 3_600 * SECOND_US;
pub(crate) const DAY_US: i64 = 24 * HOUR_US;

/// Days a world lasts; its look-back is as long, so that every touch of it can count.
pub const DAYS: i64 = 30;

impl World {
    /// A world that ends at `now_us`, rounded down to the hour, and began [`DAYS`] before.
    pub fn generate(seed: u64, size: WorldSize, now_us: i64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let end_us = now_us - now_us.rem_euclid(HOUR_US);
        let start_us = end_us - DAYS * DAY_US;
        let mut lives = Vec::with_capacity(size.persons);
        for number in 0..size.persons {
            lives.push(person::live(number, start_us, end_us, &mut random));
        }
        let truth = truth::count(&lives);
        let mut drafts: Vec<_> = lives.into_iter().flat_map(|life| life.drafts).collect();
        // People were drawn one after another; their events happened among one another.
        drafts.sort_by_key(|draft| draft.time_us);
        let events = drafts
            .into_iter()
            .enumerate()
            .map(|(index, draft)| draft.into_event(&format!("world-{seed}-{index}")))
            .collect();
        Self { events, truth }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
