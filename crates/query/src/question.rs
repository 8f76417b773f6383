//! A question of another face than HTTP's, and what is known of one before it is worked on.
//!
//! In:       SQL in the dialect of a protocol, with what the protocol brings: values for parameters, schemas its clients
//!           look things up in, functions they call.
//! Out:      `Question` for `Engine::ask` and `Engine::describe`; `Described`.
//! Promise:  whatever a face adds, the rules are those of every question: it says who asks, only reads, is no more intricate than
//!           allowed, and takes its turn.
//! Not here: what the faces are (`protocols`).

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::SchemaProvider;
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast;

use crate::access::Asker;
use crate::error::QueryError;

/// Changes the tree of a statement before it is judged and planned: puts values in place of parameters, says in our words
/// what a client said in its own.
pub type Rewrite = Box<dyn FnOnce(&mut ast::Statement) -> Result<(), QueryError> + Send>;

/// One statement, and what its face brings to it.
pub struct Question {
    /// Who asks.
    pub asker: Asker,
    pub sql: String,
    pub dialect: Dialect,
    pub rewrite: Option<Rewrite>,
    pub beside: Option<Arc<Beside>>,
    pub face: Face,
}

impl Question {
    /// SQL alone, by no face.
    pub fn plain(asker: Asker, sql: impl Into<String>) -> Self {
        let dialect = Dialect::Generic;
        Self { asker, sql: sql.into(), dialect, rewrite: None, beside: None, face: Face::Own }
    }

    #[must_use]
    pub fn by(self, face: Face) -> Self {
        Self { face, ..self }
    }
}

/// Who brings a question here, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// This process: its shell, its demo, what it looks up for an answer.
    Own,
    Http,
    Postgres,
    Flight,
}

impl Face {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Http => "http",
            Self::Postgres => "postgres",
            Self::Flight => "flight",
        }
    }
}

/// How the text is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Generic,
    Postgres,
}

/// What the questions of a face see beside the tables.
#[derive(Debug, Default)]
pub struct Beside {
    /// By name. None is called as the schema of the tables.
    pub schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
    pub functions: Vec<Arc<ScalarUDF>>,
}

/// What is known of a question without answering it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Of the answer.
    pub schema: SchemaRef,
    /// By name (`$1`); `None` where the statement does not say what it must be.
    pub parameters: BTreeMap<String, Option<DataType>>,
}

/// A table or view a question may name.
#[derive(Debug, Clone)]
pub struct Relation {
    pub name: String,
    pub schema: SchemaRef,
    /// Of a view.
    pub definition: Option<String>,
}
