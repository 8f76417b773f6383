//! Answers written out: a table for people, CSV, JSON, Arrow and Parquet for programs.
//!
//! In:       a schema and its batches, all at once or one after the other.
//! Out:      text or bytes, into any writer.
//! Promise:  the same values in each form; CSV and JSON can be written batch by batch without holding the answer.

mod binary;
mod csv;
mod json;
mod table;

pub use self::binary::{arrow_stream, parquet};
pub use self::csv::{CsvWriter, csv};
pub use self::json::{JsonArrayWriter, JsonWriter, NdjsonWriter, json, ndjson};
pub use self::table::table;

#[cfg(test)]
mod tests;
