//! A question as it is understood.
//!
//! In:      a statement in which no name of a definition stands any more.
//! Out:     its text, in which each call of ours has all its arguments by name, defaults too; its window and time zones.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor, VisitMut, VisitorMut,
};

use crate::statement;
use crate::table_function::{self, Spec, is_null, name_of, parse_expression, text_of, with_name};

#[derive(Debug, Clone)]
pub(crate) struct Understood {
    pub(crate) definition: String,
    pub(crate) functions: Vec<String>,
    pub(crate) window: Option<String>,
    pub(crate) timezone: String,
}

/// Arguments that say how far back or how long.
const OF_TIME: [&str; 18] = [
    "window",
    "step_windows",
    "calendar_days",
    "session_gap",
    "gap",
    "periods",
    "brackets",
    "return_days",
    "days",
    "early_days",
    "cuped",
    "lookback",
    "view_lookback",
    "windows",
    "delay",
    "since",
    "until",
    "as_of",
];

/// Times of answers are UTC, but where a call names a zone to count days in.
const UTC: &str = "UTC";

pub(crate) fn understood(statement: &Statement) -> Understood {
    let mut statement = statement.clone();
    let mut filler = Filler::default();
    if let Some(statement) = statement::sql_of(&mut statement) {
        let ControlFlow::Continue(()) = VisitMut::visit(statement, &mut filler);
    }
    let zones: Vec<String> = filler.zones.into_iter().collect();
    Understood {
        definition: statement.to_string(),
        functions: filler.functions.into_iter().collect(),
        window: Some(filler.window.join(", ")).filter(|window| !window.is_empty()),
        timezone: if zones.is_empty() { UTC.to_owned() } else { zones.join(", ") },
    }
}

#[derive(Default)]
struct Filler {
    functions: BTreeSet<String>,
    window: Vec<String>,
    zones: BTreeSet<String>,
}

impl VisitorMut for Filler {
    type Break = std::convert::Infallible;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let spec = statement::called(factor).and_then(|(name, _)| table_function::spec(&name));
        if let (Some(spec), TableFactor::Table { args: Some(arguments), .. }) = (spec, factor) {
            self.functions.insert(spec.name.to_owned());
            self.fill(spec, &mut arguments.args);
        }
        ControlFlow::Continue(())
    }

    /// Plain SQL counts in a zone by `AT TIME ZONE '...'` and by the third argument of `period_start`.
    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Self::Break> {
        let zone = match expression {
            // Times are UTC: by it another is come by.
            Expr::AtTimeZone { time_zone, .. } => text_of(time_zone).filter(|zone| *zone != UTC),
            Expr::Function(Function { name, args: FunctionArguments::List(list), .. })
                if name.to_string().eq_ignore_ascii_case("period_start") =>
            {
                match list.args.get(2) {
                    Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(zone))) => text_of(zone),
                    _ => None,
                }
            }
            _ => None,
        };
        self.zones.extend(zone.map(str::to_owned));
        ControlFlow::Continue(())
    }
}

impl Filler {
    /// A call that is wrong stays as it is: it will be refused.
    fn fill(&mut self, spec: &Spec, arguments: &mut Vec<FunctionArg>) {
        let mut given: Vec<(String, Expr)> = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            let (FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) = argument
            else {
                return;
            };
            given.push((name_of(spec, index, argument), value.clone()));
        }
        let is_known = |name: &str| spec.parameters.iter().any(|parameter| parameter.name == name);
        if !given.iter().all(|(name, _)| is_known(name)) {
            return;
        }
        arguments.clear();
        for parameter in spec.parameters {
            let said = given.iter().find(|(name, _)| name == parameter.name).map(|(_, value)| value.clone());
            let default = || parameter.default.map(|sql| parse_expression(sql).expect("our own default parses"));
            let Some(value) = said.or_else(default) else { continue };
            if OF_TIME.contains(&parameter.name) && !is_null(&value) {
                self.window.push(format!("{} => {value}", parameter.name));
            }
            if parameter.name == "timezone" {
                self.zones.extend(text_of(&value).map(str::to_owned));
            }
            arguments.push(with_name(parameter.name, value));
        }
    }
}
