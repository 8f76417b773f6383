//! Arrow and Parquet: answers for programs.
//!
//! In:       an answer.
//! Out:      an Arrow IPC stream; a Parquet file.

use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::errors::ParquetError;

use crate::answer::Answer;

/// The Arrow IPC streaming format.
pub fn arrow_stream(answer: &Answer, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, &answer.schema)?;
    answer.batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.finish()
}

pub fn parquet(answer: &Answer, out: &mut Vec<u8>) -> Result<(), ParquetError> {
    let mut writer = ArrowWriter::try_new(out, answer.schema.clone(), None)?;
    answer.batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.close().map(drop)
}
