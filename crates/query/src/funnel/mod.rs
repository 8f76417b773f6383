//! The table function `funnel`: how many come how far, and how long it takes them.
//!
//! In:       `funnel(steps => [condition, ...], window => '30 days', mode => 'exact', key => person_id,
//!           source => NULL, filter => true, names => NULL)`.
//! Out:      one row a step, reached or not: `position`, `step`, `units_reached`, `rate_from_first`,
//!           `rate_from_previous`, `rate_low` and `rate_high` (95 %, Wilson, of `rate_from_first`),
//!           `median_seconds_from_first`, `p90_seconds_from_first`, `median_seconds_from_previous`.
//! Promise:  one pass over the events; who has no time (`mode` of ClickHouse) has NULL there.
//! Not here: how far one unit came: `window_funnel`, and through it `analytics::funnel`.
//!
//! * `steps`: conditions over the columns of `person_events`, in order.
//! * `key`: whose steps belong together: `person_id`, or any expression. A `session_key` is one device of one source
//!   only: give `source` beside it.
//! * `window`: from the first step to the last, inclusive; NULL for no limit.
//! * `mode`: see `window_funnel`.
//! * `names`: what to call the steps; else they are called by their conditions.

mod interval;

pub(crate) use interval::functions;

use crate::error::QueryError;
use crate::table_function::{Arguments, SEQUENCE, Spec, Written, needed, quoted, relation_for, with_default};

pub(crate) const SPEC: Spec = Spec {
    name: "funnel",
    parameters: &[
        needed("steps"),
        with_default("window", "'30 days'"),
        with_default("mode", "'exact'"),
        with_default("key", "person_id"),
        with_default("source", "NULL"),
        with_default("filter", "true"),
        with_default("names", "NULL"),
    ],
    example: "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'click', event_kind = 'conversion'], \
              window => '7 days')",
};

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let steps = arguments.conditions("steps")?;
    let names = arguments.texts("names")?;
    if !names.is_empty() && names.len() != steps.len() {
        return Err(arguments.fault(format!("{} names for {} steps: give one each", names.len(), steps.len())));
    }
    let window_us = arguments.maybe_duration_us("window")?;
    let window = window_us.map_or_else(|| "NULL".to_owned(), |us| us.to_string());
    let mode = arguments.text("mode")?;
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
    let reached = if mode.trim_start().starts_with("exact") {
        format!(
            "SELECT position, times[position] - times[1] AS first_us,
                CASE WHEN 1 < position THEN times[position] - times[position - 1] END AS previous_us
            FROM (SELECT times, unnest(array_slice([{positions}], 1, CAST(cardinality(times) AS BIGINT))) AS position
                FROM (SELECT window_funnel_times{calls} AS times {of_units}) AS units
                WHERE times[1] IS NOT NULL) AS entered"
        )
    } else {
        format!(
            "SELECT position, CAST(NULL AS BIGINT) AS first_us, CAST(NULL AS BIGINT) AS previous_us
            FROM (SELECT unnest(array_slice([{positions}], 1, level)) AS position
                FROM (SELECT window_funnel{calls} AS level {of_units}) AS units
                WHERE 0 < level) AS entered"
        )
    };
    let rows = steps.iter().enumerate().map(|(index, step)| {
        let name = names.get(index).unwrap_or(&step.words);
        format!("({}, {})", index + 1, quoted(name))
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    Ok(Written::Query(format!(
        "SELECT position, step, units_reached,
            units_reached / nullif(CAST(units_entered AS DOUBLE), 0) AS rate_from_first,
            units_reached / nullif(CAST(units_before AS DOUBLE), 0) AS rate_from_previous,
            wilson_low(units_reached, units_entered) AS rate_low,
            wilson_high(units_reached, units_entered) AS rate_high,
            median_seconds_from_first, p90_seconds_from_first, median_seconds_from_previous
        FROM (
            SELECT wanted.position, wanted.step, coalesce(counted.units, 0) AS units_reached,
                first_value(coalesce(counted.units, 0)) OVER (ORDER BY wanted.position) AS units_entered,
                lag(coalesce(counted.units, 0)) OVER (ORDER BY wanted.position) AS units_before,
                counted.median_seconds_from_first, counted.p90_seconds_from_first,
                counted.median_seconds_from_previous
            FROM (VALUES {rows}) AS wanted(position, step)
            LEFT JOIN (
                SELECT position, count(*) AS units,
                    median(first_us / 1e6) AS median_seconds_from_first,
                    percentile_cont(0.9) WITHIN GROUP (ORDER BY first_us / 1e6) AS p90_seconds_from_first,
                    median(previous_us / 1e6) AS median_seconds_from_previous
                FROM ({reached}) AS reached
                GROUP BY position
            ) AS counted ON counted.position = wanted.position
        ) AS steps
        ORDER BY position"
    )))
}
