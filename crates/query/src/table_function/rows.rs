//! The rows that a fold is over, as the SQL of its input.
//!
//! In:       what is wanted of each event; the call's `key`, `filter` and, where it has one, `source`.
//! Out:      the columns of the layout, and the relation with its conditions.
//! Promise:  every fold finds its unit, its rows and their order by the same words.

use std::sync::Arc;

use super::{Arguments, SEQUENCE, Written, quoted, relation_for};
use crate::error::QueryError;
use crate::fold::{AnyFold, Folding, Layout};

macro_rules! done {
    () => {
        "event_kind NOT IN ('send', 'decision', 'cost')"
    };
}

/// Events that somebody did: not what was done to them, or to nobody, by us. The kinds that make sessions.
///
/// Source: `docs/methods.md#session`.
pub(crate) const DONE: &str = done!();

/// And that no machine did.
pub(crate) const DONE_BY_PEOPLE: &str = concat!("engagement_class IN ('human', 'unknown') AND ", done!());

/// What a fold wants of each event: SQL expressions over the columns of `person_events`, in the order of its layout.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) conditions: Vec<String>,
    pub(crate) codes: Vec<String>,
    pub(crate) values: Vec<String>,
}

/// The rows of a call.
pub(crate) struct FoldRows {
    columns: Vec<String>,
    /// What follows `SELECT ...`.
    from: String,
    pub(crate) layout: Layout,
}

/// A condition that holds for no event.
pub(crate) fn never() -> String {
    "false".to_owned()
}

/// An expression of any type as a text.
pub(crate) fn as_text(expression: &str) -> String {
    format!("CAST(({expression}) AS VARCHAR)")
}

impl Wants {
    /// The events that a call looks at.
    ///
    /// * `only`: conditions one of which an event must meet besides; with none, all events count.
    pub(crate) fn over(self, arguments: &Arguments<'_>, only: &[String]) -> Result<FoldRows, QueryError> {
        let key = arguments.expression("key")?;
        let filter = arguments.condition("filter")?;
        let source = if arguments.takes("source") { arguments.maybe_text("source")? } else { None };
        let Self { conditions, codes, values } = self;
        let layout = Layout { masks: conditions.len(), codes: codes.len(), values: values.len() };
        let all = [&conditions, &codes, &values].into_iter().flatten().chain(only).chain([&key, &filter]);
        let relation = relation_for(&all.map(String::as_str).collect::<Vec<_>>());
        let mut wanted = vec![format!("({filter})")];
        if !only.is_empty() {
            wanted.push(format!("(({}))", only.join(") OR (")));
        }
        wanted.extend(source.map(|source| format!("source = {}", quoted(&source))));
        let mut columns = vec![as_text(&key), "event_time_us".to_owned(), SEQUENCE.to_owned()];
        columns.extend([conditions, codes, values].into_iter().flatten());
        Ok(FoldRows { columns, from: format!("FROM {relation} WHERE {}", wanted.join(" AND ")), layout })
    }
}

impl FoldRows {
    /// Those of before a time alone.
    pub(crate) fn before(self, time_us: i64) -> Self {
        Self { from: format!("{} AND event_time_us < {time_us}", self.from), ..self }
    }

    /// What `fold` makes of them.
    pub(crate) fn folded(self, fold: Arc<dyn AnyFold>) -> Written {
        let Self { columns, from, layout } = self;
        let column = |(index, column): (usize, &String)| format!("({column}) AS f{index}");
        let columns: Vec<String> = columns.iter().enumerate().map(column).collect();
        Written::Fold { input: format!("SELECT {} {from}", columns.join(", ")), folding: Folding { fold, layout } }
    }
}

#[cfg(test)]
mod tests {
    use tributary_analytics::session::belongs_to_session;
    use tributary_schemas::EventKind;

    use super::*;

    #[test]
    fn what_people_do_is_what_makes_sessions() {
        for kind in EventKind::ALL.iter().copied() {
            let is_left_out = DONE.contains(&format!("'{}'", kind.as_str()));
            assert_eq!(is_left_out, !belongs_to_session(kind), "{}", kind.as_str());
        }
        assert!(DONE_BY_PEOPLE.ends_with(DONE));
    }
}
