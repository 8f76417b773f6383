//! What can go wrong with a question, and what the asker should do then.
//!
//! In:       errors of the lake, of DataFusion, of our own limits.
//! Out:      `QueryError`, each with an `Advice`.
//! Promise:  a fault in the question says which part and how to mend it; a limit says its number and its setting.

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::error::DataFusionError;
use tributary_lake::LakeError;

/// What to do about a `QueryError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The question itself must change.
    FixInput,
    /// Narrow the question (fewer days, fewer columns) or raise the limit it names.
    AskLess,
    /// The same question may be answered later.
    Retry,
    /// A person has to look.
    Stop,
}

impl Advice {
    pub fn words(self) -> &'static str {
        match self {
            Self::FixInput => "change the question",
            Self::AskLess => "ask for less: fewer days or fewer columns; or raise the limit",
            Self::Retry => "ask again later",
            Self::Stop => "tell the operator: the server's log says more",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the settings of query are wrong: {}", .faults.join("; "))]
    Settings { faults: Vec<String> },

    #[error("the definitions of query.metrics_dir are wrong:\n{}", .faults.join("\n"))]
    Definitions { faults: Vec<String> },

    #[error("{statement} is refused: questions only read. Use SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE")]
    Refused { statement: String },

    #[error("{reason}")]
    Statement { reason: String },

    /// The access may not ask this.
    #[error("{reason}")]
    Forbidden { reason: String },

    #[error(
        "the access {access} may ask {per_minute} questions a minute (queries_per_minute): ask again in {wait_s} s"
    )]
    TooOften { access: String, per_minute: u32, wait_s: u64 },

    #[error("the answer has more rows than the {rows_max} this access may have (rows_max) and was stopped")]
    TooManyRows { rows_max: usize },

    #[error("{function}: {reason}\nusage: {usage}\nexample: {example}")]
    Function { function: &'static str, reason: String, usage: String, example: &'static str },

    #[error("{}", plain(.0))]
    Question(#[source] Box<DataFusionError>),

    #[error("the answer took longer than {time_ms_max} ms (query.time_ms_max) and was stopped")]
    TimedOut { time_ms_max: u64 },

    #[error("{queries_max} questions are running (query.queries_max) and none ended within {time_ms_max} ms")]
    Busy { queries_max: usize, time_ms_max: u64 },

    #[error("the answer needs more memory than {memory_bytes_max} bytes (query.memory_bytes_max): {}", plain(.source))]
    OutOfMemory {
        memory_bytes_max: usize,
        #[source]
        source: Box<DataFusionError>,
    },

    #[error(
        "persons cannot be told: {links} links between ids are in the table identities, more than {links_max} \
         (query.identity_links_max). Raise it; a link takes some 260 bytes of memory"
    )]
    TooManyLinks { links: u64, links_max: u64 },

    #[error("a live table cannot be read now: {reason}")]
    Live { reason: String },

    #[error("{reason}")]
    WorkersAway { reason: String },

    #[error("a worker cannot help: {reason}")]
    WorkerRefuses { reason: String },

    #[error("the lake cannot be read: {0}")]
    Lake(#[from] LakeError),

    #[error("the query engine broke: {}", plain(.0))]
    Engine(#[source] Box<DataFusionError>),

    #[error("the answer cannot be written: {0}")]
    Output(#[source] std::io::Error),
}

impl QueryError {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Settings { .. }
            | Self::Definitions { .. }
            | Self::Refused { .. }
            | Self::Statement { .. }
            | Self::Function { .. } => Advice::FixInput,
            Self::Question(_) | Self::Forbidden { .. } => Advice::FixInput,
            Self::TimedOut { .. } | Self::TooManyRows { .. } | Self::OutOfMemory { .. } | Self::TooManyLinks { .. } => {
                Advice::AskLess
            }
            Self::Busy { .. } | Self::Live { .. } | Self::TooOften { .. } | Self::WorkersAway { .. } => Advice::Retry,
            Self::Lake(error) => match error.advice() {
                tributary_lake::Advice::Retry => Advice::Retry,
                _ => Advice::Stop,
            },
            Self::WorkerRefuses { .. } | Self::Engine(_) | Self::Output(_) => Advice::Stop,
        }
    }

    /// What is wrong, without how to call it right.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Function { reason, .. } => reason.clone(),
            error => error.to_string(),
        }
    }

    /// A fault of ours, where there is no error of DataFusion's to tell.
    pub(crate) fn broke(what: &str) -> Self {
        Self::Engine(Box::new(DataFusionError::Internal(what.to_owned())))
    }

    /// One word for metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Forbidden { .. } => "forbidden",
            Self::TooOften { .. } => "too_often",
            Self::TimedOut { .. } => "timed_out",
            Self::Busy { .. } => "busy",
            Self::OutOfMemory { .. } => "out_of_memory",
            _ if self.advice() == Advice::FixInput => "wrong",
            _ => "failed",
        }
    }

    /// Sorts DataFusion's errors by who can mend them.
    pub(crate) fn from_datafusion(error: DataFusionError, memory_bytes_max: usize) -> Self {
        use DataFusionError as E;
        // A fault of ours may travel through DataFusion as an external error.
        let error = match error {
            E::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => return *ours,
                Err(inner) => E::External(inner),
            },
            error => error,
        };
        let source = Box::new(error);
        match source.find_root() {
            E::ResourcesExhausted(_) => Self::OutOfMemory { memory_bytes_max, source },
            E::SQL(..) | E::Plan(_) | E::SchemaError(..) | E::NotImplemented(_) | E::Configuration(_) => {
                Self::Question(source)
            }
            // What a row makes of an expression: a division by zero, a text that is no number.
            E::Execution(_) | E::ArrowError(..) => Self::Question(source),
            _ => Self::Engine(source),
        }
    }
}

/// DataFusion's message without the wrappings ("Error during planning:", back traces).
fn plain(error: &DataFusionError) -> String {
    let mut message = error.find_root().message().into_owned();
    // DataFusion takes its internal errors for its own faults, and asks for reports of them; most are a wrong type.
    for from in ["\n\nbacktrace:", ".\nThis issue was likely caused by a bug"] {
        if let Some(at) = message.find(from) {
            message.truncate(at);
        }
    }
    // What a function of ours says of its arguments, without what DataFusion puts around it: its types are nobody's words.
    const OF_ARGUMENTS: &str = "user-defined coercion failed with: ";
    if let Some(at) = message.find(OF_ARGUMENTS) {
        let ours = message[at + OF_ARGUMENTS.len()..].trim_start_matches("Error during planning: ");
        let end = [" No function matches", "\n"].iter().filter_map(|after| ours.find(after)).min();
        return ours[..end.unwrap_or(ours.len())].to_owned();
    }
    message
}

/// What to write in place of a name nobody has: the nearest of those there are, and all of them.
pub(crate) fn unknown_name(what: &str, name: &str, known: &[&str]) -> String {
    let hint = nearest(name, known).map(|other| format!("did you mean {other}? ")).unwrap_or_default();
    format!("there is no {what} {name:?}: {hint}there are {}", known.join(", "))
}

/// That of some names which somebody may have meant. Two letters of a short name are a guess.
pub(crate) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let near = known.iter().map(|other| (levenshtein(name, other), *other)).min();
    near.filter(|(far, _)| *far <= 2.min(name.len() / 3)).map(|(_, other)| other)
}
