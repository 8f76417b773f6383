//! The map of persons against going through all links, on random small cases; and the table of `docs/methods.md`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tributary_analytics::identity::{IdentityMap, IdentityRule, Said};
use tributary_schemas::LinkKind::{self, Alias, Identify, Login, Unlink};
use tributary_schemas::{LinkAction, LinkReason};
use tributary_testkit::oracle::identity as oracle;

const IDS: [&str; 6] = ["p", "q", "r", "s", "t", "u"];
const SOURCES: [&str; 2] = ["web", "app"];

/// Few ids, few instants, few events: chains, circles, ties and hubs are common.
fn said() -> impl Strategy<Value = oracle::Said> {
    (0..2_usize, 0..6_usize, 0..6_usize, 0..5_u32, 0..3_u32, 0..8_i64, 0..4_u32).prop_map(
        |(source, id, user, unlink, alias, time_us, event)| oracle::Said {
            source: SOURCES[source].to_owned(),
            id: IDS[id].to_owned(),
            user: IDS[user].to_owned(),
            unlink: unlink == 0,
            alias: alias == 0,
            time_us,
            event_id: format!("e{event}"),
        },
    )
}

/// A link from an id to itself says nothing, and one event says one thing.
fn all_said() -> impl Strategy<Value = Vec<oracle::Said>> {
    prop::collection::vec(said(), 0..24).prop_map(|mut all| {
        all.retain(|said| said.id != said.user);
        let mut seen = BTreeSet::new();
        all.retain(|said| seen.insert((said.time_us, said.event_id.clone())));
        all
    })
}

fn bounds() -> impl Strategy<Value = oracle::Bounds> {
    (1..4_usize, 1..6_usize, 1..5_usize).prop_map(|(users_per_device_max, devices_per_user_max, aliases_max)| {
        oracle::Bounds { users_per_device_max, devices_per_user_max, aliases_max }
    })
}

fn map(bounds: oracle::Bounds) -> IdentityMap {
    let oracle::Bounds { users_per_device_max, devices_per_user_max, aliases_max } = bounds;
    IdentityMap::new(IdentityRule { users_per_device_max, devices_per_user_max, aliases_max })
}

fn row(said: &oracle::Said) -> Said<'_> {
    Said {
        source: &said.source,
        id: &said.id,
        user_id: &said.user,
        action: if said.unlink { LinkAction::Unlink } else { LinkAction::Link },
        kind: if said.alias { Alias } else { Identify },
        event_time_us: said.time_us,
        event_id: &said.event_id,
    }
}

fn everything_asked() -> Vec<oracle::Asked<'static>> {
    let mut asked = Vec::new();
    for source in SOURCES {
        for id in IDS {
            asked.push(oracle::Asked { source, user_id: Some(id), anonymous_id: None, time_us: 0 });
            for time_us in -1..9 {
                asked.push(oracle::Asked { source, user_id: None, anonymous_id: Some(id), time_us });
            }
        }
    }
    asked
}

fn answers(map: &IdentityMap) -> Vec<Option<String>> {
    let mut key = String::new();
    let mut answer = |asked: oracle::Asked<'static>| {
        let person = map.person_of(asked.source, asked.user_id, asked.anonymous_id, asked.time_us, &mut key);
        person.map(str::to_owned)
    };
    everything_asked().into_iter().map(&mut answer).collect()
}

fn entries(map: &IdentityMap) -> Vec<String> {
    let mut entries: Vec<String> = map.entries().map(|entry| format!("{entry:?}")).collect();
    entries.sort();
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_order_and_any_split_give_what_going_through_all_links_gives(
        (all, shuffled) in all_said().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        bounds in bounds(), splits in prop::collection::vec(any::<bool>(), 24),
    ) {
        let mut at_once = map(bounds);
        all.iter().for_each(|said| at_once.add(&row(said)));
        at_once.settle();
        let expected: Vec<Option<String>> =
            everything_asked().into_iter().map(|asked| oracle::person_of(&all, bounds, asked)).collect();
        prop_assert_eq!(answers(&at_once), &expected[..]);

        let mut bit_by_bit = map(bounds);
        for (said, settles) in shuffled.iter().zip(splits) {
            bit_by_bit.add(&row(said));
            // Heard twice is heard once.
            bit_by_bit.add(&row(said));
            if settles {
                bit_by_bit.settle();
            }
        }
        bit_by_bit.settle();
        prop_assert_eq!(answers(&bit_by_bit), &expected[..]);
        prop_assert_eq!(entries(&bit_by_bit), entries(&at_once));
    }

    /// Taken back at once, a link leaves nothing behind.
    #[test]
    fn an_unlink_gives_back_what_was_before_the_link(all in all_said(), extra in said(), bounds in bounds()) {
        prop_assume!(extra.id != extra.user);
        // Nothing earlier may be said of the pair, or the unlink takes that back too.
        let same = |said: &oracle::Said| (&said.source, &said.id, &said.user) == (&extra.source, &extra.id, &extra.user);
        let mut map = map(bounds);
        all.iter().filter(|said| !same(said)).for_each(|said| map.add(&row(said)));
        map.settle();
        let (before, entries_before) = (answers(&map), entries(&map));
        map.add(&Said { action: LinkAction::Link, ..row(&extra) });
        map.settle();
        map.add(&Said { action: LinkAction::Unlink, event_time_us: 100, ..row(&extra) });
        map.settle();
        prop_assert_eq!(answers(&map), before);
        prop_assert_eq!(entries(&map), entries_before);
    }

    /// Each moment of a device has one owner at most, and the entries say the same as the answers.
    #[test]
    fn the_entries_say_what_the_answers_say(all in all_said(), bounds in bounds()) {
        let mut map = map(bounds);
        all.iter().for_each(|said| map.add(&row(said)));
        map.settle();
        let entries: Vec<_> = map.entries().collect();
        let mut key = String::new();
        for asked in everything_asked() {
            let Some(id) = asked.anonymous_id else { continue };
            let within = |from: Option<i64>, until: Option<i64>| {
                from.is_none_or(|from| from <= asked.time_us) && until.is_none_or(|until| asked.time_us < until)
            };
            let of: Vec<_> = entries
                .iter()
                .filter(|entry| entry.source == Some(asked.source) && entry.id == id && entry.reason.is_none())
                .filter(|entry| within(entry.from_us, entry.until_us))
                .collect();
            prop_assert!(of.len() < 2, "{:?}", of);
            let person = map.person_of(asked.source, None, Some(id), asked.time_us, &mut key);
            prop_assert_eq!(of.first().and_then(|entry| entry.person_id), person);
        }
    }
}

/// A story: what was said, in minutes; who is asked for.
struct Story {
    map: IdentityMap,
    number: u32,
}

impl Story {
    fn new() -> Self {
        Self { map: IdentityMap::new(IdentityRule::default()), number: 0 }
    }

    fn say(&mut self, kind: LinkKind, id: &str, user_id: &str, minute: i64) {
        self.number += 1;
        let action = if kind == Unlink { LinkAction::Unlink } else { LinkAction::Link };
        let event_id = format!("e{}", self.number);
        self.map.add(&Said { source: "web", id, user_id, action, kind, event_time_us: minute, event_id: &event_id });
        self.map.settle();
    }

    fn device(&self, id: &str, minute: i64) -> String {
        let person = self.map.person_of("web", None, Some(id), minute, &mut String::new());
        person.map_or_else(|| format!("web:{id}"), str::to_owned)
    }

    fn user(&self, id: &str) -> String {
        self.map.person_of("web", Some(id), None, 0, &mut String::new()).unwrap().to_owned()
    }

    fn reasons(&self) -> Vec<LinkReason> {
        let reasons: BTreeSet<LinkReason> = self.map.entries().filter_map(|entry| entry.reason).collect();
        reasons.into_iter().collect()
    }
}

// The cases of the table in `docs/methods.md`, by their letters.

#[test]
fn a_a_login_re_attributes_what_its_device_did_before() {
    let mut story = Story::new();
    story.say(Identify, "d", "ann", 10);
    assert_eq!([story.device("d", 5), story.device("d", 15)], ["ann", "ann"]);
}

#[test]
fn b_two_devices_of_one_user_are_one_person() {
    let mut story = Story::new();
    story.say(Identify, "d1", "ann", 10);
    story.say(Login, "d2", "ann", 20);
    assert_eq!([story.device("d1", 5), story.device("d2", 5)], ["ann", "ann"]);
}

#[test]
fn c_between_two_users_a_device_is_whose_login_was_last_before() {
    let mut story = Story::new();
    story.say(Identify, "d", "ann", 10);
    story.say(Identify, "d", "bob", 20);
    story.say(Identify, "d", "ann", 30);
    let at = [5, 10, 19, 20, 29, 30, 99].map(|minute| story.device("d", minute));
    assert_eq!(at, ["ann", "ann", "ann", "bob", "bob", "ann", "ann"]);
    assert_eq!([story.user("ann"), story.user("bob")], ["ann", "bob"], "the two stay two");
}

#[test]
fn d_a_device_of_more_than_five_users_is_nobodys() {
    let mut story = Story::new();
    for user in 1..=5 {
        story.say(Login, "till", &format!("u{user}"), user);
    }
    assert_eq!(story.device("till", 3), "u3");
    story.say(Login, "till", "u6", 6);
    assert_eq!([story.device("till", 3), story.device("till", 9)], ["web:till", "web:till"]);
    assert_eq!(story.reasons(), [LinkReason::SharedDevice]);
    assert_eq!(story.user("u3"), "u3", "an event that names its user is that user's");
    story.say(Unlink, "till", "u6", 7);
    assert_eq!(story.device("till", 3), "u3");
}

#[test]
fn e_a_user_of_more_than_five_hundred_devices_is_a_hub() {
    let mut story = Story::new();
    story.say(Identify, "d0", "ann", 1);
    for device in 0..500 {
        story.say(Identify, &format!("d{device}"), "counter-3", 2);
    }
    assert_eq!([story.device("d0", 3), story.device("d7", 3)], ["counter-3", "counter-3"]);
    story.say(Identify, "d500", "counter-3", 2);
    assert_eq!([story.device("d0", 3), story.device("d7", 3)], ["ann", "web:d7"]);
    assert_eq!(story.reasons(), [LinkReason::HubUser]);
}

#[test]
fn f_junk_and_placeholders_join_nothing() {
    let mut story = Story::new();
    for junk in ["null", "undefined", "guest", "0", "00000000-0000-0000-0000-000000000000", "test", "noreply@shop.eu"] {
        story.say(Identify, "d", junk, 10);
        story.say(Identify, junk, "ann", 10);
        assert_eq!(story.device(junk, 20), format!("web:{junk}"));
    }
    assert_eq!(story.device("d", 20), "web:d");
    assert!(story.map.is_empty());
}

#[test]
fn g_an_alias_of_a_user_id_is_one_person_by_the_new_id() {
    let mut story = Story::new();
    story.say(Identify, "d", "ann@old", 10);
    story.say(Alias, "ann@old", "ann@new", 20);
    assert_eq!([story.user("ann@old"), story.user("ann@new"), story.device("d", 5)], ["ann@new"; 3]);
    story.say(Unlink, "ann@old", "ann@new", 30);
    assert_eq!([story.user("ann@old"), story.device("d", 5)], ["ann@old"; 2]);
}

#[test]
fn h_an_alias_of_a_devices_id_is_a_login_of_it() {
    let mut story = Story::new();
    story.say(Alias, "d", "ann", 20);
    assert_eq!([story.device("d", 5), story.device("d", 25)], ["ann", "ann"]);
    // Nobody was ever identified as it, but its events may name it as a user all the same.
    assert_eq!(story.user("d"), "ann");
    let elsewhere = story.map.person_of("app", Some("d"), None, 0, &mut String::new());
    assert_eq!(elsewhere, Some("d"), "another source's user d is another");
}

#[test]
fn i_chains_lead_to_their_end_and_circles_to_whom_was_named_first() {
    let mut story = Story::new();
    for (device, user) in [("d1", "a"), ("d2", "b"), ("d3", "c")] {
        story.say(Identify, device, user, 1);
    }
    story.say(Alias, "a", "b", 10);
    story.say(Alias, "b", "c", 20);
    assert_eq!(["a", "b", "c"].map(|user| story.user(user)), ["c", "c", "c"]);
    story.say(Alias, "c", "a", 30);
    assert_eq!(["a", "b", "c"].map(|user| story.user(user)), ["b", "b", "b"]);
}

#[test]
fn j_a_chain_of_more_than_ten_users_falls_apart() {
    let mut story = Story::new();
    for user in 0..10 {
        story.say(Alias, &format!("u{user}"), &format!("u{}", user + 1), user);
    }
    // u0 was never named as a user, so ten are chained.
    assert_eq!(story.user("u3"), "u10");
    story.say(Identify, "d", "u0", 1);
    assert_eq!([story.user("u0"), story.user("u3"), story.user("u10")], ["u0", "u3", "u10"]);
    assert_eq!(story.reasons(), [LinkReason::TooManyAliases]);
}

#[test]
fn k_identify_does_not_join_two_user_ids() {
    let mut story = Story::new();
    story.say(Identify, "d", "ann", 10);
    // A site that writes its user ids where the device's belong.
    story.say(Identify, "ann", "bob", 20);
    assert_eq!([story.user("ann"), story.user("bob"), story.device("d", 5)], ["ann", "bob", "ann"]);
}

#[test]
fn l_an_unlink_is_as_if_the_link_had_never_been_said() {
    let mut story = Story::new();
    story.say(Identify, "d", "ann", 10);
    story.say(Identify, "d", "bob", 20);
    story.say(Unlink, "d", "bob", 30);
    assert_eq!([story.device("d", 25), story.device("d", 35)], ["ann", "ann"]);
    // Late, but said to have happened before the unlink: taken back too.
    story.say(Login, "d", "bob", 15);
    assert_eq!(story.device("d", 17), "ann");
    story.say(Login, "d", "bob", 40);
    assert_eq!([story.device("d", 35), story.device("d", 45)], ["ann", "bob"]);
}
