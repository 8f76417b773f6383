//! The table `metric_definitions`: what is defined, for who looks for it in SQL.
//!
//! In:      `Definitions`.
//! Out:     a row for each: kind, name, definition, description, unit, file.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Result;
use datafusion::datasource::MemTable;

use super::{Definition, Definitions};

/// What it is called.
pub(crate) const NAME: &str = "metric_definitions";

pub(crate) fn table(definitions: &Definitions) -> Result<MemTable> {
    let all = definitions.all();
    let texts = |of: &dyn Fn(&Definition) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let columns = vec![
        texts(&|it| Some(it.kind.word().to_owned())),
        texts(&|it| Some(it.name.clone())),
        texts(&|it| Some(it.sql.clone())),
        texts(&|it| it.description.clone()),
        texts(&|it| it.unit.clone()),
        texts(&|it| Some(it.file.clone())),
    ];
    let field = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let schema = Arc::new(Schema::new(vec![
        field("kind", false),
        field("name", false),
        field("definition", false),
        field("description", true),
        field("unit", true),
        field("file", false),
    ]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    MemTable::try_new(schema, vec![vec![batch]])
}
