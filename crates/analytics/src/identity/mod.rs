//! Identity: whose an event is that does not say so, and which user ids are one person.
//!
//! In:       links as they were said (`Said`), in any order, any of them as often as one likes.
//! Out:      `IdentityMap`: the person of an event, and for each id why it is whose.
//! Promise:  the map is a function of the set of links alone. An unlink gives back what was before the link. No id joins
//!           more than `IdentityRule` allows: what would is joined to nobody, and the reason told.
//! Not here: where links come from (`pipeline`), the lake and SQL (`query`), which ids are junk (`schemas::ids`).
//!
//! Definition: `docs/methods.md#identity`. The slow, obvious version is `testkit::oracle::identity`.

mod said;

mod device;

mod groups;

mod map;

pub use map::{Entry, IdentityMap};
pub use said::{IdentityRule, Said};
