//! Layers: which value a knob has in the end, and who said so.
//!
//! In:       the built-in defaults, a keys file, a settings file, the environment, flags; later ones win.
//! Out:      one tree in which every value has the type its default has, and every fault that was met.
//! Promise:  the defaults are the list of knobs: a key that is not among them is a fault, never ignored; a faulty value
//!           is replaced by its default, so that it hides no other fault.
//! Not here: what the values mean (`mod.rs` and the crates they are for).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Num, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

/// Every knob with its default, its unit in its name and its reason beside it.
pub(crate) const DEFAULTS: &str = include_str!("../../settings/default.toml");

/// Tables whose keys are the user's own names, so that the defaults cannot list them.
const OPEN_TABLES: &[&str] = &["log.kafka_properties", "log.kafka_topic_config", "lake.object_store"];

/// The one list of tables; typed in, it is `source=key` or `source=key=trusted`, comma-separated.
const WRITE_KEYS: &str = "ingest.write_keys";

const ENVIRONMENT_PREFIX: &str = "TRIBUTARY__";

/// Where values come from, weakest first; the defaults stand below all of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Layers {
    /// Secrets made on the first start; absent when there are none yet.
    pub(crate) keys_file: Option<PathBuf>,
    /// The settings file asked for; when `None`, `./tributary.toml` if it is there.
    pub(crate) file: Option<PathBuf>,
    /// Leaves `./tributary.toml` alone.
    pub(crate) without_default_file: bool,
    /// Name and value of environment variables; those without our prefix are left alone.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// (dotted key, value as typed) from the command line.
    pub(crate) flags: Vec<(&'static str, String)>,
}

/// One thing wrong with the settings, and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) text: String,
    /// The knob whose value was left out of account, where one was.
    pub(crate) key: Option<String>,
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), key: None }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The merged tree, ready to be read section by section, and what was wrong on the way.
pub(crate) struct Merged {
    figment: Figment,
    defaults: Dict,
    tree: Dict,
    faults: Vec<Fault>,
}

/// A layer that is already a tree.
struct TreeLayer {
    name: &'static str,
    tree: Dict,
}

impl Provider for TreeLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.tree.clone())]))
    }
}

const FLAG: &str = "flag";
const ENVIRONMENT: &str = "environment";

/// Lays the layers over one another; unknown keys, wrong types and files that cannot be read are collected.
pub(crate) fn merge(layers: &Layers) -> Merged {
    let mut faults = Vec::new();
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    for file in files(layers, &mut faults) {
        // A file that is not TOML is left out whole: nothing can be said about what may be in it.
        match Figment::from(Toml::file_exact(file)).extract::<Dict>() {
            Ok(_) => figment = figment.merge(Toml::file_exact(file)),
            Err(error) => faults.extend(error.into_iter().map(|error| Fault::new(error.to_string()))),
        }
    }
    figment = figment.merge(TreeLayer { name: ENVIRONMENT, tree: environment_tree(&layers.environment) });
    let flags = layers.flags.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    figment = figment.merge(TreeLayer { name: FLAG, tree: tree_of(flags) });

    let defaults: Dict =
        Figment::from(Toml::string(DEFAULTS)).extract().expect("the built-in defaults are TOML: a test reads them");
    let found: Dict = figment.extract().unwrap_or_else(|error| {
        faults.extend(error.into_iter().map(|error| Fault::new(error.to_string())));
        defaults.clone()
    });
    let mut check = Check { figment: &figment, faults };
    let tree = check.table("", &defaults, found);
    let faults = check.faults;
    Merged { figment, defaults, tree, faults }
}

impl Merged {
    /// One section as its own type. The types were checked in `merge`; what is left are numbers out of range and
    /// words that are none of the choices. Each costs its own value only, which becomes the default.
    pub(crate) fn section<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> T {
        loop {
            let section = self.tree.get(name).cloned().unwrap_or_else(|| Value::from(Dict::new()));
            let read = Figment::from(figment::providers::Serialized::defaults(section)).extract();
            let error: figment::Error = match read {
                Ok(section) => return section,
                Err(error) => error,
            };
            for error in error {
                let key = [&[name.to_owned()], error.path.as_slice()].concat().join(".");
                let text = format!("{key}: {} ({})", error.kind, self.place(&key));
                self.faults.push(Fault { text, key: Some(key) });
                self.restore(name, error.path.first());
            }
        }
    }

    /// Puts the default back in place of a value, or of a whole section.
    fn restore(&mut self, section: &str, knob: Option<&String>) {
        let default = self.defaults.get(section).expect("sections are asked for by the names of the defaults");
        match (self.tree.get_mut(section), default, knob) {
            (Some(Value::Dict(_, values)), Value::Dict(_, defaults), Some(knob)) => match defaults.get(knob) {
                Some(default) => values.insert(knob.clone(), default.clone()),
                None => values.remove(knob),
            },
            _ => self.tree.insert(section.to_owned(), default.clone()),
        };
    }

    /// Of a value that is of the right kind and still cannot be read.
    pub(crate) fn add_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    fn place(&self, key: &str) -> String {
        place(&self.figment, key)
    }
}

fn files<'a>(layers: &'a Layers, faults: &mut Vec<Fault>) -> Vec<&'a Path> {
    let mut files: Vec<&Path> = layers.keys_file.iter().map(PathBuf::as_path).filter(|path| path.exists()).collect();
    match &layers.file {
        Some(file) if file.exists() => files.push(file),
        Some(file) => faults.push(Fault::new(format!(
            "there is no settings file {}; check the path after --settings, or leave it out",
            file.display()
        ))),
        None if !layers.without_default_file && Path::new("tributary.toml").exists() => {
            files.push(Path::new("tributary.toml"))
        }
        None => {}
    }
    files
}

fn environment_tree(environment: &[(OsString, OsString)]) -> Dict {
    let ours = environment.iter().filter_map(|(name, value)| {
        let key = name.to_str()?.strip_prefix(ENVIRONMENT_PREFIX)?;
        Some((key.to_ascii_lowercase().replace("__", "."), value.to_string_lossy().into_owned()))
    });
    tree_of(ours)
}

fn tree_of(pairs: impl Iterator<Item = (String, String)>) -> Dict {
    let mut tree = Dict::new();
    for (key, value) in pairs {
        let mut at = &mut tree;
        // In an open table dots belong to the name: `log.kafka_properties` has a `sasl.password`.
        let open = OPEN_TABLES.iter().find_map(|open| Some((*open, key.strip_prefix(open)?.strip_prefix('.')?)));
        let (path, name) = open.map_or((key.as_str(), None), |(open, name)| (open, Some(name)));
        let mut parts = path.split('.').chain(name).peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.to_owned(), Value::from(value.clone()));
                break;
            }
            let next = at.entry(part.to_owned()).or_insert_with(|| Value::from(Dict::new()));
            // A key that is both a value and a table ("A" and "A__B") becomes the table; the value is then
            // reported as missing nothing, because the table's keys are checked one by one.
            if !matches!(next, Value::Dict(..)) {
                *next = Value::from(Dict::new());
            }
            let Value::Dict(_, dict) = next else { unreachable!("made a table on the line above") };
            at = dict;
        }
    }
    tree
}

struct Check<'f> {
    figment: &'f Figment,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn table(&mut self, prefix: &str, defaults: &Dict, found: Dict) -> Dict {
        let mut tree = defaults.clone();
        for (name, value) in found {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match defaults.get(&name) {
                Some(default) => {
                    if let Some(value) = self.value(&key, default, value) {
                        tree.insert(name, value);
                    }
                }
                None => {
                    let near = nearest(&name, defaults.keys());
                    let hint = near.map_or_else(
                        || "see `tributary settings` for all of them".to_owned(),
                        |near| format!("did you mean {near}?"),
                    );
                    self.fault(&key, &format!("there is no such knob; {hint}"));
                }
            }
        }
        tree
    }

    fn value(&mut self, key: &str, default: &Value, value: Value) -> Option<Value> {
        let tag = value.tag();
        match (default, value) {
            (Value::Dict(_, _), Value::Dict(_, found)) if OPEN_TABLES.contains(&key) => {
                let mut open = Dict::new();
                for (name, value) in found {
                    if let Some(value) = self.value(&format!("{key}.{name}"), &Value::from(""), value) {
                        open.insert(name, value);
                    }
                }
                Some(Value::Dict(tag, open))
            }
            (Value::Dict(_, defaults), Value::Dict(_, found)) => {
                Some(Value::Dict(tag, self.table(key, defaults, found)))
            }
            (Value::String(..), value @ Value::String(..))
            | (Value::Bool(..), value @ Value::Bool(..))
            | (Value::Array(..), value @ Value::Array(..)) => Some(value),
            (Value::Num(_, default), Value::Num(_, num)) => self.number(key, tag, *default, num),
            // From the environment and from flags everything is text; the default says what it should be.
            (default, Value::String(_, text)) if self.is_typed_in(key) => self.read_text(key, tag, default, &text),
            (default, other) => {
                self.fault(key, &format!("expected {}, found {}", kind_of(default), other.to_actual()));
                None
            }
        }
    }

    fn number(&mut self, key: &str, tag: Tag, default: Num, num: Num) -> Option<Value> {
        let whole = default.to_f64().is_none();
        match (whole, num.to_i128().or_else(|| num.to_u128().and_then(|value| i128::try_from(value).ok()))) {
            (true, Some(value)) if value >= 0 => Some(Value::Num(tag, num)),
            (true, Some(_)) => {
                self.fault(key, "expected a whole number, 0 or more");
                None
            }
            (true, None) => {
                self.fault(key, "expected a whole number");
                None
            }
            (false, _) => Some(Value::Num(tag, num)),
        }
    }

    fn read_text(&mut self, key: &str, tag: Tag, default: &Value, text: &str) -> Option<Value> {
        let value = match default {
            Value::Bool(..) => text.parse().ok().map(|value| Value::Bool(tag, value)),
            Value::Num(_, default) if default.to_f64().is_some() => {
                text.parse().ok().map(|value| Value::Num(tag, Num::F64(value)))
            }
            Value::Num(..) => text.replace('_', "").parse().ok().map(|value| Value::Num(tag, Num::U64(value))),
            Value::Array(..) if key == WRITE_KEYS => {
                let keys = text.split(',').map(|item| write_key(item.trim()));
                keys.collect::<Option<Vec<_>>>().map(|keys| Value::Array(tag, keys))
            }
            Value::Array(..) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(tag, items.map(Value::from).collect()))
            }
            _ => None,
        };
        if value.is_none() && key == WRITE_KEYS {
            // The text holds secrets, so it is not repeated.
            self.fault(key, "expected source=key or source=key=trusted, comma-separated");
        } else if value.is_none() {
            self.fault(key, &format!("expected {}, found {text:?}", kind_of(default)));
        }
        value
    }

    fn is_typed_in(&self, key: &str) -> bool {
        self.figment.find_metadata(key).is_some_and(|from| from.name == ENVIRONMENT || from.name == FLAG)
    }

    fn fault(&mut self, key: &str, what: &str) {
        let text = format!("{key}: {what} ({})", place(self.figment, key));
        self.faults.push(Fault { text, key: Some(key.to_owned()) });
    }
}

fn write_key(item: &str) -> Option<Value> {
    let (source, key) = item.split_once('=')?;
    let (key, trusted) = match key.strip_suffix("=trusted") {
        Some(key) => (key, true),
        None => (key, false),
    };
    let fields = [("source", Value::from(source)), ("key", Value::from(key)), ("trusted_clock", Value::from(trusted))];
    Some(Value::from(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Dict>()))
}

/// Who set this key, in words that lead there.
fn place(figment: &Figment, key: &str) -> String {
    let Some(metadata) = figment.find_metadata(key) else {
        // Inside a list or an open table only the whole of it is known to have come from somewhere.
        let outer = key.rsplit_once('.').map(|(outer, _)| place(figment, outer));
        return outer.unwrap_or_else(|| "nowhere set".to_owned());
    };
    if metadata.name == ENVIRONMENT {
        return format!("set by {ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"));
    }
    if metadata.name == FLAG {
        return "set on the command line".to_owned();
    }
    match metadata.source.as_ref().and_then(figment::Source::file_path) {
        Some(path) => format!("set in {}", path.display()),
        None => "the default".to_owned(),
    }
}

fn kind_of(default: &Value) -> &'static str {
    match default {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "true or false",
        Value::Num(_, num) if num.to_f64().is_some() => "a number",
        Value::Num(..) => "a whole number",
        Value::Array(..) => "a list",
        Value::Dict(..) | Value::Empty(..) => "a table",
    }
}

/// The known name this one is most likely a slip of: at most two letters away.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n String>) -> Option<&'n str> {
    known.map(|other| (distance(name, other), other.as_str())).filter(|(far, _)| *far <= 2).min().map(|(_, near)| near)
}

/// Levenshtein distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
