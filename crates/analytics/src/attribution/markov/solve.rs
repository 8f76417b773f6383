//! What becomes of a walk: how often it passes each state before it ends.
//!
//! In:       a chain, the states a walk may pass.
//! Out:      expected visits of each state; from these the chance of a conversion and the value to be expected.
//! Promise:  exact up to what `mass_left` says, which is a bound and not a guess, and to the rounding of sums; no random
//!           number; the same operations in the same order on every machine.
//! Not here: which states those are (`mod.rs`).
//!
//! With `s` the chances of the first state and `Q` those of a transition, visits are `v = s + v Q`. We go *forwards* (visits
//! from the start) rather than backwards (chances of a conversion from each state), because one solution then serves
//! conversions and value alike, and because what is missing has a plain meaning: mass of walks that have not ended. None of
//! it can convert more than once, so a chance is off by no more than that mass.
//!
//! Sweeps of Gauss and Seidel spread the mass. They are slow where walks go round for long, and what they are slow at is how
//! much mass there is, not how it lies; so now and then all states with one last touch are scaled by one factor, from the
//! small system of these groups (aggregation, Koury, McAllister and Stewart 1984). At order 1 that small system is the whole
//! and is solved at once. Sparse elimination was considered: the graph of `k` touches fills up at once.

use super::chain::Chain;

/// Expected visits of a walk to each state; 0 for those it may not pass.
pub(super) struct Visits {
    of_state: Vec<f64>,
    /// An upper bound of the mass not yet followed to its end.
    mass_left: f64,
}

pub(super) struct Outcome {
    pub(super) conversion_ratio: f64,
    pub(super) value_micros: f64,
    pub(super) mass_left: f64,
}

/// Sweeps between two looks at how it goes.
const SWEEPS: usize = 4;
/// Sums of some ten numbers are not righter than this, in proportion.
const ROUNDING: f64 = 4.0 * f64::EPSILON;
/// What is missing, in proportion, when some ten sweeps more do the rest.
const NEAR_END: f64 = 1e-11;
/// Groups of the small system: elimination takes their number cubed.
const GROUP_COUNT_MAX: u32 = 128;
/// More sweeps than any chain that we met took, by a factor of a thousand; then the bound says what is missing.
const SWEEP_COUNT_MAX: usize = 200_000;

impl Chain {
    /// * `guess`: visits from above, if there are any; else all begin at 0.
    /// * `is_allowed`: by state; a walk that comes upon another ends there.
    pub(super) fn visits(&self, guess: Option<&Visits>, is_allowed: impl Fn(usize) -> bool) -> Visits {
        let states: Vec<usize> = (0..self.state_count()).filter(|state| is_allowed(*state)).collect();
        let mut visits = Visits { of_state: vec![0.0; self.state_count()], mass_left: 0.0 };
        if let Some(guess) = guess {
            for &state in &states {
                visits.of_state[state] = guess.of_state[state];
            }
        }
        let mut groups = Groups::new(self);
        let mut change_before = f64::INFINITY;
        let mut setbacks = 0;
        let mut sweep_count = 0;
        // The small system first: at order 1 there is nothing left to do after it.
        self.sweep(&states, &mut visits);
        groups.scale(self, &states, &mut visits);
        loop {
            let mut change = self.sweep(&states, &mut visits);
            let mut slowest = 0.0_f64;
            for _ in 1..SWEEPS {
                let next = self.sweep(&states, &mut visits);
                slowest = if 0.0 < change { next / change } else { 0.0 };
                change = next;
            }
            sweep_count += SWEEPS;
            visits.mass_left = change;
            let mass: f64 = states.iter().map(|&state| visits.of_state[state]).sum();
            // At the limit of rounding the change goes up and down; then it does not become less.
            let is_at_limit = change <= 16.0 * ROUNDING * mass && change_before <= change;
            if change <= ROUNDING * mass || is_at_limit || SWEEP_COUNT_MAX <= sweep_count {
                return visits;
            }
            setbacks += usize::from(change_before <= change);
            change_before = change;
            // Sweeps alone arrive always; scaling is left off where it does not help, and towards the end, where its own
            // rounding is more than what is missing, unless sweeps alone would take hundreds.
            let is_slow = 0.9 < slowest || (0.3 < slowest && NEAR_END * mass < change);
            if is_slow && setbacks < 3 {
                groups.scale(self, &states, &mut visits);
            }
        }
    }

    /// Brings each state's visits up to date with those of the states before it, in place.
    ///
    /// * Returns the sum of all changes. What is then missing of `s + v Q - v` is what states changed *after* they were
    ///   read, and since no state gives on more than it has, that is at most this sum.
    fn sweep(&self, states: &[usize], visits: &mut Visits) -> f64 {
        let mut change = 0.0;
        for &state in states {
            let incoming = self.incoming(state);
            let from = &self.from[incoming.clone()];
            let ratios = &self.from_ratios[incoming];
            let mut sum = self.start_ratios[state];
            for (from, ratio) in from.iter().zip(ratios) {
                sum += visits.of_state[*from as usize] * ratio;
            }
            change += (sum - visits.of_state[state]).abs();
            visits.of_state[state] = sum;
        }
        change
    }

    pub(super) fn outcome(&self, visits: &Visits) -> Outcome {
        // Summed in pieces: with a hundred thousand states one running sum would lose more to rounding than is missing.
        const PIECE: usize = 256;
        let (mut conversion_ratio, mut value_micros) = (0.0, 0.0);
        for (piece, of_piece) in visits.of_state.chunks(PIECE).enumerate() {
            let (mut conversions, mut value) = (0.0, 0.0);
            for (at, visit) in of_piece.iter().enumerate() {
                let state = piece * PIECE + at;
                // A state's part of all that leaves it; what was counted leaves, so it is above 0.
                let part = visit / self.left_counts[state] as f64;
                conversions += part * self.conversion_counts[state] as f64;
                value += part * self.values_micros[state] as f64;
            }
            conversion_ratio += conversions;
            value_micros += value;
        }
        Outcome { conversion_ratio, value_micros, mass_left: visits.mass_left }
    }
}

/// The states by their last touch, and room for the system of their groups.
struct Groups {
    of_state: Vec<u32>,
    count: usize,
    /// Row by row: what leaves the column's group for the row's, then on the right what starts in the row's.
    system: Vec<f64>,
}

impl Groups {
    fn new(chain: &Chain) -> Self {
        let count = chain.channel_count().clamp(1, GROUP_COUNT_MAX);
        let last = |state| chain.channels_of(state).next().expect("a state has a touch");
        let of_state = (0..chain.state_count()).map(|state| last(state) % count).collect();
        let count = count as usize;
        Self { of_state, count, system: vec![0.0; count * (count + 1)] }
    }

    /// Scales the visits of each group by one factor `c`, such that what comes into each group is what it has:
    /// `c[h] V[h] = s[h] + sum over g of c[g] W[g, h]`, `V` the group's visits and `W` what passes between groups.
    fn scale(&mut self, chain: &Chain, states: &[usize], visits: &mut Visits) {
        let width = self.count + 1;
        self.system.fill(0.0);
        for &state in states {
            let to = self.of_state[state] as usize;
            self.system[to * width + to] += visits.of_state[state];
            self.system[to * width + self.count] += chain.start_ratios[state];
            for entry in chain.incoming(state) {
                let from = chain.from[entry] as usize;
                self.system[to * width + self.of_state[from] as usize] -=
                    visits.of_state[from] * chain.from_ratios[entry];
            }
        }
        let factors = self.eliminate();
        for &state in states {
            visits.of_state[state] *= factors[self.of_state[state] as usize];
        }
    }

    /// Gauss's elimination without pivots: no group gives on more than it has, so each column's diagonal outweighs the rest
    /// of it. A group without visits gets 1, which scales nothing.
    fn eliminate(&mut self) -> Vec<f64> {
        let (count, width) = (self.count, self.count + 1);
        for pivot in 0..count {
            let (above, below) = self.system.split_at_mut((pivot + 1) * width);
            let pivot_row = &above[pivot * width..];
            if pivot_row[pivot] <= 0.0 {
                continue;
            }
            for row in below.chunks_exact_mut(width) {
                let factor = row[pivot] / pivot_row[pivot];
                if factor != 0.0 {
                    for (cell, of_pivot) in row.iter_mut().zip(pivot_row).skip(pivot + 1) {
                        *cell -= factor * of_pivot;
                    }
                }
            }
        }
        let mut factors = vec![1.0; count];
        for row in (0..count).rev() {
            let cells = &self.system[row * width..(row + 1) * width];
            if 0.0 < cells[row] {
                let known: f64 = (row + 1..count).map(|column| cells[column] * factors[column]).sum();
                factors[row] = (cells[count] - known) / cells[row];
            }
        }
        factors
    }
}
