//! One key's line of events, and where it is cut into sessions.
//!
//! In:       the facts of the key that are new since the last report.
//! Out:      which sessions are new or changed by them, and which are no more.
//! Promise:  the cuts are those of a greedy scan over all its facts in order. Between two reports a line is its bytes
//!           and nothing else: all of them have been told, and which sessions were told follows from them.
//! Not here: the watermark, and when a session is sealed (`sessionizer.rs`); the words of a row (`changes.rs`).
//!
//! A report reads the line from its begin, or from the last of its checkpoints before the first new fact, so that a
//! robot's session of a million events costs no more a report than one of a few hundred.

use std::cmp::Ordering;

use super::draft::Draft;
use super::fact::{Fact, Pile, Place, Reader};
use super::filing::UNFILED;
use super::rule::SessionRule;
use super::span::Span;

/// Every so many facts the scan of a line is written down, so that it can go on from there: 256 of them are read in some
/// three microseconds, and a checkpoint is a tenth of their bytes.
const CHECKPOINT_EACH: u32 = 256;

/// A scan that holds more variants and currencies than this is not written down again and again.
const CHECKPOINT_HEAP_BYTES_MAX: usize = 4_096;

const _: () = assert!(size_of::<Line>() <= 64, "a million of them are open");

/// Facts of one key that can still change a session.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Hash of source and session key: who it is. The texts are not kept, whoever touches a line knows them.
    pub(super) key_hash: [u64; 2],
    facts: Vec<u8>,
    /// Ascending.
    checkpoints: Option<Box<Checkpoints>>,
    /// Kept for `sessionizer.rs`: where it is filed for eviction, the last of its facts that wait for a report (counted
    /// from 1, 0 for none), and its source.
    pub(super) bucket: i64,
    pub(super) waiting: u32,
    pub(super) source: u32,
}

#[derive(Debug, Clone, Default)]
struct Checkpoints(Vec<Scan>);

/// How far a line has been read.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// So many bytes of the line.
    at: usize,
    /// The fact before.
    fact: Fact,
    /// The session it is in.
    draft: Draft,
    since_checkpoint: u32,
}

/// Room to work in, kept from one line to the next.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// What is new, in order. The caller fills it in.
    pub(super) fresh: Vec<Fact>,
    /// What was told and lies after the first of it.
    tail: Vec<Fact>,
    /// Sessions as they were told, and the names of those that stand now; from the first that can differ.
    old: Vec<Span>,
    new: Vec<(i64, u64)>,
    gone: Vec<Span>,
    out: Vec<u8>,
    scan: Scan,
}

/// What a report hears of a line.
pub(super) trait Listener {
    /// A session that is new or has changed.
    fn session(&mut self, draft: &Draft);
    /// One that was told and is no more; `by` names the one that now holds its first event.
    fn gone(&mut self, span: Span, by: (i64, u64));
}

/// What became of a line when its sealed sessions were forgotten.
pub(super) struct Evicted {
    pub(super) session_count: usize,
    /// The end of its oldest session and its lowest offset; `None` if nothing is left.
    pub(super) left: Option<(i64, i64)>,
}

/// At the begin of a line.
impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, fact: Fact::NONE, draft: Draft::default(), since_checkpoint: 0 }
    }
}

impl Scan {
    fn restart(&mut self) {
        (self.at, self.fact, self.since_checkpoint) = (0, Fact::NONE, 0);
        self.draft.clear();
    }
}

impl Line {
    pub(super) fn new(key_hash: [u64; 2], source: u32) -> Self {
        Self { key_hash, facts: Vec::new(), checkpoints: None, bucket: UNFILED, waiting: 0, source }
    }

    /// A line as it stood after a report, for a snapshot.
    pub(super) fn restored(key_hash: [u64; 2], source: u32, facts: Vec<u8>) -> Self {
        Self { facts, ..Self::new(key_hash, source) }
    }

    /// Whether it is to be looked at in this bucket of this source. It is not where it has been filed under an earlier one
    /// since, or where its number was another line's when that was filed.
    pub(super) fn is_filed(&self, source: u32, bucket: i64) -> bool {
        self.source == source && self.bucket == bucket
    }

    /// Takes in `work.fresh` (at least one, in order), tells what changed, and says how the number of sessions did.
    ///
    /// * `pile`: of the exposures of the fresh facts; it comes back as it was.
    pub(super) fn take_in(
        &mut self,
        rule: &SessionRule,
        work: &mut Work,
        pile: &mut Pile,
        listener: &mut impl Listener,
    ) -> isize {
        let pile_before = pile.len();
        let mut scan = std::mem::take(&mut work.scan);
        self.scan_to(work.fresh[0].place(), rule, pile, &mut scan);
        work.old.clear();
        work.new.clear();
        work.gone.clear();
        work.tail.clear();
        work.out.clear();
        self.cut_off_tail(&scan, rule, work, pile);
        let old_count = work.old.len();

        let (mut known, mut fresh) = (0, 0);
        let mut joined = 0;
        let mut told = 0;
        while known < work.tail.len() || fresh < work.fresh.len() {
            let takes_known = match (work.tail.get(known), work.fresh.get(fresh)) {
                (Some(known), Some(fresh)) => known.place() <= fresh.place(),
                (known, _) => known.is_some(),
            };
            let fact = if takes_known { work.tail[known] } else { work.fresh[fresh] };
            known += usize::from(takes_known);
            fresh += usize::from(!takes_known);
            if !scan.draft.span.is_empty() && rule.opens(&scan.draft.span, &fact) {
                close(&scan.draft, joined, &mut told, work, listener);
                joined = 0;
                scan.draft.clear();
            }
            scan.draft.add(&fact, pile);
            joined += usize::from(!takes_known);
            fact.pack(&scan.fact, pile, &mut work.out);
            scan.fact = fact;
            scan.at = self.facts.len() + work.out.len();
            self.write_down(&mut scan);
        }
        close(&scan.draft, joined, &mut told, work, listener);
        work.scan = scan;
        work.gone.extend(work.old.drain(told..));
        for span in work.gone.drain(..) {
            let heir = work.new.partition_point(|(start_us, _)| *start_us <= span.start_us);
            // The first fact of the first session compared came before the gone one's, or is a fresh one before it.
            listener.gone(span, work.new[heir - 1]);
        }
        let length = self.facts.len() + work.out.len();
        if self.facts.capacity() < length {
            // A sixteenth more, and what the allocator would add anyway: lines are many, and their room to grow is never
            // given back.
            let wanted = (length + length / 16 + 8).next_multiple_of(16) - 8;
            self.facts.reserve_exact(wanted - self.facts.len());
        }
        self.facts.extend_from_slice(&work.out);
        pile.truncate(pile_before);
        work.new.len().checked_signed_diff(old_count).expect("sessions of one line are far fewer than 2^63")
    }

    /// Reads the line up to the first fact after `place`.
    fn scan_to(&mut self, place: Place, rule: &SessionRule, pile: &mut Pile, scan: &mut Scan) {
        let known = self.checkpoints.as_ref().and_then(|all| {
            let before = all.0.partition_point(|scan| scan.fact.place() <= place);
            all.0[..before].last()
        });
        match known {
            Some(known) => scan.clone_from(known),
            None => scan.restart(),
        }
        let pile_before = pile.len();
        let facts = std::mem::take(&mut self.facts);
        let mut reader = Reader::new(&facts, scan.at);
        while !reader.is_at_end() && scan.fact.unpack_up_to(place, &mut reader, pile) {
            scan.at = reader.at;
            if !scan.draft.span.is_empty() && rule.opens(&scan.draft.span, &scan.fact) {
                scan.draft.clear();
            }
            scan.draft.add(&scan.fact, pile);
            pile.truncate(pile_before);
            self.write_down(scan);
        }
        self.facts = facts;
    }

    #[inline]
    fn write_down(&mut self, scan: &mut Scan) {
        scan.since_checkpoint += 1;
        if scan.since_checkpoint < CHECKPOINT_EACH || scan.draft.heap_bytes() > CHECKPOINT_HEAP_BYTES_MAX {
            return;
        }
        scan.since_checkpoint = 0;
        self.checkpoints.get_or_insert_default().0.push(scan.clone());
    }

    /// Takes out what lies after the scan, into `work.tail`, with the sessions it was told as: `work.old`, of which the
    /// first is the one the scan is in.
    fn cut_off_tail(&mut self, scan: &Scan, rule: &SessionRule, work: &mut Work, pile: &mut Pile) {
        let mut span = scan.draft.span;
        let mut fact = scan.fact;
        let mut reader = Reader::new(&self.facts, scan.at);
        while !reader.is_at_end() {
            fact.unpack(&mut reader, pile);
            work.tail.push(fact);
            if !span.is_empty() && rule.opens(&span, &fact) {
                work.old.push(std::mem::take(&mut span));
            }
            span.add(&fact);
        }
        work.old.extend(Some(span).filter(|span| !span.is_empty()));
        self.facts.truncate(scan.at);
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.0.retain(|checkpoint| checkpoint.at <= scan.at);
        }
    }

    /// Forgets the sessions that are sealed at `watermark_us`.
    pub(super) fn evict(&mut self, rule: &SessionRule, watermark_us: i64, pile: &mut Pile) -> Evicted {
        let pile_before = pile.len();
        let mut sealed_count = 0;
        let (mut span, mut fact) = (Span::default(), Fact::NONE);
        let mut reader = Reader::new(&self.facts, 0);
        // The first fact of the first session that stays, with the bytes after it; the end of that session; the lowest
        // offset from there on.
        let mut stays: Option<(Fact, usize)> = None;
        let mut first_end_us = None;
        let mut low_offset = i64::MAX;
        while !reader.is_at_end() {
            fact.unpack(&mut reader, pile);
            if !span.is_empty() && rule.opens(&span, &fact) {
                if rule.is_sealed(span.end_us, watermark_us) {
                    sealed_count += 1;
                    stays = Some((fact, reader.at));
                    low_offset = i64::MAX;
                } else {
                    first_end_us = first_end_us.or(Some(span.end_us));
                }
                span = Span::default();
            }
            span.add(&fact);
            low_offset = low_offset.min(fact.offset);
        }
        if first_end_us.is_none() && rule.is_sealed(span.end_us, watermark_us) {
            pile.truncate(pile_before);
            return Evicted { session_count: sealed_count + 1, left: None };
        }
        if let Some((fact, from)) = stays {
            let mut facts = Vec::with_capacity(self.facts.len() - from + 48);
            fact.pack(&Fact::NONE, pile, &mut facts);
            facts.extend_from_slice(&self.facts[from..]);
            facts.shrink_to_fit();
            self.facts = facts;
            self.checkpoints = None;
        }
        pile.truncate(pile_before);
        Evicted { session_count: sealed_count, left: Some((first_end_us.unwrap_or(span.end_us), low_offset)) }
    }

    /// Every fact, with the pile its exposures lie on.
    pub(super) fn for_each(&self, pile: &mut Pile, mut each: impl FnMut(&Fact, &Pile)) {
        let mut fact = Fact::NONE;
        let mut reader = Reader::new(&self.facts, 0);
        while !reader.is_at_end() {
            pile.clear();
            fact.unpack(&mut reader, pile);
            each(&fact, pile);
        }
    }

    /// The bytes, for a snapshot: `restored` takes them back.
    pub(super) fn packed(&self) -> &[u8] {
        &self.facts
    }

    /// What it holds on the heap, with what the allocator adds to a block: eight bytes, in steps of sixteen.
    pub(super) fn heap_bytes(&self) -> usize {
        let block = |bytes: usize| if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) };
        let checkpoints = self.checkpoints.as_ref().map_or(0, |all| {
            let beside: usize = all.0.iter().map(|scan| scan.draft.heap_bytes()).sum();
            size_of::<Checkpoints>() + all.0.capacity() * size_of::<Scan>() + beside
        });
        block(self.facts.capacity()) + checkpoints
    }
}

/// A session is complete: tells it if it is not what was told under its name. `told`: how many of `work.old` have been
/// compared; sessions and names come in the order of their starts.
fn close(draft: &Draft, joined: usize, told: &mut usize, work: &mut Work, listener: &mut impl Listener) {
    let name = draft.span.name();
    work.new.push(name);
    let mut was = None;
    while let Some(old) = work.old.get(*told) {
        match old.name().cmp(&name) {
            Ordering::Less => work.gone.push(*old),
            Ordering::Equal => was = Some(*old),
            // It has the same start, and another fact at that time comes first now.
            Ordering::Greater if old.start_us == name.0 => work.gone.push(*old),
            Ordering::Greater => break,
        }
        *told += 1;
    }
    // Which facts a session holds follows from its first one and their number: a line has no holes.
    let is_as_told = was.is_some_and(|was| joined == 0 && was.event_count == draft.span.event_count);
    if !is_as_told {
        listener.session(draft);
    }
}
