//! Compaction: many small files of a day become few large ones, sorted; what is there twice goes.
//!
//! In:       a table; from when on other floors still need every row as it is.
//! Out:      a commit of Removes and Adds a day, `dataChange=false`; a row of `dead_letters` for each duplicate dropped.
//! Promise:  the same compare-and-swap as an append (`commit`): the files taken must all be live in the very version
//!           before it, or it does not happen. So two compactors, or one and a retention, never double a row nor bring
//!           one back. Rows that are dropped: duplicates, written down before they go; versions of a session, long after
//!           its day, that are not the newest.
//! Not here: delta-rs `optimize`: two of them that overlap double every row.
//!
//! Memory does not grow with the day. Which rows go is decided on a few narrow columns, cut into buckets by hash where they
//! do not fit (`buckets`); rows are sorted in runs of `compact_memory_bytes` that wait on the disk and are merged from
//! there (`sort`); beside that lie at most two finished files of `compact_file_bytes`.

mod dead_letters;
mod judge;
mod output;
mod plan;
mod sort;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use deltalake_core::kernel::{Action, Transaction};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tributary_schemas::Table;

use crate::actions;
use crate::checkpoint;
use crate::commit::Proposal;
use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_state::LogState;
use crate::snapshot::{DataFile, Snapshot};

use judge::Rules;
use plan::Job;
pub(crate) use plan::{DAY_MS, day_of};

/// What to compact, and what must be left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactOptions {
    /// Also days that still grow, and days whose rewrite does not pay yet.
    pub everything: bool,
    /// The topic the rows of `events` came from: for the dead letters.
    pub log_topic: String,
    /// By partition of the log, the first offset from which on whoever reads the table may still rebuild something. Above
    /// it a duplicate stays if taking it away could move the bounds of a session: if it has another time than the copy
    /// that is kept and was not found late. A partition that is not named is needed from its beginning.
    pub needed_from: BTreeMap<i32, i64>,
}

/// What compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Commits made: one a day of the table that was worth it.
    pub commits: u64,
    pub files_before: u64,
    pub files_after: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub rows_before: u64,
    pub rows_after: u64,
    /// Rows of `events` that were there before under the same id, with the same content; each is in `dead_letters` now.
    pub duplicates: u64,
    /// Such rows that stay for now (`CompactOptions::needed_from`).
    pub duplicates_kept: u64,
    /// Rows flagged now as bearing an id that another event had first.
    pub collisions: u64,
    /// Versions of sessions that were not the newest, and tombstones.
    pub versions: u64,
    /// Days given up because another compactor or a retention was faster.
    pub overtaken: u64,
}

impl Compacted {
    pub fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.rows_before += other.rows_before;
        self.rows_after += other.rows_after;
        self.duplicates += other.duplicates;
        self.duplicates_kept += other.duplicates_kept;
        self.collisions += other.collisions;
        self.versions += other.versions;
        self.overtaken += other.overtaken;
    }
}

impl Lake {
    /// Compacts what is worth it, a commit a day of the table. On an error the days before it are done.
    pub async fn compact(&self, table: Table, options: &CompactOptions) -> Result<Compacted, LakeError> {
        let mut done = Compacted::default();
        let snapshot = self.snapshot(table).await?;
        if snapshot.state().has_unknown_columns {
            tracing::info!(table = table.name(), "not compacted here: a newer program has added columns to it");
            return Ok(done);
        }
        let mut version = None;
        for job in plan::plan(table, snapshot.files(), self.now_ms(), self.settings(), options.everything) {
            let (one, committed) = compact_partition(self, &snapshot, job, options).await?;
            done.add(one);
            version = committed.or(version);
        }
        if let Some(version) = version {
            // So many files have gone that the log is mostly about what is no more.
            checkpoint::write(self, table, version).await;
        }
        Ok(done)
    }
}

async fn compact_partition(
    lake: &Lake,
    snapshot: &Snapshot,
    job: Job,
    options: &CompactOptions,
) -> Result<(Compacted, Option<u64>), LakeError> {
    let (table, begun_ms) = (snapshot.table(), lake.now_ms());
    let rules = judge::judge(lake, snapshot, &job, options).await?;
    let inputs = job.with(rules.touched());
    let mut done = Compacted {
        files_before: inputs.len() as u64,
        bytes_before: inputs.iter().map(|file| file.size_bytes).sum(),
        rows_before: inputs.iter().map(|file| file.rows).sum(),
        duplicates_kept: rules.kept_back(),
        ..Compacted::default()
    };
    let written = rewrite(lake, snapshot, &job, &inputs, rules).await?;
    let files = written.files;
    done.files_after = files.len() as u64;
    done.bytes_after = files.iter().map(|file| file.size_bytes).sum();
    done.rows_after = files.iter().map(|file| file.rows).sum();
    done.duplicates = written.duplicates.iter().map(|batch| batch.num_rows() as u64).sum();
    done.collisions = written.flagged;
    done.versions = written.versions;
    if done.rows_before != done.rows_after + done.duplicates + done.versions {
        output::take_back(lake, &files).await;
        let reason = format!(
            "its files hold other rows than its log says: {} rows became {}, {} duplicates and {} versions; see \
             `tributary lake verify`",
            done.rows_before, done.rows_after, done.duplicates, done.versions
        );
        return Err(LakeError::Rows { table, reason });
    }
    // A crash after this line leaves a duplicate in both tables; the next compaction finds it written down already.
    if let Err(error) = dead_letters::write_down(lake, &written.duplicates).await {
        output::take_back(lake, &files).await;
        return Err(error);
    }
    match replace(lake, snapshot, &inputs, &files, begun_ms).await {
        Ok(version) => {
            done.commits = 1;
            Ok((done, Some(version)))
        }
        Err(LakeError::Overtaken { .. }) => {
            tracing::info!(table = table.name(), partition = ?job.partition, "another was faster to compact or drop it");
            // What it decided on is no more, so no put of this commit can be right, nor is one still under way that
            // could win: each version it was tried as is another's.
            output::take_back(lake, &files).await;
            Ok((Compacted { overtaken: 1, ..Compacted::default() }, None))
        }
        Err(error) => Err(error),
    }
}

/// Commits `files` in the place of `inputs`.
async fn replace(
    lake: &Lake,
    snapshot: &Snapshot,
    inputs: &[DataFile],
    files: &[DataFile],
    begun_ms: i64,
) -> Result<u64, LakeError> {
    let (table, now_ms) = (snapshot.table(), lake.now_ms());
    let removes = inputs.iter().map(|file| Action::Remove(actions::remove(table, file, false, now_ms)));
    let adds = files.iter().map(|file| Action::Add(actions::add(table, file, false)));
    let txn = Action::Txn(Transaction::new(format!("layout/{}", table.name()), now_ms));
    let proposal = Proposal::new("OPTIMIZE", removes.chain(adds).chain([txn]), begun_ms);
    let may = |state: &LogState| match state.has_all(inputs) && !state.has_unknown_columns {
        true => Ok(()),
        false => Err(LakeError::Overtaken { table }),
    };
    let mut state = snapshot.state().clone();
    Ok(proposal.commit(lake, table, &mut state, may).await?.version)
}

/// What a rewrite left: files nobody refers to yet.
struct Written {
    files: Vec<DataFile>,
    /// As rows of `dead_letters`.
    duplicates: Vec<RecordBatch>,
    flagged: u64,
    versions: u64,
}

/// Reads, judges, sorts and writes: reading and uploading here, all the work on a thread of its own between them.
async fn rewrite(
    lake: &Lake,
    snapshot: &Snapshot,
    job: &Job,
    inputs: &[DataFile],
    rules: Rules,
) -> Result<Written, LakeError> {
    let table = snapshot.table();
    let schema = output::file_schema(table, &snapshot.schema());
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let (rows_in, rows) = mpsc::channel(2);
    let (files_in, files) = mpsc::channel(1);
    let work = {
        let (settings, partition) = (lake.settings().clone(), job.partition.clone());
        let schema = schema.clone();
        move || {
            let encoder = output::Encoder::new(table, schema.clone(), &settings, partition, files_in)?;
            sort_and_encode(rows, rules, sort::Sorter::new(table, schema, &settings)?, encoder)
        }
    };
    let working = tokio::task::spawn_blocking(work);
    let reading = feed(snapshot, &columns, inputs, rows_in);
    let uploading = output::upload_all(lake, table, job.whole, files);
    let (worked, read, uploaded) = tokio::join!(working, reading, uploading);
    let worked = worked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let (files, failed) = uploaded;
    // What stopped the others comes first: a store that takes no file ends the work, and the work the reading.
    let outcome = failed.map_or(Ok(()), Err).and(worked).and_then(|sums| read.map(|()| sums));
    match outcome {
        Ok(sums) => Ok(Written { files, duplicates: sums.duplicates, flagged: sums.flagged, versions: sums.versions }),
        Err(error) => {
            output::take_back(lake, &files).await;
            Err(error)
        }
    }
}

/// Sends the rows of each file with its number. Ends early, without a word, when nobody listens any more.
async fn feed(
    snapshot: &Snapshot,
    columns: &[&str],
    files: &[DataFile],
    to: mpsc::Sender<(u32, RecordBatch)>,
) -> Result<(), LakeError> {
    for (number, file) in (0..).zip(files) {
        let mut batches = snapshot.read_files(columns, vec![file.clone()]);
        while let Some(batch) = batches.try_next().await? {
            if to.send((number, batch)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn sort_and_encode(
    mut rows: mpsc::Receiver<(u32, RecordBatch)>,
    mut rules: Rules,
    mut sorter: sort::Sorter,
    mut encoder: output::Encoder,
) -> Result<judge::Sums, LakeError> {
    while let Some((_, batch)) = rows.blocking_recv() {
        sorter.push(rules.apply(batch)?)?;
    }
    for batch in sorter.finish()? {
        if !encoder.write(&batch?)? {
            break;
        }
    }
    encoder.finish()?;
    Ok(rules.into_sums())
}
