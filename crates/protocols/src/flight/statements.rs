//! Prepared statements: a text, and the values that were bound to it last.
//!
//! In:       texts, values.
//! Out:      handles; the same again.
//! Promise:  few are kept, and none that was not used for long: clients go without a word. A handle is random, so that only who made
//!           it has it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::Expr;
use tokio::time::Instant;

use super::grpc::Status;

#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) sql: String,
    pub(super) values: Vec<Expr>,
}

pub(super) struct Statements {
    all: Mutex<HashMap<Bytes, (Prepared, Instant)>>,
    count_max: usize,
    idle_max: Duration,
}

impl Statements {
    pub(super) fn new(count_max: usize, idle_max: Duration) -> Self {
        Self { all: Mutex::default(), count_max, idle_max }
    }

    pub(super) fn add(&self, sql: String) -> Result<Bytes, Status> {
        let mut handle = [0; 16];
        getrandom::fill(&mut handle).map_err(|_| Status::internal())?;
        let handle = Bytes::copy_from_slice(&handle);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if self.count_max <= all.len() {
            all.retain(|_, (_, used)| now.duration_since(*used) < self.idle_max);
        }
        if self.count_max <= all.len() {
            let told = format!("{} statements are prepared (flight.statements_max): close some", self.count_max);
            return Err(Status::exhausted(told));
        }
        all.insert(handle.clone(), (Prepared { sql, values: Vec::new() }, now));
        Ok(handle)
    }

    pub(super) fn get(&self, handle: &Bytes) -> Result<Prepared, Status> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (prepared, used) = all.get_mut(handle).ok_or_else(unknown)?;
        *used = Instant::now();
        Ok(prepared.clone())
    }

    pub(super) fn bind(&self, handle: &Bytes, values: Vec<Expr>) -> Result<(), Status> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (prepared, used) = all.get_mut(handle).ok_or_else(unknown)?;
        *used = Instant::now();
        prepared.values = values;
        Ok(())
    }

    pub(super) fn remove(&self, handle: &Bytes) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(handle);
    }
}

fn unknown() -> Status {
    Status::not_found("there is no such prepared statement: it was closed, or not used for long; prepare it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn few_are_kept_and_none_that_nobody_uses() {
        let statements = Statements::new(2, Duration::from_millis(20));
        let first = statements.add("SELECT 1".to_owned()).unwrap();
        statements.add("SELECT 2".to_owned()).unwrap();
        assert_eq!(statements.add("SELECT 3".to_owned()).unwrap_err().code, 8);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(statements.get(&first).unwrap().sql, "SELECT 1");
        statements.add("SELECT 3".to_owned()).unwrap();
        statements.remove(&first);
        assert_eq!(statements.get(&first).unwrap_err().code, 5);
    }
}
