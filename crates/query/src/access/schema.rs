//! The names an access may use, each with what it sees under it.
//!
//! In:       the tables and views over seen rows; masks, a list of names.
//! Out:      the schema of the question.
//! Promise:  a name outside the list is not there; each table and view that is there tells personal values through masks only. A view is
//!           worked out below its masks: persons are found by their real ids, and called by pseudonyms.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;

use super::mask::Masks;
use super::table::SeenTable;
use crate::stop::StopFlag;

#[derive(Debug)]
pub(crate) struct SeenSchema {
    pub(crate) inner: Arc<dyn SchemaProvider>,
    pub(crate) masks: Option<Arc<Masks>>,
    pub(crate) only: Option<Arc<BTreeSet<String>>>,
    pub(crate) stop: StopFlag,
}

impl SeenSchema {
    fn is_open(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(name))
    }
}

#[async_trait]
impl SchemaProvider for SeenSchema {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names().into_iter().filter(|name| self.is_open(name)).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !self.is_open(name) {
            return Ok(None);
        }
        let table = self.inner.table(name).await?;
        Ok(match (table, &self.masks) {
            (Some(table), Some(masks)) => {
                Some(Arc::new(SeenTable::new(table, None, Some(Arc::clone(masks)), self.stop.clone())))
            }
            (table, _) => table,
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        self.is_open(name) && self.inner.table_exist(name)
    }
}
