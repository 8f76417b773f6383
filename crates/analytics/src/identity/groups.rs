//! Which user ids are one person: chains and circles of aliases.
//!
//! In:      aliases that hold, each from one user to another, oldest first.
//! Out:     groups of users with the one the person is called by.
//! Promise: a function of the set of aliases. The person is the id no alias leads away from; of several the one an alias
//!          named first; in a circle, of all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::device::User;

/// Two or more user ids that aliases join.
pub(super) struct Group {
    pub(super) users: Vec<User>,
    pub(super) person: User,
}

/// * `aliases`: `(previous, user)` in the order they were said.
pub(super) fn groups(aliases: &[(User, User)]) -> Vec<Group> {
    let mut parents: HashMap<User, User> = HashMap::new();
    for &(previous, user) in aliases {
        let (one, other) = (root(&mut parents, previous), root(&mut parents, user));
        parents.insert(one.max(other), one.min(other));
    }
    let left: BTreeSet<User> = aliases.iter().map(|(previous, _)| *previous).collect();
    let mut named_at: HashMap<User, usize> = HashMap::new();
    for (index, (_, user)) in aliases.iter().enumerate() {
        named_at.entry(*user).or_insert(index);
    }
    let all: BTreeSet<User> = aliases.iter().flat_map(|(previous, user)| [*previous, *user]).collect();
    let mut by_root: BTreeMap<User, Vec<User>> = BTreeMap::new();
    for user in all {
        by_root.entry(root(&mut parents, user)).or_default().push(user);
    }
    by_root
        .into_values()
        .map(|users| {
            // Those nobody leaves come first; those no alias names cannot be called by.
            let rank = |user: &User| (left.contains(user), named_at.get(user).copied().unwrap_or(usize::MAX));
            let person = *users.iter().min_by_key(|user| rank(user)).expect("a group has two users");
            Group { users, person }
        })
        .collect()
}

fn root(parents: &mut HashMap<User, User>, user: User) -> User {
    let mut at = user;
    while let Some(&parent) = parents.get(&at).filter(|parent| **parent != at) {
        // Halving the way keeps later ones short.
        let above = parents.get(&parent).copied().unwrap_or(parent);
        parents.insert(at, above);
        at = above;
    }
    at
}
