//! Values of the schema now written, read straight into columns.
//!
//! In:      record values as `encode_event` and `encode_dead_letter` write them.
//! Out:     one Arrow batch; or nothing, and then `arrow-avro` has the word.
//! Promise: what it reads is what `arrow-avro` reads from the same bytes: a property test compares the two. It takes a
//!          run as a whole or not at all, and judges no record: which one is bad, and why, the general reader finds out.
//! Not here: former schemas, refusals.
//!
//! A replay waits for this. An event has 71 columns and fills some twenty of them; here an empty one costs a look at one
//! byte, and its column is made at the end, in one piece.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBufferBuilder, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::Shape;
use crate::columns::{ColumnKind, exposure_fields};
use crate::money;

/// Reads one run; `None` where the general reader must: another schema, or a value that is not what it says it is.
pub(super) fn read<V: AsRef<[u8]>>(shape: Shape, values: &[V]) -> Option<RecordBatch> {
    let prefix = shape.prefix();
    let mut columns: Vec<Filling> = shape
        .columns()
        .iter()
        .map(|column| Filling::new(column.kind, column.nullable, values.len()))
        .collect::<Option<_>>()?;
    for (row, value) in values.iter().enumerate() {
        let mut bytes = Bytes(value.as_ref().strip_prefix(prefix)?);
        for column in &mut columns {
            column.read(&mut bytes, row)?;
        }
        if !bytes.0.is_empty() {
            return None;
        }
    }
    let schema = shape.arrow_schema();
    let arrays = columns.into_iter().zip(schema.fields());
    let arrays =
        arrays.map(|(column, field)| column.finish(field, values.len())).collect::<Result<Vec<_>, _>>().ok()?;
    RecordBatch::try_new(schema, arrays).ok()
}

/// What is left of a value. Avro 1.12, "Binary Encoding".
struct Bytes<'v>(&'v [u8]);

impl<'v> Bytes<'v> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'v [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let first = self.byte()?;
        let mut bits = u64::from(first & 0x7F);
        let mut byte = first;
        let mut shift = 7;
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            // The tenth byte holds the last bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            bits |= u64::from(byte & 0x7F) << shift;
            shift += 7;
        }
        Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    fn text(&mut self) -> Option<&'v [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    /// Whether the value is there, of a union of null and one type.
    fn branch(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }

    fn maybe_text(&mut self) -> Option<Option<&'v [u8]>> {
        if self.branch()? { self.text().map(Some) } else { Some(None) }
    }

    fn double(&mut self) -> Option<f64> {
        self.take(8)?.try_into().ok().map(f64::from_le_bytes)
    }

    /// A decimal: the unscaled number, big-endian, in as many bytes as the writer chose.
    fn decimal(&mut self) -> Option<i128> {
        let bytes = self.text()?;
        if bytes.is_empty() || 16 < bytes.len() {
            return None;
        }
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xFF };
        let mut whole = [sign; 16];
        whole[16 - bytes.len()..].copy_from_slice(bytes);
        let unscaled = i128::from_be_bytes(whole);
        (unscaled.unsigned_abs() <= money::Money::MICROS_MAX.unsigned_abs().into()).then_some(unscaled)
    }

    /// The items of an array, each read by `item`; how many there were. Blocks with a size before them are left to the
    /// general reader: we write none.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<usize> {
        let mut count = 0;
        loop {
            match self.long()? {
                0 => return Some(count),
                length if length > 0 => {
                    for _ in 0..length {
                        item(self)?;
                        count += 1;
                    }
                }
                _ => return None,
            }
        }
    }
}

/// A column being filled. Rows that hold null are not written as they pass but made up for when a value comes, or at the
/// end.
struct Filling {
    nullable: bool,
    valid: BooleanBufferBuilder,
    of: Kind,
}

enum Kind {
    Text(Texts),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    TextList { ends: Vec<i32>, items: TextItems },
    Exposures { ends: Vec<i32>, items: Box<ExposureItems> },
}

impl Filling {
    fn new(kind: ColumnKind, nullable: bool, rows: usize) -> Option<Self> {
        let of = match kind {
            ColumnKind::Text => Kind::Text(Texts::new(if nullable { 0 } else { rows })),
            ColumnKind::Int => Kind::Long(Vec::with_capacity(if nullable { 0 } else { rows })),
            ColumnKind::Ratio => Kind::Double(Vec::new()),
            ColumnKind::Money => Kind::Decimal(Vec::new()),
            ColumnKind::TextList => Kind::TextList { ends: Vec::new(), items: TextItems::default() },
            ColumnKind::Exposures => Kind::Exposures { ends: Vec::new(), items: Box::default() },
            // Columns of the lake only.
            ColumnKind::SmallInt | ColumnKind::Bool | ColumnKind::Date | ColumnKind::ValueByCurrency => return None,
        };
        Some(Self { nullable, valid: BooleanBufferBuilder::new(0), of })
    }

    #[inline]
    fn read(&mut self, bytes: &mut Bytes<'_>, row: usize) -> Option<()> {
        if self.nullable {
            if !bytes.branch()? {
                return Some(());
            }
            if self.valid.len() < row {
                self.pad(row);
            }
            self.valid.append(true);
        }
        match &mut self.of {
            Kind::Text(texts) => texts.push(bytes.text()?)?,
            Kind::Long(longs) => longs.push(bytes.long()?),
            Kind::Double(doubles) => doubles.push(bytes.double()?),
            Kind::Decimal(decimals) => decimals.push(bytes.decimal()?),
            Kind::TextList { ends, items } => {
                let count = bytes.items(|bytes| items.push(bytes.maybe_text()?))?;
                ends.push(ends.last().copied().unwrap_or(0).checked_add(i32::try_from(count).ok()?)?);
            }
            Kind::Exposures { ends, items } => {
                let count = bytes.items(|bytes| items.read(bytes))?;
                ends.push(ends.last().copied().unwrap_or(0).checked_add(i32::try_from(count).ok()?)?);
            }
        }
        Some(())
    }

    /// Nulls up to `row`.
    #[cold]
    fn pad(&mut self, row: usize) {
        self.valid.append_n(row - self.valid.len(), false);
        match &mut self.of {
            Kind::Text(texts) => texts.pad(row),
            Kind::Long(longs) => longs.resize(row, 0),
            Kind::Double(doubles) => doubles.resize(row, 0.0),
            Kind::Decimal(decimals) => decimals.resize(row, 0),
            Kind::TextList { ends, .. } | Kind::Exposures { ends, .. } => {
                let end = ends.last().copied().unwrap_or(0);
                ends.resize(row, end);
            }
        }
    }

    fn finish(mut self, field: &FieldRef, rows: usize) -> Result<ArrayRef, ArrowError> {
        if self.nullable && self.valid.is_empty() {
            return Ok(new_null_array(field.data_type(), rows));
        }
        let mut nulls = None;
        if self.nullable {
            if self.valid.len() < rows {
                self.pad(rows);
            }
            nulls = Some(NullBuffer::new(self.valid.finish())).filter(|nulls| nulls.null_count() > 0);
        }
        Ok(match self.of {
            Kind::Text(texts) => Arc::new(texts.finish(nulls)?),
            Kind::Long(longs) => Arc::new(Int64Array::try_new(longs.into(), nulls)?),
            Kind::Double(doubles) => Arc::new(Float64Array::try_new(doubles.into(), nulls)?),
            Kind::Decimal(decimals) => Arc::new(
                Decimal128Array::try_new(decimals.into(), nulls)?
                    .with_precision_and_scale(money::PRECISION, money::SCALE)?,
            ),
            Kind::TextList { ends, items } => list(field, &ends, Arc::new(items.finish()?), nulls)?,
            Kind::Exposures { ends, items } => list(field, &ends, Arc::new(items.finish()?), nulls)?,
        })
    }
}

fn list(field: &FieldRef, ends: &[i32], items: ArrayRef, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let DataType::List(element) = field.data_type() else {
        return Err(ArrowError::SchemaError(format!("column {} is no list", field.name())));
    };
    let offsets: ScalarBuffer<i32> = std::iter::once(0).chain(ends.iter().copied()).collect();
    Ok(Arc::new(ListArray::try_new(element.clone(), OffsetBuffer::new(offsets), items, nulls)?))
}

struct Texts {
    /// Where each text begins, and at the end where the last one ends.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Texts {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, bytes: Vec::with_capacity(rows * 12) }
    }

    fn push(&mut self, text: &[u8]) -> Option<()> {
        self.bytes.extend_from_slice(text);
        self.offsets.push(i32::try_from(self.bytes.len()).ok()?);
        Some(())
    }

    fn pad(&mut self, rows: usize) {
        let end = *self.offsets.last().expect("begun with one");
        self.offsets.resize(rows + 1, end);
    }

    /// Looks whether all of it is UTF-8, in one go.
    fn finish(self, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
        StringArray::try_new(OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.bytes), nulls)
    }
}

/// Texts that may be null each.
struct TextItems {
    texts: Texts,
    valid: BooleanBufferBuilder,
}

impl Default for TextItems {
    fn default() -> Self {
        Self { texts: Texts::new(0), valid: BooleanBufferBuilder::new(0) }
    }
}

impl TextItems {
    fn push(&mut self, text: Option<&[u8]>) -> Option<()> {
        self.valid.append(text.is_some());
        self.texts.push(text.unwrap_or_default())
    }

    fn finish(mut self) -> Result<StringArray, ArrowError> {
        let nulls = NullBuffer::new(self.valid.finish());
        self.texts.finish(Some(nulls).filter(|nulls| nulls.null_count() > 0))
    }
}

#[derive(Default)]
struct ExposureItems {
    texts: [TextItems; 3],
    probabilities: Vec<Option<f64>>,
    valid: Vec<bool>,
}

impl ExposureItems {
    fn read(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let present = bytes.branch()?;
        self.valid.push(present);
        for texts in &mut self.texts {
            texts.push(if present { bytes.maybe_text()? } else { None })?;
        }
        let probability = if present && bytes.branch()? { Some(bytes.double()?) } else { None };
        self.probabilities.push(probability);
        Some(())
    }

    fn finish(self) -> Result<StructArray, ArrowError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(4);
        for texts in self.texts {
            columns.push(Arc::new(texts.finish()?));
        }
        columns.push(Arc::new(Float64Array::from(self.probabilities)));
        let nulls = NullBuffer::from(self.valid);
        StructArray::try_new(exposure_fields(), columns, Some(nulls).filter(|nulls| nulls.null_count() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_any_length_is_read_as_it_was_written() {
        for value in [0, -1, 1, 63, -64, 64, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let mut writer = super::super::AvroWriter { bytes: Vec::new() };
            writer.long(value);
            let mut bytes = Bytes(&writer.bytes);
            assert_eq!((bytes.long(), bytes.0.len()), (Some(value), 0));
        }
        assert_eq!(Bytes(&[0xFF; 10]).long(), None, "more than 64 bits");
        assert_eq!(Bytes(&[0x80]).long(), None, "broken off");
    }

    #[test]
    fn a_decimal_keeps_its_sign_in_few_bytes() {
        assert_eq!(Bytes(&[2, 0xFF]).decimal(), Some(-1));
        assert_eq!(Bytes(&[4, 0x01, 0x00]).decimal(), Some(256));
        assert_eq!(Bytes(&[0]).decimal(), None);
    }
}
