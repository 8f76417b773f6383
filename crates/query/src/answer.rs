//! What comes back.
//!
//! In:       the batches of a running plan.
//! Out:      `AnswerStream`, batch by batch; `Answer`, all of it within the limits.
//! Promise:  a stream that is dropped, or over its time, stops the work behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;
use tributary_schemas::Table;
use xxhash_rust::xxh3::xxh3_64;

use crate::access::Asker;
use crate::engine::Turn;
use crate::error::QueryError;
use crate::facts::{Facts, Look, Watch, Working};
use crate::question::Face;
use crate::settings::QuerySettings;
use crate::stop::Stop;
use crate::telling;
use crate::workers::Workers;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub elapsed: Duration,
    /// The version of each table it was computed from.
    pub versions: Vec<(Table, u64)>,
    /// If it was asked of a live table: (partition, next offset); all of the log before these was looked at.
    pub live_positions: Option<Vec<(u32, u64)>>,
    /// What it says of itself.
    pub facts: Facts,
    /// There were more rows than `rows_max`, or more bytes than `answer_bytes_max`: these are the first.
    pub truncated: bool,
}

impl Answer {
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// An answer on its way.
///
/// The work is done by a task of its own, so that this end can give up on time even while the work does not look
/// up; dropping this ends it: see `stop.rs`.
pub struct AnswerStream {
    schema: SchemaRef,
    versions: Vec<(Table, u64)>,
    live_positions: Option<Vec<(u32, u64)>>,
    facts: Working,
    /// `None` is the end. A channel that closes without it belonged to a task that broke.
    batches: mpsc::Receiver<Result<Option<RecordBatch>, DataFusionError>>,
    deadline: Pin<Box<Sleep>>,
    settings: Arc<QuerySettings>,
    /// Beyond which the asker is told so; `None` for all there are.
    rows_max: Option<usize>,
    tally: Tally,
    is_over: bool,
    work: AbortOnDropHandle<()>,
    /// Dropped with the stream: the joins then end too.
    stop: Stop,
    /// Kept for as long as there is work on them.
    _workers: Arc<Workers>,
}

/// A question whose plan runs.
pub(crate) struct Started {
    pub(crate) batches: SendableRecordBatchStream,
    pub(crate) versions: Vec<(Table, u64)>,
    pub(crate) live_positions: Option<Vec<(u32, u64)>>,
    pub(crate) facts: Working,
    /// For names that may be wrong, where the question has any.
    pub(crate) look: Option<Look>,
    pub(crate) stop: Stop,
    pub(crate) turn: Turn,
}

/// Batches computed ahead of the reader.
const BATCHES_AHEAD: usize = 2;

impl AnswerStream {
    pub(crate) fn start(
        started: Started,
        deadline: Instant,
        asker: &Asker,
        tally: Tally,
        workers: Arc<Workers>,
    ) -> Self {
        let settings = Arc::clone(&asker.access().settings);
        let rows_max = asker.access().rows_max;
        let Started { batches: mut plan, versions, live_positions, facts, mut look, stop, turn } = started;
        let notes = facts.notes();
        let schema = plan.schema();
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let work = workers.spawn(async move {
            // Held by the work, not by the asker: a question given up on takes its turn until it has really ended.
            let _turn = turn;
            let mut watch = Watch::default();
            loop {
                let batch = plan.next().await.transpose();
                match &batch {
                    Ok(Some(batch)) => watch.see(batch),
                    // Before the end is told: who waits for it asks for the facts then.
                    Ok(None) => {
                        if let Some(look) = look.take().filter(|look| look.is_wanted(&watch)) {
                            drop(notes.set(look.notes().await));
                        }
                    }
                    Err(_) => {}
                }
                let is_last = !matches!(batch, Ok(Some(_)));
                // If nobody listens any more, the rest is not wanted.
                if sender.send(batch).await.is_err() || is_last {
                    break;
                }
            }
        });
        Self {
            schema,
            versions,
            live_positions,
            facts,
            batches,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            settings,
            rows_max,
            tally,
            is_over: false,
            work,
            stop,
            _workers: workers,
        }
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub fn versions(&self) -> &[(Table, u64)] {
        &self.versions
    }

    /// What it says of itself; the numbers are final once the stream has ended.
    pub fn facts(&self) -> Facts {
        self.facts.now()
    }

    /// The first rows, as many as the settings allow.
    pub(crate) async fn collect(mut self) -> Result<Answer, QueryError> {
        // Here it is cut, and said so.
        self.rows_max = None;
        let mut batches = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        let mut truncated = false;
        while let Some(batch) = self.next().await {
            let batch = batch?;
            let room = self.settings.rows_max - rows;
            bytes += get_record_batch_memory_size(&batch);
            truncated = room < batch.num_rows() || self.settings.answer_bytes_max < bytes;
            if truncated {
                // The batch that is too large is left out, one that is too long is cut.
                if bytes <= self.settings.answer_bytes_max {
                    batches.push(batch.slice(0, room));
                }
                break;
            }
            rows += batch.num_rows();
            batches.push(batch);
        }
        self.tally.outcome = "answered";
        let elapsed = self.tally.started.elapsed();
        let (versions, live_positions) = (self.versions.clone(), self.live_positions.clone());
        let facts = self.facts();
        Ok(Answer { schema: self.schema(), batches, elapsed, versions, live_positions, facts, truncated })
    }

    fn end_with(&mut self, error: QueryError) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        self.is_over = true;
        self.stop.now();
        self.work.abort();
        self.tally.outcome = error.outcome();
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for AnswerStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().poll(context).is_ready() {
            return this.end_with(QueryError::TimedOut { time_ms_max: this.settings.time_ms_max });
        }
        match this.batches.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(Some(batch)))) => {
                this.tally.rows += batch.num_rows() as u64;
                if let Some(rows_max) = this.rows_max.filter(|max| (*max as u64) < this.tally.rows) {
                    return this.end_with(QueryError::TooManyRows { rows_max });
                }
                Poll::Ready(Some(Ok(batch)))
            }
            Poll::Ready(Some(Ok(None))) => {
                this.is_over = true;
                this.tally.outcome = "answered";
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let error = QueryError::from_datafusion(error, this.settings.memory_bytes_max);
                this.end_with(error)
            }
            Poll::Ready(None) => this.end_with(QueryError::broke("the task of the answer broke")),
        }
    }
}

/// What metrics and the log learn of one question, told when it is over however it ended.
pub(crate) struct Tally {
    pub(crate) started: Instant,
    /// Until it ends otherwise, nobody waited for the end.
    pub(crate) outcome: &'static str,
    asker: Asker,
    face: Face,
    /// Of the text: what was asked may itself be about somebody, and the log is not the place for that.
    statement: u64,
    rows: u64,
}

impl Tally {
    pub(crate) fn start(asker: Asker, face: Face, sql: &str) -> Self {
        let statement = xxh3_64(sql.as_bytes());
        Self { started: Instant::now(), outcome: "abandoned", asker, face, statement, rows: 0 }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let (face, access) = (self.face.word(), self.asker.name().to_owned());
        metrics::counter!(telling::TOTAL, "outcome" => self.outcome, "face" => face, "access" => access.clone())
            .increment(1);
        metrics::histogram!(telling::SECONDS, "face" => face).record(seconds);
        metrics::counter!(telling::ROWS, "face" => face, "access" => access).increment(self.rows);
        // What this process asks of itself is nobody's access.
        if self.asker.is_owner() {
            return;
        }
        let (access, statement) = (self.asker.name(), format!("{:016x}", self.statement));
        let (outcome, rows) = (self.outcome, self.rows);
        tracing::info!(target: "tributary_query::access", access, face, statement, outcome, rows, seconds, "asked");
    }
}
