//! A survey: what a fold wants to know of all rows before its first unit.
//!
//! In:       the plan under a fold; what is known without it.
//! Out:      the texts of the code columns; the times of the first and the last row.
//! Promise:  only columns of which it is not known are read. Texts of rows that are left out later may be among them.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::projection::ProjectionExpr;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream};
use futures::StreamExt;

use super::batch::intern_each;
use super::interner::Interner;
use super::{TIME, pushed, span_of_both};

pub(super) struct Survey {
    /// By partition.
    pub(super) parts: Vec<Part>,
    pub(super) bytes_read: usize,
}

/// What is known of some of the rows.
pub(super) struct Part {
    /// By code column.
    pub(super) texts: Vec<Interner>,
    pub(super) times_us: Option<(i64, i64)>,
    held: MemoryReservation,
}

/// What files tell without their rows.
pub(super) struct Known {
    /// `None` if they do not tell; inside, `None` if there are no rows.
    pub(super) times_us: Option<Option<(i64, i64)>>,
    /// For each code column: which it is of the plan, and its texts.
    pub(super) texts: Vec<(usize, Option<Interner>)>,
}

impl Survey {
    pub(super) async fn of(plan: Arc<dyn ExecutionPlan>, known: Known, context: &Arc<TaskContext>) -> Result<Self> {
        let Known { times_us, texts } = known;
        let asked = texts.iter().filter(|(_, known)| known.is_none()).map(|(column, _)| *column);
        let columns: Vec<usize> = asked.chain(times_us.is_none().then_some(TIME)).collect();
        let places = texts.iter().enumerate().filter(|(_, (_, known))| known.is_none()).map(|(place, _)| place);
        let (places, code_columns): (Vec<usize>, usize) = (places.collect(), texts.len());
        let new_part = || Part {
            texts: std::iter::repeat_with(Interner::default).take(code_columns).collect(),
            times_us: None,
            held: MemoryConsumer::new("Fold survey").register(context.memory_pool()),
        };
        let told = texts.into_iter().map(|(_, known)| known.unwrap_or_default()).collect();
        let mut parts = vec![Part { texts: told, times_us: times_us.flatten(), ..new_part() }];
        parts[0].hold()?;
        if columns.is_empty() {
            return Ok(Self { parts, bytes_read: 0 });
        }
        let schema = plan.schema();
        let columns = columns.into_iter().map(|index| {
            let name = schema.field(index).name();
            ProjectionExpr::new(Arc::new(Column::new(name, index)), format!("s{index}"))
        });
        let narrow = pushed::only(columns, plan, context.session_config().options())?;
        let mut surveying = JoinSet::new();
        for partition in 0..narrow.output_partitioning().partition_count() {
            surveying.spawn(survey(narrow.execute(partition, Arc::clone(context))?, places.clone(), new_part()));
        }
        while let Some(done) = surveying.join_next().await {
            parts.push(done.map_err(|error| exec_datafusion_err!("surveying broke: {error}"))??);
        }
        let bytes_read = bytes_read(&narrow);
        Ok(Self { parts, bytes_read })
    }
}

fn bytes_read(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned")).map_or(0, |sum| sum.as_usize());
    own + plan.children().into_iter().map(bytes_read).sum::<usize>()
}

impl Part {
    fn hold(&self) -> Result<()> {
        // Twice: they are put together with those of others.
        self.held.try_resize(2 * self.texts.iter().map(Interner::size).sum::<usize>())
    }
}

/// * `batches`: columns of texts; of times behind them, unless they are known.
/// * `places`: of those texts, among all code columns.
async fn survey(mut batches: SendableRecordBatchStream, places: Vec<usize>, mut part: Part) -> Result<Part> {
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let (texts, times) = batch.columns().split_at(places.len());
        let times = times.first().map(|times| times.as_primitive::<Int64Type>());
        let span_us = times.and_then(|times| min(times).zip(max(times)));
        part.times_us = part.times_us.into_iter().chain(span_us).reduce(span_of_both);
        let all = 0..batch.num_rows();
        for (place, column) in places.iter().zip(texts) {
            intern_each(&mut part.texts[*place], column.as_string_view(), std::slice::from_ref(&all));
        }
        part.hold()?;
    }
    Ok(part)
}
