//! Answers: funnel, attribution and the like over a lake of compacted events, against other engines on the same events.
//!
//! In:       a folder with Parquet files of events (columns below); commands that ask another engine the same.
//! Out:      for each question the middle time of each, the ratio, and the most memory that was used.
//! Promise:  all take turns in the same minutes, on as many threads; ours lie as the stream job and compaction leave them,
//!           days sorted by person, and are asked by the functions of `docs/sql.md`. A first question, not timed, warms each.
//! Not here: how other engines ask (their commands do).
//!
//! Columns: `event_id`, `event_time`, `received_at`, `event_type`, `distinct_id`, `channel`, `campaign`, `utm_source`,
//! `utm_medium`, `utm_content`, `page_path`, `device`, `os`, `country`, `variant`, `revenue_cents`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tributary_lake::{CompactOptions, Lake, LakeSettings};
use tributary_query::{Engine, QuerySettings, render};
use tributary_schemas::Table;

use super::usage;

#[derive(clap::Args)]
pub(crate) struct AnswersArgs {
    /// Folder of Parquet files with the events
    #[arg(long, value_name = "DIR")]
    events: PathBuf,
    /// The lake made of them; made once, and used again
    #[arg(long, value_name = "DIR")]
    lake: PathBuf,
    /// Leave the lake's files as they are written, in order of arrival, and not sorted by person
    #[arg(long)]
    uncompacted: bool,
    /// Timed rounds; the middle one is told
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    runs: usize,
    /// Only these questions
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Another engine, as NAME=COMMAND; `{query}` in it is the question's name, and its last line is JSON with `query_s`
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Write each answer there, as JSON
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Memory of the pool, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4_096)]
    memory: usize,
}

struct Question {
    name: &'static str,
    sql: &'static str,
}

/// Asked of whole persons, who may have several devices, where the peers ask of one id: what finding persons costs.
const OF_PERSONS: &str = "_persons";

/// By the names that peers know them by.
const QUESTIONS: &[Question] = &[
    Question {
        name: "a_funnel",
        sql: "SELECT * FROM funnel(
            steps => [event_name = 'page', event_name = 'click', event_name = 'add_to_cart', event_name = 'purchase'],
            window => '7 days', breakdown => channel, key => session_key)",
    },
    Question {
        name: "a_funnel_persons",
        sql: "SELECT * FROM funnel(
            steps => [event_name = 'page', event_name = 'click', event_name = 'add_to_cart', event_name = 'purchase'],
            window => '7 days', breakdown => channel)",
    },
    Question {
        name: "b_sessions",
        sql: "SELECT count(*) AS sessions, sum(events) AS events, count(*) FILTER (WHERE events = 1) AS bounces,
            sum(end_time_us - start_time_us) AS duration_us,
            count(*) FILTER (WHERE first_touch = 'email') AS email_sessions, sum(value) AS value
            FROM sessionize(gap => '30 minutes', touch => channel, value => value, goal => false, filter => true,
                key => session_key)",
    },
    Question {
        name: "c_attribution",
        sql: "SELECT model, channel, conversions, value FROM attribution(
            model => ['first_touch', 'last_touch', 'linear', 'time_decay', 'u_shaped'], touch => true,
            conversion => event_name = 'purchase', same_touch_by => 1, lookback => '30 days', key => session_key)",
    },
    Question {
        name: "c2_paths",
        sql: "SELECT * FROM conversion_paths(by => channel, touch => true, conversion => event_name = 'purchase',
            same_touch_by => 1, lookback => '30 days', top => 20, key => session_key)",
    },
    Question {
        name: "e_retention",
        sql: "SELECT * FROM retention(period => 'week', filter => true, key => session_key)",
    },
    Question {
        name: "f_experiment",
        sql: "SELECT * FROM experiment(name => 'bench', metric => 'value', conversion => event_name = 'purchase',
            key => session_key)",
    },
    Question {
        name: "f_experiment_persons",
        sql: "SELECT * FROM experiment(name => 'bench', metric => 'value', conversion => event_name = 'purchase')",
    },
    Question { name: "g2_dedup_count", sql: "SELECT count(DISTINCT event_id) FROM events" },
];

pub(super) async fn command(args: AnswersArgs) -> anyhow::Result<()> {
    let lake = lake(&args.events, &args.lake, !args.uncompacted).await?;
    let settings =
        QuerySettings { memory_bytes_max: args.memory << 20, time_ms_max: 600_000, ..QuerySettings::default() };
    let peers: Vec<(&str, &str)> = args
        .peer
        .iter()
        .map(|peer| peer.split_once('=').with_context(|| format!("--peer {peer}: write NAME=COMMAND")))
        .collect::<anyhow::Result<_>>()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("answers: {}, {cores} cores, the middle of {} runs", args.events.display(), args.runs);
    for question in
        QUESTIONS.iter().filter(|question| args.only.is_empty() || args.only.iter().any(|name| name == question.name))
    {
        // A server keeps one for all questions, as the others keep theirs.
        let engine = Engine::new(settings.clone(), lake.clone())?;
        let answer = engine.query(question.sql).await?;
        if let Some(out) = &args.out {
            std::fs::create_dir_all(out)?;
            let mut writer =
                render::JsonArrayWriter::new(std::fs::File::create(out.join(format!("{}.json", question.name)))?);
            for batch in &answer.batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
        let mut ours = Vec::new();
        let mut theirs = vec![Vec::new(); peers.len()];
        for _ in 0..args.runs {
            let begun = Instant::now();
            engine.query(question.sql).await?;
            ours.push(begun.elapsed().as_secs_f64());
            for ((name, command), times) in peers.iter().zip(&mut theirs) {
                times.push(
                    ask(command, question.name.trim_end_matches(OF_PERSONS))
                        .with_context(|| format!("asking {name}"))?,
                );
            }
        }
        let ours = middle(&mut ours);
        let memory = usage::peak_rss_bytes().unwrap_or_default() >> 20;
        println!("  {}: {:.3} s, at most {memory} MiB so far", question.name, ours);
        for ((name, _), times) in peers.iter().zip(&mut theirs) {
            let theirs = middle(times);
            println!("      {name}: {theirs:.3} s, {:.1} times ours", theirs / ours);
        }
    }
    Ok(())
}

fn middle(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The seconds that the other engine says its question took.
fn ask(command: &str, question: &str) -> anyhow::Result<f64> {
    let command = command.replace("{query}", question);
    let output = Command::new("sh").args(["-c", &command]).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_str(told.lines().last().unwrap_or_default())?;
    line["query_s"].as_f64().with_context(|| format!("{command} told no query_s: {line}"))
}

/// The lake of the events, made if it is not there.
async fn lake(events: &Path, folder: &Path, is_compacted: bool) -> anyhow::Result<Lake> {
    let url = format!("file://{}/", std::path::absolute(folder)?.display());
    // The one does not pass for the other.
    let [done, other] = if is_compacted { ["made", "made-uncompacted"] } else { ["made-uncompacted", "made"] };
    let (done, other) = (folder.join(done), folder.join(other));
    ensure!(
        !other.exists(),
        "{} was made the other way: name another folder, or leave --uncompacted",
        folder.display()
    );
    let lake = Lake::open(LakeSettings { url, ..LakeSettings::default() }).await?;
    if done.exists() {
        return Ok(lake);
    }
    let begun = Instant::now();
    let schema = Table::Events.arrow_schema();
    let mut writer = lake.writer(Table::Events).await?;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(events)?.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let mut maker = Maker { schema, seen: HashSet::new(), rows: 0 };
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "parquet")) {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file)?)?.with_batch_size(250_000).build()?;
        for batch in reader {
            writer.append(vec![maker.events(&batch?)?], &[]).await?;
        }
    }
    let everything = CompactOptions { everything: true, ..CompactOptions::default() };
    if is_compacted {
        eprintln!("{:?}", lake.compact(Table::Events, &everything).await?);
    }
    std::fs::write(&done, b"")?;
    eprintln!("made a lake of {} events in {:.0} s", maker.rows, begun.elapsed().as_secs_f64());
    Ok(lake)
}

struct Maker {
    schema: SchemaRef,
    seen: HashSet<String>,
    rows: i64,
}

impl Maker {
    fn events(&mut self, batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
        let rows = batch.num_rows();
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("the events have no {name}"));
        let text = |name: &str| -> anyhow::Result<StringArray> {
            Ok(cast(column(name)?, &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let number = |name: &str| -> anyhow::Result<Int64Array> {
            Ok(cast(column(name)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        };
        let all =
            |value: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))) };
        let persons = text("distinct_id")?;
        let names = text("event_type")?;
        let times = number("event_time")?;
        let cents = number("revenue_cents")?;
        let is_named: Vec<bool> =
            persons.iter().map(|person| person.is_some_and(|person| person.starts_with("user_"))).collect();
        let only = |wanted: bool| -> ArrayRef {
            let kept = persons.iter().zip(&is_named).map(|(person, named)| person.filter(|_| *named == wanted));
            Arc::new(kept.collect::<StringArray>())
        };
        let first_offset = self.rows;
        self.rows += i64::try_from(rows)?;
        let kind = |name: &str| match name {
            "page" => "page",
            "click" | "email_click" | "ad_click" => "click",
            "email_open" => "open",
            "ad_impression" => "impression",
            "purchase" => "conversion",
            _ => "custom",
        };
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        let schema = Arc::clone(&self.schema);
        for field in schema.fields() {
            let made: ArrayRef = match field.name().as_str() {
                "event_id" => Arc::new(text("event_id")?),
                "source" => all("bench"),
                "dialect" => all("import"),
                "anonymous_id" => only(false),
                "user_id" => only(true),
                "session_key" => Arc::new(persons.clone()),
                "event_time_us" => Arc::new(times.clone()),
                "ingest_time_us" => Arc::new(number("received_at")?),
                "clock_quality" => all("trusted"),
                "engagement_class" => all("human"),
                "event_name" => Arc::new(names.clone()),
                "event_kind" => Arc::new(names.iter().map(|name| name.map(kind)).collect::<StringArray>()),
                "value" => {
                    let micros = cents.iter().map(|cents| cents.map(|cents| i128::from(cents) * 10_000));
                    Arc::new(micros.collect::<Decimal128Array>().with_precision_and_scale(18, 6)?)
                }
                "currency" => Arc::new(cents.iter().map(|cents| cents.map(|_| "USD")).collect::<StringArray>()),
                "channel" => Arc::new(text("channel")?),
                "campaign_id" => Arc::new(text("campaign")?),
                "url_path" => Arc::new(text("page_path")?),
                "device_class" => Arc::new(text("device")?),
                name @ ("utm_source" | "utm_medium" | "utm_content" | "os" | "country") => Arc::new(text(name)?),
                "exposures" => self.exposures(field, &persons, &text("variant")?)?,
                "flags" | "content_hash" => Arc::new(Int64Array::from(vec![0; rows])),
                "log_partition" => Arc::new(Int32Array::from(vec![0; rows])),
                "log_offset" => Arc::new(Int64Array::from_iter_values(first_offset..self.rows)),
                "event_date" => {
                    let day = |time_us: i64| i32::try_from(time_us.div_euclid(86_400_000_000)).unwrap_or_default();
                    Arc::new(Date32Array::from_iter_values(times.values().iter().map(|time_us| day(*time_us))))
                }
                name => {
                    ensure!(field.is_nullable(), "events have a column {name} that this benchmark does not fill");
                    new_null_array(field.data_type(), rows)
                }
            };
            columns.push(if made.data_type() == field.data_type() { made } else { cast(&made, field.data_type())? });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Each person's variant, on their first event.
    fn exposures(&mut self, field: &Field, persons: &StringArray, variants: &StringArray) -> anyhow::Result<ArrayRef> {
        let DataType::List(item) = field.data_type() else { anyhow::bail!("exposures are a list") };
        let DataType::Struct(fields) = item.data_type() else { anyhow::bail!("exposures are structs") };
        let is_first: BooleanArray = persons
            .iter()
            .map(|person| {
                let person = person.unwrap_or_default();
                // Looked up before a text is made of it: nearly all are known.
                Some(!self.seen.contains(person) && self.seen.insert(person.to_owned()))
            })
            .collect();
        let shown: Vec<&str> = variants
            .iter()
            .zip(&is_first)
            .filter(|(_, is)| *is == Some(true))
            .filter_map(|(variant, _)| variant)
            .collect();
        let columns = fields.iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "experiment" => Arc::new(StringArray::from_iter_values(shown.iter().map(|_| "bench"))),
                "variant" => Arc::new(StringArray::from_iter_values(&shown)),
                _ => new_null_array(field.data_type(), shown.len()),
            }
        });
        let shown = StructArray::try_new(fields.clone(), columns.collect(), None)?;
        let lengths = is_first.values().iter().map(usize::from);
        let nulls = NullBuffer::new(is_first.values().clone());
        Ok(Arc::new(ListArray::try_new(
            Arc::clone(item),
            OffsetBuffer::from_lengths(lengths),
            Arc::new(shown),
            Some(nulls),
        )?))
    }
}
