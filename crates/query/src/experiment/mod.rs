//! The table function `experiment`: did a variant move the number, and may we believe it?
//!
//! In:       `experiment(name => 'subject_line', metric => 'conversion', control => NULL, conversion => ...,
//!           window => NULL, goal => 'higher', split => NULL, filter => true)`.
//! Out:      one row a variant, control first: `variant`, `is_control`, `persons`, `crossover_persons`,
//!           `conversions` (persons with one), `metric_value` with `metric_low` and `metric_high`; against control:
//!           `difference`, `relative_lift`, each with low and high, `p_value`; `srm_p_value`, `verdict`, `reasons`.
//! Promise:  a person counts once, for the variant first shown, from that moment on. Who was shown two variants is
//!           left out and counted in `crossover_persons` of the first. Intervals are 95 %.
//! Not here: the statistics: `analytics::experiment`.
//!
//! * `metric`: `conversion` (share of persons with one) or `value` (mean value a person, 0 for none).
//! * `control`: the variant to compare with; default: the one called `control`, else the first by name.
//! * `conversion`: default `event_kind = 'conversion'`. The metric `value` wants them in one currency.
//! * `window`: how long after the first exposure conversions count; NULL for ever.
//! * `split`: the planned split, such as 'control=90, blue=10'. Without it, what the recorded probabilities of the persons
//!   counted say; where they do not tell, `srm_p_value` is NULL and `reasons` says so. Without probabilities equal
//!   parts.

mod report;
mod split;

pub(crate) use report::functions;

use crate::error::QueryError;
use crate::table_function::{Arguments, SEQUENCE, Spec, Written, needed, quoted, with_default};

pub(crate) const SPEC: Spec = Spec {
    name: "experiment",
    parameters: &[
        needed("name"),
        with_default("metric", "'conversion'"),
        with_default("control", "NULL"),
        with_default("conversion", "event_kind = 'conversion'"),
        with_default("window", "NULL"),
        with_default("goal", "'higher'"),
        with_default("split", "NULL"),
        with_default("filter", "true"),
    ],
    example: "SELECT * FROM experiment(name => 'subject_line', metric => 'conversion', control => 'a')",
};

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let name = arguments.text("name")?;
    let metric = arguments.text("metric")?;
    report::Metric::parse(&metric).map_err(|reason| arguments.fault(reason))?;
    let goal = arguments.text("goal")?;
    report::parse_goal(&goal).map_err(|reason| arguments.fault(reason))?;
    let split = arguments.maybe_text("split")?;
    if let Some(split) = &split {
        split::Split::parse(split).map_err(|reason| arguments.fault(reason))?;
    }
    let or_null = |text: Option<String>| text.map_or_else(|| "NULL".to_owned(), |text| quoted(&text));
    let control = or_null(arguments.maybe_text("control")?);
    let conversion = arguments.condition("conversion")?;
    let filter = arguments.condition("filter")?;
    let window = arguments.maybe_duration_us("window")?;
    let in_window =
        window.map(|us| format!(" AND event.event_time_us - person.exposed_us <= {us}")).unwrap_or_default();
    Ok(Written::Query(format!(
        "WITH exposure AS (
            SELECT person_id, event_time_us, sequence, shown['variant'] AS variant,
                CASE WHEN 0 < shown['probability'] AND shown['probability'] <= 1 THEN shown['probability'] END
                    AS probability
            FROM (
                SELECT person_id, event_time_us, {SEQUENCE} AS sequence, unnest(exposures) AS shown
                FROM person_events
                WHERE exposures IS NOT NULL AND ({filter})
            ) AS seen
            WHERE shown['experiment'] = {name} AND shown['variant'] IS NOT NULL
        ), person AS (
            SELECT person_id,
                first_value(variant ORDER BY event_time_us, sequence) AS variant,
                first_value(probability ORDER BY event_time_us, sequence) AS probability,
                min(event_time_us) AS exposed_us,
                min(variant) <> max(variant) AS is_crossover
            FROM exposure
            GROUP BY person_id
        ), unit AS (
            SELECT person.person_id,
                min(person.variant) AS variant, min(person.probability) AS probability,
                bool_or(person.is_crossover) AS is_crossover,
                0 < count(event.event_time_us) AS is_converted,
                coalesce(CAST(sum(event.value) AS DOUBLE), 0.0) AS value,
                min(event.currency) AS currency_low, max(event.currency) AS currency_high
            FROM person
            LEFT JOIN (
                SELECT person_id, event_time_us, value,
                    CASE WHEN value IS NOT NULL THEN coalesce(currency, 'XXX') END AS currency
                FROM person_events WHERE ({filter}) AND ({conversion})
            ) AS event
                ON event.person_id = person.person_id
                AND person.exposed_us <= event.event_time_us{in_window}
            GROUP BY person.person_id
        ), arm AS (
            SELECT variant,
                count(*) FILTER (WHERE NOT is_crossover) AS persons,
                count(*) FILTER (WHERE is_crossover) AS crossover_persons,
                count(*) FILTER (WHERE NOT is_crossover AND is_converted) AS conversions,
                avg(value) FILTER (WHERE NOT is_crossover) AS mean,
                var_samp(value) FILTER (WHERE NOT is_crossover) AS variance,
                min(currency_low) FILTER (WHERE NOT is_crossover) AS currency_low,
                max(currency_high) FILTER (WHERE NOT is_crossover) AS currency_high,
                count(probability) FILTER (WHERE NOT is_crossover) AS chances,
                sum(probability) FILTER (WHERE NOT is_crossover) AS chance_sum,
                min(probability) FILTER (WHERE NOT is_crossover) AS chance_min,
                max(probability) FILTER (WHERE NOT is_crossover) AS chance_max
            FROM unit
            GROUP BY variant
        )
        SELECT line['variant'] AS variant, line['is_control'] AS is_control, line['persons'] AS persons,
            line['crossover_persons'] AS crossover_persons, line['conversions'] AS conversions,
            line['metric_value'] AS metric_value, line['metric_low'] AS metric_low, line['metric_high'] AS metric_high,
            line['difference'] AS difference, line['difference_low'] AS difference_low,
            line['difference_high'] AS difference_high,
            line['relative_lift'] AS relative_lift, line['relative_lift_low'] AS relative_lift_low,
            line['relative_lift_high'] AS relative_lift_high,
            line['p_value'] AS p_value, line['srm_p_value'] AS srm_p_value,
            line['verdict'] AS verdict, line['reasons'] AS reasons
        FROM (
            SELECT unnest(experiment_report({metric}, {goal}, {control}, {split}, array_agg(named_struct(
                'variant', variant, 'persons', persons, 'crossover_persons', crossover_persons,
                'conversions', conversions, 'mean', mean, 'variance', variance,
                'currency_low', currency_low, 'currency_high', currency_high,
                'chances', chances, 'chance_sum', chance_sum, 'chance_min', chance_min, 'chance_max', chance_max
            )))) AS line
            FROM arm
        ) AS report
        ORDER BY is_control DESC, variant",
        name = quoted(&name),
        metric = quoted(&metric),
        goal = quoted(&goal),
        split = or_null(split),
    )))
}
