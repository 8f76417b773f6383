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
    Change, Changes, Session, SessionEvent, SessionKey, Shown, Touch, belongs_to_session,
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
    browsers: &'b StringArray,
    systems: &'b StringArray,
    countries: &'b StringArray,
    regions: &'b StringArray,
    channels: &'b StringArray,
    campaign_ids: &'b StringArray,
    utm_campaigns: &'b StringArray,
    utm_sources: &'b StringArray,
    utm_mediums: &'b StringArray,
    utm_terms: &'b StringArray,
    creative_ids: &'b StringArray,
    ad_ids: &'b StringArray,
    message_ids: &'b StringArray,
    referrer_hosts: &'b StringArray,
    referrer_mediums: &'b StringArray,
    referrer_sources: &'b StringArray,
    currencies: &'b StringArray,
    /// Those a row of the batch has: most batches have few of them.
    click_ids: Vec<(&'static str, &'b StringArray)>,
    times: &'b Int64Array,
    ingest_times: &'b Int64Array,
    offsets: &'b Int64Array,
    values: &'b Decimal128Array,
    exposures: &'b ListArray,
    /// The exposures of all rows; `exposures` says which are whose.
    shown: Vec<Shown<'b>>,
}

impl<'b> EventReader<'b> {
    /// What it needs of the table `events`, besides `CLICK_IDS`.
    const COLUMNS: [&'static str; 33] = [
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
        "browser",
        "os",
        "country",
        "region",
        "channel",
        "campaign_id",
        "utm_campaign",
        "utm_source",
        "utm_medium",
        "utm_term",
        "creative_id",
        "ad_id",
        "message_id",
        "referrer_host",
        "referrer_medium",
        "referrer_source",
        "currency",
        "event_time_us",
        "ingest_time_us",
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
            browsers: text("browser"),
            systems: text("os"),
            countries: text("country"),
            regions: text("region"),
            channels: text("channel"),
            campaign_ids: text("campaign_id"),
            utm_campaigns: text("utm_campaign"),
            utm_sources: text("utm_source"),
            utm_mediums: text("utm_medium"),
            utm_terms: text("utm_term"),
            creative_ids: text("creative_id"),
            ad_ids: text("ad_id"),
            message_ids: text("message_id"),
            referrer_hosts: text("referrer_host"),
            referrer_mediums: text("referrer_medium"),
            referrer_sources: text("referrer_source"),
            currencies: text("currency"),
            click_ids: present(CLICK_IDS.map(|name| (name, text(name)))).collect(),
            times: int(batch, "event_time_us"),
            ingest_times: int(batch, "ingest_time_us"),
            offsets: int(batch, "log_offset"),
            values: money(batch, "value"),
            exposures: array(batch, "exposures").as_list::<i32>(),
            shown: shown_in(array(batch, "exposures").as_list::<i32>()),
        }
    }

    /// Whether the row is activity of a person, and so part of a session.
    pub(crate) fn is_activity(&self, row: usize) -> bool {
        belongs_to_session(self.kind(row))
    }

    pub(crate) fn key(&self, row: usize) -> SessionKey<'b> {
        SessionKey { source: self.sources.value(row), session_key: self.session_keys.value(row) }
    }

    pub(crate) fn event(&self, row: usize) -> SessionEvent<'_> {
        let text = |texts: &'b StringArray| text_at(texts, row);
        let click_id = self.click_ids.iter().find_map(|(kind, ids)| Some((*kind, text_at(ids, row)?)));
        let ends = self.exposures.value_offsets();
        // An absent list has no items.
        let [from, to] = [ends[row], ends[row + 1]].map(|end| end as usize - ends[0] as usize);
        SessionEvent {
            ingest_time_us: self.ingest_times.value(row),
            engagement_class: EngagementClass::parse(self.classes.value(row)).unwrap_or(EngagementClass::Unknown),
            anonymous_id: text(self.anonymous_ids),
            user_id: text(self.user_ids),
            account_id: text(self.account_ids),
            url_host: text(self.url_hosts),
            url_path: text(self.url_paths),
            device_class: text(self.device_classes),
            browser: text(self.browsers),
            os: text(self.systems),
            country: text(self.countries),
            region: text(self.regions),
            touch: Touch {
                channel: text(self.channels),
                campaign_id: text(self.campaign_ids),
                utm_campaign: text(self.utm_campaigns),
                utm_source: text(self.utm_sources),
                utm_medium: text(self.utm_mediums),
                utm_term: text(self.utm_terms),
                creative_id: text(self.creative_ids),
                ad_id: text(self.ad_ids),
                message_id: text(self.message_ids),
                referrer_host: text(self.referrer_hosts),
                referrer_medium: text(self.referrer_mediums),
                referrer_source: text(self.referrer_sources),
                click_id,
            },
            // The lake's decimal has 18 digits, so what comes out of it fits.
            value_micros: self.values.is_valid(row).then(|| self.values.value(row) as i64),
            currency: text(self.currencies),
            exposures: if self.exposures.is_valid(row) { &self.shown[from..to] } else { &[] },
            ..SessionEvent::plain(
                self.times.value(row),
                self.offsets.value(row),
                self.event_ids.value(row),
                self.kind(row),
            )
        }
    }

    fn kind(&self, row: usize) -> EventKind {
        // A kind written by a newer version is activity of some sort to us.
        EventKind::parse(self.kinds.value(row)).unwrap_or(EventKind::Custom)
    }
}

/// The columns that say something, of these.
fn present<'b>(
    columns: impl IntoIterator<Item = (&'static str, &'b StringArray)>,
) -> impl Iterator<Item = (&'static str, &'b StringArray)> {
    columns.into_iter().filter(|(_, texts)| texts.null_count() < texts.len())
}

/// The items of all lists of the column, one after the other, from the first list's first.
fn shown_in(column: &ListArray) -> Vec<Shown<'_>> {
    let ends = column.value_offsets();
    let (first, last) = (ends[0] as usize, ends[column.len()] as usize);
    if first == last {
        return Vec::new();
    }
    let items = column.values().as_struct();
    let [experiments, variants, decisions] = [0, 1, 2].map(|index| items.column(index).as_string::<i32>());
    let probabilities = items.column(3).as_primitive::<Float64Type>();
    (first..last)
        .map(|item| Shown {
            experiment: text_at(experiments, item).unwrap_or_default(),
            variant: text_at(variants, item).unwrap_or_default(),
            decision_id: text_at(decisions, item),
            probability: probabilities.is_valid(item).then(|| probabilities.value(item)),
        })
        .collect()
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
///
/// * `rule`: the text of the column of that name.
pub(crate) fn to_batch(changes: &Changes<'_>, rule: &str, partition: u32, version: i64) -> RecordBatch {
    let rows = || changes.iter();
    let sessions = || rows().map(Change::session);
    let texts = |of: for<'c> fn(&Session<'c>) -> Option<&'c str>| texts_of(sessions(), of);
    let ints = |of: &dyn Fn(&Change<'_>) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows().map(|row| of(&row))))
    };
    let sums = |of: &dyn Fn(&Session<'_>) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(sessions().map(|session| session.as_ref().map_or(0, of))))
    };
    let marks = |of: &dyn Fn(&Session<'_>) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(sessions().map(|session| Some(session.as_ref().is_some_and(of)))))
    };
    let ids = |of: &dyn Fn(&Change<'_>) -> Option<[u8; 32]>| -> ArrayRef {
        let mut ids = StringBuilder::with_capacity(changes.len(), changes.len() * 32);
        for row in rows() {
            ids.append_option(of(&row).as_ref().map(|hex| std::str::from_utf8(hex).expect("hex digits are text")));
        }
        Arc::new(ids.finish())
    };
    let class = |session: Option<Session<'_>>| session.map_or(EngagementClass::Unknown, |it| it.engagement_class());
    let columns: Vec<ArrayRef> = vec![
        ids(&|row| Some(row.session_id().hex())),
        ints(&|_| version),
        ids(&|row| row.superseded_by().map(|id| id.hex())),
        Arc::new(StringArray::from_iter_values(rows().map(|row| row.key().source))),
        Arc::new(StringArray::from_iter_values(rows().map(|row| row.key().session_key))),
        texts(|it| it.anonymous_id()),
        texts(|it| it.user_id()),
        texts(|it| it.account_id()),
        ints(&|row| row.start_time_us()),
        ints(&|row| row.end_time_us()),
        sums(&|it| it.duration_us()),
        sums(&|it| it.engaged_us()),
        sums(&|it| it.event_count()),
        sums(&|it| it.page_count()),
        sums(&|it| it.conversion_count()),
        marks(&|it| it.is_bounce()),
        values_column(changes),
        texts(|it| it.entry_host()),
        texts(|it| it.entry_path()),
        texts(|it| it.exit_path()),
        texts(|it| it.first_channel()),
        texts(|it| it.first_campaign_id()),
        texts(|it| it.first_utm_source()),
        texts(|it| it.first_utm_medium()),
        texts(|it| it.first_referrer_host()),
        texts(|it| it.first_click_id()),
        texts(|it| it.last_channel()),
        texts(|it| it.last_campaign_id()),
        texts(|it| it.last_utm_source()),
        texts(|it| it.last_utm_medium()),
        texts(|it| it.last_referrer_host()),
        texts(|it| it.last_click_id()),
        texts(|it| it.device_class()),
        texts(|it| it.country()),
        exposures_column(changes),
        Arc::new(StringArray::from_iter_values(sessions().map(|session| class(session).as_str()))),
        Arc::new(StringArray::from_iter_values(rows().map(|_| rule))),
        Arc::new(Int32Array::from_value(partition.cast_signed(), changes.len())),
        ints(&|row| row.first_offset()),
        ints(&|row| row.last_offset()),
        texts(|it| it.exit_host()),
        texts(|it| it.browser()),
        texts(|it| it.os()),
        texts(|it| it.region()),
        texts(|it| it.first_utm_term()),
        texts(|it| it.first_creative_id()),
        texts(|it| it.first_ad_id()),
        texts(|it| it.first_message_id()),
        texts(|it| it.first_referrer_medium()),
        texts(|it| it.first_referrer_source()),
        texts(|it| it.last_utm_term()),
        texts(|it| it.last_creative_id()),
        texts(|it| it.last_ad_id()),
        texts(|it| it.last_message_id()),
        texts(|it| it.last_referrer_medium()),
        texts(|it| it.last_referrer_source()),
        marks(&|it| it.is_final()),
        sums(&|it| it.late_event_count()),
        texts(|it| it.first_utm_campaign()),
        texts(|it| it.last_utm_campaign()),
        Arc::new(Date32Array::from_iter_values(rows().map(|row| day_of(row.start_time_us())))),
    ];
    RecordBatch::try_new(Table::Sessions.arrow_schema(), columns).expect("the columns of `sessions`, in order")
}

fn texts_of<'c>(
    sessions: impl Iterator<Item = Option<Session<'c>>>,
    of: impl Fn(&Session<'c>) -> Option<&'c str>,
) -> ArrayRef {
    Arc::new(sessions.map(|session| session.as_ref().and_then(&of)).collect::<StringArray>())
}

fn values_column(changes: &Changes<'_>) -> ArrayRef {
    let rows: Vec<Vec<(&str, i64)>> = changes
        .iter()
        .map(|row| row.session().map(|session| session.value_by_currency()).unwrap_or_default())
        .collect();
    let all: Vec<(&str, i64)> = rows.iter().flatten().copied().collect();
    let currencies = StringArray::from_iter_values(all.iter().map(|value| value.0));
    let DataType::Decimal128(precision, scale) = value_fields()[1].data_type().clone() else {
        unreachable!("money is a decimal")
    };
    let amounts = Decimal128Array::from_iter_values(all.iter().map(|value| i128::from(value.1)))
        .with_precision_and_scale(precision, scale)
        .expect("the scale of money");
    let items = StructArray::new(value_fields(), vec![Arc::new(currencies), Arc::new(amounts)], None);
    let present: Vec<bool> = rows.iter().map(|values| !values.is_empty()).collect();
    let ends = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let DataType::List(element) = list_type("value_by_currency") else { unreachable!("values are a list") };
    Arc::new(ListArray::new(element, ends, Arc::new(items), Some(present.into())))
}

fn exposures_column(changes: &Changes<'_>) -> ArrayRef {
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
    for change in changes.iter() {
        let exposures = change.session().map(|session| session.exposures());
        let mut any = false;
        for shown in exposures.into_iter().flatten() {
            let item = list.values();
            let texts = [Some(shown.experiment), Some(shown.variant), shown.decision_id];
            for (index, text) in texts.into_iter().enumerate() {
                let column = item.field_builder::<StringBuilder>(index).expect("made above: a text");
                column.append_option(text);
            }
            let column = item.field_builder::<Float64Builder>(3).expect("made above: a ratio");
            column.append_option(shown.probability);
            item.append(true);
            any = true;
        }
        list.append(any);
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
        let nothing = Touch::default();
        assert_eq!(EventReader::new(&plain).event(0).touch, nothing, "it says nothing of its origin");
        event.channel = Some("email".to_owned());
        event.fbclid = Some("F".to_owned());
        event.msclkid = Some("M".to_owned());
        event.url_path = Some("/p".to_owned());
        event.currency = Some("EUR".to_owned());
        event.anonymous_id = Some("a".to_owned());
        event.exposures = vec![Exposure {
            experiment: "button".to_owned(),
            variant: "red".to_owned(),
            decision_id: None,
            probability: Some(0.5),
        }];
        let row = row_of(&event);
        let reader = EventReader::new(&row);
        let taken = reader.event(0);
        assert_eq!((taken.touch.channel, taken.touch.click_id), (Some("email"), Some(("fbclid", "F"))));
        assert_eq!((taken.url_path, taken.currency), (Some("/p"), Some("EUR")));
        assert_eq!((taken.time_us, taken.ingest_time_us, taken.offset, taken.event_id), (7, 7, 5, "e1"));
        let shown = Shown { experiment: "button", variant: "red", decision_id: None, probability: Some(0.5) };
        assert_eq!(taken.exposures, [shown]);
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
