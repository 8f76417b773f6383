//! Which of many has the least name: a tree of losers (Knuth, TAOCP 3, 5.4.1).
//!
//! In:       how many there are, and which of two comes first.
//! Out:      the first of all.
//! Promise:  when the first has another name, as many comparisons as the tree is high; a heap takes twice as many.
//! Not here: the names; whoever has none any more must come last.

pub(super) struct Tree {
    /// Who lost at each node; at 0 who lost nowhere. Node `n` is played for by whoever comes up from `2 n` and `2 n + 1`, and the
    /// leaf of number `at` is `count + at`.
    nodes: Vec<usize>,
}

/// Nobody has come to the node yet.
const NOBODY: usize = usize::MAX;

impl Tree {
    /// * `comes_first`: whether the first number comes before the second; never of one and itself.
    pub(super) fn new(count: usize, comes_first: impl Fn(usize, usize) -> bool) -> Self {
        let mut tree = Self { nodes: vec![NOBODY; count] };
        for at in 0..count {
            tree.play(at, &comes_first);
        }
        tree
    }

    /// `None` if there is none at all.
    pub(super) fn first(&self) -> Option<usize> {
        self.nodes.first().copied()
    }

    /// The first has another name: who is it now?
    pub(super) fn again(&mut self, comes_first: impl Fn(usize, usize) -> bool) {
        self.play(self.nodes[0], comes_first);
    }

    /// Goes up from a leaf; while the tree is made, up to where nobody has come yet.
    fn play(&mut self, at: usize, comes_first: impl Fn(usize, usize) -> bool) {
        let (mut winner, mut node) = (at, (self.nodes.len() + at) / 2);
        while 0 < node {
            let other = self.nodes[node];
            if other == NOBODY {
                self.nodes[node] = winner;
                return;
            }
            if comes_first(other, winner) {
                self.nodes[node] = winner;
                winner = other;
            }
            node /= 2;
        }
        self.nodes[0] = winner;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_lists_come_out_as_one() {
        // Any numbers will do, as long as names come several times.
        let mut state = 1_u32;
        let mut number_below = |bound: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % bound
        };
        for count in (0..40).flat_map(|count| [count; 5]) {
            let mut lists: Vec<Vec<u32>> = Vec::new();
            for _ in 0..count {
                let length = number_below(9);
                lists.push((0..length).map(|_| number_below(20)).collect());
            }
            lists.iter_mut().for_each(|list| list.sort_unstable());
            let all = lists.iter().enumerate().flat_map(|(at, list)| list.iter().map(move |value| (*value, at)));
            let mut all: Vec<(u32, usize)> = all.collect();
            all.sort_unstable();
            let mut taken = vec![0; lists.len()];
            let name = |taken: &[usize], at: usize| (lists[at].get(taken[at]).copied().unwrap_or(u32::MAX), at);
            let mut tree = Tree::new(lists.len(), |a, b| name(&taken, a) < name(&taken, b));
            let mut merged = Vec::new();
            while let Some(at) = tree.first().filter(|at| taken[*at] < lists[*at].len()) {
                merged.push(name(&taken, at));
                taken[at] += 1;
                tree.again(|a, b| name(&taken, a) < name(&taken, b));
            }
            assert_eq!(merged, all);
        }
    }
}
