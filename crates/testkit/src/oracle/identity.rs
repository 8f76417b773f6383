//! Persons, by going through all links for each question.
//!
//! In:       links as they were said, in any order; an event's ids.
//! Out:      whose the event is.
//! Promise:  obvious, not fast: cubic in the links, so keep it to a few dozen.
//! Not here: junk ids, which join nothing: leave them out.

use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub source: String,
    pub id: String,
    pub user: String,
    pub unlink: bool,
    pub alias: bool,
    pub time_us: i64,
    pub event_id: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub users_per_device_max: usize,
    pub devices_per_user_max: usize,
    pub aliases_max: usize,
}

/// The ids on an event, and when it was.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'t> {
    pub source: &'t str,
    pub user_id: Option<&'t str>,
    pub anonymous_id: Option<&'t str>,
    pub time_us: i64,
}

pub fn person_of(all: &[Said], bounds: Bounds, asked: Asked<'_>) -> Option<String> {
    let links = Links { links: that_hold(all), bounds };
    if let Some(user) = asked.user_id {
        return Some(links.person_of_user(asked.source, user));
    }
    let on_device = links.of_device(asked.source, asked.anonymous_id?);
    let persons: BTreeSet<String> = on_device.iter().map(|link| links.person(&link.user)).collect();
    if bounds.users_per_device_max < persons.len() {
        return None;
    }
    let before = on_device.iter().rfind(|link| link.time_us <= asked.time_us);
    before.or(on_device.first()).map(|link| links.person(&link.user))
}

/// The links that nothing said later takes back, oldest first.
fn that_hold(all: &[Said]) -> Vec<Said> {
    let place = |said: &Said| (said.time_us, said.event_id.clone(), said.unlink);
    let same = |one: &Said, other: &Said| (&one.source, &one.id, &one.user) == (&other.source, &other.id, &other.user);
    let is_taken_back =
        |link: &Said| all.iter().any(|other| other.unlink && same(link, other) && place(link) < place(other));
    let mut links: Vec<Said> = all.iter().filter(|said| !said.unlink && !is_taken_back(said)).cloned().collect();
    links.sort_by_key(|link| (place(link), link.user.clone(), link.id.clone()));
    links
}

struct Links {
    links: Vec<Said>,
    bounds: Bounds,
}

impl Links {
    fn device_count(&self, user: &str) -> usize {
        let of_user = self.links.iter().filter(|link| link.user == user);
        of_user.map(|link| (&link.source, &link.id)).collect::<BTreeSet<_>>().len()
    }

    fn is_hub(&self, user: &str) -> bool {
        self.bounds.devices_per_user_max < self.device_count(user)
    }

    fn is_known(&self, user: &str) -> bool {
        0 < self.device_count(user)
    }

    fn of_device(&self, source: &str, id: &str) -> Vec<&Said> {
        self.links.iter().filter(|link| link.source == source && link.id == id && !self.is_hub(&link.user)).collect()
    }

    /// Aliases between users.
    fn aliases(&self) -> Vec<&Said> {
        self.links.iter().filter(|link| link.alias && self.is_known(&link.id)).collect()
    }

    fn person(&self, user: &str) -> String {
        let aliases = self.aliases();
        let mut group = BTreeSet::from([user.to_owned()]);
        loop {
            let before = group.len();
            for alias in &aliases {
                if group.contains(&alias.id) || group.contains(&alias.user) {
                    group.extend([alias.id.clone(), alias.user.clone()]);
                }
            }
            if group.len() == before {
                break;
            }
        }
        if self.bounds.aliases_max < group.len() {
            return user.to_owned();
        }
        let is_left = |user: &str| aliases.iter().any(|alias| alias.id == user);
        let named: Vec<&str> =
            aliases.iter().map(|alias| alias.user.as_str()).filter(|user| group.contains(*user)).collect();
        let end = named.iter().find(|user| !is_left(user)).or(named.first());
        end.map_or_else(|| user.to_owned(), |end| (*end).to_owned())
    }

    fn person_of_user(&self, source: &str, user: &str) -> String {
        if self.is_known(user) {
            return self.person(user);
        }
        let mut of_source = self.links.iter().filter(|link| link.alias && link.source == source && link.id == user);
        match of_source.next_back() {
            Some(alias) if !self.is_hub(&alias.user) => self.person(&alias.user),
            _ => user.to_owned(),
        }
    }
}
