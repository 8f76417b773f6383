//! Partitions become ours and stop being so.
//!
//! In:       numbers from the settings, once; or what the group decides, at any time.
//! Out:      the job's partitions as the tables hold them, and readers that stand where the tables stand.
//! Promise:  what comes is recovered, what goes is committed before it is given back, what is lost is dropped; the other
//!           partitions notice nothing of it.
//! Not here: who is right when two workers own one partition: the commit decides.

use std::time::Duration;

use tokio::time::Instant;
use tributary_eventlog::TopicInfo;

use super::look::as_it_is;
use super::{Job, Summary, rule_of};
use crate::catch_up::catch_up;
use crate::commit::{AppIds, CommitError, Round, Snapshots, commit_sessions};
use crate::enrich::Enrichment;
use crate::error::PipelineError;
use crate::messages;
use crate::observe::{self, MOVED};
use crate::recover::{recover, recover_dead};
use crate::source::Source;

/// How long a group that asks a partition back is kept waiting for the commit of its rows: well under the time after which
/// Kafka gives up on a member (`max.poll.interval.ms`, five minutes).
const HAND_OVER_MAX: Duration = Duration::from_secs(60);

impl Job<'_> {
    /// Takes the partitions that the settings name.
    pub(super) async fn own_by_number(&mut self, snapshots: &Snapshots) -> Result<(), CommitError> {
        let log = self.parts.log.as_ref();
        let owned = |topic: &TopicInfo| -> Vec<u32> {
            (0..topic.partitions).filter(|partition| self.settings.owns(*partition)).collect()
        };
        let (events, dead) = (owned(&self.topics.events), owned(&self.topics.dead_letters));
        let events_start = self.recover_events(snapshots, &events).await?;
        let dead_start = self.recover_dead(snapshots, &dead).await?;
        self.events_source = Source::fixed(log, &self.topics.events, &events_start).await?;
        self.dead_source = Source::fixed(log, &self.topics.dead_letters, &dead_start).await?;
        Ok(())
    }

    /// Makes these partitions ours, as the tables hold them; returns where to read each from.
    async fn recover_events(
        &mut self,
        snapshots: &Snapshots,
        partitions: &[u32],
    ) -> Result<Vec<(u32, u64)>, CommitError> {
        let (log, topic) = (self.parts.log.as_ref(), &self.topics.events);
        let window_us = i64::try_from(self.settings.dedup_window_ms * 1_000).expect("checked: at most a year");
        let store = self.parts.lake.object_store();
        let rule = rule_of(self.settings);
        let mut gained = recover(snapshots, store.as_ref(), log, topic, partitions, &rule, window_us).await?;
        for owned in &mut gained {
            owned.fold.enrich = Enrichment::new(self.rules.clone());
        }
        messages::restore(snapshots, &mut gained).await?;
        let rows_max = self.settings.commit_rows_max;
        catch_up(&mut self.writers, &snapshots.events, topic, &mut gained, rows_max).await?;
        if gained.iter().any(|owned| owned.at.is_half_raised()) {
            // Whoever raised the watermark died, or is yet to say so here: whichever of us is second is fenced. Only then is
            // it sure by which watermark the next event is judged.
            commit_sessions(&mut self.writers, &AppIds(&topic.topic_id), &mut gained, &mut Round::default()).await?;
        }
        let start = gained.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        self.events.retain(|owned| !partitions.contains(&owned.fold.partition));
        self.events.append(&mut gained);
        self.events.sort_by_key(|owned| owned.fold.partition);
        // Rows that a crash left out of `sessions` are folded already and wait for a commit.
        self.due = Some(Instant::now());
        Ok(start)
    }

    async fn recover_dead(
        &mut self,
        snapshots: &Snapshots,
        partitions: &[u32],
    ) -> Result<Vec<(u32, u64)>, CommitError> {
        let log = self.parts.log.as_ref();
        let mut gained = recover_dead(snapshots, log, &self.topics.dead_letters, partitions).await?;
        let start = gained.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        self.dead.retain(|owned| !partitions.contains(&owned.fold.partition));
        self.dead.append(&mut gained);
        self.dead.sort_by_key(|owned| owned.fold.partition);
        Ok(start)
    }

    /// The group gave us these: from here on they are ours, from where the tables stand.
    pub(super) async fn gain_events(&mut self, gained: &[u32]) -> Result<(), CommitError> {
        self.writers.refresh().await?;
        if gained.iter().any(|partition| self.topics.events.partitions <= *partition) {
            let (log, topic) = (self.parts.log.as_ref(), &self.topics.events);
            let accept = self.settings.accept_grown_partitions;
            self.topics.events = as_it_is(log, topic, topic.partitions, accept).await?;
        }
        let start = self.recover_events(&self.writers.snapshots(), gained).await?;
        // A crash before the group has its answer, or someone else's commit: the next owner begins where the tables stand.
        self.events_source.take(&start).await?;
        self.tell_moved(&self.topics.events, "gained", gained);
        Ok(())
    }

    pub(super) async fn gain_dead(&mut self, gained: &[u32]) -> Result<(), CommitError> {
        self.writers.refresh().await?;
        let start = self.recover_dead(&self.writers.snapshots(), gained).await?;
        self.dead_source.take(&start).await?;
        self.tell_moved(&self.topics.dead_letters, "gained", gained);
        Ok(())
    }

    /// Drops what we hold of these and says so to the group. Rows that were not committed are read again by whoever is next.
    pub(super) async fn let_go_of_events(&mut self, gone: &[u32], how: &'static str) -> Result<(), CommitError> {
        self.events.retain(|owned| !gone.contains(&owned.fold.partition));
        self.events_source.release().await?;
        self.tell_moved(&self.topics.events, how, gone);
        Ok(())
    }

    pub(super) async fn let_go_of_dead(&mut self, gone: &[u32], how: &'static str) -> Result<(), CommitError> {
        self.dead.retain(|owned| !gone.contains(&owned.fold.partition));
        self.dead_source.release().await?;
        self.tell_moved(&self.topics.dead_letters, how, gone);
        Ok(())
    }

    /// Commits what is pending, for another waits to go on from there; not for ever.
    pub(super) async fn hand_over(&mut self, topic: &str, summary: &mut Summary) -> Result<(), CommitError> {
        match tokio::time::timeout(HAND_OVER_MAX, self.commit(summary)).await {
            Ok(committed) => committed,
            // What became of the commit is unknown, so the memory is of no use any more.
            Err(_) => Err(CommitError::Failed(PipelineError::HandOver {
                topic: topic.to_owned(),
                waited_ms: HAND_OVER_MAX.as_millis(),
            })),
        }
    }

    fn tell_moved(&self, topic: &TopicInfo, how: &'static str, partitions: &[u32]) {
        if !partitions.is_empty() {
            observe::publish(&self.events);
            let (events, dead_letters) = (self.events.len(), self.dead.len());
            tracing::info!(
                topic = topic.topic,
                ?partitions,
                now_of_events = events,
                now_of_dead_letters = dead_letters,
                "partitions {how}"
            );
            metrics::counter!(MOVED, "how" => how).increment(partitions.len() as u64);
        }
    }
}
