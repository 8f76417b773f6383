//! The fold over the log: events in, versions of sessions out.
//!
//! In:       events of one log partition in log order (`observe`).
//! Out:      what changed since the last call (`drain`), the watermark of each source, the lowest offset still needed.
//! Promise:  lateness is a function of the log order alone; `drain` and restarts move nothing but the moment of telling.
//!           Memory is bounded by the sessions that can still change: `drain` forgets the sealed ones, and looks only at
//!           those that are due.
//! Not here: how a line is cut (`line.rs`), rebuilding after a restart (`restore.rs`), who counts late events.
//!
//! The watermark is kept per source, not per partition: sources have clocks and habits of their own, and an import of
//! last year's orders must not wait for, nor make late, today's clicks of the shop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::event::{SessionEvent, belongs_to_session};
use super::id::{SessionId, SessionKey};
use super::line::Line;
use super::restore::Restorer;
use super::rule::SessionRule;
use super::summary::Session;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It is in a session.
    Counted,
    /// It is older than the allowed lateness: in no session. The caller flags and counts it.
    Late,
}

/// One change to tell the lake.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionChange {
    /// The session as it now stands, whole; it replaces what was told under its id, a tombstone too.
    Upsert(Box<Session>),
    /// This id no longer names a session.
    Tombstone(Tombstone),
}

/// A session that was told and is no more: merged into another by an event between them, or cut elsewhere because an
/// earlier event moved the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub session_id: SessionId,
    /// The session that now holds the first event of this one. A different id, and one that lives.
    pub superseded_by: SessionId,
    pub source: Arc<str>,
    pub session_key: Arc<str>,
    /// These four are as last told: the tombstone is filed beside the row it takes back.
    pub start_time_us: i64,
    pub end_time_us: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub rule: Arc<str>,
}

impl SessionChange {
    pub fn session_id(&self) -> SessionId {
        match self {
            Self::Upsert(session) => session.session_id,
            Self::Tombstone(tombstone) => tombstone.session_id,
        }
    }

    pub fn first_offset(&self) -> i64 {
        match self {
            Self::Upsert(session) => session.first_offset,
            Self::Tombstone(tombstone) => tombstone.first_offset,
        }
    }
}

/// The open sessions of one log partition.
#[derive(Debug)]
pub struct Sessionizer {
    pub(super) rule: SessionRule,
    rule_text: Arc<str>,
    sources: BTreeMap<Arc<str>, Source>,
    /// The lowest offset of each line.
    lowest_offsets: BTreeSet<i64>,
    session_count: usize,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    watermark_us: Option<i64>,
    lines: HashMap<Arc<str>, Line>,
    /// Each line once, under an end of its oldest session that may be out of date but is never too high: sessions are
    /// extended far more often than they are sealed, and an append must not pay for the order of eviction.
    by_end: BTreeSet<(i64, Arc<str>)>,
    /// Lines with something to tell, each once.
    touched: Vec<Arc<str>>,
}

impl Sessionizer {
    /// * `rule`: one that `check` finds no fault with.
    pub fn new(rule: SessionRule) -> Self {
        debug_assert!(rule.check().is_empty(), "the settings are checked at start");
        let rule_text = rule.to_string().into();
        Self { rule, rule_text, sources: BTreeMap::new(), lowest_offsets: BTreeSet::new(), session_count: 0 }
    }

    /// Begins to rebuild the sessions as they stood when the last `drain` was committed.
    pub fn restorer(rule: SessionRule) -> Restorer {
        Restorer::new(rule)
    }

    /// Takes in the next event of the log.
    ///
    /// * `event`: of a kind that `belongs_to_session`; the watermark, too, is moved by those alone, so that a bulk load
    ///   of costs or sends makes nobody's visit late.
    pub fn observe(&mut self, key: SessionKey<'_>, event: SessionEvent) -> Observed {
        debug_assert!(belongs_to_session(event.kind), "the caller keeps back what is no activity");
        if !self.sources.contains_key(key.source) {
            self.sources.insert(key.source.into(), Source::new(key.source.into()));
        }
        let source = self.sources.get_mut(key.source).expect("inserted above");
        // Lateness first: an event is judged by the watermark it finds, not by the one it makes.
        let wanted_us = self.rule.watermark_of(event.time_us);
        let late = source.watermark_us.is_some_and(|watermark_us| self.rule.is_late(event.time_us, watermark_us));
        source.watermark_us = source.watermark_us.max(Some(wanted_us));
        if late {
            return Observed::Late;
        }
        match source.lines.get_mut(key.session_key) {
            Some(line) => {
                let (lowest_before, time_us) = (line.lowest_offset(), event.time_us);
                self.session_count += line.insert(event, &self.rule);
                if line.lowest_offset() < lowest_before {
                    self.lowest_offsets.remove(&lowest_before);
                    self.lowest_offsets.insert(line.lowest_offset());
                }
                // The oldest session will not end before the earliest event, wherever the next report cuts it.
                let end_us = line.first_end_us().min(time_us);
                if end_us < line.filed_under_us {
                    source.refile(key.session_key, end_us);
                }
                source.touch(key.session_key);
            }
            None => {
                let session_key: Arc<str> = key.session_key.into();
                let line = Line::new(source.name.clone(), session_key, event);
                self.session_count += line.session_count();
                self.lowest_offsets.insert(line.lowest_offset());
                source.file(line);
                source.touch(key.session_key);
            }
        }
        Observed::Counted
    }

    /// What changed since the last call, by first offset and then id; then forgets what no event can change any more.
    ///
    /// An id that came and went in between is not mentioned, and no id is mentioned twice.
    pub fn drain(&mut self) -> Vec<SessionChange> {
        let mut changes = Vec::new();
        for source in self.sources.values_mut() {
            for session_key in std::mem::take(&mut source.touched) {
                let line = source.lines.get_mut(&session_key).expect("a touched line is kept until it is reported");
                line.touched = false;
                let opened = line.report(&self.rule, &self.rule_text, &mut changes);
                self.session_count =
                    self.session_count.checked_add_signed(opened).expect("each line counts its own sessions");
            }
        }
        changes.sort_unstable_by_key(|change| (change.first_offset(), change.session_id()));
        self.evict();
        changes
    }

    /// What `drain` would say now, without being told: the next `drain` says it all the same.
    pub fn peek(&self) -> Vec<SessionChange> {
        let mut changes = Vec::new();
        for source in self.sources.values() {
            for session_key in &source.touched {
                // A line holds a day of one key's events at most, and only those of lines with news are copied.
                let mut line =
                    source.lines.get(session_key).expect("a touched line is kept until it is reported").clone();
                line.report(&self.rule, &self.rule_text, &mut changes);
            }
        }
        changes.sort_unstable_by_key(|change| (change.first_offset(), change.session_id()));
        changes
    }

    fn evict(&mut self) {
        for source in self.sources.values_mut() {
            let Some(watermark_us) = source.watermark_us else { continue };
            while source.by_end.first().is_some_and(|(end_us, _)| self.rule.is_sealed(*end_us, watermark_us)) {
                let (_, session_key) = source.by_end.pop_first().expect("seen above");
                let line = source.lines.get_mut(&session_key).expect("a line is filed as long as it is kept");
                let lowest_before = line.lowest_offset();
                self.session_count -= line.evict(&self.rule, watermark_us);
                if line.is_empty() {
                    self.lowest_offsets.remove(&lowest_before);
                    source.lines.remove(&session_key);
                    continue;
                }
                if line.lowest_offset() != lowest_before {
                    self.lowest_offsets.remove(&lowest_before);
                    self.lowest_offsets.insert(line.lowest_offset());
                }
                line.filed_under_us = line.first_end_us();
                source.by_end.insert((line.filed_under_us, session_key));
            }
        }
    }

    /// The lowest log offset among the events of unsealed sessions: from here on the log (or the table `events`) must be
    /// read to rebuild them. `None` when nothing is open.
    pub fn low_offset(&self) -> Option<i64> {
        self.lowest_offsets.first().copied()
    }

    /// Sessions held in memory, as of the last `drain` and what came in order since.
    pub fn open_sessions(&self) -> usize {
        self.session_count
    }

    /// `None` before the first event of the source.
    pub fn watermark_us(&self, source: &str) -> Option<i64> {
        self.sources.get(source).and_then(|source| source.watermark_us)
    }

    /// The watermark of every source seen, by name.
    pub fn watermarks(&self) -> impl Iterator<Item = (&str, i64)> {
        self.sources.iter().filter_map(|(name, source)| Some((&**name, source.watermark_us?)))
    }

    pub fn rule(&self) -> &SessionRule {
        &self.rule
    }

    /// For `restore.rs`: sets the watermark of a source as it was.
    pub(super) fn restore_watermark(&mut self, name: Arc<str>, watermark_us: i64) {
        self.sources.entry(name.clone()).or_insert_with(|| Source::new(name)).watermark_us = Some(watermark_us);
    }

    /// For `restore.rs`: takes over a line whose sessions have all been told.
    pub(super) fn restore_line(&mut self, name: Arc<str>, line: Line) {
        self.session_count += line.session_count();
        self.lowest_offsets.insert(line.lowest_offset());
        self.sources.entry(name.clone()).or_insert_with(|| Source::new(name)).file(line);
    }
}

impl Source {
    fn new(name: Arc<str>) -> Self {
        Self { name, watermark_us: None, lines: HashMap::new(), by_end: BTreeSet::new(), touched: Vec::new() }
    }

    fn file(&mut self, line: Line) {
        self.by_end.insert((line.filed_under_us, line.session_key().clone()));
        self.lines.insert(line.session_key().clone(), line);
    }

    fn touch(&mut self, session_key: &str) {
        let line = self.lines.get_mut(session_key).expect("the caller has just written to it");
        if !line.touched {
            line.touched = true;
            self.touched.push(line.session_key().clone());
        }
    }

    /// Files a line under an earlier end.
    fn refile(&mut self, session_key: &str, end_us: i64) {
        let line = self.lines.get_mut(session_key).expect("the caller has just written to it");
        let session_key = line.session_key().clone();
        self.by_end.remove(&(line.filed_under_us, session_key.clone()));
        line.filed_under_us = end_us;
        self.by_end.insert((end_us, session_key));
    }
}
