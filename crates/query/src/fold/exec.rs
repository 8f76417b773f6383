//! The operator.
//!
//! In:       the partitions of its input; those of a second that tells which units are asked for, if any does.
//! Out:      one partition: the fold's answer.
//! Promise:  where units come out of sorted files, these are merged, a range of names by a task. Else each input is gathered by
//!           a task of its own; then each share of units is put in order and folded by whichever task is free. Dropping the
//!           stream ends the tasks, each after at most a batch, a share or a thousand units.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
use tokio::sync::Barrier;
use tokio::sync::mpsc::Sender;

use super::ask_text::TextConditions;
use super::batch::BatchReader;
use super::gather::{Gatherer, Harvest};
use super::interner::Interner;
use super::look::{Wanted, look};
use super::merge::{Merge, Merging, Sorted, Tail};
use super::shard::{Gathered, Grouped, SHARDS, Shard, common_texts};
use super::survey::{Part, Survey};
use super::{About, AnyPart, Folding, Layout, Texts, span_of_both};
use crate::stop::StopFlag;

#[derive(Debug)]
pub(crate) struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    look: Option<Arc<dyn ExecutionPlan>>,
    conditions: Vec<Arc<TextConditions>>,
    folding: Folding,
    /// The input says the same however often it is asked.
    is_steady: bool,
    stop: StopFlag,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Of what was read for the survey.
pub(crate) const BYTES_SURVEYED: &str = "bytes_surveyed";
/// Of rows that were read by two, because a page is of two ranges.
pub(crate) const ROWS_READ_AGAIN: &str = "rows_read_again";

impl FoldExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        look: Option<Arc<dyn ExecutionPlan>>,
        conditions: Vec<Arc<TextConditions>>,
        folding: Folding,
        is_steady: bool,
        stop: StopFlag,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(folding.fold.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, look, conditions, folding, is_steady, stop, properties: Arc::new(properties), metrics }
    }

    /// The same without its first look; `None` if it has none.
    pub(crate) fn without_look(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.look.as_ref()?;
        Some(Arc::new(self.over(Arc::clone(&self.input), None)))
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>, look: Option<Arc<dyn ExecutionPlan>>) -> Self {
        Self::new(input, look, self.conditions.clone(), self.folding.clone(), self.is_steady, self.stop.clone())
    }
}

/// The input as sorted files that can be merged.
fn sorted(
    input: &Arc<dyn ExecutionPlan>,
    conditions: &[Arc<TextConditions>],
    layout: Layout,
    is_steady: bool,
) -> Option<Sorted> {
    let masks = if conditions.is_empty() { layout.masks } else { conditions.len() };
    let codes = Layout::BEFORE_MASKS + masks..Layout::BEFORE_MASKS + masks + layout.codes;
    is_steady.then(|| Sorted::below(input, codes)).flatten()
}

impl DisplayAs for FoldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoldExec: {}", self.folding.fold.explain())?;
        if let Some(sorted) = sorted(&self.input, &self.conditions, self.folding.layout, self.is_steady) {
            write!(f, ", sorted_files={}", sorted.file_count())?;
        }
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
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let run = Run {
            input: Arc::clone(&self.input),
            look: self.look.clone(),
            conditions: self.conditions.clone(),
            folding: self.folding.clone(),
            is_steady: self.is_steady,
            stop: self.stop.clone(),
            context,
            rows: counter("rows_folded"),
            units: counter("units"),
            wanted: counter("units_wanted"),
            spilled: counter("spilled_bytes"),
            read_again: counter(ROWS_READ_AGAIN),
            surveyed: counter(BYTES_SURVEYED),
            merged_files: counter("files_merged"),
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
    is_steady: bool,
    stop: StopFlag,
    context: Arc<TaskContext>,
    rows: Count,
    units: Count,
    wanted: Count,
    spilled: Count,
    read_again: Count,
    surveyed: Count,
    merged_files: Count,
}

/// What one task folded, and the memory it holds.
type Folded = (AnyPart, MemoryReservation);

impl Run {
    async fn answer(self, out: &Sender<Result<RecordBatch>>) -> Result<RecordBatch> {
        let reading = Arc::new(in_order(&self.context));
        let out = Out { to: out.clone(), has_begun: Arc::default() };
        if let Some(sorted) = sorted(&self.input, &self.conditions, self.folding.layout, self.is_steady) {
            match self.merged(&sorted, &reading, &out).await {
                Ok(Some(answer)) => return Ok(answer),
                Err(error) if !is_out_of_memory(&error) || out.has_begun() => return Err(error),
                // Gathering can put rows on disk.
                Ok(None) | Err(_) => {}
            }
        }
        let wanted = match &self.look {
            Some(units) => look(units, &self.context).await?.map(Arc::new),
            None => None,
        };
        self.wanted.add(wanted.as_ref().map_or(0, |wanted| wanted.len()));
        self.gathered(wanted, &reading, &out).await
    }

    fn threads(&self) -> usize {
        self.context.session_config().target_partitions().max(1)
    }

    /// `None` if gathering is the better way.
    async fn merged(&self, sorted: &Sorted, reading: &Arc<TaskContext>, out: &Out) -> Result<Option<RecordBatch>> {
        let footers = sorted.footers().await?;
        let narrow = sorted.without_sequence(&footers, self.context.session_config().options())?;
        let lies_in_sequence = narrow.is_some();
        let sorted = narrow.as_ref().unwrap_or(sorted);
        let Some(merge) = Merge::of(sorted, &footers, self.threads())? else { return Ok(None) };
        let Some(uncounted) = sorted.uncounted(self.threads())? else { return Ok(None) };
        let (harvests, held) = match sorted.others(self.threads())? {
            Some(others) => self.harvest(&others, None, reading).await?,
            None => Default::default(),
        };
        if harvests.iter().any(|harvest| !harvest.spilled.is_empty()) {
            return Ok(None);
        }
        let layout = self.folding.layout;
        let survey = Survey::of(uncounted, sorted.known(&footers).await?, &self.context).await?;
        self.surveyed.add(survey.bytes_read);
        self.rows.add(rows_of(&harvests));
        let shares = Shares::of(harvests, held, survey.parts, layout.codes);
        let tail = Arc::new(shares.tail(layout));
        let (merge, shares) = (Arc::new(merge), Arc::new(shares));
        self.merged_files.add(sorted.file_count());
        let tasks = merge.range_count().min(self.threads());
        let all_have_begun = Arc::new(Barrier::new(tasks));
        let mut folding = JoinSet::new();
        for _ in 0..tasks {
            let codes = shares.texts.iter().map(Interner::of).collect();
            let reader = BatchReader::new(layout, &self.conditions, codes);
            let conditions = self.folding.fold.wanted();
            folding.spawn(fold_ranges(FoldRanges {
                merge: Arc::clone(&merge),
                shares: Arc::clone(&shares),
                merging: Merging::new(layout, reader, Arc::clone(&tail), lies_in_sequence, conditions, &self.context),
                folding: self.folding.clone(),
                stop: self.stop.clone(),
                reading: Arc::clone(reading),
                rows: self.rows.clone(),
                units: self.units.clone(),
                read_again: self.read_again.clone(),
                all_have_begun: Arc::clone(&all_have_begun),
                out: out.clone(),
            }));
        }
        let (part, _held) = self.whole(folding).await?;
        self.folding.fold.finish(part, &shares.about()).map(Some)
    }

    async fn gathered(
        &self,
        wanted: Option<Arc<Wanted>>,
        reading: &Arc<TaskContext>,
        out: &Out,
    ) -> Result<RecordBatch> {
        let (harvests, held) = self.harvest(&self.input, wanted.as_ref(), reading).await?;
        self.rows.add(rows_of(&harvests));
        let shares = Arc::new(Shares::of(harvests, held, Vec::new(), self.folding.layout.codes));
        let mut folding = JoinSet::new();
        for _ in 0..self.threads() {
            folding.spawn(fold_shares(
                Arc::clone(&shares),
                self.folding.clone(),
                self.stop.clone(),
                Arc::clone(&self.context),
                self.units.clone(),
                out.clone(),
            ));
        }
        let (part, _held) = self.whole(folding).await?;
        self.folding.fold.finish(part, &shares.about())
    }

    /// All rows of a plan, gathered by a task for each of its partitions.
    async fn harvest(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        wanted: Option<&Arc<Wanted>>,
        reading: &Arc<TaskContext>,
    ) -> Result<(Vec<Harvest>, Vec<MemoryReservation>)> {
        let inputs = plan.properties().output_partitioning().partition_count();
        let mut gathering = JoinSet::new();
        for input in 0..inputs {
            let batches = plan.execute(input, Arc::clone(reading))?;
            let gathered = gather(
                batches,
                Gatherer::new(self.folding.layout, wanted.cloned(), &self.conditions),
                Arc::clone(&self.context),
                self.spilled.clone(),
            );
            gathering.spawn(async move { Ok::<_, DataFusionError>((input, gathered.await?)) });
        }
        let mut harvests = Vec::with_capacity(inputs);
        while let Some(done) = gathering.join_next().await {
            harvests.push(done.map_err(|error| exec_datafusion_err!("gathering broke: {error}"))??);
        }
        // Days lie in the inputs one after the other, so most units then come in order and need no sort.
        harvests.sort_unstable_by_key(|(input, _)| *input);
        Ok(harvests.into_iter().map(|(_, harvest)| harvest).unzip())
    }

    /// The parts of all tasks as one.
    async fn whole(&self, mut folding: JoinSet<Result<Folded>>) -> Result<Folded> {
        let fold = &self.folding.fold;
        let mut whole: Option<Folded> = None;
        while let Some(done) = folding.join_next().await {
            let done = done.map_err(|error| exec_datafusion_err!("folding broke: {error}")).flatten();
            let (part, reservation) = match done {
                Ok(done) => done,
                Err(error) => {
                    // Until they have ended they hold memory, and may give rows out.
                    folding.shutdown().await;
                    return Err(error);
                }
            };
            match &mut whole {
                None => whole = Some((part, reservation)),
                Some((whole, held)) => {
                    fold.merge(whole, part)?;
                    drop(reservation);
                    held.try_resize(fold.bytes(whole))?;
                }
            }
        }
        whole.ok_or_else(|| exec_datafusion_err!("nothing was folded"))
    }
}

fn rows_of(harvests: &[Harvest]) -> usize {
    harvests.iter().map(|harvest| harvest.rows as usize).sum()
}

fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Where rows go that do not wait for the others.
#[derive(Clone)]
struct Out {
    to: Sender<Result<RecordBatch>>,
    has_begun: Arc<AtomicBool>,
}

impl Out {
    fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// False if nobody waits for them any more.
    async fn send(&self, batch: RecordBatch) -> bool {
        self.has_begun.store(true, Ordering::Relaxed);
        self.to.send(Ok(batch)).await.is_ok()
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
    _surveyed: Vec<Part>,
}

impl Shares {
    /// * `surveyed`: what is known of rows besides, which are in no share.
    fn of(harvests: Vec<Harvest>, held: Vec<MemoryReservation>, surveyed: Vec<Part>, code_columns: usize) -> Self {
        let mut texts = Vec::with_capacity(code_columns);
        let mut codes: Vec<Vec<Vec<u32>>> = harvests.iter().map(|_| Vec::with_capacity(code_columns)).collect();
        for column in 0..code_columns {
            let parts = harvests.iter().map(|harvest| &harvest.codes[column]);
            let parts: Vec<&Interner> = parts.chain(surveyed.iter().map(|part| &part.texts[column])).collect();
            let (common, numbers) = common_texts(&parts);
            texts.push(common);
            for (codes, numbers) in codes.iter_mut().zip(numbers) {
                codes.push(numbers);
            }
        }
        let times_us = harvests.iter().map(|harvest| harvest.times_us).chain(surveyed.iter().map(|part| part.times_us));
        let times_us = times_us.flatten().reduce(span_of_both);
        let mut in_memory: Vec<Vec<Shard>> = (0..SHARDS).map(|_| Vec::new()).collect();
        let mut on_disk = Vec::with_capacity(harvests.len());
        for harvest in harvests {
            for (share, shard) in in_memory.iter_mut().zip(harvest.shards) {
                share.push(shard);
            }
            on_disk.push(harvest.spilled);
        }
        let in_memory = in_memory.into_iter().map(Mutex::new).collect();
        Self { in_memory, on_disk, next: AtomicUsize::new(0), texts, times_us, codes, _held: held, _surveyed: surveyed }
    }

    /// All shares as they are in memory, to be merged with what is not.
    fn tail(&self, layout: Layout) -> Tail {
        let mut shares = Vec::with_capacity(SHARDS);
        for share in 0..SHARDS {
            // Who is left out is told by all rows of a unit, and here are some.
            let mut grouped = Grouped::new(layout, 0);
            grouped.fill(self.in_memory(share));
            shares.push(grouped);
        }
        Tail::new(shares)
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
        let mut parts = Vec::new();
        for (codes, spilled) in self.codes.iter().zip(&self.on_disk) {
            for spilled in spilled {
                parts.extend(spilled.read(share)?.map(|shard| Gathered { shard, codes }));
            }
        }
        parts.extend(self.in_memory(share));
        grouped.fill(parts);
        Ok(true)
    }

    fn in_memory(&self, share: usize) -> Vec<Gathered<'_>> {
        let shards = std::mem::take(&mut *self.in_memory[share].lock().expect("nobody panics while holding it"));
        shards.into_iter().zip(&self.codes).map(|(shard, codes)| Gathered { shard, codes }).collect()
    }
}

async fn fold_shares(
    shares: Arc<Shares>,
    folding: Folding,
    stop: StopFlag,
    context: Arc<TaskContext>,
    units: Count,
    out: Out,
) -> Result<Folded> {
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
            && !out.send(batch).await
        {
            break;
        }
        reservation.try_resize(fold.bytes(&part))?;
        // A share is some milliseconds of work without a pause: here the question may be ended.
        tokio::task::yield_now().await;
    }
    Ok((part, reservation))
}

struct FoldRanges {
    merge: Arc<Merge>,
    shares: Arc<Shares>,
    merging: Merging,
    folding: Folding,
    stop: StopFlag,
    reading: Arc<TaskContext>,
    rows: Count,
    units: Count,
    read_again: Count,
    all_have_begun: Arc<Barrier>,
    out: Out,
}

/// Units between two looks at memory, at rows that may go out, and at whether the question is ended.
const UNITS_AT_ONCE: usize = 1_024;

async fn fold_ranges(mut run: FoldRanges) -> Result<Folded> {
    let reservation = MemoryConsumer::new("Fold answer").register(run.reading.memory_pool());
    let fold = &run.folding.fold;
    let mut part = fold.start(&run.shares.about())?;
    let mut has_begun = false;
    while let Some(range) = run.merge.next() {
        run.merging.open(range, &run.reading).await?;
        if !has_begun {
            // Once rows have gone out it is too late to gather. What takes the memory is to begin.
            run.all_have_begun.wait().await;
            has_begun = true;
        }
        let mut units = 0;
        while run.merging.next(range).await? {
            let (unit, rows) = run.merging.unit();
            fold.unit(&mut part, unit, rows, &run.stop)?;
            units += 1;
            if units % UNITS_AT_ONCE == 0 {
                if let Some(batch) = fold.drain(&mut part)?
                    && !run.out.send(batch).await
                {
                    return Ok((part, reservation));
                }
                reservation.try_resize(fold.bytes(&part))?;
                tokio::task::yield_now().await;
            }
        }
        let (rows, read_again) = run.merging.rows();
        run.rows.add(rows);
        run.read_again.add(read_again);
        run.units.add(units);
        reservation.try_resize(fold.bytes(&part))?;
    }
    Ok((part, reservation))
}
