//! The report: the largest flows, paths and n-grams, and the rest as one.
//!
//! In:       all counts in the order of their keys, from memory or from merged runs; how much is to be shown.
//! Out:      rows a Sankey diagram is drawn from, nodes, steps, paths, n-grams.
//! Promise:  nodes that are not shown become one node of their step, `other`, and edges follow their nodes. So every sum is
//!           what it was, and into each node of each step, `other` too, come as many paths as go on from it, end there or
//!           go beyond the last step. What is held is bounded by the limits, not by the counts.
//! Not here: names of nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::STEP_COUNT_MAX;
use super::duration::Durations;
use super::flow_table::{ENDED, FlowKey, OTHER, WENT_ON};
use super::run::Key;
use super::tally::Tally;
use crate::error::AnalyticsError;

/// How wide a step may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// So many nodes a step beside `other`: those most paths have.
    Nodes(usize),
    /// As many nodes, the same for all steps, as keep the edges from each step to the next at so many at most, those from
    /// and to `other` counted; ends are not edges. At 0 all nodes are `other`, and its edge is shown.
    Edges(usize),
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportLimits {
    pub width: Width,
    pub paths_max: usize,
    pub n_grams_max: usize,
}

impl ReportLimits {
    /// The most nodes or edges of a step.
    pub const WIDTH_MAX: usize = 10_000;
    /// The most paths, and the most n-grams.
    pub const SEQUENCES_MAX: usize = 1_000_000;
}

/// A node of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathNode {
    Code(u32),
    /// All nodes of the step that are not shown.
    Other,
}

impl PathNode {
    fn of(code: u32) -> Self {
        if code == OTHER { Self::Other } else { Self::Code(code) }
    }
}

/// What comes after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowTarget {
    /// A node of the next step.
    Node(PathNode),
    /// Nothing: the drop-off.
    Ended,
    /// More than the steps kept.
    WentOn,
}

/// How many went from a node to what came after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    /// The step of the source, from 1.
    pub step: usize,
    pub source: PathNode,
    pub target: FlowTarget,
    pub tally: Tally,
    /// Empty for what is no edge, and where they were not counted.
    pub durations: Durations,
}

impl FlowRow {
    pub fn is_drop_off(&self) -> bool {
        self.target == FlowTarget::Ended
    }
}

/// How many paths have a node at a step. Those of step 1 are the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRow {
    pub step: usize,
    pub node: PathNode,
    pub tally: Tally,
    /// How many nodes this row stands for: 1 but for `other`.
    pub node_count: u64,
}

/// How many paths came to a step; their sessions and units are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelRow {
    pub step: usize,
    pub reached: Tally,
    /// Of these, the paths that end at this step: the sum of the drop-offs of its nodes.
    pub ended: Tally,
    /// Of these, the paths of which this is the last step kept, but which have more.
    pub went_on: Tally,
}

/// A whole path or an n-gram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceRow {
    /// Step 1 first.
    pub nodes: Vec<u32>,
    /// Whether the path goes on beyond these.
    pub is_cut: bool,
    pub tally: Tally,
}

/// The sequences that are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceRest {
    pub sequence_count: u64,
    pub tally: Tally,
}

/// What is shown of all paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReport {
    pub totals: Tally,
    pub levels: Vec<LevelRow>,
    /// By step, then most paths first, `other` last.
    pub nodes: Vec<NodeRow>,
    /// By step, source and target; codes ascending, `other` behind them, ends last.
    pub flows: Vec<FlowRow>,
    /// Most paths first, of equals the smaller codes.
    pub full_paths: Vec<SequenceRow>,
    pub other_full_paths: SequenceRest,
    /// Most often met first.
    pub n_grams: Vec<SequenceRow>,
    pub other_n_grams: SequenceRest,
}

/// Makes a report of counts that come one by one.
#[derive(Debug, Clone)]
pub struct PathReportBuilder {
    limits: ReportLimits,
    nodes_max: usize,
    totals: Tally,
    levels: Vec<Tally>,
    /// Of each step.
    nodes: Vec<Largest<u32>>,
    /// Place among the nodes of its step, 0 for the largest, by step and code; made when the nodes are over.
    places: Option<BTreeMap<(usize, u32), usize>>,
    flows: BTreeMap<FlowKey, (Tally, Durations)>,
    full_paths: Largest<(bool, Vec<u32>)>,
    n_grams: Largest<(bool, Vec<u32>)>,
}

impl PathReportBuilder {
    /// * Fails for limits above `ReportLimits`'.
    pub fn new(limits: ReportLimits) -> Result<Self, AnalyticsError> {
        let (Width::Nodes(nodes_max) | Width::Edges(nodes_max)) = limits.width;
        for (given, max) in [
            (nodes_max, ReportLimits::WIDTH_MAX),
            (limits.paths_max, ReportLimits::SEQUENCES_MAX),
            (limits.n_grams_max, ReportLimits::SEQUENCES_MAX),
        ] {
            if max < given {
                return Err(AnalyticsError::ReportLimit { given, max });
            }
        }
        Ok(Self {
            limits,
            // Each node of a step has an edge into it or out of it, so there are no more nodes than edges to be shown.
            nodes_max,
            totals: Tally::default(),
            levels: Vec::new(),
            nodes: Vec::new(),
            places: None,
            flows: BTreeMap::new(),
            full_paths: Largest::new(limits.paths_max),
            n_grams: Largest::new(limits.n_grams_max),
        })
    }

    /// Takes the next entry in.
    ///
    /// * Keys ascend, and each comes once: as `PathCounts::drain` or `merge_runs` gives them.
    /// * Fails for a key that is none of ours.
    pub fn push(&mut self, key: &[u8], tally: &Tally) -> Result<(), AnalyticsError> {
        let mut codes = [0; STEP_COUNT_MAX];
        match Key::read(key, &mut codes)? {
            Key::Totals => self.totals.add(tally),
            Key::Level(step) => {
                self.levels.resize(self.levels.len().max(step), Tally::default());
                self.levels[step - 1].add(tally);
            }
            Key::Node(flow) => {
                debug_assert!(self.places.is_none(), "nodes come before edges");
                while self.nodes.len() < flow.step() {
                    self.nodes.push(Largest::new(self.nodes_max));
                }
                self.nodes[flow.step() - 1].push(*tally, flow.source());
            }
            Key::Edge(flow) => {
                let nodes_max = self.nodes_max;
                let shown = self.shown(flow, nodes_max);
                self.flows.entry(shown).or_default().0.add(tally);
            }
            Key::Duration(flow, bucket) => {
                let nodes_max = self.nodes_max;
                let shown = self.shown(flow, nodes_max);
                self.flows.entry(shown).or_default().1.add(bucket, tally.paths);
            }
            Key::FullPath(sequence) => self.full_paths.push(*tally, (sequence.is_cut, sequence.codes.to_vec())),
            Key::NGram(sequence) => self.n_grams.push(*tally, (sequence.is_cut, sequence.codes.to_vec())),
        }
        Ok(())
    }

    /// The flow with `OTHER` for nodes beyond the first so many of their step.
    fn shown(&mut self, flow: FlowKey, nodes_max: usize) -> FlowKey {
        let nodes = &mut self.nodes;
        let places = self.places.get_or_insert_with(|| {
            let mut places = BTreeMap::new();
            for (at, largest) in nodes.iter_mut().enumerate() {
                let codes = largest.settled().iter().enumerate();
                places.extend(codes.map(|(place, (_, code))| ((at + 1, *code), place)));
            }
            places
        });
        shown(places, flow, nodes_max)
    }

    pub fn finish(mut self) -> PathReport {
        let width = self.width_of_flows();
        let places = self.places.take().unwrap_or_default();
        let mut flows: BTreeMap<FlowOrder, (Tally, Durations)> = BTreeMap::new();
        for (flow, (tally, durations)) in std::mem::take(&mut self.flows) {
            let sum = flows.entry(FlowOrder::of(shown(&places, flow, width))).or_default();
            sum.0.add(&tally);
            sum.1.merge(&durations);
        }
        let flows: Vec<FlowRow> = flows
            .into_iter()
            .map(|(FlowOrder { step, source, target }, (tally, durations))| FlowRow {
                step,
                source,
                target,
                tally,
                durations,
            })
            .collect();
        let levels = self.levels.iter().enumerate().map(|(at, reached)| {
            let sum = |target| {
                let rows = flows.iter().filter(|row| row.step == at + 1 && row.target == target);
                rows.fold(Tally::default(), |mut sum, row| {
                    sum.add(&row.tally);
                    sum
                })
            };
            LevelRow {
                step: at + 1,
                reached: *reached,
                ended: sum(FlowTarget::Ended),
                went_on: sum(FlowTarget::WentOn),
            }
        });
        let levels = levels.collect();
        let nodes = self.nodes.into_iter().enumerate().flat_map(|(at, largest)| {
            let (shown, rest) = largest.narrowed(width);
            let shown = shown.into_iter().map(|(tally, code)| (PathNode::Code(code), tally, 1));
            let rest = (0 < rest.sequence_count).then_some((PathNode::Other, rest.tally, rest.sequence_count));
            shown.chain(rest).map(move |(node, tally, node_count)| NodeRow { step: at + 1, node, tally, node_count })
        });
        let nodes = nodes.collect();
        let rows = |largest: Largest<(bool, Vec<u32>)>| {
            let max = largest.max;
            let (rows, rest) = largest.narrowed(max);
            let row = |(tally, (is_cut, nodes))| SequenceRow { nodes, is_cut, tally };
            (rows.into_iter().map(row).collect(), rest)
        };
        let (full_paths, other_full_paths) = rows(self.full_paths);
        let (n_grams, other_n_grams) = rows(self.n_grams);
        PathReport { totals: self.totals, levels, nodes, flows, full_paths, other_full_paths, n_grams, other_n_grams }
    }

    /// How many nodes a step shows.
    fn width_of_flows(&self) -> usize {
        let Width::Edges(edges_max) = self.limits.width else { return self.nodes_max };
        let Some(places) = &self.places else { return self.nodes_max };
        let fits = |width: usize| {
            let edges = self.flows.keys().filter(|flow| ![ENDED, WENT_ON].contains(&flow.target()));
            let edges: BTreeSet<FlowKey> = edges.map(|flow| shown(places, *flow, width)).collect();
            let mut counts = [0; STEP_COUNT_MAX + 1];
            edges.iter().for_each(|edge| counts[edge.step()] += 1);
            counts.iter().all(|count| *count <= edges_max)
        };
        // More nodes never make fewer edges: each node that comes out of `other` only parts edges.
        let (mut fitting, mut beyond) = (0, self.nodes_max + 1);
        while fitting + 1 < beyond {
            let middle = usize::midpoint(fitting, beyond);
            if fits(middle) {
                fitting = middle;
            } else {
                beyond = middle;
            }
        }
        fitting
    }
}

fn shown(places: &BTreeMap<(usize, u32), usize>, flow: FlowKey, nodes_max: usize) -> FlowKey {
    let node = |step, code| match places.get(&(step, code)) {
        Some(place) if *place < nodes_max => code,
        _ => OTHER,
    };
    let (step, target) = (flow.step(), flow.target());
    let target = if [ENDED, WENT_ON].contains(&target) { target } else { node(step + 1, target) };
    FlowKey::new(step, node(step, flow.source()), target)
}

/// A flow as rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlowOrder {
    step: usize,
    source: PathNode,
    target: FlowTarget,
}

impl FlowOrder {
    fn of(flow: FlowKey) -> Self {
        let target = match flow.target() {
            ENDED => FlowTarget::Ended,
            WENT_ON => FlowTarget::WentOn,
            code => FlowTarget::Node(PathNode::of(code)),
        };
        Self { step: flow.step(), source: PathNode::of(flow.source()), target }
    }
}

/// The things that most paths have, and the sum of the rest.
#[derive(Debug, Clone)]
struct Largest<T> {
    max: usize,
    /// At most twice as many as asked for and a few; the largest of them first once settled.
    items: Vec<(Tally, T)>,
    rest: SequenceRest,
}

impl<T: Ord> Largest<T> {
    fn new(max: usize) -> Self {
        Self { max, items: Vec::new(), rest: SequenceRest::default() }
    }

    fn push(&mut self, tally: Tally, item: T) {
        self.items.push((tally, item));
        if 2 * self.max + 64 <= self.items.len() {
            self.settle(self.max);
        }
    }

    fn settle(&mut self, max: usize) {
        self.items.sort_unstable_by(|(a, a_item), (b, b_item)| b.paths.cmp(&a.paths).then_with(|| a_item.cmp(b_item)));
        for (tally, _) in self.items.drain(max.min(self.items.len())..) {
            self.rest.sequence_count += 1;
            self.rest.tally.add(&tally);
        }
    }

    fn settled(&mut self) -> &[(Tally, T)] {
        self.settle(self.max);
        &self.items
    }

    fn narrowed(mut self, max: usize) -> (Vec<(Tally, T)>, SequenceRest) {
        self.settle(max);
        (self.items, self.rest)
    }
}
