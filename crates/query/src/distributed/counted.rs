//! What the workers read for an answer, for its facts.
//!
//! In:      a plan in stages, after its last row.
//! Out:     rows and bytes their scans gave.
//! Promise: a number only where all of them have told; where an answer was cut off, or one did not tell in time, it says so.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedMetricsFormat, rewrite_distributed_plan_with_metrics};
use tokio::time::timeout;

use crate::facts::WorkersFacts;

/// How long after the last row the workers may take to tell what they did.
const TELLING_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Counted {
    workers: AtomicUsize,
    tasks: AtomicUsize,
    asked_again: AtomicBool,
    read: OnceLock<(u64, u64)>,
}

impl Counted {
    pub(super) fn begin(&self, workers: usize, tasks: usize, asked_again: bool) {
        self.workers.store(workers, Ordering::Relaxed);
        self.tasks.store(tasks, Ordering::Relaxed);
        self.asked_again.store(asked_again, Ordering::Relaxed);
    }

    /// * `plan`: as it ran, over by now.
    pub(super) async fn take(&self, plan: Arc<dyn ExecutionPlan>) {
        let told =
            timeout(TELLING_MAX, rewrite_distributed_plan_with_metrics(plan, DistributedMetricsFormat::Aggregated));
        match told.await {
            Ok(Ok(plan)) => {
                let (mut rows, mut bytes) = (0, 0);
                below_boundaries(&plan, false, &mut rows, &mut bytes);
                // It is taken once a question: the first stands.
                _ = self.read.set((rows, bytes));
            }
            Ok(Err(error)) => tracing::debug!(%error, "the workers did not tell what they read"),
            Err(_) => tracing::debug!("the workers did not tell in time what they read"),
        }
    }

    /// Rows and bytes of the workers, as far as they are known.
    pub(crate) fn read(&self) -> (u64, u64) {
        self.read.get().copied().unwrap_or_default()
    }

    pub(crate) fn facts(&self) -> WorkersFacts {
        WorkersFacts {
            count: self.workers.load(Ordering::Relaxed),
            tasks: self.tasks.load(Ordering::Relaxed),
            asked_again: self.asked_again.load(Ordering::Relaxed),
            counted: self.read.get().is_some(),
        }
    }
}

/// The library wraps each operator to hang the numbers on, so that only its name is left.
fn below_boundaries(plan: &Arc<dyn ExecutionPlan>, is_below: bool, rows: &mut u64, bytes: &mut u64) {
    let name = plan.name();
    if is_below
        && matches!(name, "DataSourceExec" | "DistributedLeafExec")
        && let Some(metrics) = plan.metrics()
    {
        *rows += metrics.output_rows().unwrap_or(0) as u64;
        *bytes += metrics.sum_by_name("bytes_scanned").map_or(0, |sum| sum.as_usize()) as u64;
    }
    let is_boundary = matches!(name, "NetworkCoalesceExec" | "NetworkShuffleExec" | "NetworkBroadcastExec");
    for child in plan.children() {
        below_boundaries(child, is_below || is_boundary, rows, bytes);
    }
}
