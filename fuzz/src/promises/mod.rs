//! What the door promises whatever it is sent, asked of any bytes.
//!
//! In:      the name of a parser, and the bytes of an input for it.
//! Out:     whether the bytes were an input at all; a promise that does not hold panics.
//!
//! An input is a request as it is written down (`written`), and what strangers cannot make is put onto it (`signed`), or
//! none would get past that; `wire` and `unpack` have inputs of their own. Both `targets/` and
//! `crates/ingest/tests/it/corpus.rs` come through here.

mod signed;
mod written;

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::LazyLock;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::Value;
use tributary_eventlog::Record;
use tributary_ingest::ticket::{self, TicketKind};
use tributary_ingest::{IngestSettings, PrivacyRule, Treatment};
use tributary_schemas::Consent;
use tributary_schemas::ids::ID_BYTES_MAX;
use tributary_schemas::wire::{Shape, WireDecoder};

use self::written::{Written, parser_of};
use crate::house::{Answer, DEAD_LETTERS, EVENTS, House, NOW_US, SECRET, settings};

/// Every parser; `corpus/` has a folder for each.
pub(crate) const PARSERS: [&str; 13] = [
    "native",
    "segment",
    "posthog",
    "snowplow",
    "ga4",
    "matomo",
    "cloudevents",
    "webhooks",
    "pixel",
    "tcf",
    "tickets",
    "unpack",
    "wire",
];

/// Throws `input` at the parser called `name`. `false`: it is none of its inputs.
pub(crate) fn check(name: &str, input: &[u8]) -> bool {
    match name {
        "wire" => check_wire(input),
        "unpack" => check_unpack(input),
        "tcf" => check_tcf(input),
        _ => check_request(name, input),
    }
}

fn check_request(parser: &str, input: &[u8]) -> bool {
    let Some(mut written) = Written::read(input).filter(|written| parser_of(&written.address) == Some(parser)) else {
        return false;
    };
    signed::sign(&mut written, parser);
    if written.request().is_none() {
        return false;
    }
    on_runtime(async {
        let house = house();
        let first = Outcome::of(&house, &written).await;
        first.assert_promises(parser, &written);
        // Some protocols have events without an id of their own, which only the time of receipt tells apart; and tickets end.
        let depends_on_time = ["ga4", "matomo", "pixel", "tickets"].contains(&parser);
        let later_us = if depends_on_time { 0 } else { 1_000_000 };
        house.clock.advance_us(later_us);
        let second = Outcome::of(&house, &written).await;
        house.clock.advance_us(-later_us);
        assert_eq!(first.answer.status, second.answer.status, "the same request again");
        assert_eq!(first.ids(), second.ids(), "the same request again");
        if depends_on_time {
            assert_eq!(first.events, second.events, "the same request again, at the same time");
        }
    });
    true
}

/// What became of one request.
struct Outcome {
    answer: Answer,
    events: Vec<Value>,
    letter_count: usize,
}

impl Outcome {
    async fn of(house: &House, written: &Written) -> Self {
        let before = [EVENTS, DEAD_LETTERS].map(|topic| house.log.taken(topic).len());
        let answer = house.ask(written.request().expect("it was one a moment ago")).await;
        let [events, letters] = [(EVENTS, Shape::Event, before[0]), (DEAD_LETTERS, Shape::DeadLetter, before[1])]
            .map(|(topic, shape, before)| decoded(shape, house.log.taken(topic).split_off(before)));
        Self { answer, events, letter_count: letters.len() }
    }

    fn ids(&self) -> Vec<&Value> {
        self.events.iter().map(|event| &event["event_id"]).collect()
    }

    fn assert_promises(&self, parser: &str, written: &Written) {
        let status = self.answer.status;
        let is_known = status.is_success() || status.is_redirection() || status.is_client_error();
        assert!(is_known || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        assert_ne!(status, StatusCode::TOO_MANY_REQUESTS, "some SDKs throw their events away at this");
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(self.events.len(), 0, "{status}: events of a request that was refused");
            assert!(self.letter_count <= usize::from(status == StatusCode::BAD_REQUEST), "{status}");
        }
        if status == StatusCode::OK {
            self.assert_counts();
        }
        if parser == "ga4" && written.address.starts_with("/debug") {
            assert_eq!((self.events.len(), self.letter_count), (0, 0), "a debug request keeps nothing");
        }
        if parser == "tickets" {
            self.assert_of_ticket(written);
        }
        for event in &self.events {
            assert_event(event, parser);
        }
    }

    /// Where the answer counts, it counts what is in the log.
    fn assert_counts(&self) {
        let Ok(said) = serde_json::from_slice::<Value>(&self.answer.body) else { return };
        for (name, count) in [
            ("accepted", self.events.len()),
            ("tracked", self.events.len()),
            ("dead_lettered", self.letter_count),
            ("invalid", self.letter_count),
        ] {
            if let Some(said) = said.get(name) {
                assert_eq!(*said, count, "{name}");
            }
        }
        match &said["results"] {
            Value::Array(results) => assert_eq!(results.len(), self.events.len() + self.letter_count),
            // By id, of which two events may have the same.
            Value::Object(results) => assert!(results.len() <= self.events.len() + self.letter_count),
            _ => {}
        }
    }

    /// A click is counted and goes where its ticket says, and nowhere else.
    fn assert_of_ticket(&self, written: &Written) {
        let text = written.address.rsplit(['/', '=']).next().unwrap_or_default();
        let signed = ticket::verify(text, &[SECRET], NOW_US / 1_000);
        let location = self.answer.headers.get("location").map(|value| value.to_str().expect("addresses are ASCII"));
        match (location, &signed) {
            (None, Err(_)) => assert_eq!(self.events.len(), 0, "an event of a forged ticket"),
            (None, Ok(_)) => assert!(self.events.len() <= 1),
            (Some(location), Ok(signed)) => {
                assert_eq!(signed.kind, TicketKind::Click);
                assert_eq!(location, ticket::target(signed).expect("it was gone to").as_str());
                assert_eq!(self.events.len(), 1);
            }
            (Some(location), Err(error)) => panic!("{location} was gone to: {error}"),
        }
    }
}

/// As the house decodes them, but by decoders that are made once.
fn decoded(shape: Shape, records: Vec<(u32, Record)>) -> Vec<Value> {
    let values: Vec<Bytes> = records.into_iter().map(|(_, record)| record.value).collect();
    let decoded = with_decoder(shape, |decoder| decoder.decode(&values));
    assert!(decoded.refused.is_empty(), "the door wrote what cannot be read: {:?}", decoded.refused);
    let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
    writer.write(&decoded.batch).expect("memory takes all");
    writer.finish().expect("memory takes all");
    let lines = String::from_utf8(writer.into_inner()).expect("JSON is UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a writer of JSON writes JSON")).collect()
}

/// To make one is most of the work of an input.
fn with_decoder<T>(shape: Shape, work: impl FnOnce(&mut WireDecoder) -> T) -> T {
    thread_local! {
        static DECODERS: [RefCell<WireDecoder>; 2] =
            [Shape::Event, Shape::DeadLetter].map(|shape| RefCell::new(WireDecoder::new(shape)));
    }
    DECODERS.with(|decoders| work(&mut decoders[usize::from(shape != Shape::Event)].borrow_mut()))
}

fn assert_event(event: &Value, parser: &str) {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    assert!(!text("event_id").is_empty() && text("event_id").len() <= ID_BYTES_MAX, "{event}");
    assert!(!text("event_name").is_empty(), "{event}");
    if let Some(properties) = event.get("properties").and_then(Value::as_str) {
        // Not as a tree: lone surrogates in text are let through as they were written.
        let read = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&format!("[{properties}]"));
        assert!(read.is_ok_and(|read| read.len() == 1) && properties.starts_with('{'), "{event}");
    }
    // `clock_rule` says so of every clock: from 2000 to five minutes ahead of us.
    let time_us = event["event_time_us"].as_i64().expect("every event has a time");
    assert!((946_684_800_000_000..=NOW_US + 301_000_000).contains(&time_us), "{event}");
    // Whoever signs tickets may write into them what he likes.
    for (name, value) in event.as_object().expect("a row").iter().filter(|_| parser != "tickets") {
        assert!(!value.as_str().unwrap_or_default().contains('\0'), "{name} has a NUL: {event}");
    }
}

/// A line that labels the packing, then the body. As it is, and packed by us: then it must be read as if it had not been.
fn check_unpack(input: &[u8]) -> bool {
    let Some(label_bytes) = input.iter().position(|byte| *byte == b'\n') else { return false };
    let (label, body) = (&input[..label_bytes], &input[label_bytes + 1..]);
    let headers =
        vec![("authorization".to_owned(), b"Basic V0s6".to_vec()), ("content-encoding".to_owned(), label.to_vec())];
    let written = Written { method: "POST".to_owned(), address: "/v1/events".to_owned(), headers, body: body.to_vec() };
    if written.request().is_none() {
        return false;
    }
    on_runtime(async {
        let house = house();
        let plain = Outcome::of(&house, &written).await;
        plain.assert_promises("native", &written);
        let is_plain = body.starts_with(b"{") || body.starts_with(b"[");
        for packed in packed(body).into_iter().filter(|_| is_plain && std::str::from_utf8(body).is_ok()) {
            let unpacked = Outcome::of(&house, &Written { body: packed, ..written.clone() }).await;
            assert_eq!(unpacked.answer.status, plain.answer.status);
            assert_eq!(unpacked.answer.body, plain.answer.body, "packing changes nothing");
            assert_eq!(unpacked.events, plain.events, "packing changes nothing");
        }
    });
    true
}

fn packed(body: &[u8]) -> [Vec<u8>; 3] {
    let fast = flate2::Compression::fast();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), fast);
    gzip.write_all(body).expect("memory takes all");
    zlib.write_all(body).expect("memory takes all");
    let zstd = zstd::encode_all(body, 1).expect("memory takes all");
    [gzip.finish().expect("memory takes all"), zlib.finish().expect("memory takes all"), zstd]
}

/// The bits of a consent string; before them a letter that says whether it lies in one of GPP. Its text is base64, so of
/// any bits there is one. It says the same in an event and in the query of a pixel, and grants nothing it cannot speak about.
fn check_tcf(input: &[u8]) -> bool {
    let Some((letter, bits)) = input.split_first() else { return false };
    let core = URL_SAFE_NO_PAD.encode(bits);
    let text = match letter {
        b't' => core,
        b'g' => format!("DBABMA~{core}"),
        b'h' => format!("DBACNYA~{core}~1YNN"),
        _ => return false,
    };
    let event = serde_json::json!({"event_id": "tcf", "name": "E", "anonymous_id": "a", "consent": text}).to_string();
    let of = |method: &str, address: String, body: &str| Written {
        method: method.to_owned(),
        address,
        headers: vec![("authorization".to_owned(), b"Basic V0s6".to_vec())],
        body: body.as_bytes().to_vec(),
    };
    on_runtime(async {
        let house = house();
        let posted = Outcome::of(&house, &of("POST", "/v1/events".to_owned(), &event)).await;
        let pixel = format!("/p.gif?event=E&anonymousId=a&gdpr_consent={text}");
        let pixel = Outcome::of(&house, &of("GET", pixel, "")).await;
        assert_eq!((posted.events.len(), pixel.events.len()), (1, 1));
        let [posted, pixel] = [&posted, &pixel].map(|outcome| outcome.events[0].get("consent").and_then(Value::as_i64));
        // Analytics, ads and personalization.
        assert_eq!(pixel.unwrap_or(0) & !(Consent::ANALYTICS.0 | Consent::ADS.0 | Consent::PERSONALIZATION.0), 0);
        assert_eq!(posted, pixel, "{text}");
    });
    true
}

/// A letter for the shape, then a record's value: a small letter goes before one without the ten bytes that name its
/// schema, which are those of today; a capital before a whole one.
fn check_wire(input: &[u8]) -> bool {
    let Some((letter, rest)) = input.split_first() else { return false };
    let (shape, begin) = match letter {
        b'e' => (Shape::Event, BEGINS[0].as_slice()),
        b'd' => (Shape::DeadLetter, BEGINS[1].as_slice()),
        b'E' => (Shape::Event, [].as_slice()),
        b'D' => (Shape::DeadLetter, [].as_slice()),
        _ => return false,
    };
    let value = [begin, rest].concat();
    let decode = |values: &[&[u8]]| with_decoder(shape, |decoder| decoder.decode(values));
    let alone = decode(&[value.as_slice()]);
    assert_eq!(alone.batch.num_rows() + alone.refused.len(), 1);
    // Beside a value that is none, the same one is read by `arrow-avro`: the two must agree.
    let beside = decode(&[value.as_slice(), b"none"]);
    assert_eq!(beside.refused.last().map(|(index, _)| *index), Some(1));
    assert_eq!(alone.refused.len() + 1, beside.refused.len(), "one reader refuses what the other reads");
    assert_eq!(alone.batch, beside.batch, "the readers read different things");
    true
}

/// How the values of both shapes begin: as the door writes them.
static BEGINS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let house = House::new();
    on_runtime(async {
        house.post("/v1/events", r#"[{"name": "E", "user_id": "u"}, 7]"#).await;
    });
    [EVENTS, DEAD_LETTERS].map(|topic| house.log.taken(topic)[0].1.value[..10].to_vec())
});

fn on_runtime(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a thread has a runtime").block_on(work);
}

/// A house that others have asked before, but not many: to build one is more work than to ask it, and its recorder keeps
/// all it was given. Nothing in it but the tokens of Mailgun, each for one body, has to do with who asked before.
fn house() -> Rc<House> {
    const ASKED_MAX: usize = 64;
    thread_local! {
        static BUILT: RefCell<(usize, Option<Rc<House>>)> = const { RefCell::new((0, None)) };
    }
    BUILT.with_borrow_mut(|(asked, built)| {
        *asked += 1;
        let house = built.take().filter(|_| *asked % ASKED_MAX != 0).unwrap_or_else(|| Rc::new(new_house()));
        built.insert(house).clone()
    })
}

fn new_house() -> House {
    let strict = PrivacyRule {
        sources: vec!["import".to_owned()],
        emails: Treatment::Hash,
        hash: vec!["plan".to_owned()],
        drop: vec!["phone".to_owned()],
        ..PrivacyRule::default()
    };
    let house = House::with(IngestSettings { webhooks: signed::webhooks(), privacy: vec![strict], ..settings() });
    house.web.pages.lock().expect("nobody panics with it").insert("*".to_owned(), signed::ses_certificate());
    house
}
