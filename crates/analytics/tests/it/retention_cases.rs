//! Users of the reference data with their rows, for tests of retention and activity.

use std::collections::BTreeMap;

use crate::fixtures::Reference;

/// A row of the reference data.
pub(crate) struct Event {
    pub(crate) time_us: i64,
    pub(crate) is_signup: bool,
    pub(crate) is_purchase: bool,
    pub(crate) value_micros: i64,
}

/// The rows of each user in time order.
pub(crate) fn events_by_user(reference: &Reference) -> BTreeMap<String, Vec<Event>> {
    let mut users: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    let packed = reference.find_part("events_by_user.csv");
    let is_packed = packed.is_some();
    let (mut user, mut time_s) = (String::new(), 0);
    for record in packed.unwrap_or_else(|| reference.get("events.csv")) {
        if is_packed {
            // A user's first row has their name and the time, the others the time since the one before.
            if record.text("user_id").is_empty() {
                time_s += record.integer("ts");
            } else {
                user = record.text("user_id").to_owned();
                time_s = record.integer("ts");
            }
        } else {
            user = record.text("user_id").to_owned();
            time_s = record.integer("ts");
        }
        let event = record.text("event");
        let value_micros = micros(record.text("revenue"));
        users.entry(user.clone()).or_default().push(Event {
            time_us: time_s * 1_000_000,
            is_signup: event == "signup",
            is_purchase: event == "purchase",
            value_micros,
        });
    }
    users.values_mut().for_each(|events| events.sort_by_key(|event| event.time_us));
    users
}

/// A decimal number in whole millionths; nothing is nought.
pub(crate) fn micros(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("0{whole}{fraction:0<6}").parse().unwrap()
}

pub(crate) fn references() -> Vec<Reference> {
    Reference::all("sessions_retention")
}
