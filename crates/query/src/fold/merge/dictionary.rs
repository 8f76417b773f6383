//! The texts of a column, out of the dictionaries of its files.
//!
//! In:       a file's footer and reader.
//! Out:      each text of the column; texts that no row has any more may be among them.
//! Promise:  says that it cannot tell where a page of the column has texts that are in no dictionary.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::basic::{Encoding, Type};
use datafusion::parquet::column::page::{Page, PageReader};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use datafusion::parquet::file::serialized_reader::SerializedPageReader;

use super::plan::leaf_of;
use crate::fold::interner::{self, Interner};

/// False if the dictionaries do not tell all.
pub(super) async fn texts(
    reader: &mut (dyn AsyncFileReader + Send),
    footer: &ParquetMetaData,
    column: &str,
    known: &mut Interner,
) -> Result<bool> {
    let wrong = |error: ParquetError| DataFusionError::ParquetError(Box::new(error));
    for group in footer.row_groups() {
        // A file that is older than the column has none of its texts.
        let Some(leaf) = leaf_of(group, column) else { continue };
        let chunk = group.column(leaf);
        let is_empty =
            chunk.statistics().and_then(|known| known.null_count_opt()) == Some(group.num_rows().cast_unsigned());
        if is_empty {
            continue;
        }
        let is_told = chunk.page_encoding_stats_mask().is_some_and(|data| data.is_only(Encoding::RLE_DICTIONARY));
        let begin = chunk.dictionary_page_offset().filter(|_| is_told && chunk.column_type() == Type::BYTE_ARRAY);
        let Some(begin) = begin else { return Ok(false) };
        let end = chunk.data_page_offset();
        let bytes = reader.get_bytes(begin.cast_unsigned()..end.cast_unsigned()).await.map_err(wrong)?;
        // What was read begins where the page does.
        let moved = ColumnChunkMetaData::into_builder(chunk.clone())
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(end - begin)
            .set_total_compressed_size(end - begin)
            .build()
            .map_err(wrong)?;
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let mut pages = SerializedPageReader::new(Arc::new(bytes), &moved, rows, None).map_err(wrong)?;
        let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page().map_err(wrong)? else {
            return Ok(false);
        };
        let mut rest: &[u8] = &buf;
        for _ in 0..num_values {
            // A length in four bytes, and the text.
            let Some((length, after)) = rest.split_first_chunk() else { return Ok(false) };
            let Some((text, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                return Ok(false);
            };
            if std::str::from_utf8(text).is_err() {
                return Ok(false);
            }
            known.intern(interner::hash(text), text);
            rest = after;
        }
    }
    Ok(true)
}
