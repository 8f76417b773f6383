//! The links that events state: rows of `identities`.
//!
//! In:       rows of `events`.
//! Out:      a row for each event that joins two ids, or takes that back.
//! Promise:  each event gives one row at most, in log order, whatever stands before or after it. Nothing said is left out:
//!           a link of a placeholder has a row too, with the reason why it will join nobody.
//! Not here: who is whom: `analytics::identity` says that when a question is asked.
//!
//! | event | row |
//! |---|---|
//! | `identify` with an anonymous id and a user id | link, kind `identify` |
//! | a login or sign-up by name (`LOGINS`) with both | link, kind `login` |
//! | `alias` with a previous (else anonymous) id and a user id | link, kind `alias` |
//! | any of these, or any event, by the name `identity_unlink` | unlink |
//!
//! Other events that bear both ids say who is acting, not that the device is theirs: an SDK puts the user on each event
//! after a login, and one row a click would say nothing new.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, LazyLock};
use tributary_schemas::{EventKind, LinkAction, LinkKind, LinkReason, Table, joins_nobody};

use crate::columns::{array, text, text_at};

/// Names of events that come with a login, lower case, words parted by one blank. Source: Segment's B2B and mobile specs,
/// GA4's recommended events `login` and `sign_up`, Amplitude's and Mixpanel's examples.
const LOGINS: &[&str] = &[
    "login",
    "log in",
    "logged in",
    "user logged in",
    "login completed",
    "signin",
    "sign in",
    "signed in",
    "user signed in",
    "signup",
    "sign up",
    "signed up",
    "user signed up",
    "registered",
    "user registered",
    "registration completed",
    "complete registration",
    "account created",
];
/// The longest of them; a longer name need not be looked at.
const LOGIN_BYTES_MAX: usize = 22;

/// What takes a link back is called, whoever says it.
const UNLINK: &str = "identity unlink";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Table::Identities.arrow_schema());

struct Link<'b> {
    row: usize,
    id: &'b str,
    user_id: &'b str,
    kind: LinkKind,
}

/// The links that rows of `events` state; `None` if they state none.
pub(crate) fn identities_of(batch: &RecordBatch) -> Option<RecordBatch> {
    let (kinds, names) = (text(batch, "event_kind"), text(batch, "event_name"));
    let (anonymous, previous, users) =
        (text(batch, "anonymous_id"), text(batch, "previous_id"), text(batch, "user_id"));
    let link = |row: usize| {
        let user_id = text_at(users, row)?;
        let (anonymous, previous) = (text_at(anonymous, row), text_at(previous, row));
        let id = previous.or(anonymous)?;
        let said = link_kind(kinds.value(row), names.value(row))?;
        let id = if matches!(said, LinkKind::Identify | LinkKind::Login) { anonymous? } else { id };
        (id != user_id).then_some(Link { row, id, user_id, kind: said })
    };
    let links: Vec<Link<'_>> = (0..batch.num_rows()).filter_map(link).collect();
    if links.is_empty() {
        return None;
    }
    let indices = Int64Array::from_iter_values(links.iter().map(|link| link.row.cast_signed() as i64));
    let taken = |name: &str| arrow::compute::take(array(batch, name), &indices, None).expect("rows of this very batch");
    let texts = |of: &dyn Fn(&Link<'_>) -> Option<&'static str>| -> ArrayRef {
        Arc::new(links.iter().map(of).collect::<StringArray>())
    };
    let action = |link: &Link<'_>| if link.kind == LinkKind::Unlink { LinkAction::Unlink } else { LinkAction::Link };
    let reason = |link: &Link<'_>| (joins_nobody(link.id) || joins_nobody(link.user_id)).then_some(LinkReason::JunkId);
    let columns: Vec<ArrayRef> = vec![
        taken("source"),
        Arc::new(links.iter().map(|link| Some(link.id)).collect::<StringArray>()),
        Arc::new(links.iter().map(|link| Some(link.user_id)).collect::<StringArray>()),
        texts(&|link| Some(action(link).as_str())),
        taken("event_id"),
        taken("event_time_us"),
        taken("log_partition"),
        taken("log_offset"),
        texts(&|link| Some(link.kind.as_str())),
        texts(&|link| reason(link).map(LinkReason::as_str)),
        taken("ingest_time_us"),
    ];
    Some(RecordBatch::try_new(SCHEMA.clone(), columns).expect("the columns of `identities`"))
}

fn link_kind(event_kind: &str, event_name: &str) -> Option<LinkKind> {
    let mut room = [0; LOGIN_BYTES_MAX];
    let name = plain(event_name, &mut room);
    if name == Some(UNLINK.as_bytes()) {
        return Some(LinkKind::Unlink);
    }
    match EventKind::parse(event_kind) {
        Some(EventKind::Identify) => Some(LinkKind::Identify),
        Some(EventKind::Alias) => Some(LinkKind::Alias),
        _ => name.filter(|name| LOGINS.iter().any(|login| login.as_bytes() == *name)).map(|_| LinkKind::Login),
    }
}

/// Lower case, words parted by one blank: `Signed_Up` and ` signed-up` are one name. `None` for a name that is none of
/// ours: longer than `room`, or not ASCII. It is asked of nearly every event, so it allocates nothing.
fn plain<'r>(name: &str, room: &'r mut [u8; LOGIN_BYTES_MAX]) -> Option<&'r [u8]> {
    let mut length = 0;
    let mut is_parted = false;
    for byte in name.bytes() {
        if byte.is_ascii_whitespace() || matches!(byte, b'_' | b'-') {
            is_parted = 0 < length;
            continue;
        }
        if is_parted {
            *room.get_mut(length)? = b' ';
            length += 1;
            is_parted = false;
        }
        *room.get_mut(length).filter(|_| byte.is_ascii())? = byte.to_ascii_lowercase();
        length += 1;
    }
    Some(&room[..length])
}

#[cfg(test)]
mod tests {
    use tributary_analytics::session::{SessionRule, Sessionizer};
    use tributary_eventlog::{Delivered, Record};
    use tributary_schemas::Event;
    use tributary_schemas::wire::encode_event;

    use super::*;
    use crate::dedup::RecentIds;
    use crate::fold::EventsPartition;

    /// `anonymous or previous id, user id, action, kind, reason` of the row an event gives.
    fn row_of(change: impl FnOnce(&mut Event)) -> Option<[String; 5]> {
        let mut event = Event::new("web", "test", "e1", "page", 7);
        change(&mut event);
        let mut partition =
            EventsPartition::new(0, "events", 5, RecentIds::new(0), Sessionizer::new(SessionRule::ga4()));
        let record = Record { key: None, value: encode_event(&event).into(), time_ms: 0 };
        partition.fold(&[Delivered { partition: 0, offset: 5, record }]);
        let rows = partition.identities.take().pop()?;
        let columns = ["anonymous_id", "user_id", "action", "kind", "reason"];
        Some(columns.map(|name| text_at(text(&rows, name), 0).unwrap_or("-").to_owned()))
    }

    fn ids(event: &mut Event, anonymous_id: &str, user_id: &str) {
        (event.anonymous_id, event.user_id) = (Some(anonymous_id.to_owned()), Some(user_id.to_owned()));
    }

    #[test]
    fn an_event_states_a_link_by_its_kind_or_by_the_name_of_a_login() {
        let identify = row_of(|event| {
            ids(event, "d", "ann");
            event.event_kind = EventKind::Identify;
        });
        assert_eq!(identify.unwrap(), ["d", "ann", "link", "identify", "-"]);
        for name in ["Signed Up", "logged_in", "Sign-In", "complete_registration", "login"] {
            let login = row_of(|event| {
                ids(event, "d", "ann");
                event.event_name = name.to_owned();
            });
            assert_eq!(login.unwrap(), ["d", "ann", "link", "login", "-"], "{name}");
        }
        let alias = row_of(|event| {
            ids(event, "d", "ann");
            event.previous_id = Some("old".to_owned());
            event.event_kind = EventKind::Alias;
        });
        assert_eq!(alias.unwrap(), ["old", "ann", "link", "alias", "-"]);
        assert_eq!(row_of(|event| ids(event, "d", "ann")), None, "a page says who looks at it, no more");
        assert_eq!(
            row_of(|event| {
                ids(event, "ann", "ann");
                event.event_kind = EventKind::Identify;
            }),
            None
        );
    }

    #[test]
    fn an_unlink_is_known_by_its_name_whatever_its_kind() {
        for kind in [EventKind::Identify, EventKind::Alias, EventKind::Custom] {
            let unlink = row_of(|event| {
                ids(event, "d", "ann");
                event.event_kind = kind;
                event.event_name = "identity_unlink".to_owned();
            });
            assert_eq!(unlink.unwrap(), ["d", "ann", "unlink", "unlink", "-"]);
        }
    }

    #[test]
    fn a_link_of_a_placeholder_is_kept_with_the_reason_why_it_joins_nobody() {
        for (anonymous_id, user_id) in [("d", "test"), ("noreply@shop.eu", "ann"), ("null", "ann")] {
            let link = row_of(|event| {
                ids(event, anonymous_id, user_id);
                event.event_kind = EventKind::Identify;
            });
            assert_eq!(link.unwrap(), [anonymous_id, user_id, "link", "identify", "junk_id"]);
        }
    }

    #[test]
    fn no_name_of_a_login_is_longer_than_is_looked_at() {
        let longest = LOGINS.iter().chain([&UNLINK]).map(|name| name.len()).max();
        assert!(longest <= Some(LOGIN_BYTES_MAX), "{longest:?}");
        for name in LOGINS {
            assert_eq!(plain(name, &mut [0; LOGIN_BYTES_MAX]), Some(name.as_bytes()));
        }
        assert_eq!(plain("Anmeldung abgeschlossen und bestätigt", &mut [0; LOGIN_BYTES_MAX]), None);
    }
}
