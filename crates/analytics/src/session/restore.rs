//! The open sessions again, after a restart.
//!
//! In:       what the last commit knew: the watermark of each source, the latest row of each unsealed session, and the
//!           events below the committed offset that may be in one.
//! Out:      the `Sessionizer` as it stood after the `drain` of that commit: it tells nothing of this again.
//! Promise:  it finds exactly the sessions it was given, or says which key disagrees; it never goes on with a guess.
//! Not here: reading the tables (`pipeline`).
//!
//! Give all watermarks and unsealed rows first, then the events: an event is kept only if its key has an unsealed
//! session that began no later. Sealed sessions end before the first unsealed one begins (`SessionRule::is_sealed`),
//! and all events of the key at that very time belong to it, since two events at one time are never parted. So
//! `start_time_us` alone tells what to keep.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::event::SessionEvent;
use super::id::{SessionId, SessionKey};
use super::line::Line;
use super::rule::SessionRule;
use super::sessionizer::Sessionizer;

/// The tables do not agree with each other, or not with the rule. Going on would count visits twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error(
        "session {session_id} of source {source_name} is in the table `sessions` but its events give {found}: \
         the session rule or the table `events` has changed"
    )]
    NotFound { source_name: Arc<str>, session_id: SessionId, found: FoundSessions },
    #[error(
        "the events of source {source_name} give session {session_id}, which the table `sessions` does not list as \
         unsealed: rows of it are missing"
    )]
    NotListed { source_name: Arc<str>, session_id: SessionId },
    #[error("source {source_name} has unsealed sessions but no watermark")]
    NoWatermark { source_name: Arc<str> },
}

/// How many sessions the events of the key give in its stead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundSessions(pub usize);

impl std::fmt::Display for FoundSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            1 => f.write_str("another"),
            count => write!(f, "{count} others"),
        }
    }
}

/// Gathers what the last commit knew.
#[derive(Debug)]
pub struct Restorer {
    rule: SessionRule,
    sources: BTreeMap<Arc<str>, RestoredSource>,
}

#[derive(Debug, Default)]
struct RestoredSource {
    watermark_us: Option<i64>,
    keys: HashMap<Arc<str>, RestoredKey>,
}

#[derive(Debug)]
struct RestoredKey {
    earliest_start_us: i64,
    unsealed: Vec<(i64, SessionId)>,
    events: Vec<SessionEvent>,
}

impl Restorer {
    pub(super) fn new(rule: SessionRule) -> Self {
        Self { rule, sources: BTreeMap::new() }
    }

    /// The watermark of a source at the commit.
    pub fn watermark(&mut self, source: &str, watermark_us: i64) {
        self.source(source).watermark_us = Some(watermark_us);
    }

    /// An unsealed session: the latest row of its id, no tombstone, and not `SessionRule::is_sealed` at the watermark
    /// of its source.
    pub fn unsealed(&mut self, key: SessionKey<'_>, start_time_us: i64, session_id: SessionId) {
        let source = self.source(key.source);
        let key = source.keys.entry(key.session_key.into()).or_insert(RestoredKey {
            earliest_start_us: start_time_us,
            unsealed: Vec::new(),
            events: Vec::new(),
        });
        key.earliest_start_us = key.earliest_start_us.min(start_time_us);
        key.unsealed.push((start_time_us, session_id));
    }

    /// Whether `event` would keep an event of this key and time; lets the caller skip making it.
    pub fn wants(&self, key: SessionKey<'_>, time_us: i64) -> bool {
        self.sources
            .get(key.source)
            .and_then(|source| source.keys.get(key.session_key))
            .is_some_and(|key| key.earliest_start_us <= time_us)
    }

    /// An event below the committed offset that was counted: of a kind that `belongs_to_session`, and not flagged late;
    /// one that `wants` says yes to. In any order, each once.
    pub fn event(&mut self, key: SessionKey<'_>, event: SessionEvent) {
        let of_source = self.sources.get_mut(key.source);
        let of_key = of_source.and_then(|source| source.keys.get_mut(key.session_key));
        of_key.expect("the caller asked whether it is wanted").events.push(event);
    }

    pub fn finish(self) -> Result<Sessionizer, RestoreError> {
        let mut sessionizer = Sessionizer::new(self.rule);
        for (name, source) in self.sources {
            match source.watermark_us {
                Some(watermark_us) => sessionizer.restore_watermark(name.clone(), watermark_us),
                None => return Err(RestoreError::NoWatermark { source_name: name }),
            }
            for (session_key, mut key) in source.keys {
                key.unsealed.sort_unstable();
                if key.events.is_empty() {
                    let session_id = key.unsealed[0].1;
                    return Err(RestoreError::NotFound { source_name: name, session_id, found: FoundSessions(0) });
                }
                let line = Line::told(name.clone(), session_key, key.events, &sessionizer.rule);
                compare(&name, &key.unsealed, &line)?;
                sessionizer.restore_line(name.clone(), line);
            }
        }
        Ok(sessionizer)
    }

    fn source(&mut self, name: &str) -> &mut RestoredSource {
        if !self.sources.contains_key(name) {
            self.sources.insert(name.into(), RestoredSource::default());
        }
        self.sources.get_mut(name).expect("inserted above")
    }
}

/// * `unsealed`: sorted.
fn compare(name: &Arc<str>, unsealed: &[(i64, SessionId)], line: &Line) -> Result<(), RestoreError> {
    let mut found: Vec<(i64, SessionId)> = line.sessions().collect();
    found.sort_unstable();
    if let Some(&(_, session_id)) = unsealed.iter().find(|row| found.binary_search(row).is_err()) {
        let found = FoundSessions(found.len());
        return Err(RestoreError::NotFound { source_name: name.clone(), session_id, found });
    }
    match found.iter().find(|row| unsealed.binary_search(row).is_err()) {
        Some(&(_, session_id)) => Err(RestoreError::NotListed { source_name: name.clone(), session_id }),
        None => Ok(()),
    }
}
