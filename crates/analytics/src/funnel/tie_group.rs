//! Events of one instant, taken in whichever order serves best.
//!
//! In:       the masks of the events that share a time.
//! Out:      how far a chain that waits at each step can come within the instant.
//! Promise:  exact: a maximum matching of steps to distinct events. At most `step_count` events of one mask are kept,
//!           for a chain cannot use more.
//! Not here: windows and times (`exact.rs`).

/// Keeps `mask` unless the instant already has as many of its kind as a chain could use.
pub(super) fn remember(masks: &mut Vec<u32>, mask: u32, step_count: usize) {
    if masks.iter().filter(|kept| **kept == mask).count() < step_count {
        masks.push(mask);
    }
}

/// For a chain that has steps `0..from` behind it, the end of the steps it can have after the instant.
///
/// * Returns `reach` of `step_count` entries: steps `from..reach[from]` can each be given an event of their own;
///   `reach[from] == from` if not even step `from` can.
pub(super) fn reach(masks: &[u32], step_count: usize) -> Vec<usize> {
    (0..step_count)
        .map(|from| {
            let mut owner_of: Vec<Option<usize>> = vec![None; masks.len()];
            (from..step_count)
                .find(|&step| !give_event(step, masks, &mut owner_of, &mut vec![false; masks.len()]))
                .unwrap_or(step_count)
        })
        .collect()
}

/// One augmenting path of Kuhn's bipartite matching: gives `step` an event, moving owners if it must.
fn give_event(step: usize, masks: &[u32], owner_of: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for (event, mask) in masks.iter().enumerate() {
        if tried[event] || mask & (1 << step) == 0 {
            continue;
        }
        tried[event] = true;
        let is_free = match owner_of[event] {
            None => true,
            Some(owner) => give_event(owner, masks, owner_of, tried),
        };
        if is_free {
            owner_of[event] = Some(step);
            return true;
        }
    }
    false
}
