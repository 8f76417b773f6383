//! The fold over the log: events in, versions of sessions out.
//!
//! In:       events of one log partition in log order (`observe`).
//! Out:      what changed since the last call (`drain`), the watermark of each source, the lowest offset still needed.
//! Promise:  lateness is a function of the log order alone; `drain` and restarts move nothing but the moment of telling.
//!           Memory is bounded by the sessions that can still change: `drain` forgets the sealed ones, and looks only at
//!           those that are due.
//! Not here: how a line is cut (`line.rs`), rebuilding after a restart (`restore.rs`, `snapshot.rs`), who counts late
//!           events.
//!
//! The watermark is kept per source, not per partition: sources have clocks and habits of their own, and an import of
//! last year's orders must not wait for, nor make late, today's clicks of the shop.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::changes::{Changes, Held, Told};
use super::event::{SessionEvent, belongs_to_session};
use super::fact::{Fact, Pile};
use super::filing::{Filing, UNFILED};
use super::id::{SessionId, SessionKey};
use super::line::{Line, Listener, Work};
use super::repair::Standing;
use super::restore::Restorer;
use super::rule::SessionRule;
use super::slab::Slab;
use super::texts::Texts;
use super::waiting::Waiting;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It is in a session.
    Counted,
    /// It is older than the allowed lateness: in no session. The caller flags and counts it.
    Late,
}

/// The open sessions of one log partition.
#[derive(Debug)]
pub struct Sessionizer {
    pub(super) rule: SessionRule,
    rule_text: Arc<str>,
    pub(super) sources: Vec<Source>,
    by_name: BTreeMap<Arc<str>, u32>,
    /// The source of the event before: mostly also that of the next.
    last_source: u32,
    pub(super) lines: Slab,
    /// The lines by the hash of their keys.
    table: HashTable<u32>,
    pub(super) texts: Texts,
    waiting: Waiting,
    work: Work,
    pile: Pile,
    /// The last report: its room is used again.
    told: Told,
    /// As of the last report.
    pub(super) session_count: usize,
    /// What the lines hold on the heap, as of the last report.
    line_bytes: usize,
    pub(super) bucket_us: i64,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    /// So that equal keys of two sources have two hashes.
    seed: u64,
    pub(super) watermark_us: Option<i64>,
    pub(super) filing: Filing,
}

/// A session stays in memory for the gap and the lateness after its end, and then up to a bucket of this part of it.
const BUCKETS: i64 = 32;
/// Nor are buckets of a short rule smaller than this.
const BUCKET_US_MIN: i64 = 1_000_000;

impl Sessionizer {
    /// * `rule`: one that `check` finds no fault with.
    pub fn new(rule: SessionRule) -> Self {
        debug_assert!(rule.check().is_empty(), "the settings are checked at start");
        let bucket_us = BUCKET_US_MIN.max((rule.gap_us + rule.lateness_us) / BUCKETS);
        Self {
            rule_text: rule.to_string().into(),
            rule,
            sources: Vec::new(),
            by_name: BTreeMap::new(),
            last_source: 0,
            lines: Slab::default(),
            table: HashTable::new(),
            texts: Texts::default(),
            waiting: Waiting::default(),
            work: Work::default(),
            pile: Pile::new(),
            told: Told::default(),
            session_count: 0,
            line_bytes: 0,
            bucket_us,
        }
    }

    /// Begins to rebuild the sessions as they stood when the last `drain` was committed.
    pub fn restorer(rule: SessionRule) -> Restorer {
        Restorer::new(rule)
    }

    /// Takes in the next event of the log.
    ///
    /// * `event`: of a kind that `belongs_to_session`; the watermark, too, is moved by those alone, so that a bulk load
    ///   of costs or sends makes nobody's visit late.
    pub fn observe(&mut self, key: SessionKey<'_>, event: &SessionEvent<'_>) -> Observed {
        debug_assert!(belongs_to_session(event.kind), "the caller keeps back what is no activity");
        let number = self.source_number(key.source);
        let source = &mut self.sources[number as usize];
        // Lateness first: an event is judged by the watermark it finds, not by the one it makes.
        let wanted_us = self.rule.watermark_of(event.time_us, event.ingest_time_us);
        let late = source.watermark_us.is_some_and(|watermark_us| self.rule.is_late(event.time_us, watermark_us));
        source.watermark_us = source.watermark_us.max(Some(wanted_us));
        if late {
            return Observed::Late;
        }
        self.take(number, key.session_key, event);
        Observed::Counted
    }

    /// Raises the watermark of a source that has been silent, as an event would that nobody sends.
    ///
    /// Without it the last sessions of a source that falls silent stay open in memory until it speaks again, and are
    /// never sealed. They have all been told, so nothing is missing from the lake. What it changes is what any rise of
    /// the watermark changes: at the next `drain` sessions that are sealed are forgotten, rows told from then on may
    /// say `is_final`, and an event that comes after it and is older than the new watermark and the lateness is late.
    ///
    /// So it is an input like an event, and sessions equal the batch definition with it in its place: which events are
    /// late follows from the events and the advances before them. The caller may therefore advance only where it knows
    /// that a replay advances too: at a commit, with the watermark stored in it (the stream job stores that of each
    /// source with `sessions`), before it folds another event. A replay from the log alone has no such commits: events
    /// that were late only because of an advance are in time then. One who cannot accept that does not call this.
    ///
    /// A source that was never heard of has no sessions and stays unknown.
    pub fn advance(&mut self, source: &str, watermark_us: i64) {
        if let Some(&number) = self.by_name.get(source) {
            let known = &mut self.sources[number as usize].watermark_us;
            *known = (*known).max(Some(watermark_us));
        }
    }

    /// What changed since the last call, by first offset and then id; then forgets what no event can change any more.
    ///
    /// An id that came and went in between is not mentioned, and no id is mentioned twice.
    pub fn drain(&mut self) -> Changes<'_> {
        self.told.begin(&mut self.waiting.keys);
        for index in 0..self.waiting.touched.len() {
            let touched = self.waiting.touched[index];
            let line = self.lines.get_mut(touched.line);
            let source = &mut self.sources[line.source as usize];
            self.waiting.gather(std::mem::take(&mut line.waiting), &mut self.work.fresh, &mut self.pile);
            self.line_bytes -= line.heap_bytes();
            let watermark_us = source.watermark_us.unwrap_or(i64::MIN);
            let mut told = self.told.of_line(&self.rule, (line.source, &source.name), touched.key, watermark_us);
            let opened = line.take_in(&self.rule, &mut self.work, &mut self.pile, &mut told);
            self.line_bytes += line.heap_bytes();
            self.session_count =
                self.session_count.checked_add_signed(opened).expect("each line counts its own sessions");
            // Of several sessions the oldest ends at or after the first event.
            let (first, last) = (self.work.fresh.first(), self.work.fresh.last());
            let end = if line.bucket == UNFILED && opened == 1 { last } else { first };
            let end_us = end.map_or(0, |fact| fact.time_us);
            // Nor does a line wait in a bucket of next year, because a clock was wrong, while this year's sessions
            // gather in it.
            if line.bucket == UNFILED || end_us.div_euclid(self.bucket_us) < line.bucket {
                let low_offset = self.work.fresh.iter().map(|fact| fact.offset).min().unwrap_or(i64::MAX);
                line.bucket = source.filing.file(touched.line, end_us, low_offset, self.bucket_us);
            }
        }
        self.waiting.clear();
        self.evict();
        // What was evicted may be told: texts are swept at the next event, not before.
        self.told.sort();
        self.last_changes()
    }

    /// What the last `drain` told.
    pub(super) fn last_changes(&self) -> Changes<'_> {
        self.changes(Held::Lent(&self.told))
    }

    /// For `repair.rs`.
    pub(super) fn revise(&mut self, is_told: &[bool], gone: &[(Standing, SessionId)]) {
        self.told.revise(is_told, gone);
    }

    /// What `drain` would tell now. It stays to be told.
    pub fn peek(&self) -> Changes<'_> {
        let mut told = Box::new(Told::default());
        told.begin(&mut self.waiting.keys.clone());
        let mut work = Work::default();
        let mut pile = Pile::new();
        for touched in &self.waiting.touched {
            let mut line = self.lines.get(touched.line).clone();
            let source = &self.sources[line.source as usize];
            self.waiting.gather(line.waiting, &mut work.fresh, &mut pile);
            let watermark_us = source.watermark_us.unwrap_or(i64::MIN);
            let mut told = told.of_line(&self.rule, (line.source, &source.name), touched.key, watermark_us);
            line.take_in(&self.rule, &mut work, &mut pile, &mut told);
        }
        told.sort();
        self.changes(Held::Made(told))
    }

    fn changes<'s>(&'s self, told: Held<'s>) -> Changes<'s> {
        Changes::new(told, &self.texts, self.sources.iter().map(|source| &*source.name).collect())
    }

    fn evict(&mut self) {
        let mut pile = Pile::new();
        for (source_number, source) in (0..).zip(&mut self.sources) {
            let Some(watermark_us) = source.watermark_us else { continue };
            let is_sealed = |end_us| self.rule.is_sealed(end_us, watermark_us);
            while let Some((bucket_number, bucket)) = source.filing.take_due(self.bucket_us, is_sealed) {
                for number in bucket.lines {
                    let line = self.lines.get_mut(number);
                    if !line.is_filed(source_number, bucket_number) {
                        continue;
                    }
                    self.line_bytes -= line.heap_bytes();
                    let evicted = line.evict(&self.rule, watermark_us, &mut pile);
                    self.session_count -= evicted.session_count;
                    if let Some((first_end_us, low_offset)) = evicted.left {
                        self.line_bytes += line.heap_bytes();
                        line.bucket = source.filing.file(number, first_end_us, low_offset, self.bucket_us);
                        continue;
                    }
                    let hash = line.key_hash;
                    let entry = self.table.find_entry(hash[0], |&other| other == number);
                    entry.expect("a line is listed as long as it is kept").remove();
                    self.lines.remove(number);
                }
            }
        }
    }

    /// The lowest log offset among the events of unsealed sessions, or a little below: from here on the log (or the table
    /// `events`) must be read to rebuild them. `None` when nothing is open.
    pub fn low_offset(&self) -> Option<i64> {
        let filed = self.sources.iter().filter_map(|source| source.filing.low_offset());
        filed.chain(self.waiting.low_offset).min()
    }

    /// Sessions held in memory, as of the last `drain`. Sealed ones are among them for a while: they are looked for in
    /// coarse steps of time.
    pub fn open_sessions(&self) -> usize {
        self.session_count
    }

    /// Whether nothing waits for a report.
    pub(super) fn is_told(&self) -> bool {
        self.waiting.touched.is_empty()
    }

    /// A sealed session is forgotten once the watermark is at most so far beyond the moment that sealed it.
    pub fn eviction_step_us(&self) -> i64 {
        self.bucket_us
    }

    /// What it holds on the heap, allocator's share included.
    pub fn state_bytes(&self) -> usize {
        let sources: usize = self.sources.iter().map(|source| source.filing.heap_bytes()).sum();
        self.line_bytes
            + self.lines.heap_bytes()
            + self.table.allocation_size()
            + self.texts.heap_bytes()
            + self.waiting_bytes()
            + sources
    }

    /// Of `state_bytes`, the room for what waits for a report and what is told in it: it is used again by the next, and
    /// grows with the events between two of them, not with the open sessions.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.heap_bytes() + self.told.heap_bytes()
    }

    /// `None` before the first event of the source.
    pub fn watermark_us(&self, source: &str) -> Option<i64> {
        self.sources[*self.by_name.get(source)? as usize].watermark_us
    }

    /// The watermark of every source seen, by name.
    pub fn watermarks(&self) -> impl Iterator<Item = (&str, i64)> {
        self.by_name.iter().filter_map(|(name, number)| Some((&**name, self.sources[*number as usize].watermark_us?)))
    }

    pub fn rule(&self) -> &SessionRule {
        &self.rule
    }

    /// The text of the column `rule`.
    pub fn rule_text(&self) -> Arc<str> {
        self.rule_text.clone()
    }

    /// Makes a fact of an event, for `restore.rs`; its exposures are put on the pile.
    pub(super) fn fact_of(&mut self, session_key: &str, event: &SessionEvent<'_>) -> Fact {
        self.waiting.fact_of(event, session_key, &mut self.texts)
    }

    pub(super) fn pile_mut(&mut self) -> &mut Pile {
        &mut self.waiting.pile
    }

    /// Takes over what has all been told, for `restore.rs`: a new line of these facts, which are in order.
    pub(super) fn restore_line(&mut self, source: u32, session_key: &str, facts: Vec<Fact>, heard: &mut impl Listener) {
        let number = self.line_number(source, session_key);
        let line = self.lines.get_mut(number);
        let (end_us, low_offset) = (facts[0].time_us, facts.iter().map(|fact| fact.offset).min().unwrap_or(i64::MAX));
        line.bucket = self.sources[source as usize].filing.file(number, end_us, low_offset, self.bucket_us);
        self.work.fresh = facts;
        let opened = line.take_in(&self.rule, &mut self.work, &mut self.waiting.pile, heard);
        self.line_bytes += line.heap_bytes();
        self.session_count = self.session_count.checked_add_signed(opened).expect("a new line has sessions");
    }

    /// Puts an event into its line, late or not.
    pub(super) fn take(&mut self, source: u32, session_key: &str, event: &SessionEvent<'_>) {
        if self.waiting.touched.is_empty() && self.texts.sweep_is_due() {
            self.sweep();
        }
        let number = self.line_number(source, session_key);
        let fact = self.waiting.fact_of(event, session_key, &mut self.texts);
        let line = self.lines.get_mut(number);
        if line.waiting == 0 {
            self.waiting.touch(number, session_key);
        }
        line.waiting = self.waiting.push(&fact, line.waiting);
    }

    pub(super) fn source_number(&mut self, name: &str) -> u32 {
        if self.sources.get(self.last_source as usize).is_none_or(|source| &*source.name != name) {
            self.last_source = match self.by_name.get(name) {
                Some(number) => *number,
                None => self.add_source(name, None),
            };
        }
        self.last_source
    }

    pub(super) fn add_source(&mut self, name: &str, watermark_us: Option<i64>) -> u32 {
        let number = u32::try_from(self.sources.len()).expect("sources are named in the settings");
        let name: Arc<str> = name.into();
        let seed = xxh3_64(name.as_bytes());
        self.by_name.insert(name.clone(), number);
        self.sources.push(Source { name, seed, watermark_us, filing: Filing::new() });
        number
    }

    /// Finds the line of a key, or begins it. A hash of 128 bits stands for the key: among a billion keys two share one
    /// with a chance of one in 10^20.
    fn line_number(&mut self, source: u32, session_key: &str) -> u32 {
        let hash = xxh3_128_with_seed(session_key.as_bytes(), self.sources[source as usize].seed);
        let key_hash = [hash as u64, (hash >> 64) as u64];
        let lines = &self.lines;
        let is_it = |number: &u32| {
            let line = lines.get(*number);
            line.key_hash == key_hash && line.source == source
        };
        match self.table.find(key_hash[0], is_it) {
            Some(number) => *number,
            None => self.add_line(Line::new(key_hash, source)),
        }
    }

    /// Lists a line that is not there yet.
    pub(super) fn add_line(&mut self, line: Line) -> u32 {
        let hash = line.key_hash[0];
        self.line_bytes += line.heap_bytes();
        let number = self.lines.insert(line);
        let lines = &self.lines;
        self.table.insert_unique(hash, number, |number| lines.get(*number).key_hash[0]);
        number
    }

    /// Makes room for so many more lines at once.
    pub(super) fn reserve_lines(&mut self, count: usize) {
        let lines = &self.lines;
        self.table.reserve(count, |number| lines.get(*number).key_hash[0]);
    }

    /// Forgets the texts that no open session refers to.
    fn sweep(&mut self) {
        let mut marks = self.texts.marks();
        let mut pile = Pile::new();
        for number in self.table.iter() {
            self.lines.get(*number).for_each(&mut pile, |fact, pile| fact.mark(pile, &mut marks));
        }
        self.texts.sweep(&marks);
        self.waiting.forget_last();
    }
}
