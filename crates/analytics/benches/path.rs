//! How fast paths are found and counted, and what the counts take.
//!
//! In:       10 million rows: 2 million sessions of 400,000 people, of 1 to 9 of 50 nodes, some far more often than others.
//! Out:      a line a number. `cargo bench -p tributary-analytics --bench path`.
//! Promise:  the same rows in every run; making them is not timed. One thread.
//! Not here: a verdict. `docs/bench.md` says on what a number was measured.

use std::hint::black_box;
use std::time::Instant;

use tributary_analytics::path::{
    Anchor, CountPlan, Marks, Occurrence, PathCounts, PathDefinition, PathFold, PathReportBuilder, PathRow,
    ReportLimits, RunEntry, SessionCut, Walk, Width, merge_runs,
};

const SESSION_COUNT: usize = 2_000_000;
const SESSIONS_PER_UNIT: usize = 5;
const NODE_COUNT: u64 = 50;
const MINUTE_US: i64 = 60_000_000;

/// A tiny generator of pseudo-random numbers (SplitMix64), so that the bench needs nothing.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % sides
    }
}

/// Units one after the other, with the place behind the last row of each.
fn rows() -> (Vec<PathRow>, Vec<usize>) {
    let mut dice = Dice(7);
    let (mut rows, mut ends) = (Vec::with_capacity(SESSION_COUNT * 5), Vec::new());
    for session in 0..SESSION_COUNT {
        let day = i64::try_from(session % SESSIONS_PER_UNIT).expect("a small number");
        let mut time_us = day * 24 * 60 * MINUTE_US;
        for _ in 0..=dice.roll(9) {
            let node = dice.roll(NODE_COUNT).min(dice.roll(NODE_COUNT)) as u32;
            let marks = Marks::NONE.with(Marks::START, node == 3).with(Marks::GOAL, node == 11);
            rows.push(PathRow { time_us, node, session: session as u64, marks });
            time_us += 1_000_000 + i64::try_from(dice.roll(1 << 12) * dice.roll(1 << 14)).expect("a minute at most");
        }
        if (session + 1).is_multiple_of(SESSIONS_PER_UNIT) {
            ends.push(rows.len());
        }
    }
    (rows, ends)
}

/// How long this thread has had a processor, where the system tells it (Linux): what others do on the machine is then no
/// part of the number.
fn processor_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn timed<R>(name: &str, row_count: usize, work: impl FnOnce() -> R) -> R {
    let (begun, begun_ns) = (Instant::now(), processor_ns());
    let result = black_box(work());
    let ns = match (begun_ns, processor_ns()) {
        (Some(begun_ns), Some(now_ns)) => (now_ns - begun_ns) as f64,
        _ => begun.elapsed().as_nanos() as f64,
    };
    println!("{name}: {:.1} ns a row", ns / row_count as f64);
    result
}

fn counted(rows: &[PathRow], ends: &[usize], definition: PathDefinition, plan: CountPlan) -> PathCounts {
    let mut fold = PathFold::new(definition).expect("few steps");
    let mut counts = PathCounts::new(plan).expect("short n-grams");
    let mut begin = 0;
    for &end in ends {
        for row in &rows[begin..end] {
            fold.push(*row, &mut |path| counts.add(path).expect("small codes"));
        }
        fold.finish_unit(&mut |path| counts.add(path).expect("small codes"));
        begin = end;
    }
    counts
}

fn main() {
    let (rows, ends) = rows();
    println!("{} rows, {SESSION_COUNT} sessions, {} units, {NODE_COUNT} nodes", rows.len(), ends.len());
    let definition = |walk, steps_max| PathDefinition {
        walk,
        occurrence: Occurrence::Each,
        cut: SessionCut::Gap { gap_us: 120 * MINUTE_US },
        is_collapsed: false,
        steps_max,
    };
    for steps_max in [5, 20] {
        for (name, walk) in [
            ("sessions", Walk::Session),
            ("forward from each start", Walk::Forward { start: Anchor::Marked }),
            ("backward from the last row", Walk::Backward { end: Anchor::SessionEdge }),
        ] {
            timed(&format!("{name}, {steps_max} steps, found"), rows.len(), || {
                let mut fold = PathFold::new(definition(walk, steps_max)).expect("few steps");
                let (mut begin, mut sum) = (0, 0);
                for &end in &ends {
                    for row in &rows[begin..end] {
                        fold.push(*row, &mut |path| sum += path.nodes.len());
                    }
                    fold.finish_unit(&mut |path| sum += path.nodes.len());
                    begin = end;
                }
                sum
            });
        }
        let all = CountPlan { has_durations: true, has_full_paths: true, n_gram_length: Some(3) };
        for (name, plan) in [
            ("flows", CountPlan::default()),
            ("flows and times", CountPlan { has_durations: true, ..CountPlan::default() }),
            ("flows and full paths", CountPlan { has_full_paths: true, ..CountPlan::default() }),
            ("flows and runs of three", CountPlan { n_gram_length: Some(3), ..CountPlan::default() }),
            ("all of these", all),
        ] {
            let counts = timed(&format!("sessions, {steps_max} steps, found and counted, {name}"), rows.len(), || {
                counted(&rows, &ends, definition(Walk::Session, steps_max), plan)
            });
            println!("  {} entries, {} MiB", counts.entry_count(), counts.bytes() >> 20);
        }
        let collapsed = PathDefinition { is_collapsed: true, ..definition(Walk::Session, steps_max) };
        timed(&format!("collapsed sessions, {steps_max} steps, flows"), rows.len(), || {
            counted(&rows, &ends, collapsed, CountPlan::default())
        });
        report(&rows, &ends, definition(Walk::Session, steps_max), all);
    }
}

/// In memory and by runs of 64 MiB.
fn report(rows: &[PathRow], ends: &[usize], definition: PathDefinition, plan: CountPlan) {
    let limits = ReportLimits { width: Width::Edges(50), paths_max: 100, n_grams_max: 100 };
    let counts = counted(rows, ends, definition, plan);
    let in_memory =
        timed("  report, per row counted", rows.len(), || counts.top(limits).expect("keys of ours are read"));
    drop(counts);
    let mut runs = Vec::new();
    let by_runs = timed("  counted, drained at 64 MiB, runs merged and reported", rows.len(), || {
        let mut fold = PathFold::new(definition).expect("few steps");
        let mut counts = PathCounts::new(plan).expect("short n-grams");
        let mut begin = 0;
        for &end in ends {
            for row in &rows[begin..end] {
                fold.push(*row, &mut |path| counts.add(path).expect("small codes"));
            }
            fold.finish_unit(&mut |path| counts.add(path).expect("small codes"));
            begin = end;
            if 64 << 20 <= counts.bytes() || end == rows.len() {
                let mut run: Vec<RunEntry> = Vec::with_capacity(counts.entry_count());
                let drained = counts.drain(|key, tally| {
                    run.push(RunEntry { key: key.to_vec(), tally: *tally });
                    Ok::<_, std::convert::Infallible>(())
                });
                drained.expect("memory takes it");
                runs.push(run);
            }
        }
        let run_count = runs.len();
        let mut report = PathReportBuilder::new(limits).expect("small limits");
        let runs = std::mem::take(&mut runs);
        merge_runs(runs.into_iter().map(|run| run.into_iter().map(Ok)), |key, tally| report.push(key, tally))
            .expect("keys of ours are read");
        println!("  {run_count} runs");
        report.finish()
    });
    assert_eq!(in_memory, by_runs, "runs are the same counts");
}
