//! Names of definitions in a statement, and what is written in their place.
//!
//! In:      the tree of a statement or an expression; whoever knows the names.
//! Out:     the same tree without them.
//! Promise: nothing but a name is changed, and each stands in brackets of its own, so that what is around it binds as it
//!          did. `event('x')` as a step of a funnel is called `x` in its answer.
//!
//! * `event('x')`, `segment('x')`: conditions, wherever one may stand.
//! * `channel_of()`: an expression, for `by` and `breakdown`, or in plain SQL.
//! * `definition => 'x'`: in a call, what the definition says; what the call says itself goes before, but for `filter`: both
//!   hold, so that a call can ask for a part of what is defined, never for something else under its name.
//!   `metric('x', ...)` is `metric(definition => 'x', ...)`.
//!
//! Arguments may be text: `'event(''x'')'`, as programs write them. A text that holds one of these words, and is SQL, becomes
//! that SQL.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Array, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, TableFactor, Value,
    ValueWithSpan, VisitMut, VisitorMut,
};

use super::{Definitions, Kind};
use crate::error::QueryError;
use crate::statement;
use crate::table_function::{self, Spec, name_of, parse_expression, plain_or_text, text_of, with_name};

/// Who knows what names stand for.
pub(super) trait Names {
    fn condition(&mut self, kind: Kind, name: &str) -> Result<Expr, String>;
    fn channels(&mut self) -> Result<Expr, String>;
}

impl Names for &Definitions {
    fn condition(&mut self, kind: Kind, name: &str) -> Result<Expr, String> {
        Definitions::condition(self, kind, name).cloned()
    }

    fn channels(&mut self) -> Result<Expr, String> {
        Ok(self.channel.as_deref().cloned().unwrap_or_else(own_channel))
    }
}

/// What the stream job has found.
pub(super) fn own_channel() -> Expr {
    Expr::Identifier(ast::Ident::new("channel"))
}

/// Writes out all names in a statement.
pub(crate) fn expand(definitions: &Definitions, statement: &mut Statement) -> Result<(), QueryError> {
    let Some(statement) = statement::sql_of(statement) else { return Ok(()) };
    match statement.visit(&mut Expander { names: &mut &*definitions, definitions: Some(definitions), parts: 0 }) {
        ControlFlow::Break(reason) => Err(QueryError::Statement { reason }),
        ControlFlow::Continue(()) => Ok(()),
    }
}

pub(super) fn expand_expression(expression: &mut Expr, names: &mut dyn Names) -> Result<(), String> {
    match VisitMut::visit(expression, &mut Expander { names, definitions: None, parts: 0 }) {
        ControlFlow::Break(reason) => Err(reason),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Has what stands in the text of an argument, or in the texts of its list, stand there as SQL, if it names a definition.
pub(super) fn texts_with_names(name: &str, value: &mut Expr) {
    // What steps are called is no SQL, whatever it looks like.
    if name == "names" {
        return;
    }
    if let Expr::Array(Array { elem, .. }) = value {
        elem.iter_mut().for_each(|value| texts_with_names(name, value));
    } else if let Some(text) = text_of(value)
        && WORDS.iter().any(|word| text.to_ascii_lowercase().contains(word))
        && let Ok(expression) = parse_expression(text)
        && holds_a_name(&expression)
    {
        *value = expression;
    }
}

const WORDS: [&str; 3] = ["event", "segment", "channel_of"];

struct Expander<'n> {
    names: &'n mut dyn Names,
    /// Where calls of table functions may name a definition: not in one.
    definitions: Option<&'n Definitions>,
    /// Expressions that were put in the place of names so far.
    parts: usize,
}

/// Some 20 MB of tree.
const PARTS_MAX: usize = 50_000;

impl VisitorMut for Expander<'_> {
    type Break = String;

    /// The names that then stand in its arguments are met as the visit goes on.
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<String> {
        let spec = statement::called(factor).and_then(|(name, _)| table_function::spec(&name));
        let (Some(spec), TableFactor::Table { args: Some(arguments), .. }) = (spec, factor) else {
            return ControlFlow::Continue(());
        };
        match call(spec, &mut arguments.args, self.definitions) {
            Err(reason) => ControlFlow::Break(format!("{}: {reason}", spec.name)),
            Ok(()) => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<String> {
        let written = match named(expression) {
            None => return ControlFlow::Continue(()),
            Some(Err(reason)) => Err(reason),
            Some(Ok(Named::Channel)) => self.names.channels(),
            Some(Ok(Named::Condition(kind, name))) => self.names.condition(kind, &name),
        };
        match written {
            Ok(written) => {
                self.parts += part_count(&written);
                if PARTS_MAX < self.parts {
                    return ControlFlow::Break(format!(
                        "names of definitions stand for more than {PARTS_MAX} expressions here: name fewer at once"
                    ));
                }
                *expression = Expr::Nested(Box::new(written));
                ControlFlow::Continue(())
            }
            Err(reason) => ControlFlow::Break(reason),
        }
    }
}

fn part_count(expression: &Expr) -> usize {
    let mut count = 0;
    let ControlFlow::Continue(()) = ast::visit_expressions(expression, |_| {
        count += 1;
        ControlFlow::<std::convert::Infallible>::Continue(())
    });
    count
}

enum Named {
    Condition(Kind, String),
    Channel,
}

/// What an expression names, if it is one of these three calls.
fn named(expression: &Expr) -> Option<Result<Named, String>> {
    let Expr::Function(Function { name: ObjectName(parts), args: FunctionArguments::List(list), .. }) = expression
    else {
        return None;
    };
    let [part] = parts.as_slice() else { return None };
    let function = part.as_ident()?.value.to_lowercase();
    let text = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref value)) => text_of(value),
        _ => None,
    };
    let texts: Option<Vec<&str>> = list.args.iter().map(text).collect();
    let kind = match function.as_str() {
        "event" => Kind::Event,
        "segment" => Kind::Segment,
        "channel_of" if list.args.is_empty() => return Some(Ok(Named::Channel)),
        "channel_of" => return Some(Err("channel_of() takes no arguments".to_owned())),
        _ => return None,
    };
    Some(match texts.as_deref() {
        Some([name]) => Ok(Named::Condition(kind, (*name).to_owned())),
        _ => Err(format!("{function}(...) takes one name in quotes, such as {function}('bought')")),
    })
}

fn holds_a_name(expression: &Expr) -> bool {
    ast::visit_expressions(expression, |part| match named(part) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The arguments of one call with those of its definition.
fn call(spec: &Spec, arguments: &mut Vec<FunctionArg>, definitions: Option<&Definitions>) -> Result<(), String> {
    let definition = take_definition(spec, arguments)?;
    name_steps(spec, arguments);
    for (index, argument) in arguments.iter_mut().enumerate() {
        let name = name_of(spec, index, argument);
        if let FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
        | FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument
        {
            texts_with_names(&name, value);
        }
    }
    let Some(definition) = definition else { return Ok(()) };
    let Some(definitions) = definitions else {
        return Err(format!("a definition cannot call for another, {definition:?}: write its arguments out"));
    };
    let kind = Kind::of_function(spec.name).expect("only such a call has a definition taken from it");
    let given: Vec<String> =
        arguments.iter().enumerate().map(|(index, argument)| name_of(spec, index, argument)).collect();
    let place = |name: &str| given.iter().position(|given| given == name);
    let says = |name: &str| place(name).is_some();
    for (name, value) in definitions.arguments(kind, &definition)? {
        if name == "filter"
            && let Some(at) = place(name)
        {
            both(&mut arguments[at], value)?;
            continue;
        }
        // A sister of the function may not have all of them: `touchpoints` has no model.
        if says(name) || !spec.parameters.iter().any(|parameter| parameter.name == name) {
            continue;
        }
        // What belongs to something that is said anew would be wrong of it: names to steps, a unit to a measure, and a measure
        // to the two it may be made of.
        let is_of_another = match name.as_str() {
            "names" => says("steps"),
            "unit" => ["measure", "numerator", "denominator"].into_iter().any(says),
            "numerator" | "denominator" => says("measure"),
            "measure" => says("numerator") || says("denominator"),
            _ => false,
        };
        if !is_of_another {
            arguments.push(with_name(name, value.clone()));
        }
    }
    Ok(())
}

/// Has a condition hold besides the one that is given.
fn both(argument: &mut FunctionArg, defined: &Expr) -> Result<(), String> {
    let (FunctionArg::Named { arg: FunctionArgExpr::Expr(given), .. }
    | FunctionArg::Unnamed(FunctionArgExpr::Expr(given))) = argument
    else {
        return Err(format!("{argument}: give a condition"));
    };
    let part = |value: &Expr| {
        let condition = plain_or_text(value).map_err(|reason| format!("filter: {reason}"))?;
        Ok::<_, String>(Box::new(Expr::Nested(Box::new(condition))))
    };
    *given = Expr::BinaryOp { left: part(defined)?, op: ast::BinaryOperator::And, right: part(given)? };
    Ok(())
}

/// Takes `definition => '...'` out of a call, or the first argument of `metric` where that is a text.
fn take_definition(spec: &Spec, arguments: &mut Vec<FunctionArg>) -> Result<Option<String>, String> {
    let is_definition = |argument: &FunctionArg| matches!(argument, FunctionArg::Named { name, .. } if name.value.eq_ignore_ascii_case("definition"));
    let is_first_text = |argument: &FunctionArg| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if text_of(value).is_some());
    let at = match arguments.iter().position(is_definition) {
        Some(at) => at,
        None if spec.name == "metric" && arguments.first().is_some_and(is_first_text) => 0,
        None => return Ok(None),
    };
    if Kind::of_function(spec.name).is_none() {
        return Err("no definitions are made of it: give its arguments".to_owned());
    }
    let taken = arguments.remove(at);
    if spec.name == "metric" && arguments.iter().any(|argument| matches!(argument, FunctionArg::Unnamed(_))) {
        return Err("after the name of a metric each argument has its own, such as by => channel".to_owned());
    }
    match taken {
        FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
        | FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => match text_of(&value) {
            Some(name) => Ok(Some(name.to_owned())),
            None if matches!(value, Expr::Value(ValueWithSpan { value: Value::Null, .. })) => Ok(None),
            None => Err(format!("definition is {value}: give a name in quotes")),
        },
        other => Err(format!("{other}: give a name in quotes")),
    }
}

/// Steps that are events with names are called by them.
fn name_steps(spec: &Spec, arguments: &mut Vec<FunctionArg>) {
    let has = |name: &str| spec.parameters.iter().any(|parameter| parameter.name == name);
    let of = |name: &str| {
        arguments.iter().enumerate().find(|(index, argument)| name_of(spec, *index, argument) == name).map(|(_, it)| it)
    };
    if !has("steps") || !has("names") || of("names").is_some() {
        return;
    }
    let Some(FunctionArg::Named { arg, .. } | FunctionArg::Unnamed(arg)) = of("steps") else { return };
    let FunctionArgExpr::Expr(Expr::Array(Array { elem, .. })) = arg else { return };
    if let Some(names) = names_of_steps(elem) {
        arguments.push(with_name("names", names));
    }
}

/// What steps are called, if one of them has a name of its own.
pub(super) fn names_of_steps(steps: &[Expr]) -> Option<Expr> {
    let event = |step: &Expr| {
        let parsed = text_of(step).and_then(|text| parse_expression(text).ok());
        match named(parsed.as_ref().unwrap_or(step)) {
            Some(Ok(Named::Condition(Kind::Event, name))) => Some(name),
            _ => None,
        }
    };
    let events: Vec<Option<String>> = steps.iter().map(event).collect();
    if events.iter().all(Option::is_none) {
        return None;
    }
    let name = |(step, event): (&Expr, Option<String>)| {
        event.unwrap_or_else(|| text_of(step).map_or_else(|| step.to_string(), str::to_owned))
    };
    let names = steps.iter().zip(events).map(name);
    let literal = |name: String| Expr::Value(ValueWithSpan::from(Value::SingleQuotedString(name)));
    Some(Expr::Array(Array { elem: names.map(literal).collect(), named: false }))
}
