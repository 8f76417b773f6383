//! Sources that fall silent: the clock closes their last sessions.
//!
//! In:       the watermark of each source, looked at every `log_check_interval_ms`; the time.
//! Out:      watermarks raised to the time, each stored before another event is folded: that there is a rise with `events`,
//!           whose rows are flagged late by it, and then the watermark itself with `sessions`.
//! Promise:  a source is raised once a silence, when its partition is read to the end and no session of it could still be
//!           open by the clock: nothing that arrives in time for its session is made late. One that is not of the present
//!           (an import of history that pauses) is left alone.
//!
//! A replay from the log alone makes no such rises (it reads without pauses), so an event that came after one and before its
//! lateness was over is flagged late here and not there; the repair puts it into the same session in both.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tributary_analytics::session::SessionRule;
use tributary_schemas::{Clock, SystemClock};

use super::{Job, Summary, ends, rule_of};
use crate::commit::{CommitError, Owned};

/// Nearer than this to the time is the present, however short a session.
const PRESENT_US_MIN: i64 = 10 * 60 * 1_000_000;

/// By partition and source, the newest watermark and since when it stands there.
#[derive(Debug, Default)]
pub(super) struct Heard(HashMap<(u32, String), Said>);

#[derive(Debug)]
struct Said {
    watermark_us: i64,
    since: Instant,
    /// The watermark was near the time when it was heard.
    is_present: bool,
    /// It was raised by us.
    is_closed: bool,
}

impl Heard {
    /// Takes in where the watermarks stand; returns which sources have been silent for `idle`, and would have no session
    /// left if their watermark stood at the time.
    fn look<'w>(
        &mut self,
        watermarks: impl Iterator<Item = (u32, &'w str, i64)>,
        eviction_step_us: i64,
        (now, now_us): (Instant, i64),
        rule: &SessionRule,
        idle: Duration,
    ) -> Vec<(u32, String)> {
        let mut before = std::mem::take(&mut self.0);
        let mut silent = Vec::new();
        for (partition, source, watermark_us) in watermarks {
            let key = (partition, source.to_owned());
            let said = match before.remove(&key) {
                Some(said) if said.watermark_us == watermark_us => said,
                _ => {
                    let behind_us = now_us.saturating_sub(watermark_us);
                    // A job that begins while the last sessions of a source may still be open hears its silence too.
                    let open_us = rule.lateness_us.saturating_add(rule.gap_us).saturating_add(eviction_step_us);
                    let idle_us = i64::try_from(idle.as_micros()).unwrap_or(i64::MAX);
                    let usual_us = open_us.saturating_add(2 * rule.watermark_delay_us).saturating_add(idle_us);
                    let is_present = behind_us <= usual_us.max(PRESENT_US_MIN);
                    Said { watermark_us, since: now, is_present, is_closed: false }
                }
            };
            // No event was newer than this, so no session ends later.
            let newest_us = watermark_us.saturating_add(rule.watermark_delay_us).saturating_add(eviction_step_us);
            let is_over = rule.is_sealed(newest_us, now_us.saturating_sub(rule.watermark_delay_us));
            if said.is_present && !said.is_closed && is_over && idle <= now.duration_since(said.since) {
                silent.push(key.clone());
            }
            self.0.insert(key, said);
        }
        silent
    }

    fn close(&mut self, key: (u32, String), watermark_us: i64) {
        let said = Said { watermark_us, since: Instant::now(), is_present: true, is_closed: true };
        self.0.insert(key, said);
    }
}

impl Job<'_> {
    pub(super) async fn close_silent_sources(&mut self, summary: &mut Summary) -> Result<(), CommitError> {
        if self.settings.source_idle_ms == 0 {
            return Ok(());
        }
        let rule = rule_of(self.settings);
        let idle = Duration::from_millis(self.settings.source_idle_ms);
        let now_us = SystemClock.now_us();
        let watermarks = self.events.iter().flat_map(|owned| {
            let partition = owned.fold.partition;
            owned.fold.sessions.watermarks().map(move |(source, watermark_us)| (partition, source, watermark_us))
        });
        let step_us = self.events.iter().map(|owned| owned.fold.sessions.eviction_step_us()).max().unwrap_or(0);
        let mut silent = self.heard.look(watermarks, step_us, (Instant::now(), now_us), &rule, idle);
        if silent.is_empty() {
            return Ok(());
        }
        // What the log still holds comes first: it may be theirs.
        let ends =
            ends(self.parts.log.as_ref(), &self.topics.events, silent.iter().map(|(partition, _)| *partition)).await;
        let at_end = |partition: u32, position: u64| ends.get(&partition).is_some_and(|end| *end <= position);
        silent.retain(|(partition, _)| {
            self.events
                .iter()
                .any(|Owned { fold, .. }| fold.partition == *partition && at_end(*partition, fold.position))
        });
        if silent.is_empty() {
            return Ok(());
        }
        self.commit(summary).await?;
        let watermark_us = now_us.saturating_sub(rule.watermark_delay_us);
        for (partition, source) in silent {
            let Some(owned) = self.events.iter_mut().find(|owned| owned.fold.partition == partition) else { continue };
            owned.fold.sessions.advance(&source, watermark_us);
            owned.fold.was_advanced = true;
            tracing::info!(partition, source, "a source is silent: its sessions are closed by the clock");
            let stands_us = owned.fold.sessions.watermark_us(&source).unwrap_or(watermark_us);
            self.heard.close((partition, source), stands_us);
        }
        self.commit(summary).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const IDLE: Duration = Duration::from_secs(600);

    struct Watch {
        heard: Heard,
        begun: Instant,
    }

    impl Watch {
        fn look(&mut self, minute: u64, watermarks: &[(&str, i64)]) -> Vec<String> {
            let minutes = Duration::from_secs(60 * minute);
            let now = (self.begun + minutes, 1_000 * HOUR_US + i64::try_from(minutes.as_micros()).unwrap());
            // A session is over after 41 minutes.
            let rule = SessionRule { lateness_us: HOUR_US / 6, ..SessionRule::ga4() };
            let watermarks = watermarks.iter().map(|(source, watermark_us)| (0, *source, *watermark_us));
            let silent = self.heard.look(watermarks, 0, now, &rule, IDLE);
            silent.into_iter().map(|(_, source)| source).collect()
        }
    }

    #[test]
    fn a_source_is_silent_once_and_again_after_it_spoke() {
        let mut watch = Watch { heard: Heard::default(), begun: Instant::now() };
        let said_us = 1_000 * HOUR_US;
        for minute in [0, 9, 20, 40] {
            assert!(watch.look(minute, &[("web", said_us)]).is_empty(), "a session may be open in minute {minute}");
        }
        assert_eq!(watch.look(42, &[("web", said_us)]), ["web"]);
        watch.heard.close((0, "web".to_owned()), said_us + HOUR_US);
        assert!(watch.look(300, &[("web", said_us + HOUR_US)]).is_empty());
        let again_us = said_us + 5 * HOUR_US;
        assert!(watch.look(300, &[("web", again_us)]).is_empty());
        assert!(watch.look(330, &[("web", again_us)]).is_empty());
        assert_eq!(watch.look(342, &[("web", again_us)]), ["web"]);
    }

    #[test]
    fn an_import_that_pauses_is_not_silent() {
        let mut watch = Watch { heard: Heard::default(), begun: Instant::now() };
        for minute in [0, 40, 80] {
            assert!(watch.look(minute, &[("history", 10 * HOUR_US)]).is_empty());
        }
    }

    #[test]
    fn a_partition_that_went_and_came_back_is_heard_anew() {
        let mut watch = Watch { heard: Heard::default(), begun: Instant::now() };
        let said = [("web", 1_000 * HOUR_US)];
        watch.look(0, &said);
        watch.look(5, &[]);
        assert!(watch.look(10, &said).is_empty());
        assert!(watch.look(19, &said).is_empty());
        assert_eq!(watch.look(42, &said), ["web"]);
    }
}
