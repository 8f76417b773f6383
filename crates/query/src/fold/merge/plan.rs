//! Whether a plan's rows come out of sorted files, and the same plan for a range of names.
//!
//! In:       the plan under a fold.
//! Out:      the scan under it and its files; plans of a range, in which each file is a partition.
//! Promise:  a plan is taken only if nothing in it but filters and columns lies between the fold and the scan, most of what it
//!           reads is sorted by the column that is the unit, and what a fold wants to know first is cheap to be told.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics;
use datafusion::physical_expr::expressions::{CaseExpr, Column, Literal, binary, lit};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::future::try_join_all;

use super::{KeyRange, dictionary};
use crate::fold::interner::{self, Interner};
use crate::fold::survey::Known;
use crate::fold::{SEQUENCE, TIME, UNIT, pushed, span_of_both};

/// Files that are open at once, for each thread. More overlapping files than that are gathered.
const FILES_MAX: usize = 512;

/// Of so much that is sorted one may be in no order.
const OTHERS_SHARE: u64 = 8;

/// Texts that are known of a column whose rows are filtered: beyond, those that are left are counted out, for a fold may have a
/// bound on how many there are.
const FILTERED_TEXTS_MAX: usize = 4_096;

/// Rows of all batches of one thread together, about: what is read in turns should lie near.
const ROWS_AT_ONCE: usize = 1 << 17;
const BATCH_ROWS_MIN: usize = 1_024;
/// DataFusion's own, where a scan does not say.
const BATCH_ROWS: usize = 8_192;

/// Below, it does not matter that one thread does it all.
const BYTES_FOR_ONE_THREAD: u64 = 4 << 20;

/// A plan that may be merged.
pub(in crate::fold) struct Sorted {
    plan: Arc<dyn ExecutionPlan>,
    texts: Range<usize>,
    scan: FileScanConfig,
    source: ParquetSource,
    files: Vec<PartitionedFile>,
    /// Those that are not sorted.
    others: Vec<PartitionedFile>,
    /// Columns of the table.
    unit: Column,
    time: Option<Column>,
    is_filtered: bool,
}

/// Of the sorted files.
pub(in crate::fold) struct Footers(Vec<Arc<ParquetMetaData>>);

impl Sorted {
    /// * `texts`: which columns of the plan are told by their codes.
    pub(in crate::fold) fn below(plan: &Arc<dyn ExecutionPlan>, texts: Range<usize>) -> Option<Self> {
        let (scan, unit) = scan_of(plan, UNIT)?;
        // Texts that are worked out of others, and filters on lists, would have to be worked out twice.
        if texts.clone().any(|column| texts_under(plan, column).is_none()) || filters_by_lists(plan) {
            return None;
        }
        let source = scan.file_source().downcast_ref::<ParquetSource>()?;
        // A worker has another; its part of a plan is not all of the rows.
        source.parquet_file_reader_factory()?;
        if scan.limit.is_some() {
            return None;
        }
        let mut files: Vec<PartitionedFile> = scan.file_groups.iter().flat_map(FileGroup::iter).cloned().collect();
        // Large ones are cut for several threads. All of their pieces are here, for a fold has all partitions.
        files.sort_by(|a, b| a.object_meta.location.cmp(&b.object_meta.location));
        files.dedup_by(|a, b| a.object_meta.location == b.object_meta.location);
        files.iter_mut().for_each(|file| file.range = None);
        let (files, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| sorted_by(file).first() == Some(&unit.name()));
        if files.is_empty() || FILES_MAX < files.len() || bytes_of(&files) < OTHERS_SHARE * bytes_of(&others) {
            return None;
        }
        Some(Self {
            plan: Arc::clone(plan),
            texts,
            scan: scan.clone(),
            source: source.clone(),
            files,
            others,
            unit,
            time: scan_of(plan, TIME).map(|(_, time)| time),
            is_filtered: is_filtered(plan) || source.table_parquet_options().global.pushdown_filters,
        })
    }

    pub(in crate::fold) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Kept by the cache that the scan asks too.
    pub(in crate::fold) async fn footers(&self) -> Result<Footers> {
        let footers = self.files.iter().map(async |file| {
            let mut reader = self.reader(file)?;
            let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
            let footer = reader.get_metadata(Some(&options)).await;
            footer.map_err(|error| DataFusionError::ParquetError(Box::new(error)))
        });
        try_join_all(footers).await.map(Footers)
    }

    fn reader(&self, file: &PartitionedFile) -> Result<Box<dyn AsyncFileReader + Send>> {
        let factory = self.source.parquet_file_reader_factory().expect("a plan without one is not taken");
        factory.create_reader(0, file.clone(), None, &ExecutionPlanMetricsSet::new())
    }

    /// What the files tell without their rows.
    pub(in crate::fold) async fn known(&self, footers: &Footers) -> Result<Known> {
        let mut known = Known { times_us: self.times_us(footers), texts: Vec::with_capacity(self.texts.len()) };
        for column in self.texts.clone() {
            known.texts.push((column, self.texts_of(footers, column).await?));
        }
        Ok(known)
    }

    /// The texts of a column of the plan, if the files' dictionaries tell them. Those of rows that a filter leaves out are among
    /// them.
    async fn texts_of(&self, footers: &Footers, column: usize) -> Result<Option<Interner>> {
        let Some(made_of) = texts_under(&self.plan, column) else { return Ok(None) };
        let files = self.files.iter().zip(&footers.0).map(async |(file, footer)| {
            let mut reader = self.reader(file)?;
            let mut of_file = Interner::default();
            let mut is_told = true;
            for column in &made_of.columns {
                is_told = is_told && dictionary::texts(reader.as_mut(), footer, column, &mut of_file).await?;
            }
            Ok::<_, DataFusionError>(is_told.then_some(of_file))
        });
        let Some(files) = try_join_all(files).await?.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut known = Interner::default();
        for text in &made_of.constants {
            known.intern(interner::hash(text.as_bytes()), text.as_bytes());
        }
        for of_file in &files {
            known.intern_all(of_file);
        }
        Ok(Some(known).filter(|known| !self.is_filtered || known.len() <= FILTERED_TEXTS_MAX))
    }

    /// The times of the first and the last row of the sorted files, if the footers tell them; inside, `None` if there are no
    /// rows.
    fn times_us(&self, footers: &Footers) -> Option<Option<(i64, i64)>> {
        if self.is_filtered {
            return None;
        }
        let times = self.times_of_files(footers)?.into_iter().flatten();
        Some(times.reduce(span_of_both))
    }

    fn times_of_files(&self, footers: &Footers) -> Option<Vec<Option<(i64, i64)>>> {
        let time = self.time.as_ref()?;
        footers.0.iter().map(|footer| times_of(footer, time.name())).collect()
    }

    /// The same, but 0 is told for what orders rows of equal time; `None` if how rows lie in the files does not tell it.
    pub(in crate::fold) fn without_sequence(&self, footers: &Footers, config: &ConfigOptions) -> Result<Option<Self>> {
        if !self.others.is_empty() || !self.lies_in_sequence(footers) {
            return Ok(None);
        }
        let schema = self.plan.schema();
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            let column: Arc<dyn PhysicalExpr> =
                if index == SEQUENCE { lit(0_i64) } else { Arc::new(Column::new(field.name(), index)) };
            ProjectionExpr::new(column, field.name())
        });
        Ok(Self::below(&pushed::only(columns, Arc::clone(&self.plan), config)?, self.texts.clone()))
    }

    /// Whether a unit's rows, file after file, are in the order that the fold wants: then no two files have rows of one time. What
    /// a file is sorted by behind the time has to be what the sequence is made of, which for events is the place in the log.
    fn lies_in_sequence(&self, footers: &Footers) -> bool {
        let Some((time, by)) = self.time.as_ref().zip(columns_under(&self.plan, SEQUENCE)) else { return false };
        let by: BTreeSet<&str> = by.iter().map(String::as_str).collect();
        let is_by_time = |file: &PartitionedFile| {
            let columns = sorted_by(file);
            columns.get(1) == Some(&time.name()) && columns.into_iter().skip(2).collect::<BTreeSet<_>>() == by
        };
        let Some(times) = self.times_of_files(footers) else { return false };
        let mut times: Vec<(i64, i64)> = times.into_iter().flatten().collect();
        times.sort_unstable();
        self.files.iter().all(is_by_time) && times.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }

    /// The same plan over the files that are not sorted; `None` if all are.
    pub(in crate::fold) fn others(&self, threads: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.others.is_empty() {
            return Ok(None);
        }
        let scan = FileScanConfigBuilder::from(self.scan.clone());
        self.over(scan.with_file_groups(FileGroup::new(self.others.clone()).split_files(threads))).map(Some)
    }

    /// The same plan over the sorted files, of which what it reads is not counted for the question.
    pub(in crate::fold) fn uncounted(&self, threads: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let fresh = ParquetSource::new(self.source.table_schema().clone())
            .with_table_parquet_options(self.source.table_parquet_options().clone());
        let fresh = match self.source.parquet_file_reader_factory() {
            Some(factory) => fresh.with_parquet_file_reader_factory(Arc::clone(factory)),
            None => fresh,
        };
        let fresh = match self.source.filter() {
            Some(predicate) => fresh.with_predicate(predicate),
            None => fresh,
        };
        let Some(projection) = self.source.projection() else { return Ok(None) };
        let Some(fresh) = fresh.try_pushdown_projection(projection)? else { return Ok(None) };
        let scan = FileScanConfigBuilder::from(self.scan.clone()).with_source(fresh);
        self.over(scan.with_file_groups(FileGroup::new(self.files.clone()).split_files(threads))).map(Some)
    }

    /// The plan over a scan of some of its files.
    fn over(&self, scan: FileScanConfigBuilder) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = scan.with_output_ordering(Vec::new()).with_output_partitioning(None).build();
        over(&self.plan, &(DataSourceExec::from_data_source(scan) as Arc<dyn ExecutionPlan>), self.batch_rows())
    }

    /// One range for each thread; `None` where all would be for one thread, and it is much. A cut takes two to read the page it
    /// is in, of every file.
    pub(super) fn ranges(&self, footers: &Footers, threads: usize) -> Result<Option<Vec<KeyRange>>> {
        let cuts = self.cuts(footers, threads);
        if cuts.len() + 1 < threads && BYTES_FOR_ONE_THREAD < bytes_of(&self.files) {
            return Ok(None);
        }
        let begins = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let ends = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
        let reader_bytes = self.bytes_at_once(footers) / (cuts.len() + 1);
        let range = |(from, before)| self.range(from, before, reader_bytes);
        begins.zip(ends).map(range).collect::<Result<_>>().map(Some)
    }

    /// Of the largest row group of each file, the columns that are read, as they are packed.
    fn bytes_at_once(&self, footers: &Footers) -> usize {
        let schema = self.source.table_schema().table_schema();
        let read = self.source.projection().map(ProjectionExprs::column_indices).unwrap_or_default();
        let read: BTreeSet<&str> = read.into_iter().map(|index| schema.field(index).name().as_str()).collect();
        let of_group = |group: &RowGroupMetaData| {
            let is_read = |leaf: &&ColumnChunkMetaData| {
                leaf.column_path().parts().first().is_some_and(|root| read.contains(root.as_str()))
            };
            group.columns().iter().filter(is_read).map(ColumnChunkMetaData::compressed_size).sum::<i64>()
        };
        let of_file = |footer: &Arc<ParquetMetaData>| footer.row_groups().iter().map(of_group).max().unwrap_or(0);
        usize::try_from(footers.0.iter().map(of_file).sum::<i64>()).unwrap_or(usize::MAX)
    }

    fn range(&self, from: Option<String>, before: Option<String>, reader_bytes: usize) -> Result<KeyRange> {
        let schema = self.source.table_schema().table_schema();
        let bound = |at: &Option<String>, operator: Operator| {
            at.as_ref().map(|at| {
                let unit: Arc<dyn PhysicalExpr> = Arc::new(self.unit.clone());
                binary(unit, operator, lit(ScalarValue::Utf8View(Some(at.clone()))), schema)
            })
        };
        let bounds = [bound(&from, Operator::GtEq), bound(&before, Operator::Lt)];
        let bounds = bounds.into_iter().flatten().collect::<Result<Vec<_>>>()?;
        let tests: Vec<_> = self.source.filter().into_iter().chain(bounds).collect();
        let source =
            if tests.is_empty() { self.source.clone() } else { self.source.with_predicate(conjunction(tests)) };
        let rows = self.batch_rows();
        let groups = self.files.iter().map(|file| FileGroup::new(vec![file.clone()])).collect();
        let scan = FileScanConfigBuilder::from(self.scan.clone())
            .with_source(Arc::new(source))
            .with_file_groups(groups)
            .with_batch_size(Some(rows));
        Ok(KeyRange { input: self.over(scan)?, from, before, reader_bytes })
    }

    fn batch_rows(&self) -> usize {
        (ROWS_AT_ONCE / self.files.len()).clamp(BATCH_ROWS_MIN, BATCH_ROWS)
    }

    /// Names that cut the rows in about equal parts: at most one less than `parts`.
    fn cuts(&self, footers: &Footers, parts: usize) -> Vec<String> {
        if parts < 2 {
            return Vec::new();
        }
        let mut names: Vec<&str> =
            footers.0.iter().flat_map(|footer| names_of_pages(footer, self.unit.name())).collect();
        names.sort_unstable();
        let mut cuts: Vec<&str> =
            (1..parts).filter_map(|part| names.get(part * names.len() / parts).copied()).collect();
        cuts.dedup();
        // A cut before the least name cuts nothing off.
        cuts.retain(|cut| names.first() != Some(cut));
        cuts.into_iter().map(str::to_owned).collect()
    }
}

/// The least name of each page, or what its index tells of it: pages have about as many rows each.
fn names_of_pages<'f>(footer: &'f ParquetMetaData, unit: &str) -> Vec<&'f str> {
    let Some(index) = footer.column_index() else { return Vec::new() };
    let mut names = Vec::new();
    for (group, pages) in footer.row_groups().iter().zip(index) {
        if let Some(ColumnIndexMetaData::BYTE_ARRAY(pages)) = leaf_of(group, unit).and_then(|leaf| pages.get(leaf)) {
            names.extend(pages.min_values_iter().flatten().filter_map(|least| std::str::from_utf8(least).ok()));
        }
    }
    names
}

/// The least and the greatest time of a file, if its footer tells just these; inside, `None` if it has no rows.
fn times_of(footer: &ParquetMetaData, time: &str) -> Option<Option<(i64, i64)>> {
    let mut times: Option<(i64, i64)> = None;
    for group in footer.row_groups().iter().filter(|group| 0 < group.num_rows()) {
        let Some(Statistics::Int64(of_group)) = group.column(leaf_of(group, time)?).statistics() else { return None };
        if !of_group.min_is_exact() || !of_group.max_is_exact() {
            return None;
        }
        let span_us = (*of_group.min_opt()?, *of_group.max_opt()?);
        times = Some(times.map_or(span_us, |times| span_of_both(times, span_us)));
    }
    Some(times)
}

pub(super) fn leaf_of(group: &RowGroupMetaData, column: &str) -> Option<usize> {
    group.columns().iter().position(|leaf| leaf.column_path().string() == column)
}

/// The columns a file is sorted by, ascending.
fn sorted_by(file: &PartitionedFile) -> Vec<&str> {
    let by = file.ordering.iter().flat_map(|ordering| ordering.iter());
    by.take_while(|by| !by.options.descending)
        .map_while(|by| by.expr.downcast_ref::<Column>().map(Column::name))
        .collect()
}

fn bytes_of(files: &[PartitionedFile]) -> u64 {
    files.iter().map(|file| file.object_meta.size).sum()
}

/// What lies over a scan.
enum Over<'p> {
    Columns(&'p ProjectionExec),
    Filter(&'p FilterExec),
    /// All rows and columns pass.
    Nothing(&'p Arc<dyn ExecutionPlan>),
}

impl<'p> Over<'p> {
    fn of(plan: &'p Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(columns) = plan.downcast_ref::<ProjectionExec>() {
            return Some(Self::Columns(columns));
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            return filter.fetch().is_none().then_some(Self::Filter(filter));
        }
        let passes = plan.is::<RepartitionExec>() || plan.is::<CooperativeExec>();
        passes.then(|| plan.children().into_iter().next().map(Self::Nothing)).flatten()
    }
}

fn file_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// The scan under a plan, and the column of its table that a column of the plan is.
fn scan_of(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<(&FileScanConfig, Column)> {
    if let Some(scan) = file_scan(plan) {
        let column = scan.file_source().projection()?.iter().nth(column)?.expr.downcast_ref::<Column>()?.clone();
        return Some((scan, column));
    }
    match Over::of(plan)? {
        Over::Columns(columns) => {
            let column = columns.expr().get(column)?.expr.downcast_ref::<Column>()?.index();
            scan_of(columns.input(), column)
        }
        Over::Filter(filter) => scan_of(filter.input(), through(filter, column)?),
        Over::Nothing(input) => scan_of(input, column),
    }
}

/// The columns of the table that a column of the plan is made of, by name.
fn columns_under(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<BTreeSet<String>> {
    if let Some(scan) = file_scan(plan) {
        let made = scan.file_source().projection()?.iter().nth(column)?;
        return Some(collect_columns(&made.expr).iter().map(|column| column.name().to_owned()).collect());
    }
    match Over::of(plan)? {
        Over::Columns(columns) => {
            let made = collect_columns(&columns.expr().get(column)?.expr);
            let under = made.iter().map(|column| columns_under(columns.input(), column.index()));
            under.collect::<Option<Vec<_>>>().map(|under| under.into_iter().flatten().collect())
        }
        Over::Filter(filter) => columns_under(filter.input(), through(filter, column)?),
        Over::Nothing(input) => columns_under(input, column),
    }
}

/// Where the texts of a column come from.
#[derive(Default)]
struct MadeOf {
    /// Of the table, by name.
    columns: BTreeSet<String>,
    constants: BTreeSet<String>,
}

/// What a column's texts are chosen from; `None` if they are worked out in any other way.
fn texts_under(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<MadeOf> {
    if let Some(scan) = file_scan(plan) {
        let made = scan.file_source().projection()?.iter().nth(column)?;
        let itself =
            |column: &Column| Some(MadeOf { columns: BTreeSet::from([column.name().to_owned()]), ..MadeOf::default() });
        return chosen_from(&made.expr, &itself);
    }
    match Over::of(plan)? {
        Over::Columns(columns) => {
            let made = columns.expr().get(column)?;
            chosen_from(&made.expr, &|column| texts_under(columns.input(), column.index()))
        }
        Over::Filter(filter) => texts_under(filter.input(), through(filter, column)?),
        Over::Nothing(input) => texts_under(input, column),
    }
}

/// * `under`: what a column is made of.
fn chosen_from(made: &Arc<dyn PhysicalExpr>, under: &dyn Fn(&Column) -> Option<MadeOf>) -> Option<MadeOf> {
    if let Some(column) = made.downcast_ref::<Column>() {
        return under(column);
    }
    if let Some(constant) = made.downcast_ref::<Literal>() {
        let text = match constant.value() {
            ScalarValue::Null => None,
            value => value.try_as_str()?.map(str::to_owned),
        };
        return Some(MadeOf { constants: text.into_iter().collect(), ..MadeOf::default() });
    }
    let choices: Vec<&Arc<dyn PhysicalExpr>> = if let Some(case) = made.downcast_ref::<CaseExpr>() {
        case.when_then_expr().iter().map(|(_, then)| then).chain(case.else_expr()).collect()
    } else {
        let function = made.downcast_ref::<ScalarFunctionExpr>()?;
        if function.fun().name() != "coalesce" {
            return None;
        }
        function.args().iter().collect()
    };
    let mut all = MadeOf::default();
    for choice in choices {
        let MadeOf { columns, constants } = chosen_from(choice, under)?;
        all.columns.extend(columns);
        all.constants.extend(constants);
    }
    Some(all)
}

fn through(filter: &FilterExec, column: usize) -> Option<usize> {
    match filter.projection() {
        Some(columns) => columns.get(column).copied(),
        None => Some(column),
    }
}

fn filters_by_lists(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let does = |filter: &FilterExec| {
        let schema = filter.input().schema();
        collect_columns(filter.predicate()).iter().any(|column| schema.field(column.index()).data_type().is_nested())
    };
    plan.downcast_ref().is_some_and(does) || plan.children().into_iter().any(filters_by_lists)
}

fn is_filtered(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<FilterExec>() || plan.children().into_iter().any(is_filtered)
}

/// The same plan over another scan, whose partitions stay as they are.
///
/// * `batch_rows`: that a filter puts together.
fn over(
    plan: &Arc<dyn ExecutionPlan>,
    scan: &Arc<dyn ExecutionPlan>,
    batch_rows: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let children = plan.children();
    let Some(input) = children.first() else { return Ok(Arc::clone(scan)) };
    let input = over(input, scan, batch_rows)?;
    if plan.is::<RepartitionExec>() {
        return Ok(input);
    }
    let plan = match plan.downcast_ref::<FilterExec>() {
        Some(filter) => Arc::new(filter.with_batch_size(batch_rows)?) as Arc<dyn ExecutionPlan>,
        None => Arc::clone(plan),
    };
    plan.replace_children(vec![input], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
