//! Definitions: what a shop calls a sign-up, a channel or its revenue, said once, in files.
//!
//! In:       a folder of TOML files, as text (`file.rs` has their shape).
//! Out:      `Definitions`: each with its name, its SQL and where it stands; `expand` writes their SQL in the place of their
//!           names (`event('signed_up')`, `segment('buyers')`, `channel_of()`, `definition => 'checkout'`).
//! Promise:  all faults of all files are told together, each with its file, its key and what to do. What one definition
//!           takes from another is written out once, here, so that no question can go round in a circle. A question that
//!           names a definition is the question with its SQL in that place: it has no meaning of its own.
//! Not here: whether the SQL fits the tables: `Engine::check_definitions` plans each. When files are read: the binary.
//!
//! Why written out as a tree and not planned as functions or views: `docs/adr/0016-definitions.md`.

mod expand;
mod file;
mod folder;
mod resolve;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::sql::sqlparser::ast::Expr;

pub(crate) use expand::expand;
pub(crate) use table::{NAME as TABLE, table};

use crate::error;
use crate::table_function::quoted;

/// What a definition is of. Names are apart by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A condition over events.
    Event,
    /// A rule that says which channel an event came by.
    Channel,
    /// A condition over persons.
    Segment,
    /// Arguments of `metric`.
    Metric,
    /// Arguments of `funnel` and its sisters.
    Funnel,
    /// Arguments of `retention` and `retention_overall`.
    Retention,
    /// Arguments of `attribution`, `touchpoints` and `conversion_paths`.
    Attribution,
    /// Arguments of `paths`, `path_list` and `path_ngrams`.
    Path,
    /// Arguments of `experiment`.
    Experiment,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Event,
        Self::Channel,
        Self::Segment,
        Self::Metric,
        Self::Funnel,
        Self::Retention,
        Self::Attribution,
        Self::Path,
        Self::Experiment,
    ];

    /// One of it, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Channel => "channel",
            Self::Segment => "segment",
            Self::Metric => "metric",
            Self::Funnel => "funnel",
            Self::Retention => "retention",
            Self::Attribution => "attribution",
            Self::Path => "path",
            Self::Experiment => "experiment",
        }
    }

    /// The table of a file it stands in.
    pub fn section(self) -> &'static str {
        match self {
            Self::Event => "events",
            Self::Channel => "channels",
            Self::Segment => "segments",
            Self::Metric => "metrics",
            Self::Funnel => "funnels",
            Self::Retention => "retention",
            Self::Attribution => "attribution",
            Self::Path => "paths",
            Self::Experiment => "experiments",
        }
    }

    /// The function it holds arguments of; its sisters take what they know of them.
    pub(crate) fn function(self) -> Option<&'static str> {
        match self {
            Self::Event | Self::Channel | Self::Segment => None,
            Self::Metric => Some("metric"),
            Self::Funnel => Some("funnel"),
            Self::Retention => Some("retention"),
            Self::Attribution => Some("attribution"),
            Self::Path => Some("paths"),
            Self::Experiment => Some("experiment"),
        }
    }

    /// Whose definitions a function takes by `definition => '...'`.
    pub(crate) fn of_function(function: &str) -> Option<Self> {
        let family = function.split('_').next().unwrap_or_default();
        match (function, family) {
            ("metric", _) => Some(Self::Metric),
            ("attribution" | "touchpoints" | "conversion_paths", _) => Some(Self::Attribution),
            ("paths", _) | (_, "path") => Some(Self::Path),
            (_, "funnel") => Some(Self::Funnel),
            (_, "retention") => Some(Self::Retention),
            (_, "experiment") => Some(Self::Experiment),
            _ => None,
        }
    }
}

/// One of them, for who looks it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub kind: Kind,
    pub name: String,
    /// As SQL, what it takes from others written out: a condition, or the call it stands for.
    pub sql: String,
    pub description: Option<String>,
    /// Of a metric.
    pub unit: Option<String>,
    /// Where it stands.
    pub file: String,
}

/// What a name stands for.
#[derive(Debug, Clone)]
enum Meaning {
    /// Of an event, a channel's rule or a segment.
    Condition(Box<Expr>),
    /// Arguments by name.
    Arguments(Vec<(String, Expr)>),
}

/// Name and text of each file of definitions in a folder, in the order of their names.
pub fn texts(folder: &Path) -> Result<Vec<(String, String)>, Vec<String>> {
    folder::read(folder)
}

/// All that is defined.
#[derive(Debug, Default)]
pub struct Definitions {
    told: Vec<Definition>,
    meanings: BTreeMap<(Kind, String), Meaning>,
    /// Names of channels, first rule first.
    channels: Vec<String>,
    /// What `channel_of()` stands for; `None` where there are no rules.
    channel: Option<Box<Expr>>,
}

impl Definitions {
    /// The `*.toml` files of a folder.
    pub fn read(folder: &Path) -> Result<Self, Vec<String>> {
        Self::of_texts(&texts(folder)?)
    }

    /// Of files that were read already.
    ///
    /// * `files`: name and text of each, in the order of their names.
    /// * Returns all faults: file, key, what is wrong and what to do.
    pub fn of_texts(files: &[(String, String)]) -> Result<Self, Vec<String>> {
        let (definitions, faults) = Self::standing(files);
        if faults.is_empty() { Ok(definitions) } else { Err(faults) }
    }

    /// Those that can be read, with all faults of the others: for who looks for more faults in them. Nothing is asked by them.
    pub fn standing(files: &[(String, String)]) -> (Self, Vec<String>) {
        let mut faults = Vec::new();
        let entries = file::entries(files, &mut faults);
        let definitions = resolve::resolve(entries, &mut faults);
        (definitions, faults)
    }

    /// By kind, then by name; channels in the order of their rules.
    pub fn all(&self) -> &[Definition] {
        &self.told
    }

    /// A question for each that is answered if it fits the tables, with where it stands.
    pub(crate) fn questions(&self) -> Vec<(String, String)> {
        let question = |it: &Definition| {
            let sql = match it.kind.function() {
                // Written out by the way it is asked for, too.
                Some(function) => format!("SELECT * FROM {function}(definition => {})", quoted(&it.name)),
                None => format!("SELECT count(*) FROM person_events WHERE {}", it.sql),
            };
            (format!("{}: {}.{}", it.file, it.kind.section(), it.name), sql)
        };
        let channel = self.channel.iter().map(|_| {
            let place = format!("{}: all rules together", Kind::Channel.section());
            (place, "SELECT count(channel_of()) FROM person_events".to_owned())
        });
        self.told.iter().map(question).chain(channel).collect()
    }

    fn meaning(&self, kind: Kind, name: &str) -> Result<&Meaning, String> {
        self.meanings.get(&(kind, name.to_owned())).ok_or_else(|| {
            let of_kind = self.told.iter().filter(|definition| definition.kind == kind);
            let known: Vec<&str> = of_kind.map(|definition| definition.name.as_str()).collect();
            if known.is_empty() {
                let (word, section) = (kind.word(), kind.section());
                return format!(
                    "there is no {word} {name:?}: none is defined; write [{section}.{name}] into a file of query.metrics_dir"
                );
            }
            error::unknown_name(kind.word(), name, &known)
        })
    }

    fn condition(&self, kind: Kind, name: &str) -> Result<&Expr, String> {
        match self.meaning(kind, name)? {
            Meaning::Condition(condition) => Ok(condition.as_ref()),
            Meaning::Arguments(_) => Err(format!("{} {name} is no condition", kind.word())),
        }
    }

    fn arguments(&self, kind: Kind, name: &str) -> Result<&[(String, Expr)], String> {
        match self.meaning(kind, name)? {
            Meaning::Arguments(arguments) => Ok(arguments),
            Meaning::Condition(_) => Err(format!("{} {name} has no arguments", kind.word())),
        }
    }
}

#[cfg(test)]
mod tests;
