//! What was said of one device's id, and who used it when.
//!
//! In:      links and unlinks of the id, in any order.
//! Out:     its owners: one for each stretch of time between two changes of user.
//! Promise: an unlink takes back every earlier link of the same id and user and nothing else.
//! Not here: whether an owner is a hub, and which users are one person (`map.rs`).

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use tributary_schemas::{LinkAction, LinkKind};

/// A user by number.
pub(super) type User = u32;

#[derive(Debug, Clone)]
pub(super) struct DeviceSaid {
    pub(super) time_us: i64,
    pub(super) event_id: Box<str>,
    pub(super) user: User,
    pub(super) action: LinkAction,
    pub(super) kind: LinkKind,
}

impl DeviceSaid {
    /// Of one event there is one row; should there be two, the unlink comes last.
    fn order(&self, other: &Self, name: &impl Fn(User) -> Box<str>) -> Ordering {
        (self.time_us, &self.event_id, self.action, self.kind)
            .cmp(&(other.time_us, &other.event_id, other.action, other.kind))
            .then_with(
                || if self.user == other.user { Ordering::Equal } else { name(self.user).cmp(&name(other.user)) },
            )
    }
}

/// From when on the device is whose. The first owner has it from the beginning of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) from_us: i64,
    pub(super) user: User,
    /// Which of `said` says so.
    pub(super) said: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Device {
    /// In order once `settle` was called.
    said: Vec<DeviceSaid>,
    owners: Box<[Owner]>,
    pub(super) is_touched: bool,
    pub(super) is_shared: bool,
}

impl Device {
    pub(super) fn new() -> Self {
        // Nearly every device has one link only.
        Self { said: Vec::with_capacity(1), owners: Box::default(), is_touched: false, is_shared: false }
    }

    pub(super) fn say(&mut self, said: DeviceSaid) {
        self.said.push(said);
    }

    pub(super) fn said(&self, index: u32) -> &DeviceSaid {
        &self.said[index as usize]
    }

    /// Whose it is, oldest first, hubs and all; no two neighbours are the same user.
    pub(super) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    pub(super) fn users(&self) -> BTreeSet<User> {
        self.owners.iter().map(|owner| owner.user).collect()
    }

    /// The aliases that hold, oldest first.
    pub(super) fn aliases(&self) -> impl Iterator<Item = &DeviceSaid> {
        let taken_back = self.taken_back();
        let holds = move |(index, said): &(usize, &DeviceSaid)| {
            said.action == LinkAction::Link && taken_back.get(&said.user).is_none_or(|last| last < index)
        };
        let links = self.said.iter().enumerate().filter(holds).map(|(_, said)| said);
        links.filter(|said| said.kind == LinkKind::Alias)
    }

    /// Brings what was said into order and finds the owners anew.
    ///
    /// * `name`: of a user, for two links that nothing else tells apart.
    pub(super) fn settle(&mut self, name: impl Fn(User) -> Box<str>) {
        if 1 < self.said.len() {
            self.said.sort_by(|one, other| one.order(other, &name));
            self.said.dedup_by(|one, other| one.order(other, &name) == Ordering::Equal);
        }
        let taken_back = self.taken_back();
        let mut owners: Vec<Owner> = Vec::new();
        for (index, said) in self.said.iter().enumerate() {
            let holds = said.action == LinkAction::Link && taken_back.get(&said.user).is_none_or(|last| *last < index);
            if holds && owners.last().is_none_or(|last| last.user != said.user) {
                let said_at = u32::try_from(index).expect("the map is bounded far below 2^32 links");
                owners.push(Owner { from_us: said.time_us, user: said.user, said: said_at });
            }
        }
        self.owners = owners.into();
    }

    /// The last unlink of each user that has one.
    fn taken_back(&self) -> HashMap<User, usize> {
        let unlinks = self.said.iter().enumerate().filter(|(_, said)| said.action == LinkAction::Unlink);
        unlinks.map(|(index, said)| (said.user, index)).collect()
    }
}
