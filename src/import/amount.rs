//! Amounts and numbers as people write them.
//!
//! In:      "1.234,50 €", and which marks the mapping says stand in it.
//! Out:     "1234.50", text that the door reads exactly; the currency, where a sign or code says it.
//! Promise: digits are never dropped or regrouped: what does not fit the marks is refused with the setting to write.

use std::borrow::Cow;

use tributary_schemas::{Money, currency};

/// What stands between the digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) decimal: char,
    pub(crate) thousands: Option<char>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { decimal: '.', thousands: None }
    }
}

/// Signs, and the currencies each may stand for. What an amount with a sign of several is in, the mapping says.
const SIGNS: &[(&str, &[&str])] = &[
    ("€", &["EUR"]),
    ("£", &["GBP"]),
    ("₹", &["INR"]),
    ("₺", &["TRY"]),
    ("₴", &["UAH"]),
    ("₪", &["ILS"]),
    ("zł", &["PLN"]),
    ("Kč", &["CZK"]),
    ("R$", &["BRL"]),
    ("US$", &["USD"]),
    ("$", &["USD", "CAD", "AUD", "NZD", "SGD", "HKD", "TWD", "MXN", "ARS", "CLP", "COP", "UYU"]),
    ("¥", &["JPY", "CNY"]),
    ("kr", &["SEK", "NOK", "DKK", "ISK"]),
];

impl Marks {
    /// * Returns every fault of the two together.
    pub(crate) fn stated(decimal: Option<char>, thousands: Option<char>) -> Result<Self, Vec<String>> {
        let decimal_mark = decimal.unwrap_or('.');
        let mut faults = Vec::new();
        if !matches!(decimal_mark, '.' | ',') {
            faults.push(format!("file.decimal: {decimal_mark:?} is no decimal mark; write \".\" or \",\""));
        }
        if thousands.is_some_and(|mark| !matches!(mark, '.' | ',' | ' ' | '\'')) {
            faults.push("file.thousands: write \".\", \",\", \" \" (any blank) or \"'\"".to_owned());
        } else if thousands == Some(decimal_mark) {
            faults.push(format!(
                "file.thousands: {decimal_mark:?} is the decimal mark{}",
                match decimal {
                    Some(_) => "",
                    None => " unless decimal = \",\" stands beside it",
                }
            ));
        }
        if faults.is_empty() { Ok(Self { decimal: decimal_mark, thousands }) } else { Err(faults) }
    }

    /// An amount of money as the door takes it, without its currency.
    pub(crate) fn amount(self, text: &str) -> Result<String, String> {
        // What the door understands by itself stays as it is, but where the marks say that it means something else.
        if self == Self::default() && Money::parse(text).is_ok() {
            return Ok(text.trim().to_owned());
        }
        let (bare, _) = parted(text);
        self.plain(&bare).filter(|plain| Money::parse(plain).is_ok()).ok_or_else(|| self.refuse(text, "amount", &bare))
    }

    /// A number with a point and nothing else between its digits.
    pub(crate) fn number(self, text: &str) -> Result<String, String> {
        self.plain(text.trim()).ok_or_else(|| self.refuse(text, "number", text.trim()))
    }

    fn refuse(self, text: &str, what: &str, bare: &str) -> String {
        let shown: String = text.chars().take(40).collect();
        let fitting = [
            Self { decimal: ',', thousands: None },
            Self { decimal: ',', thousands: Some('.') },
            Self { decimal: ',', thousands: Some(' ') },
            Self { decimal: '.', thousands: Some(',') },
            Self { decimal: '.', thousands: Some(' ') },
            Self { decimal: '.', thousands: Some('\'') },
        ]
        .into_iter()
        .find(|marks| marks.plain(bare).is_some());
        match fitting {
            // The other rows fit the marks that are stated: one of the two would not do, and both would cost those rows.
            Some(marks) if self != Self::default() && self.decimal != marks.decimal => format!(
                "{shown:?} is no {what} with {self}; it has {marks}: mend this row, or, if all rows are so, change both below [file] in the \
                 mapping: {}",
                marks.both()
            ),
            Some(marks) => format!(
                "{shown:?} is no {what} with {self}; if {marks} are right, write {} below [file] into the mapping",
                marks.settings()
            ),
            None => format!("{shown:?} is no {what}"),
        }
    }

    /// The lines of a mapping that state these.
    pub(crate) fn settings(self) -> String {
        let thousands = self.thousands.map(|mark| format!("thousands = \"{mark}\"")).into_iter();
        let decimal = (self.decimal != '.').then(|| format!("decimal = \"{}\"", self.decimal)).into_iter();
        decimal.chain(thousands).collect::<Vec<_>>().join(" and ")
    }

    /// Lines that state the two, whatever was stated before.
    fn both(self) -> String {
        let thousands = self.thousands.map(|mark| format!(" and thousands = \"{mark}\"")).unwrap_or_default();
        format!("decimal = \"{}\"{thousands}", self.decimal)
    }

    /// The digits with a point, if the text is a number with these marks.
    pub(crate) fn plain(self, text: &str) -> Option<String> {
        let text = text.trim();
        let (sign, digits) = match text.strip_prefix(['-', '\u{2212}']) {
            Some(rest) => ("-", rest),
            None => match text.strip_suffix('-') {
                // As some programs of accounting write it.
                Some(rest) => ("-", rest),
                None => ("", text.strip_prefix('+').unwrap_or(text)),
            },
        };
        let digits = digits.trim();
        let (whole, fraction) = match digits.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if fraction.is_some_and(|fraction| !all_digits(fraction)) {
            return None;
        }
        let whole = if whole.is_empty() && fraction.is_some() { "0".to_owned() } else { self.ungrouped(whole)? };
        Some(match fraction {
            Some(fraction) => format!("{sign}{whole}.{fraction}"),
            None => format!("{sign}{whole}"),
        })
    }

    /// Groups must be of three digits, but for the first: "1.23" is no 123.
    fn ungrouped(self, whole: &str) -> Option<String> {
        let is_mark = |char: char| match self.thousands {
            Some(' ') => char.is_whitespace(),
            Some('\'') => matches!(char, '\'' | '\u{2019}'),
            Some(mark) => char == mark,
            None => false,
        };
        let groups: Vec<&str> = whole.split(is_mark).collect();
        let sound = groups.iter().enumerate().all(|(index, group)| {
            let length_sound =
                groups.len() == 1 || if index == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 };
            length_sound && !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit())
        });
        sound.then(|| groups.concat())
    }
}

impl std::fmt::Display for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.thousands {
            Some(thousands) => {
                write!(f, "the decimal mark \"{}\" and the thousands mark \"{thousands}\"", self.decimal)
            }
            None => write!(f, "the decimal mark \"{}\" and no thousands mark", self.decimal),
        }
    }
}

/// What a cell says of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    /// A sign that several currencies have, and those.
    Open(&'static str, &'static [&'static str]),
    Code(String),
}

impl Said {
    /// Whether an amount that says this can be one of the currency.
    pub(crate) fn allows(&self, code: &str) -> bool {
        match self {
            Self::Nothing => true,
            Self::Open(_, codes) => codes.contains(&code),
            Self::Code(said) => said == code,
        }
    }
}

/// The number of an amount, and the sign or code before or behind it.
pub(crate) fn parted(text: &str) -> (Cow<'_, str>, Said) {
    let text = text.trim();
    let (minus, bare) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let whole = |bare: &str| -> String { if minus { format!("-{bare}") } else { bare.to_owned() } };
    for (sign, codes) in SIGNS {
        let rest = bare.strip_prefix(sign).or_else(|| bare.strip_suffix(sign));
        // "R$" and "US$" end with "$": the longest sign is the one.
        let longer =
            SIGNS.iter().any(|(other, _)| other.len() > sign.len() && other.ends_with(sign) && bare.contains(other));
        if let Some(rest) = rest.filter(|_| !longer) {
            let said = match codes {
                [code] => Said::Code((*code).to_owned()),
                several => Said::Open(sign, several),
            };
            return (whole(rest.trim()).into(), said);
        }
    }
    for (code, rest) in
        [bare.get(..3).zip(bare.get(3..)), bare.len().checked_sub(3).and_then(|at| bare.get(at..).zip(bare.get(..at)))]
            .into_iter()
            .flatten()
    {
        let is_code = code.bytes().all(|byte| byte.is_ascii_uppercase());
        if let Some(code) = currency(code).filter(|_| is_code && rest.bytes().any(|byte| byte.is_ascii_digit())) {
            return (whole(rest.trim()).into(), Said::Code(code));
        }
    }
    (text.into(), Said::Nothing)
}

/// The currency of a cell: a code, a sign, or an amount with either.
pub(crate) fn currency_of(text: &str) -> Result<String, String> {
    if let Some(code) = currency(text.trim()) {
        return Ok(code);
    }
    match parted(text).1 {
        Said::Code(code) => Ok(code),
        Said::Open(sign, _) => {
            Err(format!("{sign:?} is the sign of several currencies; state one, such as currency = \"USD\""))
        }
        Said::Nothing => Err(format!("{text:?} says no currency; state one, such as currency = \"EUR\"")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GERMAN: Marks = Marks { decimal: ',', thousands: Some('.') };

    #[test]
    fn amounts_are_read_by_the_marks_that_are_stated() {
        let swiss = Marks { decimal: '.', thousands: Some('\'') };
        let french = Marks { decimal: ',', thousands: Some(' ') };
        for (marks, text, expected) in [
            (Marks::default(), "12.50", "12.50"),
            (Marks::default(), "1e3", "1e3"),
            (Marks::default(), "12.50 EUR", "12.50"),
            (Marks::default(), "-$12.50", "-12.50"),
            (GERMAN, "1.234,50", "1234.50"),
            (GERMAN, "1.234", "1234"),
            (GERMAN, "12,50 €", "12.50"),
            (GERMAN, "€ -12,50", "-12.50"),
            (GERMAN, "12,50-", "-12.50"),
            (GERMAN, "1.234.567,89 EUR", "1234567.89"),
            (GERMAN, ",5", "0.5"),
            (french, "1\u{202f}234,50\u{a0}€", "1234.50"),
            (swiss, "CHF 1’234.50", "1234.50"),
        ] {
            assert_eq!(marks.amount(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_the_marks_is_refused_with_the_setting() {
        for (marks, text, words) in [
            (Marks::default(), "12,50", "write decimal = \",\" below [file]"),
            (Marks::default(), "1.234,50 €", "write decimal = \",\" and thousands = \".\" below [file]"),
            (Marks::default(), "1,234.50", "write thousands = \",\" below [file]"),
            // Neither mark alone can be changed: "," would stand for both.
            (GERMAN, "12.50", "mend this row, or, if all rows are so, change both"),
            (GERMAN, "12.50", "in the mapping: decimal = \".\" and thousands = \",\""),
            (GERMAN, "1.23,5", "is no amount"),
            (GERMAN, "n/a", "\"n/a\" is no amount"),
            (GERMAN, "12,", "is no amount"),
            (GERMAN, "12 Stk", "is no amount"),
            (GERMAN, "1e3", "is no amount"),
        ] {
            let told = marks.amount(text).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
        assert!(GERMAN.number("12,5 €").is_err() && GERMAN.number("12,5").as_deref() == Ok("12.5"));
    }

    #[test]
    fn signs_and_codes_say_the_currency_where_they_stand_for_one() {
        for (text, expected) in [
            ("12,50 €", "EUR"),
            ("£3", "GBP"),
            ("USD 12", "USD"),
            ("R$ 5", "BRL"),
            ("US$5", "USD"),
            ("eur", "EUR"),
            ("€", "EUR"),
            ("-5 zł", "PLN"),
        ] {
            assert_eq!(currency_of(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, words) in [("$5", "several"), ("5", "says no currency"), ("kr 5", "several")] {
            assert!(currency_of(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn marks_that_cannot_be_are_told() {
        assert!(Marks::stated(Some(','), Some(',')).is_err() && Marks::stated(None, Some('.')).is_err());
        assert_eq!(Marks::stated(Some(';'), Some('x')).unwrap_err().len(), 2);
        assert_eq!(Marks::stated(Some(','), Some('.')), Ok(GERMAN));
    }

    proptest! {
        #[test]
        fn an_amount_that_was_written_with_marks_is_read_back(micros in -999_999_999_999_i64..999_999_999_999, french: bool) {
            let marks = if french { Marks { decimal: ',', thousands: Some(' ') } } else { GERMAN };
            let plain = Money { micros }.to_string();
            let (whole, fraction) = plain.trim_start_matches('-').split_once('.').unwrap();
            let mut grouped = String::new();
            for (index, digit) in whole.chars().enumerate() {
                if index > 0 && (whole.len() - index).is_multiple_of(3) {
                    grouped.push(marks.thousands.unwrap());
                }
                grouped.push(digit);
            }
            let text = format!("{}{grouped},{fraction} €", if micros < 0 { "-" } else { "" });
            prop_assert_eq!(Money::parse(&marks.amount(&text).unwrap()).unwrap().micros, micros);
        }

        #[test]
        fn no_text_ends_the_program(text in "\\PC{0,20}") {
            drop((GERMAN.amount(&text), GERMAN.number(&text), currency_of(&text)));
        }
    }
}
