//! What a question has pinned, said to its workers: which lake, and which persons.
//!
//! In:       at the head, the snapshots of the question and the rules of the settings; on a worker, the same out of a header.
//! Out:      the header; the function `person_of` with the map of the pinned version.
//! Promise:  a worker of another lake refuses, and one whose rules of persons are others: its rows or its persons would be
//!           others. A question that asks for no person costs no map.
//! Not here: the files, which stand in the plan itself.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use serde::{Deserialize, Serialize};
use tributary_lake::{Lake, Snapshot};
use tributary_schemas::Table;

use crate::error::QueryError;
use crate::identity::{Identities, PersonOf};
use crate::settings::QuerySettings;

const HEADER: HeaderName = HeaderName::from_static("x-tributary-pinned");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinned {
    /// Id of the table of events.
    lake: String,
    persons: Option<Persons>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Persons {
    /// Of `identities`.
    version: u64,
    rules: Rules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    users_per_device_max: usize,
    devices_per_user_max: usize,
    aliases_max: usize,
}

impl Rules {
    fn of(settings: &QuerySettings) -> Self {
        Self {
            users_per_device_max: settings.identity_users_per_device_max,
            devices_per_user_max: settings.identity_devices_per_user_max,
            aliases_max: settings.identity_aliases_max,
        }
    }
}

impl Pinned {
    /// * `lake`: id of its table of events.
    /// * `links`: the snapshot persons are told by, where the question asks for persons.
    pub(crate) fn of(lake: String, links: Option<&Snapshot>, settings: &QuerySettings) -> Self {
        let persons = links.map(|links| Persons { version: links.version(), rules: Rules::of(settings) });
        Self { lake, persons }
    }

    /// Goes with each task of the question.
    pub(super) fn headers(&self) -> Result<HeaderMap> {
        let text = serde_json::to_string(self).map_err(|error| exec_datafusion_err!("{error}"))?;
        let value = HeaderValue::try_from(text).map_err(|error| exec_datafusion_err!("{error}"))?;
        Ok(HeaderMap::from_iter([(HEADER, value)]))
    }
}

/// `person_of` for a task that came with `headers`, if this is its lake.
pub(super) async fn person_of(
    headers: &HeaderMap,
    settings: &QuerySettings,
    lake: &Lake,
    identities: &Identities,
) -> Result<PersonOf> {
    let said = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let said = said.and_then(|text| serde_json::from_str::<Pinned>(text).ok());
    let Some(Pinned { lake: id, persons }) = said else {
        return Err(refused("what a head says of its question cannot be read".to_owned()));
    };
    if !is_lake(lake, &id).await? {
        return Err(refused("its lake is not that of the head: lake.url must name the same lake on both".to_owned()));
    }
    let person_of = PersonOf::new();
    let Some(Persons { version, rules }) = persons else { return Ok(person_of) };
    let own = Rules::of(settings);
    if rules != own {
        let reason = format!(
            "who is one person is told by other settings here ({own:?}) than at the head ({rules:?}): give both the same \
             query.identity_*"
        );
        return Err(refused(reason));
    }
    let links = lake.snapshot_at(Table::Identities, version).await.map_err(unread)?;
    person_of.give(identities.at(&links).await?);
    Ok(person_of)
}

async fn is_lake(lake: &Lake, id: &str) -> Result<bool> {
    if lake.table_id_seen(Table::Events).is_some_and(|seen| *seen == *id) {
        return Ok(true);
    }
    // It may have been made anew since it was seen.
    Ok(lake.snapshot(Table::Events).await.map_err(unread)?.table_id() == id)
}

fn unread(error: tributary_lake::LakeError) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::Lake(error)))
}

fn refused(reason: String) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::WorkerRefuses { reason }))
}

/// Makes the map of persons before the first question wants it: for a large table that takes longer than a head waits for a worker
/// to take its plan.
pub(super) async fn warm_up(lake: &Lake, identities: &Identities) {
    let made = async {
        let links = lake.snapshot(Table::Identities).await.map_err(unread)?;
        identities.at(&links).await
    };
    if let Err(error) = made.await {
        // Each question that asks for persons will tell it.
        tracing::warn!(%error, "persons cannot be told here");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_said_in_a_header() {
        let persons = Some(Persons { version: 7, rules: Rules::of(&QuerySettings::default()) });
        for pinned in [Pinned { lake: "l".to_owned(), persons }, Pinned { lake: String::new(), persons: None }] {
            let headers = pinned.headers().unwrap();
            let said: Pinned = serde_json::from_str(headers[HEADER].to_str().unwrap()).unwrap();
            assert_eq!(said, pinned);
        }
    }
}
