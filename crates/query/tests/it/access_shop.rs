//! A shop whose visitors allow different things, so that it is known who may see which row.
//!
//! Every id and everything a visitor typed has `secret` in it; what not all of `analytics` and `ads` allow is told by the word
//! `hidden`. So an answer that holds either word holds what it must not.

use tributary_schemas::{Consent, EngagementClass, Event, EventFlags, EventKind, Exposure, Money, Table};

use crate::world::{DAY_US, HOUR_US, World};

/// 2026-10-05T00:00:00Z
const OCTOBER_US: i64 = 20_731 * DAY_US;
pub(crate) const VISITORS: i64 = 48;

pub(crate) struct Shop {
    pub(crate) events: Vec<Event>,
    /// The event that said so, the user.
    links: Vec<(usize, String)>,
    sessions: Vec<Session>,
    letters: Vec<Letter>,
}

struct Session {
    id: String,
    visitor: i64,
    /// Each version: its events, and what it became.
    versions: Vec<(std::ops::Range<usize>, Option<String>)>,
}

struct Letter {
    consent: Option<i64>,
    flags: Option<i64>,
}

/// Written anew, the slow way: each purpose by itself.
pub(crate) fn allows(consent: Option<i64>, flags: i64, purposes: &[&str], unasked: bool) -> bool {
    purposes.iter().all(|purpose| {
        let (_, bit) = Consent::NAMES.iter().find(|(name, _)| name == purpose).unwrap();
        let objected = flags & EventFlags::PRIVACY_CONTROL.0 == EventFlags::PRIVACY_CONTROL.0;
        let is_objected = objected && ["ads", "sale"].contains(purpose);
        !is_objected && consent.map_or(unasked, |consent| consent & bit.0 == bit.0)
    })
}

pub(crate) fn event_allows(event: &Event, purposes: &[&str], unasked: bool) -> bool {
    allows(event.consent.map(|consent| consent.0), event.flags.0, purposes, unasked)
}

/// What visitor `of` had allowed at their `index`th event.
fn consent(of: i64, index: i64) -> Option<Consent> {
    let all = Some(Consent::ANALYTICS.with(Consent::ADS));
    match of % 5 {
        0 => all,
        1 => Some(Consent::ANALYTICS),
        2 => None,
        3 if index < 5 => Some(Consent(0)),
        4 if index == 7 => Some(Consent::ADS),
        _ => all,
    }
}

impl Shop {
    /// Ten events a visitor, in two visits.
    pub(crate) fn new() -> Self {
        let (mut events, mut links, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        for visitor in 0..VISITORS {
            let first = events.len();
            for index in 0..10 {
                let event = event(visitor, index);
                if let Some(user) = &event.user_id {
                    links.push((events.len(), user.clone()));
                }
                events.push(event);
            }
            let id = |name: &str| format!("secret-s{visitor}-{name}");
            let session = |id: String, versions| Session { id, visitor, versions };
            sessions.push(session(id("one"), vec![(first..first + 2, None), (first..first + 5, None)]));
            let whole = first + 5..first + 10;
            if visitor % 6 == 1 || visitor % 6 == 4 {
                // Two visits that became one.
                sessions.push(session(id("two"), vec![(first + 5..first + 7, None), (whole, None)]));
                let late = first + 7..first + 10;
                sessions.push(session(id("late"), vec![(late.clone(), None), (late, Some(id("two")))]));
            } else {
                sessions.push(session(id("two"), vec![(whole, None)]));
            }
        }
        let letters =
            [(Some(5), None), (Some(5), Some(64)), (Some(1), Some(0)), (Some(0), None), (None, None), (None, Some(0))];
        let letters = letters.into_iter().map(|(consent, flags)| Letter { consent, flags }).collect();
        Self { events, links, sessions, letters }
    }

    /// A lake with the rows that are seen for these purposes, and no others; with none, all.
    pub(crate) async fn lake(&self, purposes: &[&str], unasked: bool) -> World {
        let world = World::empty().await;
        let keeps = |index: &usize| event_allows(&self.events[*index], purposes, unasked);
        let kept: Vec<usize> = (0..self.events.len()).filter(keeps).collect();
        // Several files, so that some lie wholly in what is not seen.
        for part in kept.chunks(70) {
            let offsets: Vec<i64> = part.iter().map(|index| i64::try_from(*index).unwrap()).collect();
            let events: Vec<Event> = part.iter().map(|index| self.events[*index].clone()).collect();
            world.plant_at(0, &offsets, &events).await;
        }
        let links = self.links.iter().filter(|(index, _)| keeps(index)).map(|(index, user)| {
            let event = &self.events[*index];
            format!(
                r#"{{"source":"web","anonymous_id":"{}","user_id":"{user}","action":"link","kind":"identify","event_id":"{}","event_time_us":{},"log_partition":0,"log_offset":{index}}}"#,
                event.anonymous_id.as_deref().unwrap(), event.event_id, event.event_time_us
            )
        });
        let links: Vec<String> = links.collect();
        world.plant_json(Table::Identities, &links.join("\n")).await;
        // A session is whole or not there, with all of its versions.
        let whole =
            |session: &&Session| session.versions.iter().all(|(events, _)| events.clone().all(|index| keeps(&index)));
        let sessions: Vec<String> = self.sessions.iter().filter(whole).flat_map(|session| self.rows(session)).collect();
        world.plant_json(Table::Sessions, &sessions.join("\n")).await;
        let letters = self.letters.iter().enumerate().filter(|(_, letter)| {
            purposes.is_empty() || allows(letter.consent, letter.flags.unwrap_or(0), purposes, false)
        });
        let letters: Vec<String> = letters.map(|(index, letter)| {
            let number = |value: Option<i64>| value.map_or("null".to_owned(), |value| value.to_string());
            let hidden = if letter.consent == Some(5) && letter.flags.is_none() { "1" } else { "hidden" };
            format!(
                r#"{{"source":"web","dialect":"native","event_id":"secret-l{index}","ingest_time_us":{OCTOBER_US},"reason":"invalid_field","detail":"secret: value","payload":"secret","payload_bytes":6,"request":"POST /secret","consent":{},"flags":{},"utm_term":"{hidden}","log_topic":"dead","log_partition":0,"log_offset":{index},"ingest_date":"2026-10-05"}}"#,
                number(letter.consent), number(letter.flags)
            )
        }).collect();
        world.plant_json(Table::DeadLetters, &letters.join("\n")).await;
        world
    }

    fn rows(&self, session: &Session) -> Vec<String> {
        let Session { id, visitor, versions } = session;
        let row = |(number, (events, became)): (usize, &(std::ops::Range<usize>, Option<String>))| {
            let (start, end) = (self.events[events.start].event_time_us, self.events[events.end - 1].event_time_us);
            let became = became.as_ref().map_or("null".to_owned(), |id| format!("{id:?}"));
            let day = jiff_day(start);
            format!(
                r#"{{"session_id":"{id}","version":{},"superseded_by":{became},"source":"web","session_key":"secret-d{visitor}","anonymous_id":"secret-d{visitor}","start_time_us":{start},"end_time_us":{end},"duration_us":{},"engaged_us":0,"event_count":{},"page_count":1,"conversion_count":0,"is_bounce":false,"first_click_id":"gclid:secret","engagement_class":"human","rule":"ga4","log_partition":0,"first_offset":{},"last_offset":{},"is_final":false,"late_event_count":0,"start_date":"{day}"}}"#,
                events.end + number,
                end - start,
                events.len(),
                events.start,
                events.end - 1
            )
        };
        versions.iter().enumerate().map(row).collect()
    }
}

fn jiff_day(time_us: i64) -> String {
    format!("2026-10-{:02}", 5 + (time_us - OCTOBER_US).div_euclid(DAY_US))
}

fn event(visitor: i64, index: i64) -> Event {
    use EventKind::{Click, Conversion, Custom, Page, Send};
    let kinds = [Click, Page, Page, Custom, Conversion, Page, Send, Click, Page, Conversion];
    let kind = kinds[index as usize];
    let day = visitor % 9 + if index < 5 { 0 } else { 2 + visitor % 4 };
    let time_us = OCTOBER_US + day * DAY_US + (8 + visitor % 3) * HOUR_US + index * 60_000_000 + visitor;
    let name = match (kind, visitor % 2) {
        (Conversion, 0) => "Order Completed",
        (Custom, _) => "Signed Up",
        _ => kind.as_str(),
    };
    let mut event = Event::new("web", "test", &format!("secret-e{visitor}-{index}"), name, time_us);
    event.event_kind = kind;
    event.engagement_class = EngagementClass::Human;
    event.anonymous_id = Some(format!("secret-d{visitor}"));
    // Two devices may be one person's.
    event.user_id = (index == 3 && visitor % 3 != 2).then(|| format!("secret-u{}", visitor % 32));
    event.consent = consent(visitor, index);
    if visitor % 7 == 0 {
        event.flags = EventFlags::PRIVACY_CONTROL;
    }
    let seen = event_allows(&event, &["analytics", "ads"], false);
    event.utm_term = Some(if seen { "1" } else { "hidden" }.to_owned());
    event.campaign_id = Some(if seen { "spring" } else { "hidden" }.to_owned());
    event.url_path = matches!(kind, Page).then(|| if seen { "/shop" } else { "/hidden" }.to_owned());
    if matches!(kind, Click) {
        event.channel = Some(["email", "paid_search", "paid_social"][(visitor % 3) as usize].to_owned());
        event.gclid = Some(format!("secret-g{visitor}"));
    }
    if kind == Conversion {
        event.value = Some(Money::parse(&format!("{}.50", 10 + visitor)).unwrap());
        event.currency = Some("EUR".to_owned());
    }
    if kind == Send {
        let variant = if visitor % 2 == 0 { "a" } else { "b" }.to_owned();
        let experiment = "autumn-sale-subject".to_owned();
        event.exposures = vec![Exposure { experiment, variant, decision_id: None, probability: Some(0.5) }];
    }
    event.properties = Some(format!(r#"{{"mail":"secret-{visitor}@example.org"}}"#));
    event.url_query = Some("secret=1".to_owned());
    event.referrer_term = Some("secret words".to_owned());
    event.user_agent = Some("secret agent".to_owned());
    event.ip_truncated = Some("secret".to_owned());
    event.message_id = Some(format!("secret-m{visitor}"));
    event.client_event_id = Some("secret".to_owned());
    event.account_id = Some(format!("secret-a{}", visitor % 4));
    event.device_id = Some(format!("secret-h{visitor}"));
    event.warnings = vec!["schema: secret is no number".to_owned()];
    event
}
