//! What the tables must hold, computed the slow and obvious way from what was written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use tributary_eventlog::partition_for;
use tributary_schemas::{Event, EventKind};

use crate::world::{MINUTE_US, Written};

const GAP_US: i64 = 30 * MINUTE_US;
const DAY_US: i64 = 24 * 60 * MINUTE_US;
const LATENESS_US: i64 = 60 * MINUTE_US;
const DELAY_US: i64 = MINUTE_US / 2;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// (partition, offset) to (client's event id, late, id collision).
    pub(crate) events: BTreeMap<(u32, i64), (String, bool, bool)>,
    pub(crate) duplicates: BTreeSet<(u32, i64)>,
    pub(crate) undecodable: BTreeSet<(u32, i64)>,
    pub(crate) links: BTreeSet<(u32, i64)>,
    /// (source, session key, start, end, events).
    pub(crate) sessions: BTreeSet<(String, String, i64, i64, i64)>,
}

pub(crate) fn expect(written: &[Written], partitions: u32) -> Expected {
    expect_with(written, partitions, false)
}

/// * `late_too`: whether late events are in sessions: after a repair.
pub(crate) fn expect_with(written: &[Written], partitions: u32, late_too: bool) -> Expected {
    let mut expected = Expected {
        events: BTreeMap::new(),
        duplicates: BTreeSet::new(),
        undecodable: BTreeSet::new(),
        links: BTreeSet::new(),
        sessions: BTreeSet::new(),
    };
    let mut next: HashMap<u32, i64> = HashMap::new();
    let mut taken: HashMap<(String, String), Vec<String>> = HashMap::new();
    let mut newest: HashMap<(u32, String), i64> = HashMap::new();
    let mut lines: BTreeMap<(String, String), Vec<(i64, String)>> = BTreeMap::new();
    for written in written {
        let partition = partition_for(&written.key(), partitions);
        let offset = next.entry(partition).or_default();
        let place = (partition, *offset);
        *offset += 1;
        let Written::Event(event) = written else {
            expected.undecodable.insert(place);
            continue;
        };
        // Contents differ by name in this world; a retry has the same name. Ids are remembered where
        // their partition is, so equal ids in different partitions do not meet.
        let names = taken.entry((format!("{partition}/{}", event.source), event.event_id.clone())).or_default();
        if names.contains(&event.event_name) {
            expected.duplicates.insert(place);
            continue;
        }
        let collision = !names.is_empty();
        names.push(event.event_name.clone());
        let late = judge_lateness(event, partition, &mut newest);
        expected.events.insert(place, (event.event_id.clone(), late, collision));
        if is_link(event) {
            expected.links.insert(place);
        }
        if (late_too || !late) && event.event_kind != EventKind::Send {
            // An event nobody is named on stands alone under its own (possibly derived) id: unique by place.
            let key = event.person_key().map_or_else(|| format!("alone {place:?}"), str::to_owned);
            lines.entry((event.source.clone(), key)).or_default().push((event.event_time_us, event.event_id.clone()));
        }
    }
    for ((source, key), mut events) in lines {
        events.sort();
        let mut open: Option<(i64, i64, i64)> = None;
        for (time_us, _) in events {
            open = match open {
                Some((start, end, count)) if time_us - end <= GAP_US && time_us - start <= DAY_US => {
                    Some((start, time_us, count + 1))
                }
                closed => {
                    expected.sessions.extend(closed.map(|(s, e, c)| (source.clone(), key.clone(), s, e, c)));
                    Some((time_us, time_us, 1))
                }
            };
        }
        expected.sessions.extend(open.map(|(s, e, c)| (source.clone(), key.clone(), s, e, c)));
    }
    expected
}

fn judge_lateness(event: &Event, partition: u32, newest: &mut HashMap<(u32, String), i64>) -> bool {
    if event.event_kind == EventKind::Send {
        return false;
    }
    let newest = newest.entry((partition, event.source.clone())).or_insert(i64::MIN / 2);
    let late = event.event_time_us < *newest - DELAY_US - LATENESS_US;
    *newest = event.event_time_us.max(*newest);
    late
}

fn is_link(event: &Event) -> bool {
    event.event_kind == EventKind::Identify && event.anonymous_id.is_some() && event.user_id.is_some()
}
