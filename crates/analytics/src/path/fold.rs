//! Finds the paths of one unit after another.
//!
//! In:       rows of one unit in time order (`SessionCut::Given`: session after session, in time order within each).
//! Out:      each path, to a sink, when its session is over, for only then it is known whether the session met its goal.
//! Promise:  no allocation per row: buffers are kept from session to session and from unit to unit. Of a session no more
//!           is kept than its path needs: `steps_max` nodes, twice that for `Backward`; under `Occurrence::Each` as many
//!           as there are, at most `SESSION_NODE_COUNT_MAX`, and what is beyond is counted.
//! Not here: what is counted of a path (`counts.rs`).

use super::definition::{Anchor, Occurrence, PathDefinition, SessionCut, Walk};
use crate::error::AnalyticsError;

/// What a row is to the question; a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    pub const NONE: Self = Self(0);
    /// The row meets the start.
    pub const START: Self = Self(1);
    /// The row meets the end.
    pub const END: Self = Self(2);
    /// The row meets the goal: its session converts.
    pub const GOAL: Self = Self(4);
    /// The row is no node. Its time still cuts sessions and its goal counts; start and end are not looked at.
    pub const HIDDEN: Self = Self(8);

    pub fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }

    /// These marks, and `mark` if so.
    #[must_use]
    pub fn with(self, mark: Self, is_set: bool) -> Self {
        Self(self.0 | (mark.0 * u8::from(is_set)))
    }
}

impl std::ops::BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One row of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRow {
    pub time_us: i64,
    /// At most `NODE_CODE_MAX`; not looked at if the row is hidden.
    pub node: u32,
    /// Only looked at under `SessionCut::Given`; another number than the row's before is another session.
    pub session: u64,
    pub marks: Marks,
}

/// A path as the sink gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'p> {
    /// Step 1 first, so for `Walk::Backward` the latest first; 1 to `steps_max` of them.
    pub nodes: &'p [u32],
    /// When each node came; for a collapsed one, when the first of its run came.
    pub times_us: &'p [i64],
    /// Whether the path has more nodes than were kept.
    pub is_cut: bool,
    /// Whether the session met the goal.
    pub has_goal: bool,
    pub is_first_of_session: bool,
    pub is_first_of_unit: bool,
}

/// The state of one unit's paths.
#[derive(Debug, Clone)]
pub struct PathFold {
    definition: PathDefinition,
    keep: Keep,
    session: OpenSession,
    nodes: Vec<u32>,
    times_us: Vec<i64>,
    /// Marks of the nodes; only kept where all nodes are.
    marks: Vec<Marks>,
    is_unit_told: bool,
    ignored_row_count: u64,
}

/// Which nodes of a session are kept until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// From the one start up to the end or to `steps_max`.
    FromOne { start: Anchor, end: Anchor },
    /// The last ones up to the one end.
    UpToOne { end: Anchor },
    /// All: each start, up to the next end.
    FromEach { end: Anchor },
    /// All: each end.
    UpToEach,
}

impl Keep {
    fn of(definition: &PathDefinition) -> Self {
        let (start, end) = match definition.walk {
            Walk::Session => (Anchor::SessionEdge, Anchor::SessionEdge),
            Walk::Forward { start } => (start, Anchor::SessionEdge),
            Walk::Between { start, end } => (start, end),
            Walk::Backward { end } => {
                let is_each = definition.occurrence == Occurrence::Each && end == Anchor::Marked;
                return if is_each { Self::UpToEach } else { Self::UpToOne { end } };
            }
        };
        if definition.occurrence == Occurrence::Each && start == Anchor::Marked {
            Self::FromEach { end }
        } else {
            Self::FromOne { start, end }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct OpenSession {
    is_open: bool,
    number: u64,
    last_time_us: i64,
    has_goal: bool,
    /// Whether there were more nodes than are kept.
    is_cut: bool,
    /// Whether the end was met behind which nothing counts.
    is_over: bool,
    /// The run of equal nodes that is not over yet, when nodes are collapsed.
    run: Option<(u32, i64, Marks)>,
}

impl PathFold {
    /// How many nodes of one session are kept under `Occurrence::Each`, where all may be needed.
    pub const SESSION_NODE_COUNT_MAX: usize = 1 << 17;

    pub fn new(definition: PathDefinition) -> Result<Self, AnalyticsError> {
        let definition = definition.checked()?;
        Ok(Self {
            definition,
            keep: Keep::of(&definition),
            session: OpenSession::default(),
            nodes: Vec::new(),
            times_us: Vec::new(),
            marks: Vec::new(),
            is_unit_told: false,
            ignored_row_count: 0,
        })
    }

    pub fn definition(&self) -> &PathDefinition {
        &self.definition
    }

    /// Takes the unit's next row in; a session that it ends gives its paths to the sink.
    #[inline]
    pub fn push(&mut self, row: PathRow, sink: &mut impl FnMut(Path<'_>)) {
        if self.session.is_open {
            let is_new = match self.definition.cut {
                SessionCut::Gap { gap_us } => {
                    debug_assert!(self.session.last_time_us <= row.time_us, "rows come in time order");
                    gap_us < row.time_us.saturating_sub(self.session.last_time_us)
                }
                SessionCut::Given => self.session.number != row.session,
            };
            if is_new {
                self.close_session(sink);
            }
        }
        self.session.is_open = true;
        self.session.number = row.session;
        self.session.last_time_us = row.time_us;
        self.session.has_goal |= row.marks.has(Marks::GOAL);
        if row.marks.has(Marks::HIDDEN) {
            return;
        }
        if !self.definition.is_collapsed {
            self.take(row.node, row.time_us, row.marks);
            return;
        }
        match &mut self.session.run {
            Some((node, _, marks)) if *node == row.node => *marks = *marks | row.marks,
            run => {
                if let Some((node, time_us, marks)) = run.replace((row.node, row.time_us, row.marks)) {
                    self.take(node, time_us, marks);
                }
            }
        }
    }

    /// Ends the unit: the session that is open gives its paths to the sink, and the next row is another unit's.
    pub fn finish_unit(&mut self, sink: &mut impl FnMut(Path<'_>)) {
        self.close_session(sink);
        self.is_unit_told = false;
    }

    /// Rows of all units so far that were beyond `SESSION_NODE_COUNT_MAX` and are in no path.
    pub fn ignored_row_count(&self) -> u64 {
        self.ignored_row_count
    }

    /// What the fold's buffers take, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.nodes.capacity() * size_of::<u32>()
            + self.times_us.capacity() * size_of::<i64>()
            + self.marks.capacity() * size_of::<Marks>()
    }

    #[inline]
    fn take(&mut self, node: u32, time_us: i64, marks: Marks) {
        match self.keep {
            Keep::FromOne { start, end } => self.take_from_one(node, time_us, marks, start, end),
            Keep::UpToOne { end } => self.take_up_to_one(node, time_us, marks, end),
            Keep::FromEach { .. } => {
                if !self.nodes.is_empty() || marks.has(Marks::START) {
                    self.take_all(node, time_us, marks);
                }
            }
            Keep::UpToEach => self.take_all(node, time_us, marks),
        }
    }

    #[inline]
    fn take_from_one(&mut self, node: u32, time_us: i64, marks: Marks, start: Anchor, end: Anchor) {
        let is_begun = !self.nodes.is_empty();
        if self.session.is_over || (!is_begun && start == Anchor::Marked && !marks.has(Marks::START)) {
            return;
        }
        if self.nodes.len() < self.definition.steps_max {
            self.nodes.push(node);
            self.times_us.push(time_us);
        } else {
            self.session.is_cut = true;
        }
        // The begin of a session is before its first row, so that row may be the end; a marked start may not.
        let may_end = is_begun || start == Anchor::SessionEdge;
        self.session.is_over = end == Anchor::Marked && may_end && marks.has(Marks::END);
    }

    fn take_up_to_one(&mut self, node: u32, time_us: i64, marks: Marks, end: Anchor) {
        if self.session.is_over {
            return;
        }
        // Now and then the oldest are thrown out, so that doing so costs next to nothing.
        if self.nodes.len() == 2 * self.definition.steps_max {
            self.nodes.drain(..self.definition.steps_max);
            self.times_us.drain(..self.definition.steps_max);
            self.session.is_cut = true;
        }
        self.nodes.push(node);
        self.times_us.push(time_us);
        self.session.is_over = end == Anchor::Marked && marks.has(Marks::END);
    }

    fn take_all(&mut self, node: u32, time_us: i64, marks: Marks) {
        if self.nodes.len() == Self::SESSION_NODE_COUNT_MAX {
            self.session.is_cut = true;
            self.ignored_row_count += 1;
            return;
        }
        self.nodes.push(node);
        self.times_us.push(time_us);
        self.marks.push(marks);
    }

    fn close_session(&mut self, sink: &mut impl FnMut(Path<'_>)) {
        if let Some((node, time_us, marks)) = self.session.run.take() {
            self.take(node, time_us, marks);
        }
        if !self.nodes.is_empty() {
            match self.keep {
                Keep::FromOne { end, .. } => {
                    if end == Anchor::SessionEdge || self.session.is_over {
                        self.tell(0, self.nodes.len(), self.session.is_cut, true, sink);
                    }
                }
                Keep::UpToOne { end } => {
                    if end == Anchor::SessionEdge || self.session.is_over {
                        self.nodes.reverse();
                        self.times_us.reverse();
                        self.tell(0, self.nodes.len(), self.session.is_cut, true, sink);
                    }
                }
                Keep::FromEach { end } => self.tell_from_each(end, sink),
                Keep::UpToEach => self.tell_up_to_each(sink),
            }
        }
        self.nodes.clear();
        self.times_us.clear();
        self.marks.clear();
        self.session = OpenSession::default();
    }

    fn tell_from_each(&mut self, end: Anchor, sink: &mut impl FnMut(Path<'_>)) {
        let count = self.nodes.len();
        // Behind the end of the path; it never moves back, for a later start's next end is not earlier.
        let mut behind = 0;
        let mut is_first = true;
        for start in 0..count {
            if !self.marks[start].has(Marks::START) {
                continue;
            }
            match end {
                Anchor::SessionEdge => behind = count,
                Anchor::Marked => {
                    behind = behind.max(start + 2);
                    while behind <= count && !self.marks[behind - 1].has(Marks::END) {
                        behind += 1;
                    }
                    if count < behind {
                        break;
                    }
                }
            }
            // Nodes were ignored that a path to the session's end would have.
            let is_cut = self.session.is_cut && end == Anchor::SessionEdge;
            self.tell(start, behind, is_cut, is_first, sink);
            is_first = false;
        }
    }

    fn tell_up_to_each(&mut self, sink: &mut impl FnMut(Path<'_>)) {
        let count = self.nodes.len();
        // Turned round, the path from an end back is a slice, and the first end is the last one.
        self.nodes.reverse();
        self.times_us.reverse();
        let mut is_first = true;
        for end in 0..count {
            if self.marks[end].has(Marks::END) {
                self.tell(count - 1 - end, count, false, is_first, sink);
                is_first = false;
            }
        }
    }

    /// Gives the nodes from `begin` to before `behind` to the sink, or as many of them as are kept.
    #[inline]
    fn tell(&mut self, begin: usize, behind: usize, is_cut: bool, is_first: bool, sink: &mut impl FnMut(Path<'_>)) {
        let kept = behind.min(begin + self.definition.steps_max);
        let is_first_of_unit = !self.is_unit_told;
        self.is_unit_told = true;
        sink(Path {
            nodes: &self.nodes[begin..kept],
            times_us: &self.times_us[begin..kept],
            is_cut: is_cut || kept < behind,
            has_goal: self.session.has_goal,
            is_first_of_session: is_first,
            is_first_of_unit,
        });
    }
}
