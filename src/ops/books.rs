//! The books: every record of the log is one row of the lake, and what the door took is there.
//!
//! In:      tables and where they stand; what the door counted.
//! Out:     offsets that are in no row or in two; events of a minute that the door took and the lake has not.
//! Promise: exact: each offset is looked for by itself. What was looked at once is not looked at again, so a look costs
//!          what came since the last.
//!
//! A record of the events topic is a row of `events`, or of `dead_letters` as a duplicate or as unreadable; a record of
//! the dead-letters topic is a row of `dead_letters`. Kafka's offsets may have holes that are no records (marks of
//! transactions, which our door does not use but another producer may): they count as missing here.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use tributary_ingest::Taken;
use tributary_lake::{DataFile, Snapshot};
use tributary_pipeline::{Standing, Tables};
use tributary_schemas::DeadReason;

use super::report::{BooksReport, DoorReport, MinuteReport, SourceReport};

const MINUTE_US: i64 = 60_000_000;
/// Offsets of a partition looked at in one go: two megabytes of marks.
const PASS_OFFSETS_MAX: u64 = 1 << 24;
/// As long as the door's own memory.
const MINUTES_MAX: i64 = 240;
/// A request may take this long from its receipt until its records are in the log.
const IN_THE_DOOR_US: i64 = 30_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Events,
    DeadLetters,
}

/// What the lake has of a source and minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct InLake {
    events: u64,
    duplicates: u64,
    dead_letters: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The next offset to look for.
    next: BTreeMap<(Topic, u32), u64>,
    offsets: u64,
    missing: u64,
    doubled: u64,
    first_missing: Option<String>,
    minutes: BTreeMap<(i64, String), InLake>,
}

/// Offsets of one partition, one bit each.
struct Marks {
    range: Range<u64>,
    words: Vec<u64>,
    doubled: u64,
}

impl Marks {
    fn new(range: Range<u64>) -> Self {
        let words = usize::try_from((range.end - range.start).div_ceil(64)).expect("a pass is bounded");
        Self { range, words: vec![0; words], doubled: 0 }
    }

    fn add(&mut self, offset: u64) -> bool {
        if !self.range.contains(&offset) {
            return false;
        }
        let index = offset - self.range.start;
        let word = &mut self.words[usize::try_from(index / 64).expect("a pass is bounded")];
        let bit = 1 << (index % 64);
        self.doubled += u64::from(*word & bit != 0);
        *word |= bit;
        true
    }

    fn missing(&self) -> u64 {
        let found: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        self.range.end - self.range.start - found
    }

    fn first_missing(&self) -> Option<u64> {
        self.range.clone().find(|offset| {
            let index = offset - self.range.start;
            self.words[usize::try_from(index / 64).expect("a pass is bounded")] & 1 << (index % 64) == 0
        })
    }
}

impl Books {
    /// Books that begin where the tables stand now.
    pub(crate) fn from_here(standing: &Standing) -> Self {
        Self { next: ends(standing).into_iter().collect(), ..Self::default() }
    }

    /// Books of everything from the first offset each partition still has, or had when the lake began.
    pub(crate) fn from(earliest_events: &[(u32, u64)], earliest_dead: &[(u32, u64)]) -> Self {
        let of = |topic: Topic, all: &[(u32, u64)]| -> Vec<((Topic, u32), u64)> {
            all.iter().map(|(partition, offset)| ((topic, *partition), *offset)).collect()
        };
        let next = [of(Topic::Events, earliest_events), of(Topic::DeadLetters, earliest_dead)].concat();
        Self { next: next.into_iter().collect(), ..Self::default() }
    }

    /// Looks at all that was committed since the last time.
    pub(crate) async fn check(
        &mut self,
        tables: &Tables,
        standing: &Standing,
        events_topic: &str,
        dead_topic: &str,
    ) -> anyhow::Result<()> {
        loop {
            let mut marks: BTreeMap<(Topic, u32), Marks> = BTreeMap::new();
            for (key, end) in ends(standing) {
                let begin = *self.next.entry(key).or_insert(0);
                if begin < end {
                    marks.insert(key, Marks::new(begin..end.min(begin + PASS_OFFSETS_MAX)));
                }
            }
            if marks.is_empty() {
                return Ok(());
            }
            let mut minutes = BTreeMap::new();
            read_events(&tables.events, &mut marks, &mut minutes).await?;
            read_dead_letters(&tables.dead_letters, (events_topic, dead_topic), &mut marks, &mut minutes).await?;
            self.close_pass(marks, minutes);
        }
    }

    fn close_pass(&mut self, marks: BTreeMap<(Topic, u32), Marks>, minutes: BTreeMap<(i64, String), InLake>) {
        for ((topic, partition), marks) in marks {
            self.offsets += marks.range.end - marks.range.start;
            self.missing += marks.missing();
            self.doubled += marks.doubled;
            if self.first_missing.is_none()
                && let Some(offset) = marks.first_missing()
            {
                let topic = match topic {
                    Topic::Events => "events",
                    Topic::DeadLetters => "dead letters",
                };
                self.first_missing = Some(format!("offset {offset} of partition {partition} of the {topic} topic"));
            }
            self.next.insert((topic, partition), marks.range.end);
        }
        for (key, more) in minutes {
            let known = self.minutes.entry(key).or_default();
            known.events += more.events;
            known.duplicates += more.duplicates;
            known.dead_letters += more.dead_letters;
        }
        let known_from = self.known_from();
        while self.minutes.first_key_value().is_some_and(|((minute, _), _)| *minute < known_from) {
            self.minutes.pop_first();
        }
    }

    /// The first minute that is not forgotten. A door that was idle for hours remembers older ones than a lake that others
    /// write to as well; of those nothing can be said.
    fn known_from(&self) -> i64 {
        self.minutes.last_key_value().map_or(i64::MIN, |((minute, _), _)| minute.saturating_sub(MINUTES_MAX))
    }

    /// * `door`: what the door of this process took, by minute and source; empty where it is another's.
    /// * `settled_us`: everything that was in the log at this moment is in the lake.
    pub(crate) fn report(&self, door: &[(i64, String, Taken)], settled_us: i64) -> BooksReport {
        let known_from = self.known_from();
        let mut sources: BTreeMap<&str, SourceReport> = BTreeMap::new();
        for (minute, source, taken) in door.iter().filter(|(minute, ..)| known_from <= *minute) {
            let report =
                sources.entry(source).or_insert_with(|| SourceReport { source: source.clone(), ..Default::default() });
            if !is_settled(*minute, settled_us) {
                report.in_flight += taken.events + taken.dead_letters;
                continue;
            }
            let lake = self.minutes.get(&(*minute, source.clone())).copied().unwrap_or_default();
            report.accepted += taken.events;
            report.dead_lettered += taken.dead_letters;
            report.in_lake += lake.events;
            report.duplicates += lake.duplicates;
            report.dead_letters_in_lake += lake.dead_letters;
            report.difference += difference(*taken, lake);
        }
        let sources: Vec<SourceReport> = sources.into_values().collect();
        let unaccounted: u64 = sources.iter().map(|source| source.difference).sum();
        BooksReport {
            offsets: self.offsets,
            missing: self.missing,
            doubled: self.doubled,
            first_missing: self.first_missing.clone(),
            difference: self.missing + self.doubled + unaccounted,
            sources,
            minutes: Vec::new(),
        }
    }

    /// The same by minute, of the last `count` minutes that either of the two knows of.
    pub(crate) fn minutes(&self, door: &[(i64, String, Taken)], settled_us: i64, count: u32) -> Vec<MinuteReport> {
        let mut minutes: BTreeMap<(i64, &str), (Option<Taken>, InLake)> = BTreeMap::new();
        for ((minute, source), lake) in &self.minutes {
            minutes.entry((*minute, source)).or_default().1 = *lake;
        }
        let known_from = self.known_from();
        for (minute, source, taken) in door.iter().filter(|(minute, ..)| known_from <= *minute) {
            minutes.entry((*minute, source)).or_default().0 = Some(*taken);
        }
        let Some(((newest, _), _)) = minutes.last_key_value() else { return Vec::new() };
        let first = newest.saturating_sub(i64::from(count)) + 1;
        let told = minutes.range((first, "")..).map(|((minute, source), (taken, lake))| {
            let settled = is_settled(*minute, settled_us);
            MinuteReport {
                minute_us: minute * MINUTE_US,
                source: (*source).to_owned(),
                door: taken.map(|taken| DoorReport {
                    accepted: taken.events,
                    dead_lettered: taken.dead_letters,
                    suppressed: taken.suppressed,
                }),
                in_lake: lake.events,
                duplicates: lake.duplicates,
                dead_letters_in_lake: lake.dead_letters,
                settled,
                difference: if settled { difference(taken.unwrap_or_default(), *lake) } else { 0 },
            }
        });
        told.collect()
    }
}

fn is_settled(minute: i64, settled_us: i64) -> bool {
    (minute + 1) * MINUTE_US + IN_THE_DOOR_US <= settled_us
}

/// What the door took and the lake has not. More than the door counted is no loss: a record may be durable though its sender was
/// told to come again.
fn difference(taken: Taken, lake: InLake) -> u64 {
    taken.events.saturating_sub(lake.events + lake.duplicates) + taken.dead_letters.saturating_sub(lake.dead_letters)
}

/// Where each partition stands in the tables.
fn ends(standing: &Standing) -> Vec<((Topic, u32), u64)> {
    let events = standing.events.iter().map(|at| ((Topic::Events, at.partition), at.events.unwrap_or(0)));
    let dead = standing.dead_letters.iter().map(|(partition, at)| ((Topic::DeadLetters, *partition), at.unwrap_or(0)));
    events.chain(dead).collect()
}

/// Whether the file may hold one of the offsets.
fn holds(file: &DataFile, topics: &[Topic], marks: &BTreeMap<(Topic, u32), Marks>) -> bool {
    let reaches = |column: &str, low: i64, high: i64| {
        file.max_i64(column).is_none_or(|max| low <= max) && file.min_i64(column).is_none_or(|min| min <= high)
    };
    marks.iter().any(|((topic, partition), marks)| {
        topics.contains(topic)
            && reaches("log_partition", (*partition).into(), (*partition).into())
            && reaches("log_offset", marks.range.start.cast_signed(), marks.range.end.cast_signed() - 1)
    })
}

async fn read_events(
    events: &Snapshot,
    marks: &mut BTreeMap<(Topic, u32), Marks>,
    minutes: &mut BTreeMap<(i64, String), InLake>,
) -> anyhow::Result<()> {
    let columns = ["source", "ingest_time_us", "log_partition", "log_offset"];
    let mut stream = events.read(&columns, |file| holds(file, &[Topic::Events], marks));
    while let Some(batch) = stream.try_next().await.context("reading table events")? {
        let rows = Rows::of(&batch);
        for row in 0..batch.num_rows() {
            let (partition, offset) = rows.place(row);
            if marks.get_mut(&(Topic::Events, partition)).is_some_and(|marks| marks.add(offset)) {
                rows.in_minute(row, minutes).events += 1;
            }
        }
    }
    Ok(())
}

async fn read_dead_letters(
    dead_letters: &Snapshot,
    (events_topic, dead_topic): (&str, &str),
    marks: &mut BTreeMap<(Topic, u32), Marks>,
    minutes: &mut BTreeMap<(i64, String), InLake>,
) -> anyhow::Result<()> {
    let columns = ["source", "ingest_time_us", "log_partition", "log_offset", "log_topic", "reason"];
    let mut stream = dead_letters.read(&columns, |file| holds(file, &[Topic::Events, Topic::DeadLetters], marks));
    while let Some(batch) = stream.try_next().await.context("reading table dead_letters")? {
        let rows = Rows::of(&batch);
        let text = |name: &str| batch.column_by_name(name).expect("it was asked for").as_string::<i32>();
        let (topics, reasons) = (text("log_topic"), text("reason"));
        for row in 0..batch.num_rows() {
            let topic = match topics.value(row) {
                topic if topic == events_topic => Topic::Events,
                topic if topic == dead_topic => Topic::DeadLetters,
                _ => continue,
            };
            let (partition, offset) = rows.place(row);
            if marks.get_mut(&(topic, partition)).is_some_and(|marks| marks.add(offset)) {
                let minute = rows.in_minute(row, minutes);
                match topic {
                    Topic::Events => {
                        minute.duplicates += u64::from(reasons.value(row) == DeadReason::Duplicate.as_str())
                    }
                    Topic::DeadLetters => minute.dead_letters += 1,
                }
            }
        }
    }
    Ok(())
}

/// The columns both tables have.
struct Rows<'b> {
    sources: &'b arrow::array::StringArray,
    ingest_times: &'b arrow::array::Int64Array,
    partitions: &'b arrow::array::Int32Array,
    offsets: &'b arrow::array::Int64Array,
}

impl<'b> Rows<'b> {
    fn of(batch: &'b RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name).expect("it was asked for");
        Self {
            sources: column("source").as_string::<i32>(),
            ingest_times: column("ingest_time_us").as_primitive::<Int64Type>(),
            partitions: column("log_partition").as_primitive::<Int32Type>(),
            offsets: column("log_offset").as_primitive::<Int64Type>(),
        }
    }

    fn place(&self, row: usize) -> (u32, u64) {
        (self.partitions.value(row).cast_unsigned(), self.offsets.value(row).cast_unsigned())
    }

    fn in_minute<'m>(&self, row: usize, minutes: &'m mut BTreeMap<(i64, String), InLake>) -> &'m mut InLake {
        // A record that could not be read has no source.
        let source = if self.sources.is_valid(row) { self.sources.value(row) } else { "" };
        minutes.entry((self.ingest_times.value(row).div_euclid(MINUTE_US), source.to_owned())).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_know_holes_and_doubles() {
        let mut marks = Marks::new(100..300);
        for offset in (100..300).filter(|offset| *offset != 170 && *offset != 299) {
            assert!(marks.add(offset));
        }
        assert!(marks.add(101) && !marks.add(99) && !marks.add(300));
        assert_eq!((marks.missing(), marks.doubled, marks.first_missing()), (2, 1, Some(170)));
    }

    #[test]
    fn a_minute_is_compared_once_all_of_it_must_be_there() {
        let mut books = Books::default();
        let in_lake = InLake { events: 7, duplicates: 2, dead_letters: 1 };
        books.close_pass(BTreeMap::new(), BTreeMap::from([((10, "web".to_owned()), in_lake)]));
        let door = |events| vec![(10, "web".to_owned(), Taken { events, dead_letters: 1, suppressed: 0 })];
        let settled_us = 11 * MINUTE_US + IN_THE_DOOR_US;
        assert_eq!(books.report(&door(9), settled_us).difference, 0);
        assert_eq!(books.report(&door(8), settled_us).difference, 0, "more than was answered is no loss");
        assert_eq!(books.report(&door(12), settled_us).difference, 3);
        let early = books.report(&door(12), settled_us - 1);
        assert_eq!((early.difference, early.sources[0].in_flight), (0, 13));
    }

    #[test]
    fn each_minute_is_told_by_itself_whoever_took_it() {
        let mut books = Books::default();
        let in_lake = InLake { events: 7, duplicates: 2, dead_letters: 1 };
        let of = |minute: i64, source: &str| (minute, source.to_owned());
        books.close_pass(BTreeMap::new(), BTreeMap::from([(of(10, "web"), in_lake), (of(9, "before"), in_lake)]));
        let taken = |events| Taken { events, dead_letters: 1, suppressed: 4 };
        let door = [(10, "web".to_owned(), taken(12)), (11, "app".to_owned(), taken(5))];
        let told = books.minutes(&door, 11 * MINUTE_US + IN_THE_DOOR_US, 3);
        let told: Vec<_> = told
            .iter()
            .map(|told| {
                let door = told.door.map(|door| (door.accepted, door.dead_lettered, door.suppressed));
                (told.minute_us / MINUTE_US, told.source.as_str(), door, told.in_lake, told.settled, told.difference)
            })
            .collect();
        let expected = [
            (9, "before", None, 7, true, 0),
            (10, "web", Some((12, 1, 4)), 7, true, 3),
            (11, "app", Some((5, 1, 4)), 0, false, 0),
        ];
        assert_eq!(told, expected);
        assert_eq!(books.minutes(&door, 0, 1).len(), 1);
        let old = [(10 - MINUTES_MAX - 1, "web".to_owned(), taken(5))];
        assert_eq!(books.report(&old, i64::MAX).difference, 0, "the lake's side of it is forgotten");
        assert!(Books::default().minutes(&[], 0, 9).is_empty());
    }
}
