//! Notes: names in a question that no event bears.
//!
//! In:       the statement as it is understood; the batches of its answer; the tables as the asker sees them.
//! Out:      a line for each event name, source or experiment that the question names and no event has, with what may be meant.
//! Promise:  it is looked for only after an answer that found nothing somewhere, so that others cost nothing more: no row, a count
//!           of 0, a row of nothing but zeros from a function of ours, a column of zeros where the question asks for a name within an
//!           aggregate. It tells no name that the asker may not see. What cannot be said within `TIME_MAX` is not said.
//! Not here: whether an event of that name lies in the days that were asked for: that the answer says.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor, Visit, Visitor,
};

use crate::statement;
use crate::table_function::{self, name_of, parse_expression, quoted, text_of};

/// An answer that is ready waits no longer for its notes.
const TIME_MAX: Duration = Duration::from_secs(2);
/// More names than these are no list that anybody chose.
const NAMES_MAX: usize = 2_000;
const NAMES_TOLD: usize = 8;

/// What a statement names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    events: BTreeSet<String>,
    sources: BTreeSet<String>,
    experiments: BTreeSet<String>,
    /// A function of ours makes its rows.
    is_called: bool,
    /// A name stands within an aggregate, as in `count(*) FILTER (WHERE event_name = 'a')`.
    is_within_aggregate: bool,
}

impl Named {
    /// * `statement`: without names of definitions.
    pub(crate) fn of(statement: &Statement) -> Self {
        let mut statement = statement.clone();
        let mut finder = Finder::default();
        if let Some(statement) = statement::sql_of(&mut statement) {
            let ControlFlow::Continue(()) = Visit::visit(statement, &mut finder);
        }
        match finder {
            Finder { named, is_of_events: true, .. } => named,
            // A session has a source, and nothing else that could be missed here.
            Finder { named, is_of_sessions: true, .. } => Self { sources: named.sources, ..Self::default() },
            _ => Self::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.sources.is_empty() && self.experiments.is_empty()
    }

    /// * `is_within`: a function.
    fn compare(&mut self, column: &Expr, value: &Expr, is_within: bool) {
        let name = match column {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(names) => names.last(),
            _ => None,
        };
        let into = match name.map(|name| name.value.to_lowercase()).as_deref() {
            Some("event_name") => &mut self.events,
            Some("source") => &mut self.sources,
            _ => return,
        };
        if let Some(name) = text_of(value) {
            into.insert(name.to_owned());
            self.is_within_aggregate |= is_within;
        }
    }
}

#[derive(Default)]
struct Finder {
    named: Named,
    /// Other tables have columns called so, too.
    is_of_events: bool,
    is_of_sessions: bool,
    /// Calls around the expression that is looked at.
    depth: usize,
}

const EVENTS: [&str; 4] = ["events", "person_events", "events_live", "person_events_live"];
const SESSIONS: [&str; 6] =
    ["sessions", "person_sessions", "session_history", "sessions_live", "person_sessions_live", "session_history_live"];

impl Visitor for Finder {
    type Break = std::convert::Infallible;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        let TableFactor::Table { name, args, .. } = factor else { return ControlFlow::Continue(()) };
        let name = name.0.last().map(|part| part.to_string().to_lowercase()).unwrap_or_default();
        let Some(arguments) = args else {
            self.is_of_events |= EVENTS.contains(&name.as_str());
            self.is_of_sessions |= SESSIONS.contains(&name.as_str());
            return ControlFlow::Continue(());
        };
        let Some(spec) = table_function::spec(&name) else { return ControlFlow::Continue(()) };
        self.is_of_events = true;
        self.named.is_called = true;
        for (index, argument) in arguments.args.iter().enumerate() {
            let (FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) = argument
            else {
                continue;
            };
            match (name_of(spec, index, argument).as_str(), text_of(value)) {
                ("source", Some(source)) => _ = self.named.sources.insert(source.to_owned()),
                ("name", Some(experiment)) if spec.name.starts_with("experiment") => {
                    self.named.experiments.insert(experiment.to_owned());
                }
                _ => self.conditions_in(value),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Self::Break> {
        let is_within = 0 < self.depth;
        self.depth += usize::from(matches!(expression, Expr::Function(_)));
        match expression {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                self.named.compare(left, right, is_within);
                self.named.compare(right, left, is_within);
            }
            Expr::InList { expr, list, negated: false } => {
                list.iter().for_each(|value| self.named.compare(expr, value, is_within));
            }
            Expr::Function(Function { name, args: FunctionArguments::List(list), .. })
                if name.to_string().eq_ignore_ascii_case("exposure_to") =>
            {
                if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(experiment))) = list.args.get(1) {
                    self.named.experiments.extend(text_of(experiment).map(str::to_owned));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Self::Break> {
        self.depth -= usize::from(matches!(expression, Expr::Function(_)));
        ControlFlow::Continue(())
    }
}

impl Finder {
    /// Conditions may be given as text, one or a list of them. What is no condition compares nothing.
    fn conditions_in(&mut self, value: &Expr) {
        let list = match value {
            Expr::Array(array) => array.elem.as_slice(),
            single => std::slice::from_ref(single),
        };
        for expression in list.iter().filter_map(text_of).filter_map(|text| parse_expression(text).ok()) {
            let ControlFlow::Continue(()) = Visit::visit(&expression, self);
        }
    }
}

/// Where an answer found nothing.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    rows: usize,
    counts_nothing: bool,
    /// A row has numbers, and all of them are 0.
    has_row_of_zeros: bool,
    /// By column: whether it has numbers, and all of them are 0.
    columns_of_zeros: Vec<bool>,
}

/// Columns in which 0 says that nothing was found.
const COUNTS: [&str; 8] =
    ["units_reached", "units_entered", "units_converted", "persons", "conversions", "events", "sessions", "units"];
/// Numbers that say which row it is.
const PLACES: [&str; 4] = ["position", "level", "period", "period_to"];
/// Who gets more rows than these has found something.
const ROWS_WATCHED: usize = 1_000;

impl Watch {
    pub(crate) fn see(&mut self, batch: &RecordBatch) {
        let is_first = self.rows == 0;
        self.rows += batch.num_rows();
        if self.counts_nothing || ROWS_WATCHED < self.rows || batch.num_rows() == 0 {
            return;
        }
        let schema = batch.schema();
        let columns: Vec<(&str, Option<Vec<Option<f64>>>)> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| (field.name().as_str(), numbers(column)))
            .collect();
        let told = || columns.iter().filter_map(|(name, numbers)| Some((*name, numbers.as_ref()?)));
        let has_none = told().any(|(name, all)| COUNTS.contains(&name) && all.contains(&Some(0.0)));
        let are_zeros = |row: usize, but: &[&str]| {
            let mut numbers = told().filter(|(name, _)| !but.contains(name)).filter_map(|(_, all)| all[row]).peekable();
            numbers.peek().is_some() && numbers.all(|number| number == 0.0)
        };
        self.has_row_of_zeros |= (0..batch.num_rows()).any(|row| are_zeros(row, &PLACES));
        let of_column = |numbers: &Option<Vec<Option<f64>>>| {
            let mut numbers = numbers.iter().flatten().flatten().peekable();
            numbers.peek().is_some() && numbers.all(|number| *number == 0.0)
        };
        let columns_of_zeros = columns.iter().map(|(_, numbers)| of_column(numbers));
        self.columns_of_zeros = match is_first {
            true => columns_of_zeros.collect(),
            false => self.columns_of_zeros.iter().zip(columns_of_zeros).map(|(before, here)| *before && here).collect(),
        };
        // One row of nothing but zeros, as `SELECT count(*)` has it. What is summed up over nothing is NULL.
        let has_numbers = || told().next().is_some();
        let is_zero = || has_numbers() && told().all(|(_, all)| all[0].is_none_or(|number| number == 0.0));
        self.counts_nothing = has_none || (is_first && batch.num_rows() == 1 && is_zero());
    }

    fn is_empty_handed(&self, named: &Named) -> bool {
        let is_watched = self.rows <= ROWS_WATCHED;
        self.counts_nothing
            || self.rows == 0
            || is_watched && named.is_called && self.has_row_of_zeros
            || is_watched && named.is_within_aggregate && self.columns_of_zeros.contains(&true)
    }
}

/// By row; `None` of what is no number.
fn numbers(column: &ArrayRef) -> Option<Vec<Option<f64>>> {
    if !column.data_type().is_numeric() {
        return None;
    }
    let floats = cast(column, &DataType::Float64).ok()?;
    Some(floats.as_primitive::<Float64Type>().iter().collect())
}

/// Looks for what a question names.
pub(crate) struct Look {
    named: Named,
    /// With the tables as the asker sees them.
    context: SessionContext,
    /// The log's tail counts too, where the question is of it.
    is_live: bool,
    sees_all: bool,
}

impl Look {
    /// `None` where nothing is named.
    pub(crate) fn new(named: Named, context: SessionContext, is_live: bool, sees_all: bool) -> Option<Self> {
        (!named.is_empty()).then_some(Self { named, context, is_live, sees_all })
    }

    /// Whether the answer gives a reason to look.
    pub(crate) fn is_wanted(&self, watch: &Watch) -> bool {
        watch.is_empty_handed(&self.named)
    }

    /// A line for each name that is not there.
    pub(crate) async fn notes(self) -> Vec<String> {
        match tokio::time::timeout(TIME_MAX, self.found()).await {
            Ok(Ok(notes)) => notes,
            Ok(Err(error)) => {
                tracing::debug!(%error, "names were not looked for");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn found(self) -> Result<Vec<String>> {
        let Some(events) = self.relation().await else { return Ok(Vec::new()) };
        let column =
            |column: &str| format!("SELECT DISTINCT {column} AS name FROM {events} WHERE {column} IS NOT NULL");
        let shown = format!(
            "SELECT DISTINCT shown['experiment'] AS name FROM (SELECT unnest(exposures) AS shown FROM {events}) AS exposed"
        );
        let Named { events: names, sources, experiments, .. } = &self.named;
        let kinds = [
            (names, column("event_name"), "no event is called", "names"),
            (sources, column("source"), "no event is of the source", "sources"),
            (experiments, shown, "no event shows a variant of the experiment", "experiments"),
        ];
        let mut notes = Vec::new();
        for (wanted, sql, none, what) in kinds {
            if wanted.is_empty() {
                continue;
            }
            let Some(known) = self.names(&sql).await? else { continue };
            let of_whom = if self.sees_all { "" } else { "as far as this token may see, " };
            let missing = wanted.iter().filter(|name| !known.contains(*name));
            notes.extend(
                missing.map(|name| format!("{of_whom}{none} {}; {}", quoted(name), instead(name, &known, what))),
            );
        }
        Ok(notes)
    }

    /// The first of the tables of events that is open to the asker.
    async fn relation(&self) -> Option<&'static str> {
        let all = if self.is_live { ["events_live", "person_events_live"] } else { ["events", "person_events"] };
        for name in all {
            if self.context.table_provider(name).await.is_ok() {
                return Some(name);
            }
        }
        None
    }

    /// `None` where there are too many.
    async fn names(&self, sql: &str) -> Result<Option<BTreeSet<String>>> {
        let batches = self.context.sql(&format!("{sql} LIMIT {}", NAMES_MAX + 1)).await?.collect().await?;
        let mut names = BTreeSet::new();
        for batch in &batches {
            let texts = cast(batch.column(0), &DataType::Utf8)?;
            names.extend(texts.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok((names.len() <= NAMES_MAX).then_some(names))
    }
}

/// What there is in place of a name.
fn instead(name: &str, known: &BTreeSet<String>, what: &str) -> String {
    let lower = name.to_lowercase();
    let near = known.iter().map(|other| (levenshtein(&lower, &other.to_lowercase()), other)).min();
    if let Some((_, other)) = near.filter(|(far, _)| *far <= (name.len() / 3).clamp(1, 4)) {
        return format!("the closest is {}", quoted(other));
    }
    let told: Vec<String> = known.iter().take(NAMES_TOLD).map(|name| quoted(name)).collect();
    match known.len().saturating_sub(told.len()) {
        _ if told.is_empty() => format!("there are no {what} at all"),
        0 => format!("the {what} are {}", told.join(", ")),
        more => format!("the {what} are {} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn named(sql: &str) -> [Vec<String>; 3] {
        let statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        let Named { events, sources, experiments, .. } = Named::of(&statement);
        [events, sources, experiments].map(|names| names.into_iter().collect())
    }

    #[test]
    fn names_are_found_wherever_they_are_compared() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let plain = "SELECT count(*) FROM events AS e WHERE e.event_name IN ('a', 'b') AND 'web' = source AND event_name <> 'c'";
        let called = "SELECT * FROM funnel(steps => ['event_name = ''a''', event_name = 'b'], source => 'web', window => '7 days')";
        for sql in [plain, called] {
            assert_eq!(named(sql), [of(&["a", "b"]), of(&["web"]), of(&[])], "{sql}");
        }
        assert_eq!(named("SELECT * FROM experiment('sale')")[2], ["sale"]);
        let sessions = "SELECT count(*) FROM sessions WHERE source = 'web' AND event_name = 'a'";
        assert_eq!(named(sessions), [of(&[]), of(&["web"]), of(&[])]);
        let letters = "SELECT * FROM dead_letters WHERE source = 'web' AND event_name = 'a'";
        assert_eq!(named(letters), [of(&[]), of(&[]), of(&[])], "a letter's name need not be an event's");
    }

    #[test]
    fn an_answer_with_a_count_of_nothing_is_empty_handed() {
        let of = |named: &Named, columns: &[(&str, &[i64])]| {
            let words = Arc::new(StringArray::from(vec!["x"; columns[0].1.len()])) as ArrayRef;
            let numbers = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
            let columns = columns.iter().map(|(name, column)| (*name, numbers(column)));
            let mut watch = Watch::default();
            watch.see(&RecordBatch::try_from_iter(std::iter::once(("word", words)).chain(columns)).unwrap());
            watch.is_empty_handed(named)
        };
        let plain = Named::default();
        assert!(Watch::default().is_empty_handed(&plain));
        assert!(of(&plain, &[("units_reached", &[5, 0])]) && of(&plain, &[("n", &[0])]));
        assert!(!of(&plain, &[("units_reached", &[5, 1])]) && !of(&plain, &[("n", &[1])]));
        assert!(!of(&plain, &[("units_open", &[0, 0])]), "that nobody is open is no sign of a slip");
        // Whatever a count of ours is called in the question.
        let called = Named { is_called: true, ..Named::default() };
        assert!(of(&called, &[("position", &[1, 2]), ("n", &[5, 0])]));
        assert!(!of(&called, &[("position", &[1, 2]), ("n", &[5, 1]), ("units_open", &[0, 0])]));
        let within = Named { is_within_aggregate: true, ..Named::default() };
        assert!(
            of(&within, &[("n", &[5, 6]), ("baskets", &[0, 0])])
                && !of(&within, &[("n", &[5, 6]), ("baskets", &[0, 1])])
        );
        assert!(!of(&plain, &[("n", &[5, 6]), ("baskets", &[0, 0])]));
    }

    #[test]
    fn a_name_is_told_with_the_closest_or_with_those_there_are() {
        let known: BTreeSet<String> = ["Order Completed", "purchase"].map(str::to_owned).into();
        assert_eq!(instead("purchse", &known, "names"), "the closest is 'purchase'");
        assert_eq!(instead("order completed", &known, "names"), "the closest is 'Order Completed'");
        assert_eq!(instead("x", &known, "names"), "the names are 'Order Completed', 'purchase'");
        assert_eq!(instead("x", &BTreeSet::new(), "names"), "there are no names at all");
    }
}
