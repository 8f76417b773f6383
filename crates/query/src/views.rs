//! The views: `sessions`, `person_events`, `person_sessions`, `persons`, and the live ones, in SQL.
//!
//! In:       the tables of the lake, `identity_map`, the function `person_of`.
//! Out:      one name and one query each.
//! Promise:  a person is resolved here and nowhere else; every function over people reads `person_events`.

pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

pub(crate) const ALL: &[View] =
    &[SESSIONS, SESSIONS_LIVE, PERSON_EVENTS, PERSON_EVENTS_LIVE, PERSON_SESSIONS, PERSON_SESSIONS_LIVE, PERSONS];

/// The latest version of each session, without those merged away.
///
/// The newest versions are found on two narrow columns first, and the wide rows only pass by them: numbering
/// the rows of each session instead would sort the whole table. A filter on the outside narrows the wide side
/// only, so a session whose newest version moved out of the filter does not come back in an older form.
macro_rules! latest_of {
    ($history:literal) => {
        concat!(
            "
SELECT history.*
FROM ",
            $history,
            " AS history
LEFT SEMI JOIN (SELECT session_id, max(version) AS version FROM ",
            $history,
            " GROUP BY session_id) AS latest
    ON history.session_id = latest.session_id AND history.version = latest.version
WHERE history.superseded_by IS NULL"
        )
    };
}

/// Events with whose they are.
///
/// * `person_id`: see `docs/methods.md#identity`. An event that names its user is that user's, by whatever id aliases call
///   the person now; one that does not is the user's to whom its device belonged at that time; else its own ids are
///   all it is called by, written `source:id`: visitor 7 of one shop is not visitor 7 of the other.
/// * `event_time`: `event_time_us` as a timestamp, for reading and for date functions.
macro_rules! with_person {
    ($events:literal) => {
        concat!(
            "
SELECT e.*,
    person_of(e.source, e.user_id, e.anonymous_id, e.device_id, e.event_id, e.event_time_us) AS person_id,
    to_timestamp_micros(e.event_time_us) AS event_time
FROM ",
            $events,
            " AS e"
        )
    };
}

/// Sessions with whose they are: the user a session names, else whose its device was when it began. A session nobody is
/// known of is called by its key, as its events are.
macro_rules! sessions_with_person {
    ($history:literal) => {
        concat!(
            "
SELECT s.*,
    person_of(s.source, s.user_id, s.anonymous_id, NULL, s.session_key, s.start_time_us) AS person_id,
    to_timestamp_micros(s.start_time_us) AS start_time
FROM (",
            latest_of!($history),
            ") AS s"
        )
    };
}

const SESSIONS: View = View { name: "sessions", sql: latest_of!("session_history") };

const SESSIONS_LIVE: View = View { name: "sessions_live", sql: latest_of!("session_history_live") };

const PERSON_EVENTS: View = View { name: "person_events", sql: with_person!("events") };

/// The links are those that are committed: who logged in this second is known by the user id on the events since.
const PERSON_EVENTS_LIVE: View = View { name: "person_events_live", sql: with_person!("events_live") };

const PERSON_SESSIONS: View = View { name: "person_sessions", sql: sessions_with_person!("session_history") };

const PERSON_SESSIONS_LIVE: View =
    View { name: "person_sessions_live", sql: sessions_with_person!("session_history_live") };

/// The persons that links speak of, with how many ids each has.
const PERSONS: View = View {
    name: "persons",
    sql: "
SELECT person_id,
    count(DISTINCT source || ':' || id) FILTER (WHERE id_kind = 'anonymous') AS anonymous_ids,
    greatest(count(DISTINCT id) FILTER (WHERE id_kind = 'user'), 1) AS user_ids,
    min(said_time_us) AS first_said_time_us,
    max(said_time_us) AS last_said_time_us
FROM identity_map
WHERE person_id IS NOT NULL
GROUP BY person_id",
};
