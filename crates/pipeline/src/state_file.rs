//! The state of one partition in one object, named by the log position it belongs to.
//!
//! In:      what the partition remembers right after its sessions were told up to a position.
//! Out:     bytes; the same state again.
//! Promise: state is a function of the log's prefix, so whoever writes the object of a position writes the same state: a
//!          zombie that overwrites it does no harm, and no commit has to span it. What is damaged, of another rule or of
//!          another version is not read but told, and the tables are asked instead.
//! Not here: when one is written (`commit`), and how the rows after it are taken in (`recover`).

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use tributary_analytics::session::{SessionRule, Sessionizer};
use tributary_lake::STATE_FOLDER;
use xxhash_rust::xxh3::xxh3_64;

use crate::dedup::RecentIds;

/// Changed with the form of the bytes.
const MAGIC: &[u8; 8] = b"TRIBST02";
const HEAD_BYTES: usize = 8 + 8 + 8 + 8 + 8;

/// Why a state object is of no use; the tables have everything it had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum StateFault {
    #[error("it is no state of this version of the program")]
    Foreign,
    #[error("it is damaged")]
    Damaged,
    #[error("it was made under another session rule")]
    OtherRule,
}

/// Where the state of a partition at a position lies, from the lake's root.
pub(crate) fn path(topic_id: &str, partition: u32, position: i64) -> Path {
    folder(topic_id, partition).join(format!("{position:020}.state"))
}

/// Where all states of a partition lie.
pub(crate) fn folder(topic_id: &str, partition: u32) -> Path {
    // A topic id may hold what a path may not (Kafka's has a slash in it); `from_iter` escapes it.
    Path::from_iter([STATE_FOLDER, topic_id, &partition.to_string()])
}

/// The position in the name of a state object.
pub(crate) fn position_of(path: &Path) -> Option<i64> {
    path.filename()?.strip_suffix(".state")?.parse().ok()
}

pub(crate) fn write(ids: &RecentIds, sessions: &Sessionizer) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    ids.write_snapshot(&mut bytes);
    let ids_bytes = bytes.len() - HEAD_BYTES;
    sessions.write_snapshot(&mut bytes);
    let sessions_bytes = bytes.len() - HEAD_BYTES - ids_bytes;
    let sum = xxh3_64(&bytes[HEAD_BYTES..]);
    let words = [
        u64::from_le_bytes(*MAGIC),
        sessions.rule().fingerprint().cast_unsigned(),
        ids_bytes as u64,
        sessions_bytes as u64,
        sum,
    ];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Puts it, in parts where it is large; gives up at the deadline, since the line waits for it.
pub(crate) async fn upload(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: Vec<u8>,
    deadline: tokio::time::Instant,
) -> Result<(), UploadError> {
    const PART_BYTES: usize = 8 << 20;
    const PARTS_AT_ONCE: usize = 4;
    /// To end it, or to take it back.
    const GRACE: Duration = Duration::from_secs(10);
    let ends_by = deadline + GRACE;
    if bytes.len() <= 2 * PART_BYTES {
        let put = tokio::time::timeout_at(deadline, store.put(path, bytes.into())).await;
        return put.map_err(|_| UploadError::TookLong)?.map(drop).map_err(UploadError::Store);
    }
    let begun = tokio::time::timeout_at(deadline, store.put_multipart(path)).await;
    let begun = begun.map_err(|_| UploadError::TookLong)?.map_err(UploadError::Store)?;
    let mut upload = WriteMultipart::new_with_chunk_size(begun, PART_BYTES);
    let writing = async {
        for part in bytes.chunks(PART_BYTES) {
            upload.wait_for_capacity(PARTS_AT_ONCE).await?;
            upload.write(part);
        }
        // Its own parts too: what comes after cannot be taken back.
        upload.wait_for_capacity(1).await
    };
    let written = tokio::time::timeout_at(deadline, writing).await.map_err(|_| UploadError::TookLong);
    match written.and_then(|written| written.map_err(UploadError::Store)) {
        // A folder is written to only now; an object that is there after all has no name in the table, and goes with the
        // next one.
        Ok(()) => match tokio::time::timeout_at(ends_by, upload.finish()).await {
            Ok(done) => done.map(drop).map_err(UploadError::Store),
            Err(_) => {
                tracing::debug!(%path, "parts of an upload may stay behind");
                Err(UploadError::TookLong)
            }
        },
        Err(error) => {
            // A bucket keeps, and bills, parts of what was never ended.
            match tokio::time::timeout_at(ends_by, upload.abort()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%path, %error, "parts of an upload stay behind"),
                Err(_) => tracing::debug!(%path, "parts of an upload stay behind"),
            }
            Err(error)
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("it took longer than the line can wait")]
    TookLong,
    #[error(transparent)]
    Store(object_store::Error),
}

pub(crate) fn read(
    bytes: &[u8],
    rule: &SessionRule,
    dedup_window_us: i64,
) -> Result<(RecentIds, Sessionizer), StateFault> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or(StateFault::Foreign)?;
    let (words, _) = head.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    if words[0] != u64::from_le_bytes(*MAGIC) {
        return Err(StateFault::Foreign);
    }
    if words[1] != rule.fingerprint().cast_unsigned() {
        return Err(StateFault::OtherRule);
    }
    let length = |word: u64| usize::try_from(word).map_err(|_| StateFault::Damaged);
    let (ids_bytes, sessions_bytes) = (length(words[2])?, length(words[3])?);
    if ids_bytes.checked_add(sessions_bytes) != Some(body.len()) || xxh3_64(body) != words[4] {
        return Err(StateFault::Damaged);
    }
    let (ids, sessions) = body.split_at(ids_bytes);
    let ids = RecentIds::read_snapshot(dedup_window_us, ids).ok_or(StateFault::Damaged)?;
    let sessions = Sessionizer::read_snapshot(rule.clone(), sessions).map_err(|_| StateFault::Damaged)?;
    Ok((ids, sessions))
}
