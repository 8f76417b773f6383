//! The table functions `touchpoints` and `attribution`: what came before conversions, and who gets the credit.
//!
//! In:       `touchpoints(conversion => ..., touch => ..., lookback => '30 days', same_touch => '30 minutes',
//!           filter => true)`; `attribution(model => 'last_touch', by => channel, ...)` with the same arguments besides.
//! Out:      `touchpoints`: one row a conversion and touch, `position` counting touches from the first; a conversion
//!           that none came before has one row, with `touch_count` 0 and no touch.
//!           `attribution`: one row a model, value of `by` and currency, and if asked for period or place on the path:
//!           `conversions` credited, `value` credited, and their shares. Conversions that none came before are credited to
//!           `(none)`, touches without a value of `by` to `(unset)`.
//! Promise:  for each model but participation the conversions sum to the conversions there are, and for each currency the
//!           value to their value, to the micro.
//! Not here: lookback and models: `analytics::attribution`. Amounts of different currencies are never added.
//!
//! * `conversion`: default `event_kind = 'conversion'`.
//! * `touch`: default: clicks and page views that name a channel, by a person or by who cannot be told. Opens and
//!   impressions are not touches unless asked for: machines make most of the former, nobody acts in the latter.
//! * `same_touch`: a touch that follows one of the same channel, campaign and utm source within this is the same one,
//!   told again: the click of a tracked link and the page it leads to, or a page loaded twice. '0' counts each.
//! * `by`: a column or expression over the touch: `channel`, `campaign_id`, `utm_source` ...; its column in the answer
//!   is called like the column asked for, or `touched`.
//! * `model`: rules, which credit conversion by conversion, and models that learn from all paths. `docs/sql.md` lists them and the
//!   arguments that are not told here.
//! * `filter`: which events are looked at at all, touches as well as conversions. A range of days for the conversions
//!   belongs into `conversion`, or it takes away the touches before them too.

mod credit;
mod fold;
mod learnt;

pub(crate) use credit::credit_function;

use std::sync::Arc;

use tributary_analytics::attribution::markov::Chain;
use tributary_analytics::attribution::{
    CreditRule, Direct, DoubleClicks, Lookbacks, Model, PathRule, TouchUse, Transform, Views,
};

use fold::{CreditTime, Dated, Sharing};
use learnt::{LEARNT_NAMES, Learnt, LearntKind};

use crate::error::QueryError;
use crate::retention::calendar_of;
use crate::table_function::{
    Arguments, Parameter, SEQUENCE, Spec, Wants, Written, as_text, column_for, never, quoted, with_default,
};

const CONVERSION: Parameter = with_default("conversion", "event_kind = 'conversion'");
const TOUCH: Parameter = with_default(
    "touch",
    "event_kind IN ('click', 'page') AND channel IS NOT NULL AND engagement_class IN ('human', 'unknown')",
);
const LOOKBACK: Parameter = with_default("lookback", "'30 days'");
const SAME_TOUCH: Parameter = with_default("same_touch", "'30 minutes'");
const FILTER: Parameter = with_default("filter", "true");
const KEY: Parameter = with_default("key", "person_id");
const VIEW: Parameter = with_default("view", "event_kind IN ('impression', 'open')");
const VIEW_LOOKBACK: Parameter = with_default("view_lookback", "NULL");
const VIEWS: Parameter = with_default("views", "'include'");
const IS_DIRECT: Parameter = with_default("is_direct", "channel IS NULL OR channel = 'direct'");
const DIRECT: Parameter = with_default("direct", "'keep'");
const SAME_TOUCH_BY: Parameter = with_default("same_touch_by", "NULL");
const TOUCH_USE: Parameter = with_default("touch_use", "'reuse'");
const OWN_TIME: Parameter = with_default("own_time", "true");
const TRANSFORMS: Parameter = with_default("transforms", "NULL");

pub(crate) const TOUCHPOINTS: Spec = Spec {
    name: "touchpoints",
    parameters: &[CONVERSION, TOUCH, LOOKBACK, SAME_TOUCH, FILTER],
    example: "SELECT * FROM touchpoints(conversion => event_name = 'Order Completed', lookback => '14 days')",
};

pub(crate) const ATTRIBUTION: Spec = Spec {
    name: "attribution",
    parameters: &[
        with_default("model", "'last_touch'"),
        with_default("by", "channel"),
        CONVERSION,
        TOUCH,
        LOOKBACK,
        SAME_TOUCH,
        FILTER,
        VIEW,
        VIEW_LOOKBACK,
        VIEWS,
        IS_DIRECT,
        DIRECT,
        with_default("is_paid", "channel LIKE 'paid%' OR channel IN ('display', 'affiliate')"),
        SAME_TOUCH_BY,
        TOUCH_USE,
        OWN_TIME,
        TRANSFORMS,
        KEY,
        with_default("half_life", "'7 days'"),
        with_default("lead", "false"),
        with_default("opportunity", "false"),
        with_default("cost", "event_kind = 'cost'"),
        with_default("markov_order", "NULL"),
        with_default("draws", "0"),
        with_default("period", "NULL"),
        with_default("credit_time", "'conversion'"),
        with_default("timezone", "NULL"),
        with_default("week_start", "NULL"),
        with_default("positions", "false"),
    ],
    example: "SELECT * FROM attribution(model => ['last_touch', 'markov'], by => utm_campaign, lookback => '14 days')",
};

/// The same arguments, but for the models.
pub(crate) const CONVERSION_PATHS: Spec = Spec {
    name: "conversion_paths",
    parameters: &[
        with_default("by", "channel"),
        CONVERSION,
        TOUCH,
        LOOKBACK,
        SAME_TOUCH,
        FILTER,
        VIEW,
        VIEW_LOOKBACK,
        VIEWS,
        IS_DIRECT,
        DIRECT,
        SAME_TOUCH_BY,
        TOUCH_USE,
        OWN_TIME,
        TRANSFORMS,
        KEY,
        with_default("top", "50"),
    ],
    example: "SELECT path, conversions, conversion_rate FROM conversion_paths(by => channel, transforms => 'exposure')",
};

pub(crate) fn write_out_conversion_paths(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let paths_max = arguments.whole("top", 0..=1_000_000)? as usize;
    let conditions = ["touch", "conversion", "view", "is_direct"].map(|name| arguments.condition(name));
    let [touch, conversion, view, is_direct] = all(conditions)?;
    let conditions = [touch, conversion, view, is_direct, never(), never(), never(), never()];
    call(arguments, Vec::new(), conditions, fold::Told::Paths { paths_max }, Split::default())
}

pub(crate) fn write_out_touchpoints(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let credits = credits(arguments)?;
    Ok(Written::Query(format!(
        "SELECT person_id, credit['conversion']['event_id'] AS conversion_id,
            credit['conversion']['time_us'] AS conversion_time_us,
            credit['conversion']['value'] AS value, credit['conversion']['currency'] AS currency,
            credit['touch']['time_us'] AS touch_time_us, credit['touch']['channel'] AS channel,
            credit['touch']['campaign_id'] AS campaign_id,
            credit['position'] AS position, credit['touch_count'] AS touch_count
        FROM ({credits}) AS credits
        ORDER BY conversion_time_us, conversion_id, position"
    )))
}

pub(crate) fn write_out_attribution(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let models = models(arguments)?;
    let split = split(arguments, &models)?;
    let conditions = ["touch", "conversion", "view", "is_direct", "is_paid", "cost", "lead", "opportunity"];
    let conditions = all(conditions.map(|name| arguments.condition(name)))?;
    call(arguments, models, conditions, fold::Told::Credit, split)
}

/// What credit is told by besides.
#[derive(Default)]
struct Split {
    dated: Option<Dated>,
    is_placed: bool,
}

fn split(arguments: &Arguments<'_>, models: &[(String, Sharing)]) -> Result<Split, QueryError> {
    let by = match arguments.text("credit_time")?.as_str() {
        "conversion" => CreditTime::Conversion,
        "touch" => CreditTime::Touch,
        word => return Err(arguments.fault(format!("credit_time is {word:?}: conversion or touch"))),
    };
    let (zone, week_start) = (arguments.maybe_text("timezone")?, arguments.maybe_text("week_start")?);
    let dated = match arguments.maybe_text("period")? {
        Some(period) => {
            let (zone, week_start) = (zone.as_deref().unwrap_or("UTC"), week_start.as_deref().unwrap_or("monday"));
            Some(Dated { calendar: calendar_of(arguments, &period, week_start, zone)?, by })
        }
        None if by == CreditTime::Touch || zone.is_some() || week_start.is_some() => {
            let reason = "credit_time, timezone and week_start say which period credit is in: give period as well, such as \
                          period => 'month'";
            return Err(arguments.fault(reason.to_owned()));
        }
        None => None,
    };
    let is_placed = arguments.flag("positions")?;
    let learnt = models.iter().find(|(_, sharing)| matches!(sharing, Sharing::Learnt(_)));
    if let Some((name, _)) = learnt
        && (dated.is_some() || is_placed)
    {
        return Err(arguments.fault(format!(
            "{name} learns from all paths together and credits no single conversion: ask for it without period and positions, \
             or for a rule or shapley with them"
        )));
    }
    Ok(Split { dated, is_placed })
}

/// * `conditions`: in the order of `fold::bit`.
fn call(
    arguments: &Arguments<'_>,
    models: Vec<(String, Sharing)>,
    mut conditions: [String; fold::bit::COUNT],
    told: fold::Told,
    Split { dated, is_placed }: Split,
) -> Result<Written, QueryError> {
    let path = path_rule(arguments)?;
    let asks_for = |of: fn(&CreditRule) -> bool| {
        models.iter().any(|(_, sharing)| matches!(sharing, Sharing::Rule(rule) if of(rule)))
    };
    let asks_for_paid = asks_for(|rule| matches!(rule, CreditRule::LastPaid { .. }));
    let asks_for_direct = asks_for_paid || asks_for(|rule| matches!(rule, CreditRule::LastNonDirect));
    let Lookbacks { click_us, impression_us, .. } = path.lookbacks;
    // What nothing depends on is not looked at: each condition is asked of every row.
    let [_, _, view, is_direct, is_paid, cost, ..] = &mut conditions;
    // Money is spent on a campaign, not on its place on a path.
    if is_placed {
        *cost = never();
    }
    if path.views == Views::Include && click_us == impression_us && !asks_for_paid {
        *view = never();
    }
    if path.direct == Direct::Keep && !asks_for_direct {
        *is_direct = never();
    }
    if !asks_for_paid {
        *is_paid = never();
    }
    let (transforms, remove) = transforms(arguments)?;
    let by = arguments.expression("by")?;
    let column = column_for(&by, &fold::COLUMNS, "touched");
    let marks = match arguments.maybe_expression("same_touch_by")? {
        Some(mark) => vec![as_text(&mark)],
        None => ["channel", "coalesce(utm_campaign, campaign_id)", "utm_source"].map(str::to_owned).to_vec(),
    };
    let [touch, conversion, _, _, _, cost, lead, opportunity] = &conditions;
    let only = [touch, conversion, cost, lead, opportunity].map(String::clone);
    let mut codes = vec![as_text(&by), "currency".to_owned()];
    codes.extend(marks);
    let wants = Wants { conditions: conditions.to_vec(), codes, values: vec!["value".to_owned()] };
    let rows = wants.over(arguments, &only)?;
    let layout = rows.layout;
    let same_touch_us = arguments.duration_us("same_touch")?;
    let path = PathRule { transforms, ..path };
    let fold = fold::AttributionFold { models, path, same_touch_us, remove, column, told, dated, is_placed, layout };
    Ok(rows.folded(Arc::new(fold)))
}

/// All of them, or the first fault.
fn all<const COUNT: usize>(given: [Result<String, QueryError>; COUNT]) -> Result<[String; COUNT], QueryError> {
    let given = given.into_iter().collect::<Result<Vec<String>, QueryError>>()?;
    Ok(given.try_into().expect("as many as there were"))
}

fn models(arguments: &Arguments<'_>) -> Result<Vec<(String, Sharing)>, QueryError> {
    let half_life_us = arguments.duration_us("half_life")?;
    let order = arguments.maybe_whole("markov_order", 1..=Chain::ORDER_MAX as u64)?.map(|order| order as usize);
    let draws = arguments.whole("draws", 0..=10_000)? as usize;
    let names = arguments.texts("model")?;
    if names.is_empty() {
        return Err(arguments.fault("no model is named".to_owned()));
    }
    let model = |name: String| {
        if let Some(kind) = LearntKind::parse(&name) {
            return Ok((name, Sharing::Learnt(Learnt { kind, order, draws })));
        }
        let rule = match CreditRule::parse(&name) {
            Ok(CreditRule::TimeDecay { .. }) => CreditRule::TimeDecay { half_life_us },
            Ok(rule) => rule,
            Err(error) => return Err(format!("{error}, {LEARNT_NAMES}")),
        };
        rule.checked().map(|rule| (name, Sharing::Rule(rule))).map_err(|error| error.to_string())
    };
    names.into_iter().map(model).collect::<Result<Vec<_>, String>>().map_err(|reason| arguments.fault(reason))
}

fn path_rule(arguments: &Arguments<'_>) -> Result<PathRule, QueryError> {
    let click_us = arguments.duration_us("lookback")?;
    let impression_us = arguments.maybe_duration_us("view_lookback")?.unwrap_or(click_us);
    let views = arguments.text_or_number("views")?;
    let views = match views.as_str() {
        "include" => Views::Include,
        "without_click" => Views::OnlyWithoutClick,
        weight => match weight.parse() {
            Ok(ratio) => Views::Weigh { ratio },
            Err(_) => return Err(arguments.fault(format!("views is {weight:?}: include, without_click, or 0 to 1"))),
        },
    };
    let one_of = |name: &'static str, words: [&str; 2]| match arguments.text(name)? {
        word if word == words[0] => Ok(false),
        word if word == words[1] => Ok(true),
        word => Err(arguments.fault(format!("{name} is {word:?}: {} or {}", words[0], words[1]))),
    };
    let rule = PathRule {
        lookbacks: Lookbacks { click_us, impression_us, other_us: click_us },
        own_time_counts: arguments.flag("own_time")?,
        touch_use: if one_of("touch_use", ["reuse", "reset"])? { TouchUse::Reset } else { TouchUse::Reuse },
        // A touch told again is none, whatever conversion it is seen from.
        double_clicks: DoubleClicks::Keep,
        views,
        direct: if one_of("direct", ["keep", "drop"])? { Direct::DropUnlessAlone } else { Direct::Keep },
        transforms: Vec::new(),
    };
    rule.checked().map_err(|error| arguments.fault(error.to_string()))
}

/// Those that are known beforehand, and those that name a value of `by`: these come after the others.
fn transforms(arguments: &Arguments<'_>) -> Result<(Vec<Transform>, Vec<fold::Removal>), QueryError> {
    let (mut transforms, mut remove) = (Vec::new(), Vec::new());
    for word in arguments.texts("transforms")? {
        let removal = |name: &str, only_at_the_end| fold::Removal { name: name.to_owned(), only_at_the_end };
        match word.split_once(':') {
            Some(("remove", name)) => remove.push(removal(name, false)),
            Some(("remove_if_last", name)) => remove.push(removal(name, true)),
            None if word == "exposure" => transforms.push(Transform::Exposure),
            None if word == "first" => transforms.push(Transform::First),
            _ => match word.strip_prefix("last_").and_then(|count| count.parse().ok()).filter(|count| 0 < *count) {
                Some(count) => transforms.push(Transform::LastSteps { count }),
                None => {
                    let known = "exposure, first, last_5 (any number), remove:email, remove_if_last:email";
                    return Err(arguments.fault(format!("there is no transform {word:?}: {known}")));
                }
            },
        }
    }
    Ok((transforms, remove))
}

/// One row a person and credit. A person's touches and conversions are gathered first, so that each event is
/// read once and the definitions see whole journeys; a join of conversions with touches would say the lookback
/// a second time, in SQL.
fn credits(arguments: &Arguments<'_>) -> Result<String, QueryError> {
    let conversion = arguments.condition("conversion")?;
    let touch = arguments.condition("touch")?;
    let filter = arguments.condition("filter")?;
    let lookback_us = arguments.duration_us("lookback")?;
    let same_touch_us = arguments.duration_us("same_touch")?;
    Ok(format!(
        "SELECT person_id,
            unnest(credit_touches({model}, {lookback_us}, {same_touch_us}, touches, conversions)) AS credit
        FROM (
            SELECT person_id,
                array_agg(touch) FILTER (WHERE is_touch) AS touches,
                array_agg(conversion) FILTER (WHERE is_conversion) AS conversions
            FROM (
                SELECT person_id,
                    ({touch}) AS is_touch,
                    ({conversion}) AS is_conversion,
                    named_struct('time_us', event_time_us, 'sequence', {SEQUENCE}, 'channel', channel,
                        'campaign', coalesce(utm_campaign, campaign_id), 'utm_source', utm_source,
                        'campaign_id', campaign_id) AS touch,
                    named_struct('time_us', event_time_us, 'event_id', event_id, 'value', value,
                        'currency', currency) AS conversion
                FROM person_events
                WHERE ({filter}) AND (({touch}) OR ({conversion}))
            ) AS marked
            GROUP BY person_id
        ) AS journeys
        WHERE conversions IS NOT NULL",
        // Any model that credits each touch shows each.
        model = quoted(Model::Linear.name()),
    ))
}
