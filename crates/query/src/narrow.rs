//! Rows that are seen by what the events they came of allow: sessions and links.
//!
//! In:       the rule of an access; the tables as they are.
//! Out:      one query for each such table; the rule of those whose rows tell it themselves.
//! Promise:  a link is seen if the event that said it is. A session is seen if every event of its visitor from its beginning to its end
//!           is, by the widest of its versions, and as many are there as it counts: one event that may not be seen takes all
//!           versions away, so that no older version comes to stand for the newest. What retention has taken the events of
//!           cannot show their consent, and is not seen.
//! Not here: the rule itself (`access/rows.rs`).

use crate::access::RowRule;

/// The tables there is a query for.
pub(crate) const NAMES: [&str; 3] = ["identities", "session_history", "session_history_live"];

/// The rule for a table whose rows tell their own consent; `None` for the others.
pub(crate) fn own_rule(name: &str, rule: RowRule) -> Option<RowRule> {
    match name {
        "events" | "events_live" => Some(rule),
        // A letter that could not be read may hold a consent that says no.
        "dead_letters" => Some(rule.of_unread()),
        _ => None,
    }
}

/// The rows of a table that are seen, over the tables as they are.
pub(crate) fn sql(name: &str, rule: RowRule) -> Option<String> {
    let allowed = rule.sql("e");
    match name {
        "identities" => Some(format!(
            "SELECT i.* FROM identities AS i LEFT SEMI JOIN (SELECT e.log_partition, e.log_offset FROM events AS e WHERE {allowed}) \
             AS said ON i.log_partition = said.log_partition AND i.log_offset = said.log_offset"
        )),
        "session_history" => Some(sessions("session_history", "events", &allowed)),
        "session_history_live" => Some(sessions("session_history_live", "events_live", &allowed)),
        _ => None,
    }
}

fn sessions(history: &str, events: &str, allowed: &str) -> String {
    format!(
        "SELECT h.* FROM {history} AS h LEFT SEMI JOIN (
            SELECT s.session_id FROM (
                SELECT session_id, source, session_key, min(start_time_us) AS begin_us, max(end_time_us) AS end_us,
                    max(event_count) AS events
                FROM {history} GROUP BY session_id, source, session_key
            ) AS s JOIN {events} AS e ON e.source = s.source AND e.session_key = s.session_key
                AND e.event_time_us >= s.begin_us AND e.event_time_us <= s.end_us
            GROUP BY s.session_id, s.events HAVING bool_and({allowed}) AND count(*) >= s.events
        ) AS whole ON h.session_id = whole.session_id"
    )
}
