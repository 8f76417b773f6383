//! The table a person reads in a terminal.
//!
//! Whoever may send an event chooses its text, and a terminal obeys some characters instead of showing them: they are
//! written out, as psql does. Line breaks stay: plans have them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_schema;

use crate::answer::Answer;

/// A table with a frame, and below it how many rows in what time, and what they were made of.
pub fn table(answer: &Answer) -> Result<String, ArrowError> {
    let frame = framed(&answer.schema, &answer.batches)?;
    let rows = answer.row_count();
    let plural = if rows == 1 { "row" } else { "rows" };
    let cut = if answer.truncated { ", more were cut off" } else { "" };
    let read = answer.facts.lines().map(|lines| format!("{}\n", shown(&lines))).unwrap_or_default();
    Ok(format!("{frame}\n{rows} {plural} in {:.3} s{cut}\n{read}", answer.elapsed.as_secs_f64()))
}

fn framed(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let fields = schema.fields().iter().map(|field| Field::new(shown(field.name()), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches = batches.iter().map(|batch| {
        let columns = batch.columns().iter().map(as_shown).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&schema), columns)
    });
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    Ok(pretty_format_batches_with_schema(schema, &batches)?.to_string())
}

fn as_shown(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let cell = |row| column.is_valid(row).then(|| formatter.value(row).try_to_string()).transpose();
    let cells = (0..column.len()).map(|row| Ok(cell(row)?.map(|text| shown(&text))));
    Ok(Arc::new(cells.collect::<Result<StringArray, ArrowError>>()?))
}

fn shown(text: &str) -> String {
    let escaped = |character: char| character.is_control() && character != '\n';
    if !text.contains(escaped) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if escaped(character) {
            shown.push_str(&format!("\\x{:02x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}
