//! One commit as a compare-and-swap, whoever makes it.
//!
//! In:       actions, the state they were decided on, and what must still hold for them to be right.
//! Out:      the version that holds them; or nothing anyone can see.
//! Promise:  the commit is made against the very version whose state was checked, as exactly the next one, by a
//!           conditional put; after a lost race the news is read and the check made again. Nothing is rebased unchecked.
//! Not here: what is committed and why (`writer`, `compact`, `retention`, `definition`).
//!
//! When the answer to a put is lost, the next read of the log tells: each commit carries a mark (`log_state::MARK`) that
//! only its maker knows. A put still under way can land later, but only as the one version it was made for: either its
//! maker then finds its mark there, or another commit holds that version and the late one fails. That needs versions to
//! stay in the log, and files in the folder, for longer than any maker is at work: `WORK_MS_MAX` is that time.

use std::time::Duration;

use bytes::Bytes;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, CommitInfo};
use deltalake_core::logstore::CommitOrBytes;
use tributary_schemas::Table;
use uuid::Uuid;

use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_load::{self, Lookout};
use crate::log_state::{LogState, MARK};

/// From its first file to its commit nobody may take longer: vacuum takes files that nobody names for left behind after
/// `vacuum::HORIZON_MS_MIN`, and that is twice this.
pub(crate) const WORK_MS_MAX: i64 = 12 * 3_600_000;

/// A commit ready to be tried as any version.
pub(crate) struct Proposal {
    operation: &'static str,
    mark: String,
    lines: Vec<String>,
    begun_ms: i64,
}

pub(crate) struct Landed {
    pub version: u64,
    /// The answer to the commit was lost and the log told that it had happened; the state has it already.
    pub settled: bool,
}

impl Proposal {
    /// * `begun_ms`: when the first of its files was begun.
    #[expect(clippy::disallowed_methods, reason = "the mark must be one that no other writer can have")]
    pub(crate) fn new(operation: &'static str, actions: impl IntoIterator<Item = Action>, begun_ms: i64) -> Self {
        let lines = actions.into_iter().map(|action| line(&action)).collect();
        Self { operation, mark: Uuid::new_v4().to_string(), lines, begun_ms }
    }

    fn bytes(&self, now_ms: i64) -> Bytes {
        let info = CommitInfo {
            timestamp: Some(now_ms),
            operation: Some(self.operation.to_owned()),
            engine_info: Some(concat!("tributary/", env!("CARGO_PKG_VERSION")).to_owned()),
            info: [(MARK.to_owned(), self.mark.clone().into())].into(),
            ..CommitInfo::default()
        };
        let mut text = line(&Action::CommitInfo(info));
        for line in &self.lines {
            text.push('\n');
            text.push_str(line);
        }
        text.into()
    }

    /// Makes the commit once `may` allows it, or gives up with what `may` says.
    ///
    /// Afterwards `state` is the version before it, or, if it was settled, one that has it. On an error the outcome may
    /// be open, unless it is what `may` said: then the commit has not happened and never will.
    pub(crate) async fn commit(
        &self,
        lake: &Lake,
        table: Table,
        state: &mut LogState,
        may: impl Fn(&LogState) -> Result<(), LakeError>,
    ) -> Result<Landed, LakeError> {
        let settings = lake.settings();
        let mut storage_tries = Tries::new(settings.storage_tries_max);
        let mut lookout = Lookout { mark: &self.mark, found_version: None };
        for _ in 0..settings.race_tries_max.max(1) {
            may(state)?;
            let now_ms = lake.now_ms();
            if WORK_MS_MAX < now_ms - self.begun_ms {
                return Err(LakeError::TooOld { table, hours: (now_ms - self.begun_ms) / 3_600_000 });
            }
            let version = state.version + 1;
            let bytes = CommitOrBytes::LogBytes(self.bytes(now_ms));
            // Nil: the id of the operation means nothing to a store that commits by conditional put.
            match lake.log(table).write_commit_entry(version, bytes, Uuid::nil()).await {
                Ok(()) => return Ok(Landed { version, settled: false }),
                // Another's commit; or our own, if the store tried twice and met the file of its first try.
                Err(TransactionError::VersionAlreadyExists(_)) => {}
                Err(error) => {
                    tracing::warn!(table = table.name(), version, %error, "the answer to a commit is lost; asking the log");
                    storage_tries.pause_or(LakeError::log(table, "committing", error.into())).await?;
                }
            }
            while let Err(error) = log_load::catch_up(lake, table, state, Some(&mut lookout)).await {
                storage_tries.pause_or(error).await?;
            }
            if let Some(version) = lookout.found_version {
                return Ok(Landed { version, settled: true });
            }
        }
        Err(LakeError::Contended { table, tries: settings.race_tries_max })
    }
}

fn line(action: &Action) -> String {
    serde_json::to_string(action).expect("an action of texts and numbers can be written as JSON")
}

/// Attempts at a storage operation, with pauses of 5, 10, 20 ... 1000 ms between them.
pub(crate) struct Tries {
    made: u32,
    max: u32,
}

impl Tries {
    const PAUSE_FIRST: Duration = Duration::from_millis(5);
    const PAUSE_MAX: Duration = Duration::from_secs(1);

    pub(crate) fn new(max: u32) -> Self {
        Self { made: 0, max }
    }

    /// Waits before the next attempt, or gives up with `error`. A full disk is given up at once: waiting
    /// here would only hide it.
    pub(crate) async fn pause_or(&mut self, error: LakeError) -> Result<(), LakeError> {
        self.made += 1;
        if self.max <= self.made
            || error.advice() != crate::Advice::Retry
            || matches!(error, LakeError::DiskFull { .. })
        {
            return Err(error);
        }
        let pause = Self::PAUSE_FIRST.saturating_mul(1 << (self.made - 1).min(16)).min(Self::PAUSE_MAX);
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
