//! One sorted file, or what is in memory, read run by run.
//!
//! In:       its batches, or units with their rows; the range of names that is asked for.
//! Out:      one run of a unit's rows after the other.
//! Promise:  runs beyond the range are skipped; a file is let go where it leaves the range.
//!
//! A batch is turned into words when it comes: of 30 files read in turns, six columns each would be 180 places in memory.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;

use super::KeyRange;
use super::name::Name;
use super::tail::Tail;
use crate::fold::batch::{self, BatchReader};

pub(super) enum Cursor {
    File(Box<FileCursor>),
    Tail(TailCursor),
}

/// What is needed to take in a batch.
pub(super) struct Loader<'a> {
    pub(super) reader: &'a mut BatchReader,
    pub(super) range: &'a KeyRange,
    pub(super) stride: usize,
}

impl Cursor {
    /// Goes to the first run; false if there is none.
    pub(super) async fn begin(&mut self, loader: Loader<'_>) -> Result<bool> {
        match self {
            Self::File(cursor) => cursor.begin(loader).await,
            Self::Tail(cursor) => Ok(cursor.at < cursor.end),
        }
    }

    /// The unit whose run is at hand.
    pub(super) fn name(&self) -> Name {
        match self {
            Self::File(cursor) => cursor.names[cursor.at],
            Self::Tail(cursor) => Name::of(cursor.text()),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::File(cursor) => cursor.units.value(cursor.runs[cursor.at].start),
            Self::Tail(cursor) => cursor.text(),
        }
    }

    /// The rows of the run at hand.
    pub(super) fn words(&self, stride: usize) -> &[u64] {
        match self {
            Self::File(cursor) => {
                &cursor.words[cursor.row * stride..(cursor.row + cursor.runs[cursor.at].len()) * stride]
            }
            Self::Tail(cursor) => cursor.tail.words(cursor.at),
        }
    }

    /// Goes to the next run that is in memory; false if that was the last.
    pub(super) fn step(&mut self) -> bool {
        match self {
            Self::File(cursor) => {
                cursor.row += cursor.runs[cursor.at].len();
                cursor.at += 1;
                cursor.at < cursor.runs.len()
            }
            Self::Tail(cursor) => {
                cursor.at += 1;
                cursor.at < cursor.end
            }
        }
    }

    /// Goes to the first run of the next batch that has one; false if there is none.
    pub(super) async fn fetch(&mut self, loader: Loader<'_>) -> Result<bool> {
        match self {
            Self::File(cursor) => cursor.fetch(loader).await,
            Self::Tail(_) => Ok(false),
        }
    }

    /// Rows that were read of the range, and of others.
    pub(super) fn rows(&self) -> (usize, usize) {
        match self {
            Self::File(cursor) => (cursor.rows, cursor.rows_beyond),
            // They were counted when they were gathered.
            Self::Tail(_) => (0, 0),
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::File(cursor) => cursor.size(),
            Self::Tail(_) => 0,
        }
    }
}

pub(super) struct TailCursor {
    tail: Arc<Tail>,
    at: usize,
    end: usize,
}

impl TailCursor {
    pub(super) fn new(tail: Arc<Tail>, range: Range<usize>) -> Self {
        Self { tail, at: range.start, end: range.end }
    }

    fn text(&self) -> &str {
        self.tail.unit(self.at)
    }
}

pub(super) struct FileCursor {
    /// `None` once it has left the range, or ended.
    batches: Option<SendableRecordBatchStream>,
    /// The first batch, until it is taken in.
    first: Option<RecordBatch>,
    units: StringViewArray,
    runs: Vec<Range<usize>>,
    /// Of each run.
    names: Vec<Name>,
    /// Of the rows of all runs.
    words: Vec<u64>,
    /// The run at hand, and its first row among those.
    at: usize,
    row: usize,
    rows: usize,
    rows_beyond: usize,
}

impl FileCursor {
    pub(super) async fn open(mut batches: SendableRecordBatchStream) -> Result<Self> {
        let first = batches.next().await.transpose()?;
        Ok(Self { batches: Some(batches), first, ..Self::ended(0, 0) })
    }

    /// One that has nothing more, and holds nothing.
    fn ended(rows: usize, rows_beyond: usize) -> Self {
        Self {
            batches: None,
            first: None,
            units: StringViewArray::new_null(0),
            runs: Vec::new(),
            names: Vec::new(),
            words: Vec::new(),
            at: 0,
            row: 0,
            rows,
            rows_beyond,
        }
    }

    async fn begin(&mut self, mut loader: Loader<'_>) -> Result<bool> {
        match self.first.take() {
            Some(first) => Ok(self.load(&first, &mut loader)? || self.fetch(loader).await?),
            None => Ok(false),
        }
    }

    async fn fetch(&mut self, mut loader: Loader<'_>) -> Result<bool> {
        while let Some(batches) = &mut self.batches {
            let Some(batch) = batches.next().await.transpose()? else { break };
            if self.load(&batch, &mut loader)? {
                return Ok(true);
            }
        }
        *self = Self::ended(self.rows, self.rows_beyond);
        Ok(false)
    }

    /// Takes a batch in; false if it has no run that is asked for.
    fn load(&mut self, batch: &RecordBatch, loader: &mut Loader<'_>) -> Result<bool> {
        (self.at, self.row) = (0, 0);
        self.units = batch.column(0).as_string_view().clone();
        let units = &self.units;
        batch::runs(units, batch.column(1).as_primitive::<Int64Type>(), &mut self.runs);
        let all: usize = self.runs.iter().map(Range::len).sum();
        let place = |runs: &[Range<usize>], name: &str| runs.partition_point(|run| units.value(run.start) < name);
        if let Some(before) = &loader.range.before {
            let within = place(&self.runs, before);
            if within < self.runs.len() {
                self.runs.truncate(within);
                self.batches = None;
            }
        }
        if let Some(from) = &loader.range.from {
            let ahead = place(&self.runs, from);
            self.runs.drain(..ahead);
        }
        let rows: usize = self.runs.iter().map(Range::len).sum();
        self.rows += rows;
        self.rows_beyond += all - rows;
        let text_count = loader.reader.text_count();
        let rows = loader.reader.read(batch, &stretches(&self.runs))?;
        if loader.reader.text_count() != text_count {
            return internal_err!("a row has a text that was not told before; please report the question");
        }
        self.words.clear();
        self.words.resize(self.runs.iter().map(Range::len).sum::<usize>() * loader.stride, 0);
        let mut rest = self.words.as_mut_slice();
        for run in &self.runs {
            let (words, more) = rest.split_at_mut(run.len() * loader.stride);
            rows.write(words, run.clone(), 0);
            rest = more;
        }
        self.names.clear();
        self.names.extend(self.runs.iter().map(|run| Name::of(units.value(run.start))));
        Ok(!self.runs.is_empty())
    }

    fn size(&self) -> usize {
        let texts: usize = self.units.data_buffers().iter().map(|buffer| buffer.capacity()).sum();
        texts
            + size_of_val(self.units.views().as_ref())
            + self.words.capacity() * size_of::<u64>()
            + self.runs.capacity() * size_of::<Range<usize>>()
            + self.names.capacity() * size_of::<Name>()
    }
}

/// The same rows in the fewest pieces.
fn stretches(runs: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for run in runs {
        match stretches.last_mut() {
            Some(before) if before.end == run.start => before.end = run.end,
            _ => stretches.push(run.clone()),
        }
    }
    stretches
}
