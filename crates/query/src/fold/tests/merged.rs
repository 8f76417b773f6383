//! Sorted files, merged: the same units and rows as they lie in the files.

use std::collections::BTreeSet;

use async_trait::async_trait;
use datafusion::arrow::compute::SortOptions;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::physical_expr::expressions::col as physical;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;
use crate::fold::merge::Sorted;

/// Files of a store in memory.
#[derive(Debug)]
struct Files {
    schema: TableSchema,
    files: Vec<PartitionedFile>,
    store: Arc<dyn ObjectStore>,
}

fn url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("memory://files").unwrap()
}

impl Files {
    /// One file for each part, of pages of a few rows.
    ///
    /// * `by`: columns that sorted parts are said to be sorted by.
    async fn of(parts: &[(Vec<Row>, bool)], layout: Layout, by: &[&str]) -> Arc<Self> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let schema = batch(&[], layout).schema();
        let mut files = Vec::new();
        for (nth, (rows, is_sorted)) in parts.iter().enumerate() {
            let properties = WriterProperties::builder()
                .set_statistics_enabled(EnabledStatistics::Page)
                .set_data_page_row_count_limit(20)
                .set_write_batch_size(20)
                .set_max_row_group_row_count(Some(300))
                // Of those that are sorted by unit alone, one in three does not tell its texts without its rows.
                .set_dictionary_enabled(1 < by.len() || nth % 3 != 2);
            let mut bytes = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), Some(properties.build())).unwrap();
            writer.write(&batch(rows, layout)).unwrap();
            writer.close().unwrap();
            let path = format!("file-{nth:03}.parquet");
            let mut file = PartitionedFile::new(&path, bytes.len() as u64);
            if *is_sorted {
                let by = by.iter().map(|name| physical(name, &schema).unwrap());
                let by = by.map(|column| PhysicalSortExpr::new(column, SortOptions::default()));
                file = file.with_ordering(LexOrdering::new(by));
            }
            store.put(&path.as_str().into(), bytes.into()).await.unwrap();
            files.push(file);
        }
        let views = schema.fields().iter().map(|field| match field.data_type() {
            DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
            _ => Arc::clone(field),
        });
        let schema = Arc::new(Schema::new(views.collect::<Vec<_>>()));
        Arc::new(Self { schema: TableSchema::builder(schema).build(), files, store })
    }
}

#[async_trait]
impl TableProvider for Files {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        session.runtime_env().register_object_store(url().as_ref(), Arc::clone(&self.store));
        let footers = session.runtime_env().cache_manager.get_file_metadata_cache();
        let readers = CachedParquetFileReaderFactory::new(Arc::clone(&self.store), footers);
        let source = ParquetSource::new(self.schema.clone()).with_parquet_file_reader_factory(Arc::new(readers));
        let groups = self.files.chunks(self.files.len() / 3 + 1).map(|files| FileGroup::new(files.to_vec())).collect();
        let config = FileScanConfigBuilder::new(url(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

async fn told(
    files: &Arc<Files>,
    filter: Option<Expr>,
    tell: Tell,
    partitions: usize,
    memory_bytes: usize,
) -> (Result<(Vec<(String, String)>, i64)>, String) {
    let session = session(partitions, memory_bytes).unwrap();
    let mut input = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::clone(files) as _), None).unwrap();
    if let Some(filter) = filter {
        input = input.filter(filter).unwrap();
    }
    let input = input.build().unwrap();
    let plan = planned(&session, input.clone(), Tell { ..tell }).await;
    let plan = displayable(plan.as_ref()).indent(true).to_string();
    (answer_over(&session, input, tell).await, plan)
}

async fn planned(session: &SessionContext, input: LogicalPlan, tell: Tell) -> Arc<dyn ExecutionPlan> {
    let layout = tell.layout;
    let plan = FoldNode::plan(input, Folding { fold: Arc::new(tell), layout }, StopFlag::default()).unwrap();
    session.state().create_physical_plan(&plan).await.unwrap()
}

/// Rows dealt out to files; those of sorted files have a unit and a time.
fn dealt(dice: &mut Dice, rows: &mut Vec<Row>, file_count: u64, unsorted_from: u64) -> Vec<(Vec<Row>, bool)> {
    let mut parts: Vec<(Vec<Row>, bool)> = (0..file_count).map(|file| (Vec::new(), file < unsorted_from)).collect();
    rows.retain_mut(|row| {
        let part = &mut parts[dice.below(file_count) as usize];
        let is_fit = !part.1 || row.0.is_some() && row.1.is_some();
        if is_fit {
            part.0.push(row.clone());
        }
        is_fit
    });
    for (rows, _) in parts.iter_mut().filter(|(_, is_sorted)| *is_sorted) {
        rows.sort_by(|a, b| (&a.0, a.1, &a.2).cmp(&(&b.0, b.1, &b.2)));
    }
    parts
}

/// Some rows of each of several spans of time, sorted as a day of the lake is.
fn days(rows: &mut Vec<Row>) -> Vec<(Vec<Row>, bool)> {
    rows.retain(|row| row.0.is_some() && row.1.is_some());
    rows.sort_by(|a, b| (&a.0, a.1, a.2.sequence).cmp(&(&b.0, b.1, b.2.sequence)));
    let of_day = |day: i64| {
        let is_of_day = |row: &&Row| row.1.unwrap().div_euclid(10) == day;
        (rows.iter().filter(is_of_day).cloned().collect(), true)
    };
    (-3..3).map(of_day).collect()
}

fn last_us(rows: &[Row]) -> i64 {
    rows.iter().filter(|row| row.0.is_some()).filter_map(|row| row.1).max().unwrap()
}

#[tokio::test]
async fn sorted_files_are_merged_to_the_same_units() {
    let mut dice = Dice(17);
    for round in 0..30 {
        let layout = Layout { masks: round % 5, codes: round % 4, values: round % 3 };
        let count = [40, 900, 6_000][round % 3];
        let mut rows = random_rows(&mut dice, count, layout);
        let (file_count, unsorted) = [(1, 0), (2, 0), (9, 0), (17, 1)][round % 4];
        let parts = dealt(&mut dice, &mut rows, file_count, file_count - unsorted);
        let files = Files::of(&parts, layout, &["x0"]).await;
        let wanted = expected(&rows);
        for partitions in [1, 2, 5] {
            let tell = Tell { layout, wanted: 0 };
            let (told, plan) = told(&files, None, tell, partitions, ENOUGH).await;
            assert!(plan.contains(&format!("sorted_files={}", file_count - unsorted)), "{plan}");
            let (told, last) = told.unwrap();
            assert!(told == wanted, "round {round}, {partitions} partitions");
            assert_eq!(last, last_us(&rows));
        }
    }
}

#[tokio::test]
async fn what_is_merged_may_be_filtered_and_wanted_by_a_condition() {
    let mut dice = Dice(23);
    let layout = Layout { masks: 2, codes: 1, values: 1 };
    for (count, one_in) in [(700, 2), (4_000, 300), (60_000, 1)] {
        let mut rows = random_rows(&mut dice, count, layout);
        for (_, _, event) in &mut rows {
            event.masks[1] = Some(dice.below(one_in) == 0);
        }
        let parts = dealt(&mut dice, &mut rows, 13, 12);
        let files = Files::of(&parts, layout, &["x0"]).await;
        let kept: Vec<Row> = rows.iter().filter(|row| row.1.is_some_and(|time_us| -9 < time_us)).cloned().collect();
        let is_asked_for =
            |unit: &str| kept.iter().any(|row| row.0.as_deref() == Some(unit) && row.2.masks[1] == Some(true));
        let mut wanted = expected(&kept);
        wanted.retain(|(unit, _)| is_asked_for(unit));
        for partitions in [1, 2, 5] {
            let tell = Tell { layout, wanted: 0b10 };
            let filter = Some(col("x1").gt(lit(-9_i64)));
            let (told, plan) = told(&files, filter, tell, partitions, ENOUGH).await;
            assert!(plan.contains("sorted_files=12") && plan.contains("FilterExec"), "{plan}");
            let (told, last) = told.unwrap();
            assert!(told == wanted, "{count} rows, one in {one_in}, {partitions} partitions");
            assert_eq!(last, if told.is_empty() { 0 } else { last_us(&kept) });
        }
    }
}

#[tokio::test]
async fn what_can_not_be_merged_within_memory_is_gathered() {
    let mut dice = Dice(29);
    let layout = Layout { masks: 3, codes: 2, values: 1 };
    let mut rows = random_rows(&mut dice, 60_000, layout);
    let parts = dealt(&mut dice, &mut rows, 40, 37);
    let files = Files::of(&parts, layout, &["x0"]).await;
    let wanted = expected(&rows);
    for memory_bytes in [4_000_000, 1_600_000, 1_200_000] {
        let (told, plan) = told(&files, None, Tell { layout, wanted: 0 }, 2, memory_bytes).await;
        assert!(plan.contains("sorted_files=37"), "{plan}");
        assert!(told.unwrap().0 == wanted, "{memory_bytes} bytes");
    }
}

#[tokio::test]
async fn files_that_are_mostly_in_no_order_are_gathered() {
    let mut dice = Dice(31);
    let layout = Layout { masks: 1, codes: 1, values: 0 };
    let mut rows = random_rows(&mut dice, 2_000, layout);
    let parts = dealt(&mut dice, &mut rows, 9, 3);
    let files = Files::of(&parts, layout, &["x0"]).await;
    let (told, plan) = told(&files, None, Tell { layout, wanted: 0 }, 2, ENOUGH).await;
    assert!(!plan.contains("sorted_files"), "{plan}");
    assert!(told.unwrap().0 == expected(&rows));
}

#[tokio::test]
async fn what_orders_rows_of_one_time_is_not_read_where_files_tell_it() {
    let mut dice = Dice(37);
    let layout = Layout { masks: 2, codes: 1, values: 1 };
    let by = ["x0", "x1", "x2"];
    for (count, spoil) in [(500, 0), (9_000, 0), (9_000, 1), (9_000, 2)] {
        let mut rows = random_rows(&mut dice, count, layout);
        let mut parts = days(&mut rows);
        match spoil {
            // Two files share a time.
            1 => {
                let last = parts[2].0.iter().map(|row| row.1.unwrap()).max().unwrap();
                let (stay, go) = parts[2].0.drain(..).partition(|row| row.1 != Some(last) || row.2.sequence % 2 == 0);
                parts[2].0 = stay;
                parts[3].0.extend(go);
                parts[3].0.sort_by(|a, b| (&a.0, a.1, a.2.sequence).cmp(&(&b.0, b.1, b.2.sequence)));
            }
            // One is in no order, and small.
            2 => {
                parts[1].0.truncate(40);
                parts[1].0.reverse();
                parts[1].1 = false;
            }
            _ => {}
        }
        let rows: Vec<Row> = parts.iter().flat_map(|part| part.0.clone()).collect();
        let files = Files::of(&parts, layout, &by).await;
        let wanted = expected(&rows);
        for partitions in [1, 2, 3] {
            let (told, plan) = told(&files, None, Tell { layout, wanted: 0 }, partitions, ENOUGH).await;
            assert!(plan.contains("sorted_files="), "{plan}");
            assert!(told.unwrap().0 == wanted, "{count} rows, {partitions} partitions, spoilt {spoil}");
        }
        let session = session(2, ENOUGH).unwrap();
        let input = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::clone(&files) as _), None).unwrap();
        let plan = planned(&session, input.build().unwrap(), Tell { layout, wanted: 0 }).await;
        let sorted = Sorted::below(plan.children()[0], 5..6).unwrap();
        let footers = sorted.footers().await.unwrap();
        let narrow = sorted.without_sequence(&footers, session.state().config_options()).unwrap();
        assert_eq!(narrow.is_some(), spoil == 0);
        let known = sorted.known(&footers).await.unwrap();
        let told = known.texts[0].1.as_ref().unwrap();
        let told: BTreeSet<String> = (0..told.len()).map(|text| told.str(text).to_owned()).collect();
        let in_order = parts.iter().filter(|part| part.1).flat_map(|part| &part.0);
        assert_eq!(told, in_order.filter_map(|row| row.2.codes[0].clone()).collect());
        let last = known.times_us.unwrap().unwrap().1;
        assert_eq!(last, parts.iter().filter(|part| part.1).map(|part| last_us(&part.0)).max().unwrap());
    }
}
