use std::convert::Infallible;

use super::*;
use crate::error::AnalyticsError;

const MINUTE_US: i64 = 60_000_000;

fn definition(walk: Walk) -> PathDefinition {
    PathDefinition {
        walk,
        occurrence: Occurrence::First,
        cut: SessionCut::Gap { gap_us: 30 * MINUTE_US },
        is_collapsed: false,
        steps_max: 5,
    }
}

/// One unit's rows, a minute apart: a letter is a node, `(` marks the next as a start, `)` as an end, `!` as the goal, `.` is
/// a hidden row, `|` lets an hour pass.
fn rows(text: &str) -> Vec<PathRow> {
    let (mut rows, mut time_us, mut marks) = (Vec::new(), 0, Marks::NONE);
    for letter in text.chars() {
        match letter {
            '(' => marks = marks | Marks::START,
            ')' => marks = marks | Marks::END,
            '!' => marks = marks | Marks::GOAL,
            '|' => time_us += 60 * MINUTE_US,
            _ => {
                let marks = std::mem::take(&mut marks).with(Marks::HIDDEN, letter == '.');
                rows.push(PathRow { time_us, node: u32::from(letter), session: 0, marks });
                time_us += MINUTE_US;
            }
        }
    }
    rows
}

/// Each path as its nodes, `+` if it goes on, `!` if its session converted.
fn told(definition: PathDefinition, text: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut sink = |path: Path<'_>| {
        let mut text: String = path.nodes.iter().map(|node| char::from_u32(*node).unwrap()).collect();
        text.extend(path.is_cut.then_some('+'));
        text.extend(path.has_goal.then_some('!'));
        told.push(text);
    };
    let mut fold = PathFold::new(definition).unwrap();
    rows(text).into_iter().for_each(|row| fold.push(row, &mut sink));
    fold.finish_unit(&mut sink);
    told
}

fn counted(plan: CountPlan, definition: PathDefinition, units: &[&str]) -> PathCounts {
    let (mut fold, mut counts) = (PathFold::new(definition).unwrap(), PathCounts::new(plan).unwrap());
    for unit in units {
        rows(unit).into_iter().for_each(|row| fold.push(row, &mut |path| counts.add(path).unwrap()));
        fold.finish_unit(&mut |path| counts.add(path).unwrap());
    }
    counts
}

fn code(letter: char) -> u32 {
    u32::from(letter)
}

const MARKED: Anchor = Anchor::Marked;
const EDGE: Anchor = Anchor::SessionEdge;

#[test]
fn each_direction_takes_its_part_of_the_session() {
    let text = "ab(cd)ef(g)h)ij";
    assert_eq!(told(definition(Walk::Session), text), ["abcde+"]);
    assert_eq!(told(definition(Walk::Forward { start: MARKED }), text), ["cdefg+"]);
    assert_eq!(told(definition(Walk::Forward { start: EDGE }), text), ["abcde+"]);
    assert_eq!(told(definition(Walk::Backward { end: MARKED }), text), ["edcba"]);
    assert_eq!(told(definition(Walk::Backward { end: EDGE }), text), ["jihgf+"]);
    assert_eq!(told(definition(Walk::Between { start: MARKED, end: MARKED }), text), ["cde"]);
    assert_eq!(told(definition(Walk::Between { start: EDGE, end: MARKED }), text), ["abcde"]);
    assert_eq!(told(definition(Walk::Between { start: MARKED, end: EDGE }), text), ["cdefg+"]);
}

#[test]
fn each_occurrence_makes_a_path_if_asked_for() {
    let each = |walk| PathDefinition { occurrence: Occurrence::Each, ..definition(walk) };
    let text = "ab(cd)e(f(g)h(i";
    assert_eq!(told(each(Walk::Forward { start: MARKED }), text), ["cdefg+", "fghi", "ghi", "i"]);
    assert_eq!(told(each(Walk::Backward { end: MARKED }), text), ["edcba", "hgfed+"]);
    assert_eq!(told(each(Walk::Between { start: MARKED, end: MARKED }), text), ["cde", "fgh", "gh"]);
}

#[test]
fn an_end_is_a_later_node_than_its_start() {
    let between = definition(Walk::Between { start: MARKED, end: MARKED });
    assert_eq!(told(between, "a()bc)d"), ["bcd"]);
    assert_eq!(told(between, ")a(b"), Vec::<String>::new());
    assert_eq!(told(definition(Walk::Between { start: EDGE, end: MARKED }), ")ab"), ["a"]);
}

#[test]
fn a_path_to_an_end_beyond_the_steps_kept_is_cut() {
    assert_eq!(told(definition(Walk::Between { start: MARKED, end: MARKED }), "(abcdefg)hi"), ["abcde+"]);
}

#[test]
fn repeats_are_one_node_with_all_their_marks() {
    let collapsed = |walk| PathDefinition { is_collapsed: true, occurrence: Occurrence::Each, ..definition(walk) };
    assert_eq!(told(collapsed(Walk::Session), "aa.abbba"), ["aba"]);
    assert_eq!(told(collapsed(Walk::Forward { start: MARKED }), "a(a(abb"), ["ab"]);
    assert_eq!(told(collapsed(Walk::Between { start: MARKED, end: MARKED }), "(a)ab"), Vec::<String>::new());
    let mut times_us = Vec::new();
    let mut fold = PathFold::new(collapsed(Walk::Session)).unwrap();
    rows("aabb").into_iter().for_each(|row| fold.push(row, &mut |_| unreachable!("the session is open")));
    fold.finish_unit(&mut |path| times_us = path.times_us.to_vec());
    assert_eq!(times_us, [0, 2 * MINUTE_US]);
}

#[test]
fn a_session_ends_after_a_gap_longer_than_asked_for() {
    assert_eq!(told(definition(Walk::Session), "ab|c!d|e"), ["ab", "cd!", "e"]);
    let gap = |gap_us| PathDefinition { cut: SessionCut::Gap { gap_us }, ..definition(Walk::Session) };
    assert_eq!(told(gap(MINUTE_US), "ab"), ["ab"]);
    assert_eq!(told(gap(MINUTE_US - 1), "ab"), ["a", "b"]);
    let mut told = 0;
    let mut fold = PathFold::new(gap(i64::MAX)).unwrap();
    for time_us in [i64::MIN, i64::MAX] {
        fold.push(PathRow { time_us, node: 0, session: 0, marks: Marks::NONE }, &mut |_| told += 1);
    }
    fold.finish_unit(&mut |path| assert_eq!(path.nodes.len(), 2));
    assert_eq!(told, 0);
}

#[test]
fn hidden_rows_keep_a_session_open_and_may_meet_its_goal() {
    let hour_apart = "a|!.|b";
    assert_eq!(told(definition(Walk::Session), hour_apart), ["a", "b"]);
    let long = PathDefinition { cut: SessionCut::Gap { gap_us: 70 * MINUTE_US }, ..definition(Walk::Session) };
    assert_eq!(told(long, hour_apart), ["ab!"]);
    assert_eq!(told(definition(Walk::Forward { start: MARKED }), "(.ab"), Vec::<String>::new());
}

#[test]
fn nothing_gives_nothing() {
    assert_eq!(told(definition(Walk::Session), ""), Vec::<String>::new());
    let counts = counted(CountPlan::default(), definition(Walk::Session), &[]);
    let report = counts.top(ReportLimits { width: Width::Edges(3), paths_max: 1, n_grams_max: 1 }).unwrap();
    assert_eq!((report.flows.len(), report.nodes.len(), report.totals.paths), (0, 0, 0));
    assert_eq!(report.totals.conversion_ratio(), None);
}

#[test]
fn a_very_long_session_is_cut_and_what_is_beyond_is_counted() {
    let count = PathFold::SESSION_NODE_COUNT_MAX + 10;
    let row = |at: usize, marks| PathRow { time_us: i64::try_from(at).unwrap(), node: 7, session: 0, marks };
    for (walk, occurrence, ignored) in [
        (Walk::Forward { start: MARKED }, Occurrence::Each, 10),
        (Walk::Forward { start: MARKED }, Occurrence::First, 0),
        (Walk::Backward { end: EDGE }, Occurrence::First, 0),
    ] {
        let mut fold = PathFold::new(PathDefinition { occurrence, ..definition(walk) }).unwrap();
        for at in 0..count {
            let marks = Marks::NONE.with(Marks::START, at == 0 || at + 12 == count);
            fold.push(row(at, marks), &mut |_| unreachable!("the session is open"));
        }
        let mut told = Vec::new();
        fold.finish_unit(&mut |path| told.push((path.nodes.len(), path.is_cut)));
        assert_eq!(fold.ignored_row_count(), ignored);
        let expected: &[_] = if ignored == 0 { &[(5, true)] } else { &[(5, true), (2, true)] };
        assert_eq!(told, expected);
        if ignored == 0 {
            assert!(fold.bytes() < 1_000, "{}", fold.bytes());
        }
    }
}

#[test]
fn sessions_and_units_are_told_apart_from_paths() {
    let each = PathDefinition { occurrence: Occurrence::Each, ..definition(Walk::Forward { start: MARKED }) };
    let counts = counted(CountPlan::default(), each, &["(ab(ab|!(ab", "(ab"]);
    let edge = counts.edge(1, code('a'), code('b'));
    assert_eq!((edge.paths, edge.sessions, edge.units, edge.converted_sessions), (4, 3, 2, 1));
    assert_eq!(edge.mean_time_us(), Some(60e6));
    assert_eq!(edge.conversion_ratio(), Some(1.0 / 3.0));
    assert_eq!(counts.ended(2, code('b')).paths, 3);
    assert_eq!(counts.node(1, code('a')).paths, 4);
    assert_eq!(counts.node(60, code('a')), Tally::default());
}

#[test]
fn what_is_left_out_is_other_and_the_flow_stays_whole() {
    let counts = counted(CountPlan::default(), definition(Walk::Session), &["ab", "ab", "ac", "xb", "yc"]);
    let limits = ReportLimits { width: Width::Nodes(1), paths_max: 0, n_grams_max: 0 };
    let report = counts.top(limits).unwrap();
    let flows: Vec<_> = report.flows.iter().map(|row| (row.step, row.source, row.target, row.tally.paths)).collect();
    let (a, b) = (PathNode::Code(code('a')), PathNode::Code(code('b')));
    let node = FlowTarget::Node;
    assert_eq!(
        flows,
        [
            (1, a, node(b), 2),
            (1, a, node(PathNode::Other), 1),
            (1, PathNode::Other, node(b), 1),
            (1, PathNode::Other, node(PathNode::Other), 1),
            (2, b, FlowTarget::Ended, 3),
            (2, PathNode::Other, FlowTarget::Ended, 2),
        ]
    );
    assert_eq!(report.nodes[1], NodeRow { step: 1, node: PathNode::Other, node_count: 2, ..report.nodes[1] });
    let edges = counts.top(ReportLimits { width: Width::Edges(3), ..limits }).unwrap();
    assert_eq!(edges.flows.len(), 2, "four edges are too many, so all nodes are other: {:?}", edges.flows);
}

#[test]
fn numbers_of_sessions_may_run_out() {
    let mut counts = counted(CountPlan::default(), definition(Walk::Session), &["ab|ab", "ab"]);
    counts.be_late();
    let path = |is_first_of_unit| Path {
        nodes: &[97, 98],
        times_us: &[0, 1],
        is_cut: false,
        has_goal: false,
        is_first_of_session: true,
        is_first_of_unit,
    };
    for is_first_of_unit in [true, false, true] {
        counts.add(path(is_first_of_unit)).unwrap();
    }
    let edge = counts.edge(1, 97, 98);
    assert_eq!((edge.paths, edge.sessions, edge.units), (6, 6, 4));
}

#[test]
fn counts_tell_what_they_take_and_give_it_back() {
    let plan = CountPlan { has_durations: true, has_full_paths: true, n_gram_length: Some(2) };
    let mut counts = PathCounts::new(plan).unwrap();
    let empty = counts.bytes();
    for node in 0..10_000 {
        let path = Path {
            nodes: &[node, node + 1],
            times_us: &[0, 1],
            is_cut: false,
            has_goal: false,
            is_first_of_session: true,
            is_first_of_unit: true,
        };
        counts.add(path).unwrap();
    }
    let flow_count = 4 * 10_000;
    let least = flow_count * PathCounts::FLOW_BYTES
        + 10_000 * PathCounts::DURATION_BYTES
        + 20_000 * (PathCounts::SEQUENCE_BYTES + 2 * size_of::<u32>());
    assert!((least..least * 5 / 2).contains(&counts.bytes()), "{} for at least {least}", counts.bytes());
    assert_eq!(PathCounts::FLOW_BYTES, 65);
    assert_eq!(PathCounts::SEQUENCE_BYTES, 65);
    assert_eq!(counts.entry_count(), flow_count + 30_000);
    let mut entry_count = 0;
    let Ok(()) = counts.drain(|_, _| {
        entry_count += 1;
        Ok::<_, Infallible>(())
    });
    assert_eq!(entry_count, flow_count + 30_000 + 1 + 2, "and the totals, and two steps");
    assert_eq!((counts.entry_count(), counts.bytes()), (0, empty));
}

#[test]
fn questions_that_make_no_sense_say_so() {
    assert_eq!(Walk::parse("session", false, false), Ok(Walk::Session));
    assert_eq!(Walk::parse("backward", false, true), Ok(Walk::Backward { end: MARKED }));
    assert_eq!(Walk::parse("between", false, true), Ok(Walk::Between { start: EDGE, end: MARKED }));
    assert_eq!(
        Walk::parse("forward", true, true).unwrap_err().to_string(),
        "paths of direction 'forward' have no place for a condition of end; leave it out or take 'between'"
    );
    assert!(Walk::parse("around", false, false).is_err());
    assert_eq!(Occurrence::parse("each"), Ok(Occurrence::Each));
    assert!(Occurrence::parse("all").is_err());
    for steps_max in [0, 51] {
        let error = AnalyticsError::PathStepCount { given: steps_max, max: 50 };
        assert_eq!(PathFold::new(PathDefinition { steps_max, ..definition(Walk::Session) }).unwrap_err(), error);
    }
    let cut = SessionCut::Gap { gap_us: -1 };
    assert!(PathFold::new(PathDefinition { cut, ..definition(Walk::Session) }).is_err());
    assert!(PathCounts::new(CountPlan { n_gram_length: Some(0), ..CountPlan::default() }).is_err());
    let limits = ReportLimits { width: Width::Nodes(10_001), paths_max: 0, n_grams_max: 0 };
    assert!(PathReportBuilder::new(limits).is_err());
    let path = Path {
        nodes: &[NODE_CODE_MAX + 1],
        times_us: &[0],
        is_cut: false,
        has_goal: false,
        is_first_of_session: true,
        is_first_of_unit: true,
    };
    let mut counts = PathCounts::new(CountPlan::default()).unwrap();
    assert_eq!(counts.add(path), Err(AnalyticsError::NodeCode { given: NODE_CODE_MAX + 1, max: NODE_CODE_MAX }));
    assert_eq!(counts.totals(), Tally::default());
    counts.add(Path { nodes: &[NODE_CODE_MAX], ..path }).unwrap();
    assert_eq!(counts.ended(1, NODE_CODE_MAX).paths, 1);
}

#[test]
fn a_broken_key_is_refused() {
    let mut counts = PathCounts::new(CountPlan::default()).unwrap();
    for key in [
        &[][..],
        &[9],
        &[0, 0],
        &[1, 0],
        &[1, 51],
        &[3, 0, 0],
        &[5, 2, 0, 0, 0, 1],
        &[5, 0],
        &[5, 0, 1],
        &[5, 0, 255, 0, 0, 0],
    ] {
        let refused = counts.absorb(key, &Tally::default());
        assert_eq!(refused, Err(AnalyticsError::PathKey { length_bytes: key.len() }), "{key:?}");
    }
    counts.absorb(&[5, 1, 0, 0, 0, 7], &Tally { paths: 3, ..Tally::default() }).unwrap();
    assert_eq!(counts.full_path(&[7], true).paths, 3);
}
