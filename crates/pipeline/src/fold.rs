//! Records of one partition become rows: decoded, deduplicated, flagged, put into sessions.
//!
//! In:      record values in log order.
//! Out:     rows for `events`, `identities` and `dead_letters`, kept until the next commit; session state.
//! Promise: what comes out depends on the log's prefix only, not on how it was cut into batches.
//! Not here: I/O; when a commit happens (`job`), and in which order tables move (`commit`).

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, new_null_array,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tributary_analytics::session::{Observed, Sessionizer};
use tributary_eventlog::Delivered;
use tributary_schemas::wire::{BATCH_ROWS_MAX, Shape, WireDecoder};
use tributary_schemas::{DeadReason, EventFlags, Exposure, Table};
use xxhash_rust::xxh3::xxh3_64;

use crate::columns::{array, day_of, in_calendar, int, int_at, keep_rows, money, text, text_at};
use crate::dedup::{RecentIds, Verdict, derived_id, id_hash, is_derived};
use crate::enrich::{self, Enrichment};
use crate::identity_rows::identities_of;
use crate::pending::Pending;
use crate::session_rows;
use crate::tail::Tail;

/// How many of each thing were met since the last commit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub kept: u64,
    pub late: u64,
    pub duplicates: u64,
    pub collisions: u64,
    pub undecodable: u64,
    /// Amounts kept without their value in the reporting currency.
    pub without_rate: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.read += other.read;
        self.kept += other.kept;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.collisions += other.collisions;
        self.undecodable += other.undecodable;
        self.without_rate += other.without_rate;
    }
}

/// One partition of the events topic, between two commits.
pub(crate) struct EventsPartition {
    pub(crate) partition: u32,
    topic: String,
    decoder: WireDecoder,
    pub(crate) ids: RecentIds,
    pub(crate) sessions: Sessionizer,
    pub(crate) enrich: Enrichment,
    /// The log position after everything folded in so far.
    pub(crate) position: u64,
    /// The last record folded in; `None` before the first of this life.
    pub(crate) tail: Option<Tail>,
    pub(crate) events: Pending,
    pub(crate) identities: Pending,
    pub(crate) dead_letters: Pending,
    pub(crate) counts: Counts,
    /// Records folded since state was last written.
    pub(crate) records_since_state: u64,
    /// A watermark was raised without an event: `events` must know before the next one is folded.
    pub(crate) was_advanced: bool,
    /// Whether there may be late events that no repair has looked at.
    pub(crate) wants_repair: bool,
}

impl EventsPartition {
    pub(crate) fn new(partition: u32, topic: &str, position: u64, ids: RecentIds, sessions: Sessionizer) -> Self {
        Self {
            partition,
            topic: topic.to_owned(),
            decoder: WireDecoder::new(Shape::Event),
            ids,
            sessions,
            enrich: Enrichment::new(Arc::default()),
            position,
            tail: None,
            events: Pending::default(),
            identities: Pending::default(),
            dead_letters: Pending::default(),
            counts: Counts::default(),
            records_since_state: 0,
            was_advanced: false,
            wants_repair: true,
        }
    }

    pub(crate) fn pending_rows(&self) -> usize {
        self.events.rows() + self.dead_letters.rows()
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.events.bytes() + self.identities.bytes() + self.dead_letters.bytes()
    }

    /// Folds a run of records of this partition, ascending by offset, at or after `position`.
    pub(crate) fn fold(&mut self, records: &[Delivered]) {
        for run in records.chunks(BATCH_ROWS_MAX) {
            self.fold_run(run);
        }
    }

    fn fold_run(&mut self, run: &[Delivered]) {
        let Some(last) = run.last() else { return };
        debug_assert!(run[0].offset >= self.position, "the log gives each offset once");
        self.position = last.offset + 1;
        self.tail = Some(Tail::of(last));
        self.counts.read += run.len() as u64;
        self.records_since_state += run.len() as u64;

        let values: Vec<&[u8]> = run.iter().map(|delivered| delivered.record.value.as_ref()).collect();
        let decoded = self.decoder.decode(&values);
        let batch = with_times_in_calendar(decoded.batch, &["event_time_us", "ingest_time_us"]);
        let mut dead = DeadRows::default();
        let mut refused = decoded.refused.into_iter().peekable();
        let mut offsets = Vec::with_capacity(batch.num_rows());
        for (index, delivered) in run.iter().enumerate() {
            if let Some((_, error)) = refused.next_if(|(bad, _)| *bad == index) {
                self.counts.undecodable += 1;
                let hex = hex(&delivered.record.value);
                dead.push(DeadRow {
                    source: None,
                    event_id: None,
                    ingest_time_us: in_calendar(delivered.record.time_ms.saturating_mul(1_000)),
                    reason: DeadReason::Undecodable,
                    detail: with_sources(&error),
                    payload: Some(hex),
                    payload_bytes: delivered.record.value.len(),
                    replayed_from: None,
                    offset: delivered.offset,
                });
            } else {
                offsets.push(delivered.offset);
            }
        }

        let kept = self.judge(&batch, &offsets, &mut dead);
        if kept.num_rows() > 0 {
            if let Some(links) = identities_of(&kept) {
                self.identities.push(links);
            }
            self.counts.kept += kept.num_rows() as u64;
            self.events.push(kept);
        }
        if !dead.is_empty() {
            self.dead_letters.push(dead.into_batch(&self.topic, self.partition));
        }
    }

    /// Deduplicates, completes and sessionizes; returns the rows of the table `events`.
    fn judge(&mut self, batch: &RecordBatch, offsets: &[u64], dead: &mut DeadRows) -> RecordBatch {
        let rows = batch.num_rows();
        let (sources, event_ids) = (text(batch, "source"), text(batch, "event_id"));
        let ingest_times = int(batch, "ingest_time_us");
        let replayed_from = text(batch, "replayed_from");
        let mut hasher = ContentHasher::new(batch);

        let mut keep = vec![true; rows];
        let mut hashes = Vec::with_capacity(rows);
        let mut renamed: Vec<(usize, String)> = Vec::new();
        for row in 0..rows {
            let (source, event_id) = (sources.value(row), event_ids.value(row));
            let ingest_time_us = ingest_times.value(row);
            let content_hash = hasher.hash(row);
            hashes.push(content_hash);
            // Its content may have been kept under an id of its own while another event had this one, which since has
            // been forgotten.
            let kept_under_own_id = self.ids.has_derived() && {
                let own_id = derived_id(event_id, content_hash);
                self.ids.knows(id_hash(source, &own_id), content_hash, ingest_time_us)
            };
            let mut verdict = match kept_under_own_id {
                true => Verdict::Duplicate,
                false => self.ids.observe(id_hash(source, event_id), content_hash, ingest_time_us),
            };
            if verdict == Verdict::Collision {
                let own_id = derived_id(event_id, content_hash);
                verdict = self.ids.observe(id_hash(source, &own_id), content_hash, ingest_time_us);
                self.ids.note_derived(ingest_time_us);
                if verdict == Verdict::New {
                    self.counts.collisions += 1;
                    renamed.push((row, own_id));
                }
            }
            if verdict != Verdict::New {
                keep[row] = false;
                self.counts.duplicates += 1;
                dead.push(DeadRow {
                    source: Some(source.to_owned()),
                    event_id: Some(event_id.to_owned()),
                    ingest_time_us,
                    reason: DeadReason::Duplicate,
                    detail: "the same event was accepted before; its first copy is in `events`".to_owned(),
                    payload: None,
                    payload_bytes: 0,
                    replayed_from: text_at(replayed_from, row).map(str::to_owned),
                    offset: offsets[row],
                });
            }
        }
        let completed = complete(batch, offsets, &hashes, &renamed, self.partition);
        let kept = if keep.iter().all(|kept| *kept) { completed } else { keep_rows(&completed, &keep) };
        let enriched = self.enrich.apply(&kept);
        self.counts.without_rate += std::mem::take(&mut self.enrich.without_rate);
        self.sessionize(enriched)
    }

    /// Puts each row into its session, and marks those that came too late for one.
    fn sessionize(&mut self, batch: RecordBatch) -> RecordBatch {
        let mut flags: Option<Vec<i64>> = None;
        let reader = session_rows::EventReader::new(&batch);
        for row in 0..batch.num_rows() {
            if !reader.is_activity(row) {
                continue;
            }
            if self.sessions.observe(reader.key(row), &reader.event(row)) == Observed::Late {
                self.counts.late += 1;
                self.wants_repair = true;
                let flags = flags.get_or_insert_with(|| int(&batch, "flags").values().to_vec());
                flags[row] |= EventFlags::LATE.0;
            }
        }
        match flags {
            None => batch,
            Some(flags) => replace(&batch, "flags", Arc::new(Int64Array::from(flags))),
        }
    }

    /// Folds rows that are in `events` already but not yet in `sessions`: after a crash between the
    /// two commits. Their flags were set when they were first folded; a late one moves nothing.
    pub(crate) fn refold(&mut self, rows: &RecordBatch) {
        let reader = session_rows::EventReader::new(rows);
        let flags = int(rows, "flags").values();
        let mut astray = None;
        for row in 0..rows.num_rows() {
            if reader.is_activity(row) && !EventFlags(flags[row]).has(EventFlags::LATE) {
                let event = reader.event(row);
                if self.sessions.observe(reader.key(row), &event) == Observed::Late {
                    astray.get_or_insert(event.offset);
                }
            }
        }
        if let Some(first) = astray {
            // It is in no session, and no repair looks for it: the law is broken, by an older program say.
            debug_assert!(false, "the row of offset {first} was flagged by other watermarks than are stored");
            let partition = self.partition;
            tracing::error!(
                partition,
                first,
                "rows of `events` are in no session, though none is flagged: put them in with `tributary replay`"
            );
        }
    }

    pub(crate) fn advance(&mut self, watermarks: Option<&BTreeMap<String, i64>>) {
        for (source, watermark_us) in watermarks.into_iter().flatten() {
            self.sessions.advance(source, *watermark_us);
        }
    }

    /// Takes rows of `events` that came after the state this partition began with: their ids, and those below `told`,
    /// which `sessions` knows already, into their sessions. What is told of them is told a second time, so to nobody.
    ///
    /// * `watermarks`: as stored with `told`; given once all rows below it are taken in. The rows alone may not give them
    ///   any more: a copy that compaction dropped may have moved one.
    pub(crate) fn take_up(&mut self, rows: &RecordBatch, told: i64, watermarks: Option<&BTreeMap<String, i64>>) {
        let (sources, event_ids) = (text(rows, "source"), text(rows, "event_id"));
        let (hashes, ingest_times) = (int(rows, "content_hash"), int(rows, "ingest_time_us"));
        for row in 0..rows.num_rows() {
            let event_id = event_ids.value(row);
            self.ids.remember(id_hash(sources.value(row), event_id), hashes.value(row), ingest_times.value(row));
            if is_derived(event_id) {
                self.ids.note_derived(ingest_times.value(row));
            }
        }
        // Offsets ascend.
        let known = int(rows, "log_offset").values().partition_point(|offset| *offset < told);
        self.refold(&rows.slice(0, known));
        self.advance(watermarks);
        if known > 0 {
            drop(self.sessions.drain());
        }
        self.refold(&rows.slice(known, rows.num_rows() - known));
    }
}

/// The rows with the columns the lake adds.
fn complete(
    batch: &RecordBatch,
    offsets: &[u64],
    hashes: &[i64],
    renamed: &[(usize, String)],
    partition: u32,
) -> RecordBatch {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    let index_of = |name: &str| batch.schema().index_of(name).expect("a column of our own schema");

    if !renamed.is_empty() {
        let (ids, clients) = (text(batch, "event_id"), text(batch, "client_event_id"));
        let mut new_ids: Vec<String> = (0..rows).map(|row| ids.value(row).to_owned()).collect();
        let mut new_clients: Vec<Option<String>> =
            (0..rows).map(|row| text_at(clients, row).map(str::to_owned)).collect();
        let mut flags = int(batch, "flags").values().to_vec();
        for (row, own_id) in renamed {
            let taken = std::mem::replace(&mut new_ids[*row], own_id.clone());
            new_clients[*row].get_or_insert(taken);
            flags[*row] |= EventFlags::ID_COLLISION.0;
        }
        columns[index_of("event_id")] = Arc::new(StringArray::from(new_ids));
        columns[index_of("client_event_id")] = Arc::new(StringArray::from(new_clients));
        columns[index_of("flags")] = Arc::new(Int64Array::from(flags));
    }

    let event_ids = columns[index_of("event_id")].clone();
    let event_ids = event_ids.as_string::<i32>();
    let people = [text(batch, "anonymous_id"), text(batch, "user_id"), text(batch, "device_id")];
    let session_keys: StringArray = (0..rows)
        .map(|row| Some(people.iter().find_map(|ids| text_at(ids, row)).unwrap_or(event_ids.value(row))))
        .collect();
    let times = int(batch, "event_time_us");
    columns.push(Arc::new(session_keys));
    columns.push(Arc::new(Int64Array::from(hashes.to_vec())));
    columns.push(Arc::new(Int32Array::from(vec![partition.cast_signed(); rows])));
    columns.push(Arc::new(Int64Array::from_iter_values(offsets.iter().map(|offset| offset.cast_signed()))));
    columns.extend(enrich::empty_columns(rows));
    columns.push(Arc::new(Date32Array::from_iter_values(times.values().iter().map(|time| day_of(*time)))));
    RecordBatch::try_new(Table::Events.arrow_schema(), columns).expect("the columns of `events`, in order")
}

/// Times that no calendar has are brought into it.
fn with_times_in_calendar(mut batch: RecordBatch, names: &[&str]) -> RecordBatch {
    for name in names {
        let times = int(&batch, name);
        if times.values().iter().any(|time| in_calendar(*time) != *time) {
            let times = Int64Array::from_iter_values(times.values().iter().map(|time| in_calendar(*time)));
            batch = replace(&batch, name, Arc::new(times));
        }
    }
    batch
}

fn replace(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).expect("a column of our own schema")] = column;
    RecordBatch::try_new(batch.schema(), columns).expect("same type, same length")
}

/// What an event says, as one number: everything a retry repeats and nothing it may change (times of
/// sending and receipt, the corrected time, what the door took from headers or concluded from them).
struct ContentHasher<'b> {
    texts: Vec<ContentText<'b>>,
    client_times: &'b Int64Array,
    values: &'b Decimal128Array,
    exposures: &'b ListArray,
    /// What the event says, in one piece: hashing it so takes a third of the time that 80 small pieces take.
    said: Vec<u8>,
}

/// A text column, or that it holds nothing at all: then it need not be looked at for each row.
enum ContentText<'b> {
    Empty,
    Some(&'b StringArray),
}

impl<'b> ContentHasher<'b> {
    const TEXTS: [&'static str; 38] = [
        "event_name",
        "event_kind",
        "anonymous_id",
        "user_id",
        "previous_id",
        "device_id",
        "account_id",
        "currency",
        "channel",
        "campaign_id",
        "ad_id",
        "creative_id",
        "message_id",
        "link_id",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_term",
        "utm_content",
        "gclid",
        "gbraid",
        "wbraid",
        "dclid",
        "fbclid",
        "msclkid",
        "ttclid",
        "twclid",
        "li_fat_id",
        "referrer_host",
        "decision_id",
        "url_host",
        "url_path",
        "url_query",
        "title",
        "language",
        "timezone",
        "screen",
        "properties",
    ];

    fn new(batch: &'b RecordBatch) -> Self {
        Self {
            texts: Self::TEXTS.iter().map(|name| ContentText::of(text(batch, name))).collect(),
            client_times: int(batch, "client_time_us"),
            values: money(batch, "value"),
            exposures: array(batch, "exposures").as_list::<i32>(),
            said: Vec::with_capacity(1_024),
        }
    }

    fn hash(&mut self, row: usize) -> i64 {
        const NULL: [u8; 8] = u64::MAX.to_le_bytes();
        let said = &mut self.said;
        said.clear();
        // Lengths keep ("ab", "c") and ("a", "bc") apart; null is no length a text can have.
        let add = |said: &mut Vec<u8>, text: Option<&str>| {
            said.extend_from_slice(&text.map_or(NULL, |text| (text.len() as u64).to_le_bytes()));
            said.extend_from_slice(text.unwrap_or_default().as_bytes());
        };
        for texts in &self.texts {
            match texts {
                ContentText::Empty => said.extend_from_slice(&NULL),
                ContentText::Some(texts) => add(said, text_at(texts, row)),
            }
        }
        if self.exposures.is_valid(row) {
            for shown in session_rows::exposures_of(&self.exposures.value(row)) {
                let Exposure { experiment, variant, decision_id, probability } = shown;
                for text in [Some(experiment), Some(variant), decision_id, probability.map(|ratio| ratio.to_string())] {
                    add(said, text.as_deref());
                }
            }
        }
        said.extend_from_slice(&int_at(self.client_times, row).unwrap_or(i64::MIN).to_le_bytes());
        let value = self.values.is_valid(row).then(|| self.values.value(row));
        said.extend_from_slice(&value.unwrap_or(i128::MIN).to_le_bytes());
        xxh3_64(said).cast_signed()
    }
}

impl<'b> ContentText<'b> {
    fn of(texts: &'b StringArray) -> Self {
        if texts.null_count() == texts.len() { Self::Empty } else { Self::Some(texts) }
    }
}

/// A row of `dead_letters` that the pipeline itself makes.
struct DeadRow {
    source: Option<String>,
    event_id: Option<String>,
    ingest_time_us: i64,
    reason: DeadReason,
    detail: String,
    payload: Option<String>,
    payload_bytes: usize,
    /// The letter that the duplicate came of.
    replayed_from: Option<String>,
    offset: u64,
}

#[derive(Default)]
struct DeadRows(Vec<DeadRow>);

impl DeadRows {
    fn push(&mut self, row: DeadRow) {
        self.0.push(row);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn into_batch(mut self, topic: &str, partition: u32) -> RecordBatch {
        self.0.sort_by_key(|row| row.offset);
        let rows = &self.0;
        let texts = |of: &dyn Fn(&DeadRow) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let own: Vec<(&str, ArrayRef)> = vec![
            ("source", texts(&|row| row.source.clone())),
            ("dialect", texts(&|_| Some("log".to_owned()))),
            ("event_id", texts(&|row| row.event_id.clone())),
            ("ingest_time_us", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.ingest_time_us)))),
            ("reason", texts(&|row| Some(row.reason.as_str().to_owned()))),
            ("detail", texts(&|row| Some(row.detail.clone()))),
            ("payload", texts(&|row| row.payload.clone())),
            (
                "payload_bytes",
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.payload_bytes.cast_signed() as i64))),
            ),
            ("replayed_from", texts(&|row| row.replayed_from.clone())),
            ("log_topic", texts(&|_| Some(topic.to_owned()))),
            ("log_partition", Arc::new(Int32Array::from(vec![partition.cast_signed(); rows.len()]))),
            ("log_offset", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.offset.cast_signed())))),
            ("ingest_date", Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| day_of(row.ingest_time_us))))),
        ];
        let schema = Table::DeadLetters.arrow_schema();
        // Of the event nothing more is known here.
        let columns = schema.fields().iter().map(|field| {
            let known = own.iter().find(|(name, _)| *name == field.name());
            known.map_or_else(|| new_null_array(field.data_type(), rows.len()), |(_, column)| column.clone())
        });
        RecordBatch::try_new(schema.clone(), columns.collect()).expect("the columns of `dead_letters`")
    }
}

/// One partition of the dead-letters topic, between two commits.
pub(crate) struct DeadPartition {
    pub(crate) partition: u32,
    topic: String,
    decoder: WireDecoder,
    pub(crate) position: u64,
    pub(crate) tail: Option<Tail>,
    pub(crate) rows: Pending,
}

impl DeadPartition {
    pub(crate) fn new(partition: u32, topic: &str, position: u64) -> Self {
        Self {
            partition,
            topic: topic.to_owned(),
            decoder: WireDecoder::new(Shape::DeadLetter),
            position,
            tail: None,
            rows: Pending::default(),
        }
    }

    pub(crate) fn fold(&mut self, records: &[Delivered]) {
        for run in records.chunks(BATCH_ROWS_MAX) {
            self.fold_run(run);
        }
    }

    fn fold_run(&mut self, run: &[Delivered]) {
        let Some(last) = run.last() else { return };
        self.position = last.offset + 1;
        self.tail = Some(Tail::of(last));
        let values: Vec<&[u8]> = run.iter().map(|delivered| delivered.record.value.as_ref()).collect();
        let decoded = self.decoder.decode(&values);
        let mut dead = DeadRows::default();
        for (index, error) in &decoded.refused {
            let delivered = &run[*index];
            dead.push(DeadRow {
                source: None,
                event_id: None,
                ingest_time_us: in_calendar(delivered.record.time_ms.saturating_mul(1_000)),
                reason: DeadReason::Undecodable,
                detail: with_sources(error),
                payload: Some(hex(&delivered.record.value)),
                payload_bytes: delivered.record.value.len(),
                replayed_from: None,
                offset: delivered.offset,
            });
        }
        let refused: std::collections::HashSet<usize> = decoded.refused.iter().map(|(index, _)| *index).collect();
        let offsets: Vec<i64> = run
            .iter()
            .enumerate()
            .filter(|(index, _)| !refused.contains(index))
            .map(|(_, delivered)| delivered.offset.cast_signed())
            .collect();
        if !offsets.is_empty() {
            let rows = offsets.len();
            let batch = with_times_in_calendar(decoded.batch, &["ingest_time_us"]);
            let mut columns = batch.columns().to_vec();
            let days = int(&batch, "ingest_time_us").values().iter().map(|time| day_of(*time));
            let days: ArrayRef = Arc::new(Date32Array::from_iter_values(days));
            columns.push(Arc::new(StringArray::from(vec![self.topic.as_str(); rows])));
            columns.push(Arc::new(Int32Array::from(vec![self.partition.cast_signed(); rows])));
            columns.push(Arc::new(Int64Array::from(offsets)));
            columns.push(days);
            let batch = RecordBatch::try_new(Table::DeadLetters.arrow_schema(), columns);
            self.rows.push(batch.expect("the columns of `dead_letters`, in order"));
        }
        if !dead.is_empty() {
            self.rows.push(dead.into_batch(&self.topic, self.partition));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use bytes::Bytes;
    use tributary_analytics::session::SessionRule;
    use tributary_eventlog::Record;
    use tributary_schemas::Event;
    use tributary_schemas::wire::encode_event;

    use super::*;

    const DAY_US: i64 = 86_400_000_000;
    const BASE_US: i64 = 20_000 * DAY_US;

    fn partition(window_us: i64) -> EventsPartition {
        EventsPartition::new(0, "events", 0, RecentIds::new(window_us), Sessionizer::new(SessionRule::ga4()))
    }

    fn event(event_id: &str, name: &str, ingest_time_us: i64) -> Event {
        let mut event = Event::new("web", "test", event_id, name, ingest_time_us);
        event.ingest_time_us = ingest_time_us;
        event.client_time_us = Some(BASE_US);
        event.anonymous_id = Some("a".to_owned());
        event
    }

    fn delivered(value: Vec<u8>, offset: u64) -> Delivered {
        Delivered { partition: 0, offset, record: Record { key: None, value: Bytes::from(value), time_ms: i64::MAX } }
    }

    fn fold(partition: &mut EventsPartition, events: &[Event]) {
        for event in events {
            let offset = partition.position;
            partition.fold(&[delivered(encode_event(event), offset)]);
        }
    }

    fn outcome(partition: &EventsPartition) -> (u64, u64, u64) {
        (partition.counts.kept, partition.counts.duplicates, partition.counts.collisions)
    }

    #[test]
    fn events_that_come_one_by_one_take_little_room() {
        let mut partition = partition(DAY_US);
        for number in 0..5_000 {
            fold(&mut partition, &[event(&number.to_string(), "page", BASE_US + number)]);
        }
        assert_eq!(partition.pending_rows(), 5_000);
        assert!(partition.pending_bytes() < 10 << 20, "{} bytes", partition.pending_bytes());
        assert!(partition.events.take().len() < 20);
    }

    #[test]
    fn all_that_a_client_says_tells_events_of_one_id_apart() {
        let changes: [fn(&mut Event); 7] = [
            |event| event.url_host = Some("shop.example".to_owned()),
            |event| event.title = Some("Shoes".to_owned()),
            |event| event.utm_source = Some("news".to_owned()),
            |event| event.gclid = Some("g".to_owned()),
            |event| event.device_id = Some("d".to_owned()),
            |event| {
                event.exposures = vec![Exposure {
                    experiment: "e".to_owned(),
                    variant: "a".to_owned(),
                    decision_id: None,
                    probability: None,
                }];
            },
            |event| {
                event.exposures = vec![Exposure {
                    experiment: "e".to_owned(),
                    variant: "b".to_owned(),
                    decision_id: None,
                    probability: None,
                }];
            },
        ];
        let mut partition = partition(DAY_US);
        fold(&mut partition, &[event("1", "page", BASE_US)]);
        for change in changes {
            let mut other = event("1", "page", BASE_US);
            change(&mut other);
            fold(&mut partition, &[other.clone(), other]);
        }
        assert_eq!(outcome(&partition), (8, 7, 7));
        let mut retry = event("1", "page", BASE_US + 5);
        retry.sent_time_us = Some(BASE_US + 5);
        retry.user_agent = Some("another".to_owned());
        fold(&mut partition, &[retry]);
        assert_eq!(outcome(&partition), (8, 8, 7), "what the door adds makes no other event of it");
    }

    #[test]
    fn a_collided_event_is_known_again_after_the_first_of_its_id_is_forgotten() {
        let mut partition = partition(DAY_US);
        fold(&mut partition, &[event("1", "first", BASE_US), event("1", "second", BASE_US + DAY_US / 2)]);
        assert_eq!(outcome(&partition), (2, 0, 1));
        fold(&mut partition, &[event("1", "second", BASE_US + DAY_US + DAY_US / 4)]);
        assert_eq!(outcome(&partition), (2, 1, 1));
    }

    #[test]
    fn a_time_that_no_calendar_has_does_not_stop_the_line() {
        let mut partition = partition(DAY_US);
        let mut absurd = event("1", "page", i64::MAX);
        absurd.event_time_us = i64::MIN;
        fold(&mut partition, &[absurd]);
        partition.fold(&[delivered(b"no event".to_vec(), 1)]);
        let day_in = |batches: Vec<RecordBatch>, column: &str| {
            let day = cast(array(&batches[0], column), &DataType::Utf8).unwrap();
            day.as_string::<i32>().value(0).to_owned()
        };
        assert_eq!(day_in(partition.events.take(), "event_date"), "1970-01-01");
        assert_eq!(day_in(partition.dead_letters.take(), "ingest_date"), "9999-12-31");
        assert_eq!(partition.ids.newest_us(), Some(in_calendar(i64::MAX)));
    }
}
