//! What the cells of a column look like.
//!
//! In:      the cells of the first rows.
//! Out:     whether they read as times, amounts, numbers, and how they are written then.
//! Promise: a column is of a kind only if every cell that is not empty is.

use tributary_schemas::currency;

use super::super::amount::{Marks, Said, currency_of, parted};
use super::super::time::{Times, two_ways};
use super::{shown, words};

pub(super) struct Column<'v> {
    pub(super) name: &'v str,
    pub(super) index: usize,
    /// The cells that are not empty, in file order.
    pub(super) values: Vec<&'v str>,
    cells: Vec<&'v str>,
}

/// How the times of a column are written.
pub(super) enum Time {
    /// ISO 8601 where there are no formats.
    Read { formats: Vec<String>, wants_zone: bool, day_only: bool },
    /// Day first, and month (or year) first.
    Either(String, String),
    /// Counts since 1970, by the form that reads them.
    Unix(&'static str),
}

impl Time {
    pub(super) fn form(&self) -> &'static str {
        match self {
            Self::Unix(form) => form,
            _ => "",
        }
    }

    pub(super) fn is_day_only(&self) -> bool {
        match self {
            Self::Read { day_only, .. } => *day_only,
            Self::Either(day_first, _) => !day_first.contains("%H") && !day_first.contains("%I"),
            Self::Unix(_) => false,
        }
    }

    pub(super) fn wants_zone(&self) -> bool {
        match self {
            Self::Read { wants_zone, .. } => *wants_zone,
            Self::Either(day_first, _) => !day_first.contains("%z"),
            Self::Unix(_) => false,
        }
    }
}

/// How the amounts of a column are written.
pub(super) enum Money {
    Read(Marks),
    /// A text that is one number in one country and a thousand times that in another.
    Either(String),
}

impl<'v> Column<'v> {
    pub(super) fn of(name: &'v str, index: usize, rows: &[&'v [String]]) -> Self {
        let cells: Vec<&str> = rows.iter().map(|row| row.get(index).map_or("", |cell| cell.trim())).collect();
        Self { name, index, values: cells.iter().copied().filter(|cell| !cell.is_empty()).collect(), cells }
    }

    /// Whether a template can name it.
    pub(super) fn can_be_named(&self) -> bool {
        !self.name.is_empty() && !self.name.contains(['{', '}', ':']) && !self.name.chars().any(char::is_control)
    }

    pub(super) fn example(&self) -> String {
        self.values.first().map_or_else(|| "\"\"".to_owned(), |value| format!("\"{}\"", shown(value)))
    }

    pub(super) fn distinct(&self) -> Vec<&'v str> {
        let mut distinct: Vec<&str> = Vec::new();
        for value in &self.values {
            // Beyond this nobody takes it for a list of names.
            if 100 < distinct.len() {
                break;
            }
            if !distinct.contains(value) {
                distinct.push(value);
            }
        }
        distinct
    }

    pub(super) fn is_unique(&self) -> bool {
        let mut sorted = self.cells.clone();
        sorted.sort_unstable();
        1 < sorted.len() && self.values.len() == self.cells.len() && sorted.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// * `called_so`: its header says that it is a time, so counts may be one.
    pub(super) fn time(&self, called_so: bool) -> Option<Time> {
        let all_digits = |length: usize| {
            self.values.iter().all(|value| value.len() == length && value.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if self.values.is_empty() {
            return None;
        }
        if called_so && all_digits(10) {
            return Some(Time::Unix(":unix_s"));
        }
        if called_so && all_digits(13) {
            return Some(Time::Unix(":unix_ms"));
        }
        if all_digits(8) && !called_so {
            return None;
        }
        time_of(self.values.iter().map(|value| (*value).to_owned()).collect())
    }

    /// The day in this column, the time of day in the other.
    pub(super) fn time_with(&self, clock: &Self) -> Option<Time> {
        let both = self.cells.iter().zip(&clock.cells).filter(|(day, _)| !day.is_empty());
        time_of(both.map(|(day, clock)| format!("{day} {clock}").trim().to_owned()).collect())
    }

    /// Times of day: 14:05, 2:05 PM.
    pub(super) fn is_clock(&self) -> bool {
        let on_a_day = || self.values.iter().map(|value| format!("2026-01-01 {value}")).collect();
        !self.values.is_empty() && self.values.iter().all(|value| value.contains(':')) && time_of(on_a_day()).is_some()
    }

    pub(super) fn is_number(&self) -> bool {
        self.values.iter().all(|value| value.parse::<f64>().is_ok())
    }

    pub(super) fn is_email(&self) -> bool {
        let is_email = |value: &&str| {
            value
                .split_once('@')
                .is_some_and(|(who, host)| !who.is_empty() && host.contains('.') && !host.contains(' '))
        };
        !self.values.is_empty() && self.values.iter().all(is_email)
    }

    pub(super) fn money(&self) -> Option<Money> {
        if self.values.is_empty() {
            return None;
        }
        const MARKS: [Marks; 7] = [
            Marks { decimal: '.', thousands: None },
            Marks { decimal: ',', thousands: None },
            Marks { decimal: ',', thousands: Some('.') },
            Marks { decimal: '.', thousands: Some(',') },
            Marks { decimal: ',', thousands: Some(' ') },
            Marks { decimal: '.', thousands: Some(' ') },
            Marks { decimal: '.', thousands: Some('\'') },
        ];
        let read = |marks: &Marks| -> Option<Vec<String>> {
            self.values.iter().map(|value| marks.amount(value).ok()).collect()
        };
        let fitting: Vec<(Marks, Vec<String>)> =
            MARKS.iter().filter_map(|marks| Some((*marks, read(marks)?))).collect();
        let (first, amounts) = fitting.first()?;
        // Marks that read the same out of all of them need not be told apart.
        let other =
            fitting.iter().find_map(|(_, other)| amounts.iter().zip(other).position(|(one, other)| !same(one, other)));
        Some(match other {
            Some(index) => Money::Either(self.values[index].to_owned()),
            None => Money::Read(self.marks_that_last(*first, &fitting)),
        })
    }

    /// Of marks that fit, those with a thousands mark where the decimal mark is known: the next row may have one.
    fn marks_that_last(&self, first: Marks, fitting: &[(Marks, Vec<String>)]) -> Marks {
        let has_decimals = self.values.iter().any(|value| value.contains(','));
        let german = Marks { decimal: ',', thousands: Some('.') };
        let fits = fitting.iter().any(|(marks, _)| *marks == german);
        if first == (Marks { decimal: ',', thousands: None }) && has_decimals && fits { german } else { first }
    }

    /// Further amounts, by their header: shipping, tax ...
    pub(super) fn is_amount(&self, marks: Marks) -> bool {
        let all_read = !self.values.is_empty() && self.values.iter().all(|value| marks.amount(value).is_ok());
        all_read && [words::MONEY, words::AMOUNTS].iter().any(|words| words::rank(self.name, words).is_some())
    }

    /// The currencies that its cells say, if each says one.
    pub(super) fn currencies(&self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for value in &self.values {
            let code = currency_of(value).ok()?;
            if !all.contains(&code) {
                all.push(code);
            }
        }
        (!all.is_empty()).then_some(all)
    }

    /// "Betrag (EUR)" and "Umsatz in €".
    pub(super) fn currency_of_name(&self) -> Option<String> {
        const KNOWN: [&str; 12] = ["EUR", "USD", "GBP", "CHF", "PLN", "CZK", "SEK", "NOK", "DKK", "JPY", "CAD", "AUD"];
        let words = self.name.split(|char: char| char.is_whitespace() || "()[]_-/".contains(char));
        let mut codes = words.filter_map(|word| match parted(&format!("1 {word}")).1 {
            Said::Code(code) => currency(&code).filter(|code| KNOWN.contains(&code.as_str())),
            _ => None,
        });
        codes.next()
    }

    /// Whole numbers under a header that says a count. Others stay text: an article's number is nothing to sum, and one cell that
    /// is no number would cost its row.
    pub(super) fn worth_adding_up(&self) -> bool {
        let plain = |value: &&str| {
            !value.is_empty()
                && value.bytes().all(|byte| byte.is_ascii_digit())
                && (*value == "0" || !value.starts_with('0'))
        };
        !self.values.is_empty() && words::rank(self.name, words::COUNT).is_some() && self.values.iter().all(plain)
    }
}

fn same(one: &str, other: &str) -> bool {
    let read = |text: &str| tributary_schemas::Money::parse(text).ok();
    read(one) == read(other)
}

fn time_of(texts: Vec<String>) -> Option<Time> {
    let samples: Vec<(u64, String)> = (1..).zip(texts).collect();
    let mut times = Times::default();
    let formats = match times.guess(&samples) {
        Ok(guess) => guess.map(|guess| guess.formats).unwrap_or_default(),
        Err(_) => {
            let either = samples.iter().find_map(|(_, text)| two_ways(text));
            return either.map(|(day_first, month_first)| Time::Either(day_first, month_first));
        }
    };
    let mut wants_zone = false;
    for (_, text) in &samples {
        wants_zone |= times.read(text).ok()?.unzoned;
    }
    let day_only = samples.iter().all(|(_, text)| !text.contains(':'));
    Some(Time::Read { formats, wants_zone, day_only })
}
