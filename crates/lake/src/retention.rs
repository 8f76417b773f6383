//! Days that are older than they are to be kept.
//!
//! In:       a table, how many days of it to keep, and days that somebody still needs.
//! Out:      one commit that removes all files of the days before.
//! Promise:  whole days go, or nothing; a compaction of such a day and its removal exclude each other. The files themselves
//!           go with `vacuum`, when no reader of an older version can be at them any more.
//!
//! `events` and others are made as `appendOnly`, by which Delta refuses removals that change data; to call these removals
//! a change of layout would be a lie to whoever follows the table. So the first removal takes the property off, in a commit
//! of its own, and it stays off.

use std::collections::{BTreeSet, HashSet};

use deltalake_core::kernel::Action;
use tributary_schemas::Table;

use crate::actions;
use crate::commit::Proposal;
use crate::compact::DAY_MS;
use crate::definition;
use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_state::LogState;
use crate::snapshot::{DataFile, Snapshot};

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    pub days: u64,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Days that were old enough but are still needed.
    pub days_held: u64,
}

impl Lake {
    /// Removes the days of `table` that ended more than `days` days ago. A table that is not cut by days keeps all.
    ///
    /// * `held`: days, counted from 1970, that must stay whatever their age.
    /// * `seen`: the table as it was when it was asked what must stay; of a day to which rows came since, nothing goes yet.
    pub async fn drop_old(
        &self,
        table: Table,
        days: u64,
        held: &BTreeSet<i64>,
        seen: Option<&Snapshot>,
    ) -> Result<Dropped, LakeError> {
        let seen: Option<HashSet<&str>> =
            seen.map(|snapshot| snapshot.files().iter().map(|file| &*file.path).collect());
        let is_seen = |file: &DataFile| seen.as_ref().is_none_or(|seen| seen.contains(&*file.path));
        let mut snapshot = self.snapshot(table).await?;
        for _ in 0..self.settings().race_tries_max.max(1) {
            let grown = snapshot.files().iter().filter(|file| !is_seen(file)).filter_map(DataFile::day);
            let held = held.iter().copied().chain(grown).collect();
            let (gone, days_held) = old(snapshot.files(), days, self.now_ms(), &held);
            let dropped = Dropped { days_held, ..sum(&gone) };
            if gone.is_empty() {
                return Ok(dropped);
            }
            if snapshot.state().is_append_only {
                definition::allow_removal(self, table).await?;
                snapshot = self.snapshot(table).await?;
                continue;
            }
            let now_ms = self.now_ms();
            let removes = gone.iter().map(|file| Action::Remove(actions::remove(table, file, true, now_ms)));
            let proposal = Proposal::new("DELETE", removes, now_ms);
            let may = |state: &LogState| match state.has_all(&gone) && !state.is_append_only {
                true => Ok(()),
                false => Err(LakeError::Overtaken { table }),
            };
            let mut state = snapshot.state().clone();
            match proposal.commit(self, table, &mut state, may).await {
                Ok(_) => return Ok(dropped),
                // Compacted or dropped by another meanwhile: look again.
                Err(LakeError::Overtaken { .. }) => snapshot = self.snapshot(table).await?,
                Err(error) => return Err(error),
            }
        }
        Err(LakeError::Contended { table, tries: self.settings().race_tries_max })
    }
}

/// The files of days that are over for so long, and how many such days are held back.
fn old(files: &[DataFile], days: u64, now_ms: i64, held: &BTreeSet<i64>) -> (Vec<DataFile>, u64) {
    let days = i64::try_from(days).unwrap_or(i64::MAX / DAY_MS);
    let is_old = |day: i64| (day + 1).saturating_add(days).saturating_mul(DAY_MS) <= now_ms;
    let mut held_back = BTreeSet::new();
    let gone = files.iter().filter(|file| match file.day() {
        Some(day) if is_old(day) && held.contains(&day) => {
            held_back.insert(day);
            false
        }
        Some(day) => is_old(day),
        None => false,
    });
    (gone.cloned().collect(), held_back.len() as u64)
}

fn sum(files: &[DataFile]) -> Dropped {
    let days: BTreeSet<_> = files.iter().map(|file| &file.partition).collect();
    Dropped {
        days: days.len() as u64,
        files: files.len() as u64,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.size_bytes).sum(),
        days_held: 0,
    }
}
