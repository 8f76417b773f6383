//! Paths against DuckDB's SQL, edge by edge and path by path.

use std::collections::BTreeMap;

use tributary_analytics::path::{
    Anchor, CountPlan, FlowTarget, Marks, Occurrence, PathCounts, PathDefinition, PathFold, PathNode, PathRow,
    ReportLimits, SessionCut, Walk, Width,
};

use crate::fixtures::{Record, Reference};

const SECOND_US: i64 = 1_000_000;

struct Event {
    user: String,
    time_us: i64,
    kind: String,
    page: String,
}

/// Of both sets, user after user in the order (time, event id); the committed one says how long after the row before.
fn events(reference: &Reference) -> Vec<Event> {
    let event = |record: &Record, time_us| Event {
        user: record.text("user_id").to_owned(),
        time_us,
        kind: record.text("event").to_owned(),
        page: record.text("page").to_owned(),
    };
    let mut records = reference.find("events.csv").unwrap();
    if records[0].cells().any(|(column, _)| column == "seconds_after") {
        let mut time_us = 0;
        let timed = |record: &Record| {
            time_us += record.integer("seconds_after") * SECOND_US;
            event(record, time_us)
        };
        return records.iter().map(timed).collect();
    }
    records.sort_by_key(|record| (record.text("user_id").to_owned(), record.integer("ts"), record.integer("event_id")));
    records.iter().map(|record| event(record, record.integer("ts") * SECOND_US)).collect()
}

struct Names(Vec<String>);

impl Names {
    fn code(&mut self, name: &str) -> u32 {
        let at = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        u32::try_from(at).unwrap()
    }

    fn path(&self, nodes: impl IntoIterator<Item = u32>) -> String {
        let names: Vec<&str> = nodes.into_iter().map(|code| self.0[code as usize].as_str()).collect();
        names.join(" > ")
    }
}

/// What is a node, and what ends a path.
#[derive(Clone, Copy)]
enum Nodes {
    Pages,
    AllEventsEndingAtPurchase,
}

fn counted(events: &[Event], definition: PathDefinition, nodes: Nodes) -> (PathCounts, Names) {
    let plan = CountPlan { has_full_paths: true, ..CountPlan::default() };
    let (mut fold, mut counts) = (PathFold::new(definition).unwrap(), PathCounts::new(plan).unwrap());
    let mut names = Names(Vec::new());
    for of_user in events.chunk_by(|a, b| a.user == b.user) {
        for event in of_user {
            let is_page = event.kind == "page_view";
            let (name, marks) = match nodes {
                Nodes::Pages => (event.page.clone(), Marks::NONE.with(Marks::HIDDEN, !is_page)),
                Nodes::AllEventsEndingAtPurchase => {
                    let name = if is_page { event.page.clone() } else { format!("[{}]", event.kind) };
                    (name, Marks::NONE.with(Marks::END, event.kind == "purchase"))
                }
            };
            let row = PathRow { time_us: event.time_us, node: names.code(&name), session: 0, marks };
            fold.push(row, &mut |path| counts.add(path).unwrap());
        }
        fold.finish_unit(&mut |path| counts.add(path).unwrap());
    }
    (counts, names)
}

fn definition(walk: Walk, steps_max: usize, is_collapsed: bool) -> PathDefinition {
    let cut = SessionCut::Gap { gap_us: 1_800 * SECOND_US };
    PathDefinition { walk, occurrence: Occurrence::First, cut, is_collapsed, steps_max }
}

fn references() -> impl Iterator<Item = Reference> {
    [Some(Reference::committed("paths")), Reference::extended("sessions_retention")].into_iter().flatten()
}

#[test]
fn edges_of_the_first_five_pages_equal_duckdbs() {
    for reference in references() {
        let events = events(&reference);
        for (file, is_collapsed) in
            [("expected_path_edges_raw_first5.csv", false), ("expected_path_edges_collapsed_first5.csv", true)]
        {
            let (counts, names) = counted(&events, definition(Walk::Session, 5, is_collapsed), Nodes::Pages);
            let limits = ReportLimits { width: Width::Nodes(100), paths_max: 0, n_grams_max: 0 };
            let mut ours = BTreeMap::new();
            for row in counts.top(limits).unwrap().flows {
                if let (PathNode::Code(source), FlowTarget::Node(PathNode::Code(target))) = (row.source, row.target) {
                    let edge = (row.step, names.path([source]), names.path([target]));
                    ours.insert(edge, (row.tally.sessions, row.tally.units));
                }
            }
            let mut theirs = BTreeMap::new();
            for record in reference.get(file) {
                let step = usize::try_from(record.integer("step")).unwrap();
                let edge = (step, record.text("src").to_owned(), record.text("dst").to_owned());
                theirs.insert(edge, (count(&record, "n_sessions"), count(&record, "n_users")));
            }
            assert_eq!(ours, theirs, "{file}");
        }
    }
}

#[test]
fn full_session_paths_equal_duckdbs() {
    for reference in references() {
        // DuckDB looks at paths of at most four pages, and shows the first 200 by sessions and name.
        let (counts, names) = counted(&events(&reference), definition(Walk::Session, 4, false), Nodes::Pages);
        let limits = ReportLimits { width: Width::Nodes(0), paths_max: 100_000, n_grams_max: 0 };
        let report = counts.top(limits).unwrap();
        let mut ours: Vec<(u64, String, usize, u64)> = report
            .full_paths
            .iter()
            .filter(|row| !row.is_cut)
            .map(|row| (row.tally.sessions, names.path(row.nodes.iter().copied()), row.nodes.len(), row.tally.units))
            .collect();
        ours.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        ours.truncate(200);
        let theirs: Vec<(u64, String, usize, u64)> = reference
            .get("expected_path_top_full_session_paths.csv")
            .iter()
            .map(|record| {
                let length = usize::try_from(record.integer("len")).unwrap();
                (count(record, "n_sessions"), record.text("path").to_owned(), length, count(record, "n_users"))
            })
            .collect();
        assert_eq!(ours, theirs);
    }
}

#[test]
fn paths_back_from_a_purchase_equal_duckdbs() {
    for reference in references() {
        let walk = Walk::Backward { end: Anchor::Marked };
        let (counts, names) =
            counted(&events(&reference), definition(walk, 4, false), Nodes::AllEventsEndingAtPurchase);
        let limits = ReportLimits { width: Width::Nodes(0), paths_max: 100_000, n_grams_max: 0 };
        // DuckDB does not tell a path that goes further back from one that does not.
        let mut ours: BTreeMap<String, u64> = BTreeMap::new();
        for row in counts.top(limits).unwrap().full_paths {
            *ours.entry(names.path(row.nodes.into_iter().rev())).or_default() += row.tally.sessions;
        }
        let theirs: BTreeMap<String, u64> = reference
            .get("expected_path_reverse_from_purchase_3_back.csv")
            .iter()
            .map(|record| (record.text("path").to_owned(), count(record, "n")))
            .collect();
        assert_eq!(ours, theirs);
    }
}

fn count(record: &Record, column: &str) -> u64 {
    u64::try_from(record.integer(column)).unwrap()
}
