//! The table `identity_map`: each id a link speaks of, whose it is, from when to when, and why.
//!
//! In:      the links of a question.
//! Out:     rows, as they are asked for.
//! Promise: the rows are those of the map that `person_of` asks in the same question. A few batches of them are in memory
//!          at a time.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use tributary_analytics::identity::{Entry, IdentityMap};
use tributary_lake::Snapshot;

use super::cache::Persons;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        Field::new("id_kind", DataType::Utf8, false),
        text("source"),
        Field::new("id", DataType::Utf8, false),
        text("person_id"),
        text("user_id"),
        time("from_time_us"),
        time("until_time_us"),
        text("said_by"),
        time("said_time_us"),
        text("event_id"),
        text("reason"),
    ]))
});

const BATCH_ROWS: usize = 8_192;
const BATCHES_AHEAD: usize = 2;

#[derive(Debug)]
pub(crate) struct IdentityMapTable {
    persons: Persons,
}

impl IdentityMapTable {
    pub(crate) fn new(persons: Persons) -> Self {
        Self { persons }
    }

    /// `None` where it tells the links that one access sees.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.persons.snapshot()
    }
}

#[async_trait]
impl TableProvider for IdentityMapTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = Arc::new(Rows(self.persons.map().await?));
        let plan = StreamingTableExec::try_new(Arc::clone(&SCHEMA), vec![rows], projection, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

#[derive(Debug)]
struct Rows(Arc<IdentityMap>);

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &SCHEMA
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&SCHEMA), BATCHES_AHEAD);
        let (batches, map) = (stream.tx(), Arc::clone(&self.0));
        stream.spawn_blocking(move || {
            let mut entries = map.entries().peekable();
            while entries.peek().is_some() {
                let some: Vec<Entry<'_>> = entries.by_ref().take(BATCH_ROWS).collect();
                // Nobody listens any more: the rest is not wanted.
                if batches.blocking_send(Ok(batch(&some))).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}

fn batch(entries: &[Entry<'_>]) -> RecordBatch {
    let texts = |of: &dyn Fn(&Entry<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(entries.iter().map(of).collect::<StringArray>())
    };
    let times = |of: &dyn Fn(&Entry<'_>) -> Option<i64>| -> ArrayRef {
        Arc::new(entries.iter().map(of).collect::<Int64Array>())
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let columns = vec![
        texts(&|entry| owned(Some(if entry.source.is_some() { "anonymous" } else { "user" }))),
        texts(&|entry| owned(entry.source)),
        texts(&|entry| owned(Some(entry.id))),
        texts(&|entry| owned(entry.person_id)),
        texts(&|entry| owned(entry.user_id)),
        times(&|entry| entry.from_us),
        times(&|entry| entry.until_us),
        texts(&|entry| owned(entry.said.map(|(kind, ..)| kind.as_str()))),
        times(&|entry| entry.said.map(|(_, time_us, _)| time_us)),
        texts(&|entry| owned(entry.said.map(|(.., event_id)| event_id))),
        texts(&|entry| owned(entry.reason.map(|reason| reason.as_str()))),
    ];
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns).expect("the columns of `identity_map`")
}
