//! What one definition takes from others, written out; and what no two may share.
//!
//! In:      entries as they were written.
//! Out:     `Definitions`.
//! Promise: a circle, a name nobody has, a name that is taken and an argument the function does not know are each told, all
//!          of them at once. What comes out holds no name of a definition any more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan};
use tributary_schemas::event::EVENT_COLUMNS;

use super::expand::{Names, expand_expression, names_of_steps, own_channel, texts_with_names};
use super::file::{Entry, Said};
use super::{Definition, Definitions, Kind, Meaning};
use crate::table_function::{self, parse_expression, quoted};
use crate::{catalog, complexity, error, views};

/// A definition written out. Two that each take the one before them twice double with every step.
const WRITTEN_OUT_BYTES_MAX: usize = 32 << 10;
const NAME_BYTES_MAX: usize = 64;

pub(super) fn resolve(entries: Vec<Entry>, faults: &mut Vec<String>) -> Definitions {
    let mut by_name: BTreeMap<(Kind, String), &Entry> = BTreeMap::new();
    for entry in &entries {
        if let Some(fault) = wrong_name(entry) {
            faults.push(format!("{}: {fault}", entry.place()));
        }
        match by_name.entry((entry.kind, entry.name.clone())) {
            Slot::Vacant(slot) => drop(slot.insert(entry)),
            Slot::Occupied(slot) => {
                let advice = match entry.kind {
                    Kind::Channel => "a channel has one rule: join the conditions with OR",
                    _ => "rename one",
                };
                faults.push(format!("{}: {} has one of this name too; {advice}", entry.place(), slot.get().file));
            }
        }
    }
    let mut resolver = Resolver {
        entries: &by_name,
        done: Definitions::default(),
        open: Vec::new(),
        broken: Vec::new(),
        faults: Vec::new(),
    };
    resolver.done.channels =
        entries.iter().filter(|entry| entry.kind == Kind::Channel).map(|entry| entry.name.clone()).collect();
    for entry in &entries {
        if let Err(fault) = resolver.resolve(entry.kind, &entry.name) {
            faults.push(format!("{}: {fault}", entry.place()));
        }
    }
    faults.append(&mut resolver.faults);
    let mut done = resolver.done;
    let place = |channels: &[String], definition: &Definition| {
        channels.iter().position(|name| definition.kind == Kind::Channel && *name == definition.name)
    };
    let channels = done.channels.clone();
    // Where a rule is wrong, that is told.
    if faults.is_empty() && !channels.is_empty() {
        match done.channel_expression() {
            Ok(channel) => done.channel = Some(Box::new(channel)),
            Err(fault) => faults.push(fault),
        }
    }
    done.told.sort_by(|a, b| (a.kind, place(&channels, a), &a.name).cmp(&(b.kind, place(&channels, b), &b.name)));
    done
}

/// A name is one word that means one thing, so that no reader has to ask which.
fn wrong_name(entry: &Entry) -> Option<String> {
    let name = entry.name.as_str();
    if entry.kind == Kind::Channel {
        // It is a value, not a word of SQL.
        let fits = !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
        return (!fits).then(|| format!("a channel's name has 1 to {NAME_BYTES_MAX} bytes that can be read"));
    }
    let is_word = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_word || NAME_BYTES_MAX < name.len() {
        return Some(format!(
            "a name is a word of small letters, digits and _, at most {NAME_BYTES_MAX}, such as signed_up"
        ));
    }
    let taken = |what: &str| Some(format!("{what} is called so already; choose another name"));
    if EVENT_COLUMNS.iter().any(|column| column.name == name) {
        return taken("a column of events");
    }
    if views::ALL.iter().any(|view| view.name == name) || catalog::is_table(name) {
        return taken("a table");
    }
    if table_function::is_known(name) {
        return taken("a function");
    }
    None
}

/// Definitions that may stand in one another.
const CHAIN_MAX: usize = 32;

fn bounded_text(sql: &str) -> Result<(), String> {
    if WRITTEN_OUT_BYTES_MAX < sql.len() {
        return Err(format!(
            "written out it has {} bytes of SQL, {WRITTEN_OUT_BYTES_MAX} are allowed; take less from others",
            sql.len()
        ));
    }
    Ok(())
}

struct Resolver<'e> {
    entries: &'e BTreeMap<(Kind, String), &'e Entry>,
    done: Definitions,
    /// Those that are being written out, outermost first.
    open: Vec<(Kind, String)>,
    /// Those whose fault is told.
    broken: Vec<(Kind, String)>,
    faults: Vec<String>,
}

impl Resolver<'_> {
    /// Writes one out, with all that it takes from others. Its own faults are told; an error is a fault of who asked for it.
    fn resolve(&mut self, kind: Kind, name: &str) -> Result<(), String> {
        let key = (kind, name.to_owned());
        if self.done.meanings.contains_key(&key) || self.broken.contains(&key) {
            return Ok(());
        }
        let entries = self.entries;
        let Some(entry) = entries.get(&key) else { return Err(self.unknown(kind, name)) };
        if let Some(at) = self.open.iter().position(|open| *open == key) {
            let circle: Vec<String> =
                self.open[at..].iter().chain([&key]).map(|(kind, name)| format!("{} {name}", kind.word())).collect();
            return Err(format!("it goes round in a circle: {}", circle.join(" > ")));
        }
        if CHAIN_MAX <= self.open.len() {
            return Err(format!("more than {CHAIN_MAX} definitions take one another: write some of them out"));
        }
        self.open.push(key.clone());
        let written = self.write_out(entry);
        self.open.pop();
        match written {
            Ok((meaning, sql, unit)) => {
                let Entry { kind, name, description, file, .. } = entry;
                self.done.meanings.insert(key, meaning);
                self.done.told.push(Definition {
                    kind: *kind,
                    name: name.clone(),
                    sql,
                    description: description.clone(),
                    unit,
                    file: file.clone(),
                });
            }
            Err(fault) => {
                self.faults.push(format!("{}: {fault}", entry.place()));
                self.broken.push(key);
            }
        }
        Ok(())
    }

    /// Nothing is called so: with all names there are, not only those that are done.
    fn unknown(&self, kind: Kind, name: &str) -> String {
        let known: Vec<&str> =
            self.entries.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.as_str()).collect();
        if known.is_empty() {
            return format!("there is no {} {name:?}: none is defined", kind.word());
        }
        error::unknown_name(kind.word(), name, &known)
    }

    fn write_out(&mut self, entry: &Entry) -> Result<(Meaning, String, Option<String>), String> {
        let (meaning, sql, unit) = match &entry.said {
            Said::Condition(condition) => {
                let condition = self.written(condition)?;
                let sql = condition.to_string();
                (Meaning::Condition(Box::new(condition)), sql, None)
            }
            Said::Segment { condition, having } => {
                let condition = condition.as_deref().map(|condition| self.written(condition)).transpose()?;
                let having = having.as_deref().map(|having| self.written(having)).transpose()?;
                let sql = segment_sql(condition.as_ref(), having.as_ref());
                let condition =
                    parse_expression(&sql).map_err(|reason| format!("it cannot be put into SQL: {reason}"))?;
                (Meaning::Condition(Box::new(condition)), sql, None)
            }
            Said::Arguments(given) => {
                let function = entry.kind.function().expect("only these kinds have arguments");
                let spec = table_function::spec(function).expect("each kind names a function there is");
                let known: Vec<&str> = spec.parameters.iter().map(|parameter| parameter.name).collect();
                let mut unknown = given.iter().filter(|(name, _)| !known.contains(&name.as_str()));
                if let Some((name, _)) = unknown.next() {
                    // The first is told by who called.
                    let told = |name: &String| error::unknown_name(&format!("argument of {function}"), name, &known);
                    self.faults.extend(unknown.map(|(name, _)| format!("{}: {}", entry.place(), told(name))));
                    return Err(told(name));
                }
                let mut arguments = Vec::new();
                for (name, value) in given {
                    let names = match value {
                        Expr::Array(steps) if name == "steps" => names_of_steps(&steps.elem),
                        _ => None,
                    };
                    if let Some(names) = names.filter(|_| !given.iter().any(|(name, _)| name == "names")) {
                        arguments.push(("names".to_owned(), names));
                    }
                    let mut value = value.clone();
                    texts_with_names(name, &mut value);
                    arguments.push((name.clone(), self.written(&value)?));
                }
                let written: Vec<String> = arguments.iter().map(|(name, value)| format!("{name} => {value}")).collect();
                let unit = arguments.iter().find(|(name, _)| name == "unit").and_then(|(_, value)| match value {
                    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text.clone()),
                    _ => None,
                });
                let sql = format!("{function}({})", written.join(", "));
                (Meaning::Arguments(arguments), sql, unit)
            }
        };
        bounded_text(&sql)?;
        match &meaning {
            Meaning::Condition(condition) => complexity::check_tree(condition.as_ref())?,
            Meaning::Arguments(arguments) => {
                arguments.iter().try_for_each(|(_, value)| complexity::check_tree(value))?;
            }
        }
        Ok((meaning, sql, unit))
    }

    fn written(&mut self, expression: &Expr) -> Result<Expr, String> {
        let mut expression = expression.clone();
        expand_expression(&mut expression, &mut Within(self))?;
        Ok(expression)
    }
}

/// Persons with at least one event that meets `condition`, and all of whose such events together meet `having`.
fn segment_sql(condition: Option<&Expr>, having: Option<&Expr>) -> String {
    let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    let having = having.map(|having| format!(" HAVING {having}")).unwrap_or_default();
    format!("person_id IN (SELECT person_id FROM person_events{condition} GROUP BY person_id{having})")
}

/// Names looked up while others are still being written out.
struct Within<'r, 'e>(&'r mut Resolver<'e>);

impl Names for Within<'_, '_> {
    fn condition(&mut self, kind: Kind, name: &str) -> Result<Expr, String> {
        let key = (kind, name.to_owned());
        self.0.resolve(kind, name)?;
        if self.0.broken.contains(&key) {
            return Err(format!("it takes {} {name}, which is wrong", kind.word()));
        }
        self.0.done.condition(kind, name).cloned()
    }

    fn channels(&mut self) -> Result<Expr, String> {
        for name in self.0.done.channels.clone() {
            self.condition(Kind::Channel, &name)?;
        }
        self.0.done.channel_expression()
    }
}

impl Definitions {
    /// The first rule that holds, else what the stream job has found.
    pub(super) fn channel_expression(&self) -> Result<Expr, String> {
        if self.channels.is_empty() {
            return Ok(own_channel());
        }
        let mut sql = "CASE".to_owned();
        for name in &self.channels {
            let condition = self.condition(Kind::Channel, name)?;
            sql.push_str(&format!(" WHEN {condition} THEN {}", quoted(name)));
        }
        sql.push_str(" ELSE channel END");
        let together = |reason: String| format!("channels: all rules together make one CASE, and {reason}");
        bounded_text(&sql).map_err(together)?;
        parse_expression(&sql).map_err(together)
    }
}
