//! A first look: which units have a row that the fold asks for.
//!
//! In:       the units of the rows that meet one of the conditions of `Fold::wanted`, and of no others.
//! Out:      their hashes; `None` where so many rows do that it would not pay to leave the others out.
//! Promise:  no unit with such a row is missing. One without may be taken for one, by its hash: it is left out later, as all
//!           are where there was no look.
//!
//! Of a hundred visitors a few convert. Who did is told by two columns, one of them short; the rows of all the others then
//! need no room, no lookup and no order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{Array, AsArray, StringViewArray};
use datafusion::common::runtime::JoinSet;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream};
use futures::StreamExt;
use hashbrown::HashTable;

use super::{interner, pushed};
use crate::columns;

/// Hashes of units.
#[derive(Debug)]
pub(super) struct Wanted {
    hashes: HashTable<u64>,
    /// Given back with the hashes.
    held: Vec<MemoryReservation>,
}

impl Wanted {
    pub(super) fn has(&self, hash: u64) -> bool {
        self.hashes.find(hash, |known| *known == hash).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }
}

/// One row in so many that were read may be asked for,
const ROWS_A_WANTED_ROW: usize = 8;
/// beyond the first of all threads together, by which nobody can tell.
const WANTED_ROWS_MIN: usize = 32_768;

pub(super) async fn look(units: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<Option<Wanted>> {
    if !glance(units, context).await? {
        return Ok(None);
    }
    let wanted_rows = Arc::new(AtomicUsize::new(0));
    let mut looking = JoinSet::new();
    for partition in 0..units.output_partitioning().partition_count() {
        let looker = Looker {
            units: Arc::clone(units),
            batches: units.execute(partition, Arc::clone(context))?,
            held: MemoryConsumer::new("Fold look").register(context.memory_pool()),
            wanted_rows: Arc::clone(&wanted_rows),
        };
        looking.spawn(looker.hashes());
    }
    let mut whole: Option<Wanted> = None;
    while let Some(done) = looking.join_next().await {
        let found = done.map_err(|error| exec_datafusion_err!("looking broke: {error}"))??;
        // The others are ended with their tasks.
        let Some((hashes, held)) = found else { return Ok(None) };
        let Some(whole) = &mut whole else {
            whole = Some(Wanted { hashes, held: vec![held] });
            continue;
        };
        for hash in hashes {
            add(&mut whole.hashes, hash);
        }
        whole.held.push(held);
    }
    Ok(whole)
}

/// Rows of a glance.
const GLANCE_ROWS: usize = 8_192;

/// Whether a look may pay, by the first rows of the first file. Of them the condition is asked, and no names are read: where most
/// rows are wanted, the names of one batch are dearer than all the rest of a look.
async fn glance(units: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<bool> {
    let mut plan = units;
    while let Some(columns) = plan.downcast_ref::<ProjectionExec>() {
        plan = columns.input();
    }
    let Some(filter) = plan.downcast_ref::<FilterExec>().filter(|filter| filter.input().is::<DataSourceExec>()) else {
        return Ok(true);
    };
    let holds = ProjectionExpr::new(Arc::clone(filter.predicate()), "holds");
    let holds = pushed::only([holds], Arc::clone(filter.input()), context.session_config().options())?;
    // A scan that has been run gives no row twice: this is one of its own.
    let mut batches = reset_plan_states(holds)?.execute(0, Arc::clone(context))?;
    let (mut rows, mut wanted_rows) = (0, 0);
    while rows < GLANCE_ROWS
        && let Some(batch) = batches.next().await.transpose()?
    {
        rows += batch.num_rows();
        wanted_rows += batch.column(0).as_boolean().true_count();
    }
    Ok(rows < GLANCE_ROWS || ROWS_A_WANTED_ROW * wanted_rows <= rows)
}

struct Looker {
    units: Arc<dyn ExecutionPlan>,
    batches: SendableRecordBatchStream,
    held: MemoryReservation,
    /// Of all threads.
    wanted_rows: Arc<AtomicUsize>,
}

impl Looker {
    /// `None` if there are too many, or too many for the memory there is.
    async fn hashes(mut self) -> Result<Option<(HashTable<u64>, MemoryReservation)>> {
        let mut hashes = HashTable::new();
        while let Some(batch) = self.batches.next().await {
            let batch = batch?;
            let wanted_rows = self.wanted_rows.fetch_add(batch.num_rows(), Ordering::Relaxed) + batch.num_rows();
            if WANTED_ROWS_MIN < wanted_rows && rows_read(&self.units) < ROWS_A_WANTED_ROW * wanted_rows {
                return Ok(None);
            }
            let units: &StringViewArray = batch.column(0).as_string_view();
            for (row, is_other) in columns::changes(&[units], units.len()).into_iter().enumerate() {
                if is_other && units.is_valid(row) {
                    add(&mut hashes, interner::hash(units.value(row).as_bytes()));
                }
            }
            // Twice: it is put together with those of the other threads.
            if self.held.try_resize(2 * hashes.allocation_size()).is_err() {
                return Ok(None);
            }
        }
        Ok(Some((hashes, self.held)))
    }
}

/// By the scans below, so far.
fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let children = plan.children();
    if children.is_empty() {
        return plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0);
    }
    children.into_iter().map(rows_read).sum()
}

fn add(hashes: &mut HashTable<u64>, hash: u64) {
    hashes.entry(hash, |known| *known == hash, |known| *known).or_insert(hash);
}
