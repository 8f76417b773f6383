//! Questions of the demo, answered as text cells.

use anyhow::{Context, bail};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tributary_query::Engine;

/// Every cell of the answer, as printed; NULL is empty.
pub(crate) async fn rows(engine: &Engine, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let answer = engine.query(sql).await.with_context(|| format!("asking {sql}"))?;
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for index in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(index).to_string()).collect());
        }
    }
    Ok(rows)
}

/// The one number of an answer.
pub(crate) async fn number(engine: &Engine, sql: &str) -> anyhow::Result<f64> {
    match rows(engine, sql).await?.as_slice() {
        [row] if row.len() == 1 => parse(&row[0]),
        other => bail!("one number was expected of {sql}, not {other:?}"),
    }
}

pub(crate) fn parse(cell: &str) -> anyhow::Result<f64> {
    cell.parse().with_context(|| format!("{cell:?} is no number"))
}
