//! The tail as bytes, between two processes.
//!
//! In:      `LiveRows`.
//! Out:     a head in JSON with its length before it, then two Arrow IPC streams: events, sessions.
//! Promise: what is decoded has the columns of the tables as this program knows them, or is refused.

use std::io::Cursor;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use tributary_schemas::Table;

use super::LiveRows;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the answer is cut off or is none of ours")]
    Cut,
    #[error("the answer has not the columns of the table {table}: both processes must be of one version")]
    OtherColumns { table: &'static str },
    #[error("the answer cannot be read: {0}")]
    Arrow(#[from] ArrowError),
    #[error("the head of the answer cannot be read: {0}")]
    Head(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Head {
    positions: Vec<(u32, u64)>,
    partitions: u32,
    events_bytes: usize,
    sessions_bytes: usize,
}

pub fn encode(rows: &LiveRows) -> Result<Vec<u8>, WireError> {
    let events = stream(Table::Events, &rows.events)?;
    let sessions = stream(Table::Sessions, &rows.sessions)?;
    let head = Head {
        positions: rows.positions.clone(),
        partitions: rows.partitions,
        events_bytes: events.len(),
        sessions_bytes: sessions.len(),
    };
    let head = serde_json::to_vec(&head)?;
    let length = u32::try_from(head.len()).map_err(|_| WireError::Cut)?;
    Ok([&length.to_le_bytes()[..], &head, &events, &sessions].concat())
}

pub fn decode(bytes: &[u8]) -> Result<LiveRows, WireError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(WireError::Cut)?;
    let (head, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(WireError::Cut)?;
    let head: Head = serde_json::from_slice(head)?;
    let (events, rest) = rest.split_at_checked(head.events_bytes).ok_or(WireError::Cut)?;
    let (sessions, rest) = rest.split_at_checked(head.sessions_bytes).ok_or(WireError::Cut)?;
    if !rest.is_empty() {
        return Err(WireError::Cut);
    }
    Ok(LiveRows {
        positions: head.positions,
        partitions: head.partitions,
        events: batches(Table::Events, events)?,
        sessions: batches(Table::Sessions, sessions)?,
    })
}

fn stream(table: Table, batches: &[RecordBatch]) -> Result<Vec<u8>, WireError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &table.arrow_schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

fn batches(table: Table, bytes: &[u8]) -> Result<Vec<RecordBatch>, WireError> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    if reader.schema() != table.arrow_schema() {
        return Err(WireError::OtherColumns { table: table.name() });
    }
    Ok(reader.collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::new_null_array;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn empty(table: Table) -> RecordBatch {
        RecordBatch::new_empty(table.arrow_schema())
    }

    #[test]
    fn what_goes_out_comes_in_and_a_cut_answer_is_refused() {
        let rows = LiveRows {
            positions: vec![(0, 7), (3, 1 << 40)],
            partitions: 4,
            events: vec![empty(Table::Events)],
            sessions: vec![empty(Table::Sessions), empty(Table::Sessions)],
        };
        let bytes = encode(&rows).unwrap();
        let found = decode(&bytes).unwrap();
        assert_eq!((found.positions, found.partitions), (rows.positions, 4));
        assert_eq!((found.events, found.sessions), (rows.events, rows.sessions));
        for length in [0, 3, 10, bytes.len() / 2, bytes.len() - 1] {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes of {}", bytes.len());
        }
        assert!(decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn columns_of_another_version_are_refused() {
        let schema = Arc::new(Schema::new(vec![Field::new("mystery", DataType::Int64, true)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![new_null_array(schema.field(0).data_type(), 1)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert!(matches!(batches(Table::Events, &bytes), Err(WireError::OtherColumns { table: "events" })));
    }
}
