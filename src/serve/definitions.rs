//! Keeps the definitions of a running server as new as their files.
//!
//! In:      the folder, looked at again and again; the engine that uses them.
//! Out:     newer definitions in the engine.
//! Promise: only definitions without a fault, which fit the tables, are taken, and only once two looks in a row found the same
//!          texts: a checkout in its midst is neither the old state nor the new one. Until then those before hold.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tributary_query::{Definitions, Engine, QueryError, definitions};

const LOOK_EVERY: Duration = Duration::from_secs(2);

type Texts = Result<Vec<(String, String)>, Vec<String>>;

/// Ends with `stop`.
pub(super) async fn follow(folder: PathBuf, engine: Arc<Engine>, stop: CancellationToken) {
    let (mut looked_at, mut judged): (Option<Texts>, Option<Texts>) = (None, None);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let folder = folder.clone();
        let reading = tokio::task::spawn_blocking(move || definitions::texts(&folder));
        // A file that does not answer must not hold up the stop.
        let texts = match stop.run_until_cancelled(reading).await {
            Some(Ok(texts)) => texts,
            Some(Err(error)) => {
                tracing::warn!(%error, "reading the definitions broke off");
                continue;
            }
            None => return,
        };
        let is_settled = looked_at.as_ref() == Some(&texts) && judged.as_ref() != Some(&texts);
        looked_at = Some(texts.clone());
        if !is_settled {
            continue;
        }
        judged = Some(texts.clone());
        match stop.run_until_cancelled(take(&engine, texts)).await {
            Some(Ok(None)) => {}
            Some(Ok(Some(count))) => tracing::info!(definitions = count, "read the definitions anew"),
            Some(Err(QueryError::Definitions { faults })) => {
                tracing::warn!(faults = faults.join("; "), "the definitions cannot stand; those before hold");
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the definitions cannot be held against the tables now; those before hold");
                // That is no fault of theirs: they are looked at again.
                judged = None;
            }
            None => return,
        }
    }
}

/// How many are in force now; `None` if they were before.
async fn take(engine: &Engine, texts: Texts) -> Result<Option<usize>, QueryError> {
    let newer = texts.and_then(|texts| Definitions::of_texts(&texts));
    let newer = newer.map_err(|faults| QueryError::Definitions { faults })?;
    let count = newer.all().len();
    if newer.all() == engine.definitions().all() {
        return Ok(None);
    }
    engine.replace_definitions(newer).await?;
    Ok(Some(count))
}
