//! The wire: our Avro single-object values into Arrow, against the same rows as JSON lines through `arrow-json`.

use std::time::Instant;

use anyhow::ensure;
use arrow::array::RecordBatch;
use tributary_schemas::wire::{Shape, WireDecoder, encode_event};

use super::events::event;
use super::{Ceiling, Finding, per_second};

const RUN_ROWS: usize = 10_000;

pub(super) fn run(events: usize) -> anyhow::Result<Finding> {
    let all: Vec<_> = (0..events).map(event).collect();
    let begun = Instant::now();
    let values: Vec<Vec<u8>> = all.iter().map(encode_event).collect();
    let encode = per_second(events, begun.elapsed());
    drop(all);
    let avro_bytes: usize = values.iter().map(Vec::len).sum();

    let mut decoder = WireDecoder::new(Shape::Event);
    let begun = Instant::now();
    let batches: Vec<RecordBatch> = values.chunks(RUN_ROWS).map(|run| decoder.decode(run).batch).collect();
    let avro = per_second(events, begun.elapsed());
    ensure!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() == events, "every value decodes");

    let mut lines = arrow::json::LineDelimitedWriter::new(Vec::new());
    lines.write_batches(&batches.iter().collect::<Vec<_>>())?;
    lines.finish()?;
    let lines = lines.into_inner();
    let begun = Instant::now();
    let mut json_rows = 0;
    for batch in arrow::json::ReaderBuilder::new(Shape::Event.arrow_schema())
        .with_batch_size(RUN_ROWS)
        .build(lines.as_slice())?
    {
        json_rows += batch?.num_rows();
    }
    let json = per_second(events, begun.elapsed());
    ensure!(json_rows == events, "every line decodes");
    Ok(Finding {
        per_second: avro,
        ceilings: vec![Ceiling { name: "JSON lines to Arrow", per_second: json }],
        remarks: vec![
            format!("Avro {} bytes an event, JSON {}", avro_bytes / events, lines.len() / events),
            format!("one core encodes {} events/s", crate::import::grouped(encode as u64)),
        ],
    })
}
