//! Shapley values, by their definition.
//!
//! In:       how many players, what a set of them is worth.
//! Out:      one value per player.
//! Promise:  obvious: goes through every order in which players can join. With eight players that are 40,320.
//! Not here: any use of a game's form.

/// The mean over all orders of what a player adds to those before it.
///
/// * `worth`: of a set of players, ascending; the empty one too.
pub fn by_orders(player_count: usize, worth: impl Fn(&[usize]) -> f64) -> Vec<f64> {
    let mut added = vec![0.0; player_count];
    let mut order_count = 0.0;
    for order in orders((0..player_count).collect()) {
        order_count += 1.0;
        let mut joined: Vec<usize> = Vec::new();
        let mut before = worth(&joined);
        for player in order {
            joined.push(player);
            joined.sort_unstable();
            let after = worth(&joined);
            added[player] += after - before;
            before = after;
        }
    }
    added.into_iter().map(|sum| sum / order_count).collect()
}

fn orders(players: Vec<usize>) -> Vec<Vec<usize>> {
    if players.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in &players {
        let rest = players.iter().copied().filter(|player| player != first).collect();
        all.extend(orders(rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}
