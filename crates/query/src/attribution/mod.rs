//! The table functions `touchpoints` and `attribution`: what came before conversions, and who gets the credit.
//!
//! In:       `touchpoints(conversion => ..., touch => ..., lookback => '30 days', same_touch => '30 minutes',
//!           filter => true)`; `attribution(model => 'last_touch', by => channel, ...)` with the same arguments besides.
//! Out:      `touchpoints`: one row a conversion and touch, `position` counting touches from the first; a conversion
//!           that none came before has one row, with `touch_count` 0 and no touch.
//!           `attribution`: one row a value of `by` and currency: `conversions` credited, `value` credited, and
//!           their shares. Conversions that none came before are credited to `(none)`, touches without a value of
//!           `by` to `(unset)`.
//! Promise:  the conversions sum to the conversions there are, and for each currency the value to their value,
//!           to the micro.
//! Not here: lookback and models: `analytics::attribution`. Amounts of different currencies are never added.
//!
//! * `conversion`: default `event_kind = 'conversion'`.
//! * `touch`: default: clicks and page views that name a channel, by a person or by who cannot be told. Opens and
//!   impressions are not touches unless asked for: machines make most of the former, nobody acts in the latter.
//! * `same_touch`: a touch that follows one of the same channel, campaign and utm source within this is the same one,
//!   told again: the click of a tracked link and the page it leads to, or a page loaded twice. '0' counts each.
//! * `by`: a column or expression over the touch: `channel`, `campaign_id`, `utm_source` ...; its column in the answer
//!   is called like the column asked for, or `touched`.
//! * `model`: `last_touch`, `first_touch`, `linear`.
//! * `filter`: which events are looked at at all, touches as well as conversions. A range of days for the conversions
//!   belongs into `conversion`, or it takes away the touches before them too.

mod credit;

pub(crate) use credit::credit_function;

use tributary_analytics::attribution::Model;

use crate::error::QueryError;
use crate::table_function::{Arguments, Parameter, SEQUENCE, Spec, quoted, with_default};

const CONVERSION: Parameter = with_default("conversion", "event_kind = 'conversion'");
const TOUCH: Parameter = with_default(
    "touch",
    "event_kind IN ('click', 'page') AND channel IS NOT NULL AND engagement_class IN ('human', 'unknown')",
);
const LOOKBACK: Parameter = with_default("lookback", "'30 days'");
const SAME_TOUCH: Parameter = with_default("same_touch", "'30 minutes'");
const FILTER: Parameter = with_default("filter", "true");

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
    ],
    example: "SELECT * FROM attribution(model => 'linear', by => utm_campaign, lookback => '14 days')",
};

pub(crate) fn write_out_touchpoints(arguments: &Arguments<'_>) -> Result<String, QueryError> {
    // Any model that credits each touch shows each.
    let credits = credits(arguments, Model::Linear, "'campaign_id', campaign_id")?;
    Ok(format!(
        "SELECT person_id, credit['conversion']['event_id'] AS conversion_id,
            credit['conversion']['time_us'] AS conversion_time_us,
            credit['conversion']['value'] AS value, credit['conversion']['currency'] AS currency,
            credit['touch']['time_us'] AS touch_time_us, credit['touch']['channel'] AS channel,
            credit['touch']['campaign_id'] AS campaign_id,
            credit['position'] AS position, credit['touch_count'] AS touch_count
        FROM ({credits}) AS credits
        ORDER BY conversion_time_us, conversion_id, position"
    ))
}

pub(crate) fn write_out_attribution(arguments: &Arguments<'_>) -> Result<String, QueryError> {
    let model = Model::parse(&arguments.text("model")?).map_err(|error| arguments.fault(error.to_string()))?;
    let by = arguments.expression("by")?;
    let is_plain_name = by.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = by.to_lowercase();
    let is_ours = ["currency", "conversions", "value", "conversion_share", "value_share"].contains(&name.as_str());
    let column = if is_plain_name && !is_ours { name } else { "touched".to_owned() };
    let credits = credits(arguments, model, &format!("'by', CAST(({by}) AS VARCHAR)"))?;
    Ok(format!(
        "SELECT touched AS \"{column}\", currency, conversions, value,
            conversions / sum(conversions) OVER () AS conversion_share,
            CAST(value AS DOUBLE) / nullif(CAST(sum(value) OVER (PARTITION BY currency) AS DOUBLE), 0) AS value_share
        FROM (
            SELECT touched, currency, sum(credit_ratio) AS conversions, sum(credit_value) AS value
            FROM (
                SELECT CASE WHEN credit['touch_count'] = 0 THEN '(none)'
                        ELSE coalesce(credit['touch']['by'], '(unset)') END AS touched,
                    credit['conversion']['currency'] AS currency,
                    credit['credit_ratio'] AS credit_ratio, credit['credit_value'] AS credit_value
                FROM ({credits}) AS credits
            ) AS credited
            GROUP BY touched, currency
        ) AS summed
        ORDER BY conversions DESC, \"{column}\", currency"
    ))
}

/// One row a person and credit. A person's touches and conversions are gathered first, so that each event is
/// read once and the definitions see whole journeys; a join of conversions with touches would say the lookback
/// a second time, in SQL.
fn credits(arguments: &Arguments<'_>, model: Model, touch_fields: &str) -> Result<String, QueryError> {
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
                        {touch_fields}) AS touch,
                    named_struct('time_us', event_time_us, 'event_id', event_id, 'value', value,
                        'currency', currency) AS conversion
                FROM person_events
                WHERE ({filter}) AND (({touch}) OR ({conversion}))
            ) AS marked
            GROUP BY person_id
        ) AS journeys
        WHERE conversions IS NOT NULL",
        model = quoted(model.name()),
    ))
}
