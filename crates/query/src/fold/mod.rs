//! Folding: all rows of one unit (a person, a session, an account), in order of time, through one function.
//!
//! In:       a plan whose columns are those of a `Layout`; a `Fold`, which says what becomes of a unit's rows.
//! Out:      the rows of the fold's schema, once all units are folded; of a fold that drains, as they come.
//! Promise:  each unit's rows come together, each row once, ordered by time and then by `sequence`, however the rows lay
//!           in files, batches and partitions; memory comes out of the pool, and what does not fit goes to disk; the
//!           answer is the same for every number of threads. Work ends soon after nobody waits.
//! Not here: what is folded (`funnel`, `retention`, ...), which rows and columns (the SQL of the call).
//!
//! Why not `GROUP BY` with an aggregate, or a window: there each row's key is hashed and compared as text, its values are
//! carried as lists from the partial to the final stage, and a window sorts whole rows. Events lie in runs of one
//! person, so here a key is looked up once a run; a row is a few machine words from then on; and order within a unit is
//! checked before it is made. See `docs/adr/0015-folding.md`.

mod ask_text;
mod batch;
mod exec;
mod gather;
mod interner;
mod look;
mod merge;
mod node;
mod pushed;
mod row;
mod shard;
mod spill;
mod survey;

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;

pub(crate) use exec::{BYTES_SURVEYED, FoldExec, ROWS_READ_AGAIN};
pub(crate) use node::{FoldNode, FoldPlanner};
pub(crate) use row::{Row, Rows};

use crate::stop::StopFlag;

/// Which columns a fold's input has, in this order: the unit (text), the time (bigint, microseconds), the sequence (bigint,
/// orders rows of equal time), then `masks` conditions, `codes` texts, `values` decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Layout {
    /// Up to 32.
    pub(crate) masks: usize,
    pub(crate) codes: usize,
    pub(crate) values: usize,
}

/// The first columns of a layout.
const UNIT: usize = 0;
const TIME: usize = 1;
const SEQUENCE: usize = 2;

impl Layout {
    pub(crate) const MASKS_MAX: usize = u32::BITS as usize;
    pub(crate) const BEFORE_MASKS: usize = 3;

    pub(crate) fn column_count(self) -> usize {
        Self::BEFORE_MASKS + self.masks + self.codes + self.values
    }
}

/// The distinct texts of one code column, in order: code `k` is the `k`-th.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<Box<str>>);

impl Texts {
    pub(crate) fn get(&self, code: Option<u32>) -> Option<&str> {
        code.map(|code| &*self.0[code as usize])
    }

    pub(crate) fn code_of(&self, text: &str) -> Option<u32> {
        self.0.binary_search_by(|known| (**known).cmp(text)).ok().map(|place| place as u32)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|text| &**text)
    }
}

/// What becomes of a unit's rows.
///
/// One `Part` a thread; parts are merged in no certain order, so merging must not depend on it.
pub(crate) trait Fold: Debug + Send + Sync + 'static {
    type Part: Send + 'static;

    /// For `EXPLAIN`: what is asked, in a line.
    fn explain(&self) -> String;

    fn schema(&self) -> SchemaRef;

    /// Conditions, by bit, one of which a unit must meet on any row to be folded at all; 0: every unit is.
    fn wanted(&self) -> u32 {
        0
    }

    fn start(&self, about: &About<'_>) -> Result<Self::Part>;

    /// * `rows`: at least one, in order of time and sequence.
    /// * `stop`: to be asked by what may take long for one unit.
    fn unit(&self, part: &mut Self::Part, unit: &str, rows: Rows<'_>, stop: &StopFlag) -> Result<()>;

    fn merge(&self, part: &mut Self::Part, other: Self::Part) -> Result<()>;

    /// Memory the part holds, for the pool. Asked now and then.
    fn bytes(&self, part: &Self::Part) -> usize;

    /// Rows that go out before all units are folded, once there are enough; in no certain order.
    fn drain(&self, _: &mut Self::Part) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    fn finish(&self, part: Self::Part, about: &About<'_>) -> Result<RecordBatch>;
}

/// What is known of all rows before the first unit is folded.
#[derive(Debug)]
pub(crate) struct About<'a> {
    /// Of each code column.
    pub(crate) texts: &'a [Texts],
    /// The times of the first and the last of all rows, UTC microseconds; `None` if there are none.
    pub(crate) times_us: Option<(i64, i64)>,
}

/// A `Fold` of whatever part.
pub(crate) trait AnyFold: Debug + Send + Sync {
    fn explain(&self) -> String;
    fn schema(&self) -> SchemaRef;
    fn wanted(&self) -> u32;
    fn start(&self, about: &About<'_>) -> Result<AnyPart>;
    fn unit(&self, part: &mut AnyPart, unit: &str, rows: Rows<'_>, stop: &StopFlag) -> Result<()>;
    fn merge(&self, part: &mut AnyPart, other: AnyPart) -> Result<()>;
    fn bytes(&self, part: &AnyPart) -> usize;
    fn drain(&self, part: &mut AnyPart) -> Result<Option<RecordBatch>>;
    fn finish(&self, part: AnyPart, about: &About<'_>) -> Result<RecordBatch>;
}

type AnyPart = Box<dyn std::any::Any + Send>;

const OF_ANOTHER_FOLD: &str = "a part is given back to the fold it was started by";

impl<F: Fold> AnyFold for F {
    fn explain(&self) -> String {
        Fold::explain(self)
    }

    fn schema(&self) -> SchemaRef {
        Fold::schema(self)
    }

    fn wanted(&self) -> u32 {
        Fold::wanted(self)
    }

    fn start(&self, about: &About<'_>) -> Result<AnyPart> {
        Ok(Box::new(Fold::start(self, about)?))
    }

    fn unit(&self, part: &mut AnyPart, unit: &str, rows: Rows<'_>, stop: &StopFlag) -> Result<()> {
        Fold::unit(self, part.downcast_mut().expect(OF_ANOTHER_FOLD), unit, rows, stop)
    }

    fn merge(&self, part: &mut AnyPart, other: AnyPart) -> Result<()> {
        let other = *other.downcast().expect(OF_ANOTHER_FOLD);
        Fold::merge(self, part.downcast_mut().expect(OF_ANOTHER_FOLD), other)
    }

    fn bytes(&self, part: &AnyPart) -> usize {
        Fold::bytes(self, part.downcast_ref().expect(OF_ANOTHER_FOLD))
    }

    fn drain(&self, part: &mut AnyPart) -> Result<Option<RecordBatch>> {
        Fold::drain(self, part.downcast_mut().expect(OF_ANOTHER_FOLD))
    }

    fn finish(&self, part: AnyPart, about: &About<'_>) -> Result<RecordBatch> {
        Fold::finish(self, *part.downcast().expect(OF_ANOTHER_FOLD), about)
    }
}

/// A fold and the columns it wants, as one table function asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Folding {
    pub(crate) fold: Arc<dyn AnyFold>,
    pub(crate) layout: Layout,
}

/// The first and the last of two spans of time together.
fn span_of_both(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    (a.0.min(b.0), a.1.max(b.1))
}

#[cfg(test)]
mod tests;
