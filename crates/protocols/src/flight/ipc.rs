//! Schemas and batches as Flight carries them: messages of Arrow's IPC.
//!
//! In:       schemas, batches; messages of a client with values of parameters.
//! Out:      bytes; batches.
//! Promise:  a message stays near `MESSAGE_BYTES`, as clients bound what they take; texts leave as plain UTF-8 columns, which
//!           every client reads.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use super::proto::FlightData;

/// gRPC takes 4 MiB where nobody says otherwise.
const MESSAGE_BYTES: usize = 2 << 20;
const CONTINUATION: u32 = 0xffff_ffff;

/// The schema of a table: views of text and bytes are plain there.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// The schema an answer has on its way. Any column may be NULL: what is described before an answer is computed knows less of that than
/// the answer does, and clients refuse one that comes otherwise than it was described.
pub(super) fn answer_schema(schema: &Schema) -> SchemaRef {
    let of = |field: &Arc<Field>| Field::new(field.name(), plain(field).data_type().clone(), true);
    Arc::new(Schema::new(schema.fields().iter().map(of).collect::<Vec<_>>()))
}

fn plain(field: &Arc<Field>) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    };
    field.as_ref().clone().with_data_type(data_type)
}

/// A schema as one message with its length, as `FlightInfo` has it.
pub(super) fn schema_bytes(schema: &Schema) -> Bytes {
    let message = schema_message(schema);
    let padded = message.len().next_multiple_of(8);
    let mut out = BytesMut::with_capacity(padded + 8);
    out.put_u32_le(CONTINUATION);
    out.put_u32_le(u32::try_from(padded).expect("a schema is far below 4 GiB"));
    out.put_slice(&message);
    out.put_bytes(0, padded - message.len());
    out.freeze()
}

fn schema_message(schema: &Schema) -> Vec<u8> {
    let mut tracker = DictionaryTracker::new(false);
    let options = IpcWriteOptions::default();
    IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options).ipc_message
}

/// Writes one answer.
pub(super) struct Writer {
    schema: SchemaRef,
    tracker: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Writer {
    /// * `schema`: that of the batches, plain.
    pub(super) fn new(schema: SchemaRef) -> Self {
        let (tracker, options) = (DictionaryTracker::new(false), IpcWriteOptions::default());
        Self { schema, tracker, options, context: IpcWriteContext::default() }
    }

    /// What comes first.
    pub(super) fn schema(&mut self) -> Bytes {
        let generator = IpcDataGenerator::default();
        let message = generator.schema_to_bytes_with_dictionary_tracker(&self.schema, &mut self.tracker, &self.options);
        data(message.ipc_message, Vec::new()).encode_to_vec().into()
    }

    /// The messages of a batch; none where it has no rows.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type()),
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)?;
        let parts = batch.get_array_memory_size().div_ceil(MESSAGE_BYTES).max(1);
        let rows = batch.num_rows().div_ceil(parts).max(1);
        let mut messages = Vec::new();
        let mut begin = 0;
        while begin < batch.num_rows() {
            let part = batch.slice(begin, rows.min(batch.num_rows() - begin));
            begin += part.num_rows();
            messages.extend(self.encoded(&part)?);
        }
        Ok(messages)
    }

    /// A batch without rows.
    pub(super) fn empty(&mut self) -> Result<Vec<FlightData>, ArrowError> {
        self.encoded(&RecordBatch::new_empty(Arc::clone(&self.schema)))
    }

    fn encoded(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        let generator = IpcDataGenerator::default();
        let (dictionaries, message) = generator.encode(batch, &mut self.tracker, &self.options, &mut self.context)?;
        let all = dictionaries.into_iter().chain([message]);
        Ok(all.map(|message| data(message.ipc_message, message.arrow_data)).collect())
    }
}

fn data(header: Vec<u8>, body: Vec<u8>) -> FlightData {
    FlightData { header: header.into(), body: body.into(), ..FlightData::default() }
}

/// Reads what a client puts, as a stream of Arrow's IPC is read.
#[derive(Default)]
pub(super) struct Reader(Vec<u8>);

impl Reader {
    pub(super) fn add(&mut self, data: &FlightData) {
        if data.header.is_empty() {
            return;
        }
        let padded = data.header.len().next_multiple_of(8);
        self.0.put_u32_le(CONTINUATION);
        self.0.put_u32_le(u32::try_from(padded).unwrap_or(u32::MAX));
        self.0.put_slice(&data.header);
        self.0.put_bytes(0, padded - data.header.len());
        self.0.put_slice(&data.body);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn batches(mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        self.0.put_u32_le(CONTINUATION);
        self.0.put_u32_le(0);
        StreamReader::try_new(Cursor::new(self.0), None)?.collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn what_is_written_is_read_and_large_batches_are_cut() {
        let texts: StringViewArray = (0..20_000).map(|index| Some(format!("{index:0>200}"))).collect();
        let numbers: Int64Array = (0..20_000).map(Some).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![("text", Arc::new(texts)), ("number", Arc::new(numbers))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = Writer::new(answer_schema(&batch.schema()));
        let mut messages = vec![writer.schema()];
        messages.extend(writer.batch(&batch).unwrap().into_iter().map(|message| message.encode_to_vec().into()));
        assert!(2 < messages.len());
        let mut reader = Reader::default();
        for message in messages {
            assert!(message.len() < 2 * MESSAGE_BYTES, "{}", message.len());
            reader.add(&FlightData::decode(message).unwrap());
        }
        let read = reader.batches().unwrap();
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
        assert_eq!(read[0].schema().field(0).data_type(), &DataType::Utf8);
        let schema = schema_bytes(&read[0].schema());
        assert_eq!((schema.len() % 8, &schema[..4]), (0, &[0xff; 4][..]));
    }
}
