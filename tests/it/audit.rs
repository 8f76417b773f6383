//! The books: what the lake must hold, given what the door acknowledged.
//!
//! In:      a server that has taken in its whole log; the ledger of the loader.
//! Out:     a failure with the first few rows that are wrong.
//! Promise: knows sessions only by their batch definition, `testkit::oracle::session`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Map, Value};
use tributary_analytics::session::{SessionId, SessionKey};
use tributary_schemas::{EventFlags, EventKind};
use tributary_testkit::oracle::session::{Event, Rule, Session, late_flags, sessions_of};

use crate::load::Ledger;
use crate::server::{Home, Server, TRUSTED_SOURCE};

/// One row of `events`, as far as the books go.
struct Row {
    event: Event,
    partition: i64,
    is_late: bool,
}

/// What was found to be right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) events: usize,
    pub(crate) late: usize,
    pub(crate) sessions: usize,
}

/// What the books may say of events that came too late for their sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// No repair ran: they are in no session.
    LeftOut,
    /// Repairs run: whoever had one may have the session with it or without it, and is left out of the comparison.
    Repairing,
    /// Repairs must have run: they are in their sessions.
    Repaired,
}

/// Every acknowledged event is there once, no other than sent ones are there, each record of the log became one
/// row, and `sessions` is what the batch definition makes of `events`.
pub(crate) async fn all_is_well(server: &Server<'_>, ledger: &Ledger) {
    match look(server, ledger, Late::LeftOut).await {
        Ok(Found { events, late, sessions }) => {
            eprintln!("{events} events, {late} of them late, in {sessions} sessions")
        }
        Err(fault) => panic!("{fault:#}"),
    }
}

/// Brings all the log holds into the tables and audits them; returns the server that was started for it.
pub(crate) async fn made_whole<'h>(home: &'h Home, server: Server<'h>, ledger: &Ledger) -> Server<'h> {
    let acknowledged = i64::try_from(ledger.acknowledged.len()).unwrap();
    server.wait_until_at_least("SELECT count(*) FROM events", acknowledged).await;
    // Events that were written but never acknowledged come after: a stop takes in all the log holds.
    assert!(server.stop().await.success());
    let server = home.start().await;
    all_is_well(&server, ledger).await;
    server
}

/// Looks again and again until the books balance: where nobody says that the last record is in the tables. A row too many
/// never goes away, so it is found all the same.
pub(crate) async fn until_all_is_well(server: &Server<'_>, ledger: &Ledger, late: Late, patience: Duration) -> Found {
    let deadline = Instant::now() + patience;
    loop {
        match look(server, ledger, late).await {
            Ok(found) => return found,
            Err(fault) => assert!(Instant::now() < deadline, "not well after {patience:?}: {fault:#}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn look(server: &Server<'_>, ledger: &Ledger, late: Late) -> anyhow::Result<Found> {
    let rows = event_rows(server).await;
    acknowledged_once(&rows, ledger)?;
    each_record_became_one_row(server, &rows).await?;
    sessions_are_those_of_the_batch_definition(server, &rows, late).await
}

async fn event_rows(server: &Server<'_>) -> Vec<Row> {
    let rows = server
        .sql(
            "SELECT source, session_key, event_id, event_time_us, ingest_time_us, event_kind, flags, log_partition, \
             log_offset FROM events ORDER BY log_partition, log_offset",
        )
        .await;
    rows.iter()
        .map(|row| {
            let mut event = Event::new(
                text(row, "source"),
                text(row, "session_key"),
                text(row, "event_id"),
                int(row, "event_time_us"),
                int(row, "log_offset"),
            );
            event.ingest_time_us = int(row, "ingest_time_us");
            event.kind = EventKind::parse(text(row, "event_kind")).unwrap();
            let is_late = EventFlags(int(row, "flags")).has(EventFlags::LATE);
            Row { event, partition: int(row, "log_partition"), is_late }
        })
        .collect()
}

fn acknowledged_once(rows: &[Row], ledger: &Ledger) -> anyhow::Result<()> {
    let mut found: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in rows {
        ensure!(row.event.source == TRUSTED_SOURCE, "a row of source {}", row.event.source);
        let first = found.insert(&row.event.event_id, row);
        ensure!(first.is_none(), "{} is in `events` twice", row.event.event_id);
        let (sent, time_us) = (ledger.sent.get(&row.event.event_id), row.event.time_us);
        ensure!(sent == Some(&time_us), "{}: sent with the time {sent:?}, not {time_us}", row.event.event_id);
    }
    let lost: Vec<&String> = ledger.acknowledged.iter().filter(|id| !found.contains_key(id.as_str())).collect();
    ensure!(
        lost.is_empty(),
        "{} of {} acknowledged events are lost, first {:?}",
        lost.len(),
        ledger.acknowledged.len(),
        &lost[..lost.len().min(5)]
    );
    Ok(())
}

/// (log_partition, log_offset) names one row, and none is missing: what is not in `events` is in `dead_letters`.
async fn each_record_became_one_row(server: &Server<'_>, rows: &[Row]) -> anyhow::Result<()> {
    let mut positions: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let doubles = server.sql("SELECT log_partition, log_offset FROM dead_letters WHERE reason = 'duplicate'").await;
    let of_doubles = doubles.iter().map(|row| (int(row, "log_partition"), int(row, "log_offset")));
    for (partition, offset) in rows.iter().map(|row| (row.partition, row.event.offset)).chain(of_doubles) {
        ensure!(
            positions.entry(partition).or_default().insert(offset),
            "record {offset} of partition {partition} became two rows"
        );
    }
    let others = server.number("SELECT count(*) FROM dead_letters WHERE reason <> 'duplicate'").await;
    ensure!(others == 0, "{others} events of the loader could not be read");
    // Both logs give every offset to a record here: Kafka leaves holes only for transactions, which nobody uses.
    for (partition, offsets) in positions {
        let count = i64::try_from(offsets.len()).unwrap();
        let last = offsets.last().copied().unwrap();
        let first = offsets.first().copied();
        ensure!(
            first == Some(0) && last + 1 == count,
            "partition {partition} has holes: {count} in {first:?}..={last}"
        );
    }
    Ok(())
}

async fn sessions_are_those_of_the_batch_definition(
    server: &Server<'_>,
    rows: &[Row],
    late: Late,
) -> anyhow::Result<Found> {
    let mut by_partition: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_partition.entry(row.partition).or_default().push(row);
    }
    let mut expected: Vec<Session> = Vec::new();
    let mut late_count = 0;
    for rows in by_partition.values() {
        let events: Vec<Event> = rows.iter().map(|row| row.event.clone()).collect();
        let flags = late_flags(&Rule::GA4, &events);
        for (row, &is_late) in rows.iter().zip(&flags) {
            ensure!(row.is_late == is_late, "{}: flagged late: {}", row.event.event_id, row.is_late);
            late_count += usize::from(is_late);
        }
        let left_out = if late == Late::Repaired { vec![false; flags.len()] } else { flags };
        expected.extend(sessions_of(&Rule::GA4, &events, &left_out));
    }
    // All rows have one source, so a key names a line.
    let unsettled = rows.iter().filter(|row| late == Late::Repairing && row.is_late);
    let unsettled: BTreeSet<&str> = unsettled.map(|row| row.event.session_key.as_str()).collect();
    expected.retain(|session| !unsettled.contains(session.session_key.as_str()));
    let mut expected: Vec<String> = expected.iter().map(expected_line).collect();
    expected.sort();

    let found = server
        .sql(
            "SELECT session_id, source, session_key, start_time_us, end_time_us, event_count, page_count, \
             conversion_count, first_offset, last_offset FROM sessions",
        )
        .await;
    let session_count = found.len();
    let settled = found.iter().filter(|row| !unsettled.contains(text(row, "session_key")));
    let mut found: Vec<String> = settled.map(found_line).collect();
    found.sort();
    if found != expected {
        let missing: Vec<_> = expected.iter().filter(|line| found.binary_search(line).is_err()).take(5).collect();
        let extra: Vec<_> = found.iter().filter(|line| expected.binary_search(line).is_err()).take(5).collect();
        bail!(
            "`sessions` has {} rows, the batch definition {}\nmissing: {missing:#?}\nextra: {extra:#?}",
            found.len(),
            expected.len()
        );
    }
    Ok(Found { events: rows.len(), late: late_count, sessions: session_count })
}

fn expected_line(session: &Session) -> String {
    let key = SessionKey { source: &session.source, session_key: &session.session_key };
    let id = SessionId::of(key, &session.first_event_id, session.start_time_us);
    format!(
        "{} {} {} {}..{} events {} pages {} conversions {} offsets {}..{}",
        session.source,
        session.session_key,
        id,
        session.start_time_us,
        session.end_time_us,
        session.event_count,
        session.page_count,
        session.conversion_count,
        session.first_offset,
        session.last_offset,
    )
}

fn found_line(row: &Map<String, Value>) -> String {
    format!(
        "{} {} {} {}..{} events {} pages {} conversions {} offsets {}..{}",
        text(row, "source"),
        text(row, "session_key"),
        text(row, "session_id"),
        int(row, "start_time_us"),
        int(row, "end_time_us"),
        int(row, "event_count"),
        int(row, "page_count"),
        int(row, "conversion_count"),
        int(row, "first_offset"),
        int(row, "last_offset"),
    )
}

fn text<'r>(row: &'r Map<String, Value>, name: &str) -> &'r str {
    row.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name} in {row:?}"))
}

fn int(row: &Map<String, Value>, name: &str) -> i64 {
    row.get(name).and_then(Value::as_i64).unwrap_or_else(|| panic!("no {name} in {row:?}"))
}
