//! The table functions `paths`, `path_list` and `path_ngrams`: what people do one thing after another, within a session.
//!
//! In:       `paths(node => ..., direction => 'session', start_at => NULL, end_at => NULL, goal => ..., steps => 5, ...)`.
//! Out:      `paths`: a row for each edge of each step, as a Sankey diagram is drawn from, and for each end and `(other)`.
//!           `path_list`: whole paths, most often walked first, and all others as one row. `path_ngrams`: runs of `length`.
//! Promise:  counts are exact before anything is left out, and what is left out is `(other)`: into each node of each step
//!           come as many paths as go on from it, end there or go beyond the last step.
//! Not here: what a path is: `analytics::path`.
//!
//! * `node`: what an event is called on a path; an event where it is NULL is on none. Default: the page, else the event's name.
//! * `direction`: `session` (all of it), `forward` from `start_at`, `backward` from `end_at`, `between` the two.
//! * `occurrence`: `first` start of a session, or `each`.
//! * `session_gap`: more than so long without an event, and another session begins.

mod fold;

use std::sync::Arc;

use tributary_analytics::path::{
    CountPlan, Occurrence, PathDefinition, ReportLimits, STEP_COUNT_MAX, SessionCut, Walk, Width,
};

use crate::error::QueryError;
use crate::table_function::{Arguments, DONE_BY_PEOPLE, Parameter, Spec, Wants, Written, as_text, never, with_default};
use fold::{PathAnswer, Told};

const SHARED: [Parameter; 15] = [
    with_default("node", "coalesce(url_path, event_name)"),
    with_default("direction", "'session'"),
    with_default("start_at", "NULL"),
    with_default("end_at", "NULL"),
    with_default("steps", "5"),
    with_default("filter", DONE_BY_PEOPLE),
    with_default("source", "NULL"),
    with_default("key", "person_id"),
    with_default("session_gap", "'30 minutes'"),
    with_default("goal", "event_kind = 'conversion'"),
    with_default("collapse", "true"),
    with_default("occurrence", "'first'"),
    with_default("nodes", "20"),
    with_default("top", "50"),
    with_default("length", "2"),
];

pub(crate) const PATHS: Spec = Spec {
    name: "paths",
    parameters: &SHARED,
    example: "SELECT * FROM paths(node => url_path, direction => 'backward', end_at => event_kind = 'conversion')",
};

pub(crate) const LIST: Spec = Spec {
    name: "path_list",
    parameters: &SHARED,
    example: "SELECT path, sessions, conversion_rate FROM path_list(node => event_name, steps => 10, top => 20)",
};

pub(crate) const NGRAMS: Spec = Spec {
    name: "path_ngrams",
    parameters: &SHARED,
    example: "SELECT path, sessions FROM path_ngrams(node => url_path, length => 3)",
};

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    told(arguments, Told::Flows)
}

pub(crate) fn write_out_list(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    told(arguments, Told::Whole)
}

pub(crate) fn write_out_ngrams(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    told(arguments, Told::NGrams)
}

fn told(arguments: &Arguments<'_>, told: Told) -> Result<Written, QueryError> {
    let wrong = |error: tributary_analytics::error::AnalyticsError| arguments.fault(error.to_string());
    let node = arguments.expression("node")?;
    let start = arguments.maybe_condition("start_at")?;
    let end = arguments.maybe_condition("end_at")?;
    let goal = arguments.condition("goal")?;
    let direction = arguments.text("direction")?;
    let definition = PathDefinition {
        walk: Walk::parse(&direction, start.is_some(), end.is_some()).map_err(wrong)?,
        occurrence: Occurrence::parse(&arguments.text("occurrence")?).map_err(wrong)?,
        cut: SessionCut::Gap { gap_us: arguments.duration_us("session_gap")? },
        is_collapsed: arguments.flag("collapse")?,
        steps_max: arguments.whole("steps", 1..=STEP_COUNT_MAX as u64)? as usize,
    };
    let definition = definition.checked().map_err(wrong)?;
    let n_gram_length = arguments.whole("length", 1..=STEP_COUNT_MAX as u64)? as usize;
    let plan = CountPlan {
        has_durations: told == Told::Flows,
        has_full_paths: told == Told::Whole,
        n_gram_length: (told == Told::NGrams).then_some(n_gram_length),
    };
    let top = arguments.whole("top", 0..=ReportLimits::SEQUENCES_MAX as u64)? as usize;
    let nodes = arguments.whole("nodes", 0..=ReportLimits::WIDTH_MAX as u64)? as usize;
    let limits = ReportLimits { width: Width::Nodes(nodes), paths_max: top, n_grams_max: top };
    let words = format!("{direction} of {node}");
    let conditions = vec![start.unwrap_or_else(never), end.unwrap_or_else(never), goal];
    let rows = Wants { conditions, codes: vec![as_text(&node)], ..Wants::default() }.over(arguments, &[])?;
    Ok(rows.folded(Arc::new(PathAnswer { definition, plan, limits, told, words })))
}
