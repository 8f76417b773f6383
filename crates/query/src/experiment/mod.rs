//! The table functions `experiment`, `experiment_days`, `experiment_actors` and `experiment_plan`: did a variant move the
//! number, may we believe it, does it last, whom does it concern, and how many does it take?
//!
//! In:       `experiment(name => 'subject_line', metric => 'conversion', control => NULL, conversion => ...,
//!           window => NULL, ...)`, and what of it means something for the others.
//! Out:      `experiment`: a row for each metric, slice and variant, control first. `experiment_days`: a row for each metric,
//!           treatment and day since exposure. `experiment_actors`: a row for each unit and metric. `experiment_plan`: a
//!           row for each lift, from no events at all.
//! Promise:  one pass over the events. A unit counts once, for the variant first shown, from that moment on. Who was shown two
//!           variants is left out and counted in `crossover_persons` of the first. All numbers are the same for any number
//!           of threads, to the bit.
//! Not here: the statistics: `analytics::experiment`.
//!
//! * `metric`: one or several of `conversion` (share of units with one), `value` (their mean value a unit, 0 for none),
//!   `count` (conversions a unit), `ratio` (of two sums), `quantile` (of the values of conversions, clustered by unit),
//!   `retention` (share that came back), `funnel` (share that went through steps).
//! * `control`: the variant to compare with; default: the one called `control`, else the first by name.
//! * `window`: how long after the exposure (and `delay`) events count; NULL for ever.
//! * `split`: the planned split, such as 'control=90, blue=10'. Without it, what the recorded probabilities of the units
//!   counted say; where they do not tell, `srm_p_value` is NULL and `reasons` says so. Without probabilities equal parts.
//! * What else there is: `docs/sql.md`.

mod actors;
mod analysis;
mod compare;
mod days;
mod design;
mod exposure_to;
mod fold;
mod infer;
mod measure;
mod plan;
mod reading;
mod split;
mod sums;
mod table;
mod tally;

pub(crate) use exposure_to::functions;

use std::sync::Arc;

use tributary_analytics::experiment::NoveltyRule;

use crate::error::QueryError;
use crate::table_function::{Arguments, DONE, Parameter, Spec, Written, needed, with_default};
use days::DaysAsked;
use fold::{ExperimentFold, Told};

const NAME: Parameter = needed("name");
const METRIC: Parameter = with_default("metric", "'conversion'");
const CONTROL: Parameter = with_default("control", "NULL");
const CONVERSION: Parameter = with_default("conversion", "event_kind = 'conversion'");
const WINDOW: Parameter = with_default("window", "NULL");
const GOAL: Parameter = with_default("goal", "'higher'");
const FILTER: Parameter = with_default("filter", "true");
const VALUE: Parameter = with_default("value", "value");
const NUMERATOR: Parameter = with_default("numerator", "NULL");
const DENOMINATOR: Parameter = with_default("denominator", "NULL");
const RETURNS: Parameter = with_default("returns", DONE);
const RETURN_DAYS: Parameter = with_default("return_days", "[1, 8]");
const STEPS: Parameter = with_default("steps", "NULL");
const DELAY: Parameter = with_default("delay", "'0'");
const IN_PROGRESS: Parameter = with_default("in_progress", "'count'");
const ACTIVATION: Parameter = with_default("activation", "NULL");
const KEY: Parameter = with_default("key", "person_id");
const CUPED: Parameter = with_default("cuped", "NULL");
const STATISTICS: Parameter = with_default("statistics", "'fixed'");
const ALPHA: Parameter = with_default("alpha", "0.05");
const POWER: Parameter = with_default("power", "0.8");
const TUNING: Parameter = with_default("tuning", "5000");

pub(crate) const SPEC: Spec = Spec {
    name: "experiment",
    parameters: &[
        NAME,
        METRIC,
        CONTROL,
        CONVERSION,
        WINDOW,
        GOAL,
        with_default("split", "NULL"),
        FILTER,
        STATISTICS,
        ALPHA,
        VALUE,
        NUMERATOR,
        DENOMINATOR,
        with_default("level", "0.5"),
        RETURNS,
        RETURN_DAYS,
        STEPS,
        DELAY,
        IN_PROGRESS,
        ACTIVATION,
        KEY,
        with_default("by", "NULL"),
        with_default("slices_max", "20"),
        CUPED,
        with_default("strata", "NULL"),
        with_default("winsorize", "NULL"),
        with_default("winsorize_of", "'all'"),
        with_default("lift", "'delta'"),
        with_default("correction", "NULL"),
        with_default("guardrails", "NULL"),
        TUNING,
        with_default("planned_units", "NULL"),
        with_default("looks", "NULL"),
        with_default("spending", "'obrien_fleming'"),
        with_default("prior", "NULL"),
        with_default("prior_scale", "'relative'"),
        POWER,
        with_default("effect", "NULL"),
        with_default("units_min", "100"),
    ],
    example: "SELECT * FROM experiment(name => 'subject_line', metric => 'conversion', control => 'a')",
};

pub(crate) const DAYS: Spec = Spec {
    name: "experiment_days",
    parameters: &[
        NAME,
        METRIC,
        CONTROL,
        CONVERSION,
        GOAL,
        FILTER,
        VALUE,
        ACTIVATION,
        KEY,
        ALPHA,
        with_default("early_days", "7"),
        with_default("days", "14"),
    ],
    example: "SELECT * FROM experiment_days(name => 'subject_line', metric => 'count', conversion => event_kind = 'click')",
};

pub(crate) const ACTORS: Spec = Spec {
    name: "experiment_actors",
    parameters: &[
        NAME,
        METRIC,
        CONVERSION,
        WINDOW,
        FILTER,
        VALUE,
        NUMERATOR,
        DENOMINATOR,
        RETURNS,
        RETURN_DAYS,
        STEPS,
        DELAY,
        IN_PROGRESS,
        ACTIVATION,
        KEY,
        CUPED,
    ],
    example: "SELECT unit, variant FROM experiment_actors(name => 'subject_line') WHERE is_crossover",
};

pub(crate) const PLAN: Spec = Spec {
    name: "experiment_plan",
    parameters: &[
        with_default("base_rate", "NULL"),
        needed("lift"),
        POWER,
        ALPHA,
        with_default("daily_units", "NULL"),
        with_default("mean", "NULL"),
        with_default("deviation", "NULL"),
        with_default("treatment_ratio", "1"),
        with_default("treatments", "1"),
        STATISTICS,
        TUNING,
    ],
    example: "SELECT * FROM experiment_plan(base_rate => 0.03, lift => [0.05, 0.1], daily_units => 2000)",
};

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let asked = design::read(arguments)?;
    let analysis = analysis::read(arguments, &asked.design)?;
    Ok(call(asked, Told::Variants(Box::new(analysis))))
}

pub(crate) fn write_out_days(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let asked = design::read(arguments)?;
    let days = arguments.whole("days", 2..=3_660)?;
    let early_days = arguments.whole("early_days", 1..=days - 1)?;
    let told = DaysAsked {
        rule: NoveltyRule { early_days: early_days as u32, days: days as u32 },
        alpha: analysis::alpha(arguments)?,
        goals: analysis::goals(arguments, &asked.design)?,
        control: arguments.maybe_text("control")?,
    };
    Ok(call(asked, Told::Days(told)))
}

pub(crate) fn write_out_actors(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    Ok(call(design::read(arguments)?, Told::Actors))
}

pub(crate) fn write_out_plan(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    plan::write_out(arguments)
}

fn call(asked: design::Asked, told: Told) -> Written {
    let design::Asked { design, rows } = asked;
    rows.folded(Arc::new(ExperimentFold { design, told }))
}
