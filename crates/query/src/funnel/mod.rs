//! The table functions `funnel`, `funnel_trend`, `funnel_actors`, `funnel_times` and `funnel_curve`: how many come how far,
//! when, who, and how long it takes them.
//!
//! In:       `funnel(steps => [condition, ...], window => '30 days', key => person_id, ...)`, and the same for the others.
//! Out:      `funnel`: a row a step, reached or not. `funnel_trend`: a row for each day, week or month of entry.
//!           `funnel_actors`: a row a unit (an attempt, where all are counted). `funnel_times`: the histogram of times from
//!           the first step. `funnel_curve`: what share has converted after how long, fair to those whose time is not over.
//! Promise:  one pass over the events; all five count the same outcomes, asked with the same `count`: the trend's default is the
//!           first attempt, the others' the best.
//! Not here: how far one unit came: `analytics::funnel`; which arguments there are: `ask.rs`.
//!
//! * `steps`: conditions over the columns of `person_events`, in order; one may be asked for twice.
//! * `key`: whose steps belong together: `person_id`, or any expression. A `session_key` is one device of one source
//!   only: give `source` beside it.
//! * `window`: from the first step to the last, inclusive; NULL for no limit. `calendar_days` counts days of `timezone` instead,
//!   `session_gap` asks for one session.
//! * `mode`: what to do with equal times: `exact` (the order of the log), `exact, any`, `exact, strictly_increasing`; or one of
//!   ClickHouse's, for `funnel` alone: see `window_funnel`.
//! * `names`: what to call the steps; else they are called by their conditions.

mod ask;
mod fold;
mod interval;

pub(crate) use interval::functions;

use std::sync::Arc;

use tributary_analytics::calendar::Period;
use tributary_analytics::error::AnalyticsError;
use tributary_analytics::funnel::{EntryBuckets, EntryPeriod};

use crate::error::QueryError;
use crate::table_function::{Arguments, SEQUENCE, Spec, Written, quoted, relation_for};
use crate::window_funnel::check_mode;
use fold::{FunnelAnswer, Told};

pub(crate) const SPEC: Spec = Spec {
    name: "funnel",
    parameters: &ask::SHARED,
    example: "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'click', event_kind = 'conversion'], \
              window => '7 days')",
};

pub(crate) const TREND: Spec = Spec {
    name: "funnel_trend",
    parameters: &ask::OF_TREND,
    example: "SELECT * FROM funnel_trend(steps => [event_kind = 'page', event_kind = 'conversion'], period => 'week')",
};

pub(crate) const ACTORS: Spec = Spec {
    name: "funnel_actors",
    parameters: &ask::SHARED,
    example: "SELECT unit FROM funnel_actors(steps => [event_kind = 'page', event_kind = 'conversion']) WHERE level = 1",
};

pub(crate) const TIMES: Spec = Spec {
    name: "funnel_times",
    parameters: &ask::SHARED,
    example: "SELECT * FROM funnel_times(steps => [event_kind = 'page', event_kind = 'conversion'])",
};

pub(crate) const CURVE: Spec = Spec {
    name: "funnel_curve",
    parameters: &ask::SHARED,
    example: "SELECT * FROM funnel_curve(steps => [event_kind = 'page', event_kind = 'conversion'])",
};

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    if arguments.text("mode")?.trim_start().starts_with("exact") {
        return told(arguments, Told::Steps);
    }
    levels(arguments)
}

pub(crate) fn write_out_trend(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let wrong = |error: AnalyticsError| arguments.fault(error.to_string());
    let period = match arguments.text("period")?.as_str() {
        "day" => EntryPeriod::Day,
        "month" => EntryPeriod::Month,
        "week" => {
            let first = Period::parse_week_start(&arguments.text("week_start")?.to_lowercase()).map_err(wrong)?;
            EntryPeriod::Week { first_weekday: first.to_monday_zero_offset().unsigned_abs() }
        }
        other => return Err(arguments.fault(format!("period is {other:?}: day, week or month"))),
    };
    let buckets = EntryBuckets::new(period, &arguments.text("timezone")?);
    told(arguments, Told::Trend(buckets.map_err(wrong)?))
}

pub(crate) fn write_out_actors(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    told(arguments, Told::Actors)
}

pub(crate) fn write_out_times(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    told(arguments, Told::Times)
}

pub(crate) fn write_out_curve(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    told(arguments, Told::Curve)
}

fn told(arguments: &Arguments<'_>, told: Told) -> Result<Written, QueryError> {
    let ask::Asked { question, rows } = ask::read(arguments)?;
    Ok(rows.folded(Arc::new(FunnelAnswer { question, told })))
}

/// ClickHouse's modes, which know levels and no times.
fn levels(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let steps = arguments.conditions("steps")?;
    let names = arguments.texts("names")?;
    if !names.is_empty() && names.len() != steps.len() {
        return Err(arguments.fault(format!("{} names for {} steps: give one each", names.len(), steps.len())));
    }
    let window_us = arguments.maybe_duration_us("window")?;
    let window = window_us.map_or_else(|| "NULL".to_owned(), |us| us.to_string());
    let mode = arguments.text("mode")?;
    check_mode(&mode).map_err(|reason| arguments.fault(reason))?;
    let key = arguments.expression("key")?;
    let filter = arguments.condition("filter")?;
    let source = arguments.maybe_text("source")?.map(|source| format!(" AND source = {}", quoted(&source)));
    let conditions: Vec<&str> = steps.iter().map(|step| step.sql.as_str()).collect();
    let relation = relation_for(&[conditions.as_slice(), &[key.as_str(), filter.as_str()]].concat());

    let calls = format!("({window}, {}, event_time_us, {SEQUENCE}, ({}))", quoted(&mode), conditions.join("), ("));
    // The key becomes a column first: as `GROUP BY 1` it would name one instead.
    let of_units = format!(
        "FROM (SELECT *, ({key}) AS funnel_unit FROM {relation} WHERE ({filter}){}) AS {relation}
        WHERE funnel_unit IS NOT NULL GROUP BY funnel_unit",
        source.unwrap_or_default()
    );
    // `generate_series` is refused to everyone (`bounded.rs`).
    let positions = (1..=steps.len()).map(|position| position.to_string()).collect::<Vec<_>>().join(", ");
    let reached = format!(
        "SELECT position FROM (SELECT unnest(array_slice([{positions}], 1, level)) AS position
            FROM (SELECT window_funnel{calls} AS level {of_units}) AS units
            WHERE 0 < level) AS entered"
    );
    let rows = steps.iter().enumerate().map(|(index, step)| {
        let name = names.get(index).unwrap_or(&step.words);
        format!("({}, {})", index + 1, quoted(name))
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    let no_number = "CAST(NULL AS DOUBLE)";
    Ok(Written::Query(format!(
        "SELECT position, step, units_reached,
            units_reached / nullif(CAST(units_entered AS DOUBLE), 0) AS rate_from_first,
            units_reached / nullif(CAST(units_before AS DOUBLE), 0) AS rate_from_previous,
            wilson_low(units_reached, units_entered) AS rate_low,
            wilson_high(units_reached, units_entered) AS rate_high,
            {no_number} AS median_seconds_from_first, {no_number} AS p90_seconds_from_first,
            {no_number} AS median_seconds_from_previous, {no_number} AS mean_seconds_from_first,
            CAST(NULL AS BIGINT) AS units_open, CAST(NULL AS BIGINT) AS units_left_out
        FROM (
            SELECT wanted.position, wanted.step, coalesce(counted.units, 0) AS units_reached,
                first_value(coalesce(counted.units, 0)) OVER (ORDER BY wanted.position) AS units_entered,
                lag(coalesce(counted.units, 0)) OVER (ORDER BY wanted.position) AS units_before
            FROM (VALUES {rows}) AS wanted(position, step)
            LEFT JOIN (
                SELECT position, count(*) AS units FROM ({reached}) AS reached GROUP BY position
            ) AS counted ON counted.position = wanted.position
        ) AS steps
        ORDER BY position"
    )))
}
