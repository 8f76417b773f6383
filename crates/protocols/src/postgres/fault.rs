//! What went wrong, as a client of PostgreSQL hears it.
//!
//! In:       errors of the engine, of the protocol.
//! Out:      `Fault`: an SQLSTATE, a message, a hint.
//! Promise:  clients decide by the code whether to try again, mend the question or give up; what is the server's own affair is
//!           for its log.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use tributary_query::{Advice, QueryError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Five letters and digits: appendix A of PostgreSQL's manual.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The connection ends with it.
    pub(crate) is_fatal: bool,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, is_fatal: false }
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { is_fatal: true, ..Self::new(code, message) }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// After it nobody knows where the next message begins.
    pub(crate) fn protocol(message: String) -> Self {
        Self::fatal("08P01", message)
    }

    /// A message that makes no sense, but ends where it says.
    pub(crate) fn protocol_but_going_on(message: String) -> Self {
        Self::new("08P01", message)
    }

    pub(crate) fn encoding() -> Self {
        Self::new("22021", "a text is not UTF-8")
    }

    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new("0A000", format!("{what}: not offered here"))
    }

    pub(crate) fn canceled() -> Self {
        Self::new("57014", "canceled, as was asked")
    }

    /// * `what`: the statement or portal.
    pub(crate) fn no_such(code: &'static str, what: &str, name: &str) -> Self {
        Self::new(code, format!("there is no {what} {name:?}"))
    }
}

impl From<&QueryError> for Fault {
    fn from(error: &QueryError) -> Self {
        let advice = error.advice();
        if advice == Advice::Stop {
            // Paths and settings of the server are for its log, not for who asks.
            tracing::error!(%error, "a question could not be answered");
            let code = if matches!(error, QueryError::Lake(_)) { "58030" } else { "XX000" };
            return Self::new(code, "the question could not be answered").with_hint(advice.words());
        }
        Self::new(code_of(error), error.to_string()).with_hint(advice.words())
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        Self::from(&error)
    }
}

fn code_of(error: &QueryError) -> &'static str {
    match error {
        QueryError::Refused { .. } => "25006",
        QueryError::Statement { reason } if reason.starts_with("there is no table function") => "42883",
        QueryError::Statement { reason } if reason.starts_with("there is no table") => "42P01",
        QueryError::Statement { reason } if reason.starts_with("two columns") => "42701",
        QueryError::Statement { .. } => "42601",
        QueryError::Function { .. } => "22023",
        QueryError::Question(error) => code_of_question(error),
        QueryError::TimedOut { .. } => "57014",
        QueryError::Busy { .. } => "53000",
        QueryError::OutOfMemory { .. } => "53200",
        QueryError::TooManyLinks { .. } | QueryError::TooManyRows { .. } => "54000",
        QueryError::Forbidden { .. } => "42501",
        QueryError::TooOften { .. } => "53400",
        QueryError::Live { .. } | QueryError::WorkersAway { .. } => "55000",
        QueryError::Lake(_) => "58030",
        QueryError::Settings { .. }
        | QueryError::Definitions { .. }
        | QueryError::WorkerRefuses { .. }
        | QueryError::Engine(_)
        | QueryError::Output(_) => "XX000",
    }
}

/// DataFusion says in words only what kind of fault it is.
fn code_of_question(error: &DataFusionError) -> &'static str {
    use DataFusionError as E;
    let root = error.find_root();
    let words = root.message();
    match root {
        E::SQL(..) => "42601",
        E::SchemaError(fault, _) => match fault.as_ref() {
            SchemaError::FieldNotFound { .. } => "42703",
            SchemaError::AmbiguousReference { .. } => "42702",
            _ => "42701",
        },
        E::NotImplemented(_) => "0A000",
        _ if words.contains("Divide by zero") => "22012",
        _ if words.contains("Invalid function") => "42883",
        _ if words.contains("Cannot cast") || words.contains("Error parsing") => "22P02",
        E::ArrowError(..) | E::Execution(_) => "22000",
        _ => "42000",
    }
}
