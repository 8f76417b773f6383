//! Which files are worth a rewrite. A plain function of what the log says and the time.
//!
//! In:      the live files of a table.
//! Out:     one job a partition for which it pays: the files to rewrite, and whether against all others of the day.
//! Promise: over the life of a day each row is rewritten a few times, not once a compaction: a file joins only when the
//!          smaller ones together are worth it.
//!
//! While a day grows, its small files are put together once there are enough of them. When it is over and quiet, it is
//! settled: everything sorted into files that do not overlap, duplicates looked for in all of it. What comes late is settled
//! against the day as it lies, and the day made anew only when a fifth of it is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::Date32Type;
use tributary_schemas::Table;

use crate::settings::LakeSettings;
use crate::snapshot::DataFile;

pub(crate) type Partition = Arc<[(String, Option<String>)]>;

const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
/// After midnight UTC a day is not over at once: events come a little late.
const OPEN_AFTER_MS: i64 = 2 * HOUR_MS;
/// A day of the past into which rows are coming is one that grows: an import of history.
const QUIET_MS: i64 = HOUR_MS / 6;
/// A single late file waits so long for company.
const LONELY_MS: i64 = 24 * HOUR_MS;
/// So many small settled files are one too many: each was a late trickle.
const TRICKLES_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub partition: Partition,
    pub inputs: Vec<DataFile>,
    /// Other files of the partition, left as they are unless they hold a row that has to go.
    pub others: Vec<DataFile>,
    /// The inputs are compared with the others too, and are settled afterwards.
    pub whole: bool,
}

impl Job {
    /// Every file the rows are compared with, inputs first.
    pub(crate) fn compared(&self) -> Vec<DataFile> {
        let others = if self.whole { &self.others[..] } else { &[] };
        self.inputs.iter().chain(others).cloned().collect()
    }

    /// The inputs and those of `compared` with these numbers.
    pub(crate) fn with(&self, numbers: &[u32]) -> Vec<DataFile> {
        let compared = self.compared();
        let mut inputs = self.inputs.clone();
        let more = numbers.iter().map(|number| *number as usize).filter(|number| self.inputs.len() <= *number);
        inputs.extend(more.map(|number| compared[number].clone()));
        inputs
    }
}

/// Jobs in the order of their days.
pub(crate) fn plan(
    table: Table,
    files: &[DataFile],
    now_ms: i64,
    settings: &LakeSettings,
    everything: bool,
) -> Vec<Job> {
    let mut partitions: BTreeMap<Partition, Vec<DataFile>> = BTreeMap::new();
    for file in files {
        partitions.entry(file.partition.clone()).or_default().push(file.clone());
    }
    let mut jobs = Vec::new();
    for (partition, files) in partitions {
        let day = Day { table, day: day_of(&partition), now_ms, settings };
        let picked = match (everything, day.is_over(&files)) {
            (true, _) => day.everything(&files),
            (false, true) => day.settle(&files),
            (false, false) => day.gather(&files).map(|inputs| (inputs, false)),
        };
        if let Some((inputs, whole)) = picked {
            let is_other = |file: &DataFile| !inputs.iter().any(|input| input.path == file.path);
            let others = files.into_iter().filter(is_other).collect();
            jobs.push(Job { partition, inputs, others, whole });
        }
    }
    jobs
}

/// Days since 1970; `None` where the table is not cut by day.
pub(crate) fn day_of(partition: &[(String, Option<String>)]) -> Option<i64> {
    partition.first().and_then(|(_, value)| Date32Type::parse(value.as_deref()?)).map(i64::from)
}

/// Whether a day is so long gone that a session keeps only its newest version.
pub(crate) fn is_history_over(day: Option<i64>, now_ms: i64, settings: &LakeSettings) -> bool {
    let days = i64::try_from(settings.session_history_days).unwrap_or(i64::MAX / DAY_MS);
    0 < days && day.is_some_and(|day| (day + 1).saturating_add(days).saturating_mul(DAY_MS) <= now_ms)
}

struct Day<'s> {
    table: Table,
    day: Option<i64>,
    now_ms: i64,
    settings: &'s LakeSettings,
}

impl Day<'_> {
    fn is_over(&self, files: &[DataFile]) -> bool {
        let Some(day) = self.day else { return false };
        let newest_ms = files.iter().filter(|file| !file.settled).map(|file| file.modified_ms).max();
        (day + 1) * DAY_MS + OPEN_AFTER_MS <= self.now_ms
            && newest_ms.is_none_or(|newest_ms| newest_ms + QUIET_MS <= self.now_ms)
    }

    fn is_small(&self, file: &DataFile) -> bool {
        file.size_bytes < self.settings.compact_file_bytes / 2
    }

    /// Done with, until others come. A session's versions are looked through once more when their time is over.
    fn is_settled(&self, file: &DataFile) -> bool {
        let settled_too_early = self.table == Table::Sessions
            && is_history_over(self.day, self.now_ms, self.settings)
            && !is_history_over(self.day, file.modified_ms, self.settings);
        file.settled && file.sorted && !settled_too_early
    }

    /// Of a day that still grows: its small files, if there are enough.
    fn gather(&self, files: &[DataFile]) -> Option<Vec<DataFile>> {
        let mut small: Vec<&DataFile> =
            files.iter().filter(|file| !file.settled && (!file.sorted || self.is_small(file))).collect();
        small.sort_by(|one, other| (one.size_bytes, &one.path).cmp(&(other.size_bytes, &other.path)));
        let mut bytes = 0;
        let worth = |file: &&&DataFile| {
            let joins = !file.sorted || file.size_bytes <= 4 * bytes;
            bytes += if joins { file.size_bytes } else { 0 };
            joins
        };
        // Unsorted ones are all small ones' equals: they count whatever they weigh.
        let inputs: Vec<DataFile> = small.iter().filter(worth).map(|file| (*file).clone()).collect();
        (self.settings.compact_files_min <= inputs.len()).then_some(inputs)
    }

    /// Of a day that is over: what is to be settled, and that it is to be compared with all.
    fn settle(&self, files: &[DataFile]) -> Option<(Vec<DataFile>, bool)> {
        let (settled, late): (Vec<&DataFile>, Vec<&DataFile>) = files.iter().partition(|file| self.is_settled(file));
        let bytes = |files: &[&DataFile]| files.iter().map(|file| file.size_bytes).sum::<u64>();
        let trickles = settled.iter().filter(|file| self.is_small(file)).count();
        let much_is_late = !late.is_empty() && bytes(&settled) <= 4 * bytes(&late);
        if much_is_late || TRICKLES_MAX <= trickles {
            return Some((files.to_vec(), true));
        }
        let waited = |file: &&DataFile| file.modified_ms + LONELY_MS <= self.now_ms;
        (2 <= late.len() || late.iter().any(waited)).then(|| (late.into_iter().cloned().collect(), true))
    }

    fn everything(&self, files: &[DataFile]) -> Option<(Vec<DataFile>, bool)> {
        let small = files.iter().filter(|file| self.is_small(file)).count();
        let is_done = files.iter().all(|file| self.is_settled(file)) && small <= 1;
        (!is_done).then(|| (files.to_vec(), true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    /// 2026-01-06, six in the morning.
    const NOW_MS: i64 = 20_459 * DAY_MS + 6 * HOUR_MS;
    const TODAY: &str = "2026-01-06";
    const YESTERDAY: &str = "2026-01-05";

    fn file(day: &str, number: usize, bytes: u64, settled: bool) -> DataFile {
        DataFile {
            path: format!("events/event_date={day}/{number}.parquet").into(),
            size_bytes: bytes,
            rows: 1,
            partition: [("event_date".to_owned(), Some(day.to_owned()))].into(),
            stats: [].into(),
            modified_ms: NOW_MS - HOUR_MS,
            sorted: settled,
            settled,
        }
    }

    fn planned(files: &[DataFile]) -> Vec<(usize, usize, bool)> {
        let jobs = plan(Table::Events, files, NOW_MS, &LakeSettings::default(), false);
        jobs.iter().map(|job| (job.inputs.len(), job.others.len(), job.whole)).collect()
    }

    fn files(day: &str, count: usize, bytes: u64) -> Vec<DataFile> {
        (0..count).map(|number| file(day, number, bytes, false)).collect()
    }

    #[test]
    fn small_files_of_today_are_gathered_once_there_are_enough() {
        assert_eq!(planned(&files(TODAY, 15, MB)), []);
        assert_eq!(planned(&files(TODAY, 16, MB)), [(16, 0, false)]);
    }

    #[test]
    fn what_was_gathered_is_left_until_enough_has_come_beside_it() {
        let mut today = files(TODAY, 16, MB);
        today.push(DataFile { sorted: true, ..file(TODAY, 99, 90 * MB, false) });
        assert_eq!(planned(&today), [(16, 1, false)], "16 MB do not make 90 MB worth a rewrite");
        today.extend((20..30).map(|number| file(TODAY, number, MB, false)));
        assert_eq!(planned(&today), [(27, 0, false)]);
        today.push(DataFile { sorted: true, ..file(TODAY, 100, 190 * MB, false) });
        assert_eq!(planned(&today), [(27, 1, false)], "a file that is large enough is done");
    }

    #[test]
    fn yesterday_is_settled_whole_and_once() {
        assert_eq!(planned(&files(YESTERDAY, 1, MB)), [(1, 0, true)]);
        assert_eq!(planned(&[file(YESTERDAY, 0, MB, true)]), []);
        let noisy = DataFile { modified_ms: NOW_MS - 60_000, ..file(YESTERDAY, 0, MB, false) };
        assert_eq!(planned(&[noisy]), [], "rows are still coming");
    }

    #[test]
    fn late_files_are_settled_beside_a_settled_day_and_the_day_anew_when_a_fifth_is_late() {
        let settled = file(YESTERDAY, 0, 190 * MB, true);
        let mut day = vec![settled, file(YESTERDAY, 1, MB, false)];
        assert_eq!(planned(&day), [], "one waits for company");
        day[1].modified_ms = NOW_MS - 2 * LONELY_MS;
        assert_eq!(planned(&day), [(1, 1, true)], "but not for ever");
        day.push(file(YESTERDAY, 2, MB, false));
        assert_eq!(planned(&day), [(2, 1, true)]);
        day.push(file(YESTERDAY, 3, 50 * MB, false));
        assert_eq!(planned(&day), [(4, 0, true)]);
        let trickles: Vec<DataFile> = (0..8).map(|number| file(YESTERDAY, number, MB, true)).collect();
        assert_eq!(planned(&trickles), [(8, 0, true)]);
    }

    #[test]
    fn sessions_are_looked_through_again_when_the_time_of_their_versions_is_over() {
        let settled = |modified_ms| DataFile {
            modified_ms,
            partition: [("start_date".to_owned(), Some("2025-11-01".to_owned()))].into(),
            ..file(YESTERDAY, 0, 190 * MB, true)
        };
        let planned = |file| plan(Table::Sessions, &[file], NOW_MS, &LakeSettings::default(), false).len();
        assert_eq!(planned(settled(NOW_MS - 60 * DAY_MS)), 1);
        assert_eq!(planned(settled(NOW_MS - DAY_MS)), 0);
    }

    #[test]
    fn a_table_without_days_only_grows() {
        let whole: Vec<DataFile> =
            files(TODAY, 20, MB).into_iter().map(|file| DataFile { partition: [].into(), ..file }).collect();
        let jobs = plan(Table::Identities, &whole, NOW_MS, &LakeSettings::default(), false);
        assert_eq!((jobs.len(), jobs[0].inputs.len(), jobs[0].whole), (1, 20, false));
    }
}
