//! A first mapping for a file, to be looked through by whoever knows the file.
//!
//! In:       a table-shaped file: its header and first rows.
//! Out:      the text of a mapping, in which each line says what it was taken from; the same in short, to be told.
//! Promise:  a column is used, or stands there as a comment with the reason. Where the rows can be read in two ways the
//!           mapping cannot be used before somebody has decided. The rows that were looked at have been tried with it.
//! Not here: what columns are called (`words`).

mod columns;
mod words;

use std::sync::Arc;

use encoding_rs::WINDOWS_1252;
use tributary_ingest::kind_of_name;
use tributary_schemas::EventKind;

use super::amount::Marks;
use super::mapping::{FileShape, Mapping};
use super::reader::{FileFormat, Opened, Source};
use super::row::{Body, Reject, Row};
use super::{Sample, UserError, grouped};
use columns::{Column, Money, Time};

/// Rows that a proposal is made from.
const ROWS_LOOKED_AT: usize = 1_000;

pub(super) struct Proposal {
    pub(super) text: String,
    /// What each column was taken for, and what would become of the rows looked at.
    pub(super) told: Vec<String>,
}

/// * `command`: how the import of this file with the mapping is called, to be shown.
pub(super) fn propose(source: &Source, format: Option<FileFormat>, command: &str) -> anyhow::Result<Proposal> {
    let (opened, sample, encoding) = read(source, format)?;
    let Some(names) = opened.rows.columns().map(|columns| columns.names().to_vec()) else {
        return Err(UserError(format!(
            "{} has no columns to propose a mapping for: its lines are taken as Segment's events (docs/import.md)",
            source.name()
        ))
        .into());
    };
    let rows: Vec<&[String]> = sample
        .good()
        .filter_map(|row| match &row.body {
            Body::Cells { cells, .. } => Some(cells.as_slice()),
            Body::Object(_) => None,
        })
        .collect();
    if rows.is_empty() {
        return Err(UserError(format!("{} has no row to propose a mapping from", source.name())).into());
    }
    let columns: Vec<Column> = names.iter().enumerate().map(|(index, name)| Column::of(name, index, &rows)).collect();
    let mut draft = Draft::default();
    draft.fill(&columns);
    let text = draft.text(source.name(), rows.len(), command, opened.delimiter, encoding);
    let mut told = draft.told;
    told.push(tried(&text, &opened, &sample, source.name()));
    Ok(Proposal { text, told })
}

/// The file's first rows; read as Windows-1252 where they are no UTF-8, unless others among them are more than ASCII and are
/// UTF-8: then those are damaged.
fn read(source: &Source, format: Option<FileFormat>) -> anyhow::Result<(Opened, Sample, Option<&'static str>)> {
    let open = |shape: &FileShape| source.open(format, shape, Arc::default());
    let mut opened = open(&FileShape::default());
    if let Ok(opened_well) = &mut opened {
        let sample = Sample::read(opened_well, ROWS_LOOKED_AT);
        let unreadable =
            |row: &Result<Row, Reject>| row.as_ref().err().is_some_and(|reject| is_about_encoding(&reject.reason));
        let readable = !sample.rows.iter().any(unreadable) || sample.good().any(|row| !is_ascii(row));
        if readable {
            let encoding = opened_well.encoding.filter(|name| *name != "UTF-8");
            return opened.map(|opened| (opened, sample, encoding));
        }
    } else if let Err(error) = &opened
        && !is_about_encoding(&format!("{error:#}"))
    {
        return Err(UserError(format!("{error:#}")).into());
    }
    let mut opened = open(&FileShape { encoding: Some(WINDOWS_1252), ..FileShape::default() })?;
    let sample = Sample::read(&mut opened, ROWS_LOOKED_AT);
    Ok((opened, sample, Some("windows-1252")))
}

fn is_ascii(row: &Row) -> bool {
    match &row.body {
        Body::Cells { cells, .. } => cells.iter().all(|cell| cell.is_ascii()),
        Body::Object(_) => true,
    }
}

fn is_about_encoding(reason: &str) -> bool {
    reason.contains(&super::encoding::not_readable(encoding_rs::UTF_8))
}

/// What would become of the rows that were looked at.
fn tried(text: &str, opened: &Opened, sample: &Sample, name: &str) -> String {
    let tried = Mapping::parse(text).and_then(|mapping| {
        let mut mapper = mapping.for_columns(opened.rows.columns(), name)?;
        mapper.guess_times(sample.good()).map_err(UserError)?;
        Ok(mapper)
    });
    let mapper = match tried {
        Ok(mapper) => mapper,
        Err(error) => return format!("to be decided before it can be used: {error:#}"),
    };
    let faults: Vec<String> = sample
        .rows
        .iter()
        .filter_map(|row| match row {
            Ok(row) => mapper.event(row).err().map(|reason| format!("line {}: {reason}", row.line)),
            Err(reject) => Some(format!("line {}: {}", reject.line, reject.reason)),
        })
        .collect();
    let taken = sample.rows.len() - faults.len();
    let mut told =
        format!("of the first {} rows {} would be taken", grouped(sample.rows.len() as u64), grouped(taken as u64));
    for fault in faults.iter().take(3) {
        told += &format!("; {fault}");
    }
    told
}

/// The lines of a mapping, by table.
#[derive(Default)]
struct Draft {
    file: Vec<String>,
    kinds: Vec<String>,
    event: Vec<String>,
    campaign: Vec<String>,
    page: Vec<String>,
    context: Vec<String>,
    properties: Vec<String>,
    told: Vec<String>,
    /// What stands between the digits of amounts, once it is known.
    marks: Option<Marks>,
    used: Vec<usize>,
    keys: Vec<String>,
}

impl Draft {
    fn fill(&mut self, columns: &[Column<'_>]) {
        // A column no template can name is out of the game.
        for column in columns.iter().filter(|column| !column.can_be_named()) {
            self.properties.push(format!("# the column {:?} cannot be named here: rename it in the file", column.name));
            self.say(
                "left out",
                &format!("{:?}: its name holds a brace or a colon, or is empty; rename it in the file", column.name),
            );
            self.used.push(column.index);
        }
        self.time(columns);
        self.name(columns);
        self.person(columns);
        self.money(columns);
        self.row_id(columns);
        self.known_fields(columns);
        self.rest(columns);
    }

    /// One line of what is told: what for, and which column.
    fn say(&mut self, what: &str, text: &str) {
        self.told.push(format!("{what:<16}{text}"));
    }

    fn free<'c, 'v>(&self, columns: &'c [Column<'v>]) -> impl Iterator<Item = &'c Column<'v>> {
        columns.iter().filter(|column| !self.used.contains(&column.index))
    }

    /// The free column whose header fits the list best, of those that are fit.
    fn best<'c, 'v>(
        &self,
        columns: &'c [Column<'v>],
        words: &[&str],
        fit: impl Fn(&Column<'v>) -> bool,
    ) -> Option<&'c Column<'v>> {
        let ranked = self.free(columns).filter_map(|column| Some((words::rank(column.name, words)?, column)));
        ranked.filter(|(_, column)| fit(column)).min_by_key(|(rank, _)| *rank).map(|(_, column)| column)
    }

    fn time(&mut self, columns: &[Column<'_>]) {
        let time_of = |column: &Column<'_>| column.time(words::rank(column.name, words::TIME).is_some());
        let by_name = self.best(columns, words::TIME, |column| time_of(column).is_some());
        let column = by_name.or_else(|| self.free(columns).find(|column| column.time(false).is_some()));
        let Some((column, time)) = column.and_then(|column| Some((column, time_of(column)?))) else {
            self.event.push(
                "# timestamp = \"{..}\"   # no column reads as a time: each event gets the time it is received at"
                    .to_owned(),
            );
            self.say("time", "no column: events get the time they are received at");
            return;
        };
        self.used.push(column.index);
        // The day in one column, the time of day in another.
        let clock = self.free(columns).find(|other| time.is_day_only() && other.is_clock());
        let (template, time) = match clock {
            Some(clock) => {
                self.used.push(clock.index);
                (format!("{{{}}} {{{}}}", column.name, clock.name), column.time_with(clock).unwrap_or(time))
            }
            None => (format!("{{{}{}}}", column.name, time.form()), time),
        };
        self.event.push(line("timestamp", &template, &format!("as {}", column.example())));
        let mut how = String::new();
        match &time {
            Time::Read { formats, .. } if formats.is_empty() => {}
            Time::Read { formats, .. } => {
                let formats: Vec<String> = formats.iter().map(|format| quoted(format)).collect();
                let value =
                    if let [one] = formats.as_slice() { one.clone() } else { format!("[{}]", formats.join(", ")) };
                self.file.push(format!("time_format = {value}   # as {}", column.example()));
                how = format!(", as {}", formats.join(" or "));
            }
            Time::Either(day_first, month_first) => {
                self.file.push(format!(
                    "# DECIDE: {} can be read in two ways; take the # from one of these two lines",
                    column.example()
                ));
                self.file.push(format!("# time_format = {}", quoted(day_first)));
                self.file.push(format!("# time_format = {}", quoted(month_first)));
                how = format!(", which can be read in two ways: {day_first:?} or {month_first:?}");
            }
            Time::Unix(_) => {}
        }
        if time.wants_zone() {
            self.file.push("time_zone = \"UTC\"   # EDIT: the times say no zone; the one of the clock they are from, such as \"Europe/Berlin\"".to_owned());
            how += "; they say no zone: UTC, until you write time_zone";
        }
        self.say("time", &format!("{:?}{how}", column.name));
    }

    fn name(&mut self, columns: &[Column<'_>]) {
        const NAMES_MAX: usize = 50;
        let fit = |column: &Column<'_>| {
            column.distinct().len() <= NAMES_MAX && !column.is_number() && !column.values.is_empty()
        };
        let Some(column) = self.best(columns, words::EVENT, fit) else {
            let money = self.best(columns, words::MONEY, |column| column.money().is_some()).is_some();
            let name = if money { "Order Completed" } else { "Imported" };
            self.event.push(format!(
                "event = {}   # EDIT: no column names what happened, so each row is one of these",
                quoted(name)
            ));
            self.say("event", &format!("no column: each row is called {name:?}"));
            return;
        };
        self.used.push(column.index);
        let names = column.distinct();
        let some = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        self.event.push(line("event", &format!("{{{}}}", column.name), &shown(&some)));
        self.say("event", &format!("{:?}: {}", column.name, shown(&some)));
        let plain = |name: &str| words::tokens(name).join(" ");
        let has = |name: &str, words: &[&str]| words.iter().any(|word| plain(name).contains(word));
        let of_kind = |words: &[&str], not: &[&str]| -> Vec<String> {
            let unknown = names.iter().filter(|name| kind_of_name(name) == EventKind::Custom);
            unknown.filter(|name| has(name, words) && !has(name, not)).map(|name| quoted(name)).collect()
        };
        let conversions = of_kind(words::CONVERSIONS, words::NO_CONVERSIONS);
        let is_known = names.iter().any(|name| kind_of_name(name) == EventKind::Conversion);
        if !conversions.is_empty() {
            self.kinds.push(format!(
                "conversion = [{}]   # what counts as a conversion: look whether these are right",
                conversions.join(", ")
            ));
            self.say("conversion", &conversions.join(", "));
        } else if !is_known {
            self.kinds.push(
                "# conversion = [\"..\"]   # the names that count as a conversion; none looks like one".to_owned(),
            );
        }
        let pages = of_kind(words::PAGES, &[]);
        if !pages.is_empty() {
            self.kinds.push(format!("page = [{}]", pages.join(", ")));
        }
    }

    fn person(&mut self, columns: &[Column<'_>]) {
        let filled = |column: &Column<'_>| !column.values.is_empty();
        let user = self.best(columns, words::PERSON, filled);
        if let Some(user) = user {
            self.used.push(user.index);
            self.event.push(line("userId", &format!("{{{}}}", user.name), &format!("as {}", user.example())));
            self.say("person", &format!("{:?}", user.name));
        }
        let device = self.best(columns, words::DEVICE, filled);
        if let Some(device) = device {
            self.used.push(device.index);
            self.event.push(line("anonymousId", &format!("{{{}}}", device.name), &format!("as {}", device.example())));
            self.say("device", &format!("{:?}", device.name));
        }
        if user.is_none() && device.is_none() {
            self.event.push("userId = \"{which column?}\"   # EDIT: the column that says who it was".to_owned());
            self.say("person", "no column looks like one: write it in");
        }
    }

    fn money(&mut self, columns: &[Column<'_>]) {
        let Some(column) = self.best(columns, words::MONEY, |column| column.money().is_some()) else { return };
        let Some(money) = column.money() else { return };
        self.used.push(column.index);
        self.keys.push("revenue".to_owned());
        self.properties.push(line(
            "revenue",
            &format!("{{{}:amount}}", column.name),
            &format!("as {}", column.example()),
        ));
        match &money {
            Money::Read(marks) => {
                self.marks = Some(*marks);
                let settings = marks.settings().replace(" and ", "\n");
                self.file.extend(settings.lines().map(|setting| format!("{setting}   # as {}", column.example())));
            }
            Money::Either(text) => self.file.push(format!(
                "decimal = \"?\"   # DECIDE: {} has three digits behind its mark; \".\" or \",\", and the other one as thousands",
                shown(text)
            )),
        }
        let code_column = self.best(columns, words::CURRENCY, |column| column.currencies().is_some());
        let (currency, told) = match code_column {
            Some(codes) => {
                self.used.push(codes.index);
                let form = if codes.values.iter().all(|value| value.len() == 3) { "" } else { ":currency" };
                (line("currency", &format!("{{{}{form}}}", codes.name), ""), format!("{:?}", codes.name))
            }
            None => match column.currencies().as_deref() {
                Some([one]) => (line("currency", one, &format!("as {}", column.example())), one.clone()),
                Some(_) => {
                    (line("currency", &format!("{{{}:currency}}", column.name), ""), "as the amounts say".to_owned())
                }
                None => match column.currency_of_name() {
                    Some(code) => (line("currency", &code, "as the column's name says"), code),
                    None => (
                        "# currency = \"EUR\"   # EDIT: the amounts say none; state it here".to_owned(),
                        "not said".to_owned(),
                    ),
                },
            },
        };
        self.properties.push(currency);
        self.keys.push("currency".to_owned());
        self.say("amount", &format!("{:?}, as {}; currency: {told}", column.name, column.example()));
    }

    /// Shown, not used: an id that another row has too would make that row a second copy.
    fn row_id(&mut self, columns: &[Column<'_>]) {
        let Some(column) = self.best(columns, words::ROW_ID, Column::is_unique) else { return };
        self.event.push(format!(
            "# messageId = {}   # if it is another one in each row: the file may then grow and be imported again",
            quoted(&format!("{{{}}}", column.name))
        ));
    }

    fn known_fields(&mut self, columns: &[Column<'_>]) {
        for (headers, field) in words::FIELDS {
            let fit = |column: &Column<'_>| words::rank(column.name, headers).is_some_and(|rank| rank < 100);
            let Some(column) = self.free(columns).find(|column| fit(column) && !column.values.is_empty()) else {
                continue;
            };
            let all = |fits: &dyn Fn(&str) -> bool| column.values.iter().all(|value| fits(value));
            let is_address = |value: &str| value.starts_with("http://") || value.starts_with("https://");
            let template = format!("{{{}}}", column.name);
            let said = format!("as {}", column.example());
            match *field {
                "context.page.url" if all(&is_address) => self.page.push(line("url", &template, &said)),
                "context.page.url" if all(&|value: &str| value.starts_with('/')) => {
                    self.page.push(line("path", &template, &said))
                }
                "context.page.referrer" if all(&is_address) => self.page.push(line("referrer", &template, &said)),
                "context.page.url" | "context.page.referrer" => continue,
                "properties.country" if !all(&|value: &str| value.len() == 2) => continue,
                "context.userAgent" => self.context.push(line("userAgent", &template, &said)),
                field => match field.split_once(".campaign.") {
                    Some((_, name)) => self.campaign.push(line(name, &template, &said)),
                    None => {
                        let name = field.trim_start_matches("properties.");
                        self.properties.push(line(name, &template, &said));
                        self.keys.push(name.to_owned());
                    }
                },
            }
            self.used.push(column.index);
            let what = field.trim_start_matches("context.").trim_start_matches("properties.");
            self.say(what, &format!("{:?}", column.name));
        }
    }

    fn rest(&mut self, columns: &[Column<'_>]) {
        let mut kept = Vec::new();
        let rest: Vec<&Column<'_>> = self.free(columns).collect();
        for column in rest {
            let key = self.key(column);
            let is_personal =
                words::rank(column.name, words::PERSONAL).is_some_and(|rank| rank < 100) || column.is_email();
            let is_amount = self.marks.is_some_and(|marks| column.is_amount(marks));
            let form = match (column.worth_adding_up(), is_amount) {
                (true, _) => ":number",
                (false, true) => ":amount",
                (false, false) => "",
            };
            let template = format!("{{{}{form}}}", column.name);
            if is_personal {
                self.properties.push(format!(
                    "# {} = {}   # personal, so it is left out; take the # away to keep it",
                    toml_key(&key),
                    quoted(&template)
                ));
                self.say("left out", &format!("{:?}: personal", column.name));
            } else {
                self.properties.push(line(
                    &key,
                    &template,
                    &if column.values.is_empty() {
                        "empty so far".to_owned()
                    } else {
                        format!("as {}", column.example())
                    },
                ));
                kept.push(format!("{:?}", column.name));
            }
        }
        if !kept.is_empty() {
            self.say("properties", &kept.join(", "));
        }
    }

    /// A name for a property that no other has, and none of those the door takes for something of its own unless it is that.
    fn key(&mut self, column: &Column<'_>) -> String {
        let mut key = words::tokens(column.name).join("_");
        if key.is_empty() {
            key = format!("column_{}", column.index + 1);
        }
        let is_of_the_door = ["revenue", "total", "value", "currency"].contains(&key.as_str());
        if is_of_the_door && column.money().is_none() {
            key += "_text";
        }
        while self.keys.contains(&key) {
            key += "_2";
        }
        self.keys.push(key.clone());
        key
    }

    fn text(&self, name: &str, rows: usize, command: &str, delimiter: Option<u8>, encoding: Option<&str>) -> String {
        let mut text = format!(
            "# Proposed by the header and the first {} rows of {}. Look it through, then:\n#   {}\n# docs/import.md says what may stand here.\n",
            grouped(rows as u64),
            one_line(name),
            one_line(command)
        );
        let mut file = Vec::new();
        file.extend(encoding.filter(|name| *name == "windows-1252").map(|name| {
            format!(
                "encoding = {}   # a guess, for it is no UTF-8: look whether letters such as ä and € came out right",
                quoted(name)
            )
        }));
        file.extend(
            delimiter
                .filter(|found| *found != b',')
                .map(|found| format!("delimiter = {}", quoted(&char::from(found).to_string()))),
        );
        file.extend(self.file.iter().cloned());
        for (table, lines) in [
            ("file", &file),
            ("kinds", &self.kinds),
            ("event", &self.event),
            ("event.context", &self.context),
            ("event.context.campaign", &self.campaign),
            ("event.context.page", &self.page),
            ("event.properties", &self.properties),
        ] {
            if !lines.is_empty() {
                text += &format!("\n[{table}]\n{}\n", lines.join("\n"));
            }
        }
        text
    }
}

fn line(key: &str, value: &str, comment: &str) -> String {
    let comment = if comment.is_empty() { String::new() } else { format!("   # {comment}") };
    format!("{} = {}{comment}", toml_key(key), quoted(value))
}

/// A text as TOML writes it, whatever is in it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare { key.to_owned() } else { quoted(key) }
}

fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// A text of the file in a comment: on one line, and not all of it.
fn shown(text: &str) -> String {
    let cut: String = one_line(text).chars().take(60).collect();
    if cut.chars().count() < text.chars().count() { format!("{cut} ...") } else { cut }
}

#[cfg(test)]
mod tests;
