//! The table functions `retention`, `retention_overall`, `lifecycle`, `stickiness`, `active_users` and `rfm`: who comes back.
//!
//! In:       conditions over the columns of `person_events`; a calendar: `period`, `timezone`, `week_start`; a range of days.
//! Out:      `retention`: a row for each cohort and period since. `retention_overall`: a row a period, over the cohorts old
//!           enough. `lifecycle`, `stickiness`, `active_users`: a row a period. `rfm`: a row a unit.
//! Promise:  periods are the calendar's in the zone, daylight saving and all; what is not over yet says so. Amounts of several
//!           currencies are never added: `retention` and `rfm` then tell none.
//! Not here: what the words mean: `analytics::{calendar, retention, activity, rfm}`.
//!
//! * `since`, `until`: the range, from the first day to the last, both included, in `timezone`; default: that of the events.
//!   Events before it are read too where it matters who was there before, so narrow the range by these and not by `filter`.
//! * `key`: who comes back: `person_id`, or any expression.

mod active;
mod cohorts;
mod rfm;

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use tributary_analytics::calendar::{Calendar, ElapsedWindows, Period};
use tributary_analytics::error::AnalyticsError;
use tributary_analytics::retention::{CohortRule, Counting, ReturnEvent, SamePeriod, Windows};
use tributary_analytics::rfm::{Cut, RfmRule};

use crate::error::QueryError;
use crate::fold::About;
use crate::table_function::{
    Arguments, DONE_BY_PEOPLE, FoldRows, Parameter, Spec, Wants, Written, as_text, with_default,
};

const KEY: Parameter = with_default("key", "person_id");
const SOURCE: Parameter = with_default("source", "NULL");
const FILTER: Parameter = with_default("filter", DONE_BY_PEOPLE);
const TIMEZONE: Parameter = with_default("timezone", "'UTC'");
const WEEK_START: Parameter = with_default("week_start", "'monday'");
const SINCE: Parameter = with_default("since", "NULL");
const UNTIL: Parameter = with_default("until", "NULL");

const RETENTION_PARAMETERS: [Parameter; 16] = [
    with_default("starts", "true"),
    with_default("returns", "NULL"),
    with_default("period", "'week'"),
    with_default("periods", "12"),
    with_default("cohort", "'first_ever'"),
    with_default("counting", "'bounded'"),
    with_default("brackets", "NULL"),
    with_default("windows", "'calendar'"),
    TIMEZONE,
    WEEK_START,
    SINCE,
    UNTIL,
    with_default("breakdown", "NULL"),
    KEY,
    SOURCE,
    FILTER,
];

pub(crate) const RETENTION: Spec = Spec {
    name: "retention",
    parameters: &RETENTION_PARAMETERS,
    example: "SELECT * FROM retention(starts => event_name = 'Signed Up', returns => event_kind = 'page', period => 'week')",
};

pub(crate) const OVERALL: Spec = Spec {
    name: "retention_overall",
    parameters: &RETENTION_PARAMETERS,
    example: "SELECT * FROM retention_overall(starts => event_kind = 'conversion', period => 'month')",
};

pub(crate) const LIFECYCLE: Spec = Spec {
    name: "lifecycle",
    parameters: &[
        with_default("active", "true"),
        with_default("period", "'week'"),
        TIMEZONE,
        WEEK_START,
        SINCE,
        UNTIL,
        KEY,
        SOURCE,
        FILTER,
    ],
    example: "SELECT * FROM lifecycle(active => event_kind = 'page', period => 'week', week_start => 'sunday')",
};

pub(crate) const STICKINESS: Spec = Spec {
    name: "stickiness",
    parameters: &[
        with_default("active", "true"),
        with_default("period", "'month'"),
        with_default("interval_of", "'day'"),
        TIMEZONE,
        WEEK_START,
        SINCE,
        UNTIL,
        KEY,
        SOURCE,
        FILTER,
    ],
    example: "SELECT * FROM stickiness(active => event_kind = 'page', period => 'month', interval_of => 'day')",
};

pub(crate) const ACTIVE: Spec = Spec {
    name: "active_users",
    parameters: &[
        with_default("active", "true"),
        with_default("period", "'day'"),
        with_default("windows", "[1, 7, 30]"),
        TIMEZONE,
        WEEK_START,
        SINCE,
        UNTIL,
        KEY,
        SOURCE,
        FILTER,
    ],
    example: "SELECT * FROM active_users(active => event_kind = 'page', windows => [1, 7, 28])",
};

pub(crate) const RFM: Spec = Spec {
    name: "rfm",
    parameters: &[
        with_default("purchase", "event_kind = 'conversion'"),
        with_default("tiles", "5"),
        with_default("cut", "'tiles'"),
        with_default("as_of", "NULL"),
        TIMEZONE,
        KEY,
        SOURCE,
        FILTER,
    ],
    example: "SELECT segment, count(*) FROM rfm(as_of => '2026-11-01') GROUP BY segment",
};

/// The range that is asked for, as far as it is said: midnights of the zone.
#[derive(Debug, Clone, Copy)]
struct Asked {
    since_us: Option<i64>,
    until_us: Option<i64>,
}

impl Asked {
    fn read(arguments: &Arguments<'_>) -> Result<Self, QueryError> {
        Ok(Self { since_us: midnight(arguments, "since", 0)?, until_us: midnight(arguments, "until", 1)? })
    }

    /// The range of times; what is not said, the events do. `None` without events.
    fn range(self, about: &About<'_>) -> Option<Range<i64>> {
        let (first_us, last_us) = about.times_us?;
        Some(self.since_us.unwrap_or(first_us)..self.until_us.unwrap_or(last_us.saturating_add(1)))
    }
}

/// The midnight at which a day begins, or so many days later.
pub(crate) fn midnight(
    arguments: &Arguments<'_>,
    name: &'static str,
    days_later: i64,
) -> Result<Option<i64>, QueryError> {
    let Some(day) = arguments.maybe_day(name)? else { return Ok(None) };
    let zone = arguments.text("timezone")?;
    let calendar = Calendar::new(Period::Day, &zone).map_err(|error| arguments.fault(error.to_string()))?;
    Ok(Some(calendar.start_us(day + days_later)))
}

/// * `period`: the argument that says which.
fn calendar(arguments: &Arguments<'_>, period: &'static str) -> Result<Calendar, QueryError> {
    let [period, week_start, zone] = [period, "week_start", "timezone"].map(|name| arguments.text(name));
    calendar_of(arguments, &period?, &week_start?, &zone?)
}

/// What the arguments say.
pub(crate) fn calendar_of(
    arguments: &Arguments<'_>,
    period: &str,
    week_start: &str,
    zone: &str,
) -> Result<Calendar, QueryError> {
    let wrong = |error: AnalyticsError| arguments.fault(error.to_string());
    // Lengths of a day have no week to begin.
    let week_start = Period::parse_week_start(week_start).map_err(wrong)?;
    let period = Period::parse(period, week_start).map_err(wrong)?;
    Calendar::new(period, zone).map_err(wrong)
}

/// What the beginning of a period is told in: a day, or of an hour the moment, in UTC.
pub(crate) fn start_type(calendar: &Calendar) -> DataType {
    match calendar.period() {
        Period::Hour => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => DataType::Date32,
    }
}

/// * `numbers`: of periods.
pub(crate) fn starts(calendar: &Calendar, numbers: &[i64]) -> ArrayRef {
    let day = |number: &i64| i32::try_from(calendar.first_day(*number)).unwrap_or(i32::MAX);
    match calendar.period() {
        Period::Hour => {
            let moments = numbers.iter().map(|number| calendar.start_us(*number));
            Arc::new(TimestampMicrosecondArray::from_iter_values(moments))
        }
        _ => Arc::new(Date32Array::from_iter_values(numbers.iter().map(day))),
    }
}

/// What an amount is in; none where there is none.
const CURRENCY: &str = "CASE WHEN value <> 0 THEN coalesce(currency, 'XXX') END";

/// The events that meet one of some conditions, with texts and an amount.
fn call(
    arguments: &Arguments<'_>,
    conditions: Vec<String>,
    codes: Vec<String>,
    has_value: bool,
) -> Result<FoldRows, QueryError> {
    let only = conditions.clone();
    let values = has_value.then(|| "value".to_owned()).into_iter().collect();
    Wants { conditions, codes, values }.over(arguments, &only)
}

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    cohorts(arguments, false)
}

pub(crate) fn write_out_overall(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    cohorts(arguments, true)
}

fn cohorts(arguments: &Arguments<'_>, is_overall: bool) -> Result<Written, QueryError> {
    let fault = |reason: String| arguments.fault(reason);
    let wrong = |error: AnalyticsError| arguments.fault(error.to_string());
    let starts = arguments.condition("starts")?;
    let returns = arguments.maybe_condition("returns")?;
    let cohort_rule = match arguments.text("cohort")?.as_str() {
        "first_ever" => CohortRule::FirstEver,
        "first_in_range" => CohortRule::FirstInRange,
        "recurring" => CohortRule::Recurring,
        other => return Err(fault(format!("cohort is {other:?}: first_ever, first_in_range or recurring"))),
    };
    let windows = match arguments.text("windows")?.as_str() {
        "calendar" => Windows::Calendar(SamePeriod::FromStart),
        "calendar_whole" => Windows::Calendar(SamePeriod::Whole),
        "24_hours" => Windows::SinceStart(ElapsedWindows::DAYS),
        "7_days" => Windows::SinceStart(ElapsedWindows::WEEKS),
        "30_days" => Windows::SinceStart(ElapsedWindows::MONTHS),
        "24_hours_floored" => Windows::SinceStart(ElapsedWindows::DAYS.floored_to_hour().map_err(wrong)?),
        other => {
            let known = "calendar, calendar_whole, 24_hours, 24_hours_floored, 7_days or 30_days";
            return Err(fault(format!("windows is {other:?}: {known}")));
        }
    };
    let period_max = arguments.whole("periods", 0..=3_660)? as u32;
    let brackets = arguments.texts("brackets")?;
    let counting = match arguments.text("counting")?.as_str() {
        "bounded" if brackets.is_empty() => Counting::Bounded { period_max },
        "rolling" if brackets.is_empty() => Counting::Rolling { period_max },
        "bounded" => {
            let bracket = |text: &String| {
                let number = |text: &str| text.trim().parse::<u32>().ok();
                let ends = match text.split_once('-') {
                    Some((first, last)) => number(first).zip(number(last)),
                    None => number(text).map(|only| (only, only)),
                };
                ends.ok_or_else(|| fault(format!("brackets holds {text:?}: write a period or two, such as '2-3'")))
            };
            Counting::Brackets(brackets.iter().map(bracket).collect::<Result<_, _>>()?)
        }
        "rolling" => return Err(fault("brackets are counted as they are: leave counting away".to_owned())),
        other => return Err(fault(format!("counting is {other:?}: bounded or rolling"))),
    };
    let breakdown = arguments.maybe_expression("breakdown")?;
    let return_event = if returns.is_some() { ReturnEvent::Own } else { ReturnEvent::SameAsStart };
    let mut conditions = vec![starts];
    conditions.extend(returns);
    let mut codes: Vec<String> = breakdown.iter().map(|breakdown| as_text(breakdown)).collect();
    codes.extend((!is_overall).then(|| CURRENCY.to_owned()));
    let rows = call(arguments, conditions, codes, !is_overall)?;
    let question = cohorts::Question {
        calendar: calendar(arguments, "period")?,
        asked: Asked::read(arguments)?,
        cohort_rule,
        return_event,
        windows,
        counting,
    };
    Ok(rows.folded(Arc::new(cohorts::RetentionAnswer { question, is_overall, has_breakdown: breakdown.is_some() })))
}

pub(crate) fn write_out_lifecycle(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    activity(arguments, active::Told::Lifecycle)
}

pub(crate) fn write_out_active(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let windows = arguments.wholes("windows", 1..=100_000)?;
    activity(arguments, active::Told::Active(windows.into_iter().map(|window| window as u32).collect()))
}

pub(crate) fn write_out_stickiness(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let (intervals, periods) = (calendar(arguments, "interval_of")?, calendar(arguments, "period")?);
    if length_rank(periods.period()) <= length_rank(intervals.period()) {
        let (interval, period) = (arguments.text("interval_of")?, arguments.text("period")?);
        return Err(arguments.fault(format!(
            "interval_of is {interval:?} and period {period:?}: a period must hold several intervals, as a month holds days; \
             else everybody is active in one"
        )));
    }
    activity(arguments, active::Told::Stickiness(intervals))
}

/// The shorter comes first.
fn length_rank(period: Period) -> u8 {
    match period {
        Period::Hour => 0,
        Period::Day => 1,
        Period::Week(_) => 2,
        Period::Month => 3,
        Period::Quarter => 4,
        Period::Year => 5,
    }
}

fn activity(arguments: &Arguments<'_>, told: active::Told) -> Result<Written, QueryError> {
    let condition = arguments.condition("active")?;
    let rows = call(arguments, vec![condition], Vec::new(), false)?;
    let calendar = calendar(arguments, "period")?;
    Ok(rows.folded(Arc::new(active::ActivityAnswer { calendar, asked: Asked::read(arguments)?, told })))
}

pub(crate) fn write_out_rfm(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let cut = match arguments.text("cut")?.as_str() {
        "tiles" => Cut::Tiles,
        "quantiles" => Cut::Quantiles,
        other => return Err(arguments.fault(format!("cut is {other:?}: tiles or quantiles"))),
    };
    let tiles = arguments.whole("tiles", 1..=1_000)? as u32;
    RfmRule::new(0, tiles, cut).map_err(|error| arguments.fault(error.to_string()))?;
    let condition = arguments.condition("purchase")?;
    let rows = call(arguments, vec![condition], vec![CURRENCY.to_owned()], true)?;
    Ok(rows.folded(Arc::new(rfm::RfmAnswer { as_of_us: midnight(arguments, "as_of", 0)?, tiles, cut })))
}
