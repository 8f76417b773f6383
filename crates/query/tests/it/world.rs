//! A small lake whose truth is known: the events are written out here, one line each.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;
use tributary_lake::{Lake, LakeSettings};
use tributary_query::{Answer, Engine, QuerySettings};
use tributary_schemas::wire::{Shape, WireDecoder, encode_event};
use tributary_schemas::{EngagementClass, Event, EventKind, Exposure, Money, Table};

pub(crate) const DAY_US: i64 = 86_400_000_000;
pub(crate) const HOUR_US: i64 = 3_600_000_000;
/// 2026-03-01T00:00:00Z
pub(crate) const MARCH_US: i64 = 20_513 * DAY_US;

pub(crate) struct World {
    pub(crate) lake: Lake,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        let url = folder.path().join("lake").to_str().unwrap().to_owned();
        let settings = LakeSettings { url, fsync: false, ..LakeSettings::default() };
        Self { lake: Lake::open(settings).await.unwrap(), _folder: folder }
    }

    pub(crate) fn engine(&self, settings: QuerySettings) -> Engine {
        Engine::new(settings, self.lake.clone()).unwrap()
    }

    pub(crate) async fn plant(&self, first_offset: i64, events: &[Event]) {
        self.plant_in(0, first_offset, events).await;
    }

    pub(crate) async fn plant_in(&self, partition: i32, first_offset: i64, events: &[Event]) {
        let offsets: Vec<i64> = (first_offset..).take(events.len()).collect();
        self.plant_at(partition, &offsets, events).await;
    }

    /// As the pipeline does it: the bytes of the log, decoded, and the columns of the lake beside them.
    pub(crate) async fn plant_at(&self, partition: i32, offsets: &[i64], events: &[Event]) {
        let bytes: Vec<Vec<u8>> = events.iter().map(encode_event).collect();
        let decoded = WireDecoder::new(Shape::Event).decode(&bytes);
        assert!(decoded.refused.is_empty());
        let keys = events.iter().map(|event| event.person_key().unwrap_or(&event.event_id).to_owned());
        let days = events.iter().map(|event| i32::try_from(event.event_time_us.div_euclid(DAY_US)).unwrap());
        let mut columns = decoded.batch.columns().to_vec();
        let lake_columns: [(&str, ArrayRef); 5] = [
            ("session_key", Arc::new(StringArray::from_iter_values(keys))),
            ("content_hash", Arc::new(Int64Array::from_iter_values(events.iter().map(|_| 0)))), // nobody asks for it
            ("log_partition", Arc::new(Int32Array::from_iter_values(events.iter().map(|_| partition)))),
            ("log_offset", Arc::new(Int64Array::from_iter_values(offsets.iter().copied()))),
            ("event_date", Arc::new(Date32Array::from_iter_values(days))),
        ];
        let schema = Table::Events.arrow_schema();
        // What enrichment adds stays empty here.
        columns.extend(schema.fields()[columns.len()..].iter().map(|field| {
            let given = lake_columns.iter().find(|(name, _)| name == field.name());
            given.map_or_else(|| new_null_array(field.data_type(), events.len()), |(_, column)| column.clone())
        }));
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        self.append(Table::Events, batch).await;
    }

    /// Rows as JSON lines, for the tables whose rows are few.
    pub(crate) async fn plant_json(&self, table: Table, lines: &str) {
        let mut reader = ReaderBuilder::new(table.arrow_schema()).build(lines.as_bytes()).unwrap();
        self.append(table, reader.next().unwrap().unwrap()).await;
    }

    async fn append(&self, table: Table, batch: RecordBatch) {
        self.lake.writer(table).await.unwrap().append(vec![batch], &[]).await.unwrap();
    }
}

/// An event of the shop: device, what, when.
/// Each cell of an answer as text.
pub(crate) fn cells(answer: &Answer, null: &'static str) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null(null);
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect();
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows
}

pub(crate) fn event(id: &str, device: &str, kind: EventKind, time_us: i64) -> Event {
    Event {
        anonymous_id: Some(device.to_owned()),
        event_kind: kind,
        engagement_class: EngagementClass::Human,
        ..Event::new("shop", "test", id, kind.as_str(), time_us)
    }
}

fn from_channel(channel: &str, campaign: Option<&str>, event: Event) -> Event {
    Event { channel: Some(channel.to_owned()), campaign_id: campaign.map(str::to_owned), ..event }
}

fn worth(amount: &str, event: Event) -> Event {
    Event { value: Some(Money::parse(amount).unwrap()), currency: Some("EUR".to_owned()), ..event }
}

fn page(number: u32, event: Event) -> Event {
    Event { properties: Some(format!(r#"{{"page":"{number}"}}"#)), ..event }
}

/// The world the `.slt` files ask about.
///
/// * Ann: clicks the spring mail, looks, buys for 30 the next day as `ann`.
/// * Bob: comes by search on one device, by the spring mail on another, buys for 10.01.
/// * Cid: comes by social, never buys, never says who he is.
/// * Dan: buys for 5; nothing came before.
/// * Eve: a scanner clicks for her, then she buys for 7.50.
/// * Fay: was linked to her device and unlinked again.
/// * Gus: logs in on Ann's device.
pub(crate) async fn planted() -> World {
    use EventKind::{Click, Conversion, Page, Send};
    let world = World::empty().await;
    let at = |day: i64, hour: i64, minute: i64| MARCH_US + day * DAY_US + hour * HOUR_US + minute * 60_000_000;
    let as_user = |user: &str, event: Event| Event { user_id: Some(user.to_owned()), ..event };
    let spring = Some("spring");
    world
        .plant(
            0,
            &[
                from_channel("email", spring, event("ann-1", "a1", Click, at(0, 9, 0))),
                page(1, from_channel("email", spring, event("ann-2", "a1", Page, at(0, 9, 1)))),
                page(1, from_channel("paid_search", None, event("bob-1", "b1", Page, at(0, 12, 0)))),
                page(1, from_channel("paid_social", None, event("cid-1", "c1", Page, at(0, 13, 0)))),
                page(2, event("cid-2", "c1", Page, at(0, 13, 1))),
                page(1, event("fay-1", "f1", Page, at(0, 14, 0))),
                Event {
                    engagement_class: EngagementClass::Scanner,
                    ..from_channel("display", None, event("eve-1", "e1", Click, at(0, 15, 0)))
                },
            ],
        )
        .await;
    world
        .plant(
            7,
            &[
                page(2, event("ann-3", "a1", Page, at(1, 10, 0))),
                worth("30", as_user("ann", event("ann-4", "a1", Conversion, at(1, 10, 5)))),
                as_user("gus", event("gus-1", "a1", Page, at(1, 11, 0))),
                from_channel("email", spring, event("bob-2", "b2", Click, at(2, 12, 0))),
                worth("10.01", event("bob-3", "b2", Conversion, at(2, 12, 10))),
                worth("5", event("dan-1", "d1", Conversion, at(2, 13, 0))),
                worth("7.50", event("eve-2", "e1", Conversion, at(2, 14, 0))),
            ],
        )
        .await;
    let link = |device: &str, user: &str, action: &str, time_us: i64, offset: i64| {
        format!(
            r#"{{"source":"shop","anonymous_id":"{device}","user_id":"{user}","action":"{action}","event_id":"i{offset}","event_time_us":{time_us},"log_partition":0,"log_offset":{offset}}}"#
        )
    };
    let links = [
        link("a1", "ann", "link", at(1, 10, 5), 8),
        link("b1", "bob", "link", at(2, 12, 0), 20),
        link("b2", "bob", "link", at(2, 12, 5), 21),
        link("f1", "fay", "link", at(0, 15, 0), 22),
        link("f1", "fay", "unlink", at(0, 16, 0), 23),
    ];
    world.plant_json(Table::Identities, &links.join("\n")).await;
    let session = |id: &str, version: i64, superseded_by: &str, events: i64| {
        format!(
            r#"{{"session_id":"{id}","version":{version},"superseded_by":{superseded_by},"source":"shop","session_key":"a1","start_time_us":{MARCH_US},"end_time_us":{MARCH_US},"duration_us":0,"engaged_us":0,"event_count":{events},"page_count":0,"conversion_count":0,"is_bounce":false,"engagement_class":"human","rule":"ga4","log_partition":0,"first_offset":0,"last_offset":{version},"is_final":false,"late_event_count":0,"start_date":"2026-03-01"}}"#
        )
    };
    let sessions = [
        session("s1", 1, "null", 1),
        session("s2", 2, "null", 4),
        session("s3", 3, "null", 7),
        session("s1", 6, "null", 5),
        session("s2", 6, "\"s1\"", 4),
    ];
    world.plant_json(Table::Sessions, &sessions.join("\n")).await;

    // The mailing: 200 people see subject a and 20 buy for 10; 200 see b and 50 buy for 10; 3 see both and buy;
    // one of a bought before she saw it.
    let mut mailing = Vec::new();
    let mail = |event: Event| Event { source: "mail".to_owned(), ..event };
    let shown = |variant: &str, event: Event| Event {
        exposures: vec![Exposure {
            experiment: "subject_line".to_owned(),
            variant: variant.to_owned(),
            decision_id: None,
            probability: Some(0.5),
        }],
        ..event
    };
    for person in 0..400_i64 {
        let (variant, buyers) = if person % 2 == 0 { ("a", 20) } else { ("b", 50) };
        let device = format!("m{person}");
        mailing.push(mail(shown(variant, event(&format!("send-{person}"), &device, Send, at(5, 8, 0)))));
        if person / 2 < buyers {
            mailing.push(mail(worth("10", event(&format!("buy-{person}"), &device, Conversion, at(5, 9, 0)))));
        }
    }
    for person in 0..3 {
        let device = format!("x{person}");
        for (variant, hour) in [("a", 8), ("b", 9)] {
            mailing.push(mail(shown(variant, event(&format!("{variant}{person}"), &device, Send, at(5, hour, 0)))));
        }
        mailing.push(mail(worth("10", event(&format!("xbuy-{person}"), &device, Conversion, at(5, 10, 0)))));
    }
    mailing.push(mail(worth("99", event("early", "m398", Conversion, at(5, 7, 0)))));
    world.plant(100, &mailing).await;
    world
}
