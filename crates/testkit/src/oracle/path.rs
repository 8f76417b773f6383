//! Paths by the definition: cut, collapse, look for starts and ends, count.
//!
//! In:       all rows of all units, with names for nodes; the question.
//! Out:      each path with its session and unit; of any set of them how many paths, sessions and units there are.
//! Promise:  holds everything at once and counts by making sets, so that nothing is told apart by its order.
//! Not here: limits of memory.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub unit: usize,
    pub time_us: i64,
    /// `None` for a row that only keeps the session open.
    pub node: Option<String>,
    /// Only for a question without a gap.
    pub session: u64,
    pub is_start: bool,
    pub is_end: bool,
    pub is_goal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// `None`: the sessions of the rows.
    pub gap_us: Option<i64>,
    pub is_collapsed: bool,
    /// Whether a path begins at a marked row; else it begins with the session.
    pub needs_start: bool,
    pub needs_end: bool,
    /// Whether step 1 is the end.
    pub is_backward: bool,
    pub is_each: bool,
    pub steps_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    pub unit: usize,
    /// Its unit's number of sessions before it.
    pub session: usize,
    pub nodes: Vec<String>,
    pub times_us: Vec<i64>,
    pub is_cut: bool,
    pub has_goal: bool,
}

/// All paths.
///
/// * `rows`: of each unit in order; units may be mixed.
pub fn paths(rows: &[Row], question: &Question) -> Vec<Walked> {
    let mut units: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for row in rows {
        units.entry(row.unit).or_default().push(row.clone());
    }
    let mut found = Vec::new();
    for (unit, rows) in units {
        for (session, rows) in sessions(&rows, question.gap_us).into_iter().enumerate() {
            let has_goal = rows.iter().any(|row| row.is_goal);
            let nodes = nodes(rows, question.is_collapsed);
            for (begin, end) in spans(&nodes, question) {
                let mut walk = nodes[begin..=end].to_vec();
                if question.is_backward {
                    walk.reverse();
                }
                let is_cut = question.steps_max < walk.len();
                walk.truncate(question.steps_max);
                let times_us = walk.iter().map(|row| row.time_us).collect();
                let nodes = walk.into_iter().filter_map(|row| row.node).collect();
                found.push(Walked { unit, session, nodes, times_us, is_cut, has_goal });
            }
        }
    }
    found
}

fn sessions(rows: &[Row], gap_us: Option<i64>) -> Vec<Vec<Row>> {
    let mut sessions: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let before = sessions.last().and_then(|session| session.last());
        let is_new = before.is_none_or(|before| match gap_us {
            Some(gap_us) => row.time_us - before.time_us > gap_us,
            None => row.session != before.session,
        });
        if is_new {
            sessions.push(Vec::new());
        }
        sessions.last_mut().expect("there is one").push(row.clone());
    }
    sessions
}

fn nodes(rows: Vec<Row>, is_collapsed: bool) -> Vec<Row> {
    let mut nodes: Vec<Row> = Vec::new();
    for row in rows.into_iter().filter(|row| row.node.is_some()) {
        match nodes.last_mut() {
            Some(last) if is_collapsed && last.node == row.node => {
                last.is_start |= row.is_start;
                last.is_end |= row.is_end;
            }
            _ => nodes.push(row),
        }
    }
    nodes
}

/// First and last place of each path.
fn spans(nodes: &[Row], question: &Question) -> Vec<(usize, usize)> {
    let Some(last) = nodes.len().checked_sub(1) else { return Vec::new() };
    let starts: Vec<usize> = (0..=last).filter(|at| nodes[*at].is_start).collect();
    let ends: Vec<usize> = (0..=last).filter(|at| nodes[*at].is_end).collect();
    let mut spans: Vec<(usize, usize)> = if question.is_backward {
        let ends = if question.needs_end { ends } else { vec![last] };
        ends.into_iter().map(|end| (0, end)).collect()
    } else {
        let begins: Vec<usize> = if question.needs_start { starts } else { vec![0] };
        let end_of = |begin: usize| match (question.needs_end, question.needs_start) {
            (false, _) => Some(last),
            (true, true) => ends.iter().copied().find(|end| begin < *end),
            (true, false) => ends.first().copied(),
        };
        let begins = if question.is_each { begins } else { begins.into_iter().take(1).collect() };
        begins.into_iter().filter_map(|begin| Some((begin, end_of(begin)?))).collect()
    };
    if !question.is_each {
        spans.truncate(1);
    }
    spans
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    pub paths: u64,
    pub sessions: u64,
    pub units: u64,
    pub converted_sessions: u64,
    pub time_us: u128,
}

/// Counts those things that paths have; a path may have one twice.
///
/// * `things`: of a path, each with a time.
pub fn count<T: Ord>(paths: &[Walked], things: impl Fn(&Walked) -> Vec<(T, i64)>) -> BTreeMap<T, Counted> {
    let mut found: BTreeMap<T, Vec<(&Walked, i64)>> = BTreeMap::new();
    for path in paths {
        for (thing, time_us) in things(path) {
            found.entry(thing).or_default().push((path, time_us));
        }
    }
    let counted = |(thing, paths): (T, Vec<(&Walked, i64)>)| {
        let sessions: BTreeSet<_> = paths.iter().map(|(path, _)| (path.unit, path.session, path.has_goal)).collect();
        let units: BTreeSet<_> = paths.iter().map(|(path, _)| path.unit).collect();
        let counted = Counted {
            paths: paths.len() as u64,
            sessions: sessions.len() as u64,
            units: units.len() as u64,
            converted_sessions: sessions.iter().filter(|session| session.2).count() as u64,
            time_us: paths.iter().map(|(_, time_us)| u128::from(time_us.unsigned_abs())).sum(),
        };
        (thing, counted)
    };
    found.into_iter().map(counted).collect()
}

/// Where a path goes from a node of a step: the next node, or a word for its end.
pub fn flows(path: &Walked) -> Vec<((usize, String, String), i64)> {
    let fate = if path.is_cut { "(went on)" } else { "(ended)" };
    let targets = path.nodes.iter().skip(1).map(String::as_str).chain([fate]);
    let steps = path.nodes.iter().zip(targets).enumerate();
    let time_us = |at: usize| path.times_us.get(at + 1).map_or(0, |next| next - path.times_us[at]);
    steps.map(|(at, (source, target))| ((at + 1, source.clone(), target.to_owned()), time_us(at))).collect()
}
