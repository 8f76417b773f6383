//! Paths and their counts against the plain definition, on random small cases.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;
use tributary_analytics::path::{
    Anchor, CountPlan, FlowTarget, Marks, NODE_CODE_MAX, Occurrence, Path, PathCounts, PathDefinition, PathFold,
    PathNode, PathReport, PathReportBuilder, PathRow, ReportLimits, RunEntry, SessionCut, Tally, Walk, Width,
    merge_runs,
};
use tributary_testkit::oracle::path as oracle;
use tributary_testkit::oracle::path::{Counted, Question, Row, Walked};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Small ones and large ones are not kept in the same place.
const CODES: [u32; 5] = [0, 1, 1_023, 1_024, NODE_CODE_MAX];

fn name_of(code: u32) -> String {
    NAMES[CODES.iter().position(|known| *known == code).unwrap()].to_owned()
}

/// Up to five units of up to a dozen rows, close in time, so that ties, repeats, starts that are ends are common.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row =
        (0_usize..5, 0_i64..5, prop::option::weighted(0.85, 0_usize..5), 0_u64..2, 0_u8..4, prop::bool::weighted(0.1));
    prop::collection::vec(row, 0..50).prop_map(|rows| {
        let (mut clocks, mut sessions) = ([0; 5], [0; 5]);
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|(unit, after_us, node, session_after, marks, is_goal)| {
                clocks[unit] += after_us;
                sessions[unit] += u64::from(session_after == 0 && after_us == 4);
                Row {
                    unit,
                    time_us: clocks[unit],
                    node: node.map(|node| NAMES[node].to_owned()),
                    session: sessions[unit],
                    is_start: marks & 1 != 0,
                    is_end: marks & 2 != 0,
                    is_goal,
                }
            })
            .collect();
        rows.sort_by_key(|row| row.unit);
        rows
    })
}

fn questions() -> impl Strategy<Value = Question> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (prop::option::of(0_i64..5), flags, 1_usize..7).prop_map(|(gap_us, flags, steps_max)| {
        let (is_collapsed, needs_start, needs_end, is_backward, is_each) = flags;
        let needs_start = needs_start && !is_backward;
        Question { gap_us, is_collapsed, needs_start, needs_end, is_backward, is_each, steps_max }
    })
}

fn definition(question: &Question) -> PathDefinition {
    let anchor = |is_marked| if is_marked { Anchor::Marked } else { Anchor::SessionEdge };
    let (start, end) = (anchor(question.needs_start), anchor(question.needs_end));
    let walk = match (question.is_backward, question.needs_start, question.needs_end) {
        (true, ..) => Walk::Backward { end },
        (false, false, false) => Walk::Session,
        (false, true, false) => Walk::Forward { start },
        (false, _, true) => Walk::Between { start, end },
    };
    PathDefinition {
        walk,
        occurrence: if question.is_each { Occurrence::Each } else { Occurrence::First },
        cut: question.gap_us.map_or(SessionCut::Given, |gap_us| SessionCut::Gap { gap_us }),
        is_collapsed: question.is_collapsed,
        steps_max: question.steps_max,
    }
}

fn row(row: &Row) -> PathRow {
    let code = row.node.as_ref().map(|node| NAMES.iter().position(|name| name == node).unwrap());
    let marks = Marks::NONE
        .with(Marks::START, row.is_start)
        .with(Marks::END, row.is_end)
        .with(Marks::GOAL, row.is_goal)
        .with(Marks::HIDDEN, code.is_none());
    let node = code.map_or(u32::MAX, |code| CODES[code]);
    PathRow { time_us: row.time_us, node, session: row.session, marks }
}

/// Each unit's rows through one fold.
fn each_path(rows: &[Row], definition: PathDefinition, sink: &mut impl FnMut(usize, Path<'_>)) {
    let mut fold = PathFold::new(definition).unwrap();
    for unit in rows.chunk_by(|a, b| a.unit == b.unit) {
        let mut sink = |path: Path<'_>| sink(unit[0].unit, path);
        for one in unit {
            fold.push(row(one), &mut sink);
        }
        fold.finish_unit(&mut sink);
    }
}

const PLAN: CountPlan = CountPlan { has_durations: true, has_full_paths: true, n_gram_length: Some(2) };

fn counts(rows: &[Row], definition: PathDefinition) -> PathCounts {
    let mut counts = PathCounts::new(PLAN).unwrap();
    each_path(rows, definition, &mut |_, path| counts.add(path).unwrap());
    counts
}

fn names(nodes: &[u32]) -> Vec<String> {
    nodes.iter().copied().map(name_of).collect()
}

fn name(node: PathNode) -> String {
    match node {
        PathNode::Code(code) => name_of(code),
        PathNode::Other => "(other)".to_owned(),
    }
}

fn counted(tally: Tally) -> Counted {
    Counted {
        paths: tally.paths,
        sessions: tally.sessions,
        units: tally.units,
        converted_sessions: tally.converted_sessions,
        time_us: tally.time_us,
    }
}

const ALL: ReportLimits = ReportLimits { width: Width::Nodes(100), paths_max: 1_000, n_grams_max: 1_000 };

fn flows(report: &PathReport) -> BTreeMap<(usize, String, String), Counted> {
    let target = |target| match target {
        FlowTarget::Node(node) => name(node),
        FlowTarget::Ended => "(ended)".to_owned(),
        FlowTarget::WentOn => "(went on)".to_owned(),
    };
    report.flows.iter().map(|row| ((row.step, name(row.source), target(row.target)), counted(row.tally))).collect()
}

/// In = out + ended + went on, at each node of each step, and all sums are those of the whole report.
fn assert_conserved(report: &PathReport, whole: &PathReport) -> Result<(), TestCaseError> {
    let sum = |report: &PathReport, keep: &dyn Fn(&tributary_analytics::path::FlowRow) -> bool| {
        let mut sum = Tally::default();
        report.flows.iter().filter(|row| keep(row)).for_each(|row| sum.add(&row.tally));
        sum
    };
    for node in &report.nodes {
        let into = sum(report, &|row| row.step + 1 == node.step && row.target == FlowTarget::Node(node.node));
        let out = sum(report, &|row| row.step == node.step && row.source == node.node);
        prop_assert_eq!(node.tally.paths, out.paths, "{:?}", node);
        if 1 < node.step {
            prop_assert_eq!(node.tally.paths, into.paths, "{:?}", node);
        }
    }
    for level in &whole.levels {
        let step = level.step;
        prop_assert_eq!(sum(report, &|row| row.step == step), sum(whole, &|row| row.step == step));
        prop_assert_eq!(sum(report, &|row| row.step == step).paths, level.reached.paths);
        let next = whole.levels.get(step).map_or(0, |next| next.reached.paths);
        prop_assert_eq!(level.reached.paths, next + level.ended.paths + level.went_on.paths);
        let (mut ours, mut theirs) = (Tally::default(), Tally::default());
        report.nodes.iter().filter(|row| row.step == step).for_each(|row| ours.add(&row.tally));
        whole.nodes.iter().filter(|row| row.step == step).for_each(|row| theirs.add(&row.tally));
        prop_assert_eq!(ours, theirs);
    }
    prop_assert_eq!(&report.levels, &whole.levels);
    prop_assert_eq!(report.totals, whole.totals);
    for (ours, rest, theirs) in [
        (&report.full_paths, report.other_full_paths, &whole.full_paths),
        (&report.n_grams, report.other_n_grams, &whole.n_grams),
    ] {
        let (mut our_sum, mut their_sum) = (rest.tally, Tally::default());
        ours.iter().for_each(|row| our_sum.add(&row.tally));
        theirs.iter().for_each(|row| their_sum.add(&row.tally));
        prop_assert_eq!(our_sum, their_sum);
        prop_assert_eq!(ours.len() as u64 + rest.sequence_count, theirs.len() as u64);
        prop_assert_eq!(&ours[..], &theirs[..ours.len()]);
    }
    let times = |report: &PathReport| report.flows.iter().map(|row| row.durations.count()).sum::<u64>();
    prop_assert_eq!(times(report), times(whole));
    Ok(())
}

fn run(counts: &mut PathCounts) -> Vec<RunEntry> {
    let mut entries = Vec::new();
    let Ok(()) = counts.drain(|key, tally| {
        entries.push(RunEntry { key: key.to_vec(), tally: Tally::from_bytes(&tally.to_bytes()) });
        Ok::<_, Infallible>(())
    });
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn paths_are_those_of_the_definition(rows in rows(), question in questions()) {
        let mut ours = Vec::new();
        let (mut session, mut units_told) = (0, 0);
        each_path(&rows, definition(&question), &mut |unit, path| {
            session += usize::from(path.is_first_of_session);
            units_told += usize::from(path.is_first_of_unit);
            let (nodes, times_us) = (names(path.nodes), path.times_us.to_vec());
            let (is_cut, has_goal) = (path.is_cut, path.has_goal);
            ours.push((session, Walked { unit, session: 0, nodes, times_us, is_cut, has_goal }));
        });
        let mut theirs = oracle::paths(&rows, &question);
        // Sessions without a path have no number of ours.
        let (mut sessions, mut before) = (Vec::new(), None);
        for path in &mut theirs {
            let this = (path.unit, std::mem::take(&mut path.session));
            let last = sessions.last().copied().unwrap_or(0);
            sessions.push(last + usize::from(before.replace(this) != Some(this)));
        }
        let units: std::collections::BTreeSet<_> = theirs.iter().map(|path| path.unit).collect();
        prop_assert_eq!(units_told, units.len());
        prop_assert_eq!(ours, sessions.into_iter().zip(theirs).collect::<Vec<_>>());
    }

    #[test]
    fn counts_are_those_of_sets(rows in rows(), question in questions()) {
        let paths = oracle::paths(&rows, &question);
        let counts = counts(&rows, definition(&question));
        let report = counts.top(ALL).unwrap();
        prop_assert_eq!(flows(&report), oracle::count(&paths, oracle::flows));

        let nodes: BTreeMap<_, _> =
            report.nodes.iter().map(|row| ((row.step, name(row.node)), counted(row.tally))).collect();
        prop_assert_eq!(nodes, oracle::count(&paths, |path| {
            path.nodes.iter().enumerate().map(|(at, node)| ((at + 1, node.clone()), 0)).collect()
        }));
        let levels: BTreeMap<_, _> = report.levels.iter().map(|row| (row.step, counted(row.reached))).collect();
        prop_assert_eq!(levels, oracle::count(&paths, |path| (1..=path.nodes.len()).map(|step| (step, 0)).collect()));

        let length_us = |path: &Walked| path.times_us[path.times_us.len() - 1] - path.times_us[0];
        let full: BTreeMap<_, _> =
            report.full_paths.iter().map(|row| ((row.is_cut, names(&row.nodes)), counted(row.tally))).collect();
        prop_assert_eq!(full, oracle::count(&paths, |path| {
            vec![((path.is_cut, path.nodes.clone()), length_us(path))]
        }));
        let n_grams: BTreeMap<_, _> =
            report.n_grams.iter().map(|row| (names(&row.nodes), counted(row.tally))).collect();
        prop_assert_eq!(n_grams, oracle::count(&paths, |path| {
            path.nodes.windows(2).map(|pair| (pair.to_vec(), 0)).collect()
        }));
        let total = oracle::count(&paths, |path| vec![((), length_us(path))]);
        prop_assert_eq!(counted(report.totals), total.get(&()).copied().unwrap_or_default());

        // Below 16 microseconds a quantile is exact.
        for row in report.flows.iter().filter(|row| row.durations.count() != 0) {
            let FlowTarget::Node(target) = row.target else { panic!("{row:?}") };
            let mut times_us = Vec::new();
            for path in &paths {
                let found = oracle::flows(path);
                let edge = (row.step, name(row.source), name(target));
                times_us.extend(found.into_iter().filter(|(flow, _)| *flow == edge).map(|(_, time)| time.unsigned_abs()));
            }
            times_us.sort_unstable();
            prop_assert_eq!(row.durations.count(), times_us.len() as u64);
            prop_assert_eq!(row.durations.quantile_us(0.5), Some(times_us[(times_us.len() - 1) / 2]));
        }
        for row in &report.flows {
            if let (PathNode::Code(source), FlowTarget::Node(PathNode::Code(target))) = (row.source, row.target) {
                prop_assert_eq!(counts.edge(row.step, source, target), row.tally);
            }
        }
        for row in &report.nodes {
            let PathNode::Code(code) = row.node else { panic!("{row:?}") };
            prop_assert_eq!(counts.node(row.step, code), row.tally);
        }
        for row in &report.full_paths {
            prop_assert_eq!(counts.full_path(&row.nodes, row.is_cut), row.tally);
        }
    }

    #[test]
    fn what_is_left_out_changes_no_sum(
        rows in rows(), question in questions(), width in 0_usize..9, by_edges in any::<bool>(), rows_max in 0_usize..4,
    ) {
        let counts = counts(&rows, definition(&question));
        let whole = counts.top(ALL).unwrap();
        assert_conserved(&whole, &whole)?;
        let width = if by_edges { Width::Edges(width) } else { Width::Nodes(width) };
        let limits = ReportLimits { width, paths_max: rows_max, n_grams_max: rows_max };
        let report = counts.top(limits).unwrap();
        assert_conserved(&report, &whole)?;
        for step in 1..=question.steps_max {
            let nodes: Vec<_> = report.nodes.iter().filter(|row| row.step == step).collect();
            let shown = nodes.iter().filter(|row| row.node != PathNode::Other).count();
            let is_edge = |target| matches!(target, FlowTarget::Node(_));
            let edges = report.flows.iter().filter(|row| row.step == step && is_edge(row.target)).count();
            let all = whole.nodes.iter().filter(|row| row.step == step).count();
            match width {
                Width::Nodes(max) => prop_assert_eq!(shown, max.min(all)),
                Width::Edges(max) => prop_assert!(edges <= max.max(1)),
            }
            prop_assert_eq!(nodes.iter().map(|row| row.node_count).sum::<u64>(), all as u64);
        }
    }

    /// Counts of parts, merged in memory or written away and merged from runs, are those of the whole.
    #[test]
    fn parts_make_the_whole(
        rows in rows(), question in questions(), parts in 1_usize..4, entries_max in 0_usize..40, width in 0_usize..4,
    ) {
        let definition = definition(&question);
        let limits = ReportLimits { width: Width::Nodes(width), paths_max: 3, n_grams_max: 3 };
        let mut whole = counts(&rows, definition);
        let expected = (whole.top(limits).unwrap(), whole.top(ALL).unwrap());

        let mut merged = PathCounts::new(PLAN).unwrap();
        for part in 0..parts {
            let rows: Vec<Row> = rows.iter().filter(|row| row.unit % parts == part).cloned().collect();
            merged = merged.merge(counts(&rows, definition));
        }
        prop_assert_eq!(&(merged.top(limits).unwrap(), merged.top(ALL).unwrap()), &expected);

        let mut runs = Vec::new();
        let mut some = PathCounts::new(PLAN).unwrap();
        let mut fold = PathFold::new(definition).unwrap();
        for unit in rows.chunk_by(|a, b| a.unit == b.unit) {
            unit.iter().for_each(|one| fold.push(row(one), &mut |path| some.add(path).unwrap()));
            fold.finish_unit(&mut |path| some.add(path).unwrap());
            if entries_max <= some.entry_count() {
                runs.push(run(&mut some));
                prop_assert_eq!(some.entry_count(), 0);
            }
        }
        runs.push(run(&mut some));
        let mut report = PathReportBuilder::new(limits).unwrap();
        let mut absorbed = PathCounts::new(PLAN).unwrap();
        let mut one_run = Vec::new();
        merge_runs(runs.into_iter().map(|run| run.into_iter().map(Ok)), |key, tally| {
            report.push(key, tally)?;
            one_run.push(RunEntry { key: key.to_vec(), tally: *tally });
            absorbed.absorb(key, tally)
        }).unwrap();
        prop_assert_eq!(&(report.finish(), absorbed.top(ALL).unwrap()), &expected);
        prop_assert_eq!(&one_run, &run(&mut whole));
        prop_assert!(one_run.is_sorted_by(|a, b| a.key < b.key));
    }

    /// Time turned round: what is walked back from the end is what is walked forward from the start.
    #[test]
    fn turned_round_twice_is_as_before(rows in rows(), question in questions()) {
        let question = Question { is_backward: false, needs_end: false, is_each: true, gap_us: None, ..question };
        let turned: Vec<Row> = rows
            .chunk_by(|a, b| a.unit == b.unit)
            .flat_map(|unit| unit.iter().rev())
            .map(|row| Row { time_us: -row.time_us, is_start: row.is_end, is_end: row.is_start, ..row.clone() })
            .collect();
        let backward = Question { is_backward: true, needs_start: false, needs_end: question.needs_start, ..question };
        let walked = |rows: &[Row], question: &Question, sign: i64| {
            let mut paths = Vec::new();
            each_path(rows, definition(question), &mut |unit, path| {
                // A run's time is its first's, which is another one's when time is turned round.
                let is_timed = !question.is_collapsed;
                let times_us: Vec<i64> = path.times_us.iter().filter(|_| is_timed).map(|time_us| sign * time_us).collect();
                paths.push((unit, names(path.nodes), times_us, path.is_cut, path.has_goal));
            });
            paths.sort();
            paths
        };
        prop_assert_eq!(walked(&rows, &question, 1), walked(&turned, &backward, -1));

        // The whole session back is the whole session.
        let all = Question { needs_start: false, steps_max: 50, ..question };
        let back = Question { is_backward: true, ..all };
        let mut forward_paths = Vec::new();
        each_path(&rows, definition(&all), &mut |_, path| {
            forward_paths.push((path.nodes.to_vec(), path.times_us.to_vec()));
        });
        let mut backward_paths = Vec::new();
        each_path(&rows, definition(&back), &mut |_, path| {
            let nodes: Vec<u32> = path.nodes.iter().rev().copied().collect();
            backward_paths.push((nodes, path.times_us.iter().rev().copied().collect::<Vec<i64>>()));
        });
        prop_assert_eq!(forward_paths, backward_paths);
    }

    /// Collapsing what is collapsed changes nothing.
    #[test]
    fn collapsing_twice_is_collapsing_once(rows in rows(), question in questions()) {
        let session = Question { needs_start: false, needs_end: false, is_backward: false, steps_max: 50, gap_us: None, ..question };
        let walked = |rows: &[Row], is_collapsed: bool| {
            let mut paths = Vec::new();
            each_path(rows, definition(&Question { is_collapsed, ..session }), &mut |unit, path| {
                paths.push((unit, names(path.nodes), path.times_us.to_vec()));
            });
            paths
        };
        let once = walked(&rows, true);
        let mut session_number = 0;
        let again: Vec<Row> = once.iter().flat_map(|(unit, nodes, times_us)| {
            session_number += 1;
            let row = move |(node, time_us): (&String, &i64)| Row {
                unit: *unit, time_us: *time_us, node: Some(node.clone()), session: session_number,
                is_start: false, is_end: false, is_goal: false,
            };
            nodes.iter().zip(times_us).map(row)
        }).collect();
        prop_assert_eq!(&walked(&again, true), &once);
        prop_assert_eq!(&walked(&again, false), &once);
    }
}
