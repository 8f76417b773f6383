//! What is counted of anything that paths go through.
//!
//! In:       other tallies.
//! Out:      sums, and a fixed form in bytes.
//! Promise:  adding in any order gives the same tally; a sum that does not fit stays at the largest number.
//! Not here: telling one session or unit from another (`flow_table.rs`, `sequence_table.rs`).

/// How many went this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Paths; of an n-gram, how often it came.
    pub paths: u64,
    /// Sessions that have at least one such path. Of an `other`: the sum over what it stands for, so a session that went
    /// two of these ways is in it twice.
    pub sessions: u64,
    /// Units that have at least one such path; of an `other` as above.
    pub units: u64,
    /// Of the sessions those that met the goal.
    pub converted_sessions: u64,
    /// Of an edge: time from the one node to the other over all its paths. Of a whole path and of all: from the first node
    /// kept to the last. 0 for the rest.
    pub time_us: u128,
}

impl Tally {
    /// Length of `to_bytes`.
    pub const BYTES: usize = 48;

    pub fn add(&mut self, other: &Self) {
        self.paths = self.paths.saturating_add(other.paths);
        self.sessions = self.sessions.saturating_add(other.sessions);
        self.units = self.units.saturating_add(other.units);
        self.converted_sessions = self.converted_sessions.saturating_add(other.converted_sessions);
        self.time_us = self.time_us.saturating_add(other.time_us);
    }

    /// Share of sessions that met the goal; `None` for no sessions.
    pub fn conversion_ratio(&self) -> Option<f64> {
        (0 < self.sessions).then(|| self.converted_sessions as f64 / self.sessions as f64)
    }

    /// `None` for no paths.
    pub fn mean_time_us(&self) -> Option<f64> {
        (0 < self.paths).then(|| self.time_us as f64 / self.paths as f64)
    }

    /// For a run on disk; the same on every machine.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (at, count) in [self.paths, self.sessions, self.units, self.converted_sessions].into_iter().enumerate() {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&count.to_le_bytes());
        }
        bytes[32..].copy_from_slice(&self.time_us.to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let count = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            u64::from_le_bytes(eight)
        };
        let mut sixteen = [0; 16];
        sixteen.copy_from_slice(&bytes[32..]);
        Self {
            paths: count(0),
            sessions: count(1),
            units: count(2),
            converted_sessions: count(3),
            time_us: u128::from_le_bytes(sixteen),
        }
    }
}

/// The session and the unit being counted, as numbers that rise; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) session: u32,
    pub(super) unit: u32,
}

/// A tally that is counted one path after another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StampedTally {
    pub(super) tally: Tally,
    pub(super) counted: Stamp,
}

impl StampedTally {
    #[inline]
    pub(super) fn count(&mut self, now: Stamp, has_goal: bool, time_us: u64) {
        self.tally.count(&mut self.counted, now, has_goal, time_us);
    }
}

impl Tally {
    /// Counts one path, telling a session and a unit that were counted from new ones: paths come session after session and
    /// unit after unit, so the last one counted is all that must be remembered.
    #[inline]
    pub(super) fn count(&mut self, counted: &mut Stamp, now: Stamp, has_goal: bool, time_us: u64) {
        let is_new_session = u64::from(counted.session != now.session);
        self.paths += 1;
        self.sessions += is_new_session;
        self.units += u64::from(counted.unit != now.unit);
        self.converted_sessions += is_new_session & u64::from(has_goal);
        self.time_us += u128::from(time_us);
        *counted = now;
    }
}
