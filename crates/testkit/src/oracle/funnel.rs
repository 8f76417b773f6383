//! The funnel, by trying everything.
//!
//! In:       one unit's rows `(time_us, mask)` in log order; steps, window, how ties may be ordered.
//! Out:      the step times of the best attempt.
//! Promise:  obvious, not fast: it lists every chain of distinct events, so keep it to a dozen rows.
//! Not here: anything clever.

/// How rows of one time may follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// As they stand in the slice.
    InGivenOrder,
    AnyOrder,
    /// Not at all.
    Never,
}

/// The step times of the best attempt, as long as its level.
///
/// Best is: most steps; then the earliest completion (under `InGivenOrder` the first event that completes);
/// then the latest start time; then the earliest times between.
///
/// * `rows`: in time order. `window_us`: inclusive, from the first step; `None` = no limit.
pub fn best_attempt(rows: &[(i64, u32)], step_count: usize, window_us: Option<i64>, ties: Ties) -> Vec<i64> {
    let mut chains = Vec::new();
    collect_chains(rows, step_count, window_us, ties, &mut Vec::new(), &mut chains);
    let best = chains.into_iter().min_by_key(|chain: &Vec<usize>| {
        let times_us: Vec<i64> = chain.iter().map(|event| rows[*event].0).collect();
        // The place of an event within its instant means something only if the order was given.
        let completing_event = chain.last().filter(|_| ties == Ties::InGivenOrder).copied();
        let completion = (times_us.last().copied(), completing_event);
        (usize::MAX - chain.len(), completion, std::cmp::Reverse(times_us.first().copied()), times_us)
    });
    best.unwrap_or_default().into_iter().map(|event| rows[event].0).collect()
}

/// Every chain that keeps the rules, the empty one included.
fn collect_chains(
    rows: &[(i64, u32)],
    step_count: usize,
    window_us: Option<i64>,
    ties: Ties,
    chain: &mut Vec<usize>,
    chains: &mut Vec<Vec<usize>>,
) {
    chains.push(chain.clone());
    let step = chain.len();
    if step == step_count {
        return;
    }
    for (event, (time_us, mask)) in rows.iter().enumerate() {
        let meets_step = mask & (1 << step) != 0;
        let is_unused = !chain.contains(&event);
        let follows = chain.last().is_none_or(|&last| match ties {
            Ties::InGivenOrder => last < event,
            Ties::AnyOrder => rows[last].0 <= *time_us,
            Ties::Never => rows[last].0 < *time_us,
        });
        let in_window =
            chain.first().is_none_or(|&first| window_us.is_none_or(|window_us| time_us - rows[first].0 <= window_us));
        if meets_step && is_unused && follows && in_window {
            chain.push(event);
            collect_chains(rows, step_count, window_us, ties, chain, chains);
            chain.pop();
        }
    }
}
