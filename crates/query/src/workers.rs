//! The threads questions are worked on: a runtime of the engine's own.
//!
//! In:       futures and closures.
//! Out:      what they give; their work ends with the handle that waits for it.
//! Promise:  whoever asks is never held up: a plan or an operator that computes for seconds without pausing would
//!           stop everything else on its runtime, such as the door's answers and the clocks that end this question.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::settings;

#[derive(Debug)]
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(settings::cores()).thread_name("query").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Dropping the handle ends the work where it next pauses.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.runtime().spawn(work))
    }

    /// For work without a pause in it.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.runtime().spawn_blocking(work))
    }

    pub(crate) fn task_count(&self) -> usize {
        self.runtime().metrics().num_alive_tasks()
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken out when this is dropped")
    }
}

/// Without waiting: a runtime that waits for its threads must not be dropped on a thread of another, and the asker's
/// last word may be spoken on one.
impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
