//! From sorted rows to files in the store.
//!
//! In:      batches in order; the partition they belong to.
//! Out:     files of about `compact_file_bytes`, uploaded, with statistics.
//! Promise: a file ends only where the leading column of the order changes, so that files of one rewrite never overlap and
//!          all of one person lies in one (unless that alone is twice as much as a file shall weigh). The bounds of the
//!          leading column are whole, not cut: readers tell by them which files follow one another.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use tokio::sync::mpsc;
use tributary_schemas::Table;

use super::plan::Partition;
use crate::commit::Tries;
use crate::encode::{EncodedFile, file_path};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_state::lake_path;
use crate::parquet_file;
use crate::settings::LakeSettings;
use crate::snapshot::DataFile;
use crate::statistics::Gatherer;

/// A request that takes longer than 30 s is given up by the store's client: parts of this size pass over 3 Mbit/s.
const PART_BYTES: usize = 8 << 20;

/// The columns that lie in files: all but those of the partition.
pub(super) fn file_schema(table: Table, schema: &SchemaRef) -> SchemaRef {
    let is_in_file = |field: &&Arc<Field>| !table.partition_columns().contains(&field.name().as_str());
    Arc::new(Schema::new(schema.fields().iter().filter(is_in_file).cloned().collect::<Vec<_>>()))
}

pub(super) struct Encoder {
    table: Table,
    schema: SchemaRef,
    settings: LakeSettings,
    partition: Partition,
    to: mpsc::Sender<EncodedFile>,
    open: Option<Open>,
}

/// The file being written.
struct Open {
    writer: ArrowWriter<Vec<u8>>,
    gatherer: Gatherer,
    rows: u64,
    /// The leading column of the last row, an array of one.
    last: Option<ArrayRef>,
}

impl Encoder {
    pub(super) fn new(
        table: Table,
        schema: SchemaRef,
        settings: &LakeSettings,
        partition: Partition,
        to: mpsc::Sender<EncodedFile>,
    ) -> Result<Self, LakeError> {
        Ok(Self { table, schema, settings: settings.clone(), partition, to, open: None })
    }

    /// Takes the next rows; whether there is any sense in going on.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<bool, LakeError> {
        let file_bytes = usize::try_from(self.settings.compact_file_bytes).unwrap_or(usize::MAX);
        let weight = self.open.as_ref().map_or(0, |open| open.writer.bytes_written() + open.writer.in_progress_size());
        if weight < file_bytes {
            return self.put(batch).map(|()| true);
        }
        let cut = match file_bytes.saturating_mul(2) <= weight {
            true => Some(0),
            false => self.first_change(batch)?,
        };
        let Some(cut) = cut else { return self.put(batch).map(|()| true) };
        self.put(&batch.slice(0, cut))?;
        let is_wanted = self.close()?;
        self.put(&batch.slice(cut, batch.num_rows() - cut))?;
        Ok(is_wanted)
    }

    /// Ends the last file.
    pub(super) fn finish(mut self) -> Result<(), LakeError> {
        self.close().map(|_| ())
    }

    fn put(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(self.begin().map_err(in_memory)?);
        }
        let leading = self.leading(batch);
        let open = self.open.as_mut().expect("begun above");
        open.writer.write(batch).map_err(in_memory)?;
        open.gatherer.add(batch);
        open.rows += batch.num_rows() as u64;
        open.last = Some(leading.slice(leading.len() - 1, 1));
        Ok(())
    }

    fn begin(&self) -> Result<Open, ParquetError> {
        let (settings, sorted_by) = (&self.settings, self.table.sort_columns());
        let properties = parquet_file::properties(&self.schema, settings, settings.zstd_level, sorted_by)?;
        let writer = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties))?;
        let leading = &self.table.sort_columns()[..1];
        let gatherer = Gatherer::new(self.table.statistics_columns()).with_whole_bounds(leading);
        Ok(Open { writer, gatherer, rows: 0, last: None })
    }

    /// Whether somebody still takes files.
    fn close(&mut self) -> Result<bool, LakeError> {
        let Some(open) = self.open.take() else { return Ok(true) };
        let mut writer = open.writer;
        writer.finish().map_err(in_memory)?;
        let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
        let partition = self.partition.to_vec();
        let path = file_path(&partition);
        let file = EncodedFile { path, bytes, rows: open.rows, partition, statistics: open.gatherer.finish() };
        Ok(self.to.blocking_send(file).is_ok())
    }

    fn leading<'b>(&self, batch: &'b RecordBatch) -> &'b ArrayRef {
        batch.column_by_name(self.table.sort_columns()[0]).expect("rows come with the columns they are sorted by")
    }

    /// The first row that differs in the leading column from the one before it.
    fn first_change(&self, batch: &RecordBatch) -> Result<Option<usize>, LakeError> {
        let fault =
            |error| LakeError::Rows { table: self.table, reason: format!("its rows cannot be compared: {error}") };
        let leading = self.leading(batch);
        let options = SortOptions::default();
        if let Some(last) = self.open.as_ref().and_then(|open| open.last.as_ref()) {
            let compare = make_comparator(last, leading, options).map_err(fault)?;
            if compare(0, 0).is_ne() {
                return Ok(Some(0));
            }
        }
        let compare = make_comparator(leading, leading, options).map_err(fault)?;
        Ok((1..batch.num_rows()).find(|row| compare(row - 1, *row).is_ne()))
    }
}

fn in_memory(source: ParquetError) -> LakeError {
    LakeError::File { path: "(being compacted)".to_owned(), source }
}

/// Uploads what comes until no more comes, or one cannot be. What was uploaded is returned in any case.
pub(super) async fn upload_all(
    lake: &Lake,
    table: Table,
    settled: bool,
    mut files: mpsc::Receiver<EncodedFile>,
) -> (Vec<DataFile>, Option<LakeError>) {
    let mut uploaded = Vec::new();
    while let Some(file) = files.recv().await {
        let path = lake_path(table, &file.path);
        let made = DataFile {
            path: path.clone().into(),
            size_bytes: file.bytes.len() as u64,
            rows: file.rows,
            partition: file.partition.into(),
            stats: file.statistics.into(),
            modified_ms: lake.now_ms(),
            sorted: true,
            settled,
        };
        // Also one that failed may have arrived.
        uploaded.push(made);
        let location = Path::from(path.as_str());
        let mut tries = Tries::new(lake.settings().storage_tries_max);
        while let Err(source) = upload(lake.object_store().as_ref(), &location, &file.bytes).await {
            if let Err(error) = tries.pause_or(LakeError::storage(format!("writing {path}"), source)).await {
                return (uploaded, Some(error));
            }
        }
    }
    (uploaded, None)
}

async fn upload(store: &dyn ObjectStore, location: &Path, bytes: &Bytes) -> object_store::Result<()> {
    if bytes.len() <= 2 * PART_BYTES {
        return store.put(location, PutPayload::from(bytes.clone())).await.map(|_| ());
    }
    let mut upload = store.put_multipart(location).await?;
    match put_parts(upload.as_mut(), bytes).await {
        Ok(()) => Ok(()),
        Err(error) => {
            if let Err(error) = upload.abort().await {
                tracing::debug!(%location, %error, "parts of an upload stay behind");
            }
            Err(error)
        }
    }
}

async fn put_parts(upload: &mut dyn MultipartUpload, bytes: &Bytes) -> object_store::Result<()> {
    for begin in (0..bytes.len()).step_by(PART_BYTES) {
        upload.put_part(bytes.slice(begin..bytes.len().min(begin + PART_BYTES)).into()).await?;
    }
    upload.complete().await.map(|_| ())
}

/// Deletes files that no commit can name any more.
pub(super) async fn take_back(lake: &Lake, files: &[DataFile]) {
    let store = lake.object_store();
    for file in files {
        if let Err(error) = store.delete(&Path::from(&*file.path)).await {
            tracing::debug!(path = &*file.path, %error, "an unused file stays behind");
        }
    }
}
