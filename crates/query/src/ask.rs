//! `POST /v1/query/FUNCTION`: the table functions over HTTP, without SQL around them.
//!
//! In:       the function's name in the path; its arguments as a JSON object: `{"steps": ["event_kind = 'page'"], "window": "7 days"}`.
//! Out:      the answer, as `POST /v1/sql` gives it, in the format asked for. `GET /v1/query`: all functions, their
//!           arguments with defaults, an example each. `GET /v1/metrics`: all definitions.
//! Promise:  the call is the one SQL would make, so the answers are the same; texts cannot break out of their quotes.
//! Not here: what the functions mean (their folders), formats (`http.rs`).

use serde_json::{Map, Value, json};

use crate::definitions::Kind;
use crate::table_function::{self, quoted};

/// The SQL a call stands for, or why there is none.
pub(crate) fn call(function: &str, arguments: &Map<String, Value>) -> Result<String, String> {
    let known = table_function::names();
    if !known.contains(&function) {
        return Err(format!("there is no function {function:?}: {}", known.join(", ")));
    }
    let argument = |(name, value): (&String, &Value)| {
        // Names are no texts: one that is none would end up as SQL.
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !is_name {
            return Err(format!("{function} has no argument {name:?}"));
        }
        Ok(format!("{name} => {}", literal(name, value)?))
    };
    let arguments = arguments.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("SELECT * FROM {function}({})", arguments.join(", ")))
}

fn literal(name: &str, value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(values) => {
            let values = values.iter().map(|value| literal(name, value)).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", values.join(", "))
        }
        Value::Object(_) => return Err(format!("{name} is an object: give text, a number, true or false, or a list")),
    })
}

/// All functions, for whoever writes the call.
pub(crate) fn functions() -> Value {
    let functions = table_function::specs().map(|spec| {
        let parameters = spec.parameters.iter().map(|parameter| {
            json!({"name": parameter.name, "default": parameter.default, "needed": parameter.default.is_none()})
        });
        let definition = Kind::of_function(spec.name)
            .map(|kind| json!({"name": "definition", "default": "NULL", "needed": false, "kind": kind.word()}));
        let parameters = parameters.chain(definition);
        json!({"name": spec.name, "arguments": parameters.collect::<Vec<_>>(), "example": spec.example})
    });
    json!({"functions": functions.collect::<Vec<_>>()})
}

/// All that is defined, for whoever looks for a name: asked as every question, so that each is told what they may see.
pub(crate) const DEFINITIONS: &str = "SELECT kind, name, definition, description, unit, file FROM metric_definitions";

#[cfg(test)]
mod tests {
    use super::*;

    fn called(arguments: Value) -> Result<String, String> {
        call("funnel", arguments.as_object().unwrap())
    }

    #[test]
    fn arguments_become_literals() {
        let sql = called(
            json!({"steps": ["event_kind = 'page'", "true"], "window": "7 days", "optional": [2], "names": null}),
        );
        let wanted = "SELECT * FROM funnel(names => NULL, optional => [2], \
                      steps => ['event_kind = ''page''', 'true'], window => '7 days')";
        assert_eq!(sql.unwrap(), wanted);
    }

    #[test]
    fn nothing_but_literals_gets_into_the_call() {
        for name in ["a => 1) --", "", "Steps", "a b"] {
            assert!(called(json!({name: 1})).unwrap_err().contains("no argument"), "{name}");
        }
        assert!(called(json!({"steps": [{"a": 1}]})).unwrap_err().contains("steps is an object"));
        assert!(call("events", &Map::new()).unwrap_err().contains("funnel_trend"));
    }
}
