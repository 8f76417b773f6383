//! The table function `metric`: one number, by period and by whatever it is broken down by.
//!
//! In:       `metric(measure => sum(value), filter => ..., by => channel, period => 'week', ...)`, or
//!           `metric('revenue', by => channel)` with the arguments of a definition (`definitions/`).
//! Out:      a row for each period and value of `by` that has events: `period` (its first day; NULL without one), the column of
//!           `by` where it is asked for, `value`, `numerator`, `denominator`, `events`, `unit`. Without `period` and `by` one
//!           row, events or not.
//! Promise:  the same numbers as the plain SQL: `value` is the measure over the events of the row, or numerator by
//!           denominator, NULL where that is 0. Periods are the calendar's in the zone.
//! Not here: what a period is: `analytics::calendar`.
//!
//! * `measure`: an aggregate over the columns of `person_events`: `sum(value)`, `count(DISTINCT person_id)`.
//! * `numerator`, `denominator`: two of them, instead: the rate of a whole is not the mean of its parts' rates, so it must be
//!   told as two.
//! * `since`, `until`: days of the zone, both included.
//! * Amounts of different currencies are refused, not added: filter by `currency`, break down by it, or take `value_reporting`.

mod one_currency;
mod period_start;

use datafusion::logical_expr::ScalarUDF;
use tributary_analytics::calendar::Period;
use tributary_analytics::error::AnalyticsError;

use self::one_currency::guarded;
use crate::error::QueryError;
use crate::retention::midnight;
use crate::table_function::{Arguments, Spec, Written, column_for, quoted, relation_for, with_default};

pub(crate) const SPEC: Spec = Spec {
    name: "metric",
    parameters: &[
        with_default("measure", "NULL"),
        with_default("by", "NULL"),
        with_default("period", "NULL"),
        with_default("since", "NULL"),
        with_default("until", "NULL"),
        with_default("timezone", "'UTC'"),
        with_default("week_start", "'monday'"),
        with_default("filter", "true"),
        with_default("numerator", "NULL"),
        with_default("denominator", "NULL"),
        with_default("source", "NULL"),
        with_default("unit", "NULL"),
    ],
    example: "SELECT * FROM metric(measure => sum(value), by => currency, period => 'week', filter => event_kind = 'conversion')",
};

/// `period_start`, and what the measures are guarded by.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    let mut functions = period_start::functions();
    functions.push(one_currency::function());
    functions
}

/// Columns of the answer that `by` cannot be called.
const TAKEN: [&str; 6] = ["period", "value", "numerator", "denominator", "events", "unit"];

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let [measure, numerator, denominator] = ["measure", "numerator", "denominator"]
        .map(|name| arguments.maybe_aggregate(name).map(|sql| sql.as_deref().map(guarded)));
    let (value, numerator, denominator) = match (measure?, numerator?, denominator?) {
        (Some(measure), None, None) => {
            (format!("({measure})"), "CAST(NULL AS DOUBLE)".to_owned(), "CAST(NULL AS DOUBLE)".to_owned())
        }
        (None, Some(numerator), Some(denominator)) => {
            let [numerator, denominator] = [numerator, denominator].map(|part| format!("CAST(({part}) AS DOUBLE)"));
            (format!("{numerator} / nullif({denominator}, 0.0)"), numerator, denominator)
        }
        _ => {
            let reason = "give a measure, such as sum(value), or numerator and denominator; a name in quotes is one of \
                          metric_definitions";
            return Err(arguments.fault(reason.to_owned()));
        }
    };
    let by = arguments.maybe_expression("by")?;
    let filter = arguments.condition("filter")?;
    let period = period(arguments)?;
    let mut wanted = vec![format!("({filter})")];
    wanted.extend(midnight(arguments, "since", 0)?.map(|us| format!("{us} <= event_time_us")));
    wanted.extend(midnight(arguments, "until", 1)?.map(|us| format!("event_time_us < {us}")));
    wanted.extend(arguments.maybe_text("source")?.map(|source| format!("source = {}", quoted(&source))));
    let unit = arguments.maybe_text("unit")?.map_or_else(|| "CAST(NULL AS VARCHAR)".to_owned(), |unit| quoted(&unit));

    let mut named = vec![value.as_str(), filter.as_str()];
    named.extend(by.as_deref());
    let relation = relation_for(&named);
    let groups: Vec<&str> =
        [period.as_ref().map(|_| "metric_period"), by.as_ref().map(|_| "metric_by")].into_iter().flatten().collect();
    // The groups become columns first: as `GROUP BY 1` an expression would name one instead.
    let period = period.unwrap_or_else(|| "CAST(NULL AS DATE)".to_owned());
    let by_column = by.as_ref().map(|by| format!("metric_by AS \"{}\",", column_for(by, &TAKEN, "by_value")));
    let by = by.map(|by| format!(", ({by}) AS metric_by")).unwrap_or_default();
    let shown = if groups.contains(&"metric_period") { "metric_period" } else { "CAST(NULL AS DATE)" };
    let grouped = if groups.is_empty() { String::new() } else { format!("GROUP BY {}", groups.join(", ")) };
    let ordered = if groups.is_empty() { String::new() } else { format!("ORDER BY {}", groups.join(", ")) };
    Ok(Written::Query(format!(
        "SELECT {shown} AS period, {by_column} {value} AS value, {numerator} AS numerator, {denominator} AS denominator,
            count(*) AS events, {unit} AS unit
        FROM (SELECT *, {period} AS metric_period{by} FROM {relation} WHERE {wanted}) AS {relation}
        {grouped} {ordered}",
        by_column = by_column.unwrap_or_default(),
        wanted = wanted.join(" AND "),
    )))
}

/// The first day of an event's period, as SQL.
fn period(arguments: &Arguments<'_>) -> Result<Option<String>, QueryError> {
    let wrong = |error: AnalyticsError| arguments.fault(error.to_string());
    let (zone, week_start) = (arguments.text("timezone")?, arguments.text("week_start")?);
    let first = Period::parse_week_start(&week_start).map_err(wrong)?;
    let period = arguments.maybe_text("period")?;
    // The zone is checked without a period, too: it is told.
    let checked = period_start::calendar(period.as_deref().unwrap_or("day"), &zone, first);
    checked.map_err(|reason| arguments.fault(reason))?;
    let Some(period) = period else { return Ok(None) };
    let [period, zone, week_start] = [period, zone, week_start].map(|text| quoted(&text));
    Ok(Some(format!("period_start({period}, event_time_us, {zone}, {week_start})")))
}
