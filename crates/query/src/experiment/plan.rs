//! `experiment_plan`: how many units it takes, before anybody is shown anything.
//!
//! In:       the share (or mean and deviation) there is, the lifts one wants to find, power and alpha.
//! Out:      a row for each lift: units of each arm, and days at the pace given.
//! Promise:  no events are read.
//! Not here: what the experiment could see once it runs: `detectable_lift` of `experiment`.

use tributary_analytics::experiment::{Horizon, Plan, units_for_effect_size, units_for_shares};

use super::analysis::{alpha, power, tuning};
use crate::error::QueryError;
use crate::table_function::{Arguments, Written};

pub(super) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let fault = |reason: &str| arguments.fault(reason.to_owned());
    let horizon = match arguments.text("statistics")?.as_str() {
        "fixed" => Horizon::Fixed,
        "sequential" => Horizon::Sequence { tuning_unit_count: tuning(arguments)? },
        other => return Err(arguments.fault(format!("statistics is {other:?}: fixed or sequential"))),
    };
    let plan = Plan { alpha: alpha(arguments)?, horizon, power: power(arguments)? };
    let base_rate = arguments.maybe_number(
        "base_rate",
        |rate| 0.0 < rate && rate < 1.0,
        "a share between 0 and 1, such as 0.03",
    )?;
    let mean = arguments.maybe_number("mean", |mean| mean != 0.0, "a mean that is not 0")?;
    let deviation = arguments.maybe_number("deviation", |deviation| 0.0 < deviation, "a deviation above 0")?;
    let lifts = arguments.numbers("lift", |lift| lift != 0.0, "a lift that is not 0, such as 0.1 for 10 %")?;
    if lifts.is_empty() {
        return Err(fault("lift: give the lift to be found, such as 0.1 for 10 %"));
    }
    let ratio =
        arguments.number("treatment_ratio", |ratio| 0.0 < ratio, "units in treatment for each in control, above 0")?;
    let treatments = arguments.whole("treatments", 1..=1_000)? as f64;
    let daily_units = arguments.maybe_number("daily_units", |units| 0.0 < units, "units a day in all arms, above 0")?;

    let base = base_rate.or(mean);
    let Some(base) = base.filter(|_| base_rate.is_none() || (mean.is_none() && deviation.is_none())) else {
        return Err(fault("give either base_rate, of a share, or mean and deviation"));
    };
    let mut rows = Vec::with_capacity(lifts.len());
    for lift in lifts {
        let control = match (base_rate, deviation) {
            (Some(rate), _) => {
                let raised = rate * (1.0 + lift);
                if !(0.0 < raised && raised < 1.0) {
                    return Err(arguments.fault(format!("lift {lift} would make {raised} of the share {rate}")));
                }
                units_for_shares(&plan, rate, lift, ratio)
            }
            (None, Some(deviation)) => units_for_effect_size(&plan, lift * base / deviation, ratio),
            (None, None) => return Err(fault("of a mean the deviation is needed too")),
        };
        let control = control.map(f64::ceil);
        let treatment = control.map(|units| (units * ratio).ceil());
        let total = control.zip(treatment).map(|(control, treatment)| control + treatments * treatment);
        let days = total.zip(daily_units).map(|(total, daily)| (total / daily).ceil());
        let whole = |units: Option<f64>| {
            units.map_or("CAST(NULL AS BIGINT)".to_owned(), |units| format!("CAST({units} AS BIGINT)"))
        };
        let number = |number: f64| format!("CAST({number} AS DOUBLE)");
        let cells = [
            number(base),
            number(lift),
            number(base * (1.0 + lift)),
            number(plan.power),
            number(plan.alpha.ratio()),
            whole(control),
            whole(treatment),
            whole(total),
            whole(days),
        ];
        rows.push(format!("({})", cells.join(", ")));
    }
    Ok(Written::Query(format!(
        "SELECT * FROM (VALUES {}) AS plan(base_value, lift, target_value, power, alpha, control_units, \
         treatment_units, total_units, days)",
        rows.join(", ")
    )))
}
