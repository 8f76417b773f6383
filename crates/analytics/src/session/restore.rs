//! The open sessions again, after a restart: from the tables.
//!
//! In:       what the last commit knew: the watermark of each source, the latest row of each unsealed session, and the
//!           events below the committed offset that may be in one.
//! Out:      the `Sessionizer` as it stood after the `drain` of that commit: it tells nothing of this again.
//! Promise:  it finds exactly the sessions it was given, or says which key disagrees; it never goes on with a guess.
//! Not here: reading the tables (`pipeline`); the quick way (`snapshot.rs`).
//!
//! Give all watermarks and unsealed rows first, then the events: an event is kept only if its key has an unsealed
//! session that began no later. Sealed sessions end before the first unsealed one begins (`SessionRule::is_sealed`),
//! and all events of the key at that very time belong to it, since two events at one time are never parted. So
//! `start_time_us` alone tells what to keep.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::draft::Draft;
use super::event::SessionEvent;
use super::fact::{Fact, Pile, Reader};
use super::id::{SessionId, SessionKey};
use super::line::Listener;
use super::rule::SessionRule;
use super::sessionizer::Sessionizer;
use super::span::Span;

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
    /// Takes the texts meanwhile, and in the end the lines.
    sessionizer: Sessionizer,
    sources: BTreeMap<Arc<str>, RestoredSource>,
}

#[derive(Debug, Default)]
struct RestoredSource {
    watermark_us: Option<i64>,
    keys: HashMap<Box<str>, RestoredKey>,
}

#[derive(Debug)]
struct RestoredKey {
    earliest_start_us: i64,
    unsealed: Vec<(i64, SessionId)>,
    /// Its events as they came, each written by itself: they are many, and come in any order.
    facts: Vec<u8>,
}

impl Restorer {
    pub(super) fn new(rule: SessionRule) -> Self {
        Self { sessionizer: Sessionizer::new(rule), sources: BTreeMap::new() }
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
            facts: Vec::new(),
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
    pub fn event(&mut self, key: SessionKey<'_>, event: &SessionEvent<'_>) {
        let of_source = self.sources.get_mut(key.source);
        let of_key = of_source.and_then(|source| source.keys.get_mut(key.session_key));
        let facts = &mut of_key.expect("the caller asked whether it is wanted").facts;
        let fact = self.sessionizer.fact_of(key.session_key, event);
        let pile = self.sessionizer.pile_mut();
        fact.pack(&Fact::NONE, pile, facts);
        pile.clear();
    }

    pub fn finish(self) -> Result<Sessionizer, RestoreError> {
        let mut sessionizer = self.sessionizer;
        sessionizer.reserve_lines(self.sources.values().map(|source| source.keys.len()).sum());
        for (name, source) in self.sources {
            let Some(watermark_us) = source.watermark_us else {
                return Err(RestoreError::NoWatermark { source_name: name });
            };
            let number = sessionizer.add_source(&name, Some(watermark_us));
            for (session_key, mut key) in source.keys {
                key.unsealed.sort_unstable();
                if key.facts.is_empty() {
                    let session_id = key.unsealed[0].1;
                    return Err(RestoreError::NotFound { source_name: name, session_id, found: FoundSessions(0) });
                }
                let mut found = Found { key: SessionKey { source: &name, session_key: &session_key }, ids: Vec::new() };
                let facts = sorted(&key.facts, sessionizer.pile_mut());
                sessionizer.restore_line(number, &session_key, facts, &mut found);
                compare(&name, &key.unsealed, found.ids)?;
            }
        }
        sessionizer.pile_mut().clear();
        Ok(sessionizer)
    }

    fn source(&mut self, name: &str) -> &mut RestoredSource {
        if !self.sources.contains_key(name) {
            self.sources.insert(name.into(), RestoredSource::default());
        }
        self.sources.get_mut(name).expect("inserted above")
    }
}

/// Facts that were each written by itself, in their order. The pile holds their exposures and nothing else.
fn sorted(packed: &[u8], pile: &mut Pile) -> Vec<Fact> {
    pile.clear();
    let mut reader = Reader::new(packed, 0);
    let mut facts = Vec::new();
    while !reader.is_at_end() {
        let mut fact = Fact::NONE;
        fact.unpack(&mut reader, pile);
        facts.push(fact);
    }
    facts.sort_unstable_by_key(Fact::place);
    facts
}

/// The sessions a line turns out to have, with their starts.
struct Found<'k> {
    key: SessionKey<'k>,
    ids: Vec<(i64, SessionId)>,
}

impl Listener for Found<'_> {
    fn session(&mut self, draft: &Draft) {
        let (start_us, tie) = draft.span.name();
        self.ids.push((start_us, SessionId::of_first(self.key, tie, start_us)));
    }

    fn gone(&mut self, _: Span, _: (i64, u64)) {
        unreachable!("a new line has told nothing that could be taken back")
    }
}

/// * `unsealed`: sorted.
fn compare(
    name: &Arc<str>,
    unsealed: &[(i64, SessionId)],
    mut found: Vec<(i64, SessionId)>,
) -> Result<(), RestoreError> {
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
