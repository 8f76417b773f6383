//! Merging: units as they come out of sorted files, one after the other.
//!
//! In:       a plan over one scan of files, most of them sorted by what the fold calls its unit; what was gathered of the others.
//! Out:      each unit with its rows, in order; the units of a range of names by one task, ranges by several.
//! Promise:  the same units and rows as gathering gives. Of sorted files no more is held than what a reader of each holds, which
//!           is asked of the pool before they are opened, and the rows of a unit.
//! Not here: files in other order, and units that are not a column of the table (`gather.rs`); texts and times, which a fold
//!           wants to know first (`survey.rs`).
//!
//! A compacted day is sorted by `session_key` and time. The runs of a unit then lie at the front of the files at the same
//! moment, and neither a table of units nor room for all rows is needed. What is compared is a run's name, not each row's.

mod cursor;
mod dictionary;
mod name;
mod plan;
mod tail;
mod tree;

use std::cmp::Ordering::{Equal, Less};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::try_join_all;

use super::Layout;
use super::batch::BatchReader;
use super::row::{self, Rows, stride};
use super::shard::{sort_unit, sort_unit_by_time};
use cursor::{Cursor, FileCursor, Loader, TailCursor};
use name::Name;
pub(super) use plan::{Footers, Sorted};
pub(super) use tail::Tail;
use tree::Tree;

/// The ranges of one question, given out one by one.
pub(super) struct Merge {
    ranges: Vec<KeyRange>,
    next: AtomicUsize,
}

/// The rows of the units from one name on and before another.
pub(super) struct KeyRange {
    /// One partition a file, in the order of the files; pages that hold no such unit are not in it, other rows may be.
    input: Arc<dyn ExecutionPlan>,
    from: Option<String>,
    before: Option<String>,
    /// What readers of all its files hold at once, about: of each the pages of a row group, as they are packed.
    reader_bytes: usize,
}

impl Merge {
    /// `None` if it would be no less work than gathering.
    pub(super) fn of(sorted: &Sorted, footers: &Footers, threads: usize) -> Result<Option<Self>> {
        Ok(sorted.ranges(footers, threads)?.map(|ranges| Self { ranges, next: AtomicUsize::new(0) }))
    }

    pub(super) fn range_count(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn next(&self) -> Option<&KeyRange> {
        self.ranges.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The units of a range, one at a time.
pub(super) struct Merging {
    layout: Layout,
    reader: BatchReader,
    tail: Arc<Tail>,
    /// Whether rows of equal time come in order, file after file.
    lies_in_sequence: bool,
    /// Conditions of which a unit must meet one; 0: none.
    conditions: u32,
    cursors: Vec<Cursor>,
    /// The least of each cursor.
    names: Vec<Name>,
    /// Of equal names that of the first file comes first.
    order: Tree,
    unit: String,
    words: Vec<u64>,
    reader_bytes: usize,
    held: MemoryReservation,
}

impl Merging {
    pub(super) fn new(
        layout: Layout,
        reader: BatchReader,
        tail: Arc<Tail>,
        lies_in_sequence: bool,
        conditions: u32,
        context: &TaskContext,
    ) -> Self {
        Self {
            layout,
            reader,
            tail,
            lies_in_sequence,
            conditions,
            cursors: Vec::new(),
            names: Vec::new(),
            order: Tree::new(0, |_, _| false),
            unit: String::new(),
            words: Vec::new(),
            reader_bytes: 0,
            held: MemoryConsumer::new("Fold merge").register(context.memory_pool()),
        }
    }

    /// Begins a range.
    ///
    /// * `context`: one in which a partition reads its own file only.
    pub(super) async fn open(&mut self, range: &KeyRange, context: &Arc<TaskContext>) -> Result<()> {
        let files = range.input.properties().output_partitioning().partition_count();
        self.reader_bytes = range.reader_bytes;
        self.hold()?;
        // All at once: elsewhere than on a disk each waits for an answer.
        let opening = (0..files).map(|file| {
            let batches = range.input.execute(file, Arc::clone(context));
            async move { FileCursor::open(batches?).await }
        });
        let files = try_join_all(opening).await?.into_iter().map(|file| Cursor::File(Box::new(file)));
        let in_memory = self.tail.range(range.from.as_deref(), range.before.as_deref());
        let in_memory = Cursor::Tail(TailCursor::new(Arc::clone(&self.tail), in_memory));
        self.cursors = files.chain(std::iter::once(in_memory)).collect();
        self.names.clear();
        for cursor in &mut self.cursors {
            let (reader, stride) = (&mut self.reader, stride(self.layout));
            let is_there = cursor.begin(Loader { reader, range, stride }).await?;
            self.names.push(if is_there { cursor.name() } else { Name::NONE });
        }
        self.order = Tree::new(self.cursors.len(), |a, b| comes_first(&self.names, &self.cursors, a, b));
        self.hold()
    }

    /// Goes on to the next unit that is wanted; false if there is none.
    pub(super) async fn next(&mut self, range: &KeyRange) -> Result<bool> {
        let stride = stride(self.layout);
        while let Some((first, unit)) = self.first() {
            self.words.clear();
            self.unit.clear();
            unit.write(&mut self.unit, || self.cursors[first].text());
            while let Some((at, name)) = self.first()
                && name.compare(&unit, || (self.cursors[at].text(), &self.unit)) == Equal
            {
                self.take_run(at, range).await?;
            }
            let meets = |words: &[u64]| row::mask_of(words) & self.conditions != 0;
            if self.conditions == 0 || self.words.chunks_exact(stride).any(meets) {
                if self.lies_in_sequence {
                    sort_unit_by_time(&mut self.words, stride);
                } else {
                    sort_unit(&mut self.words, stride);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The unit at hand, and its rows.
    pub(super) fn unit(&self) -> (&str, Rows<'_>) {
        (&self.unit, Rows::new(&self.words, self.layout))
    }

    /// Rows that were read of the range, and those beyond it, which are another's.
    pub(super) fn rows(&self) -> (usize, usize) {
        let rows = self.cursors.iter().map(Cursor::rows);
        rows.fold((0, 0), |(all, beyond), (rows, more)| (all + rows, beyond + more))
    }

    /// Takes the run that comes first.
    async fn take_run(&mut self, at: usize, range: &KeyRange) -> Result<()> {
        let stride = stride(self.layout);
        let cursor = &mut self.cursors[at];
        self.words.extend_from_slice(cursor.words(stride));
        let mut is_more = cursor.step();
        if !is_more {
            // The file goes on in another batch, maybe with the same unit.
            is_more = cursor.fetch(Loader { reader: &mut self.reader, range, stride }).await?;
            self.hold()?;
        }
        self.names[at] = if is_more { self.cursors[at].name() } else { Name::NONE };
        self.order.again(|a, b| comes_first(&self.names, &self.cursors, a, b));
        Ok(())
    }

    /// The cursor with the least name.
    fn first(&self) -> Option<(usize, Name)> {
        let at = self.order.first()?;
        Some((at, self.names[at])).filter(|(_, name)| *name != Name::NONE)
    }

    fn hold(&mut self) -> Result<()> {
        let batches: usize = self.cursors.iter().map(Cursor::size).sum();
        let words = self.words.capacity() * size_of::<u64>();
        self.held.try_resize(self.reader_bytes + batches + words + self.reader.size())
    }
}

fn comes_first(names: &[Name], cursors: &[Cursor], one: usize, other: usize) -> bool {
    let texts = || (cursors[one].text(), cursors[other].text());
    names[one].compare(&names[other], texts).then(one.cmp(&other)) == Less
}
