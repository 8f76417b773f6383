//! How fresh the tables are that a plan reads.
//!
//! In:      an optimised plan; the snapshots its tables stand on.
//! Out:     the tables with their versions and newest times; counters of the tails of live ones.
//! Promise: a table that is named but not read is not told. The bounds of files are looked through once for each version. It
//!          is for who sees all: below the layers of an access (`access/table.rs`) no table is found.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use tributary_lake::{DataFile, Snapshot};
use tributary_schemas::Table;

use super::TableFacts;
use crate::catalog;
use crate::identity::IdentityMapTable;
use crate::lake_table::LakeTable;
use crate::live::LiveTable;

/// What was found out of the newest version of each table.
#[derive(Debug, Default)]
pub(crate) struct Freshness(Mutex<HashMap<Table, TableFacts>>);

/// What a plan reads.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) tables: Vec<TableFacts>,
    /// Rows of the log's tail, counted as each is planned.
    pub(crate) tails: Vec<Arc<AtomicU64>>,
}

/// * `links`: the snapshot persons are told by, if the plan asks for persons.
pub(crate) fn reads(plan: &LogicalPlan, links: Option<&Snapshot>, freshness: &Freshness) -> Result<Reads> {
    let mut tables: Vec<TableFacts> = Vec::new();
    let mut tails: Vec<Arc<AtomicU64>> = Vec::new();
    let mut add = |snapshot: &Snapshot, live: bool| {
        let name = catalog::sql_name(snapshot.table());
        match tables.iter_mut().find(|known| known.table == name) {
            Some(known) => known.live |= live,
            None => tables.push(TableFacts { live, ..freshness.of(snapshot) }),
        }
    };
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let Ok(provider) = source_as_provider(&scan.source) else { return Ok(TreeNodeRecursion::Continue) };
            if let Some(table) = provider.downcast_ref::<LakeTable>() {
                add(table.snapshot(), false);
            } else if let Some(table) = provider.downcast_ref::<LiveTable>() {
                add(table.committed().snapshot(), true);
                let tail = table.tail_rows();
                if !tails.iter().any(|known| Arc::ptr_eq(known, &tail)) {
                    tails.push(tail);
                }
            } else if let Some(snapshot) =
                provider.downcast_ref::<IdentityMapTable>().and_then(IdentityMapTable::snapshot)
            {
                add(snapshot, false);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if let Some(links) = links {
        add(links, false);
    }
    tables.sort_by(|a, b| a.table.cmp(&b.table));
    Ok(Reads { tables, tails })
}

impl Freshness {
    fn of(&self, snapshot: &Snapshot) -> TableFacts {
        let table = snapshot.table();
        // Whoever panicked here has left whole facts behind, or none.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = known.get(&table).filter(|facts| facts.version == snapshot.version()) {
            return facts.clone();
        }
        let newest = |of: &dyn Fn(&DataFile) -> Option<i64>| snapshot.files().iter().filter_map(of).max();
        let facts = TableFacts {
            table: catalog::sql_name(table).to_owned(),
            version: snapshot.version(),
            live: false,
            written_time_us: newest(&|file| Some(file.modified_ms.saturating_mul(1_000))),
            ingest_time_us: newest(&|file| file.max_i64("ingest_time_us")),
            event_time_us: newest(&|file| match table {
                Table::Sessions => file.max_i64("start_time_us"),
                _ => file.max_i64("event_time_us"),
            }),
        };
        known.insert(table, facts.clone());
        facts
    }
}
