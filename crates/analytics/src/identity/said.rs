//! One link as it was said, and the bounds on what links may join.
//!
//! In:      a row of `identities`; settings.
//! Out:     `Said`, `IdentityRule`.
//! Promise: two links are ordered by when they were said and then by the event that said so, never by arrival.

use tributary_schemas::{LinkAction, LinkKind};

/// A row of `identities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'t> {
    pub source: &'t str,
    /// The device's id; of an alias the previous id, which may be a device's or a user's.
    pub id: &'t str,
    pub user_id: &'t str,
    pub action: LinkAction,
    /// Of an unlink it does not matter.
    pub kind: LinkKind,
    pub event_time_us: i64,
    pub event_id: &'t str,
}

/// How much one id may join before it is taken for many people's. The reasons for the defaults are in
/// `settings/default.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityRule {
    /// A device that more persons used is shared: what nobody signed on it stays anonymous.
    pub users_per_device_max: usize,
    /// A user id said on more devices is many people's: its devices stay anonymous.
    pub devices_per_user_max: usize,
    /// More user ids chained by aliases are not one person's: each stays by itself.
    pub aliases_max: usize,
}

impl Default for IdentityRule {
    fn default() -> Self {
        Self { users_per_device_max: 5, devices_per_user_max: 500, aliases_max: 10 }
    }
}
