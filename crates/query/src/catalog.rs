//! The names a question may use: `tributary.public`, pinned.
//!
//! In:       the newest snapshots of all tables; a session with the functions.
//! Out:      the same session with a catalog of those snapshots.
//! Promise:  one version of each table for the whole question; only what a question names is planned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
    TableProvider,
};
use datafusion::common::Result;
use datafusion::datasource::ViewTable;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionContext;
use futures::future::try_join_all;
use tributary_lake::{Lake, LakeError, Snapshot};
use tributary_schemas::Table;

use crate::definitions;
use crate::identity::{Identities, IdentityMapTable};
use crate::lake_table::LakeTable;
use crate::live::{Live, LiveTable};
use crate::views;

pub(crate) const CATALOG: &str = "tributary";
pub(crate) const SCHEMA: &str = "public";

/// What a table of the lake is called in SQL. `sessions` is a view, over all versions of all sessions.
pub(crate) fn sql_name(table: Table) -> &'static str {
    match table {
        Table::Sessions => "session_history",
        other => other.name(),
    }
}

/// What it is called with the log's tail, if it is one that has it.
fn live_name(table: Table) -> Option<&'static str> {
    match table {
        Table::Events => Some("events_live"),
        Table::Sessions => Some("session_history_live"),
        _ => None,
    }
}

/// Whether a table that is no view is called so.
pub(crate) fn is_table(name: &str) -> bool {
    let of_lake = |table: &Table| sql_name(*table) == name || live_name(*table) == Some(name);
    name == definitions::TABLE || name == IDENTITY_MAP || Table::ALL.iter().any(of_lake)
}

const IDENTITY_MAP: &str = "identity_map";

pub(crate) async fn pin(lake: &Lake) -> Result<Vec<Snapshot>, LakeError> {
    try_join_all(Table::ALL.iter().map(|table| lake.snapshot(*table))).await
}

/// Tables by the name a question calls them.
type Tables = HashMap<&'static str, Arc<dyn TableProvider>>;

/// `base`, seeing `snapshots`, the table of `definitions`, and the schemas a face puts `beside` theirs.
pub(crate) fn session(
    base: &SessionState,
    snapshots: Vec<Snapshot>,
    identities: &Arc<Identities>,
    live: &Live,
    definitions: &Arc<dyn TableProvider>,
    beside: Option<&BTreeMap<String, Arc<dyn SchemaProvider>>>,
) -> Result<SessionContext> {
    let mut tables = Tables::from([(definitions::TABLE, Arc::clone(definitions))]);
    for snapshot in snapshots {
        if snapshot.table() == Table::Identities {
            let map = IdentityMapTable::new(snapshot.clone(), Arc::clone(identities));
            tables.insert(IDENTITY_MAP, Arc::new(map));
        }
        let table = snapshot.table();
        let committed = Arc::new(LakeTable::new(snapshot));
        if let Some(name) = live_name(table) {
            tables.insert(name, Arc::new(LiveTable::new(table, Arc::clone(&committed), live.clone())));
        }
        tables.insert(sql_name(table), committed);
    }
    // The views are planned in a session that knows the tables only.
    let tables_alone = with_schema(base, Arc::new(LakeSchema { tables: tables.clone(), views: None }), None)?;
    let views = Some(tables_alone.state());
    with_schema(base, Arc::new(LakeSchema { tables, views }), beside)
}

fn with_schema(
    base: &SessionState,
    schema: Arc<dyn SchemaProvider>,
    beside: Option<&BTreeMap<String, Arc<dyn SchemaProvider>>>,
) -> Result<SessionContext> {
    let catalog = MemoryCatalogProvider::new();
    for (name, other) in beside.into_iter().flatten() {
        catalog.register_schema(name, Arc::clone(other))?;
    }
    catalog.register_schema(SCHEMA, schema)?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    let state = SessionStateBuilder::new_from_existing(base.clone()).with_catalog_list(Arc::new(catalogs)).build();
    Ok(SessionContext::new_with_state(state))
}

#[derive(Debug)]
struct LakeSchema {
    tables: Tables,
    /// Where views are planned; `None` while planning one.
    views: Option<SessionState>,
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let views = self.views.iter().flat_map(|_| views::ALL).map(|view| view.name);
        let mut names: Vec<String> = self.tables.keys().copied().chain(views).map(str::to_owned).collect();
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.tables.get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        let Some((session, view)) = self.views.as_ref().zip(views::ALL.iter().find(|view| view.name == name)) else {
            return Ok(None);
        };
        let plan = session.create_logical_plan(view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.trim().to_owned())))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name) || (self.views.is_some() && views::ALL.iter().any(|view| view.name == name))
    }
}
