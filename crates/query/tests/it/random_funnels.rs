//! Funnels through SQL are the funnels of `analytics`, whatever the data and however it is cut.

use std::collections::BTreeMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use tributary_analytics::funnel::{ExactRule, Modes, TieOrder, exact_funnel, window_funnel_level};
use tributary_query::QuerySettings;
use tributary_schemas::{Event, EventKind};

use crate::world::{self, MARCH_US, World};

/// Xorshift: enough for data, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The last meets no step.
const KINDS: [EventKind; 5] =
    [EventKind::Page, EventKind::Click, EventKind::Conversion, EventKind::Custom, EventKind::Feedback];

/// `(device, time_us, kind)` in log order, with many equal times, in five commits.
async fn thrown(world: &World, dice: &mut Dice) -> Vec<(String, i64, EventKind)> {
    let mut all = Vec::new();
    for commit in 0..5 {
        let events: Vec<Event> = (0..400)
            .map(|index| {
                let device = format!("d{}", dice.below(60));
                let time_us = MARCH_US + i64::try_from(dice.below(40)).unwrap() * 1_000_000;
                let kind = KINDS[usize::try_from(dice.below(KINDS.len() as u64)).unwrap()];
                all.push((device.clone(), time_us, kind));
                world::event(&format!("{commit}-{index}"), &device, kind, time_us)
            })
            .collect();
        world.plant(commit * 400, &events).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_funnels_equal_the_definition_on_random_data() {
    let world = World::empty().await;
    let mut dice = Dice(20_260_301);
    let events = thrown(&world, &mut dice).await;
    // Steps overlap: a page may be step 1 or 3.
    let steps = "event_kind = 'page', event_kind IN ('click', 'custom'), event_kind IN ('page', 'conversion')";
    let mask = |kind: EventKind| match kind {
        EventKind::Page => 0b101,
        EventKind::Click | EventKind::Custom => 0b010,
        EventKind::Conversion => 0b100,
        _ => 0,
    };
    let mut rows: BTreeMap<&str, Vec<(i64, u32)>> = BTreeMap::new();
    for (device, time_us, kind) in &events {
        rows.entry(device).or_default().push((*time_us, mask(*kind)));
    }
    let window_us = 7_000_000;
    let exact = |tie_order| {
        move |rows: &[(i64, u32)]| exact_funnel(rows, ExactRule::new(3, Some(window_us), tie_order).unwrap()).level
    };
    let clickhouse = |names: &'static [&'static str]| {
        move |rows: &[(i64, u32)]| window_funnel_level(rows, 3, window_us, Modes::parse(names).unwrap()).unwrap()
    };
    type Level = Box<dyn Fn(&[(i64, u32)]) -> usize>;
    let modes: Vec<(&str, Level)> = vec![
        ("exact", Box::new(exact(TieOrder::Ingest))),
        ("exact, any", Box::new(exact(TieOrder::Any))),
        ("exact, strictly_increasing", Box::new(exact(TieOrder::StrictlyIncreasing))),
        ("default", Box::new(clickhouse(&[]))),
        ("strict_increase", Box::new(clickhouse(&["strict_increase"]))),
        ("strict_deduplication", Box::new(clickhouse(&["strict_deduplication"]))),
        ("strict_once", Box::new(clickhouse(&["strict_once"]))),
        // These two keep the events that meet no step.
        ("strict_order", Box::new(clickhouse(&["strict_order"]))),
        ("strict_order allow_reentry", Box::new(clickhouse(&["strict_order", "allow_reentry"]))),
    ];
    for threads in [1, 4] {
        let engine = world.engine(QuerySettings { threads, ..QuerySettings::default() });
        for (mode, level) in &modes {
            let sql = format!(
                "SELECT session_key, window_funnel('7 seconds', '{mode}', event_time_us, log_offset, {steps}) AS level
                 FROM events GROUP BY session_key ORDER BY session_key"
            );
            let answer = engine.query(&sql).await.unwrap();
            let mut found = BTreeMap::new();
            for batch in &answer.batches {
                let keys = batch.column(0).as_string::<i32>();
                let levels = batch.column(1).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    found.insert(keys.value(row).to_owned(), usize::try_from(levels.value(row)).unwrap());
                }
            }
            for (key, rows) in &rows {
                let mut ordered = rows.clone();
                ordered.sort_by_key(|row| row.0);
                assert_eq!(found[*key], level(&ordered), "{threads} threads, {mode}, {key}");
            }
            assert_eq!(found.len(), rows.len());
        }
    }
}
