use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;

/// 600 rows of 30 units, with equal times, cut into `parts` partitions of batches of 7 rows.
fn context(parts: usize, config: SessionConfig) -> SessionContext {
    let context = SessionContext::new_with_config(config.with_target_partitions(parts).with_batch_size(7));
    for function in functions() {
        context.register_udaf(function);
    }
    let rows: Vec<i64> = (0..600).collect();
    let column =
        |of: fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(|i| of(*i)))) };
    let step = |modulo: i64| -> ArrayRef {
        let met = rows.iter().map(|i| if i % 11 == 0 { None } else { Some((i * 7 + i / 13) % 5 == modulo) });
        Arc::new(met.collect::<BooleanArray>())
    };
    let batch = RecordBatch::try_from_iter([
        ("unit", column(|i| i * 31 % 30)),
        ("time", column(|i| i / 40)),
        ("offset", column(|i| i)),
        ("a", step(0)),
        ("b", step(1)),
        ("c", step(2)),
    ])
    .unwrap();
    let batches: Vec<RecordBatch> = (0..600).step_by(7).map(|at| batch.slice(at, 7.min(600 - at))).collect();
    let size = batches.len().div_ceil(parts);
    let partitions = batches.chunks(size).map(<[RecordBatch]>::to_vec).collect();
    let table = MemTable::try_new(batch.schema(), partitions).unwrap();
    context.register_table("rows", Arc::new(table)).unwrap();
    context
}

async fn answer(context: &SessionContext, sql: &str) -> String {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn partial_states_merge_to_the_single_answer() {
    let sql = "SELECT unit, window_funnel(6, 'exact', time, \"offset\", a, b, c) AS level,
            window_funnel_times(6, 'exact', time, \"offset\", a, b, c) AS times,
            window_funnel(6, 'strict_order', time, a, b, c) FILTER (WHERE \"offset\" % 3 <> 0) AS strict
        FROM rows GROUP BY unit ORDER BY unit";
    let single = answer(&context(1, SessionConfig::new()), sql).await;
    assert!(single.contains("| 3 "), "some unit goes all the way:\n{single}");
    assert_eq!(single, answer(&context(4, SessionConfig::new()), sql).await);
    // Each row becomes a state of its own: what the engine does when grouping early does not pay.
    let skipping = SessionConfig::new()
        .set_usize("datafusion.execution.skip_partial_aggregation_probe_rows_threshold", 1)
        .set("datafusion.execution.skip_partial_aggregation_probe_ratio_threshold", &ScalarValue::Float64(Some(0.0)));
    assert_eq!(single, answer(&context(4, skipping), sql).await);
}

#[tokio::test]
async fn without_groups_the_states_merge_too() {
    let sql = "SELECT window_funnel_times(100, 'exact', time, \"offset\", a, b, c, a, b, c) AS times FROM rows";
    let single = answer(&context(1, SessionConfig::new()), sql).await;
    assert_eq!(single, answer(&context(4, SessionConfig::new()), sql).await);
}

#[tokio::test]
async fn a_running_window_gives_the_level_so_far() {
    let sql = "SELECT max(level) FROM (SELECT window_funnel(100, 'exact', time, \"offset\", a, b, c)
        OVER (PARTITION BY unit ORDER BY \"offset\" ROWS UNBOUNDED PRECEDING) AS level FROM rows)";
    assert!(answer(&context(2, SessionConfig::new()), sql).await.contains("| 3 "));
}

#[test]
fn first_groups_leave_and_the_others_move_down() {
    let mut rows = Rows::default();
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![0; 4])),
        Arc::new(Int64Array::from(vec![0; 4])),
        Arc::new(Int64Array::from(vec![4, 3, 2, 1])),
        Arc::new(BooleanArray::from(vec![true; 4])),
    ];
    let question = Question::for_tests();
    rows.push_batch(&question, &values, Some(&[0, 1, 2, 1]), None).unwrap();
    let first = rows.take_first_groups(1);
    assert_eq!(first.by_group(1).groups().map(|group| group[0].time_us).collect::<Vec<_>>(), [4]);
    let times: Vec<Vec<i64>> =
        rows.by_group(2).groups().map(|group| group.iter().map(|row| row.time_us).collect()).collect();
    assert_eq!(times, [vec![1, 3], vec![2]]);
}

#[test]
fn a_null_sequence_counts_as_none() {
    // Under the null stands a number that would put the second step before the first.
    let sequences = Int64Array::new(vec![5, -9].into(), Some(vec![true, false].into()));
    let mut question = Question::for_tests();
    (question.step_count, question.has_sequence) = (1, true);
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![0; 2])),
        Arc::new(Int64Array::from(vec![0; 2])),
        Arc::new(Int64Array::from(vec![1; 2])),
        Arc::new(sequences),
        Arc::new(BooleanArray::from(vec![true; 2])),
    ];
    let mut rows = Rows::default();
    rows.push_batch(&question, &values, Some(&[0, 0]), None).unwrap();
    let state = rows.by_group(1).to_state();
    let kept = state[1].as_any().downcast_ref::<ListArray>().unwrap().value(0);
    assert_eq!(kept.as_any().downcast_ref::<Int64Array>().unwrap().values(), &[0, 5]);
}

#[test]
fn a_row_takes_24_bytes_and_all_that_giving_it_out_takes_is_told() {
    assert_eq!(size_of::<rows::Row>(), 24);
    let mut rows = Rows::default();
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![0; 1_000])),
        Arc::new(Int64Array::from(vec![0; 1_000])),
        Arc::new(Int64Array::from_iter_values(0..1_000)),
        Arc::new(BooleanArray::from(vec![true; 1_000])),
    ];
    let groups: Vec<usize> = (0..1_000).map(|row| row % 100).collect();
    rows.push_batch(&Question::for_tests(), &values, Some(&groups), None).unwrap();
    let told = rows.size(100);
    let state: usize = rows.by_group(100).to_state().iter().map(|column| column.get_array_memory_size()).sum();
    assert!(1_000 * (24 + 24) <= told, "{told}");
    assert!(state <= told, "{state} bytes are given out, {told} were told");
}
