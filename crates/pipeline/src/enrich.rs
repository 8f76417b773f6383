//! The columns that enrichment fills, batch by batch: `analytics::enrich` says what they are.
//!
//! In:       rows of `events`, in log order; rules.
//! Out:      the same rows with browser, system and device, referrer, channel, class, and the value in the reporting
//!           currency; with each row what was filled, and by which version of the rules.
//! Promise:  what the sender said stays. Only raw columns are read, and `enriched` says which others are ours. How rows are cut into batches changes nothing.
//! Not here: what the words mean (`analytics::enrich`); the state of messages after a restart (`messages`).

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Float64Type};
use std::sync::Arc;
use tributary_analytics::channel::TouchHints;
use tributary_analytics::enrich::agent::{self, Agent};
use tributary_analytics::enrich::burst::{Bursts, Reason};
use tributary_analytics::enrich::cache::Cache;
use tributary_analytics::enrich::channel_rules::Origin;
use tributary_analytics::enrich::machine::Machine;
use tributary_analytics::enrich::referrer::Referral;
use tributary_analytics::enrich::{BuiltIn, Rules, built_in, refined};
use tributary_schemas::{EngagementClass, EventKind, Table, money};

use crate::columns::{array, day_of, int, money, text, text_at};
use crate::messages::MessageReader;

/// What is ours in a row, one bit a column, as `enriched` stores it.
mod mark {
    pub(super) const CHANNEL: i64 = 1;
    pub(super) const BROWSER: i64 = 2;
    pub(super) const OS: i64 = 4;
    pub(super) const DEVICE_CLASS: i64 = 8;
    pub(super) const REFERRER_MEDIUM: i64 = 16;
    pub(super) const REFERRER_SOURCE: i64 = 32;
    /// Nothing was filled: there is a value, and no rate for its currency and day.
    pub(super) const NO_RATE: i64 = 64;
}

/// The columns that nobody but enrichment writes.
const OWN: [&str; 8] = [
    "browser_version",
    "os_version",
    "engagement_class_received",
    "value_reporting",
    "reporting_currency",
    "rate_date",
    "enriched",
    "enrichment",
];

/// Answers remembered a partition; an entry takes some 300 to 600 bytes, so these are 5 MB at most.
const ANSWERS_MAX: usize = 8_192;

/// Enriches the rows of one partition.
pub(crate) struct Enrichment {
    rules: Arc<Rules>,
    agents: Cache<(Agent, Option<Machine>)>,
    referrals: Cache<Option<Referral>>,
    channels: Cache<Option<Box<str>>>,
    pub(crate) bursts: Bursts,
    /// Amounts there was no rate for, since somebody last took the count.
    pub(crate) without_rate: u64,
}

/// What is seen of who did it: row, class, reason.
type Sighting = (usize, EngagementClass, &'static str);

impl Enrichment {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self {
            agents: Cache::new(ANSWERS_MAX),
            referrals: Cache::new(ANSWERS_MAX),
            channels: Cache::new(ANSWERS_MAX),
            bursts: Bursts::new(rules.bursts),
            without_rate: 0,
            rules,
        }
    }

    /// Rows that come for the first time, in log order.
    pub(crate) fn apply(&mut self, batch: &RecordBatch) -> RecordBatch {
        let mut seen = Vec::new();
        let ingest_times = int(batch, "ingest_time_us").values();
        if text(batch, "message_id").null_count() == batch.num_rows() {
            ingest_times.iter().for_each(|time| self.bursts.received(*time));
        } else {
            let messages = MessageReader::new(batch);
            for (row, time) in ingest_times.iter().enumerate() {
                self.bursts.received(*time);
                let reason = messages.event(row).and_then(|event| self.bursts.observe(&event));
                seen.extend(reason.map(|reason| (row, EngagementClass::Scanner, reason.as_str())));
            }
        }
        self.fill(batch, seen)
    }

    /// `batch`: raw. `seen`: what sequences showed, by row.
    fn fill(&mut self, batch: &RecordBatch, mut seen: Vec<Sighting>) -> RecordBatch {
        let rows = batch.num_rows();
        let lists = built_in();
        let mut filled = Filled { batch, columns: batch.columns().to_vec(), marks: vec![0; rows] };
        self.fill_agents(lists, &mut filled, &mut seen);
        self.fill_referrers(&mut filled);
        self.fill_channels(&mut filled);
        fill_classes(&mut filled, seen);
        self.fill_values(&mut filled);
        let Filled { mut columns, marks, .. } = filled;
        columns[index_of(batch, "enriched")] = Arc::new(Int64Array::from(marks));
        let version = std::iter::repeat_n(self.rules.version(), rows);
        columns[index_of(batch, "enrichment")] = Arc::new(StringArray::from_iter_values(version));
        RecordBatch::try_new(batch.schema(), columns).expect("same types, same length")
    }

    fn fill_agents(&mut self, lists: &BuiltIn, filled: &mut Filled<'_>, seen: &mut Vec<Sighting>) {
        let batch = filled.batch;
        let rows = batch.num_rows();
        let agents = text(batch, "user_agent");
        if agents.null_count() == rows {
            return;
        }
        let (kinds, dialects) = (text(batch, "event_kind"), text(batch, "dialect"));
        let said = ["browser", "os", "device_class"].map(|name| text(batch, name));
        let marks = [mark::BROWSER, mark::OS, mark::DEVICE_CLASS];
        let mut families = [(); 3].map(|()| StringBuilder::with_capacity(rows, rows * 12));
        let mut versions = [(); 2].map(|()| StringBuilder::with_capacity(rows, rows * 8));
        for row in 0..rows {
            let agent = text_at(agents, row).map(agent::cut).filter(|agent| !agent.is_empty());
            let found = agent.map(|agent| {
                self.agents.get_or(agent.as_bytes(), || {
                    let machine = lists.crawlers.find(agent);
                    let mut read = lists.agents.read(agent);
                    if machine.is_some_and(|machine| !machine.is_library) {
                        read.device = agent::BOT;
                    }
                    (read, machine)
                })
            });
            let read = found.map(|(read, _)| read);
            let ours = [
                read.and_then(|read| read.browser.as_deref()),
                read.and_then(|read| read.os.as_deref()),
                read.map(|read| read.device),
            ];
            let our_versions = [
                read.and_then(|read| read.browser_version.as_deref()),
                read.and_then(|read| read.os_version.as_deref()),
            ];
            for index in 0..3 {
                let word = text_at(said[index], row);
                if word.is_none() && ours[index].is_some() {
                    filled.marks[row] |= marks[index];
                }
                families[index].append_option(word.or(ours[index]));
                // A version is that of the family the row names.
                let is_of_it =
                    || word.is_none_or(|word| ours[index].is_some_and(|ours| ours.eq_ignore_ascii_case(word)));
                if let Some(builder) = versions.get_mut(index) {
                    builder.append_option(our_versions[index].filter(|_| is_of_it()));
                }
            }
            if let Some((_, Some(machine))) = found
                && (!machine.is_library || is_first_hand(dialects.value(row), kinds.value(row)))
                && !is_done_by_the_house(kinds.value(row))
            {
                seen.push((row, machine.class, machine.reason));
            }
        }
        for (name, mut builder) in ["browser", "os", "device_class"].into_iter().zip(families) {
            filled.put(name, Arc::new(builder.finish()));
        }
        for (name, mut builder) in ["browser_version", "os_version"].into_iter().zip(versions) {
            filled.put(name, Arc::new(builder.finish()));
        }
    }

    fn fill_referrers(&mut self, filled: &mut Filled<'_>) {
        let batch = filled.batch;
        let rows = batch.num_rows();
        let hosts = text(batch, "referrer_host");
        if hosts.null_count() == rows {
            return;
        }
        let (own_hosts, terms) = (text(batch, "url_host"), text(batch, "referrer_term"));
        let (said_mediums, said_sources) = (text(batch, "referrer_medium"), text(batch, "referrer_source"));
        let mut mediums = StringBuilder::with_capacity(rows, rows * 8);
        let mut sources = StringBuilder::with_capacity(rows, rows * 8);
        let mut key = Vec::new();
        for row in 0..rows {
            let (said_medium, said_source) = (text_at(said_mediums, row), text_at(said_sources, row));
            let (mut medium, mut source) = (said_medium, said_source);
            if let Some(host) = text_at(hosts, row)
                && said_medium.is_none()
                && said_source.is_none()
            {
                let (own, has_term) = (text_at(own_hosts, row), terms.is_valid(row));
                key.clear();
                key.push(u8::from(has_term));
                key.extend(host.as_bytes());
                key.push(0);
                key.extend(own.unwrap_or_default().as_bytes());
                let referral = self.referrals.get_or(&key, || self.rules.referral(host, own, has_term));
                if let Some(referral) = referral {
                    (medium, source) = (Some(referral.medium), referral.source);
                    filled.marks[row] |= mark::REFERRER_MEDIUM;
                    filled.marks[row] |= if source.is_some() { mark::REFERRER_SOURCE } else { 0 };
                }
            }
            mediums.append_option(medium);
            sources.append_option(source);
        }
        filled.put("referrer_medium", Arc::new(mediums.finish()));
        filled.put("referrer_source", Arc::new(sources.finish()));
    }

    fn fill_channels(&mut self, filled: &mut Filled<'_>) {
        let batch = filled.batch;
        let hints = Hints::new(batch);
        if hints.is_silent() {
            return;
        }
        let said = text(batch, "channel");
        let mut channels = StringBuilder::with_capacity(batch.num_rows(), batch.num_rows() * 8);
        let mut key = Vec::new();
        for row in 0..batch.num_rows() {
            if let Some(channel) = text_at(said, row) {
                channels.append_value(channel);
                continue;
            }
            let origin = hints.at(row);
            if origin
                == (Origin {
                    hints: TouchHints { own_host: origin.hints.own_host, ..TouchHints::default() },
                    ..Origin::default()
                })
            {
                channels.append_null();
                continue;
            }
            write_key(&origin, &mut key);
            let channel = self.channels.get_or(&key, || self.rules.channel(&origin).map(Box::from));
            if channel.is_some() {
                filled.marks[row] |= mark::CHANNEL;
            }
            channels.append_option(channel.as_deref());
        }
        filled.put("channel", Arc::new(channels.finish()));
    }

    fn fill_values(&mut self, filled: &mut Filled<'_>) {
        let batch = filled.batch;
        let rows = batch.num_rows();
        let values = money(batch, "value");
        if values.null_count() == rows {
            return;
        }
        let Some(rates) = self.rules.rates() else { return };
        let (currencies, times) = (text(batch, "currency"), int(batch, "event_time_us").values());
        let mut micros = vec![None; rows];
        let mut days = vec![None; rows];
        for row in (0..rows).filter(|row| values.is_valid(*row)) {
            let converted = i64::try_from(values.value(row))
                .ok()
                .zip(text_at(currencies, row))
                .and_then(|(micros, currency)| rates.convert(micros, currency, day_of(times[row])));
            match converted {
                Some(converted) => {
                    micros[row] = Some(i128::from(converted.micros));
                    days[row] = Some(converted.rate_day);
                }
                None => {
                    filled.marks[row] |= mark::NO_RATE;
                    self.without_rate += 1;
                }
            }
        }
        let currency = micros.iter().map(|micros| micros.map(|_| rates.reporting())).collect::<StringArray>();
        let micros = Decimal128Array::from(micros).with_precision_and_scale(money::PRECISION, money::SCALE);
        filled.put("value_reporting", Arc::new(micros.expect("the scale of money")));
        filled.put("reporting_currency", Arc::new(currency));
        filled.put("rate_date", Arc::new(Date32Array::from(days)));
    }
}

/// A batch on its way.
struct Filled<'b> {
    batch: &'b RecordBatch,
    columns: Vec<ArrayRef>,
    marks: Vec<i64>,
}

impl Filled<'_> {
    fn put(&mut self, name: &str, column: ArrayRef) {
        self.columns[index_of(self.batch, name)] = column;
    }
}

fn index_of(batch: &RecordBatch, name: &str) -> usize {
    batch.schema_ref().index_of(name).expect("a column of our own schema")
}

/// The columns of `events` that only enrichment fills, empty, in their order.
pub(crate) fn empty_columns(rows: usize) -> impl Iterator<Item = ArrayRef> {
    let schema = Table::Events.arrow_schema();
    OWN.map(|name| {
        let field = schema.field_with_name(name).expect("a column of our own schema");
        new_null_array(field.data_type(), rows)
    })
    .into_iter()
}

/// Fetched by itself, not reported by a program on a person's behalf.
fn is_first_hand(dialect: &str, kind: &str) -> bool {
    matches!(dialect, "pixel" | "redirect") || kind == EventKind::Open.as_str()
}

/// Nobody's doing but our own: its class says nothing.
fn is_done_by_the_house(kind: &str) -> bool {
    [EventKind::Send, EventKind::Decision, EventKind::Cost].iter().any(|own| own.as_str() == kind)
}

/// Makes the class of rows more specific where something was seen.
fn fill_classes(filled: &mut Filled<'_>, mut seen: Vec<Sighting>) {
    let batch = filled.batch;
    let door = text(batch, "engagement_class");
    // By row; of one row what it says itself before what a sequence shows.
    seen.sort_by_key(|(row, _, reason)| (*row, is_of_sequence(reason)));
    let mut changes: Vec<(usize, EngagementClass, Option<f64>, Vec<&'static str>)> = Vec::new();
    for (row, class, reason) in seen {
        let known = changes.last_mut().filter(|change| change.0 == row);
        let before = match &known {
            Some(change) => change.1,
            None => EngagementClass::parse(door.value(row)).unwrap_or(EngagementClass::Unknown),
        };
        let Some(class) = refined(before, class) else { continue };
        // Who names himself is sure to be a machine; how often sequences deceive nobody has measured.
        let confidence = (!is_of_sequence(reason)).then_some(1.0);
        match known {
            Some(change) => {
                (change.1, change.2) = (class, confidence);
                change.3.push(reason);
            }
            None => changes.push((row, class, confidence, vec![reason])),
        }
    }
    if changes.is_empty() {
        return;
    }
    let rows = batch.num_rows();
    let mut classes: Vec<&str> = (0..rows).map(|row| door.value(row)).collect();
    let confidence = array(batch, "engagement_confidence").as_primitive::<Float64Type>();
    let mut confidence: Vec<Option<f64>> = confidence.iter().collect();
    let mut received: Vec<Option<&str>> = vec![None; rows];
    let mut added: Vec<&[&'static str]> = vec![&[]; rows];
    for (row, class, sure, reasons) in &changes {
        (classes[*row], confidence[*row]) = (class.as_str(), *sure);
        (received[*row], added[*row]) = (Some(door.value(*row)), reasons);
    }
    let reasons = reasons_with(batch, |row| added[row]);
    filled.put("engagement_reasons", reasons);
    filled.put("engagement_class", Arc::new(StringArray::from(classes)));
    filled.put("engagement_confidence", Arc::new(Float64Array::from(confidence)));
    filled.put("engagement_class_received", Arc::new(StringArray::from(received)));
}

fn is_of_sequence(reason: &str) -> bool {
    [Reason::Links, Reason::AfterSend, Reason::AfterHead].iter().any(|known| known.as_str() == reason)
}

/// The column `engagement_reasons`, with what is added to a row.
fn reasons_with<'r>(batch: &RecordBatch, added: impl Fn(usize) -> &'r [&'static str]) -> ArrayRef {
    let index = index_of(batch, "engagement_reasons");
    let DataType::List(element) = batch.schema_ref().field(index).data_type() else {
        unreachable!("reasons are a list")
    };
    let mut list = ListBuilder::new(StringBuilder::new()).with_field(element.clone());
    let reasons = batch.column(index).as_list::<i32>();
    for row in 0..batch.num_rows() {
        let is_list = reasons.is_valid(row);
        if is_list {
            for reason in reasons.value(row).as_string::<i32>().iter().flatten() {
                list.values().append_value(reason);
            }
        }
        for reason in added(row) {
            list.values().append_value(reason);
        }
        list.append(is_list || !added(row).is_empty());
    }
    Arc::new(list.finish())
}

/// The columns that say where an event came from.
struct Hints<'b> {
    utm_source: Option<&'b StringArray>,
    utm_medium: Option<&'b StringArray>,
    utm_campaign: Option<&'b StringArray>,
    other_utms: [Option<&'b StringArray>; 2],
    click_ids: [Option<&'b StringArray>; 9],
    referrer_host: Option<&'b StringArray>,
    referrer_term: Option<&'b StringArray>,
    url_host: &'b StringArray,
}

impl<'b> Hints<'b> {
    fn new(batch: &'b RecordBatch) -> Self {
        // Most batches have none of most of them, and then they need not be asked for each row.
        let column = |name: &str| Some(text(batch, name)).filter(|texts| texts.null_count() < texts.len());
        Self {
            utm_source: column("utm_source"),
            utm_medium: column("utm_medium"),
            utm_campaign: column("utm_campaign"),
            other_utms: ["utm_term", "utm_content"].map(column),
            click_ids: ["gclid", "gbraid", "wbraid", "dclid", "msclkid", "fbclid", "ttclid", "twclid", "li_fat_id"]
                .map(column),
            referrer_host: column("referrer_host"),
            referrer_term: column("referrer_term"),
            url_host: text(batch, "url_host"),
        }
    }

    fn is_silent(&self) -> bool {
        let some = [self.utm_source, self.utm_medium, self.utm_campaign, self.referrer_host];
        some.iter().chain(&self.other_utms).chain(&self.click_ids).all(Option::is_none)
    }

    fn at(&self, row: usize) -> Origin<'b> {
        let at = |texts: Option<&'b StringArray>| texts.and_then(|texts| text_at(texts, row));
        let has = |texts: Option<&StringArray>| texts.is_some_and(|texts| texts.is_valid(row));
        let [gclid, gbraid, wbraid, dclid, msclkid, fbclid, ttclid, twclid, li_fat_id] = self.click_ids;
        let hints = TouchHints {
            utm_source: at(self.utm_source),
            utm_medium: at(self.utm_medium),
            has_other_utm: has(self.utm_campaign) || self.other_utms.into_iter().any(has),
            has_google_ads_click_id: has(gclid) || has(gbraid) || has(wbraid),
            has_google_display_click_id: has(dclid),
            has_microsoft_ads_click_id: has(msclkid),
            has_meta_click_id: has(fbclid),
            has_tiktok_click_id: has(ttclid),
            has_x_click_id: has(twclid),
            has_linkedin_click_id: has(li_fat_id),
            referrer_host: at(self.referrer_host),
            own_host: text_at(self.url_host, row),
        };
        Origin { hints, utm_campaign: at(self.utm_campaign), has_referrer_term: has(self.referrer_term) }
    }
}

/// Two origins of one key are one origin.
fn write_key(origin: &Origin<'_>, key: &mut Vec<u8>) {
    let hints = &origin.hints;
    let bits = [
        hints.has_other_utm,
        hints.has_google_ads_click_id,
        hints.has_google_display_click_id,
        hints.has_microsoft_ads_click_id,
        hints.has_meta_click_id,
        hints.has_tiktok_click_id,
        hints.has_x_click_id,
        hints.has_linkedin_click_id,
    ];
    key.clear();
    key.push(bits.iter().enumerate().fold(0, |byte, (index, bit)| byte | u8::from(*bit) << index));
    key.push(u8::from(origin.has_referrer_term));
    for text in [hints.utm_source, hints.utm_medium, origin.utm_campaign, hints.referrer_host, hints.own_host] {
        // Ahead of each text its length and whether there is one: no text can pass for two.
        key.extend(text.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1)).to_le_bytes());
        key.extend(text.unwrap_or_default().as_bytes());
    }
}

#[cfg(test)]
mod tests;
