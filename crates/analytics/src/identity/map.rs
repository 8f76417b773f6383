//! The map from ids to persons.
//!
//! In:      links (`add`), then `settle`.
//! Out:     the person of an event (`person_of`); each id with its person and the reason (`entries`).
//! Promise: `add` and `settle` may be mixed in any way; what comes out depends on the links alone. A `settle` looks only
//!          at devices of which something new was said, at those that several used, and at aliases. Some 260 bytes a link.
//!
//! Order of the rules: junk ids join nothing; then unlinks; then hubs; then aliases; then shared devices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tributary_schemas::{LinkAction, LinkKind, LinkReason, joins_nobody};

use super::device::{Device, DeviceSaid, Owner, User};
use super::groups::groups;
use super::said::{IdentityRule, Said};

#[derive(Debug, Clone)]
pub struct IdentityMap {
    rule: IdentityRule,
    devices: Vec<Device>,
    /// By `source`, a zero byte and the id.
    device_at: HashMap<Box<str>, u32>,
    users: Vec<UserIds>,
    user_at: HashMap<Arc<str>, User>,
    /// Devices with something new to `settle`.
    touched: Vec<u32>,
    /// Devices that more than one user had.
    several: BTreeSet<u32>,
    /// Devices with an alias, with the previous id.
    aliased: BTreeMap<u32, Box<str>>,
    grouped: Vec<User>,
    link_count: usize,
}

#[derive(Debug, Clone)]
struct UserIds {
    name: Arc<str>,
    /// Devices with a link to it that holds.
    device_count: usize,
    /// Another user the aliases say it is.
    person: User,
    too_many_aliases: bool,
}

/// One id and whose it is, for tracing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'m> {
    /// `None` for a user id: those mean the same person in every source.
    pub source: Option<&'m str>,
    pub id: &'m str,
    /// Whose it is; `None` where it is joined to nobody, for the reason told.
    pub person_id: Option<&'m str>,
    /// The user id the link named, if it is one.
    pub user_id: Option<&'m str>,
    /// From when to when (exclusive) events of the device that name nobody are that person's; `None` is no bound.
    pub from_us: Option<i64>,
    pub until_us: Option<i64>,
    /// How, when and by which event it was said.
    pub said: Option<(LinkKind, i64, &'m str)>,
    pub reason: Option<LinkReason>,
}

impl IdentityMap {
    pub fn new(rule: IdentityRule) -> Self {
        Self {
            rule,
            devices: Vec::new(),
            device_at: HashMap::new(),
            users: Vec::new(),
            user_at: HashMap::new(),
            touched: Vec::new(),
            several: BTreeSet::new(),
            aliased: BTreeMap::new(),
            grouped: Vec::new(),
            link_count: 0,
        }
    }

    /// Takes in a link, or what takes one back. It counts from the next `settle` on.
    pub fn add(&mut self, said: &Said<'_>) {
        if said.id == said.user_id || joins_nobody(said.id) || joins_nobody(said.user_id) {
            return;
        }
        self.link_count += 1;
        let user = self.user(said.user_id);
        let mut key = String::with_capacity(said.source.len() + said.id.len() + 1);
        write_key(&mut key, said.source, said.id);
        let at = match self.device_at.get(key.as_str()) {
            Some(at) => *at,
            None => {
                let at = u32::try_from(self.devices.len()).expect("the map is bounded far below 2^32 links");
                self.device_at.insert(key.into(), at);
                self.devices.push(Device::new());
                at
            }
        };
        if said.kind == LinkKind::Alias && said.action == LinkAction::Link {
            self.aliased.entry(at).or_insert_with(|| said.id.into());
        }
        let device = &mut self.devices[at as usize];
        device.say(DeviceSaid {
            time_us: said.event_time_us,
            event_id: said.event_id.into(),
            user,
            action: said.action,
            kind: said.kind,
        });
        if !device.is_touched {
            device.is_touched = true;
            self.touched.push(at);
        }
    }

    /// Makes what was added count.
    pub fn settle(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        for at in std::mem::take(&mut self.touched) {
            let device = &mut self.devices[at as usize];
            device.is_touched = false;
            let before = device.users();
            let users = &self.users;
            device.settle(|user| Box::from(&*users[user as usize].name));
            let now = device.users();
            before.difference(&now).for_each(|user| self.users[*user as usize].device_count -= 1);
            now.difference(&before).for_each(|user| self.users[*user as usize].device_count += 1);
            match 1 < now.len() {
                true => self.several.insert(at),
                false => self.several.remove(&at),
            };
            self.devices[at as usize].is_shared = false;
        }
        self.group();
        for &at in &self.several {
            let owners = self.devices[at as usize].owners();
            let persons: BTreeSet<User> =
                owners.iter().filter(|owner| !self.is_hub(owner.user)).map(|owner| self.person(owner.user)).collect();
            self.devices[at as usize].is_shared = self.rule.users_per_device_max < persons.len();
        }
    }

    /// Whose an event is, by the ids on it: the user it names, or the one its device belonged to at `time_us`. `None` if
    /// it is nobody's that a link knows; then its own id is all there is to call it by.
    ///
    /// * `key`: room to write in, so that asking for a million events allocates nothing.
    pub fn person_of<'m>(
        &'m self,
        source: &str,
        user_id: Option<&'m str>,
        anonymous_id: Option<&str>,
        time_us: i64,
        key: &mut String,
    ) -> Option<&'m str> {
        if let Some(user_id) = user_id {
            return Some(self.person_of_user(source, user_id, key));
        }
        let device = self.device(source, anonymous_id?, key)?;
        let owner = self.owner(device, time_us)?;
        Some(self.name(self.person(owner.user)))
    }

    /// Every id a link that holds speaks of, and whose it is.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let devices =
            self.device_at.iter().flat_map(|(key, at)| self.entries_of_device(key, &self.devices[*at as usize]));
        devices.chain(self.grouped.iter().map(|user| self.entry_of_user(*user)))
    }

    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Links and unlinks taken in, without those of junk ids.
    pub fn link_count(&self) -> usize {
        self.link_count
    }

    fn person_of_user<'m>(&'m self, source: &str, user_id: &'m str, key: &mut String) -> &'m str {
        // Nobody is called otherwise unless there are aliases.
        if self.aliased.is_empty() {
            return user_id;
        }
        if let Some(&user) = self.user_at.get(user_id).filter(|user| self.is_known(**user)) {
            return self.name(self.person(user));
        }
        // No link names it as a user, so it is an id of this source: the alias leads on within it.
        let alias = self.device(source, user_id, key).and_then(|device| device.aliases().last());
        match alias.filter(|alias| !self.is_hub(alias.user)) {
            Some(alias) => self.name(self.person(alias.user)),
            None => user_id,
        }
    }

    fn device(&self, source: &str, id: &str, key: &mut String) -> Option<&Device> {
        write_key(key, source, id);
        self.device_at.get(key.as_str()).map(|at| &self.devices[*at as usize])
    }

    /// The last login at or before the time, else the first after it.
    fn owner<'m>(&self, device: &'m Device, time_us: i64) -> Option<&'m Owner> {
        if device.is_shared {
            return None;
        }
        let owners = device.owners();
        let until = owners.partition_point(|owner| owner.from_us <= time_us);
        let may_own = |owner: &&Owner| !self.is_hub(owner.user);
        owners[..until].iter().rev().find(may_own).or_else(|| owners[until..].iter().find(may_own))
    }

    fn entries_of_device<'m>(&'m self, key: &'m str, device: &'m Device) -> Vec<Entry<'m>> {
        let (source, id) = key.split_once('\0').expect("`write_key` wrote it");
        let entry = |owner: &Owner, reason| {
            let said = device.said(owner.said);
            Entry {
                source: Some(source),
                id,
                person_id: None,
                user_id: Some(self.name(owner.user)),
                from_us: None,
                until_us: None,
                said: Some((said.kind, said.time_us, &*said.event_id)),
                reason,
            }
        };
        let (hubs, owners): (Vec<&Owner>, Vec<&Owner>) =
            device.owners().iter().partition(|owner| self.is_hub(owner.user));
        let mut entries: Vec<Entry<'m>> = Vec::new();
        if device.is_shared {
            let nobodys = owners.first().map(|owner| entry(owner, Some(LinkReason::SharedDevice)));
            entries.extend(nobodys.map(|entry| Entry { user_id: None, said: None, ..entry }));
        } else {
            for owner in owners {
                let from_us = entries.last().map(|_| owner.from_us);
                // Between two stays of the same user there may have been a hub, which counts for nothing.
                if entries.last().is_some_and(|last| last.user_id == Some(self.name(owner.user))) {
                    continue;
                }
                if let Some(last) = entries.last_mut() {
                    last.until_us = from_us;
                }
                let person_id = Some(self.name(self.person(owner.user)));
                entries.push(Entry { person_id, from_us, ..entry(owner, None) });
            }
        }
        let mut told = BTreeSet::new();
        let hubs = hubs.into_iter().filter(|owner| told.insert(owner.user));
        entries.extend(hubs.map(|owner| entry(owner, Some(LinkReason::HubUser))));
        entries
    }

    fn entry_of_user(&self, user: User) -> Entry<'_> {
        let ids = &self.users[user as usize];
        Entry {
            source: None,
            id: &ids.name,
            person_id: Some(self.name(self.person(user))),
            user_id: None,
            from_us: None,
            until_us: None,
            said: None,
            reason: ids.too_many_aliases.then_some(LinkReason::TooManyAliases),
        }
    }

    /// Finds anew which users are one person.
    fn group(&mut self) {
        for user in std::mem::take(&mut self.grouped) {
            let ids = &mut self.users[user as usize];
            (ids.person, ids.too_many_aliases) = (user, false);
        }
        let mut said: Vec<(i64, &str, User, User)> = Vec::new();
        for (at, previous) in &self.aliased {
            let Some(&previous) = self.user_at.get(&**previous).filter(|user| self.is_known(**user)) else { continue };
            let aliases = self.devices[*at as usize].aliases();
            said.extend(aliases.map(|alias| (alias.time_us, &*alias.event_id, previous, alias.user)));
        }
        let names = |user: User| &self.users[user as usize].name;
        said.sort_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| (names(a.2), names(a.3)).cmp(&(names(b.2), names(b.3))))
        });
        let aliases: Vec<(User, User)> = said.into_iter().map(|(_, _, previous, user)| (previous, user)).collect();
        for group in groups(&aliases) {
            let too_many_aliases = self.rule.aliases_max < group.users.len();
            for user in group.users {
                let person = if too_many_aliases { user } else { group.person };
                let ids = &mut self.users[user as usize];
                (ids.person, ids.too_many_aliases) = (person, too_many_aliases);
                self.grouped.push(user);
            }
        }
    }

    fn user(&mut self, user_id: &str) -> User {
        if let Some(user) = self.user_at.get(user_id) {
            return *user;
        }
        let user = User::try_from(self.users.len()).expect("the map is bounded far below 2^32 links");
        let name: Arc<str> = user_id.into();
        self.users.push(UserIds { name: name.clone(), device_count: 0, person: user, too_many_aliases: false });
        self.user_at.insert(name, user);
        user
    }

    fn name(&self, user: User) -> &str {
        &self.users[user as usize].name
    }

    fn person(&self, user: User) -> User {
        self.users[user as usize].person
    }

    /// Whether a link that holds names it as a user.
    fn is_known(&self, user: User) -> bool {
        0 < self.users[user as usize].device_count
    }

    fn is_hub(&self, user: User) -> bool {
        self.rule.devices_per_user_max < self.users[user as usize].device_count
    }
}

/// No source has a zero byte in its name.
fn write_key(key: &mut String, source: &str, id: &str) {
    key.clear();
    key.push_str(source);
    key.push('\0');
    key.push_str(id);
}
