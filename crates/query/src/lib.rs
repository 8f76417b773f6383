//! Lake to answers: SQL over the tables of the lake, with the words marketers ask in.
//!
//! In:       a `Lake`, and one SQL statement at a time: from the shell, from HTTP, from the demo.
//! Out:      `Answer`: Arrow batches with the table versions they were computed from.
//! Promise:  read-only, and nobody sees more than their access allows (`access`). Each question sees one version of each table, pinned when it was asked. Time, rows and the
//!           number of questions at once are bounded, and so is the memory of sorts, joins, groups and credits; an
//!           expression over one batch of rows is not accounted for, so functions that make much out of a number
//!           are refused (`bounded.rs`). A question over its time is stopped, not only forgotten.
//! Not here: how rows came to be (`pipeline`), and what funnel, credit and experiment mean: that is
//!           `analytics`; here are only the words to ask for it.

pub mod settings;

pub mod error;

pub mod live;

pub mod definitions;

pub mod distributed;

mod access;
mod answer;
mod ask;
mod bounded;
mod catalog;
mod columns;
mod complexity;
mod currencies;
mod engine;
mod facts;
mod fold;
mod identity;
mod lake_table;
mod narrow;
mod question;
mod statement;
mod stop;
mod told;
mod views;
mod workers;

mod attribution;
mod duration;
mod experiment;
mod funnel;
mod metric;
mod path;
mod retention;
mod sessionize;
mod table_function;
mod window_funnel;

mod http;
mod page;
mod receipt;
pub mod render;
mod telling;

pub use access::{AccessSettings, Asker, Personal};
pub use answer::{Answer, AnswerStream};
pub use definitions::Definitions;
pub use engine::Engine;
pub use error::{Advice, QueryError};
pub use facts::{FACTS_HEADER, Facts, LeftOut, ReadFacts, TableFacts, WorkersFacts};
pub use http::{live_router, router};
pub use question::{Beside, Described, Dialect, Face, Question, Relation, Rewrite};
pub use settings::QuerySettings;
pub use table_function::{Usage, usages};
pub use telling::describe_metrics;
