//! The door: from HTTP to the log.
//!
//! In:       requests of trackers, mail readers and importers, in the dialects of `dialect/`.
//! Out:      events and dead letters in the log; an answer.
//! Promise:  a 200 leaves only after every event and dead letter of its request is durable; one bad event
//!           does not spoil its neighbours; whatever a client sends, the door stands and says what to do.
//! Not here: sessions, campaigns, the lake. The door does not know what becomes of an event.
//!
//! A request goes `router` → `guard`, `auth` → `intake` (`body`) → a `dialect` → `schema` → `privacy` → `append` → answer.

mod settings;

mod router;
mod short;

mod auth;
mod body;
mod guard;
mod intake;

mod dialect;
mod openapi;
mod script;
mod webhook;

mod clock_rule;
mod consent;
mod engagement;
mod event_id;
mod json;
mod kind_rule;
mod landing;
mod network;
mod tcf;
mod text;

mod privacy;
mod suppressed;

pub mod schema;

mod append;
mod history;
mod hot;
mod importance;
mod ledger;
mod refusal;
mod replay;
mod tail;
mod telling;

pub mod ticket;

pub use dialect::segment::CONTEXT_KEPT;
pub use kind_rule::{kind_of_name, plain_name};
pub use ledger::{Ledger, Taken};
pub use privacy::{PrivacyRule, Treatment};
pub use router::{Parts, Secure, SetupError, not_allowed, router, routes};
pub use settings::{IngestSettings, Provider, WebhookSettings, WriteKey};
pub use short::Short;
pub use telling::describe_metrics;
pub use webhook::{HttpsWeb, Web, WebError};
