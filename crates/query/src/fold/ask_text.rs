//! Conditions on one text, asked once of each text.
//!
//! In:       conditions that read one text column and nothing else; its values, batch by batch.
//! Out:      each row's mask: whose bit is set, that condition holds.
//! Promise:  the same masks as if each row had been asked.
//!
//! The steps of a funnel are mostly names of events, of which there are some dozens: a row then costs a look at a small table
//! in place of a comparison for each step.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_plan::PhysicalExpr;

use super::batch::intern_each;
use super::interner::Interner;
use crate::columns;

/// Beyond so many texts, or bytes of them, it costs more to know them than to ask each row.
const TEXTS_MAX: usize = 4_096;
const BYTES_MAX: usize = 1 << 20;

/// Conditions over one nullable column of texts, each with its bit.
#[derive(Debug)]
pub(super) struct TextConditions {
    pub(super) conditions: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    pub(super) schema: SchemaRef,
}

impl TextConditions {
    fn masks(&self, texts: &StringViewArray) -> Result<Vec<u32>> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(texts.clone())])?;
        let mut masks = vec![0; batch.num_rows()];
        for (bit, condition) in &self.conditions {
            let holds = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
            columns::set_bit(&mut masks, *bit, holds.as_boolean());
        }
        Ok(masks)
    }
}

/// What was asked so far.
#[derive(Debug)]
pub(super) struct Asked {
    conditions: Arc<TextConditions>,
    /// Each text with its mask; `None` once there are too many.
    known: Option<Known>,
}

#[derive(Debug, Default)]
struct Known {
    texts: Interner,
    masks: Vec<u32>,
    of_null: Option<u32>,
}

impl Asked {
    pub(super) fn new(conditions: Arc<TextConditions>) -> Self {
        Self { conditions, known: Some(Known::default()) }
    }

    /// The mask of each of some rows; those of the others say nothing.
    pub(super) fn masks(&mut self, texts: &StringViewArray, rows: &[Range<usize>]) -> Result<Vec<u32>> {
        let Some(known) = &mut self.known else { return self.conditions.masks(texts) };
        let masks = known.masks(&self.conditions, texts, rows)?;
        if TEXTS_MAX < known.texts.len() || BYTES_MAX < known.texts.size() {
            self.known = None;
        }
        Ok(masks)
    }

    /// To have their memory: they are asked again.
    pub(super) fn forget(&mut self) {
        self.known = self.known.is_some().then(Known::default);
    }

    pub(super) fn size(&self) -> usize {
        self.known.as_ref().map_or(0, |known| known.texts.size() + known.masks.capacity() * size_of::<u32>())
    }
}

impl Known {
    fn masks(
        &mut self,
        conditions: &TextConditions,
        texts: &StringViewArray,
        rows: &[Range<usize>],
    ) -> Result<Vec<u32>> {
        let codes = intern_each(&mut self.texts, texts, rows);
        let new = self.masks.len()..self.texts.len();
        if !new.is_empty() {
            let new = StringViewArray::from_iter(new.map(|text| Some(self.texts.str(text))));
            self.masks.extend(conditions.masks(&new)?);
        }
        let of_null = match self.of_null {
            Some(mask) => mask,
            None if 0 < texts.null_count() => *self.of_null.insert(conditions.masks(&StringViewArray::new_null(1))?[0]),
            None => 0,
        };
        Ok(codes.into_iter().map(|code| self.masks.get(code as usize).copied().unwrap_or(of_null)).collect())
    }
}
