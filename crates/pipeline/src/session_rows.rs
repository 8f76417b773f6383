//! Between Arrow and `analytics`: events as sessions see them, sessions as rows, channels of touches.
//!
//! In:       batches with the columns of `events`; changes of sessions.
//! Out:      `SessionEvent`s; the rows of `sessions`; the column `channel`.
//! Promise:  nothing is decided here: what a session or a channel is, `analytics` says.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Builder, Int32Array, Int64Array,
    ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray, StructBuilder, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float64Type};
use std::collections::HashMap;
use std::sync::Arc;
use tributary_analytics::channel::{TouchHints, classify};
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
    texts: HashMap<&'static str, &'b StringArray>,
    times: &'b Int64Array,
    offsets: &'b Int64Array,
    values: &'b Decimal128Array,
    exposures: &'b ListArray,
}

impl<'b> EventReader<'b> {
    /// What it needs of the table `events`.
    pub(crate) const COLUMNS: [&'static str; 28] = [
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
        "gclid",
        "gbraid",
        "wbraid",
        "dclid",
        "fbclid",
        "msclkid",
        "ttclid",
        "twclid",
        "li_fat_id",
        "event_time_us",
    ];
    pub(crate) const MORE_COLUMNS: [&'static str; 3] = ["log_offset", "value", "exposures"];

    pub(crate) fn new(batch: &'b RecordBatch) -> Self {
        let texts = Self::COLUMNS.iter().filter(|name| **name != "event_time_us");
        Self {
            texts: texts.map(|name| (*name, text(batch, name))).collect(),
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
        SessionKey { source: self.texts["source"].value(row), session_key: self.texts["session_key"].value(row) }
    }

    pub(crate) fn event(&self, row: usize) -> SessionEvent {
        let text = |name: &str| text_at(self.texts[name], row);
        let shared = |name: &str| text(name).map(Arc::from);
        let boxed = |name: &str| text(name).map(Box::from);
        let mut event = SessionEvent::plain(
            self.times.value(row),
            self.offsets.value(row),
            self.texts["event_id"].value(row),
            self.kind(row),
        );
        event.engagement_class =
            EngagementClass::parse(self.texts["engagement_class"].value(row)).unwrap_or(EngagementClass::Unknown);
        event.anonymous_id = shared("anonymous_id");
        event.user_id = shared("user_id");
        event.account_id = shared("account_id");
        event.url_host = shared("url_host");
        event.url_path = shared("url_path");
        event.device_class = shared("device_class");
        event.country = shared("country");
        event.touch = Touch {
            channel: boxed("channel"),
            campaign_id: boxed("campaign_id"),
            utm_source: boxed("utm_source"),
            utm_medium: boxed("utm_medium"),
            referrer_host: boxed("referrer_host"),
            click_id: SessionEvent::click_id(CLICK_IDS.map(|kind| (kind, text(kind)))),
        }
        .boxed();
        // The lake's decimal has 18 digits, so what comes out of it fits.
        event.value_micros = self.values.is_valid(row).then(|| self.values.value(row) as i64);
        event.currency = shared("currency");
        event.exposures = self.exposures.is_valid(row).then(|| exposures_of(&self.exposures.value(row)));
        event
    }

    fn kind(&self, row: usize) -> EventKind {
        // A kind written by a newer version is activity of some sort to us.
        EventKind::parse(self.texts["event_kind"].value(row)).unwrap_or(EventKind::Custom)
    }
}

fn exposures_of(list: &ArrayRef) -> Box<[Exposure]> {
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

/// The column `channel`: what the sender said, else what the hints on the event mean.
pub(crate) fn channels(batch: &RecordBatch) -> ArrayRef {
    let said = text(batch, "channel");
    let hints = Hints::new(batch);
    let channels: StringArray = (0..batch.num_rows())
        .map(|row| match text_at(said, row) {
            Some(channel) => Some(channel),
            None => classify(&hints.at(row)),
        })
        .collect();
    Arc::new(channels)
}

/// The columns that say where an event came from.
struct Hints<'b> {
    texts: HashMap<&'static str, &'b StringArray>,
}

impl<'b> Hints<'b> {
    const COLUMNS: [&'static str; 7] =
        ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "referrer_host", "url_host"];

    fn new(batch: &'b RecordBatch) -> Self {
        let names = Self::COLUMNS.iter().chain(&CLICK_IDS);
        Self { texts: names.map(|name| (*name, text(batch, name))).collect() }
    }

    fn at(&self, row: usize) -> TouchHints<'b> {
        let text = |name: &str| text_at(self.texts[name], row);
        let has = |name: &str| self.texts[name].is_valid(row);
        TouchHints {
            utm_source: text("utm_source"),
            utm_medium: text("utm_medium"),
            has_other_utm: has("utm_campaign") || has("utm_term") || has("utm_content"),
            has_google_ads_click_id: has("gclid") || has("gbraid") || has("wbraid"),
            has_google_display_click_id: has("dclid"),
            has_microsoft_ads_click_id: has("msclkid"),
            has_meta_click_id: has("fbclid"),
            has_tiktok_click_id: has("ttclid"),
            has_x_click_id: has("twclid"),
            has_linkedin_click_id: has("li_fat_id"),
            referrer_host: text("referrer_host"),
            own_host: text("url_host"),
        }
    }
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

/// The rows of these indices, in that order.
pub(crate) fn take(batch: &RecordBatch, rows: &UInt32Array) -> RecordBatch {
    arrow::compute::take_record_batch(batch, rows).expect("indices of this very batch")
}
