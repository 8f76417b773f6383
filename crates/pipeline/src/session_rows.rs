//! Between Arrow and `analytics`: events as sessions see them, sessions as rows.
//!
//! In:       batches with the columns of `events`; changes of sessions.
//! Out:      `SessionEvent`s; the rows of `sessions`.
//! Promise:  nothing is decided here: what a session is, `analytics` says.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Builder, Int32Array, Int64Array,
    ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray, StructBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float64Type};
use std::sync::Arc;
use tributary_analytics::session::{
    Session, SessionChange, SessionEvent, SessionKey, Tombstone, Touch, belongs_to_session,
};
use tributary_schemas::columns::{exposure_fields, value_fields};
use tributary_schemas::{EngagementClass, EventKind, Exposure, Table};

use crate::columns::{array, day_of, int, money, text, text_at};

const CLICK_IDS: [&str; 9] =
    ["gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "li_fat_id"];

/// Reads the events of one batch as sessions see them.
pub(crate) struct EventReader<'b> {
    event_ids: &'b StringArray,
    sources: &'b StringArray,
    session_keys: &'b StringArray,
    kinds: &'b StringArray,
    classes: &'b StringArray,
    anonymous_ids: &'b StringArray,
    user_ids: &'b StringArray,
    account_ids: &'b StringArray,
    url_hosts: &'b StringArray,
    url_paths: &'b StringArray,
    device_classes: &'b StringArray,
    countries: &'b StringArray,
    channels: &'b StringArray,
    campaign_ids: &'b StringArray,
    utm_sources: &'b StringArray,
    utm_mediums: &'b StringArray,
    referrer_hosts: &'b StringArray,
    currencies: &'b StringArray,
    click_ids: [&'b StringArray; CLICK_IDS.len()],
    times: &'b Int64Array,
    offsets: &'b Int64Array,
    values: &'b Decimal128Array,
    exposures: &'b ListArray,
}

impl<'b> EventReader<'b> {
    /// What it needs of the table `events`, besides `CLICK_IDS`.
    const COLUMNS: [&'static str; 22] = [
        "event_id",
        "source",
        "session_key",
        "event_kind",
        "engagement_class",
        "anonymous_id",
        "user_id",
        "account_id",
        "url_host",
        "url_path",
        "device_class",
        "country",
        "channel",
        "campaign_id",
        "utm_source",
        "utm_medium",
        "referrer_host",
        "currency",
        "event_time_us",
        "log_offset",
        "value",
        "exposures",
    ];

    pub(crate) fn columns() -> Vec<&'static str> {
        [&Self::COLUMNS[..], &CLICK_IDS].concat()
    }

    pub(crate) fn new(batch: &'b RecordBatch) -> Self {
        let text = |name: &str| text(batch, name);
        Self {
            event_ids: text("event_id"),
            sources: text("source"),
            session_keys: text("session_key"),
            kinds: text("event_kind"),
            classes: text("engagement_class"),
            anonymous_ids: text("anonymous_id"),
            user_ids: text("user_id"),
            account_ids: text("account_id"),
            url_hosts: text("url_host"),
            url_paths: text("url_path"),
            device_classes: text("device_class"),
            countries: text("country"),
            channels: text("channel"),
            campaign_ids: text("campaign_id"),
            utm_sources: text("utm_source"),
            utm_mediums: text("utm_medium"),
            referrer_hosts: text("referrer_host"),
            currencies: text("currency"),
            click_ids: CLICK_IDS.map(text),
            times: int(batch, "event_time_us"),
            offsets: int(batch, "log_offset"),
            values: money(batch, "value"),
            exposures: array(batch, "exposures").as_list::<i32>(),
        }
    }

    /// Whether the row is activity of a person, and so part of a session.
    pub(crate) fn is_activity(&self, row: usize) -> bool {
        belongs_to_session(self.kind(row))
    }

    pub(crate) fn key(&self, row: usize) -> SessionKey<'b> {
        SessionKey { source: self.sources.value(row), session_key: self.session_keys.value(row) }
    }

    pub(crate) fn event(&self, row: usize) -> SessionEvent {
        let shared = |texts: &StringArray| text_at(texts, row).map(Arc::from);
        let boxed = |texts: &StringArray| text_at(texts, row).map(Box::from);
        let (time_us, offset) = (self.times.value(row), self.offsets.value(row));
        let mut event = SessionEvent::plain(time_us, offset, self.event_ids.value(row), self.kind(row));
        event.engagement_class = EngagementClass::parse(self.classes.value(row)).unwrap_or(EngagementClass::Unknown);
        event.anonymous_id = shared(self.anonymous_ids);
        event.user_id = shared(self.user_ids);
        event.account_id = shared(self.account_ids);
        event.url_host = shared(self.url_hosts);
        event.url_path = shared(self.url_paths);
        event.device_class = shared(self.device_classes);
        event.country = shared(self.countries);
        event.touch = Touch {
            channel: boxed(self.channels),
            campaign_id: boxed(self.campaign_ids),
            utm_source: boxed(self.utm_sources),
            utm_medium: boxed(self.utm_mediums),
            referrer_host: boxed(self.referrer_hosts),
            click_id: SessionEvent::click_id(CLICK_IDS.into_iter().zip(self.click_ids.map(|ids| text_at(ids, row)))),
        }
        .boxed();
        // The lake's decimal has 18 digits, so what comes out of it fits.
        event.value_micros = self.values.is_valid(row).then(|| self.values.value(row) as i64);
        event.currency = shared(self.currencies);
        event.exposures = self.exposures.is_valid(row).then(|| exposures_of(&self.exposures.value(row)));
        event
    }

    fn kind(&self, row: usize) -> EventKind {
        // A kind written by a newer version is activity of some sort to us.
        EventKind::parse(self.kinds.value(row)).unwrap_or(EventKind::Custom)
    }
}

pub(crate) fn exposures_of(list: &ArrayRef) -> Box<[Exposure]> {
    let list = list.as_struct();
    let [experiments, variants, decisions] = [0, 1, 2].map(|index| list.column(index).as_string::<i32>());
    let probabilities = list.column(3).as_primitive::<Float64Type>();
    (0..list.len())
        .map(|row| Exposure {
            experiment: text_at(experiments, row).unwrap_or_default().to_owned(),
            variant: text_at(variants, row).unwrap_or_default().to_owned(),
            decision_id: text_at(decisions, row).map(str::to_owned),
            probability: probabilities.is_valid(row).then(|| probabilities.value(row)),
        })
        .collect()
}

/// The rows of `sessions` for what changed in one partition up to log position `version`.
pub(crate) fn to_batch(changes: &[SessionChange], partition: u32, version: i64) -> RecordBatch {
    let rows: Vec<Row<'_>> = changes.iter().map(Row::of).collect();
    let texts = |of: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let optional = |of: &dyn Fn(&Session) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.session.and_then(of)).collect::<StringArray>())
    };
    let ints = |of: &dyn Fn(&Row<'_>) -> i64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Int64Array>()) };
    let sums = |of: &dyn Fn(&Session) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(row.session.map_or(0, of))).collect::<Int64Array>())
    };
    fn owned<T: AsRef<str>>(text: &Option<T>) -> Option<String> {
        text.as_ref().map(|text| text.as_ref().to_owned())
    }
    let columns: Vec<ArrayRef> = vec![
        texts(&|row| Some(row.session_id.clone())),
        ints(&|_| version),
        texts(&|row| row.gone.map(|gone| gone.superseded_by.to_string())),
        texts(&|row| Some(row.source.to_string())),
        texts(&|row| Some(row.session_key.to_string())),
        optional(&|session| owned(&session.anonymous_id)),
        optional(&|session| owned(&session.user_id)),
        optional(&|session| owned(&session.account_id)),
        ints(&|row| row.start_time_us),
        ints(&|row| row.end_time_us),
        sums(&|session| session.duration_us),
        sums(&|session| session.engaged_us),
        sums(&|session| session.event_count),
        sums(&|session| session.page_count),
        sums(&|session| session.conversion_count),
        Arc::new(
            rows.iter().map(|row| Some(row.session.is_some_and(|session| session.is_bounce))).collect::<BooleanArray>(),
        ),
        values_column(&rows),
        optional(&|session| owned(&session.entry_host)),
        optional(&|session| owned(&session.entry_path)),
        optional(&|session| owned(&session.exit_path)),
        optional(&|session| owned(&session.first_channel)),
        optional(&|session| owned(&session.first_campaign_id)),
        optional(&|session| owned(&session.first_utm_source)),
        optional(&|session| owned(&session.first_utm_medium)),
        optional(&|session| owned(&session.first_referrer_host)),
        optional(&|session| owned(&session.first_click_id)),
        optional(&|session| owned(&session.last_channel)),
        optional(&|session| owned(&session.last_campaign_id)),
        optional(&|session| owned(&session.last_utm_source)),
        optional(&|session| owned(&session.last_utm_medium)),
        optional(&|session| owned(&session.last_referrer_host)),
        optional(&|session| owned(&session.last_click_id)),
        optional(&|session| owned(&session.device_class)),
        optional(&|session| owned(&session.country)),
        exposures_column(&rows),
        texts(&|row| {
            let class = row.session.map_or(EngagementClass::Unknown, |session| session.engagement_class);
            Some(class.as_str().to_owned())
        }),
        texts(&|row| Some(row.rule.to_string())),
        Arc::new(Int32Array::from(vec![partition.cast_signed(); rows.len()])),
        ints(&|row| row.first_offset),
        ints(&|row| row.last_offset),
        Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| day_of(row.start_time_us)))),
    ];
    RecordBatch::try_new(Table::Sessions.arrow_schema(), columns).expect("the columns of `sessions`, in order")
}

/// What a session and the tombstone of one have in common.
struct Row<'c> {
    session_id: String,
    source: &'c Arc<str>,
    session_key: &'c Arc<str>,
    start_time_us: i64,
    end_time_us: i64,
    first_offset: i64,
    last_offset: i64,
    rule: &'c Arc<str>,
    session: Option<&'c Session>,
    gone: Option<&'c Tombstone>,
}

impl<'c> Row<'c> {
    fn of(change: &'c SessionChange) -> Self {
        match change {
            SessionChange::Upsert(session) => Self {
                session_id: session.session_id.to_string(),
                source: &session.source,
                session_key: &session.session_key,
                start_time_us: session.start_time_us,
                end_time_us: session.end_time_us,
                first_offset: session.first_offset,
                last_offset: session.last_offset,
                rule: &session.rule,
                session: Some(session),
                gone: None,
            },
            SessionChange::Tombstone(tombstone) => Self {
                session_id: tombstone.session_id.to_string(),
                source: &tombstone.source,
                session_key: &tombstone.session_key,
                start_time_us: tombstone.start_time_us,
                end_time_us: tombstone.end_time_us,
                first_offset: tombstone.first_offset,
                last_offset: tombstone.last_offset,
                rule: &tombstone.rule,
                session: None,
                gone: Some(tombstone),
            },
        }
    }
}

fn values_column(rows: &[Row<'_>]) -> ArrayRef {
    let values = |row: &Row<'_>| row.session.map_or(&[][..], |session| &session.value_by_currency).to_vec();
    let all: Vec<_> = rows.iter().flat_map(values).collect();
    let currencies: StringArray = all.iter().map(|value| Some(value.currency.as_ref())).collect();
    let DataType::Decimal128(precision, scale) = value_fields()[1].data_type().clone() else {
        unreachable!("money is a decimal")
    };
    let amounts = Decimal128Array::from_iter_values(all.iter().map(|value| i128::from(value.micros)))
        .with_precision_and_scale(precision, scale)
        .expect("the scale of money");
    let items = StructArray::new(value_fields(), vec![Arc::new(currencies), Arc::new(amounts)], None);
    let lengths = rows.iter().map(|row| row.session.map_or(0, |session| session.value_by_currency.len()));
    let present: Vec<bool> = lengths.clone().map(|length| length > 0).collect();
    let DataType::List(element) = list_type("value_by_currency") else { unreachable!("values are a list") };
    Arc::new(ListArray::new(element, OffsetBuffer::from_lengths(lengths), Arc::new(items), Some(present.into())))
}

fn exposures_column(rows: &[Row<'_>]) -> ArrayRef {
    let item = StructBuilder::new(
        exposure_fields(),
        vec![
            Box::new(StringBuilder::new()),
            Box::new(StringBuilder::new()),
            Box::new(StringBuilder::new()),
            Box::new(Float64Builder::new()),
        ],
    );
    let DataType::List(element) = list_type("exposures") else { unreachable!("exposures are a list") };
    let mut list = ListBuilder::new(item).with_field(element);
    for row in rows {
        let exposures = row.session.map_or(&[][..], |session| &session.exposures);
        for exposure in exposures {
            let item = list.values();
            let texts = [Some(&exposure.experiment), Some(&exposure.variant), exposure.decision_id.as_ref()];
            for (index, text) in texts.into_iter().enumerate() {
                let column = item.field_builder::<StringBuilder>(index).expect("made above: a text");
                column.append_option(text);
            }
            let column = item.field_builder::<Float64Builder>(3).expect("made above: a ratio");
            column.append_option(exposure.probability);
            item.append(true);
        }
        list.append(!exposures.is_empty());
    }
    Arc::new(list.finish())
}

fn list_type(column: &str) -> DataType {
    let schema = Table::Sessions.arrow_schema();
    schema.field_with_name(column).expect("a column of `sessions`").data_type().clone()
}

#[cfg(test)]
mod tests {
    use tributary_analytics::session::SessionRule;
    use tributary_analytics::session::Sessionizer;
    use tributary_eventlog::{Delivered, Record};
    use tributary_schemas::Event;
    use tributary_schemas::wire::encode_event;

    use super::*;
    use crate::dedup::RecentIds;
    use crate::fold::EventsPartition;

    /// The row of `events` it becomes.
    fn row_of(event: &Event) -> RecordBatch {
        let mut partition =
            EventsPartition::new(0, "events", 5, RecentIds::new(0), Sessionizer::new(SessionRule::ga4()));
        let record = Record { key: None, value: encode_event(event).into(), time_ms: 0 };
        partition.fold(&[Delivered { partition: 0, offset: 5, record }]);
        partition.events.take().remove(0)
    }

    #[test]
    fn an_event_is_taken_over_column_by_column() {
        let mut event = Event::new("web", "test", "e1", "page", 7);
        let plain = row_of(&event);
        assert_eq!(
            EventReader::new(&plain).event(0).touch,
            None,
            "an event that says nothing of its origin has no touch"
        );
        event.channel = Some("email".to_owned());
        event.fbclid = Some("F".to_owned());
        event.msclkid = Some("M".to_owned());
        event.url_path = Some("/p".to_owned());
        event.currency = Some("EUR".to_owned());
        event.anonymous_id = Some("a".to_owned());
        let row = row_of(&event);
        let taken = EventReader::new(&row).event(0);
        let touch = taken.touch.as_deref().unwrap();
        assert_eq!((touch.channel.as_deref(), touch.click_id.as_deref()), (Some("email"), Some("fbclid:F")));
        assert_eq!((taken.url_path.as_deref(), taken.currency.as_deref()), (Some("/p"), Some("EUR")));
        assert_eq!((taken.time_us, taken.offset, &*taken.event_id), (7, 5, "e1"));
        assert_eq!(EventReader::new(&row).key(0), SessionKey { source: "web", session_key: "a" });
    }

    #[test]
    fn a_channel_is_what_the_sender_said_or_what_the_hints_mean() {
        let channel_of = |change: fn(&mut Event)| {
            let mut event = Event::new("web", "test", "e1", "page", 7);
            change(&mut event);
            let row = row_of(&event);
            text_at(text(&row, "channel"), 0).map(str::to_owned)
        };
        assert_eq!(channel_of(|_| {}), None);
        assert_eq!(channel_of(|event| event.wbraid = Some("w".to_owned())).as_deref(), Some("paid_search"));
        let both = |event: &mut Event| {
            event.channel = Some("tv".to_owned());
            event.wbraid = Some("w".to_owned());
        };
        assert_eq!(channel_of(both).as_deref(), Some("tv"));
    }
}
