//! The chain: what follows upon what, counted.
//!
//! In:       a path table, an order.
//! Out:      states, transitions with counts and probabilities.
//! Promise:  states and transitions stand in the order of their channels' codes, however the rows of the table stood, so
//!           that whatever is summed over them is the same to the last bit.
//! Not here: what becomes of a walk (`solve.rs`).

use std::hash::{BuildHasherDefault, Hasher};

use super::super::{PathRow, PathTable};
use crate::error::AnalyticsError;

/// What becomes of journeys without a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nulls {
    /// They are walks that end without one.
    Count,
    /// They are not looked at, as if all journeys converted: for tables that have only those that did.
    Ignore,
}

/// An absorbing chain over the last `order` touches.
///
/// A path of at least `order` touches passes one state for each touch from the `order`-th on; a shorter one passes one state,
/// the whole of it. A touch that leaves the state as it is makes no transition.
#[derive(Debug, Clone)]
pub struct Chain {
    order: usize,
    channel_count: u32,
    /// Each state's touches as one number (`Code`), ascending.
    pub(in crate::attribution) codes: Vec<u64>,
    pub(in crate::attribution) journey_count: u64,
    pub(in crate::attribution) start_counts: Vec<u64>,
    pub(in crate::attribution) conversion_counts: Vec<u64>,
    pub(in crate::attribution) null_counts: Vec<u64>,
    /// Value of the conversions from each state, in millionths of a currency.
    pub(in crate::attribution) values_micros: Vec<i128>,
    /// All that left each state.
    pub(in crate::attribution) left_counts: Vec<u64>,
    /// Where each state's entries in `from` and `from_counts` end.
    pub(in crate::attribution) ends: Vec<usize>,
    pub(in crate::attribution) from: Vec<u32>,
    pub(in crate::attribution) from_counts: Vec<u64>,
    /// The part of what leaves `from` that comes here: what the solver reads.
    pub(in crate::attribution) from_ratios: Vec<f64>,
    pub(in crate::attribution) start_ratios: Vec<f64>,
}

/// Where a walk is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Start,
    /// The last touches, the oldest first.
    Touches(Vec<u32>),
    Conversion,
    Null,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    pub from: State,
    pub to: State,
    /// Journeys; one that passes twice counts twice.
    pub count: u64,
    /// The part of all that leave `from`.
    pub probability: f64,
}

impl Chain {
    /// Orders up to 4 are of use; more are there to see that they are not.
    pub const ORDER_MAX: usize = 6;

    /// States have `u32` numbers, and the transitions between them must fit in memory.
    const STATE_COUNT_MAX: usize = 1 << 28;

    /// * `order`: 1 to `ORDER_MAX`; so many channels to that power must fit a 64-bit number.
    pub fn build(table: &PathTable, order: usize, nulls: Nulls) -> Result<Self, AnalyticsError> {
        let code = Code::new(table.channel_count(), order)?;
        let weight = |row: &PathRow<'_>| match nulls {
            Nulls::Count => row.counts.conversions + row.counts.nulls,
            Nulls::Ignore => row.counts.conversions,
        };
        let walked = || table.rows().filter(|row| weight(row) != 0);
        let mut codes = Gathered::default();
        for row in walked() {
            code.states_of(row.channels, |state| codes.push(state, ()));
        }
        let codes: Vec<u64> = codes.into_sorted().into_iter().map(|(state, ())| state).collect();
        if Self::STATE_COUNT_MAX < codes.len() {
            return Err(AnalyticsError::StateCount { given: codes.len(), max: Self::STATE_COUNT_MAX });
        }
        let index = StateIndex::new(code, &codes);
        let state_count = codes.len();
        let mut chain = Self {
            order,
            channel_count: table.channel_count(),
            codes,
            journey_count: 0,
            start_counts: vec![0; state_count],
            conversion_counts: vec![0; state_count],
            null_counts: vec![0; state_count],
            values_micros: vec![0; state_count],
            left_counts: vec![0; state_count],
            ends: Vec::with_capacity(state_count),
            from: Vec::new(),
            from_counts: Vec::new(),
            from_ratios: Vec::new(),
            start_ratios: Vec::new(),
        };
        let mut passed = Gathered::default();
        for row in walked() {
            let journeys = weight(&row);
            let mut at: Option<u32> = None;
            code.states_of(row.channels, |state| {
                let to = index.of(state);
                match at {
                    None => chain.start_counts[to as usize] += journeys,
                    Some(from) => passed.push(u64::from(to) << 32 | u64::from(from), journeys),
                }
                at = Some(to);
            });
            let last = at.expect("no path of a table is empty") as usize;
            chain.journey_count += journeys;
            chain.conversion_counts[last] += row.counts.conversions;
            chain.null_counts[last] += journeys - row.counts.conversions;
            chain.values_micros[last] += i128::from(row.counts.value_micros);
        }
        chain.take_transitions(passed.into_sorted());
        Ok(chain)
    }

    /// * `passed`: `to << 32 | from` and a count, ascending and distinct.
    fn take_transitions(&mut self, passed: Vec<(u64, u64)>) {
        for state in 0..self.codes.len() {
            self.left_counts[state] = self.conversion_counts[state] + self.null_counts[state];
        }
        for (pair, count) in passed {
            let (to, from) = ((pair >> 32) as usize, pair as u32);
            while self.ends.len() < to {
                self.ends.push(self.from.len());
            }
            self.left_counts[from as usize] += count;
            self.from.push(from);
            self.from_counts.push(count);
        }
        self.ends.resize(self.codes.len(), self.from.len());
        let ratio = |(from, count): (&u32, &u64)| *count as f64 / self.left_counts[*from as usize] as f64;
        self.from_ratios = self.from.iter().zip(&self.from_counts).map(ratio).collect();
        let journeys = self.journey_count as f64;
        self.start_ratios = self.start_counts.iter().map(|count| *count as f64 / journeys).collect();
    }

    pub fn order(&self) -> usize {
        self.order
    }

    pub fn channel_count(&self) -> u32 {
        self.channel_count
    }

    /// States between the start and the ends.
    pub fn state_count(&self) -> usize {
        self.codes.len()
    }

    /// The channels of a state, the latest touch first.
    pub(in crate::attribution) fn channels_of(&self, state: usize) -> impl Iterator<Item = u32> {
        Code::touches(self.codes[state], self.channel_count)
    }

    pub(in crate::attribution) fn contains(&self, state: usize, channel: u32) -> bool {
        self.channels_of(state).any(|other| other == channel)
    }

    /// Where each state's entries in `from` are.
    pub(in crate::attribution) fn incoming(&self, state: usize) -> std::ops::Range<usize> {
        let start = state.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[state]
    }

    /// All transitions, by the state they lead to, the ends last.
    pub fn transitions(&self) -> impl Iterator<Item = Transition> {
        let touches = |state: usize| {
            let mut channels: Vec<u32> = self.channels_of(state).collect();
            channels.reverse();
            State::Touches(channels)
        };
        let states = 0..self.codes.len();
        let between = states.clone().flat_map(move |to| {
            let from_start = (0 < self.start_counts[to]).then(|| Transition {
                from: State::Start,
                to: touches(to),
                count: self.start_counts[to],
                probability: self.start_ratios[to],
            });
            let from_others = self.incoming(to).map(move |entry| Transition {
                from: touches(self.from[entry] as usize),
                to: touches(to),
                count: self.from_counts[entry],
                probability: self.from_ratios[entry],
            });
            from_start.into_iter().chain(from_others)
        });
        let ending = states.flat_map(move |from| {
            let ends = [(State::Conversion, self.conversion_counts[from]), (State::Null, self.null_counts[from])];
            ends.into_iter().filter(|(_, count)| 0 < *count).map(move |(to, count)| Transition {
                from: touches(from),
                to,
                count,
                probability: count as f64 / self.left_counts[from] as f64,
            })
        });
        between.chain(ending)
    }
}

/// How a state's touches are written as one number: digits of base `channel_count + 1`, the latest last, 0 for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    pub(super) base: u64,
    order: usize,
    /// `base` to the power of `order - 1`: what all but the oldest digit are below.
    cut: u64,
}

impl Code {
    pub(super) fn new(channel_count: u32, order: usize) -> Result<Self, AnalyticsError> {
        let base = u64::from(channel_count) + 1;
        let exponent = u32::try_from(order).unwrap_or(u32::MAX);
        let fits = base.checked_pow(exponent).is_some();
        if order == 0 || Chain::ORDER_MAX < order || !fits {
            return Err(AnalyticsError::MarkovOrder { given: order, max: Chain::ORDER_MAX, channel_count });
        }
        Ok(Self { base, order, cut: base.pow(exponent - 1) })
    }

    /// The number of the state after one more touch.
    pub(super) fn after(self, state: u64, channel: u32) -> u64 {
        state % self.cut * self.base + u64::from(channel) + 1
    }

    /// The states a path passes, in order; none follows upon itself.
    pub(super) fn states_of(self, channels: &[u32], mut pass: impl FnMut(u64)) {
        let head_length = channels.len().min(self.order);
        let (head, tail) = channels.split_at(head_length);
        let mut state = head.iter().fold(0, |state, channel| self.after(state, *channel));
        pass(state);
        for channel in tail {
            let next = self.after(state, *channel);
            if next != state {
                pass(next);
            }
            state = next;
        }
    }

    fn touches(mut code: u64, channel_count: u32) -> impl Iterator<Item = u32> {
        let base = u64::from(channel_count) + 1;
        std::iter::from_fn(move || {
            let digit = code % base;
            code /= base;
            (digit != 0).then(|| u32::try_from(digit - 1).expect("a digit is a channel's code, plus 1"))
        })
    }
}

/// The number of a state by its code: an array as long as that is small, else a table.
enum StateIndex {
    Array(Vec<u32>),
    Table(hashbrown::HashMap<u64, u32, BuildHasherDefault<Mix>>),
}

impl StateIndex {
    const ARRAY_LENGTH_MAX: u64 = 1 << 22;

    fn new(code: Code, codes: &[u64]) -> Self {
        let number = |state: usize| u32::try_from(state).expect("fewer than 2^28 states");
        let length = code.cut.saturating_mul(code.base);
        if length <= Self::ARRAY_LENGTH_MAX {
            let mut array = vec![u32::MAX; usize::try_from(length).expect("at most 2^22")];
            for (state, code) in codes.iter().enumerate() {
                array[*code as usize] = number(state);
            }
            return Self::Array(array);
        }
        Self::Table(codes.iter().enumerate().map(|(state, code)| (*code, number(state))).collect())
    }

    fn of(&self, code: u64) -> u32 {
        match self {
            Self::Array(array) => array[code as usize],
            Self::Table(table) => table[&code],
        }
    }
}

/// A hash of one number: codes come from us, so nobody can aim at collisions that would matter.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Keys and their sums. They are sorted and summed whenever as many again have come, so that memory is in proportion to the
/// distinct keys, and time to what a sort takes; a hash table of as many was slower and has no order.
pub(super) struct Gathered<S> {
    entries: Vec<(u64, S)>,
    full_at: usize,
}

/// What can be summed under a key.
pub(super) trait Sum: Copy {
    fn add(&mut self, other: Self);
}

impl Sum for u64 {
    fn add(&mut self, other: Self) {
        *self += other;
    }
}

impl Sum for () {
    fn add(&mut self, (): Self) {}
}

impl<S> Default for Gathered<S> {
    fn default() -> Self {
        Self { entries: Vec::new(), full_at: 1 << 20 }
    }
}

impl<S: Sum> Gathered<S> {
    pub(super) fn push(&mut self, key: u64, sum: S) {
        if self.entries.len() == self.full_at {
            self.merge();
            self.full_at = self.full_at.max(2 * self.entries.len());
        }
        self.entries.push((key, sum));
    }

    fn merge(&mut self) {
        self.entries.sort_unstable_by_key(|(key, _)| *key);
        self.entries.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1.add(later.1);
            }
            same
        });
    }

    pub(super) fn into_sorted(mut self) -> Vec<(u64, S)> {
        self.merge();
        self.entries
    }
}
