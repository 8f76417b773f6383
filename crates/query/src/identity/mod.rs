//! Persons in SQL: the map of `analytics::identity`, made from the table `identities`.
//!
//! In:       a snapshot of `identities`.
//! Out:      the function `person_of` for the views, the table `identity_map`.
//! Promise:  each question sees the map of the one version it pinned. A map is made once a version, and the next only
//!           takes in the files that are new; nothing is made for a question that asks for no person.
//! Not here: what the map says (`analytics::identity`).
//!
//! It is a function and no join: SQL cannot follow chains of aliases, and a device that changed hands has several rows,
//! one a stretch of time, so a join would multiply before it filters. The lookup is one probe of a hash table an event.

mod cache;
mod function;
mod table;

pub(crate) use cache::{AllowedLinks, Identities, Links, Persons};
pub(crate) use function::{PersonOf, asks_for_persons};
pub(crate) use table::IdentityMapTable;
