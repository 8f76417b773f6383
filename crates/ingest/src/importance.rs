//! Which events are told to come again first when room runs out.
//!
//! In:      an event; how full the spool is.
//! Out:     whether its request is turned away for now.
//! Promise: what a law or a sale hangs on is the last to go: an unsubscribe or a complaint that is lost is a mail nobody may
//!          send, a conversion that is lost is a sale nobody sees. What SDKs send by the hundred goes first.

use tributary_schemas::{Event, EventKind};

/// In rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Importance {
    /// Page views, clicks on anything, engagement.
    Low,
    Middle,
    /// Conversions, unsubscribes, complaints, bounces, consent. Never shed before the room is gone.
    Last,
}

/// From here on only what is more than low is taken.
const LOW_UNTIL: f64 = 0.8;
/// From here on only the last is.
const MIDDLE_UNTIL: f64 = 0.95;

impl Importance {
    pub(crate) fn is_shed_at(self, fill: f64) -> bool {
        match self {
            Self::Low => LOW_UNTIL <= fill,
            Self::Middle => MIDDLE_UNTIL <= fill,
            Self::Last => false,
        }
    }
}

/// A request goes by the most important of its events: none is kept back for the sake of another.
pub(crate) fn of(event: &Event) -> Importance {
    match event.event_kind {
        EventKind::Conversion | EventKind::Feedback | EventKind::Consent => Importance::Last,
        EventKind::Page | EventKind::Custom | EventKind::Impression | EventKind::Engagement => Importance::Low,
        _ => Importance::Middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sales_and_unsubscribes_are_the_last_to_go() {
        let of_kind = |kind| {
            let mut event = Event::new("s", "d", "e", "n", 0);
            event.event_kind = kind;
            of(&event)
        };
        let shed = |kind, fill| of_kind(kind).is_shed_at(fill);
        assert!(!shed(EventKind::Page, 0.79) && shed(EventKind::Page, 0.8));
        assert!(!shed(EventKind::Click, 0.94) && shed(EventKind::Click, 0.95));
        assert!(!shed(EventKind::Conversion, 1.0) && !shed(EventKind::Feedback, 1.0));
    }
}
