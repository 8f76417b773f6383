//! The names a question may use: `tributary.public`, pinned.
//!
//! In:       the newest snapshots of all tables; a session with the functions; the rights of who asks.
//! Out:      the same session with a catalog of those snapshots, as far as they are to be seen.
//! Promise:  one version of each table for the whole question; only what a question names is planned. Where not all may be seen
//!           there are layers, and the question sees the last only: the tables; of these the rows that are seen; the views
//!           over those; masks around each table and view (`access`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
    TableProvider,
};
use datafusion::common::Result;
use datafusion::datasource::ViewTable;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;
use futures::future::try_join_all;
use tributary_lake::{Lake, LakeError, Snapshot};
use tributary_schemas::Table;

use crate::access::{Rights, RowRule, SeenSchema, SeenTable};
use crate::definitions;
use crate::identity::{AllowedLinks, Identities, IdentityMapTable, Links, PersonOf, Persons};
use crate::lake_table::LakeTable;
use crate::live::{Live, LiveTable};
use crate::stop::StopFlag;
use crate::{narrow, views};

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

/// Everything a question may name, whoever asks.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let tables = Table::ALL.iter().flat_map(|table| [Some(sql_name(*table)), live_name(*table)]).flatten();
    tables.chain([IDENTITY_MAP, definitions::TABLE]).chain(views::ALL.iter().map(|view| view.name))
}

/// Tables by the name a question calls them.
type Tables = HashMap<&'static str, Arc<dyn TableProvider>>;

/// What a question is asked of.
pub(crate) struct World<'q> {
    /// With the functions, but for `person_of`.
    pub(crate) base: &'q SessionState,
    pub(crate) person_of: &'q PersonOf,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) identities: &'q Arc<Identities>,
    pub(crate) live: &'q Live,
    /// The table that tells what is defined. It is about nobody.
    pub(crate) definitions: &'q Arc<dyn TableProvider>,
    /// Schemas a face puts beside ours.
    pub(crate) beside: Option<&'q BTreeMap<String, Arc<dyn SchemaProvider>>>,
    /// None: all is seen.
    pub(crate) rights: Option<&'q Rights>,
    pub(crate) stop: StopFlag,
}

impl World<'_> {
    /// The session of a question, and who the persons in it are.
    pub(crate) fn session(self) -> Result<(SessionContext, Persons)> {
        let with_persons = with_function(self.base, self.person_of)?;
        let raw = self.tables();
        let links = self.snapshots.iter().find(|snapshot| snapshot.table() == Table::Identities);
        let links = Links::All(links.expect("all tables are pinned").clone());
        let Some(rights) = self.rights else {
            let persons = Persons { links, identities: Arc::clone(self.identities) };
            let schema = with_views(&with_persons, self.with_ours(raw, &persons), None)?;
            return Ok((with_schema(&with_persons, schema, self.beside)?, persons));
        };
        let (tables, persons, narrowed) = match rights.rows {
            None => (raw, Persons { links, identities: Arc::clone(self.identities) }, None),
            Some(rule) => {
                let session = with_schema(&with_persons, Arc::new(LakeSchema::of(raw.clone())), None)?.state();
                let versions = self.snapshots.iter().map(|snapshot| (snapshot.table(), snapshot.version())).collect();
                let links = Links::Allowed(Arc::new(AllowedLinks {
                    versions,
                    session: session.clone(),
                    sql: narrow::sql("identities", rule).expect("links are told of by it"),
                }));
                let seen = raw.into_iter().filter_map(|(name, table)| {
                    let rule = narrow::own_rule(name, rule)?;
                    let table: Arc<dyn TableProvider> =
                        Arc::new(SeenTable::new(table, Some(rule), None, self.stop.clone()));
                    Some((name, table))
                });
                let persons = Persons { links, identities: Arc::clone(&rights.identities) };
                (seen.collect(), persons, Some(Narrowed { session, rule, stop: self.stop.clone() }))
            }
        };
        let inner = with_views(&with_persons, self.with_ours(tables, &persons), narrowed)?;
        let seen = SeenSchema { inner, masks: rights.masks.clone(), only: rights.tables.clone(), stop: self.stop };
        // By its real ids a person is found below the masks only.
        let base = if rights.masks.is_some() { self.base } else { &with_persons };
        Ok((with_schema(base, Arc::new(seen), self.beside)?, persons))
    }

    fn tables(&self) -> Tables {
        let mut tables = Tables::new();
        for snapshot in &self.snapshots {
            let table = snapshot.table();
            let committed = Arc::new(LakeTable::new(snapshot.clone()));
            if let Some(name) = live_name(table) {
                tables.insert(name, Arc::new(LiveTable::new(table, Arc::clone(&committed), self.live.clone())));
            }
            tables.insert(sql_name(table), committed);
        }
        tables
    }

    /// And those that are in no lake.
    fn with_ours(&self, mut tables: Tables, persons: &Persons) -> Tables {
        tables.insert(IDENTITY_MAP, Arc::new(IdentityMapTable::new(persons.clone())));
        tables.insert(definitions::TABLE, Arc::clone(self.definitions));
        tables
    }
}

fn with_function(base: &SessionState, person_of: &PersonOf) -> Result<SessionState> {
    let mut base = base.clone();
    base.register_udf(Arc::new(ScalarUDF::from(person_of.clone())))?;
    Ok(base)
}

/// The views are planned in a session that knows the tables only.
fn with_views(base: &SessionState, tables: Tables, narrowed: Option<Narrowed>) -> Result<Arc<LakeSchema>> {
    let tables_alone = LakeSchema { tables, views: None, narrowed };
    let views = with_schema(base, Arc::new(tables_alone.clone()), None)?.state();
    Ok(Arc::new(LakeSchema { views: Some(views), ..tables_alone }))
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

#[derive(Debug, Clone)]
struct LakeSchema {
    tables: Tables,
    /// Where views are planned; `None` while planning one.
    views: Option<SessionState>,
    /// The tables whose rows are seen by what other tables say of them.
    narrowed: Option<Narrowed>,
}

#[derive(Debug, Clone)]
struct Narrowed {
    /// Of the tables as they are.
    session: SessionState,
    rule: RowRule,
    stop: StopFlag,
}

impl LakeSchema {
    fn of(tables: Tables) -> Self {
        Self { tables, views: None, narrowed: None }
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let views = self.views.iter().flat_map(|_| views::ALL).map(|view| view.name);
        let narrowed = self.narrowed.iter().flat_map(|_| narrow::NAMES);
        let mut names: Vec<String> =
            self.tables.keys().copied().chain(views).chain(narrowed).map(str::to_owned).collect();
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.tables.get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        if let Some(Narrowed { session, rule, stop }) = &self.narrowed
            && let Some(sql) = narrow::sql(name, *rule)
        {
            let plan = session.create_logical_plan(&sql).await?;
            let seen = SeenTable::new(Arc::new(ViewTable::new(plan, None)), None, None, stop.clone());
            return Ok(Some(Arc::new(seen)));
        }
        let Some((session, view)) = self.views.as_ref().zip(views::ALL.iter().find(|view| view.name == name)) else {
            return Ok(None);
        };
        let plan = session.create_logical_plan(view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.trim().to_owned())))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
            || (self.narrowed.is_some() && narrow::NAMES.contains(&name))
            || (self.views.is_some() && views::ALL.iter().any(|view| view.name == name))
    }
}
