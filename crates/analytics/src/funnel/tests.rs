use super::*;

const A: u32 = 0b001;
const B: u32 = 0b010;
const C: u32 = 0b100;

fn exact(rows: &[(i64, u32)], step_count: usize, window_us: Option<i64>, tie_order: TieOrder) -> Attempt {
    exact_funnel(rows, ExactRule::new(step_count, window_us, tie_order).unwrap())
}

fn ingest(rows: &[(i64, u32)], step_count: usize, window_us: Option<i64>) -> (usize, Vec<i64>) {
    let attempt = exact(rows, step_count, window_us, TieOrder::Ingest);
    (attempt.level, attempt.times_us)
}

#[test]
fn skipping_a_step_does_not_reach_the_next() {
    assert_eq!(ingest(&[(1, A), (2, C)], 3, None), (1, vec![1]));
    assert_eq!(ingest(&[(1, B), (2, C)], 3, None), (0, vec![]));
    assert_eq!(ingest(&[], 3, None), (0, vec![]));
}

#[test]
fn window_is_inclusive_and_counts_from_step_one() {
    let rows = [(0, A), (5, B), (10, C)];
    assert_eq!(ingest(&rows, 3, Some(10)), (3, vec![0, 5, 10]));
    assert_eq!(ingest(&rows, 3, Some(9)), (2, vec![0, 5]));
    assert_eq!(ingest(&rows, 3, Some(-1)), (1, vec![0]));
    assert_eq!(exact(&[(0, A), (0, B)], 2, Some(-1), TieOrder::Any).level, 1);
}

#[test]
fn a_later_start_can_still_convert() {
    assert_eq!(ingest(&[(0, A), (1, B), (90, A), (95, B), (100, C)], 3, Some(10)), (3, vec![90, 95, 100]));
}

#[test]
fn the_earliest_completion_wins_and_of_its_starts_the_latest() {
    let rows = [(0, A), (3, A), (4, B), (6, A), (7, B)];
    assert_eq!(ingest(&rows, 2, None), (2, vec![3, 4]));
}

#[test]
fn one_event_serves_one_step() {
    // One page view is not "view, then view again"; ClickHouse's default says it is.
    let rows = [(5, A | B)];
    assert_eq!(ingest(&rows, 2, None), (1, vec![5]));
    assert_eq!(window_funnel_level(&rows, 2, 60, Modes::default()), Ok(2));
    let once = Modes::parse(&["strict_once"]).unwrap();
    assert_eq!(window_funnel_level(&rows, 2, 60, once), Ok(1));
}

#[test]
fn ties_follow_the_chosen_order() {
    let rows = [(7, B), (7, A)];
    assert_eq!(exact(&rows, 2, None, TieOrder::Ingest).level, 1);
    assert_eq!(exact(&rows, 2, None, TieOrder::Any).level, 2);
    assert_eq!(exact(&rows, 2, None, TieOrder::StrictlyIncreasing).level, 1);
    let in_order = [(7, A), (7, B)];
    assert_eq!(exact(&in_order, 2, None, TieOrder::Ingest).level, 2);
    assert_eq!(exact(&in_order, 2, None, TieOrder::StrictlyIncreasing).level, 1);
}

#[test]
fn tied_events_are_shared_out_so_that_most_steps_get_one() {
    // Step 1 must give the event that serves both to step 2.
    let rows = [(1, A | B), (1, A), (2, C)];
    let attempt = exact(&rows, 3, Some(1), TieOrder::Any);
    assert_eq!(attempt, Attempt { level: 3, times_us: vec![1, 1, 2] });
}

#[test]
fn strictly_increasing_keeps_an_older_chain_that_a_tie_would_hide() {
    // At time 5 a new start appears beside step 2; the chain from time 1 must still be there for it.
    let rows = [(1, A), (5, A), (5, B), (6, C)];
    assert_eq!(exact(&rows, 3, None, TieOrder::StrictlyIncreasing), Attempt { level: 3, times_us: vec![1, 5, 6] });
    let clickhouse = Modes::parse(&["strict_increase"]).unwrap();
    assert_eq!(window_funnel_level(&rows, 3, 100, clickhouse), Ok(1), "undercounts: ClickHouse#52844");
}

#[test]
fn rows_out_of_order_are_sorted_first() {
    assert_eq!(ingest(&[(9, B), (2, A)], 2, None), (2, vec![2, 9]));
    assert_eq!(window_funnel_level(&[(9, B), (2, A)], 2, 7, Modes::default()), Ok(2));
}

#[test]
fn thirty_two_steps_work_and_no_more() {
    let rows: Vec<(i64, u32)> = (0..32).map(|step| (i64::from(step), 1 << step)).collect();
    for tie_order in [TieOrder::Ingest, TieOrder::Any, TieOrder::StrictlyIncreasing] {
        assert_eq!(exact(&rows, 32, None, tie_order).level, 32);
    }
    assert_eq!(window_funnel_level(&rows, 32, 31, Modes::default()), Ok(32));
    for given in [0, 33] {
        let error = AnalyticsError::StepCount { given, max: 32 };
        assert_eq!(ExactRule::new(given, None, TieOrder::Ingest), Err(error.clone()));
        assert_eq!(window_funnel_level(&rows, given, 31, Modes::default()), Err(error));
    }
}

#[test]
fn a_fold_goes_on_from_a_copy_of_its_state() {
    let rule = ExactRule::new(3, Some(10), TieOrder::Any).unwrap();
    let mut fold = ExactFold::new(rule);
    fold.push(1, A);
    fold.push(2, C);
    let mut restored = fold.clone();
    restored.push(2, B);
    restored.push(2, B);
    assert!(!restored.is_complete(), "the instant is not over");
    assert_eq!(restored.finish(), Attempt { level: 3, times_us: vec![1, 2, 2] });
    assert_eq!(fold.finish(), Attempt { level: 1, times_us: vec![1] });
}

#[test]
fn a_crowded_instant_keeps_no_more_of_a_kind_than_a_chain_can_use() {
    let mut kept = Vec::new();
    for event in 0..50_000 {
        tie_group::remember(&mut kept, if event % 2 == 0 { A | B | C } else { B }, 3);
    }
    assert_eq!(kept.len(), 6);
    let rows: Vec<(i64, u32)> = (0..50_000).map(|_| (3, A | B | C)).collect();
    assert_eq!(exact(&rows, 3, Some(0), TieOrder::Any).level, 3);
}

#[test]
fn mode_names_are_checked() {
    assert_eq!(
        Modes::parse(&["strict"]).unwrap_err().to_string(),
        "funnel mode 'strict' is not known; allowed: strict_deduplication, strict_order, strict_increase, \
         strict_once, allow_reentry"
    );
    assert_eq!(
        Modes::parse(&["strict_once", "strict_order"]),
        Err(AnalyticsError::FunnelModePair { first: "strict_once", second: "strict_order" })
    );
    assert_eq!(TieOrder::parse("any"), Ok(TieOrder::Any));
    assert!(TieOrder::parse("optimistic").is_err());
}
