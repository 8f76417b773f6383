#![allow(clippy::unwrap_used)]
use super::*;
use crate::money::Money;
use crate::vocabulary::{ClockQuality, Consent, DeadReason, EngagementClass, EventFlags, EventKind};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use proptest::prelude::*;

/// An event in which every column holds a value of its own: texts their column's name.
fn full_event() -> Event {
    let some = |name: &str| Some(name.to_owned());
    let mut event = Event::new("source", "dialect", "event_id", "event_name", 1_700_000_000_000_001);
    event.client_event_id = some("client_event_id");
    event.anonymous_id = some("anonymous_id");
    event.user_id = some("user_id");
    event.previous_id = some("previous_id");
    event.device_id = some("device_id");
    event.account_id = some("account_id");
    event.client_time_us = Some(-1);
    event.sent_time_us = Some(i64::MAX);
    event.ingest_time_us = i64::MIN;
    event.clock_quality = ClockQuality::Corrected;
    event.clock_skew_us = Some(-64);
    event.event_kind = EventKind::Conversion;
    event.value = Some(Money { micros: -12_500_000 });
    event.currency = some("currency");
    event.channel = some("channel");
    event.campaign_id = some("campaign_id");
    event.ad_id = some("ad_id");
    event.creative_id = some("creative_id");
    event.message_id = some("message_id");
    event.link_id = some("link_id");
    event.utm_source = some("utm_source");
    event.utm_medium = some("utm_medium");
    event.utm_campaign = some("utm_campaign");
    event.utm_term = some("utm_term");
    event.utm_content = some("utm_content");
    event.gclid = some("gclid");
    event.gbraid = some("gbraid");
    event.wbraid = some("wbraid");
    event.dclid = some("dclid");
    event.fbclid = some("fbclid");
    event.msclkid = some("msclkid");
    event.ttclid = some("ttclid");
    event.twclid = some("twclid");
    event.li_fat_id = some("li_fat_id");
    event.referrer_host = some("referrer_host");
    event.referrer_medium = some("referrer_medium");
    event.referrer_source = some("referrer_source");
    event.referrer_term = some("referrer_term");
    event.exposures = vec![
        Exposure { experiment: "e1".into(), variant: "b".into(), decision_id: None, probability: Some(0.5) },
        Exposure { experiment: "e2".into(), variant: "a".into(), decision_id: some("d"), probability: None },
    ];
    event.decision_id = some("decision_id");
    event.url_host = some("url_host");
    event.url_path = some("url_path");
    event.url_query = some("url_query");
    event.title = some("title");
    event.language = some("language");
    event.timezone = some("timezone");
    event.screen = some("screen");
    event.user_agent = some("user_agent");
    event.browser = some("browser");
    event.os = some("os");
    event.device_class = some("device_class");
    event.country = some("country");
    event.region = some("region");
    event.ip_truncated = some("ip_truncated");
    event.library = some("library");
    event.engagement_class = EngagementClass::Scanner;
    event.engagement_confidence = Some(0.25);
    event.engagement_reasons = vec!["head".into(), "büro".into()];
    event.consent = Some(Consent::ANALYTICS.with(Consent::ADS));
    event.flags = EventFlags::LATE.with(EventFlags::TRIMMED);
    event.properties = some("properties");
    event.schema_version = some("schema_version");
    event.warnings = vec!["schema: /total".into()];
    event.replayed_from = some("replayed_from");
    event
}

fn full_dead_letter() -> DeadLetter {
    DeadLetter {
        source: Some("source".into()),
        dialect: "dialect".into(),
        event_id: None,
        ingest_time_us: 7,
        reason: DeadReason::InvalidField,
        detail: "timestamp: expected ISO 8601".into(),
        payload: Some("{\"a\":".into()),
        payload_bytes: 5,
        request: Some("POST /v1/batch".into()),
        event: None,
    }
}

fn decode(shape: Shape, values: &[Vec<u8>]) -> Decoded {
    WireDecoder::new(shape).decode(values)
}

#[test]
fn every_field_comes_back_in_the_column_of_its_name() {
    let decoded = decode(Shape::Event, &[encode_event(&full_event())]);
    assert!(decoded.refused.is_empty());
    let batch = decoded.batch;
    assert_eq!(batch.schema(), Shape::Event.arrow_schema());
    let set_apart = ["clock_quality", "event_kind", "engagement_class"];
    for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
        assert!(column.is_valid(0), "{} came back null", field.name());
        if let Some(texts) = column.as_string_opt::<i32>()
            && !set_apart.contains(&field.name().as_str())
        {
            assert_eq!(texts.value(0), field.name());
        }
    }
    let int = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!(int("event_time_us"), 1_700_000_000_000_001);
    assert_eq!(int("client_time_us"), -1);
    assert_eq!(int("sent_time_us"), i64::MAX);
    assert_eq!(int("ingest_time_us"), i64::MIN);
    assert_eq!(int("clock_skew_us"), -64);
    assert_eq!(int("consent"), 5);
    assert_eq!(int("flags"), 33);
    let value = batch.column_by_name("value").unwrap().as_primitive::<Decimal128Type>();
    assert_eq!(value.value(0), -12_500_000);
    assert_eq!(batch.column_by_name("engagement_confidence").unwrap().as_primitive::<Float64Type>().value(0), 0.25);
    let reasons = batch.column_by_name("engagement_reasons").unwrap().as_list::<i32>().value(0);
    assert_eq!(reasons.as_string::<i32>().value(1), "büro");
    let exposures = batch.column_by_name("exposures").unwrap().as_list::<i32>().value(0);
    let exposures = exposures.as_struct();
    assert_eq!(exposures.len(), 2);
    assert_eq!(exposures.column(1).as_string::<i32>().value(0), "b");
    assert!(exposures.column(2).is_null(0));
    assert_eq!(exposures.column(3).as_primitive::<Float64Type>().value(0), 0.5);
}

#[test]
fn a_bare_event_has_nulls_where_it_may() {
    let batch = decode(Shape::Event, &[encode_event(&Event::new("s", "d", "1", "n", 5))]).batch;
    for (column, declared) in batch.columns().iter().zip(EVENT_COLUMNS) {
        assert_eq!(column.is_null(0), declared.nullable, "{}", declared.name);
    }
}

#[test]
fn a_dead_letter_comes_back() {
    let batch = decode(Shape::DeadLetter, &[encode_dead_letter(&full_dead_letter())]).batch;
    assert_eq!(batch.schema(), Shape::DeadLetter.arrow_schema());
    assert_eq!(batch.column_by_name("reason").unwrap().as_string::<i32>().value(0), "invalid_field");
    assert_eq!(batch.column_by_name("payload").unwrap().as_string::<i32>().value(0), "{\"a\":");
}

#[test]
fn bytes_that_cannot_be_read_do_not_spoil_their_neighbours() {
    let good = encode_event(&full_event());
    let cut = good[..good.len() / 2].to_vec();
    let mut longer = good.clone();
    longer.push(0);
    let mut stranger = good.clone();
    stranger[5] ^= 0xFF;
    let values =
        [good.clone(), cut, good.clone(), b"{\"json\":1}".to_vec(), longer, stranger, Vec::new(), good.clone()];
    let mut decoder = WireDecoder::new(Shape::Event);
    let decoded = decoder.decode(&values);
    assert_eq!(decoded.refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
    assert_eq!(decoded.batch.num_rows(), 3);
    assert_eq!(decoder.decode(&[good]).batch.num_rows(), 1, "the decoder goes on");
}

#[test]
fn no_values_make_an_empty_batch() {
    let decoded = decode(Shape::Event, &[]);
    assert_eq!((decoded.batch.num_rows(), decoded.batch.schema()), (0, Shape::Event.arrow_schema()));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8)) {
        let framed: Vec<Vec<u8>> = values
            .into_iter()
            .map(|tail| [Shape::Event.prefix().as_slice(), &tail].concat())
            .collect();
        let decoded = decode(Shape::Event, &framed);
        prop_assert_eq!(decoded.batch.num_rows() + decoded.refused.len(), framed.len());
    }

    #[test]
    fn times_texts_and_money_survive(time_us: i64, micros in -Money::MICROS_MAX..=Money::MICROS_MAX, name in ".{0,40}") {
        let mut event = Event::new("s", "d", "1", &name, time_us);
        event.value = Some(Money { micros });
        let batch = decode(Shape::Event, &[encode_event(&event)]).batch;
        prop_assert_eq!(batch.column_by_name("event_time_us").unwrap().as_primitive::<Int64Type>().value(0), time_us);
        prop_assert_eq!(batch.column_by_name("value").unwrap().as_primitive::<Decimal128Type>().value(0), i128::from(micros));
        prop_assert_eq!(batch.column_by_name("event_name").unwrap().as_string::<i32>().value(0), name.as_str());
    }
}

/// An event that fills some columns, by the bits of `filled`, and leaves others empty.
fn partly_full(filled: u64, text: &str, number: i64) -> Event {
    let full = full_event();
    let mut event = Event::new("web", "test", &format!("{number}"), text, number);
    let mut bit = 0;
    let mut has = || {
        bit += 1;
        filled >> (bit - 1) & 1 == 1
    };
    macro_rules! fill {
        ($($field:ident),*) => { $( if has() { event.$field = full.$field.clone(); } )* };
    }
    fill!(client_event_id, anonymous_id, user_id, previous_id, client_time_us, sent_time_us, clock_skew_us, value);
    fill!(currency, channel, utm_source, utm_content, gclid, referrer_host, referrer_term, exposures, decision_id);
    fill!(url_path, title, region, library, engagement_confidence, engagement_reasons, consent, properties);
    if has() {
        event.url_query = Some(text.to_owned());
    }
    if has() {
        event.value = Some(Money { micros: number.clamp(-Money::MICROS_MAX, Money::MICROS_MAX) });
    }
    event
}

proptest! {
    /// Two readers that have nothing in common but the bytes.
    #[test]
    fn columns_are_read_as_arrow_avro_reads_them(
        rows in prop::collection::vec((any::<u64>(), ".{0,12}", any::<i64>()), 0..20),
    ) {
        let values: Vec<Vec<u8>> =
            rows.iter().map(|(filled, text, number)| encode_event(&partly_full(*filled, text, *number))).collect();
        let read = columns_reader::read(Shape::Event, &values).expect("values of the schema now written");
        let general = WireDecoder::new(Shape::Event).decode_by_arrow_avro(&values);
        prop_assert!(general.refused.is_empty());
        prop_assert_eq!(read, general.batch);
    }

    /// Bytes that were harmed are read by both as the same, or left to the general reader.
    #[test]
    fn harmed_bytes_are_read_as_arrow_avro_reads_them_or_not_at_all(
        filled: u64, text in ".{0,6}", number: i64, at: prop::sample::Index, with: u8, cut in 0_usize..4,
    ) {
        let mut harmed = encode_event(&partly_full(filled, &text, number));
        let place = at.index(harmed.len());
        harmed[place] = with;
        harmed.truncate(harmed.len() - cut);
        let values = [encode_event(&partly_full(!filled, &text, number)), harmed];
        if let Some(read) = columns_reader::read(Shape::Event, &values) {
            let general = WireDecoder::new(Shape::Event).decode_by_arrow_avro(&values);
            prop_assert!(general.refused.is_empty(), "{:?}", general.refused);
            prop_assert_eq!(read, general.batch);
        }
    }
}

#[test]
fn dead_letters_are_read_as_arrow_avro_reads_them() {
    let mut bare = full_dead_letter();
    (bare.source, bare.event_id, bare.payload) = (None, None, None);
    let whole = DeadLetter { event: Some(Box::new(full_event())), ..full_dead_letter() };
    let partly = DeadLetter { event: Some(Box::new(partly_full(0b1010_0110, "x", 3))), ..full_dead_letter() };
    let values: Vec<Vec<u8>> = [full_dead_letter(), whole, bare, partly].iter().map(encode_dead_letter).collect();
    let read = columns_reader::read(Shape::DeadLetter, &values).unwrap();
    assert_eq!(read, WireDecoder::new(Shape::DeadLetter).decode_by_arrow_avro(&values).batch);
}

/// The bytes in `tests/golden` are never edited. When a version is added, add a file; when this
/// fails for an old one, the log of a running system has become unreadable.
#[test]
fn golden_bytes_of_every_version_are_read() {
    let golden = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    // Version 1 knew nothing of what was added since.
    let mut before = full_event();
    (before.schema_version, before.warnings, before.replayed_from) = (None, Vec::new(), None);
    let read = decode(Shape::Event, &[golden(include_str!("../../tests/golden/event.v1.hex"))]);
    assert!(read.refused.is_empty());
    assert_eq!(read.batch, decode(Shape::Event, &[encode_event(&before)]).batch);
    let before = DeadLetter { request: None, ..full_dead_letter() };
    let read = decode(Shape::DeadLetter, &[golden(include_str!("../../tests/golden/dead_letter.v1.hex"))]);
    assert!(read.refused.is_empty());
    assert_eq!(read.batch, decode(Shape::DeadLetter, &[encode_dead_letter(&before)]).batch);
    // What is written now is byte for byte the golden of the current version.
    let letter = DeadLetter { event: Some(Box::new(full_event())), ..full_dead_letter() };
    for (bytes, hex) in [
        (encode_event(&full_event()), include_str!("../../tests/golden/event.v2.hex")),
        (encode_dead_letter(&letter), include_str!("../../tests/golden/dead_letter.v2.hex")),
    ] {
        let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(golden(hex), bytes, "{written}");
    }
    assert_eq!(Shape::Event.avro_schema(), include_str!("../../tests/golden/event.v2.avsc").trim());
    assert_eq!(Shape::DeadLetter.avro_schema(), include_str!("../../tests/golden/dead_letter.v2.avsc").trim());
}

/// What was read of a dead letter stands in the columns of its name, and nothing in those of an unread one.
#[test]
fn the_event_in_a_dead_letter_comes_back_in_its_columns() {
    let letter = DeadLetter { event: Some(Box::new(full_event())), ..full_dead_letter() };
    let read = decode(Shape::DeadLetter, &[encode_dead_letter(&letter), encode_dead_letter(&full_dead_letter())]);
    assert!(read.refused.is_empty());
    let event = decode(Shape::Event, &[encode_event(&full_event())]).batch;
    let own = ["source", "dialect", "event_id", "ingest_time_us"];
    for field in event.schema().fields().iter().filter(|field| !own.contains(&field.name().as_str())) {
        let (had, has) =
            (event.column_by_name(field.name()).unwrap(), read.batch.column_by_name(field.name()).unwrap());
        assert_eq!(&had.slice(0, 1), &has.slice(0, 1), "{}", field.name());
        assert!(has.is_null(1), "{}", field.name());
    }
    // Not read far enough to have a name: what every event has is not known of it.
    let nameless = Event { event_name: String::new(), ..full_event() };
    let letter = DeadLetter { event: Some(Box::new(nameless)), ..full_dead_letter() };
    let read = decode(Shape::DeadLetter, &[encode_dead_letter(&letter)]).batch;
    let is_null = |name: &str| read.column_by_name(name).unwrap().is_null(0);
    assert!(is_null("event_name") && is_null("event_kind") && is_null("event_time_us") && !is_null("user_id"));
}
