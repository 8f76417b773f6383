//! From a table's Delta log to its state.
//!
//! In:      the log store of one table.
//! Out:     its newest `LogState`, from nothing or from an older one.
//! Promise: never goes back; refuses a table that is not ours or needs a newer reader.
//!
//! Files come through delta-rs, which knows checkpoints. It tells one position at a time, each for a replay
//! of the log, so positions are read here: from the newest checkpoint, then from the commits after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use deltalake_core::kernel::{Action, EagerSnapshot};
use deltalake_core::logstore::{LogStore, commit_uri_from_version, get_actions};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use tributary_schemas::Table;

use crate::actions::data_file;
use crate::definition;
use crate::error::LakeError;
use crate::file_bytes::FileBytes;
use crate::lake::Lake;
use crate::log_state::{Applied, LogState, MARK};

/// Commits fetched at the same time while loading.
const COMMITS_IN_FLIGHT: usize = 8;

/// Reads the newest version from the checkpoint on.
pub(crate) async fn load(lake: &Lake, table: Table) -> Result<LogState, LakeError> {
    load_version(lake, table, None).await
}

/// The state at `version`: from `seen`, where that is not younger, commit by commit; else from a checkpoint on.
pub(crate) async fn at(lake: &Lake, table: Table, seen: Option<LogState>, version: u64) -> Result<LogState, LakeError> {
    let log = lake.log(table);
    if let Some(mut state) = seen.filter(|state| state.version <= version) {
        while state.version < version {
            let Some(actions) = commit(table, log.as_ref(), state.version + 1).await? else { break };
            if let Applied::Redefined = state.apply(table, actions)? {
                break;
            }
        }
        if state.version == version {
            return Ok(state);
        }
    }
    load_version(lake, table, Some(version)).await
}

async fn load_version(lake: &Lake, table: Table, version: Option<u64>) -> Result<LogState, LakeError> {
    let log = lake.log(table);
    let eager = EagerSnapshot::try_new(log.as_ref(), version)
        .await
        .map_err(|source| LakeError::log(table, "loading its log", source))?;
    let shape = definition::check(table, lake.schema(table), &eager)?;
    if !shape.missing.is_empty() {
        let faults = shape.missing.iter().map(|field| format!("column {} is missing", field.name())).collect();
        return Err(LakeError::SchemaMismatch { table, faults });
    }
    let mut files = Vec::new();
    for view in eager.log_data().iter() {
        // The replacement upstream names (Arrow arrays of actions) is flat and has no statistics text.
        #[expect(deprecated, reason = "the one public way from a loaded file to its whole Add action")]
        files.push(data_file(table, &view.add_action())?);
    }
    // Replay goes backwards and checkpoints have no order of their own; write time is as near as the log tells.
    files.sort_by(|one, other| (one.modified_ms, &one.path).cmp(&(other.modified_ms, &other.path)));
    let positions = positions(table, log.as_ref(), eager.version()).await?;
    Ok(LogState {
        id: Arc::from(eager.metadata().id()),
        version: eager.version(),
        files: Arc::new(files),
        positions: Arc::new(positions),
        has_unknown_columns: shape.has_unknown_columns,
        is_append_only: shape.is_append_only,
    })
}

/// A commit to look out for while catching up.
///
/// The find is kept here and not in a return value: when reading breaks off half way, the commits before
/// the break have been taken in and are not looked at again.
#[derive(Debug)]
pub(crate) struct Lookout<'mark> {
    pub mark: &'mark str,
    pub found_version: Option<u64>,
}

/// Brings `state` to the newest version, commit by commit.
///
/// On an error `state` is a true, if older, state, and the same call may be made again.
pub(crate) async fn catch_up(
    lake: &Lake,
    table: Table,
    state: &mut LogState,
    mut lookout: Option<&mut Lookout<'_>>,
) -> Result<(), LakeError> {
    let log = lake.log(table);
    let mut look = |mark: Option<&str>, version| match &mut lookout {
        Some(lookout) if mark == Some(lookout.mark) => lookout.found_version = Some(version),
        _ => {}
    };
    loop {
        match commit(table, log.as_ref(), state.version + 1).await? {
            Some(actions) => {
                if let Applied::Yes { mark } = state.apply(table, actions)? {
                    look(mark.as_deref(), state.version);
                    continue;
                }
            }
            None if is_kept(log.as_ref(), state.version).await? => return Ok(()),
            // The log was cleaned up past us: that nothing follows our version means nothing.
            None => {}
        }
        // Rare, and never a commit of ours: the table was redefined, or we slept for the whole retention of
        // the log. Check what it is now and go on from there. The load may run past a commit looked out for,
        // so the versions between are looked through before the new state counts.
        let fresh = load(lake, table).await?;
        for version in state.version + 1..=fresh.version {
            if let Some(actions) = commit(table, log.as_ref(), version).await? {
                look(mark_of(&actions), version);
            }
        }
        let is_news = state.version < fresh.version;
        *state = fresh;
        if !is_news {
            return Ok(());
        }
    }
}

/// Whether the commit of `version`, the newest we know, is still in the log. Logs are cleaned from the old
/// end and never up to the newest commit, so if it is there, so are all that follow.
async fn is_kept(log: &dyn LogStore, version: u64) -> Result<bool, LakeError> {
    match log.object_store(None).head(&commit_uri_from_version(Some(version))).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(source) => Err(LakeError::storage("looking at the log of a table", source)),
    }
}

fn mark_of(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.info.get(MARK).and_then(|mark| mark.as_str()),
        _ => None,
    })
}

async fn commit(table: Table, log: &dyn LogStore, version: u64) -> Result<Option<Vec<Action>>, LakeError> {
    let failed = |source| LakeError::log(table, "reading a commit", source);
    let Some(bytes) = log.read_commit_entry(version).await.map_err(failed)? else { return Ok(None) };
    get_actions(version, &bytes).map(Some).map_err(failed)
}

async fn positions(table: Table, log: &dyn LogStore, version: u64) -> Result<BTreeMap<String, i64>, LakeError> {
    let checkpoint = newest_checkpoint(log, version).await?;
    let mut positions = BTreeMap::new();
    let mut next = 0;
    if let Some(checkpoint) = checkpoint {
        next = checkpoint.version + 1;
        for path in checkpoint.parts {
            positions.extend(checkpointed_positions(log, path).await?);
        }
    }
    let mut commits = futures::stream::iter(next..=version)
        .map(|version| async move { Ok((version, commit(table, log, version).await?)) })
        .buffered(COMMITS_IN_FLIGHT);
    while let Some((version, actions)) = commits.try_next().await? {
        let Some(actions) = actions else {
            let reason = format!("its log has no commit {version}, and no checkpoint after it");
            return Err(LakeError::Foreign { table, reason });
        };
        for action in actions {
            if let Action::Txn(txn) = action {
                positions.insert(txn.app_id, txn.version);
            }
        }
    }
    Ok(positions)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub version: u64,
    pub parts: Vec<Path>,
}

/// The newest whole checkpoint not after `version`.
///
/// A log keeps its commits for days: at one in five seconds those are a hundred thousand names. So the hint that each
/// checkpoint leaves is taken, and only if nothing is found from there on the whole log is listed.
async fn newest_checkpoint(log: &dyn LogStore, version: u64) -> Result<Option<Checkpoint>, LakeError> {
    let store = log.object_store(None);
    let failed = |source| LakeError::storage("listing the log of a table", source);
    if let Some(hint) = hinted_checkpoint(log).await?.filter(|hint| *hint <= version) {
        // Names of its version begin with it, and a dot comes after any digit's place ends.
        let before = log.log_path().clone().join(format!("{hint:020}"));
        let listed = store.list_with_offset(Some(log.log_path()), &before).map_ok(|meta| meta.location);
        let found = pick_checkpoint(&listed.try_collect::<Vec<Path>>().await.map_err(failed)?, version);
        if found.is_some() {
            return Ok(found);
        }
    }
    let listed = store.list(Some(log.log_path())).map_ok(|meta| meta.location);
    Ok(pick_checkpoint(&listed.try_collect::<Vec<Path>>().await.map_err(failed)?, version))
}

/// What `_last_checkpoint` says; a hint only, it may be absent, torn or old.
async fn hinted_checkpoint(log: &dyn LogStore) -> Result<Option<u64>, LakeError> {
    let failed = |source| LakeError::storage("reading the hint of the last checkpoint", source);
    match log.object_store(None).get(&log.log_path().clone().join("_last_checkpoint")).await {
        Ok(hint) => {
            let bytes = hint.bytes().await.map_err(failed)?;
            Ok(serde_json::from_slice::<serde_json::Value>(&bytes).ok().and_then(|hint| hint["version"].as_u64()))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

/// Names are `{version}.checkpoint.parquet`, or `{version}.checkpoint.{part}.{parts}.parquet` for each part.
/// The third kind, named by a UUID, needs a table feature that `definition::check` does not let through.
pub(crate) fn pick_checkpoint(listed: &[Path], version_max: u64) -> Option<Checkpoint> {
    let mut whole: Option<Checkpoint> = None;
    let mut in_parts: BTreeMap<(u64, u64), Vec<Path>> = BTreeMap::new();
    for path in listed {
        let words: Vec<&str> = path.filename().unwrap_or_default().split('.').collect();
        let (version, parts) = match words.as_slice() {
            [version, "checkpoint", "parquet"] => (version.parse::<u64>(), Ok(1)),
            [version, "checkpoint", _, parts, "parquet"] => (version.parse(), parts.parse::<u64>()),
            _ => continue,
        };
        let (Ok(version), Ok(parts)) = (version, parts) else { continue };
        if version_max < version {
            continue;
        }
        let found = in_parts.entry((version, parts)).or_default();
        found.push(path.clone());
        let is_whole = found.len() as u64 == parts;
        if is_whole && whole.as_ref().is_none_or(|whole| whole.version < version) {
            whole = Some(Checkpoint { version, parts: found.clone() });
        }
    }
    whole
}

async fn checkpointed_positions(log: &dyn LogStore, path: Path) -> Result<BTreeMap<String, i64>, LakeError> {
    let shown = path.to_string();
    let failed = |source| LakeError::File { path: shown.clone(), source };
    let store = log.object_store(None);
    let size_bytes =
        store.head(&path).await.map_err(|source| LakeError::storage(format!("reading {path}"), source))?.size;
    let reader = FileBytes { store, path, size_bytes };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed)?;
    let Ok(index) = builder.schema().index_of("txn") else { return Ok(BTreeMap::new()) };
    let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
    let mut batches = builder.with_projection(mask).build().map_err(failed)?;
    let mut positions = BTreeMap::new();
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let Some(txns) = batch.column(0).as_struct_opt() else { continue };
        let (Some(app_ids), Some(versions)) = (txns.column_by_name("appId"), txns.column_by_name("version")) else {
            continue;
        };
        let app_ids = cast(app_ids, &DataType::Utf8).map_err(|source| failed(source.into()))?;
        let versions = cast(versions, &DataType::Int64).map_err(|source| failed(source.into()))?;
        let (app_ids, versions) = (app_ids.as_string::<i32>(), versions.as_primitive::<Int64Type>());
        for row in 0..txns.len() {
            if txns.is_valid(row) && app_ids.is_valid(row) && versions.is_valid(row) {
                positions.insert(app_ids.value(row).to_owned(), versions.value(row));
            }
        }
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<Path> {
        names.iter().map(|name| Path::from(format!("_delta_log/{name}"))).collect()
    }

    #[test]
    fn the_newest_whole_checkpoint_not_after_the_version_is_picked() {
        let listed = paths(&[
            "00000000000000000010.checkpoint.parquet",
            "00000000000000000020.checkpoint.0000000001.0000000002.parquet",
            "00000000000000000020.checkpoint.0000000002.0000000002.parquet",
            "00000000000000000030.checkpoint.0000000001.0000000002.parquet",
            "00000000000000000040.checkpoint.parquet",
            "00000000000000000041.json",
            "_last_checkpoint",
        ]);
        let picked = |version| pick_checkpoint(&listed, version).map(|found| (found.version, found.parts.len()));
        assert_eq!(picked(9), None);
        assert_eq!(picked(19), Some((10, 1)));
        assert_eq!(picked(39), Some((20, 2)), "30 lacks a part");
        assert_eq!(picked(50), Some((40, 1)));
    }
}
