//! The operator.
//!
//! In:       the partitions of its input; those of a second that tells which units are asked for, if any does.
//! Out:      one partition: the fold's answer.
//! Promise:  each input is gathered by a task of its own; then each share of units is put in order and folded by
//!           whichever task is free. Dropping the stream ends the tasks, each after at most a batch or a share.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use tokio::sync::mpsc::Sender;

use super::ask_text::TextConditions;
use super::gather::{Gatherer, Harvest};
use super::interner::Interner;
use super::look::look;
use super::shard::{Gathered, Grouped, SHARDS, Shard, common_texts};
use super::{About, AnyPart, Folding, Texts};
use crate::stop::StopFlag;

#[derive(Debug)]
pub(crate) struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    look: Option<Arc<dyn ExecutionPlan>>,
    conditions: Vec<Arc<TextConditions>>,
    folding: Folding,
    stop: StopFlag,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FoldExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        look: Option<Arc<dyn ExecutionPlan>>,
        conditions: Vec<Arc<TextConditions>>,
        folding: Folding,
        stop: StopFlag,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(folding.fold.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, look, conditions, folding, stop, properties: Arc::new(properties), metrics }
    }

    /// The same without its first look; `None` if it has none.
    pub(crate) fn without_look(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.look.as_ref()?;
        Some(Arc::new(self.over(Arc::clone(&self.input), None)))
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>, look: Option<Arc<dyn ExecutionPlan>>) -> Self {
        Self::new(input, look, self.conditions.clone(), self.folding.clone(), self.stop.clone())
    }
}

impl DisplayAs for FoldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoldExec: {}", self.folding.fold.explain())?;
        let mut conditions: Vec<_> = self.conditions.iter().flat_map(|of_text| &of_text.conditions).collect();
        if conditions.is_empty() {
            return Ok(());
        }
        conditions.sort_by_key(|(bit, _)| *bit);
        let conditions: Vec<String> = conditions.into_iter().map(|(_, condition)| condition.to_string()).collect();
        write!(f, ", conditions=[{}]", conditions.join(", "))
    }
}

impl ExecutionPlan for FoldExec {
    fn name(&self) -> &str {
        "FoldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(&self.look).collect()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        match (children.next(), children.next(), children.next()) {
            (Some(input), look, None) if look.is_some() == self.look.is_some() => Ok(Arc::new(self.over(input, look))),
            _ => internal_err!("a fold has the inputs it was made with"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a fold has one partition, asked for {partition}");
        }
        let run = Run {
            input: Arc::clone(&self.input),
            look: self.look.clone(),
            conditions: self.conditions.clone(),
            folding: self.folding.clone(),
            stop: self.stop.clone(),
            context,
            rows: MetricBuilder::new(&self.metrics).counter("rows_folded", partition),
            units: MetricBuilder::new(&self.metrics).counter("units", partition),
            wanted: MetricBuilder::new(&self.metrics).counter("units_wanted", partition),
            spilled: MetricBuilder::new(&self.metrics).counter("spilled_bytes", partition),
        };
        let schema: SchemaRef = self.folding.fold.schema();
        let mut answer = RecordBatchReceiverStream::builder(schema, BATCHES_AHEAD);
        let out = answer.tx();
        answer.spawn(async move {
            let last = run.answer(&out).await?;
            // Nobody waits for it any more: that is no fault of ours.
            _ = out.send(Ok(last)).await;
            Ok(())
        });
        Ok(answer.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Batches that wait to be read.
const BATCHES_AHEAD: usize = 2;

struct Run {
    input: Arc<dyn ExecutionPlan>,
    look: Option<Arc<dyn ExecutionPlan>>,
    conditions: Vec<Arc<TextConditions>>,
    folding: Folding,
    stop: StopFlag,
    context: Arc<TaskContext>,
    rows: Count,
    units: Count,
    wanted: Count,
    spilled: Count,
}

impl Run {
    async fn answer(self, out: &Sender<Result<RecordBatch>>) -> Result<RecordBatch> {
        let wanted = match &self.look {
            Some(units) => look(units, &self.context).await?.map(Arc::new),
            None => None,
        };
        self.wanted.add(wanted.as_ref().map_or(0, |wanted| wanted.len()));
        let reading = Arc::new(in_order(&self.context));
        let inputs = self.input.properties().output_partitioning().partition_count();
        let mut gathering = JoinSet::new();
        for input in 0..inputs {
            let batches = self.input.execute(input, Arc::clone(&reading))?;
            let gathered = gather(
                batches,
                Gatherer::new(self.folding.layout, wanted.clone(), &self.conditions),
                Arc::clone(&self.context),
                self.spilled.clone(),
            );
            gathering.spawn(async move { Ok::<_, DataFusionError>((input, gathered.await?)) });
        }
        let mut harvests = Vec::with_capacity(inputs);
        let mut held = Vec::with_capacity(inputs);
        while let Some(done) = gathering.join_next().await {
            let (input, (harvest, reservation)) =
                done.map_err(|error| exec_datafusion_err!("gathering broke: {error}"))??;
            self.rows.add(harvest.rows as usize);
            harvests.push((input, harvest));
            held.push(reservation);
        }
        // Days lie in the inputs one after the other, so most units then come in order and need no sort.
        harvests.sort_unstable_by_key(|(input, _)| *input);
        let harvests = harvests.into_iter().map(|(_, harvest)| harvest).collect();
        let shares = Arc::new(Shares::of(harvests, held, self.folding.layout.codes));
        let mut folding = JoinSet::new();
        for _ in 0..self.context.session_config().target_partitions().max(1) {
            folding.spawn(fold(
                Arc::clone(&shares),
                self.folding.clone(),
                self.stop.clone(),
                Arc::clone(&self.context),
                self.units.clone(),
                out.clone(),
            ));
        }
        let fold = &self.folding.fold;
        let mut whole: Option<(AnyPart, MemoryReservation)> = None;
        while let Some(done) = folding.join_next().await {
            let (part, reservation) = done.map_err(|error| exec_datafusion_err!("folding broke: {error}"))??;
            match &mut whole {
                None => whole = Some((part, reservation)),
                Some((whole, held)) => {
                    fold.merge(whole, part)?;
                    drop(reservation);
                    held.try_resize(fold.bytes(whole))?;
                }
            }
        }
        let (part, _held) = whole.ok_or_else(|| exec_datafusion_err!("nothing was folded"))?;
        fold.finish(part, &shares.about())
    }
}

/// The same, but each input reads the days that it was given: they are of equal weight, and one that took a day from another
/// would leave most units to be sorted.
fn in_order(context: &TaskContext) -> TaskContext {
    let mut config = context.session_config().clone();
    config.options_mut().execution.enable_file_stream_work_stealing = false;
    TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    )
}

async fn gather(
    mut batches: SendableRecordBatchStream,
    mut gatherer: Gatherer,
    context: Arc<TaskContext>,
    spilled: Count,
) -> Result<(Harvest, MemoryReservation)> {
    let reservation = MemoryConsumer::new("Fold").with_can_spill(true).register(context.memory_pool());
    while let Some(batch) = batches.next().await {
        gatherer.push(&batch?)?;
        if reservation.try_resize(gatherer.size()).is_err() {
            spilled.add(gatherer.spill(&context)?);
            reservation.try_resize(gatherer.size())?;
        }
    }
    Ok((gatherer.finish(), reservation))
}

/// All shares of all inputs, given out one by one.
struct Shares {
    /// Share by share what each input has of it in memory.
    in_memory: Vec<Mutex<Vec<Shard>>>,
    on_disk: Vec<Vec<super::spill::Spilled>>,
    next: AtomicUsize,
    texts: Vec<Texts>,
    times_us: Option<(i64, i64)>,
    /// By input and code column: what its codes are in common.
    codes: Vec<Vec<Vec<u32>>>,
    /// Given back when all shares are.
    _held: Vec<MemoryReservation>,
}

impl Shares {
    fn of(harvests: Vec<Harvest>, held: Vec<MemoryReservation>, code_columns: usize) -> Self {
        let mut texts = Vec::with_capacity(code_columns);
        let mut codes: Vec<Vec<Vec<u32>>> = harvests.iter().map(|_| Vec::with_capacity(code_columns)).collect();
        for column in 0..code_columns {
            let parts: Vec<&Interner> = harvests.iter().map(|harvest| &harvest.codes[column]).collect();
            let (common, numbers) = common_texts(&parts);
            texts.push(common);
            for (input, numbers) in numbers.into_iter().enumerate() {
                codes[input].push(numbers);
            }
        }
        let both = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        let times_us = harvests.iter().filter_map(|harvest| harvest.times_us).reduce(both);
        let mut in_memory: Vec<Vec<Shard>> = (0..SHARDS).map(|_| Vec::new()).collect();
        let mut on_disk = Vec::with_capacity(harvests.len());
        for harvest in harvests {
            for (share, shard) in in_memory.iter_mut().zip(harvest.shards) {
                share.push(shard);
            }
            on_disk.push(harvest.spilled);
        }
        let in_memory = in_memory.into_iter().map(Mutex::new).collect();
        Self { in_memory, on_disk, next: AtomicUsize::new(0), texts, times_us, codes, _held: held }
    }

    fn about(&self) -> About<'_> {
        About { texts: &self.texts, times_us: self.times_us }
    }

    /// Fills `grouped` with the next share and what was put on disk of it; false if there is none.
    fn take(&self, grouped: &mut Grouped, reservation: &MemoryReservation) -> Result<bool> {
        let share = self.next.fetch_add(1, Ordering::Relaxed);
        if SHARDS <= share {
            return Ok(false);
        }
        let on_disk: usize = self.on_disk.iter().flatten().map(|spilled| spilled.bytes(share)).sum();
        // Twice: as it was read, and in order. What is in memory has its room already.
        reservation.try_resize(2 * on_disk)?;
        let shards = std::mem::take(&mut *self.in_memory[share].lock().expect("nobody panics while holding it"));
        let mut parts = Vec::with_capacity(shards.len());
        for (input, shard) in shards.into_iter().enumerate() {
            let codes = self.codes[input].as_slice();
            for spilled in &self.on_disk[input] {
                parts.extend(spilled.read(share)?.map(|shard| Gathered { shard, codes }));
            }
            parts.push(Gathered { shard, codes });
        }
        grouped.fill(parts);
        Ok(true)
    }
}

async fn fold(
    shares: Arc<Shares>,
    folding: Folding,
    stop: StopFlag,
    context: Arc<TaskContext>,
    units: Count,
    out: Sender<Result<RecordBatch>>,
) -> Result<(AnyPart, MemoryReservation)> {
    let pool = context.memory_pool();
    let loading = MemoryConsumer::new("Fold share").register(pool);
    let reservation = MemoryConsumer::new("Fold answer").register(pool);
    let fold = &folding.fold;
    let mut part = fold.start(&shares.about())?;
    let mut grouped = Grouped::new(folding.layout, fold.wanted());
    while shares.take(&mut grouped, &loading)? {
        units.add(grouped.unit_count());
        grouped.each(|unit, rows| fold.unit(&mut part, unit, rows, &stop))?;
        if let Some(batch) = fold.drain(&mut part)?
            && out.send(Ok(batch)).await.is_err()
        {
            break;
        }
        reservation.try_resize(fold.bytes(&part))?;
        // A share is some milliseconds of work without a pause: here the question may be ended.
        tokio::task::yield_now().await;
    }
    Ok((part, reservation))
}
