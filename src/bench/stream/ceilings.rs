//! Ceilings: what one thread of this machine does with the same lines when nothing but the unavoidable is done.
//!
//! In:      the lines, or the log made of them; at most a million.
//! Out:     events a core-second of four parts, each alone.
//! Promise: the same process, minute, input and compression as the run; no sessions, no deduplication, no second table.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, StringDictionaryBuilder};
use arrow::datatypes::{DataType, Field, Int16Type, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use tributary_eventlog::EventLog;
use tributary_schemas::wire::{Shape, WireDecoder};

use super::input::Lines;
use super::job::open_log;
use crate::bench::{per_second, usage};

#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Ceiling {
    pub(super) name: &'static str,
    pub(super) per_second: f64,
}

/// What one thread has worked since: its CPU time, in which neighbours on the machine do not count; the time that passed
/// where the system does not tell. Nothing else runs in this process meanwhile.
struct Worked {
    begun: Instant,
    cpu_before: Option<Duration>,
}

impl Worked {
    fn begin() -> Self {
        Self { begun: Instant::now(), cpu_before: usage::own_cpu() }
    }

    fn time(&self) -> Duration {
        let cpu = usage::own_cpu().zip(self.cpu_before).map(|(now, before)| now.saturating_sub(before));
        // CPU time comes in steps of 10 ms.
        cpu.filter(|cpu| *cpu >= Duration::from_millis(100)).unwrap_or_else(|| self.begun.elapsed())
    }
}

/// More would only take longer, and lies in memory as a whole.
pub(super) const EVENTS_MAX: usize = 1_000_000;
const BATCH_ROWS: usize = 8_192;
const ROW_GROUP_ROWS: usize = 250_000;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "messageId")]
    message_id: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "anonymousId")]
    anonymous_id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "userId")]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, rename = "receivedAt")]
    received_at: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    context: Context_<'a>,
    #[serde(borrow, default)]
    properties: Properties<'a>,
}

#[derive(Deserialize, Default)]
struct Context_<'a> {
    #[serde(borrow)]
    campaign: Option<Campaign<'a>>,
    #[serde(borrow)]
    page: Option<Page<'a>>,
    #[serde(borrow)]
    device: Option<Device<'a>>,
}

#[derive(Deserialize)]
struct Campaign<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    medium: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Device<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
struct Properties<'a> {
    #[serde(borrow)]
    variant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    product_id: Option<Cow<'a, str>>,
    revenue: Option<f64>,
}

/// Few values, often repeated.
const REPEATED: [&str; 9] =
    ["event", "channel", "campaign", "utm_source", "utm_medium", "page_path", "device", "variant", "product_id"];

#[derive(Default)]
struct Builders {
    message_id: StringBuilder,
    anonymous_id: StringBuilder,
    user_id: StringBuilder,
    time_us: Int64Builder,
    received_us: Int64Builder,
    revenue_micros: Int64Builder,
    repeated: [StringDictionaryBuilder<Int16Type>; 9],
    rows: usize,
}

impl Builders {
    fn push(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        self.message_id.append_value(&line.message_id);
        self.anonymous_id.append_option(line.anonymous_id.as_deref());
        self.user_id.append_option(line.user_id.as_deref());
        self.time_us.append_value(micros(&line.timestamp)?);
        self.received_us.append_option(line.received_at.as_deref().map(micros).transpose()?);
        self.revenue_micros.append_option(line.properties.revenue.map(|amount| (amount * 1e6).round() as i64));
        let campaign = line.context.campaign.as_ref();
        let texts: [Option<&str>; 9] = [
            line.event.as_deref(),
            campaign.and_then(|campaign| campaign.channel.as_deref()),
            campaign.and_then(|campaign| campaign.name.as_deref()),
            campaign.and_then(|campaign| campaign.source.as_deref()),
            campaign.and_then(|campaign| campaign.medium.as_deref()),
            line.context.page.as_ref().and_then(|page| page.path.as_deref()),
            line.context.device.as_ref().and_then(|device| device.kind.as_deref()),
            line.properties.variant.as_deref(),
            line.properties.product_id.as_deref(),
        ];
        for (builder, text) in self.repeated.iter_mut().zip(texts) {
            builder.append_option(text);
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<RecordBatch> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.message_id.finish()),
            Arc::new(self.anonymous_id.finish()),
            Arc::new(self.user_id.finish()),
            Arc::new(self.time_us.finish()),
            Arc::new(self.received_us.finish()),
            Arc::new(self.revenue_micros.finish()),
        ];
        columns.extend(self.repeated.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

fn schema() -> SchemaRef {
    let of = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
    let texts = ["message_id", "anonymous_id", "user_id"].map(|name| of(name, &DataType::Utf8));
    let numbers = ["time_us", "received_us", "revenue_micros"].map(|name| of(name, &DataType::Int64));
    let repeated = DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8));
    let repeated = REPEATED.map(|name| of(name, &repeated));
    Arc::new(Schema::new(texts.into_iter().chain(numbers).chain(repeated).collect::<Vec<_>>()))
}

/// The fixed form `2026-06-01T00:00:00.123456Z` by its digits, as a program made for it would; any other by the library.
fn micros(text: &str) -> anyhow::Result<i64> {
    let bytes = text.as_bytes();
    let fixed = bytes.len() == 27 && bytes[26] == b'Z' && bytes[10] == b'T' && bytes[19] == b'.';
    if !fixed {
        return Ok(text.parse::<jiff::Timestamp>()?.as_microsecond());
    }
    let digits = |from: usize, to: usize| {
        bytes[from..to].iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0')))
    };
    let (year, month, day) = (digits(0, 4), digits(5, 7), digits(8, 10));
    // Days since 1970 of a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day
        - 1
        - 719_468;
    let seconds = (days * 24 + digits(11, 13)) * 3_600 + digits(14, 16) * 60 + digits(17, 19);
    Ok(seconds * 1_000_000 + digits(20, 26))
}

/// Parsing and writing, from the lines.
pub(super) fn of_lines(lines: Lines, out: &Path) -> anyhow::Result<Vec<Ceiling>> {
    let lines: Vec<Vec<u8>> = lines.take(EVENTS_MAX).collect::<Result<_, _>>()?;
    let worked = Worked::begin();
    let mut writer = writer(out, schema())?;
    let (mut builders, mut batches) = (Builders::default(), Vec::new());
    for line in &lines {
        builders.push(&serde_json::from_slice(line).context("a line is no event")?)?;
        if builders.rows == BATCH_ROWS {
            let batch = builders.finish()?;
            writer.write(&batch)?;
            batches.push(batch);
        }
    }
    let batch = builders.finish()?;
    writer.write(&batch)?;
    batches.push(batch);
    writer.close()?;
    let whole = per_second(lines.len(), worked.time());
    let alone = per_second(lines.len(), write(&batches, out)?);
    Ok(vec![
        Ceiling { name: "JSON to Arrow to zstd Parquet, 15 columns", per_second: whole },
        Ceiling { name: "Arrow to zstd Parquet alone, 15 columns", per_second: alone },
    ])
}

/// Decoding what the log holds, and writing the decoded rows.
pub(super) async fn of_log(folder: &Path, partitions: u32, out: &Path) -> anyhow::Result<Vec<Ceiling>> {
    let (log, events, _) = open_log(folder, partitions).await?;
    let mut start = Vec::new();
    for partition in 0..events.partitions {
        start.push((partition, log.bounds(&events.topic, partition).await?.earliest));
    }
    let mut reader = log.reader(&events.topic, &start).await?;
    let mut values: Vec<Vec<u8>> = Vec::new();
    while values.len() < EVENTS_MAX {
        let polled = reader.poll(8 << 20, Duration::from_millis(100)).await?;
        if polled.records.is_empty() && polled.at_end.len() == start.len() {
            break;
        }
        values.extend(polled.records.into_iter().map(|delivered| delivered.record.value.to_vec()));
    }
    log.close().await?;
    let out = out.to_owned();
    let measured = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<Ceiling>> {
        let mut decoder = WireDecoder::new(Shape::Event);
        let worked = Worked::begin();
        let batches: Vec<RecordBatch> = values.chunks(BATCH_ROWS).map(|run| decoder.decode(run).batch).collect();
        let decode = per_second(values.len(), worked.time());
        let alone = per_second(values.len(), write(&batches, &out)?);
        Ok(vec![
            Ceiling { name: "our Avro decode alone", per_second: decode },
            Ceiling { name: "all columns of an event to zstd Parquet alone", per_second: alone },
        ])
    });
    measured.await.context("measuring a ceiling broke off")?
}

fn write(batches: &[RecordBatch], out: &Path) -> anyhow::Result<Duration> {
    let schema = batches.first().context("there are events")?.schema();
    let worked = Worked::begin();
    let mut writer = writer(out, schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(worked.time())
}

fn writer(out: &Path, schema: SchemaRef) -> anyhow::Result<ArrowWriter<std::fs::File>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_column_dictionary_enabled("message_id".into(), false)
        .build();
    let file = std::fs::File::create(out).with_context(|| format!("cannot make {}", out.display()))?;
    Ok(ArrowWriter::try_new(file, schema, Some(properties))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_by_digits_are_those_the_library_reads() {
        for text in ["2026-06-01T00:00:00.123456Z", "2024-02-29T23:59:59.999999Z", "1970-01-01T00:00:00.000000Z"] {
            assert_eq!(micros(text).unwrap(), text.parse::<jiff::Timestamp>().unwrap().as_microsecond(), "{text}");
        }
        assert_eq!(micros("2026-06-01T00:00:00Z").unwrap(), 1_780_272_000_000_000);
        assert!(micros("yesterday").is_err());
    }
}
