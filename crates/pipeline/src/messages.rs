//! What happened to messages, as the burst rule sees it; and its state after a restart.
//!
//! In:      rows of `events`.
//! Out:     `MessageEvent`s; the state of each partition as it stood at the position of `events`.
//! Promise: a restarted job labels as one that never stopped: `analytics::enrich::burst` says from which rows.

use arrow::array::{Array, AsArray, Int64Array, ListArray, RecordBatch, StringArray};
use futures::TryStreamExt;
use std::collections::HashMap;
use tributary_analytics::enrich::burst::{Act, MessageEvent};
use tributary_schemas::{EventKind, Table};
use xxhash_rust::xxh3::Xxh3;

use crate::columns::{array, int, small_int, text, text_at};
use crate::commit::{Owned, Snapshots, lake_error};
use crate::error::PipelineError;
use crate::recover::{holds_partition, reaches};

/// Reads the message events of one batch.
pub(crate) struct MessageReader<'b> {
    sources: &'b StringArray,
    message_ids: &'b StringArray,
    people: [&'b StringArray; 2],
    kinds: &'b StringArray,
    links: [&'b StringArray; 4],
    times: &'b Int64Array,
    ingest_times: &'b Int64Array,
    reasons: &'b ListArray,
}

impl<'b> MessageReader<'b> {
    const COLUMNS: [&'static str; 12] = [
        "source",
        "message_id",
        "user_id",
        "anonymous_id",
        "event_kind",
        "link_id",
        "url_host",
        "url_path",
        "url_query",
        "event_time_us",
        "ingest_time_us",
        "engagement_reasons",
    ];

    pub(crate) fn new(batch: &'b RecordBatch) -> Self {
        let text = |name: &str| text(batch, name);
        Self {
            sources: text("source"),
            message_ids: text("message_id"),
            people: ["user_id", "anonymous_id"].map(text),
            kinds: text("event_kind"),
            links: ["link_id", "url_host", "url_path", "url_query"].map(text),
            times: int(batch, "event_time_us"),
            ingest_times: int(batch, "ingest_time_us"),
            reasons: array(batch, "engagement_reasons").as_list::<i32>(),
        }
    }

    /// The row, if it is something that happened to a message.
    pub(crate) fn event(&self, row: usize) -> Option<MessageEvent> {
        let message_id = text_at(self.message_ids, row)?;
        let act = match EventKind::parse(self.kinds.value(row))? {
            EventKind::Send => Act::Send,
            EventKind::Open => Act::Open,
            EventKind::Click => Act::Click,
            _ => return None,
        };
        // Some mailers give one id to a whole mailing: what two people do is no burst. Where nobody is named, any two may
        // be two people, and nothing can be said of a sequence.
        let person = self.people.iter().find_map(|ids| text_at(ids, row))?;
        let link = match text_at(self.links[0], row) {
            Some(link_id) => hash(&[Some(link_id)]),
            None => hash(&self.links.map(|texts| text_at(texts, row))),
        };
        Some(MessageEvent {
            message: hash(&[text_at(self.sources, row), Some(message_id), Some(person)]),
            act,
            link,
            time_us: self.times.value(row),
            ingest_time_us: self.ingest_times.value(row),
            is_head: self.is_head(row),
        })
    }

    fn is_head(&self, row: usize) -> bool {
        if self.reasons.is_null(row) || self.reasons.value_length(row) == 0 {
            return false;
        }
        // As the door says it: `ingest/src/engagement.rs`.
        self.reasons.value(row).as_string::<i32>().iter().flatten().any(|reason| reason == "method_head")
    }
}

fn hash(texts: &[Option<&str>]) -> u64 {
    let mut hasher = Xxh3::new();
    for text in texts {
        hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    hasher.digest()
}

/// Gives each partition the messages it would remember had the job never stopped.
pub(crate) async fn restore(snapshots: &Snapshots, events: &mut [Owned]) -> Result<(), PipelineError> {
    // By partition: from which time of receipt its rows are needed.
    let mut wanted = HashMap::new();
    for Owned { fold, at } in events.iter_mut() {
        if let Some(newest_us) = at.newest_us.filter(|_| at.events.is_some()) {
            let keep_us = fold.enrich.bursts.rule().keep_us();
            fold.enrich.bursts.received(newest_us.saturating_sub(keep_us));
            wanted.insert(fold.partition, newest_us.saturating_sub(2 * keep_us));
        }
    }
    let columns = [&MessageReader::COLUMNS[..], &["log_partition", "log_offset"]].concat();
    let mut stream = snapshots.events.read(&columns, |file| {
        wanted.iter().any(|(partition, from_us)| {
            holds_partition(file, *partition) && reaches(file, "ingest_time_us", *from_us, i64::MAX)
        })
    });
    let mut found: HashMap<u32, Vec<(i64, MessageEvent)>> = HashMap::new();
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        if text(&batch, "message_id").null_count() == batch.num_rows() {
            continue;
        }
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        let messages = MessageReader::new(&batch);
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            let Some(from_us) = wanted.get(&partition) else { continue };
            if let Some(event) = messages.event(row).filter(|event| *from_us <= event.ingest_time_us) {
                found.entry(partition).or_default().push((offsets.value(row), event));
            }
        }
    }
    for Owned { fold, at } in events.iter_mut() {
        let mut of_partition = found.remove(&fold.partition).unwrap_or_default();
        of_partition.sort_by_key(|(offset, _)| *offset);
        for (_, event) in &of_partition {
            fold.enrich.bursts.observe(event);
        }
        at.newest_us.into_iter().for_each(|newest_us| fold.enrich.bursts.received(newest_us));
    }
    Ok(())
}
