//! The table function `sessionize`: sessions of any gap and any key, cut from the events when they are asked for.
//!
//! In:       `sessionize(gap => '30 minutes', key => person_id, touch => channel, value => NULL, goal => ..., ...)`.
//! Out:      a row a session: `unit`, `session_number` (from 1), `start_time_us`, `end_time_us`, `events`, `goals`, `value`,
//!           `first_touch`, `last_touch`.
//! Promise:  a session ends where the next event of the unit comes more than `gap` later; events of one microsecond are
//!           together. Each event is in one session. Rows go out while others are still cut.
//! Not here: the sessions that the stream job keeps, with all their columns: the tables `sessions` and `person_sessions`.
//!
//! * `touch`: an expression; `first_touch` and `last_touch` are its first and last values that are not NULL in the session.
//! * `value`: a number to be summed, such as `value`. Amounts of several currencies are not to be added: say which.
//! * `key`: whose sessions: `person_id` (across devices), `session_key` (a device), or any expression.

mod fold;

use std::sync::Arc;

use crate::error::QueryError;
use crate::table_function::{Arguments, DONE_BY_PEOPLE, Spec, Wants, Written, as_text, with_default};

pub(crate) const SPEC: Spec = Spec {
    name: "sessionize",
    parameters: &[
        with_default("gap", "'30 minutes'"),
        with_default("touch", "channel"),
        with_default("value", "NULL"),
        with_default("goal", "event_kind = 'conversion'"),
        with_default("key", "person_id"),
        with_default("source", "NULL"),
        with_default("filter", DONE_BY_PEOPLE),
    ],
    example: "SELECT count(*), avg(events) FROM sessionize(gap => '1 hour', key => account_id)",
};

pub(crate) fn write_out(arguments: &Arguments<'_>) -> Result<Written, QueryError> {
    let gap_us = arguments.duration_us("gap")?;
    let touch = arguments.maybe_expression("touch")?;
    let value = arguments.maybe_expression("value")?;
    let goal = arguments.condition("goal")?;
    let codes = touch.iter().map(|touch| as_text(touch)).collect();
    let values = value.into_iter().collect();
    let rows = Wants { conditions: vec![goal], codes, values }.over(arguments, &[])?;
    let layout = rows.layout;
    Ok(rows.folded(Arc::new(fold::SessionsOf { gap_us, layout })))
}
