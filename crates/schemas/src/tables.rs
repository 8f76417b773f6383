//! The tables of the lake: their columns, partitioning and order.
//!
//! In:      the column tables of the shapes.
//! Out:     `Table`: Arrow schema, partition columns, statistics columns.
//! Promise: the lake creates what stands here and nothing else; `docs/event.md` is printed from here.

use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;

use crate::columns::{Column, ColumnKind as K, Personal as P, Purpose as U, optional, required};
use crate::event::{EVENT_COLUMNS, dead_letter_columns};

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Events,
    Sessions,
    Identities,
    DeadLetters,
}

const DATE_OF_EVENT: Column =
    required("event_date", K::Date, U::Time, P::No, "UTC day", "Day of `event_time_us`: the partition.");
const SESSION_KEY: Column = required(
    "session_key",
    K::Text,
    U::Identity,
    P::Pseudonymous,
    "",
    "Whose sessions it counts to within its source: anonymous id, else user id, else device id, else the event's own id.",
);
const LOG_PARTITION: Column =
    required("log_partition", K::SmallInt, U::Audit, P::No, "", "Partition of the log it came from.");
const LOG_OFFSET: Column =
    required("log_offset", K::Int, U::Audit, P::No, "", "Its offset there; with `log_partition` it names the row.");

/// What the pipeline adds to an event on its way into the lake.
const EVENT_LAKE_COLUMNS: &[Column] = &[
    SESSION_KEY,
    required(
        "content_hash",
        K::Int,
        U::Quality,
        P::Pseudonymous,
        "",
        "Hash of what it says, without times of sending and receipt: tells a retry from another event with the same id.",
    ),
    LOG_PARTITION,
    LOG_OFFSET,
    optional(
        "browser_version",
        K::Text,
        U::Context,
        P::No,
        "",
        "Version of `browser`, as far as `user_agent` says it.",
    ),
    optional("os_version", K::Text, U::Context, P::No, "", "Version of `os`, as far as `user_agent` says it."),
    optional(
        "engagement_class_received",
        K::Text,
        U::Quality,
        P::No,
        "",
        "What the door said, where enrichment made `engagement_class` more specific.",
    ),
    optional(
        "value_reporting",
        K::Money,
        U::Measure,
        P::No,
        "units of `reporting_currency`",
        "`value` in the reporting currency of the settings; null where there is no rate.",
    ),
    optional("reporting_currency", K::Text, U::Measure, P::No, "ISO 4217 code", "The currency of `value_reporting`."),
    optional("rate_date", K::Date, U::Audit, P::No, "UTC day", "Day of the rate behind `value_reporting`."),
    optional(
        "enriched",
        K::Int,
        U::Audit,
        P::No,
        "bit mask: 1 channel, 2 browser, 4 os, 8 device_class, 16 referrer_medium, 32 referrer_source, 64 no_rate",
        "Which columns enrichment filled; in the others stands what the sender said. no_rate: there is a value, and no rate for it.",
    ),
    optional(
        "enrichment",
        K::Text,
        U::Audit,
        P::No,
        "",
        "Version of the rules it was enriched by: number of the code, hash of lists and rules.",
    ),
    DATE_OF_EVENT,
];

pub(crate) const DEAD_LETTER_LAKE_COLUMNS: &[Column] = &[
    required("log_topic", K::Text, U::Audit, P::No, "", "Topic of the log it came from."),
    LOG_PARTITION,
    LOG_OFFSET,
    required("ingest_date", K::Date, U::Time, P::No, "UTC day", "Day of `ingest_time_us`: the partition."),
];

const IDENTITY_COLUMNS: &[Column] = &[
    required("source", K::Text, U::Identity, P::No, "", "The source that said so."),
    required(
        "anonymous_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "The device's id (or the previous id of an alias).",
    ),
    required("user_id", K::Text, U::Identity, P::Yes, "", "The person it belongs to."),
    required("action", K::Text, U::Identity, P::No, "", "`link`, or `unlink` which takes an earlier link back."),
    required("event_id", K::Text, U::Audit, P::Pseudonymous, "", "The event that said so."),
    required("event_time_us", K::Int, U::Time, P::No, "microseconds since 1970, UTC", "When."),
    LOG_PARTITION,
    LOG_OFFSET,
    optional("kind", K::Text, U::Identity, P::No, "", "How it was said: identify, login, alias or unlink."),
    optional(
        "reason",
        K::Text,
        U::Quality,
        P::No,
        "",
        "Why it joins nobody: junk_id, where either id is a placeholder; absent where it counts.",
    ),
    optional("ingest_time_us", K::Int, U::Time, P::No, "microseconds since 1970, UTC", "When the door received it."),
];

const SESSION_COLUMNS: &[Column] = &[
    required(
        "session_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "Hash of source, session key and first event: the same in every replay.",
    ),
    required(
        "version",
        K::Int,
        U::Audit,
        P::No,
        "log offset",
        "The log position this version of the row was derived at; the highest is the truth.",
    ),
    optional(
        "superseded_by",
        K::Text,
        U::Audit,
        P::Pseudonymous,
        "",
        "The session this one was merged into or re-cut as; such a row is a tombstone and the view `sessions` leaves it out.",
    ),
    required("source", K::Text, U::Identity, P::No, "", "The source of its events."),
    SESSION_KEY,
    optional("anonymous_id", K::Text, U::Identity, P::Pseudonymous, "", "The device's id."),
    optional("user_id", K::Text, U::Identity, P::Yes, "", "The last user id seen in it."),
    optional("account_id", K::Text, U::Identity, P::Pseudonymous, "", "The last account id seen in it."),
    required("start_time_us", K::Int, U::Time, P::No, "microseconds since 1970, UTC", "Time of its first event."),
    required("end_time_us", K::Int, U::Time, P::No, "microseconds since 1970, UTC", "Time of its last event."),
    required("duration_us", K::Int, U::Time, P::No, "microseconds", "`end_time_us` - `start_time_us`."),
    required(
        "engaged_us",
        K::Int,
        U::Measure,
        P::No,
        "microseconds",
        "Sum of the steps from each event of it to the next, each counted to at most 5 minutes.",
    ),
    required("event_count", K::Int, U::Measure, P::No, "events", "All events in it."),
    required("page_count", K::Int, U::Measure, P::No, "events", "Page views in it."),
    required("conversion_count", K::Int, U::Measure, P::No, "events", "Conversions in it."),
    required("is_bounce", K::Bool, U::Measure, P::No, "", "One page view and nothing else a person did."),
    optional(
        "value_by_currency",
        K::ValueByCurrency,
        U::Measure,
        P::No,
        "units of the currency",
        "Value of its conversions, by currency.",
    ),
    optional("entry_host", K::Text, U::Context, P::No, "", "Host of its first page."),
    optional("entry_path", K::Text, U::Context, P::No, "", "Path of its first page."),
    optional("exit_path", K::Text, U::Context, P::No, "", "Path of its last page."),
    optional("first_channel", K::Text, U::Attribution, P::No, "", "Channel of the first event that names one."),
    optional("first_campaign_id", K::Text, U::Attribution, P::No, "", "Campaign of that event."),
    optional("first_utm_source", K::Text, U::Attribution, P::No, "", "utm_source of that event."),
    optional("first_utm_medium", K::Text, U::Attribution, P::No, "", "utm_medium of that event."),
    optional(
        "first_referrer_host",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "Referring host of the first event that has one.",
    ),
    optional("first_click_id", K::Text, U::Attribution, P::Pseudonymous, "", "The first ad click id, written kind:id."),
    optional("last_channel", K::Text, U::Attribution, P::No, "", "Channel of the last event that names one."),
    optional("last_campaign_id", K::Text, U::Attribution, P::No, "", "Campaign of that event."),
    optional("last_utm_source", K::Text, U::Attribution, P::No, "", "utm_source of that event."),
    optional("last_utm_medium", K::Text, U::Attribution, P::No, "", "utm_medium of that event."),
    optional(
        "last_referrer_host",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "Referring host of the last event that has one.",
    ),
    optional("last_click_id", K::Text, U::Attribution, P::Pseudonymous, "", "The last ad click id, written kind:id."),
    optional("device_class", K::Text, U::Context, P::No, "", "First device class seen."),
    optional("country", K::Text, U::Context, P::No, "", "First country seen."),
    optional(
        "exposures",
        K::Exposures,
        U::Experiment,
        P::No,
        "",
        "Distinct variants shown in it, in order of first sight.",
    ),
    required(
        "engagement_class",
        K::Text,
        U::Quality,
        P::No,
        "",
        "human if any event in it is; else unknown if any is; else the class seen most.",
    ),
    required("rule", K::Text, U::Audit, P::No, "", "The session rule it was cut by, with its numbers."),
    LOG_PARTITION,
    required(
        "first_offset",
        K::Int,
        U::Audit,
        P::No,
        "log offset",
        "Lowest offset among its events: where a rebuild must begin.",
    ),
    required("last_offset", K::Int, U::Audit, P::No, "log offset", "Highest offset among its events."),
    optional("exit_host", K::Text, U::Context, P::No, "", "Host of its last page."),
    optional("browser", K::Text, U::Context, P::No, "", "First browser seen."),
    optional("os", K::Text, U::Context, P::No, "", "First operating system seen."),
    optional("region", K::Text, U::Context, P::No, "", "First region seen."),
    optional("first_utm_term", K::Text, U::Attribution, P::No, "", "utm_term of the event of `first_channel`."),
    optional("first_creative_id", K::Text, U::Attribution, P::No, "", "Creative of that event."),
    optional("first_ad_id", K::Text, U::Attribution, P::No, "", "Ad of that event."),
    optional("first_message_id", K::Text, U::Attribution, P::Pseudonymous, "", "Message of that event."),
    optional(
        "first_referrer_medium",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "Kind of site of the event of `first_referrer_host`.",
    ),
    optional("first_referrer_source", K::Text, U::Attribution, P::No, "", "Name of that site."),
    optional("last_utm_term", K::Text, U::Attribution, P::No, "", "utm_term of the event of `last_channel`."),
    optional("last_creative_id", K::Text, U::Attribution, P::No, "", "Creative of that event."),
    optional("last_ad_id", K::Text, U::Attribution, P::No, "", "Ad of that event."),
    optional("last_message_id", K::Text, U::Attribution, P::Pseudonymous, "", "Message of that event."),
    optional(
        "last_referrer_medium",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "Kind of site of the event of `last_referrer_host`.",
    ),
    optional("last_referrer_source", K::Text, U::Attribution, P::No, "", "Name of that site."),
    // The two may be null, so that a lake made before they were there is refused for its session rule, with what to do, and
    // not for its columns.
    optional(
        "is_final",
        K::Bool,
        U::Quality,
        P::No,
        "",
        "No event in time could change it any more when this version was written. Most are written before that, and not again when it comes true.",
    ),
    optional(
        "late_event_count",
        K::Int,
        U::Quality,
        P::No,
        "events",
        "Events in it that came too late for the stream and were put in by a repair.",
    ),
    optional("first_utm_campaign", K::Text, U::Attribution, P::No, "", "utm_campaign of the event of `first_channel`."),
    optional("last_utm_campaign", K::Text, U::Attribution, P::No, "", "utm_campaign of the event of `last_channel`."),
    required("start_date", K::Date, U::Time, P::No, "UTC day", "Day of `start_time_us`: the partition."),
];

impl Table {
    pub const ALL: &[Self] = &[Self::Events, Self::Sessions, Self::Identities, Self::DeadLetters];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Sessions => "sessions",
            Self::Identities => "identities",
            Self::DeadLetters => "dead_letters",
        }
    }

    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Events => "Everything accepted, once, as it came. Append-only.",
            Self::Sessions => {
                "Versions of sessions; the SQL view `sessions` shows the latest, `session_history` those that compaction has left."
            }
            Self::Identities => "Which device belongs to which person, as it was said. Append-only.",
            Self::DeadLetters => {
                "What could not become an event, and duplicates, with the reason, in the shape of `events`: what could be read stands in the columns of the same names. Append-only."
            }
        }
    }

    /// Its columns in order; partition columns last, as Delta writers like them.
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Events => [EVENT_COLUMNS, EVENT_LAKE_COLUMNS].concat(),
            Self::Sessions => SESSION_COLUMNS.to_vec(),
            Self::Identities => IDENTITY_COLUMNS.to_vec(),
            Self::DeadLetters => [dead_letter_columns(), DEAD_LETTER_LAKE_COLUMNS].concat(),
        }
    }

    pub fn partition_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["event_date"],
            Self::Sessions => &["start_date"],
            Self::Identities => &[],
            Self::DeadLetters => &["ingest_date"],
        }
    }

    /// The columns whose smallest and largest values are kept for skipping files. Few: each costs
    /// bytes in every commit.
    pub fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["event_time_us", "ingest_time_us", "session_key", "log_partition", "log_offset"],
            Self::Sessions => &["start_time_us", "session_key", "log_partition", "version"],
            Self::Identities => &["anonymous_id", "log_partition", "log_offset"],
            Self::DeadLetters => &["ingest_time_us", "log_partition", "log_offset"],
        }
    }

    /// The order of rows in a compacted file: all of one person together, in time. Each is a statistics column and never
    /// null, so that readers can tell which files follow one another.
    pub fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["session_key", "event_time_us", "log_partition", "log_offset"],
            Self::Sessions => &["session_key", "start_time_us", "version"],
            Self::Identities => &["anonymous_id", "log_partition", "log_offset"],
            Self::DeadLetters => &["ingest_time_us", "log_partition", "log_offset"],
        }
    }

    /// Whether rows may only be added: Delta then refuses deletes.
    pub const fn append_only(self) -> bool {
        !matches!(self, Self::Sessions)
    }

    pub fn arrow_schema(self) -> SchemaRef {
        arrow_schema(&self.columns())
    }
}

pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<Field>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_can_be_told_apart_by_what_they_are_sorted_by() {
        for table in Table::ALL {
            let columns = table.columns();
            for name in table.sort_columns() {
                assert!(table.statistics_columns().contains(name), "{}: {name} has no statistics", table.name());
                assert!(
                    columns.iter().any(|column| column.name == *name && !column.nullable),
                    "{}: {name}",
                    table.name()
                );
            }
        }
    }
}
