//! One key's line of events, and where it is cut into sessions.
//!
//! In:       events of the key that are in time, in any order.
//! Out:      its unsealed sessions; what of them changed since the last report.
//! Promise:  the cuts are those of a greedy scan over all its events in order. An event costs O(1) to take in, in order
//!           or not: those out of order wait in a pile of their own until the next report, which sorts them in at once.
//! Not here: the watermark, and when a session is sealed (`sessionizer.rs`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::event::SessionEvent;
use super::id::{SessionId, SessionKey};
use super::rule::SessionRule;
use super::sessionizer::{SessionChange, Tombstone};
use super::summary::summarize;

/// Events and sessions of one key that can still change. Not empty between two calls.
#[derive(Debug, Clone)]
pub(super) struct Line {
    source: Arc<str>,
    session_key: Arc<str>,
    /// Sorted by `place`.
    events: Vec<SessionEvent>,
    /// One for each session of `events`, in order; the first starts at event 0.
    cuts: Vec<Cut>,
    /// What came after a later one of `events`, as it came. Empty after a report. Putting each into its place at once
    /// took minutes when a hundred thousand came newest first: every one moved all before it.
    loose: Vec<SessionEvent>,
    lowest_offset: i64,
    /// Kept for `sessionizer.rs`: the end under which this line stands in its order of eviction.
    pub(super) filed_under_us: i64,
    pub(super) touched: bool,
}

#[derive(Debug, Clone)]
struct Cut {
    /// Index of its first event.
    start: usize,
    id: SessionId,
    changed: bool,
    /// The row last reported under this id; `None` if there is none, or only a tombstone.
    told: Option<Told>,
}

/// What a tombstone must repeat of the row it takes back.
#[derive(Debug, Clone, Copy)]
struct Told {
    start_time_us: i64,
    end_time_us: i64,
    first_offset: i64,
    last_offset: i64,
    /// Offset of the session's first event, which says who holds it now.
    head_offset: i64,
}

impl Line {
    pub(super) fn new(source: Arc<str>, session_key: Arc<str>, event: SessionEvent) -> Self {
        let id =
            SessionId::of(SessionKey { source: &source, session_key: &session_key }, &event.event_id, event.time_us);
        Self {
            source,
            session_key,
            lowest_offset: event.offset,
            filed_under_us: event.time_us,
            events: vec![event],
            cuts: vec![Cut { start: 0, id, changed: true, told: None }],
            loose: Vec::new(),
            touched: false,
        }
    }

    /// A line as it stood after a report: all of `events` (at least one, in any order) told.
    pub(super) fn told(
        source: Arc<str>,
        session_key: Arc<str>,
        mut events: Vec<SessionEvent>,
        rule: &SessionRule,
    ) -> Self {
        events.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        for index in 1..events.len() {
            let (before, rest) = events.split_at_mut(index);
            rest[0].share_with(&before[index - 1]);
        }
        let lowest_offset = lowest_offset(&events);
        let mut line = Self {
            source,
            session_key,
            events,
            cuts: Vec::new(),
            loose: Vec::new(),
            lowest_offset,
            filed_under_us: 0,
            touched: false,
        };
        for start in line.starts_from(0, rule) {
            let id = line.id_at(start);
            line.cuts.push(Cut { start, id, changed: false, told: None });
        }
        for index in 0..line.cuts.len() {
            line.cuts[index].told = Some(line.row_of(index));
        }
        line.filed_under_us = line.first_end_us();
        line
    }

    /// Takes in one event, and says how many sessions it opened; one out of order is not counted before the next report.
    pub(super) fn insert(&mut self, mut event: SessionEvent, rule: &SessionRule) -> usize {
        self.lowest_offset = self.lowest_offset.min(event.offset);
        let last = self.events.last().expect("a line is never empty between two calls");
        event.share_with(last);
        if event.place() < last.place() {
            self.loose.push(event);
            return 0;
        }
        let cut = self.cuts.last_mut().expect("a line is cut into at least one session");
        let opens = rule.opens(self.events[cut.start].time_us, last.time_us, event.time_us);
        cut.changed |= !opens;
        self.events.push(event);
        if opens {
            let start = self.events.len() - 1;
            let id = self.id_at(start);
            self.cuts.push(Cut { start, id, changed: true, told: None });
        }
        usize::from(opens)
    }

    /// Sorts in what came out of order, and cuts anew from the session on in which the first of it belongs. Returns the
    /// sessions that were reported and are no longer cut like that: their tombstones are due.
    fn settle(&mut self, rule: &SessionRule) -> Vec<(SessionId, Told)> {
        let mut loose = std::mem::take(&mut self.loose);
        loose.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        let Some(first) = loose.first() else { return Vec::new() };
        let at = self.events.partition_point(|known| known.place() <= first.place());
        // The session of the event before it; before the very first event, the first session.
        let index = self.cuts.partition_point(|cut| cut.start < at).saturating_sub(1);
        let begin = self.cuts[index].start;
        let counts: Vec<usize> = (index..self.cuts.len()).map(|index| self.session(index).len()).collect();
        // A session keeps its history by its id: one that is cut again as before was never gone.
        let mut before: HashMap<SessionId, (usize, Cut)> =
            counts.into_iter().zip(self.cuts.drain(index..)).map(|(count, cut)| (cut.id, (count, cut))).collect();

        let mut put_at = Vec::with_capacity(loose.len());
        let mut known = self.events.split_off(at).into_iter().peekable();
        for event in loose {
            while let Some(earlier) = known.next_if(|known| known.place() <= event.place()) {
                self.events.push(earlier);
            }
            put_at.push(self.events.len());
            self.events.push(event);
        }
        self.events.extend(known);

        let starts = self.starts_from(begin, rule);
        let ends = starts[1..].iter().copied().chain([self.events.len()]);
        for (&start, end) in starts.iter().zip(ends) {
            let id = self.id_at(start);
            let joined = put_at.partition_point(|at| *at < start) < put_at.partition_point(|at| *at < end);
            self.cuts.push(match before.remove(&id) {
                Some((count, cut)) => Cut { start, changed: cut.changed || joined || count != end - start, ..cut },
                None => Cut { start, id, changed: true, told: None },
            });
        }
        before.into_values().filter_map(|(_, cut)| Some((cut.id, cut.told?))).collect()
    }

    /// The first event of each session, when events from `begin` on, the first of a session, are cut greedily.
    fn starts_from(&self, begin: usize, rule: &SessionRule) -> Vec<usize> {
        let mut starts = vec![begin];
        let mut start_us = self.events[begin].time_us;
        for at in begin + 1..self.events.len() {
            let time_us = self.events[at].time_us;
            if rule.opens(start_us, self.events[at - 1].time_us, time_us) {
                starts.push(at);
                start_us = time_us;
            }
        }
        starts
    }

    /// Appends what changed since the last report, and takes it as told. Says how the number of sessions changed by what
    /// came out of order.
    pub(super) fn report(
        &mut self,
        rule: &SessionRule,
        rule_text: &Arc<str>,
        changes: &mut Vec<SessionChange>,
    ) -> isize {
        let count_before = self.cuts.len();
        for (session_id, told) in self.settle(rule) {
            changes.push(SessionChange::Tombstone(Tombstone {
                session_id,
                superseded_by: self.holder_of(&told),
                source: self.source.clone(),
                session_key: self.session_key.clone(),
                start_time_us: told.start_time_us,
                end_time_us: told.end_time_us,
                first_offset: told.first_offset,
                last_offset: told.last_offset,
                rule: rule_text.clone(),
            }));
        }
        for index in 0..self.cuts.len() {
            if !self.cuts[index].changed {
                continue;
            }
            let events = &self.events[self.session(index)];
            let session = summarize(self.cuts[index].id, &self.source, &self.session_key, events, rule_text);
            self.cuts[index].told = Some(Told {
                start_time_us: session.start_time_us,
                end_time_us: session.end_time_us,
                first_offset: session.first_offset,
                last_offset: session.last_offset,
                head_offset: events[0].offset,
            });
            self.cuts[index].changed = false;
            changes.push(SessionChange::Upsert(Box::new(session)));
        }
        self.cuts.len().checked_signed_diff(count_before).expect("sessions of one line are far fewer than 2^63")
    }

    /// Forgets the sessions that are sealed at `watermark_us`, and says how many those were. The line may then be empty.
    ///
    /// Call it after `report` only: what it forgets can no longer be reported.
    pub(super) fn evict(&mut self, rule: &SessionRule, watermark_us: i64) -> usize {
        let sealed = (0..self.cuts.len()).take_while(|&index| rule.is_sealed(self.end_us(index), watermark_us)).count();
        if sealed == 0 {
            return 0;
        }
        debug_assert!(self.loose.is_empty() && self.cuts[..sealed].iter().all(|cut| !cut.changed));
        let event_count = self.session(sealed - 1).end;
        self.events.drain(..event_count);
        self.cuts.drain(..sealed);
        for cut in &mut self.cuts {
            cut.start -= event_count;
        }
        if !self.events.is_empty() {
            self.lowest_offset = lowest_offset(&self.events);
        }
        sealed
    }

    pub(super) fn session_key(&self) -> &Arc<str> {
        &self.session_key
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn session_count(&self) -> usize {
        self.cuts.len()
    }

    pub(super) fn lowest_offset(&self) -> i64 {
        self.lowest_offset
    }

    /// End of its oldest session, the one that is sealed next, as of the last report.
    pub(super) fn first_end_us(&self) -> i64 {
        self.end_us(0)
    }

    /// Start and id of each of its sessions, in order.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (i64, SessionId)> {
        self.cuts.iter().map(|cut| (self.events[cut.start].time_us, cut.id))
    }

    fn id_at(&self, start: usize) -> SessionId {
        let key = SessionKey { source: &self.source, session_key: &self.session_key };
        SessionId::of(key, &self.events[start].event_id, self.events[start].time_us)
    }

    /// Indexes of the events of session `index`.
    fn session(&self, index: usize) -> Range<usize> {
        let end = self.cuts.get(index + 1).map_or(self.events.len(), |next| next.start);
        self.cuts[index].start..end
    }

    fn end_us(&self, index: usize) -> i64 {
        self.events[self.session(index).end - 1].time_us
    }

    /// The session that now holds the first event of a session that is gone.
    fn holder_of(&self, told: &Told) -> SessionId {
        let from = self.events.partition_point(|event| event.time_us < told.start_time_us);
        let head = self.events[from..]
            .iter()
            .position(|event| event.offset == told.head_offset)
            .expect("the events of a reported session are kept until it is sealed, and then it cannot change");
        let index = self.cuts.partition_point(|cut| cut.start <= from + head) - 1;
        self.cuts[index].id
    }

    fn row_of(&self, index: usize) -> Told {
        let events = &self.events[self.session(index)];
        Told {
            start_time_us: events[0].time_us,
            end_time_us: events[events.len() - 1].time_us,
            first_offset: lowest_offset(events),
            last_offset: events.iter().map(|event| event.offset).max().expect("a session begins with an event"),
            head_offset: events[0].offset,
        }
    }
}

fn lowest_offset(events: &[SessionEvent]) -> i64 {
    events.iter().map(|event| event.offset).min().expect("asked of events that are there")
}
