//! Events that came too late for a session while an import ran, by the server's own count.
//!
//! In:      what the server counts before and after; the times of the rows.
//! Out:     a line to tell, or none.
//! Promise: an import whose rows cannot be late waits for nothing; one that may be waits at most `WAIT_MAX` until the lake has
//!          it. Where no stream job runs behind the address, nothing is said.
//! Not here: what makes an event late (`analytics/src/session/rule.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Summary, grouped, lateness_us};
use crate::ops::{Report, ask};

/// Longer than `pipeline.commit_interval_ms`, where nobody sets it, and a commit.
const WAIT_MAX: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A server too busy to say how it is would hold up the import.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How it was before the first row.
pub(super) struct Before {
    late: u64,
    /// The newest watermark, by source.
    watermarks_us: BTreeMap<String, i64>,
}

impl Before {
    pub(super) async fn ask(url: &str) -> Option<Self> {
        let report = asked(url).await?;
        let mut watermarks_us = BTreeMap::new();
        let partitions = report.topics.iter().flat_map(|topic| &topic.partitions);
        for (source, watermark_us) in partitions.flat_map(|partition| &partition.watermarks_us) {
            let newest_us = watermarks_us.entry(source.clone()).or_insert(*watermark_us);
            *newest_us = (*watermark_us).max(*newest_us);
        }
        Some(Self { late: late(&report)?, watermarks_us })
    }

    /// * `source`: what the rows were filed under; `None` where only the server knows.
    /// * `oldest_us`, `behind`: of the rows.
    fn may_be_late(&self, source: Option<&str>, oldest_us: Option<i64>, behind: u64) -> bool {
        let of_source = self.watermarks_us.iter().filter(|(name, _)| source.is_none_or(|source| source == *name));
        let newest_us = of_source.map(|(_, watermark_us)| *watermark_us).max();
        let is_old =
            oldest_us.zip(newest_us).is_some_and(|(oldest_us, newest_us)| oldest_us < newest_us - lateness_us());
        is_old || 0 < behind
    }

    /// What to tell once all is sent.
    pub(super) async fn told(self, url: &str, source: Option<&str>, summary: &Summary) -> Option<String> {
        if !self.may_be_late(source, summary.oldest_us, summary.behind) {
            return None;
        }
        let begun = Instant::now();
        let mut report = asked(url).await?;
        let sent: Vec<(u32, u64)> = events(&report).map(|partition| (partition.partition, partition.next)).collect();
        while !is_in_the_lake(&report, &sent) {
            if WAIT_MAX < begun.elapsed() {
                return Some(
                    "whether events came too late for a session is not known yet: see `tributary status`".to_owned(),
                );
            }
            tokio::time::sleep(ASK_EVERY).await;
            report = asked(url).await?;
        }
        // The count follows the commit.
        tokio::time::sleep(ASK_EVERY).await;
        let count = late(&asked(url).await?)?.saturating_sub(self.late);
        (0 < count).then(|| {
            format!(
                "{} {} too late for a session meanwhile: their source had sent newer ones already. They are in `events`, and in no \
                 session. Give older files a source of their own, or put them into one file sorted by time: docs/import.md",
                grouped(count),
                if count == 1 { "event came" } else { "events came" }
            )
        })
    }
}

async fn asked(url: &str) -> Option<Report> {
    tokio::time::timeout(ANSWER_MAX, ask(url, 0)).await.ok()?.ok()
}

fn late(report: &Report) -> Option<u64> {
    report.job.as_ref().map(|job| job.events.get("late").copied().unwrap_or_default())
}

/// The first topic is that of events.
fn events(report: &Report) -> impl Iterator<Item = &crate::ops::PartitionReport> {
    report.topics.iter().take(1).flat_map(|topic| &topic.partitions)
}

fn is_in_the_lake(report: &Report, sent: &[(u32, u64)]) -> bool {
    sent.iter().all(|(number, next)| {
        let committed = events(report).find(|partition| partition.partition == *number).and_then(|at| at.committed);
        *next <= committed.unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_may_be_late_are_waited_for() {
        let hour_us = lateness_us();
        let watermarks_us = [("import".to_owned(), 10 * hour_us), ("web".to_owned(), 20 * hour_us)].into();
        let before = Before { late: 0, watermarks_us };
        for (source, oldest_us, behind, may_be) in [
            (Some("import"), Some(9 * hour_us), 0, false),
            (Some("import"), Some(9 * hour_us - 1), 0, true),
            (Some("new"), Some(0), 0, false),
            (Some("new"), Some(0), 1, true),
            // Whose key it is only the server knows.
            (None, Some(9 * hour_us), 0, true),
            (Some("import"), None, 0, false),
        ] {
            assert_eq!(before.may_be_late(source, oldest_us, behind), may_be, "{source:?} {oldest_us:?} {behind}");
        }
    }
}
