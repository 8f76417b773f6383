//! The fold of the path functions.
//!
//! In:       a unit's rows: a node each, and whether they are a start, an end, the goal.
//! Out:      flows, whole paths or n-grams.
//! Not here: finding and counting paths: `analytics::path`.

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use tributary_analytics::error::AnalyticsError;
use tributary_analytics::path::{
    CountPlan, FlowTarget, Marks, NODE_CODE_MAX, PathCounts, PathDefinition, PathFold, PathNode, PathReport, PathRow,
    ReportLimits, SequenceRest, SequenceRow, Tally,
};

use crate::fold::{About, Fold, Rows, Texts};
use crate::stop::StopFlag;

/// What the conditions are, by bit.
mod bit {
    pub(super) const START: u32 = 1 << 0;
    pub(super) const END: u32 = 1 << 1;
    pub(super) const GOAL: u32 = 1 << 2;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Flows,
    Whole,
    NGrams,
}

#[derive(Debug)]
pub(super) struct PathAnswer {
    pub(super) definition: PathDefinition,
    pub(super) plan: CountPlan,
    pub(super) limits: ReportLimits,
    pub(super) told: Told,
    pub(super) words: String,
}

pub(super) struct Part {
    fold: PathFold,
    counts: PathCounts,
}

/// What a step is called that is no node.
const OTHER: &str = "(other)";
const ENDED: &str = "(end)";
const WENT_ON: &str = "(more)";
const BETWEEN_NODES: &str = " > ";

fn wrong(error: AnalyticsError) -> datafusion::error::DataFusionError {
    exec_datafusion_err!("{error}")
}

impl Fold for PathAnswer {
    type Part = Part;

    fn explain(&self) -> String {
        format!("paths, {}", self.words)
    }

    fn schema(&self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let counts = ["paths", "sessions", "units", "converted_sessions"].map(count);
        let mut fields = match self.told {
            Told::Flows => vec![count("step"), text("source"), text("target")],
            Told::Whole | Told::NGrams => vec![text("path"), count("distinct_paths")],
        };
        fields.push(Field::new(
            if self.told == Told::Flows { "is_drop_off" } else { "is_cut" },
            DataType::Boolean,
            true,
        ));
        fields.extend(counts);
        fields.push(number("conversion_rate"));
        match self.told {
            Told::Flows => fields.extend([number("mean_seconds"), number("median_seconds")]),
            Told::Whole => fields.push(number("mean_seconds")),
            Told::NGrams => {}
        }
        Arc::new(Schema::new(fields))
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let nodes = about.texts[0].len();
        if NODE_CODE_MAX as usize <= nodes {
            return Err(exec_datafusion_err!(
                "{nodes} different nodes are too many to count paths of: {NODE_CODE_MAX} at most; take what tells them \
                 apart off the node, such as the ids in an address"
            ));
        }
        let counts = PathCounts::new(self.plan).map_err(wrong)?;
        Ok(Part { fold: PathFold::new(self.definition).map_err(wrong)?, counts })
    }

    fn unit(&self, part: &mut Part, _: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let Part { fold, counts } = part;
        let mut fault = None;
        let mut sink = |path: tributary_analytics::path::Path<'_>| {
            if let Err(error) = counts.add(path) {
                fault = Some(error);
            }
        };
        for row in rows.iter() {
            let (mask, node) = (row.mask(), row.code(0));
            let marks = Marks::default()
                .with(Marks::START, mask & bit::START != 0)
                .with(Marks::END, mask & bit::END != 0)
                .with(Marks::GOAL, mask & bit::GOAL != 0)
                .with(Marks::HIDDEN, node.is_none());
            fold.push(PathRow { time_us: row.time_us(), node: node.unwrap_or(0), session: 0, marks }, &mut sink);
        }
        fold.finish_unit(&mut sink);
        fault.map_or(Ok(()), |error| Err(wrong(error)))
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        let nothing = PathCounts::new(self.plan).map_err(wrong)?;
        part.counts = std::mem::replace(&mut part.counts, nothing).merge(other.counts);
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        part.counts.bytes() + part.fold.bytes()
    }

    fn finish(&self, part: Part, about: &About<'_>) -> Result<RecordBatch> {
        let report = part.counts.top(self.limits).map_err(wrong)?;
        let texts = &about.texts[0];
        match self.told {
            Told::Flows => self.flows(&report, texts),
            Told::Whole => self.sequences(&report.full_paths, report.other_full_paths, texts),
            Told::NGrams => self.sequences(&report.n_grams, report.other_n_grams, texts),
        }
    }
}

impl PathAnswer {
    fn flows(&self, report: &PathReport, texts: &Texts) -> Result<RecordBatch> {
        let name = |node: PathNode| match node {
            PathNode::Code(code) => texts.get(Some(code)).unwrap_or_default(),
            PathNode::Other => OTHER,
        };
        // Of a step the largest first, which is what one looks for.
        let mut flows: Vec<_> = report.flows.iter().collect();
        flows.sort_by_key(|flow| (flow.step, std::cmp::Reverse(flow.tally.paths), flow.source, flow.target));
        let target = |target: FlowTarget| match target {
            FlowTarget::Node(node) => name(node),
            FlowTarget::Ended => ENDED,
            FlowTarget::WentOn => WENT_ON,
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(flows.iter().map(|flow| Some(flow.step as i64)).collect::<Int64Array>()),
            Arc::new(StringArray::from_iter_values(flows.iter().map(|flow| name(flow.source)))),
            Arc::new(StringArray::from_iter_values(flows.iter().map(|flow| target(flow.target)))),
            Arc::new(flows.iter().map(|flow| Some(flow.is_drop_off())).collect::<BooleanArray>()),
        ];
        columns.extend(tallies(flows.iter().map(|flow| &flow.tally)));
        let is_edge = |flow: &&&tributary_analytics::path::FlowRow| matches!(flow.target, FlowTarget::Node(_));
        let mean = flows.iter().map(|flow| Some(flow).filter(is_edge)?.tally.mean_time_us().map(|us| us / 1e6));
        columns.push(Arc::new(mean.collect::<Float64Array>()));
        let median = flows.iter().map(|flow| flow.durations.quantile_us(0.5).map(|us| us as f64 / 1e6));
        columns.push(Arc::new(median.collect::<Float64Array>()));
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }

    fn sequences(&self, shown: &[SequenceRow], rest: SequenceRest, texts: &Texts) -> Result<RecordBatch> {
        let path = |row: &SequenceRow| {
            let names: Vec<&str> = row.nodes.iter().map(|code| texts.get(Some(*code)).unwrap_or_default()).collect();
            Some(names.join(BETWEEN_NODES))
        };
        let has_rest = 0 < rest.sequence_count;
        let other = has_rest.then_some(Some(OTHER.to_owned()));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(shown.iter().map(path).chain(other).collect::<StringArray>()),
            Arc::new(Int64Array::from_iter_values(
                shown.iter().map(|_| 1).chain(has_rest.then_some(rest.sequence_count as i64)),
            )),
            Arc::new(
                shown.iter().map(|row| Some(row.is_cut)).chain(has_rest.then_some(None)).collect::<BooleanArray>(),
            ),
        ];
        let all = || shown.iter().map(|row| &row.tally).chain(has_rest.then_some(&rest.tally));
        columns.extend(tallies(all()));
        if self.told == Told::Whole {
            let mean = all().map(|tally| tally.mean_time_us().map(|us| us / 1e6));
            columns.push(Arc::new(mean.collect::<Float64Array>()));
        }
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }
}

/// Paths, sessions, units, sessions with the goal and their share.
fn tallies<'t>(tallies: impl Iterator<Item = &'t Tally>) -> Vec<ArrayRef> {
    let tallies: Vec<&Tally> = tallies.collect();
    let count = |of: fn(&Tally) -> u64| {
        let counts = tallies.iter().map(|tally| i64::try_from(of(tally)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(counts)) as ArrayRef
    };
    let rate = tallies.iter().map(|tally| tally.conversion_ratio());
    vec![
        count(|tally| tally.paths),
        count(|tally| tally.sessions),
        count(|tally| tally.units),
        count(|tally| tally.converted_sessions),
        Arc::new(rate.collect::<Float64Array>()),
    ]
}
