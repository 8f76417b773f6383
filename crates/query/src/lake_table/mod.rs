//! One version of one table, as DataFusion scans it.
//!
//! In:       a lake `Snapshot`; the columns, filters and limit a plan asks for.
//! Out:      a plain Parquet `DataSourceExec` over the files that may hold matching rows.
//! Promise:  the plan names files by path under `LAKE_URL`, so it can be sent to another machine that has the
//!           same store registered. Files that cannot match are not in it. Where all files are compacted, it says in
//!           which order their rows come, and needs no sort for it.
//! Not here: which rows of a file match: the filter stays in the plan, and Parquet's own statistics skip row
//!           groups and pages by it.

mod prune;
mod statistics;

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{Result, Statistics, exec_datafusion_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use tributary_lake::{DataFile, Snapshot};

/// The name the lake's store is registered under wherever a plan runs.
pub(crate) static LAKE_URL: LazyLock<ObjectStoreUrl> =
    LazyLock::new(|| ObjectStoreUrl::parse("lake://tributary").expect("a scheme and a host, no path"));

#[derive(Debug)]
pub(crate) struct LakeTable {
    /// File columns first, then partition columns; a test holds `schemas` to that order.
    schema: TableSchema,
    /// Shares its list of files with the lake: a day of commits makes it long, and most questions name one table.
    snapshot: Snapshot,
}

impl LakeTable {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let is_partition = |field: &FieldRef| snapshot.table().partition_columns().contains(&field.name().as_str());
        let (partition, file): (Vec<FieldRef>, Vec<FieldRef>) =
            snapshot.schema().fields().iter().map(as_view).partition(is_partition);
        let schema = TableSchema::builder(Arc::new(Schema::new(file))).with_table_partition_cols(partition).build();
        Self { schema, snapshot }
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Each file where DataFusion expects it, cut into at most `group_count` groups of about equal bytes: day after day,
    /// where that can be, for then a unit's rows come in order of time.
    ///
    /// * `ordering`: of those that are sorted.
    fn groups<'f>(
        &self,
        files: impl Iterator<Item = &'f DataFile>,
        ordering: Option<&LexOrdering>,
        group_count: usize,
    ) -> Result<Vec<FileGroup>> {
        let mut files: Vec<&DataFile> = files.collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let group_count = group_count.clamp(1, files.len().max(1));
        let bytes = |group: &Vec<&DataFile>| group.iter().map(|file| file.size_bytes).sum::<u64>();
        let heaviest = |groups: &[Vec<&DataFile>]| groups.iter().map(bytes).max().unwrap_or_default();
        let mut groups = day_after_day(&files, group_count);
        let balanced = balanced(files, group_count);
        // A tenth more to read for one is less than the sort that it saves.
        if heaviest(&balanced) + heaviest(&balanced) / 10 < heaviest(&groups) {
            groups = balanced;
        }
        let located = |group: Vec<&DataFile>| {
            group.into_iter().map(|file| self.located(file, ordering)).collect::<Result<Vec<_>>>()
        };
        groups.into_iter().map(|group| Ok(FileGroup::new(located(group)?))).collect()
    }

    /// The same in groups whose files follow one another in the table's order, if all of them are sorted and that makes
    /// no more than a few groups a thread: each is read by a stream of its own, and days overlap in their people.
    fn ordered_groups(
        &self,
        files: &[&DataFile],
        ordering: &LexOrdering,
        group_count: usize,
    ) -> Result<Option<Vec<FileGroup>>> {
        const GROUPS_A_THREAD_MAX: usize = 4;
        if !files.iter().all(|file| file.sorted) {
            return Ok(None);
        }
        let schema = self.schema.table_schema();
        let located = files.iter().map(|file| self.located(file, Some(ordering))).collect::<Result<Vec<_>>>()?;
        let all = [FileGroup::new(located)];
        // Files whose bounds the log does not tell cannot be lined up; that is no fault.
        let lined_up = FileScanConfig::split_groups_by_statistics_with_target_partitions(
            schema,
            &all,
            ordering,
            group_count.max(1),
        );
        let few = lined_up.ok().filter(|groups| groups.len() <= GROUPS_A_THREAD_MAX * group_count.max(1));
        Ok(few)
    }

    /// How the rows of a sorted file lie.
    fn ordering(&self) -> Result<Option<LexOrdering>> {
        let schema = self.schema.table_schema();
        let ascending = SortOptions { descending: false, nulls_first: false };
        let columns = self.snapshot.table().sort_columns().iter();
        let by = columns.map(|name| Ok(PhysicalSortExpr::new(col(name, schema)?, ascending)));
        Ok(LexOrdering::new(by.collect::<Result<Vec<_>>>()?))
    }

    fn located(&self, file: &DataFile, ordering: Option<&LexOrdering>) -> Result<PartitionedFile> {
        let path = object_store::path::Path::parse(&file.path)
            .map_err(|error| exec_datafusion_err!("the lake names a file {:?}: {error}", file.path))?;
        // `new` would percent-encode the path once more. The time of change stays at its default: a file of the
        // lake never changes, so caches may know it by its name alone.
        let mut located = PartitionedFile::new("", file.size_bytes);
        located.object_meta.location = path;
        let values = statistics::partition_values(file, self.schema.table_partition_cols())?;
        let statistics = statistics::of_file(file, self.schema.file_schema());
        let ordering = ordering.filter(|_| file.sorted).cloned();
        Ok(located.with_partition_values(values).with_statistics(Arc::new(statistics)).with_ordering(ordering))
    }
}

/// Cut where an equal part of all bytes is full.
fn day_after_day<'f>(files: &[&'f DataFile], group_count: usize) -> Vec<Vec<&'f DataFile>> {
    let all = files.iter().map(|file| file.size_bytes).sum::<u64>().max(1);
    let mut groups = vec![Vec::new(); group_count];
    let mut before = 0;
    for file in files {
        // By its middle, so that a file lies where most of it does.
        let middle = u128::from(before + file.size_bytes / 2);
        let group = (middle * group_count as u128 / u128::from(all)) as usize;
        groups[group.min(group_count - 1)].push(*file);
        before += file.size_bytes;
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Largest first, each to the lightest group: within 4/3 of the best cut (Graham 1969), and always the same.
fn balanced(mut files: Vec<&DataFile>, group_count: usize) -> Vec<Vec<&DataFile>> {
    files.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.path.cmp(&b.path)));
    let mut groups: Vec<(u64, Vec<&DataFile>)> = vec![(0, Vec::new()); group_count];
    for file in files {
        let lightest = groups.iter_mut().min_by_key(|(bytes, _)| *bytes).expect("at least one group");
        lightest.0 += file.size_bytes;
        lightest.1.push(file);
    }
    let mut groups: Vec<Vec<&DataFile>> = groups.into_iter().map(|(_, files)| files).collect();
    // Within a group the days come in order all the same.
    groups.iter_mut().for_each(|group| group.sort_by(|a, b| a.path.cmp(&b.path)));
    groups
}

/// Texts are read as views: a value of a dictionary page is then not copied for each row that has it.
fn as_view(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters skip whole files here and are checked row by row above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let keep = prune::files_that_may_match(state, self.schema.table_schema(), self.snapshot.files(), filters)?;
        let kept = self.snapshot.files().iter().zip(&keep).filter(|(_, keep)| **keep).map(|(file, _)| file);
        let kept = prune::enough_for(limit.filter(|_| filters.is_empty()), kept);
        if kept.is_empty() {
            let schema = datafusion::common::project_schema(self.schema.table_schema(), projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let group_count = state.config().target_partitions();
        let by = self.ordering()?;
        let in_order = match &by {
            Some(by) => self.ordered_groups(&kept, by, group_count)?,
            None => None,
        };
        let (groups, ordering) = match in_order {
            Some(groups) => (groups, by.into_iter().collect()),
            None => (self.groups(kept.into_iter(), by.as_ref(), group_count)?, Vec::new()),
        };
        let of_files = groups.iter().flat_map(FileGroup::iter).filter_map(|file| file.statistics.as_deref());
        let statistics = Statistics::try_merge_iter(of_files, self.schema.table_schema())?;
        let options =
            TableParquetOptions { global: state.config_options().execution.parquet.clone(), ..Default::default() };
        // Footers are read once and kept within the bound of the cache. The reader is no part of what a plan
        // is when it is sent elsewhere: there it reads footers by itself.
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        let store = state.runtime_env().object_store(LAKE_URL.clone())?;
        let source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, footers)));
        let config = FileScanConfigBuilder::new(LAKE_URL.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_output_ordering(ordering)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

#[cfg(test)]
mod tests {
    use tributary_schemas::Table;

    #[test]
    fn partition_columns_stand_last_in_every_table() {
        for table in Table::ALL {
            let schema = table.arrow_schema();
            let partition = table.partition_columns();
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert!(names.ends_with(partition), "{}", table.name());
        }
    }
}
