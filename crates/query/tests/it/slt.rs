//! Runs each `tests/sql/*.slt` against the planted world.

use std::path::Path;

use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tributary_query::{Engine, QueryError, QuerySettings};

use crate::world;

struct Questions(Engine);

#[async_trait::async_trait]
impl AsyncDB for Questions {
    type Error = QueryError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, QueryError> {
        let answer = self.0.query(sql).await?;
        let shown = |text: String| if text.is_empty() { "(empty)".to_owned() } else { text };
        let rows = world::cells(&answer, "NULL").into_iter().map(|row| row.into_iter().map(shown).collect()).collect();
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; answer.schema.fields().len()], rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "tributary"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_planted_world_is_found_again_in_sql() {
    let world = world::planted().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty());
    let mut faults = Vec::new();
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Questions(world.engine(QuerySettings::default()))) });
        if let Err(fault) = runner.run_file_async(&file).await {
            faults.push(fault.to_string());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
