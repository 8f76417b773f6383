//! What a funnel says of one unit.
//!
//! In:       the attempts that `FunnelFold` found.
//! Out:      for each attempt its level, and of each step reached its time and the caller's row.
//! Promise:  steps, trend and lists of people are all read from this one value, so they cannot disagree.
//! Not here: counts over units (`counts.rs`).

/// A step that an attempt reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepReached {
    /// From 1. Under `StepOrder::Any` the steps of an attempt are in the order of time, not of their numbers.
    pub step: usize,
    /// Of tied rows, that of the first.
    pub time_us: i64,
    /// The handle that the caller pushed with the row.
    pub row: u64,
}

/// One attempt of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunnelAttempt<'a> {
    /// The number of the last step reached, from 1; under `StepOrder::Any` how many were done.
    pub level: usize,
    /// In the order they were done.
    pub reached: &'a [StepReached],
    /// All steps are done.
    pub is_complete: bool,
    /// Until when it is known what became of the attempt: the end of its window, or of what is known if that is earlier.
    pub observed_until_us: i64,
    /// An exclusion came while it stood at its last step; it could not go on.
    pub met_exclusion: bool,
}

impl FunnelAttempt<'_> {
    /// The time of its first event: step 1, or under `StepOrder::Any` whichever came first.
    pub fn start_us(&self) -> i64 {
        self.reached[0].time_us
    }

    /// The step of this number, if the attempt reached it: `None` too for an optional one it went past.
    pub fn step(&self, step: usize) -> Option<&StepReached> {
        self.reached.iter().find(|reached| reached.step == step)
    }

    /// From its first event to its last.
    pub fn duration_us(&self) -> i64 {
        let last = self.reached[self.reached.len() - 1].time_us;
        last.saturating_sub(self.start_us())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) level: usize,
    pub(super) is_complete: bool,
    pub(super) deadline_us: i64,
    pub(super) met_exclusion: bool,
}

/// What a funnel says of one unit. Reused from unit to unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FunnelOutcome {
    pub(super) spans: Vec<Span>,
    pub(super) reached: Vec<StepReached>,
    /// An attempt of the unit that is not complete could still go on after what is known: the unit is censored.
    pub is_open: bool,
    /// The unit is left out by an exclusion that voids units; it then has no attempts.
    pub is_voided: bool,
}

impl FunnelOutcome {
    /// One at most, but for `Counting::Totals`, where they are in the order in which they ended.
    pub fn attempts(&self) -> impl ExactSizeIterator<Item = FunnelAttempt<'_>> {
        self.spans.iter().map(|span| FunnelAttempt {
            level: span.level,
            reached: &self.reached[span.begin..span.end],
            is_complete: span.is_complete,
            observed_until_us: span.deadline_us,
            met_exclusion: span.met_exclusion,
        })
    }

    /// The one attempt of `Counting::Best` and `First`; of `Totals` that which ended first. `None`: never entered.
    pub fn attempt(&self) -> Option<FunnelAttempt<'_>> {
        self.attempts().next()
    }

    /// The level of `attempt`, 0 if there is none.
    pub fn level(&self) -> usize {
        self.spans.first().map_or(0, |span| span.level)
    }

    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.reached.clear();
        self.is_open = false;
        self.is_voided = false;
    }

    pub(super) fn add(&mut self, reached: &[StepReached], span: Span) {
        let begin = self.reached.len();
        self.reached.extend_from_slice(reached);
        self.spans.push(Span { begin, end: self.reached.len(), ..span });
    }
}
