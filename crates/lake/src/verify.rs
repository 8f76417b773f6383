//! Whether a lake is what its log says, row by row.
//!
//! In:       a lake at rest or at work: each table is looked at as one version.
//! Out:      what was looked at, and every fault in words.
//! Promise:  a live file that is missing, has another size or count of rows, bounds or null counts that do not hold, or an
//!           order it does not have, is told; so is a place of the log that became two rows, in one table or in two. Holes
//!           are told apart from faults: an old day that was dropped leaves some.
//! Not here: mending. The log still holds everything, if its retention kept everything: delete the lake and start again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tributary_schemas::{DeadReason, Table};

use crate::error::LakeError;
use crate::lake::Lake;
use crate::snapshot::{DataFile, Snapshot};
use crate::statistics::{ColumnStatistics, Gatherer};

/// So many faults of a table are told; what is broken is mostly broken everywhere.
const FAULTS_MAX: usize = 100;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub tables: Vec<TableVerified>,
    /// Faults between tables.
    pub faults: Vec<String>,
    /// Offsets of the events' topic that are neither in `events` nor in `dead_letters`.
    pub holes: Vec<Hole>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVerified {
    pub table: Table,
    pub version: u64,
    pub files: u64,
    pub rows: u64,
    pub faults: Vec<String>,
}

/// Offsets of a partition from `first` to `last` that became no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub log_partition: i32,
    pub first: i64,
    pub last: i64,
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.tables.iter().all(|table| table.faults.is_empty())
    }
}

impl Lake {
    /// * `events_topic`: the topic whose records become rows of `events`, or of `dead_letters` under its name.
    pub async fn verify(&self, events_topic: &str) -> Result<Verified, LakeError> {
        let mut done = Verified::default();
        let mut events = Places::default();
        for table in Table::ALL {
            let snapshot = self.snapshot(*table).await?;
            let mut places = Places::default();
            let mut faults = Vec::new();
            let mut rows = 0;
            for file in snapshot.files() {
                rows += self.verify_file(&snapshot, file, events_topic, &mut places, &mut faults).await?;
            }
            // Many sessions are derived at one position, and an event may say several things about identity.
            if matches!(table, Table::Events | Table::DeadLetters) {
                faults.extend(places.doubled.iter().map(|(partition, offset)| {
                    let (of, partition) = Places::named(*partition);
                    format!("offset {offset} of partition {partition} of {of} became two rows")
                }));
            }
            faults.truncate(FAULTS_MAX);
            done.tables.push(TableVerified {
                table: *table,
                version: snapshot.version(),
                files: snapshot.files().len() as u64,
                rows,
                faults,
            });
            match table {
                Table::Events => events = places,
                Table::DeadLetters => {
                    let both = events.join(&places);
                    done.faults.extend(both.into_iter().take(FAULTS_MAX).map(|(partition, offset)| {
                        format!("offset {offset} of partition {partition} is in `events` and in `dead_letters`")
                    }));
                }
                Table::Sessions | Table::Identities => {}
            }
        }
        done.holes = events.holes();
        Ok(done)
    }

    /// Its rows, as they were counted. What cannot be read is a fault; a store that does not answer is an error.
    async fn verify_file(
        &self,
        snapshot: &Snapshot,
        file: &DataFile,
        events_topic: &str,
        places: &mut Places,
        faults: &mut Vec<String>,
    ) -> Result<u64, LakeError> {
        let table = snapshot.table();
        let mut fault = |text: String| faults.push(format!("file {}: {text}", file.path));
        match self.object_store().head(&Path::from(&*file.path)).await {
            Ok(found) if found.size != file.size_bytes => {
                fault(format!("it has {} bytes, the log says {}", found.size, file.size_bytes));
            }
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => {
                fault("it is not there".to_owned());
                return Ok(0);
            }
            Err(source) => return Err(LakeError::storage(format!("looking at {}", file.path), source)),
        }
        let mut columns: Vec<&str> = table.statistics_columns().to_vec();
        if table == Table::DeadLetters {
            columns.extend(["log_topic", "reason"]);
        }
        let (mut rows, mut last) = (0, None);
        let all = table.statistics_columns();
        let mut found = Gatherer::new(all).with_whole_bounds(all);
        let mut is_sorted = true;
        let mut batches = snapshot.read_files(&columns, vec![file.clone()]);
        loop {
            let batch = match batches.try_next().await {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error @ LakeError::File { .. }) if error.advice() != crate::Advice::Retry => {
                    fault(format!("it cannot be read: {error}"));
                    return Ok(rows);
                }
                Err(error) => return Err(error),
            };
            rows += batch.num_rows() as u64;
            found.add(&batch);
            if file.sorted && is_sorted {
                is_sorted = follows(table, last.as_ref(), &batch);
            }
            places.take(table, events_topic, &batch);
            last = (0 < batch.num_rows()).then(|| batch.slice(batch.num_rows() - 1, 1)).or(last);
        }
        if rows != file.rows {
            fault(format!("it has {rows} rows, the log says {}", file.rows));
        }
        if !is_sorted {
            fault("the log says it is sorted, and it is not".to_owned());
        }
        for (name, found) in found.finish() {
            if let Some(wrong) = file.column(&name).and_then(|told| contradiction(told, &found)) {
                fault(format!("{wrong} of {name} in the log does not hold"));
            }
        }
        Ok(rows)
    }
}

/// Which of what was told does not hold for what is there. Bounds told may be wider.
fn contradiction(told: &ColumnStatistics, found: &ColumnStatistics) -> Option<&'static str> {
    if told.min.as_ref().zip(found.min.as_ref()).is_some_and(|(told, found)| found < told) {
        return Some("the smallest value");
    }
    if told.max.as_ref().zip(found.max.as_ref()).is_some_and(|(told, found)| told < found) {
        return Some("the largest value");
    }
    let nulls = told.null_count.zip(found.null_count);
    nulls.is_some_and(|(told, found)| told != found).then_some("the count of nulls")
}

/// Whether a batch is in order, and after the row before it.
fn follows(table: Table, last: Option<&RecordBatch>, batch: &RecordBatch) -> bool {
    let comparator = |one: &RecordBatch, other: &RecordBatch| {
        let compare_by = |name: &&str| {
            let (one, other) = (one.column_by_name(name)?, other.column_by_name(name)?);
            make_comparator(one, other, SortOptions::default()).ok()
        };
        let columns: Option<Vec<_>> = table.sort_columns().iter().map(compare_by).collect();
        columns.map(|columns| {
            move |row: usize, next: usize| {
                columns
                    .iter()
                    .map(|compare| compare(row, next))
                    .find(|order| order.is_ne())
                    .is_none_or(std::cmp::Ordering::is_lt)
            }
        })
    };
    let begins_well = match last {
        Some(last) if 0 < batch.num_rows() => comparator(last, batch).is_some_and(|in_order| in_order(0, 0)),
        _ => true,
    };
    begins_well
        && comparator(batch, batch).is_some_and(|in_order| (1..batch.num_rows()).all(|row| in_order(row - 1, row)))
}

/// Places of the log that became rows: a bit each, in blocks, since they lie close together.
#[derive(Debug, Default)]
struct Places {
    blocks: BTreeMap<(i32, i64), Arc<[u64; Places::WORDS]>>,
    /// The first of those met twice.
    doubled: Vec<(i32, i64)>,
}

impl Places {
    const WORDS: usize = 1_024;
    #[expect(clippy::cast_possible_wrap, reason = "a few hundred words")]
    const BITS: i64 = 64 * Self::WORDS as i64;

    fn take(&mut self, table: Table, events_topic: &str, batch: &RecordBatch) {
        let (Some(partitions), Some(offsets)) =
            (batch.column_by_name("log_partition"), batch.column_by_name("log_offset"))
        else {
            return;
        };
        let (partitions, offsets) = (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
        let of_events = |row: usize| {
            let text = |name: &str| batch.column_by_name(name).map(|column| column.as_string::<i32>().value(row));
            // The dead letters' own topic has offsets of its own: its partitions are counted down from -1.
            table != Table::DeadLetters
                || text("log_topic") == Some(events_topic)
                || text("reason") == Some(DeadReason::Duplicate.as_str())
        };
        for row in 0..batch.num_rows() {
            let partition = if of_events(row) { partitions.value(row) } else { -1 - partitions.value(row) };
            let place = (partition, offsets.value(row));
            if !self.set(place) && self.doubled.len() < FAULTS_MAX {
                self.doubled.push(place);
            }
        }
    }

    /// The topic and the partition in it.
    fn named(partition: i32) -> (&'static str, i32) {
        if partition < 0 { ("the dead letters' topic", -1 - partition) } else { ("the events' topic", partition) }
    }

    /// Whether it is new.
    fn set(&mut self, (partition, offset): (i32, i64)) -> bool {
        let block =
            self.blocks.entry((partition, offset.div_euclid(Self::BITS))).or_insert_with(|| Arc::new([0; Self::WORDS]));
        let (word, bit) = Self::bit(offset);
        let word = &mut Arc::make_mut(block)[word];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn bit(offset: i64) -> (usize, u64) {
        let within = offset.rem_euclid(Self::BITS);
        (usize::try_from(within / 64).expect("a block is small"), 1 << (within % 64))
    }

    /// Takes the others in; those that are in both.
    fn join(&mut self, others: &Self) -> Vec<(i32, i64)> {
        let mut both = Vec::new();
        for ((partition, number), block) in others.blocks.range((0, i64::MIN)..) {
            for within in 0..Self::BITS {
                let (word, bit) = Self::bit(within);
                let offset = number * Self::BITS + within;
                if block[word] & bit != 0 && !self.set((*partition, offset)) {
                    both.push((*partition, offset));
                }
            }
        }
        both
    }

    /// Between the lowest and the highest place of each partition.
    fn holes(&self) -> Vec<Hole> {
        let mut holes: Vec<Hole> = Vec::new();
        let mut expected: Option<(i32, i64)> = None;
        for ((partition, number), block) in &self.blocks {
            for within in 0..Self::BITS {
                let (word, bit) = Self::bit(within);
                if block[word] & bit == 0 {
                    continue;
                }
                let offset = number * Self::BITS + within;
                if let Some((of, first)) = expected
                    && of == *partition
                    && first < offset
                {
                    holes.push(Hole { log_partition: of, first, last: offset - 1 });
                }
                expected = Some((*partition, offset + 1));
            }
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_lie_between_the_lowest_and_the_highest_place_of_a_partition() {
        let mut places = Places::default();
        for place in [(0, 5), (0, 6), (0, 200_000), (1, 0), (1, 1), (1, 4)] {
            assert!(places.set(place));
        }
        assert!(!places.set((1, 4)));
        let hole = |log_partition, first, last| Hole { log_partition, first, last };
        assert_eq!(places.holes(), [hole(0, 7, 199_999), hole(1, 2, 3)]);
        let mut others = Places::default();
        others.set((1, 2));
        others.set((1, 4));
        assert_eq!(places.join(&others), [(1, 4)]);
        assert_eq!(places.holes(), [hole(0, 7, 199_999), hole(1, 3, 3)]);
    }
}
