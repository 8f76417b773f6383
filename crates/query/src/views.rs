//! The views: `sessions` and `person_events`, in SQL.
//!
//! In:       the tables of the lake.
//! Out:      one name and one query each.
//! Promise:  a person is resolved here and nowhere else; every function over people reads `person_events`.

pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

pub(crate) const ALL: &[View] = &[SESSIONS, PERSON_EVENTS];

/// The latest version of each session, without those merged away.
///
/// The newest versions are found on two narrow columns first, and the wide rows only pass by them: numbering
/// the rows of each session instead would sort the whole table. A filter on the outside narrows the wide side
/// only, so a session whose newest version moved out of the filter does not come back in an older form.
const SESSIONS: View = View {
    name: "sessions",
    sql: "
SELECT history.*
FROM session_history AS history
LEFT SEMI JOIN (SELECT session_id, max(version) AS version FROM session_history GROUP BY session_id) AS latest
    ON history.session_id = latest.session_id AND history.version = latest.version
WHERE history.superseded_by IS NULL",
};

/// Events with whose they are.
///
/// * `person_id`: the event's own user id, else its anonymous id; either replaced by the person it is linked to;
///   else its device id; else the event's own id. A device's links say who used it *without* saying so: an event
///   that names its user is that user's, though another person logged in on the device since.
/// * User ids mean the same person in every source. The other ids are one source's own, so they are written
///   `source:id`: visitor 7 of one shop is not visitor 7 of the other.
/// * A link holds until it is taken back; of several that hold, the latest said counts. A link to an id that is
///   itself linked (an alias) is followed one step further.
/// * `event_time`: `event_time_us` as a timestamp, for reading and for date functions.
const PERSON_EVENTS: View = View {
    name: "person_events",
    sql: "
WITH said AS (
    SELECT source, anonymous_id, user_id,
        last_value(action ORDER BY event_time_us, log_partition, log_offset) AS action,
        max(event_time_us) AS event_time_us,
        last_value(log_offset ORDER BY event_time_us, log_partition, log_offset) AS log_offset
    FROM identities
    GROUP BY source, anonymous_id, user_id
), link AS (
    SELECT source, anonymous_id, last_value(user_id ORDER BY event_time_us, log_offset, user_id) AS user_id
    FROM said
    WHERE action = 'link'
    GROUP BY source, anonymous_id
), person AS (
    SELECT link.source, link.anonymous_id AS id, coalesce(alias.user_id, link.user_id) AS person_id
    FROM link
    LEFT JOIN link AS alias ON alias.source = link.source AND alias.anonymous_id = link.user_id
)
SELECT e.*,
    coalesce(person.person_id, e.user_id, e.source || ':' || coalesce(e.anonymous_id, e.device_id, e.event_id))
        AS person_id,
    to_timestamp_micros(e.event_time_us) AS event_time
FROM events AS e
LEFT JOIN person ON person.source = e.source AND person.id = coalesce(e.user_id, e.anonymous_id)",
};
