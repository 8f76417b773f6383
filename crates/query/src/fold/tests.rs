#![allow(clippy::cast_possible_wrap, reason = "dice throw small numbers")]

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};

use crate::stop::StopFlag;

use super::{About, Fold, FoldNode, FoldPlanner, Folding, Layout, Rows, Texts};

mod merged;

/// Tells each unit's rows as text: what came together, and in which order.
#[derive(Debug)]
struct Tell {
    layout: Layout,
    wanted: u32,
}

#[derive(Default)]
struct Told {
    texts: Vec<Vec<String>>,
    units: Vec<(String, String)>,
}

impl Fold for Tell {
    type Part = Told;

    fn explain(&self) -> String {
        "tell".to_owned()
    }

    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(vec![text("unit"), text("rows"), Field::new("last_time_us", DataType::Int64, false)]))
    }

    fn wanted(&self) -> u32 {
        self.wanted
    }

    fn start(&self, about: &About<'_>) -> Result<Told> {
        let of =
            |texts: &Texts| (0..texts.len() as u32).map(|code| texts.get(Some(code)).unwrap().to_owned()).collect();
        Ok(Told { texts: about.texts.iter().map(of).collect(), units: Vec::new() })
    }

    fn unit(&self, told: &mut Told, unit: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let told_of = |row: super::row::Row<'_>| {
            let texts =
                (0..self.layout.codes).map(|index| row.code(index).map(|code| &told.texts[index][code as usize]));
            let values = (0..self.layout.values).map(|index| row.value_micros(index));
            let (texts, values) = (texts.collect::<Vec<_>>(), values.collect::<Vec<_>>());
            format!("{} {:b} {texts:?} {values:?}", row.time_us(), row.mask())
        };
        assert_eq!(rows.at(0).time_us(), rows.iter().next().unwrap().time_us());
        let rows: Vec<String> = rows.iter().map(told_of).collect();
        told.units.push((unit.to_owned(), rows.join("; ")));
        Ok(())
    }

    fn merge(&self, told: &mut Told, other: Told) -> Result<()> {
        told.units.extend(other.units);
        Ok(())
    }

    fn bytes(&self, told: &Told) -> usize {
        told.units.len()
    }

    fn finish(&self, mut told: Told, about: &About<'_>) -> Result<RecordBatch> {
        told.units.sort();
        let (units, rows): (Vec<String>, Vec<String>) = told.units.into_iter().unzip();
        let last = Int64Array::from(vec![about.times_us.map_or(0, |(_, last_us)| last_us); units.len()]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(units)), Arc::new(StringArray::from(rows)), Arc::new(last)];
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn or_null<T>(&mut self, value: T) -> Option<T> {
        (self.below(12) != 0).then_some(value)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    time_us: i64,
    sequence: i64,
    masks: Vec<Option<bool>>,
    codes: Vec<Option<String>>,
    values: Vec<Option<i64>>,
}

type Row = (Option<String>, Option<i64>, Event);

fn random_rows(dice: &mut Dice, count: usize, layout: Layout) -> Vec<Row> {
    let mut unit = String::new();
    let mut row = |index: usize| {
        // Runs of a unit, as in a sorted file, and names that share a prefix.
        if dice.below(4) == 0 {
            unit = format!("a shop of shoes:visitor-{:04}", dice.below(60));
        }
        let event = Event {
            time_us: dice.below(50) as i64 - 25,
            sequence: index as i64 - 7,
            masks: (0..layout.masks)
                .map(|_| {
                    let is = dice.below(2) == 0;
                    dice.or_null(is)
                })
                .collect(),
            codes: (0..layout.codes)
                .map(|_| {
                    let text = ["mail", "", "a channel with a long name 1", "a channel with a long name 2"];
                    let text = text[dice.below(4) as usize].to_owned();
                    dice.or_null(text)
                })
                .collect(),
            values: (0..layout.values)
                .map(|_| {
                    let value = dice.below(1_000_000) as i64 - 500_000;
                    dice.or_null(value)
                })
                .collect(),
        };
        (dice.or_null(unit.clone()), dice.or_null(event.time_us), event)
    };
    (0..count).map(&mut row).collect()
}

/// What `Tell` should say, from the rows as they are.
fn expected(rows: &[Row]) -> Vec<(String, String)> {
    let mut units: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for (unit, time_us, event) in rows {
        if let (Some(unit), Some(_)) = (unit, time_us) {
            units.entry(unit.clone()).or_default().push(event.clone());
        }
    }
    let told = |event: &Event| {
        let mask: String = event.masks.iter().rev().map(|is| if *is == Some(true) { '1' } else { '0' }).collect();
        let mask = mask.trim_start_matches('0');
        let mask = if mask.is_empty() { "0" } else { mask };
        format!("{} {mask} {:?} {:?}", event.time_us, event.codes, event.values)
    };
    let line = |(unit, mut events): (String, Vec<Event>)| {
        events.sort();
        (unit, events.iter().map(told).collect::<Vec<_>>().join("; "))
    };
    units.into_iter().map(line).collect()
}

fn batch(rows: &[Row], layout: Layout) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.2.sequence)).collect::<Int64Array>()),
    ];
    for index in 0..layout.masks {
        columns.push(Arc::new(rows.iter().map(|row| row.2.masks[index]).collect::<BooleanArray>()));
    }
    for index in 0..layout.codes {
        columns.push(Arc::new(rows.iter().map(|row| row.2.codes[index].clone()).collect::<StringArray>()));
    }
    for index in 0..layout.values {
        let values = rows.iter().map(|row| row.2.values[index].map(i128::from)).collect::<Decimal128Array>();
        columns.push(Arc::new(values.with_precision_and_scale(18, 6).unwrap()));
    }
    let field = |(index, column): (usize, &ArrayRef)| Field::new(format!("x{index}"), column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn answer(
    rows: &[Row],
    layout: Layout,
    partitions: usize,
    memory_bytes: usize,
) -> Result<(Vec<(String, String)>, i64)> {
    answer_of(rows, Tell { layout, wanted: 0 }, partitions, memory_bytes).await
}

async fn answer_of(
    rows: &[Row],
    tell: Tell,
    partitions: usize,
    memory_bytes: usize,
) -> Result<(Vec<(String, String)>, i64)> {
    let layout = tell.layout;
    answer_from(rows, layout, None, tell, partitions, memory_bytes).await
}

/// * `layout`: of the rows.
/// * `columns`: what the fold is over; `None` if over the columns as they are.
async fn answer_from(
    rows: &[Row],
    layout: Layout,
    columns: Option<Vec<Expr>>,
    tell: Tell,
    partitions: usize,
    memory_bytes: usize,
) -> Result<(Vec<(String, String)>, i64)> {
    let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions];
    for (index, chunk) in rows.chunks(97).enumerate() {
        parts[index % partitions].push(batch(chunk, layout));
    }
    let schema = batch(&[], layout).schema();
    let table = MemTable::try_new(schema, parts)?;
    let mut input = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(table)), None)?;
    if let Some(columns) = columns {
        input = input.project(columns)?;
    }
    answer_over(&session(partitions, memory_bytes)?, input.build()?, tell).await
}

fn session(partitions: usize, memory_bytes: usize) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes))).build_arc()?;
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(partitions))
        .with_runtime_env(runtime)
        .with_default_features()
        .with_query_planner(Arc::new(FoldPlanner))
        .build();
    Ok(SessionContext::new_with_state(state))
}

async fn answer_over(context: &SessionContext, input: LogicalPlan, tell: Tell) -> Result<(Vec<(String, String)>, i64)> {
    let layout = tell.layout;
    let plan = FoldNode::plan(input, Folding { fold: Arc::new(tell), layout }, StopFlag::default())?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let mut told = Vec::new();
    let mut last = 0;
    for batch in batches {
        let [units, rows] = [0, 1].map(|index| batch.column(index).as_string::<i32>().clone());
        told.extend(
            units.iter().zip(rows.iter()).map(|(unit, rows)| (unit.unwrap().to_owned(), rows.unwrap().to_owned())),
        );
        last = batch.column(2).as_primitive::<Int64Type>().values().first().copied().unwrap_or(0);
    }
    Ok((told, last))
}

const ENOUGH: usize = 1 << 30;

#[tokio::test]
async fn each_unit_comes_whole_and_in_order_however_its_rows_lie() {
    let mut dice = Dice(7);
    for round in 0..24 {
        let layout = Layout { masks: round % 5, codes: round % 4, values: round % 3 };
        let count = [0, 1, 300, 3_000][round % 4];
        let rows = random_rows(&mut dice, count, layout);
        let wanted = expected(&rows);
        for partitions in [1, 2, 5] {
            let (told, last_told) = answer(&rows, layout, partitions, ENOUGH).await.unwrap();
            assert_eq!(told, wanted, "{layout:?}, {partitions} partitions");
            let last = rows.iter().filter(|row| row.0.is_some()).filter_map(|row| row.1).max();
            assert_eq!(last_told, if told.is_empty() { 0 } else { last.unwrap() });
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_goes_to_disk_and_comes_back() {
    let layout = Layout { masks: 3, codes: 2, values: 1 };
    let rows = random_rows(&mut Dice(11), 60_000, layout);
    let wanted = expected(&rows);
    // Some 2.4 MB of rows.
    for memory_bytes in [1_600_000, 900_000] {
        let (told, _) = answer(&rows, layout, 2, memory_bytes).await.unwrap();
        assert!(told == wanted, "{memory_bytes} bytes");
    }
    let refused = answer(&rows, layout, 2, 20_000).await.unwrap_err();
    assert!(refused.to_string().contains("Fold"), "{refused}");
}

#[tokio::test]
async fn who_meets_no_wanted_condition_is_left_out_however_many_do() {
    let mut dice = Dice(5);
    let layout = Layout { masks: 3, codes: 1, values: 1 };
    // The last is more than a look goes through.
    for (count, one_in) in [(0, 2), (400, 1_000), (400, 20), (3_000, 300), (150_000, 1)] {
        let mut rows = random_rows(&mut dice, count, layout);
        for (_, _, event) in &mut rows {
            event.masks[1] = (dice.below(9) != 0).then(|| dice.below(one_in) == 0);
            event.masks[2] = Some(false);
        }
        let is_asked_for = |unit: &str| {
            let own = rows.iter().filter(|row| row.0.as_deref() == Some(unit) && row.1.is_some());
            own.into_iter().any(|row| row.2.masks[1] == Some(true))
        };
        let mut wanted = expected(&rows);
        wanted.retain(|(unit, _)| is_asked_for(unit));
        for partitions in [1, 2, 5] {
            let tell = Tell { layout, wanted: 0b110 };
            let (told, last_told) = answer_of(&rows, tell, partitions, ENOUGH).await.unwrap();
            assert!(told == wanted, "{count} rows, one in {one_in}, {partitions} partitions");
            // Of all rows, also of those left out.
            let last = rows.iter().filter(|row| row.0.is_some()).filter_map(|row| row.1).max();
            assert_eq!(last_told, if told.is_empty() { 0 } else { last.unwrap() });
        }
    }
}

#[tokio::test]
async fn conditions_on_texts_hold_as_if_each_row_were_asked() {
    let mut dice = Dice(13);
    let of_rows = Layout { masks: 0, codes: 2, values: 1 };
    // Of the last two there are more texts than are kept.
    for (count, names) in [(0, 1), (900, 3), (9_000, 60), (30_000, 9_000), (60_000, 60_000)] {
        let mut rows = random_rows(&mut dice, count, of_rows);
        for (_, _, event) in &mut rows {
            let name = format!("something that was done {}", dice.below(names));
            event.codes[0] = dice.or_null(name);
        }
        let name = || col("x3");
        let conditions = [
            name().eq(lit("something that was done 1")),
            name().is_null(),
            name().eq(lit("something that was done 7")).or(lit(false)),
            name().gt(lit("something that was done 2")),
            name().in_list(vec![lit("something that was done 0"), lit("something that was done 3")], true),
            lit(true),
            col("x4").eq(lit("mail")),
        ];
        let holds = |name: Option<&str>, channel: Option<&str>| {
            let name = name.map(|name| name.strip_prefix("something that was done ").unwrap());
            vec![
                name.map(|name| name == "1"),
                Some(name.is_none()),
                name.map(|name| name == "7"),
                name.map(|name| "2" < name),
                name.map(|name| name != "0" && name != "3"),
                Some(true),
                channel.map(|channel| channel == "mail"),
            ]
        };
        let mut asked = rows.clone();
        for (_, _, event) in &mut asked {
            event.masks = holds(event.codes[0].as_deref(), event.codes[1].as_deref());
        }
        for wanted in [0, 0b1] {
            let mut expected = expected(&asked);
            expected.retain(|(_, rows)| {
                // The mask is told after the time.
                wanted == 0 || rows.split("; ").any(|row| row.split(' ').nth(1).unwrap().ends_with('1'))
            });
            // With a function in one condition all are left to the plan.
            let planned = coalesce(vec![lit("something that was done 1"), lit("")]).eq(name());
            for (partitions, first) in [(1, &conditions[0]), (3, &conditions[0]), (3, &planned)] {
                let all = std::iter::once(first).chain(&conditions[1..]);
                let mut columns: Vec<Expr> = ["x0", "x1", "x2"].map(col).into();
                columns.extend(all.enumerate().map(|(at, is)| is.clone().alias(format!("f{at}"))));
                columns.extend(["x3", "x4", "x5"].map(col));
                let tell = Tell { layout: Layout { masks: conditions.len(), ..of_rows }, wanted };
                let (told, _) = answer_from(&rows, of_rows, Some(columns), tell, partitions, ENOUGH).await.unwrap();
                assert!(told == expected, "{count} rows, {names} names, wanted {wanted}, {partitions} partitions");
            }
        }
    }
}
