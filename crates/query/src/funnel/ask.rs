//! What a call of a funnel function asks: the definition, and the columns it wants of each event.
//!
//! In:       the arguments `funnel`, `funnel_trend`, `funnel_actors`, `funnel_times` and `funnel_curve` share.
//! Out:      a `Question`, and the columns of its fold.
//! Promise:  the same arguments give the same definition to each of them, so that no two can disagree.

use tributary_analytics::funnel::{
    Counting, Exclusion, ExclusionEffect, FunnelDefinition, FunnelQuestion, FunnelStep, FunnelWindow, StepOrder,
    TieOrder,
};

use crate::error::QueryError;
use crate::fold::Layout;
use crate::retention::midnight;
use crate::table_function::{Arguments, FoldRows, Parameter, Wants, as_text, column_for, needed, with_default};
use crate::window_funnel::check_mode;

/// The arguments all of them take, in this order.
pub(super) const SHARED: [Parameter; 23] = with_count("'best'");

/// Those of the trend, where a unit stands in the period it began in. By its best attempt it would move to a later one as soon
/// as a later attempt goes further: its failure would be in no period's rate, and the rate of a period long over would still change.
pub(super) const OF_TREND: [Parameter; 23] = with_count("'first'");

const fn with_count(count: &'static str) -> [Parameter; 23] {
    [
        needed("steps"),
        with_default("window", "'30 days'"),
        with_default("mode", "'exact'"),
        with_default("key", "person_id"),
        with_default("source", "NULL"),
        with_default("filter", "true"),
        with_default("names", "NULL"),
        with_default("step_order", "'ordered'"),
        with_default("optional", "NULL"),
        with_default("step_windows", "NULL"),
        with_default("calendar_days", "NULL"),
        with_default("session_gap", "NULL"),
        with_default("timezone", "'UTC'"),
        with_default("exclude", "NULL"),
        with_default("exclude_between", "NULL"),
        with_default("exclusion", "'void_attempt'"),
        with_default("count", count),
        with_default("tie_tolerance", "'0'"),
        with_default("breakdown", "NULL"),
        with_default("breakdown_by", "'first_touch'"),
        with_default("period", "'day'"),
        with_default("week_start", "'monday'"),
        with_default("as_of", "NULL"),
    ]
}

/// Which event of a unit has the value it is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakdownBy {
    /// The first, or last, of all events looked at that has one.
    FirstTouch,
    LastTouch,
    /// That of the step, counted from 1.
    Step(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) definition: FunnelDefinition,
    pub(super) names: Vec<String>,
    /// Quiet for longer than this, and another session begins; `None`: sessions do not matter.
    pub(super) session_gap_us: Option<i64>,
    /// Up to when all is known; `None`: up to the last event.
    pub(super) as_of_us: Option<i64>,
    /// What the column is called.
    pub(super) breakdown: Option<(String, BreakdownBy)>,
    /// In words, for `EXPLAIN`.
    pub(super) words: String,
}

/// A question with its columns.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) rows: FoldRows,
}

/// Columns of answers that a breakdown cannot be called.
const TAKEN: [&str; 8] = ["position", "step", "units_reached", "period", "unit", "attempt", "level", "seconds"];

pub(super) fn read(arguments: &Arguments<'_>) -> Result<Asked, QueryError> {
    let fault = |reason: String| arguments.fault(reason);
    let steps = arguments.conditions("steps")?;
    let excluded = arguments.maybe_conditions("exclude")?;
    if Layout::MASKS_MAX < steps.len() + excluded.len() {
        let (steps, excluded) = (steps.len(), excluded.len());
        return Err(fault(format!("{steps} steps and {excluded} exclusions: {} together at most", Layout::MASKS_MAX)));
    }
    let names = arguments.texts("names")?;
    if !names.is_empty() && names.len() != steps.len() {
        return Err(fault(format!("{} names for {} steps: give one each", names.len(), steps.len())));
    }
    let wrong = |error: tributary_analytics::error::AnalyticsError| arguments.fault(error.to_string());
    let exclusions = exclusions(arguments, excluded.len(), steps.len())?;
    let session_gap_us = arguments.maybe_duration_us("session_gap")?;
    let window_us = arguments.maybe_duration_us("window")?;
    let days = arguments.maybe_whole("calendar_days", 1..=36_500)?;
    let window = match (session_gap_us, days, window_us) {
        (Some(_), Some(_), _) => {
            return Err(fault("calendar_days and session_gap are two windows: give one".to_owned()));
        }
        (Some(quiet_gap_us), None, _) => FunnelWindow::SameSession { quiet_gap_us },
        (None, Some(days), _) => {
            let zone = arguments.text("timezone")?;
            FunnelWindow::CalendarDays { day_count: days as u32, zone }
        }
        (None, None, Some(length_us)) => FunnelWindow::Duration { length_us },
        (None, None, None) => FunnelWindow::Unlimited,
    };
    let step_order = StepOrder::parse(&arguments.text("step_order")?).map_err(wrong)?;
    let question = FunnelQuestion {
        steps: funnel_steps(arguments, steps.len())?,
        order: step_order,
        window,
        tie_order: tie_order(arguments)?,
        tie_tolerance_us: arguments.duration_us("tie_tolerance")?,
        exclusions,
        counting: Counting::parse(&arguments.text("count")?).map_err(wrong)?,
    };
    let definition = FunnelDefinition::new(question).map_err(wrong)?;
    let breakdown = breakdown(arguments, steps.len())?;
    let conditions: Vec<String> = steps.iter().chain(&excluded).map(|condition| condition.sql.clone()).collect();
    // Others change nothing, unless an order looks at what lies between or a value may come from any event.
    let is_strict = matches!(step_order, StepOrder::StrictReset | StepOrder::StrictStop);
    let looks_at_all = is_strict
        || session_gap_us.is_some()
        || matches!(breakdown, Some((_, BreakdownBy::FirstTouch | BreakdownBy::LastTouch, _)));
    let only = if looks_at_all { Vec::new() } else { conditions.clone() };
    let codes = breakdown.iter().map(|(_, _, sql)| as_text(sql)).collect();
    let as_of_us = midnight(arguments, "as_of", 0)?;
    let rows = Wants { conditions, codes, ..Wants::default() }.over(arguments, &only)?;
    let rows = match as_of_us {
        Some(as_of_us) => rows.before(as_of_us),
        None => rows,
    };
    let words: Vec<&str> = steps.iter().map(|step| step.words.as_str()).collect();
    let words = words.join(" > ");
    let names = if names.is_empty() { steps.into_iter().map(|step| step.words).collect() } else { names };
    let breakdown = breakdown.map(|(column, by, _)| (column, by));
    let question = Question { definition, names, session_gap_us, as_of_us, breakdown, words };
    Ok(Asked { question, rows })
}

fn tie_order(arguments: &Arguments<'_>) -> Result<TieOrder, QueryError> {
    let mode = arguments.text("mode")?;
    let rest = mode.trim().strip_prefix("exact").map(|rest| rest.trim_start_matches(',').trim());
    match rest {
        Some("") => Ok(TieOrder::Ingest),
        Some(rest) => TieOrder::parse(rest).map_err(|error| arguments.fault(error.to_string())),
        None => {
            check_mode(&mode).map_err(|reason| arguments.fault(reason))?;
            Err(arguments
                .fault(format!("mode {mode:?} has levels only: it is for funnel(), without its further arguments")))
        }
    }
}

fn funnel_steps(arguments: &Arguments<'_>, step_count: usize) -> Result<Vec<FunnelStep>, QueryError> {
    let mut steps = vec![FunnelStep::default(); step_count];
    for position in arguments.wholes("optional", 1..=step_count as u64)? {
        steps[position as usize - 1].is_optional = true;
    }
    let windows = arguments.maybe_durations_us("step_windows")?;
    if !windows.is_empty() && windows.len() + 1 != step_count {
        let wanted = step_count - 1;
        let given = windows.len();
        return Err(
            arguments.fault(format!("{given} step_windows for {step_count} steps: give {wanted}, NULL for none"))
        );
    }
    for (step, window_us) in steps.iter_mut().skip(1).zip(windows) {
        step.window_us = window_us;
    }
    Ok(steps)
}

fn exclusions(arguments: &Arguments<'_>, count: usize, step_count: usize) -> Result<Vec<Exclusion>, QueryError> {
    let fault = |reason: String| arguments.fault(reason);
    let effect = ExclusionEffect::parse(&arguments.text("exclusion")?).map_err(|error| fault(error.to_string()))?;
    let between = arguments.texts("exclude_between")?;
    if !between.is_empty() && between.len() != count {
        return Err(fault(format!("{} exclude_between for {count} exclusions: give one each", between.len())));
    }
    let exclusion = |index: usize| {
        let (from_step, to_step) = match between.get(index) {
            None => (1, step_count),
            Some(text) => {
                let ends = text
                    .split_once('-')
                    .and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
                ends.ok_or_else(|| fault(format!("exclude_between is {text:?}: write two steps, such as '1-2'")))?
            }
        };
        Ok(Exclusion { bit: index as u32, from_step, to_step, effect })
    };
    (0..count).map(exclusion).collect()
}

/// What it is called, where its value comes from, and its SQL.
fn breakdown(
    arguments: &Arguments<'_>,
    step_count: usize,
) -> Result<Option<(String, BreakdownBy, String)>, QueryError> {
    let Some(sql) = arguments.maybe_expression("breakdown")? else { return Ok(None) };
    let word = arguments.text("breakdown_by")?;
    let by = match word.as_str() {
        "first_touch" => BreakdownBy::FirstTouch,
        "last_touch" => BreakdownBy::LastTouch,
        word => match word.strip_prefix("step_").and_then(|step| step.parse().ok()) {
            Some(step) if (1..=step_count).contains(&step) => BreakdownBy::Step(step),
            _ => {
                let known = format!("first_touch, last_touch, or step_1 to step_{step_count}");
                return Err(arguments.fault(format!("breakdown_by is {word:?}: {known}")));
            }
        },
    };
    Ok(Some((column_for(&sql, &TAKEN, "breakdown"), by, sql)))
}
