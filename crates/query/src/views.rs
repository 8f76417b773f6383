//! The views: `sessions`, `person_events`, `person_sessions`, `persons`, the live ones, and those of what went wrong at the
//! door (`open_dead_letters`, `ingestion_warnings`), in SQL.
//!
//! In:       the tables of the lake, `identity_map`, the function `person_of`.
//! Out:      one name and one query each.
//! Promise:  a person is resolved here and nowhere else; every function over people reads `person_events`.

pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

pub(crate) const ALL: &[View] = &[
    SESSIONS,
    SESSIONS_LIVE,
    PERSON_EVENTS,
    PERSON_EVENTS_LIVE,
    PERSON_SESSIONS,
    PERSON_SESSIONS_LIVE,
    PERSONS,
    OPEN_DEAD_LETTERS,
    INGESTION_WARNINGS,
];

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
    person_of(e.source, e.user_id, e.anonymous_id, e.session_key, e.event_time_us) AS person_id,
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
    person_of(s.source, s.user_id, s.anonymous_id, s.session_key, s.start_time_us) AS person_id,
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

/// Dead letters that no event came of since, by a replay (its event, a duplicate of one, or a letter of what is left of it) or
/// because its sender sent the same id again; but for duplicates, whose first copy is an event.
///
/// * `replayable`: the payload is whole and its request is known; others tell what was sent, and cannot be sent again.
const OPEN_DEAD_LETTERS: View = View {
    name: "open_dead_letters",
    sql: "
SELECT d.*,
    d.request IS NOT NULL AND d.payload IS NOT NULL AND d.source IS NOT NULL
        AND octet_length(d.payload) = CASE WHEN starts_with(d.payload, 'base64:') THEN 7 + (d.payload_bytes + 2) / 3 * 4
            ELSE d.payload_bytes END AS replayable
FROM dead_letters AS d
LEFT ANTI JOIN (
    SELECT replayed_from FROM events WHERE replayed_from IS NOT NULL
    UNION ALL SELECT replayed_from FROM dead_letters WHERE replayed_from IS NOT NULL
) AS came
    ON came.replayed_from = d.log_topic || '/' || CAST(d.log_partition AS VARCHAR) || '/' || CAST(d.log_offset AS VARCHAR)
LEFT ANTI JOIN (SELECT source, event_id FROM events) AS there ON there.source = d.source AND there.event_id = d.event_id
WHERE d.reason <> 'duplicate'",
};

/// What is not as it should be in what was sent, by source and day: what was refused, what was mended on the way in, and
/// what fits no schema; each with an event to look at.
const INGESTION_WARNINGS: View = View {
    name: "ingestion_warnings",
    sql: "
SELECT source, day, warning, event_name, count(*) AS events, max(detail) AS for_example, max(event_id) AS event_id
FROM (
    SELECT source, event_date AS day, event_name, event_id, event_date, flag AS warning, CAST(NULL AS VARCHAR) AS detail
    FROM (
        SELECT source, event_date, event_name, event_id, unnest(make_array(
            CASE WHEN flags & 2 = 2 THEN 'clamped' END,
            CASE WHEN flags & 8 = 8 THEN 'id_collision' END,
            CASE WHEN flags & 16 = 16 THEN 'junk_id' END,
            CASE WHEN flags & 32 = 32 THEN 'trimmed' END,
            CASE WHEN flags & 128 = 128 THEN 'unread_value' END)) AS flag
        FROM events WHERE flags & 186 <> 0
    ) WHERE flag IS NOT NULL
    UNION ALL
    SELECT source, day, event_name, event_id, day AS event_date,
        CASE WHEN starts_with(said, 'schema: ') THEN 'off_schema' ELSE 'other' END AS warning, said AS detail
    FROM (SELECT source, event_date AS day, event_name, event_id, unnest(warnings) AS said FROM events WHERE warnings IS NOT NULL)
    UNION ALL
    SELECT coalesce(source, '') AS source, ingest_date AS day, event_name, event_id, ingest_date AS event_date,
        'dead_letter: ' || reason AS warning, detail
    FROM dead_letters WHERE reason <> 'duplicate'
)
GROUP BY source, day, warning, event_name",
};
