//! The bytes of the log: Avro, single-object encoding.
//!
//! In:      `Event` and `DeadLetter` one at a time (the door), bytes many at a time (the pipeline).
//! Out:     a record's value; Arrow batches.
//! Promise: bytes once written stay readable: every schema ever used is kept in `tests/golden` and
//!          registered here; a newer reader fills columns an older writer did not know with nulls.
//! Not here: what becomes of bytes that cannot be read (the pipeline keeps them as dead letters).
//!
//! A value is `C3 01`, the CRC-64-AVRO fingerprint of its schema, and the Avro binary. We write it by
//! hand, field by field, because a record a request is too few for a columnar writer. Values of the
//! schema now written are read by `columns_reader.rs`; all others, and what that cannot make out, by
//! `arrow-avro`. Why Avro: `docs/adr/0002-wire-encoding.md`.

mod columns_reader;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use std::sync::LazyLock;

use crate::columns::Column;
use crate::event::{DEAD_LETTER_OWN, DeadLetter, EVENT_COLUMNS, Event, Exposure, dead_letter_columns};
use crate::tables::arrow_schema;

/// The two shapes that travel in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    Event,
    DeadLetter,
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the record is not Avro in single-object encoding: it begins with {begin:02x?}")]
    NotSingleObject { begin: Vec<u8> },
    #[error("the record cannot be decoded; was it written by a newer version?")]
    Undecodable(#[source] arrow::error::ArrowError),
}

const MAGIC: [u8; 2] = [0xC3, 0x01];

impl Shape {
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Event => EVENT_COLUMNS,
            Self::DeadLetter => dead_letter_columns(),
        }
    }

    /// The Arrow schema decoded batches have.
    pub fn arrow_schema(self) -> SchemaRef {
        arrow_schema(self.columns())
    }

    /// The Avro schema now written, as canonical JSON text.
    pub fn avro_schema(self) -> String {
        let name = match self {
            Self::Event => "Event",
            Self::DeadLetter => "DeadLetter",
        };
        let fields: Vec<_> = self
            .columns()
            .iter()
            .map(|column| {
                let mut field = serde_json::json!({"name": column.name, "type": column.avro_type()});
                if column.nullable {
                    field["default"] = serde_json::Value::Null;
                }
                field
            })
            .collect();
        serde_json::json!({"type": "record", "name": name, "namespace": "tributary", "fields": fields}).to_string()
    }

    fn prefix(self) -> &'static [u8; 10] {
        static EVENT: LazyLock<[u8; 10]> = LazyLock::new(|| prefix_of(Shape::Event));
        static DEAD_LETTER: LazyLock<[u8; 10]> = LazyLock::new(|| prefix_of(Shape::DeadLetter));
        match self {
            Self::Event => &EVENT,
            Self::DeadLetter => &DEAD_LETTER,
        }
    }
}

fn prefix_of(shape: Shape) -> [u8; 10] {
    let fingerprint = AvroSchema::new(shape.avro_schema())
        .fingerprint(FingerprintAlgorithm::Rabin)
        .expect("our own schema is valid: a test registers it");
    let Fingerprint::Rabin(rabin) = fingerprint else { unreachable!("asked for a Rabin fingerprint") };
    let mut prefix = [0; 10];
    prefix[..2].copy_from_slice(&MAGIC);
    prefix[2..].copy_from_slice(&rabin.to_le_bytes());
    prefix
}

/// Writes one event as a record's value.
pub fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = AvroWriter::begin(Shape::Event, 512);
    write_event(&mut out, Known::Event, event);
    out.bytes
}

/// Whose columns are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Event,
    /// Of a dead letter, and whether what every event has is known of it.
    Letter(bool),
}

/// The columns of an event: all of them, or in a dead letter those that are not its own.
fn write_event(out: &mut AvroWriter, known: Known, e: &Event) {
    if known == Known::Event {
        out.text(&e.event_id);
    }
    out.maybe_text(e.client_event_id.as_deref());
    if known == Known::Event {
        out.text(&e.source);
        out.text(&e.dialect);
    }
    for id in [&e.anonymous_id, &e.user_id, &e.previous_id, &e.device_id, &e.account_id] {
        out.maybe_text(id.as_deref());
    }
    out.event_long(known, e.event_time_us);
    out.maybe_long(e.client_time_us);
    out.maybe_long(e.sent_time_us);
    if known == Known::Event {
        out.long(e.ingest_time_us);
    }
    out.event_text(known, e.clock_quality.as_str());
    out.maybe_long(e.clock_skew_us);
    out.event_text(known, &e.event_name);
    out.event_text(known, e.event_kind.as_str());
    out.maybe_decimal(e.value.map(|money| money.micros));
    out.maybe_text(e.currency.as_deref());
    for text in [
        &e.channel,
        &e.campaign_id,
        &e.ad_id,
        &e.creative_id,
        &e.message_id,
        &e.link_id,
        &e.utm_source,
        &e.utm_medium,
        &e.utm_campaign,
        &e.utm_term,
        &e.utm_content,
        &e.gclid,
        &e.gbraid,
        &e.wbraid,
        &e.dclid,
        &e.fbclid,
        &e.msclkid,
        &e.ttclid,
        &e.twclid,
        &e.li_fat_id,
        &e.referrer_host,
        &e.referrer_medium,
        &e.referrer_source,
        &e.referrer_term,
    ] {
        out.maybe_text(text.as_deref());
    }
    out.exposures(&e.exposures);
    for text in [
        &e.decision_id,
        &e.url_host,
        &e.url_path,
        &e.url_query,
        &e.title,
        &e.language,
        &e.timezone,
        &e.screen,
        &e.user_agent,
        &e.browser,
        &e.os,
        &e.device_class,
        &e.country,
        &e.region,
        &e.ip_truncated,
        &e.library,
    ] {
        out.maybe_text(text.as_deref());
    }
    out.event_text(known, e.engagement_class.as_str());
    out.maybe_double(e.engagement_confidence);
    out.text_list(&e.engagement_reasons);
    out.maybe_long(e.consent.map(|consent| consent.0));
    out.event_long(known, e.flags.0);
    out.maybe_text(e.properties.as_deref());
    out.maybe_text(e.schema_version.as_deref());
    out.text_list(&e.warnings);
    out.maybe_text(e.replayed_from.as_deref());
}

/// Writes one dead letter as a record's value.
pub fn encode_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    let mut out = AvroWriter::begin(Shape::DeadLetter, 256 + letter.payload.as_ref().map_or(0, String::len));
    out.maybe_text(letter.source.as_deref());
    out.text(&letter.dialect);
    out.maybe_text(letter.event_id.as_deref());
    out.long(letter.ingest_time_us);
    out.text(letter.reason.as_str());
    out.text(&letter.detail);
    out.maybe_text(letter.payload.as_deref());
    out.long(letter.payload_bytes);
    out.maybe_text(letter.request.as_deref());
    match &letter.event {
        // Without a name it was not read far enough to have what every event has.
        Some(event) => write_event(&mut out, Known::Letter(!event.event_name.is_empty()), event),
        // Each of the event's columns is absent: one byte.
        None => out.bytes.resize(out.bytes.len() + dead_letter_columns().len() - DEAD_LETTER_OWN.len(), 0),
    }
    out.bytes
}

/// Avro's binary encoding, as far as our columns need it.
///
/// Source: Apache Avro 1.12 specification, "Binary Encoding" and "Single-object encoding".
struct AvroWriter {
    bytes: Vec<u8>,
}

impl AvroWriter {
    fn begin(shape: Shape, bytes_about: usize) -> Self {
        let mut bytes = Vec::with_capacity(bytes_about);
        bytes.extend_from_slice(shape.prefix());
        Self { bytes }
    }

    fn long(&mut self, value: i64) {
        // Zigzag keeps small negative numbers short; then 7 bits a byte, lowest first.
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.bytes.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).expect("no text of ours is longer than i64::MAX"));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// The branch of a union: 0 is null, 1 is the value that follows.
    fn branch(&mut self, present: bool) {
        self.bytes.push(if present { 2 } else { 0 });
    }

    fn maybe_text(&mut self, text: Option<&str>) {
        self.branch(text.is_some());
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// A column that every event has, and a dead letter may lack.
    fn event_text(&mut self, known: Known, text: &str) {
        match known {
            Known::Event => self.text(text),
            Known::Letter(known) => self.maybe_text(known.then_some(text)),
        }
    }

    fn event_long(&mut self, known: Known, value: i64) {
        match known {
            Known::Event => self.long(value),
            Known::Letter(known) => self.maybe_long(known.then_some(value)),
        }
    }

    fn maybe_long(&mut self, value: Option<i64>) {
        self.branch(value.is_some());
        if let Some(value) = value {
            self.long(value);
        }
    }

    fn maybe_double(&mut self, value: Option<f64>) {
        self.branch(value.is_some());
        if let Some(value) = value {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn maybe_decimal(&mut self, micros: Option<i64>) {
        self.branch(micros.is_some());
        if let Some(micros) = micros {
            self.length(8);
            self.bytes.extend_from_slice(&micros.to_be_bytes());
        }
    }

    fn text_list(&mut self, texts: &[String]) {
        self.branch(!texts.is_empty());
        if !texts.is_empty() {
            self.length(texts.len());
            for text in texts {
                self.maybe_text(Some(text));
            }
            self.length(0);
        }
    }

    fn exposures(&mut self, exposures: &[Exposure]) {
        self.branch(!exposures.is_empty());
        if !exposures.is_empty() {
            self.length(exposures.len());
            for exposure in exposures {
                self.branch(true);
                self.maybe_text(Some(&exposure.experiment));
                self.maybe_text(Some(&exposure.variant));
                self.maybe_text(exposure.decision_id.as_deref());
                self.maybe_double(exposure.probability);
            }
            self.length(0);
        }
    }
}

/// The most values one call of [`WireDecoder::decode`] takes.
pub const BATCH_ROWS_MAX: usize = 65_536;

/// Turns record values into Arrow batches of one shape.
pub struct WireDecoder {
    shape: Shape,
    schema: SchemaRef,
    decoder: Decoder,
}

/// What became of a run of record values.
pub struct Decoded {
    /// The readable ones, in their order, in the shape's Arrow schema.
    pub batch: RecordBatch,
    /// The others: index into the values given, ascending, and why.
    pub refused: Vec<(usize, WireError)>,
}

impl WireDecoder {
    pub fn new(shape: Shape) -> Self {
        Self { shape, schema: shape.arrow_schema(), decoder: new_decoder(shape) }
    }

    /// Decodes at most [`BATCH_ROWS_MAX`] values. One that cannot be read does not spoil its neighbours.
    pub fn decode<V: AsRef<[u8]>>(&mut self, values: &[V]) -> Decoded {
        assert!(values.len() <= BATCH_ROWS_MAX, "callers cut their runs to BATCH_ROWS_MAX values");
        if let Some(batch) = columns_reader::read(self.shape, values) {
            return Decoded { batch, refused: Vec::new() };
        }
        self.decode_by_arrow_avro(values)
    }

    /// The same by the general reader alone: the reference the other is held to.
    fn decode_by_arrow_avro<V: AsRef<[u8]>>(&mut self, values: &[V]) -> Decoded {
        if let Ok(batch) = self.decode_all(values.iter().map(AsRef::as_ref)) {
            return Decoded { batch, refused: Vec::new() };
        }
        // Some value broke off in the middle of a row and left the decoder with columns of unequal
        // length. That is rare, so we pay for it here: each value is tried alone, and the decoder, which
        // is dear to make, is thrown away only after a failure.
        let mut refused = Vec::new();
        self.decoder = new_decoder(self.shape);
        for (index, value) in values.iter().enumerate() {
            if let Err(error) = self.decode_all(std::iter::once(value.as_ref())) {
                refused.push((index, error));
                self.decoder = new_decoder(self.shape);
            }
        }
        let mut bad = refused.iter().map(|(index, _)| *index).peekable();
        let good = values.iter().enumerate().filter(|(index, _)| bad.next_if_eq(index).is_none());
        let batch =
            self.decode_all(good.map(|(_, value)| value.as_ref())).expect("each value was decoded alone a moment ago");
        Decoded { batch, refused }
    }

    /// All or nothing; on an error the decoder must not be used again.
    fn decode_all<'v>(&mut self, values: impl Iterator<Item = &'v [u8]>) -> Result<RecordBatch, WireError> {
        let mut batches = Vec::new();
        let mut fingerprint: Option<&[u8]> = None;
        for value in values {
            if value.len() < 10 || !value.starts_with(&MAGIC) {
                return Err(WireError::NotSingleObject { begin: value.iter().take(4).copied().collect() });
            }
            // A batch holds rows of one writer's schema.
            if fingerprint.replace(&value[..10]).is_some_and(|before| before != &value[..10]) {
                batches.extend(self.flush()?);
            }
            let room = self.decoder.capacity();
            let used = self.decoder.decode(value).map_err(|error| WireError::Undecodable(error.into()))?;
            let rows = room - self.decoder.capacity();
            if used != value.len() || rows != 1 {
                let text = format!("{used} of the record's {} bytes gave {rows} rows, not one", value.len());
                return Err(WireError::Undecodable(arrow::error::ArrowError::ParseError(text)));
            }
        }
        batches.extend(self.flush()?);
        match batches.len() {
            1 => Ok(batches.remove(0)),
            _ => arrow::compute::concat_batches(&self.schema, &batches).map_err(WireError::Undecodable),
        }
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, WireError> {
        let batch = self.decoder.flush().map_err(|error| WireError::Undecodable(error.into()))?;
        batch.map(|batch| conform(&batch, &self.schema).map_err(WireError::Undecodable)).transpose()
    }
}

/// The same columns in our schema: `arrow-avro` names list elements its own way and may be stricter
/// about nulls inside them.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column.clone())
            } else {
                arrow::compute::cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

/// Schemas that were written once and are no longer: oldest first. Their goldens are in `tests/golden`.
const FORMER_EVENT_SCHEMAS: &[&str] = &[include_str!("../tests/golden/event.v1.avsc")];
const FORMER_DEAD_LETTER_SCHEMAS: &[&str] = &[include_str!("../tests/golden/dead_letter.v1.avsc")];

fn new_decoder(shape: Shape) -> Decoder {
    let former = match shape {
        Shape::Event => FORMER_EVENT_SCHEMAS,
        Shape::DeadLetter => FORMER_DEAD_LETTER_SCHEMAS,
    };
    let current = AvroSchema::new(shape.avro_schema());
    let mut store = SchemaStore::new();
    for schema in former {
        store.register(AvroSchema::new((*schema).to_owned())).expect("a schema once written is valid");
    }
    let fingerprint = store.register(current.clone()).expect("our own schema is valid");
    ReaderBuilder::new()
        .with_batch_size(BATCH_ROWS_MAX + 1)
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .with_reader_schema(current)
        .build_decoder()
        .expect("reader and writer schemas resolve: goldens of every version are read in the tests")
}

#[cfg(test)]
mod tests;
