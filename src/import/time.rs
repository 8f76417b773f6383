//! Times in imported rows.
//!
//! In:      text: RFC 3339, a day, a day and a clock time, or what a format says; "+ 5s" behind it if need be; the zone
//!          of clock times that name none.
//! Out:     microseconds since 1970, UTC, and the one spelling the door is sent.
//! Promise: a time that is not understood is refused with the setting to write. What may be two days is never guessed:
//!          a guess (`guess`) is made only from texts that can be read in one way.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

/// How the times of a file are written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    /// strftime's letters, as the mapping states them; empty: ISO 8601, or what was guessed.
    stated: Vec<String>,
    guessed: Vec<String>,
    zone: Option<TimeZone>,
}

/// A time as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) time_us: i64,
    /// A clock time with neither an offset nor a stated zone: it was taken as UTC.
    pub(crate) unzoned: bool,
    /// Daylight saving put the clock through this time twice, or leapt over it.
    pub(crate) clock_change: bool,
}

/// Dates of which there is no second reading.
const SURE: &[&str] =
    &["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d %b %Y", "%d-%b-%Y", "%d. %B %Y", "%b %d, %Y", "%a, %d %b %Y"];

/// Dates that another country reads otherwise: the same text, day first and month first.
const EITHER: &[(&str, &str)] = &[
    ("%d/%m/%Y", "%m/%d/%Y"),
    ("%d-%m-%Y", "%m-%d-%Y"),
    ("%d/%m/%y", "%m/%d/%y"),
    ("%d-%m-%y", "%m-%d-%y"),
    // 26.03.12 is the 26th of March in one country and the 12th in another.
    ("%d.%m.%y", "%y.%m.%d"),
];

/// What stands behind the date.
const CLOCKS: &[&str] = &[
    " %H:%M",
    " %H:%M:%S",
    "",
    " %H:%M:%S%.f",
    " %I:%M %p",
    " %I:%M:%S %p",
    ", %H:%M",
    ", %H:%M:%S",
    ", %I:%M %p",
    ", %I:%M:%S %p",
    "T%H:%M",
    "T%H:%M:%S",
    " %H:%M Uhr",
    " %H:%M:%S %z",
    " %H:%M %z",
];

/// An earlier year was written with two digits, and the format says four.
const YEAR_MIN: i16 = 1000;

impl Times {
    /// * `formats`: strftime's letters, tried in order; `zone`: a name of the IANA's list.
    /// * Returns every fault of either.
    pub(crate) fn stated(formats: Vec<String>, zone: Option<&str>) -> Result<Self, Vec<String>> {
        let mut faults: Vec<String> = formats.iter().filter_map(|format| fault_of_format(format).err()).collect();
        let zone = match zone.map(|name| (name, TimeZone::get(name))) {
            None => None,
            Some((_, Ok(zone))) => Some(zone),
            Some((name, Err(_))) => {
                faults.push(format!(
                    "file.time_zone: {name:?} is no time zone; write a name of the IANA's list, such as \"Europe/Berlin\" or \
                     \"America/New_York\""
                ));
                None
            }
        };
        if faults.is_empty() { Ok(Self { stated: formats, guessed: Vec::new(), zone }) } else { Err(faults) }
    }

    /// Reads a time.
    pub(crate) fn read(&self, text: &str) -> Result<Instant, String> {
        let text = plain_blanks(text.trim());
        let (instant, later_us) = match text.rsplit_once(" + ") {
            Some((instant, later)) => (instant.trim(), duration_us(later.trim())?),
            None => (&*text, 0),
        };
        let read = self.instant(instant).ok_or_else(|| self.not_understood(instant))?;
        let time_us = read.time_us.checked_add(later_us);
        Ok(Instant { time_us: time_us.ok_or_else(|| format!("{text:?} lies outside the years 1 to 9999"))?, ..read })
    }

    fn instant(&self, text: &str) -> Option<Instant> {
        if self.stated.is_empty() {
            return iso(text)
                .or_else(|| self.guessed.iter().find_map(|format| by_format(format, text)))
                .and_then(|read| self.settle(read));
        }
        // A stated format holds for every clock time, so that 2026-13-03 and 2026-03-13 are not read in two ways; a time
        // with its offset can be read in one way only.
        let stated = self.stated.iter().find_map(|format| by_format(format, text));
        stated.or_else(|| text.parse().ok().map(Read::Instant)).and_then(|read| self.settle(read))
    }

    /// Where daylight saving leaves a clock time twice, the first is taken; where it leaps over one, the clock is
    /// thought not to have been put forward yet: what `compatible` does in RFC 5545 and in Temporal.
    fn settle(&self, read: Read) -> Option<Instant> {
        let local = match read {
            Read::Instant(time) => {
                return Some(Instant { time_us: time.as_microsecond(), unzoned: false, clock_change: false });
            }
            Read::Local(local) => local,
        };
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let ambiguous = zone.to_ambiguous_timestamp(local);
        let clock_change = ambiguous.is_ambiguous();
        let time_us = ambiguous.compatible().ok()?.as_microsecond();
        // A day alone is as good in UTC as anywhere, to whoever keeps days.
        let unzoned = self.zone.is_none() && local.time() != jiff::civil::Time::midnight();
        Some(Instant { time_us, unzoned, clock_change })
    }

    fn not_understood(&self, text: &str) -> String {
        if self.has_no_such_day(text) {
            return format!("{text:?}: there is no such day; mend the row");
        }
        let fitting = fitting(text);
        let is_known = fitting.fits();
        let Fitting { sure, either } = fitting;
        // Formats that are stated fit other rows, so they stay, and stay first.
        let with = |format: &str| match self.stated.as_slice() {
            [] => format!("{format:?}"),
            stated => format!("[{}, {format:?}]", listed(stated, ", ")),
        };
        let examples: Vec<String> = match (&sure, &either) {
            (Some(format), _) => vec![with(format)],
            (None, Some((day_first, month_first))) => {
                vec![format!("{} (day first)", with(day_first)), format!("{} (month first)", with(month_first))]
            }
            (None, None) if [10, 13].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let unit = if text.len() == 10 { "unix_s" } else { "unix_ms" };
                return format!("{text:?} is no time; if it counts since 1970, write {{column:{unit}}} in the mapping");
            }
            (None, None) => vec!["\"%d.%m.%Y %H:%M\"".to_owned()],
        };
        let write = format!("write time_format = {} below [file] into the mapping", examples.join(" or "));
        if self.stated.is_empty() {
            let such = if is_known { "" } else { ", with the letters of its own" };
            format!(
                "{text:?} is no time that is understood; {write}{such}, or give 2026-10-01T08:30:00Z, 2026-10-01 08:30:00 or \
                 2026-10-01"
            )
        } else {
            let more = if is_known { write } else { "time_format may be a list of formats".to_owned() };
            format!("{text:?} does not fit time_format = {}; {more}", listed(&self.stated, " or "))
        }
    }

    /// Whether it is written as a time, of a day that no calendar has: 31.11.2026.
    fn has_no_such_day(&self, text: &str) -> bool {
        let is_none = |format: &str| {
            let Ok(parts) = BrokenDownTime::parse(format, text) else { return false };
            let day = parts.year().zip(parts.month()).zip(parts.day());
            day.is_some_and(|((year, month), day)| YEAR_MIN <= year && Date::new(year, month, day).is_err())
        };
        if !self.stated.is_empty() {
            return self.stated.iter().any(|format| is_none(format));
        }
        let dates = SURE.iter().copied().chain(EITHER.iter().flat_map(|(day, month)| [*day, *month]));
        let mut formats = dates.flat_map(|date| CLOCKS.iter().map(move |clock| format!("{date}{clock}")));
        !fitting(text).fits() && text.len() <= TEXT_LENGTH_MAX && formats.any(|format| is_none(&format))
    }

    /// Finds how these times are written, where that can be told.
    ///
    /// * `samples`: lines and the texts that stand there, of the first rows.
    /// * Returns what was found, to be told, with a line and text it was found in; `None` if there was nothing to find.
    /// * Fails when the texts can be read in two ways, or no order of day and month fits them all.
    pub(crate) fn guess(&mut self, samples: &[(u64, String)]) -> Result<Option<Guess>, String> {
        if !self.stated.is_empty() {
            return Ok(None);
        }
        let mut guess: Option<Guess> = None;
        let mut order = Order::default();
        for (line, text) in samples {
            let text = plain_blanks(text.trim());
            let text = text.rsplit_once(" + ").map_or(&*text, |(instant, _)| instant.trim());
            if iso(text).is_some() {
                continue;
            }
            let fits = fitting(text);
            match (fits.sure, fits.either) {
                (Some(format), _) => Guess::take(&mut guess, format, *line, text),
                (None, Some(both)) => order.take(*line, text, both),
                (None, None) => {}
            }
        }
        for (format, line, text) in order.decided()? {
            Guess::take(&mut guess, format, line, &text);
        }
        if let Some(guess) = &guess {
            self.guessed = with_other_clocks(&guess.formats);
        }
        Ok(guess)
    }
}

/// How the times of a file are taken to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guess {
    pub(crate) formats: Vec<String>,
    pub(crate) line: u64,
    pub(crate) text: String,
}

impl Guess {
    fn take(guess: &mut Option<Self>, format: String, line: u64, text: &str) {
        let guess = guess.get_or_insert_with(|| Self { formats: Vec::new(), line, text: text.to_owned() });
        if !guess.formats.contains(&format) {
            guess.formats.push(format);
        }
    }
}

/// Texts of which day and month could change places, and those that say which comes first.
#[derive(Default)]
struct Order {
    seen: Vec<(u64, String, (String, String))>,
    day_first: Option<(u64, String)>,
    month_first: Option<(u64, String)>,
}

impl Order {
    fn take(&mut self, line: u64, text: &str, both: (String, String)) {
        let day_first = by_format(&both.0, text).is_some();
        let month_first = by_format(&both.1, text).is_some();
        let told = Some((line, text.to_owned()));
        match (day_first, month_first) {
            // The year may come first too: two digits of it tell nothing.
            _ if both.0.contains("%y") => {}
            (true, false) if self.day_first.is_none() => self.day_first = told,
            (false, true) if self.month_first.is_none() => self.month_first = told,
            _ => {}
        }
        self.seen.push((line, text.to_owned(), both));
    }

    fn decided(self) -> Result<Vec<(String, u64, String)>, String> {
        let Some((line, text, (day, month))) = self.seen.first().cloned() else { return Ok(Vec::new()) };
        let write = format!(
            "write time_format = {day:?} (day first) or time_format = {month:?} ({} first) below [file] into the mapping",
            if month.starts_with("%y") { "year" } else { "month" }
        );
        let day_first = match (&self.day_first, &self.month_first) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => {
                return Err(format!(
                    "line {line}: timestamp: {text:?} can be read in two ways, and no row looked at says which; {write}"
                ));
            }
            (Some((line, text)), Some((other_line, other_text))) => {
                return Err(format!(
                    "timestamp: in line {line} ({text:?}) the day comes first, in line {other_line} ({other_text:?}) the \
                     month; {write}, and mend the rows that do not fit"
                ));
            }
        };
        Ok(self
            .seen
            .into_iter()
            .map(|(line, text, (day, month))| (if day_first { day } else { month }, line, text))
            .collect())
    }
}

struct Fitting {
    sure: Option<String>,
    either: Option<(String, String)>,
}

impl Fitting {
    fn fits(&self) -> bool {
        self.sure.is_some() || self.either.is_some()
    }
}

/// What is longer is no time that is looked at.
const TEXT_LENGTH_MAX: usize = 40;

fn listed(formats: &[String], between: &str) -> String {
    formats.iter().map(|format| format!("{format:?}")).collect::<Vec<_>>().join(between)
}

/// The two formats of a text that can be read in two ways: day first, and month first (or year).
pub(crate) fn two_ways(text: &str) -> Option<(String, String)> {
    fitting(&plain_blanks(text.trim())).either
}

/// The formats a text fits.
fn fitting(text: &str) -> Fitting {
    // Most texts that are no time begin like none; parsing a hundred formats to find that out is not free.
    if !text.bytes().any(|byte| byte.is_ascii_digit()) || TEXT_LENGTH_MAX < text.len() {
        return Fitting { sure: None, either: None };
    }
    let fits = |format: &str| by_format(format, text).is_some();
    for date in SURE {
        if let Some(format) = CLOCKS.iter().map(|clock| format!("{date}{clock}")).find(|format| fits(format)) {
            return Fitting { sure: Some(format), either: None };
        }
    }
    for (day, month) in EITHER {
        for clock in CLOCKS {
            let both = (format!("{day}{clock}"), format!("{month}{clock}"));
            if fits(&both.0) || fits(&both.1) {
                return Fitting { sure: None, either: Some(both) };
            }
        }
    }
    Fitting { sure: None, either: None }
}

/// The same dates with each clock time: a row of midnight may be written without one.
fn with_other_clocks(formats: &[String]) -> Vec<String> {
    let mut all = formats.to_vec();
    for format in formats {
        let clock =
            CLOCKS.iter().filter(|clock| format.ends_with(**clock)).max_by_key(|clock| clock.len()).unwrap_or(&"");
        let date = &format[..format.len() - clock.len()];
        for clock in CLOCKS {
            let other = format!("{date}{clock}");
            if !all.contains(&other) {
                all.push(other);
            }
        }
    }
    all
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Instant(Timestamp),
    Local(DateTime),
}

fn iso(text: &str) -> Option<Read> {
    let at_midnight = |date: Date| Read::Local(date.to_datetime(jiff::civil::Time::midnight()));
    text.parse()
        .map(Read::Instant)
        .or_else(|_| text.parse().map(Read::Local))
        .or_else(|_| text.parse().map(at_midnight))
        .ok()
}

fn by_format(format: &str, text: &str) -> Option<Read> {
    let parts = BrokenDownTime::parse(format, text).ok()?;
    if parts.year().is_some_and(|year| year < YEAR_MIN) {
        return None;
    }
    if parts.timestamp().is_some() || parts.offset().is_some() {
        return parts.to_timestamp().ok().map(Read::Instant);
    }
    parts.to_datetime().ok().map(Read::Local)
}

/// Writes a time by the format and reads it back: what is missing, or is no letter of strftime's, is found so.
fn fault_of_format(format: &str) -> Result<(), String> {
    let told = |why: &str| {
        Err(format!("file.time_format: {format:?} {why}; an example is \"%d.%m.%Y %H:%M\" (docs/import.md)"))
    };
    let sample = jiff::civil::date(2026, 3, 28).at(14, 5, 33, 0);
    let Ok(zoned) = sample.to_zoned(TimeZone::UTC) else { return Ok(()) };
    let written = match BrokenDownTime::from(&zoned).to_string(format) {
        Ok(written) => written,
        Err(error) => return told(&format!("is no format: {error}")),
    };
    match by_format(format, &written) {
        Some(Read::Instant(_)) => Ok(()),
        Some(Read::Local(read)) if read.date() != sample.date() => told("does not say the day"),
        Some(Read::Local(read))
            if read.hour() != 14 && read != read.date().to_datetime(jiff::civil::Time::midnight()) =>
        {
            told("does not say the hour: %I wants an %p")
        }
        Some(Read::Local(_)) => Ok(()),
        None => told("does not say a day (%Y or %y, %m or %b, %d), or what it writes cannot be read back"),
    }
}

/// Blanks of typesetters, which some programs put before PM, as plain ones.
fn plain_blanks(text: &str) -> std::borrow::Cow<'_, str> {
    if text.is_ascii() { text.into() } else { text.replace(['\u{a0}', '\u{202f}', '\u{2009}'], " ").into() }
}

/// RFC 3339, UTC; `None` outside the years jiff knows.
pub(crate) fn show(time_us: i64) -> Option<String> {
    Timestamp::from_microsecond(time_us).ok().map(|time| time.to_string())
}

/// 2000-01-01: what is earlier is no time to the door.
const PAST_US: i64 = 946_684_800_000_000;

/// Why the door would put the time of receipt in the place of this one.
///
/// * `ahead_us_max`: so far ahead of its clock the door takes a time as it is.
pub(super) fn out_of_bounds(time_us: i64, now_us: i64, ahead_us_max: i64) -> Option<String> {
    let ahead_us = time_us.saturating_sub(now_us);
    let (where_it_lies, question) = if time_us < PAST_US {
        ("before the year 2000".to_owned(), "is time_format right?")
    } else if ahead_us_max < ahead_us {
        (format!("{} ahead of now", in_words(ahead_us)), "is time_zone right?")
    } else {
        return None;
    };
    let shown = show(time_us).unwrap_or_default();
    Some(format!(
        "timestamp: {shown} lies {where_it_lies}, and the door would put the time of receipt in its place; {question}"
    ))
}

fn in_words(length_us: i64) -> String {
    let minutes = length_us / 60_000_000;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2_880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

fn duration_us(text: &str) -> Result<i64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit_us: i64 = match unit.trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        other => return Err(format!("{other:?} is no unit of time; use us, ms, s, m, h or d")),
    };
    let count: i64 = count.parse().map_err(|_| format!("{text:?} is no length of time; write for example 90s"))?;
    count.checked_mul(unit_us).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stated(formats: &[&str], zone: Option<&str>) -> Times {
        Times::stated(formats.iter().map(|format| (*format).to_owned()).collect(), zone).unwrap()
    }

    fn guessed(texts: &[&str]) -> Result<Times, String> {
        let mut times = Times::default();
        let samples: Vec<(u64, String)> = (2..).zip(texts.iter().map(|text| (*text).to_owned())).collect();
        times.guess(&samples).map(|_| times)
    }

    fn utc(times: &Times, text: &str) -> String {
        show(times.read(text).unwrap().time_us).unwrap()
    }

    #[test]
    fn the_spellings_of_one_instant_agree() {
        let expected = 1_207_008_000_000_000;
        for text in [
            "2008-04-01",
            "2008-04-01T00:00:00Z",
            "2008-04-01 00:00:00",
            "2008-04-01 00:00",
            "2008-04-01T02:00:00+02:00",
            "2008-03-31T23:59:00Z + 60s",
            "2008-03-31 + 1d",
        ] {
            assert_eq!(Times::default().read(text).unwrap().time_us, expected, "{text}");
        }
        assert_eq!(show(expected).unwrap(), "2008-04-01T00:00:00Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in ["", "yesterday", "2008-13-01", "2008-04-01 + 5x", "2008-04-01 + s", "1207008000"] {
            assert!(Times::default().read(text).is_err(), "{text}");
        }
        assert!(Times::default().read("1207008000").unwrap_err().contains("{column:unix_s}"));
    }

    #[test]
    fn a_stated_format_and_zone_are_read() {
        let shop = stated(&["%d.%m.%Y %H:%M", "%d.%m.%Y"], Some("Europe/Berlin"));
        assert_eq!(utc(&shop, "12.03.2026 14:05"), "2026-03-12T13:05:00Z");
        assert_eq!(utc(&shop, "12.07.2026 14:05"), "2026-07-12T12:05:00Z");
        assert_eq!(utc(&shop, "12.7.2026 + 60s"), "2026-07-11T22:01:00Z");
        // What says its offset is not moved; a clock time of another form is refused, not read some other way.
        assert_eq!(utc(&shop, "2026-07-12T14:05:00Z"), "2026-07-12T14:05:00Z");
        // The formats in use stay: other rows fit them.
        let told = shop.read("2026-07-12 14:05").unwrap_err();
        let list = "write time_format = [\"%d.%m.%Y %H:%M\", \"%d.%m.%Y\", \"%Y-%m-%d %H:%M\"] below";
        assert!(told.contains("2026-07-12 14:05") && told.contains(list), "{told}");
        let us = stated(&["%m/%d/%Y %I:%M %p"], Some("America/New_York"));
        assert_eq!(utc(&us, "03/12/2026 2:05 PM"), "2026-03-12T18:05:00Z");
        assert_eq!(utc(&us, "03/12/2026 12:05\u{202f}AM"), "2026-03-12T04:05:00Z");
        // ISO without an offset, in the zone.
        assert_eq!(utc(&stated(&[], Some("Europe/Berlin")), "2026-03-12 14:05:33"), "2026-03-12T13:05:33Z");
        assert!(Times::default().read("2026-03-12 14:05:33").unwrap().unzoned);
        assert!(!stated(&[], Some("UTC")).read("2026-03-12 14:05:33").unwrap().unzoned);
        assert!(!Times::default().read("2026-03-12").unwrap().unzoned);
        // A year of two digits under %Y would lie in the time of Tiberius.
        assert!(stated(&["%d.%m.%Y"], None).read("12.03.26").is_err());
    }

    #[test]
    fn a_day_that_no_calendar_has_is_said_to_be_none() {
        let shop = stated(&["%d.%m.%Y %H:%M:%S"], None);
        for (times, text, is_none) in [
            (&shop, "31.11.2026 10:00:00", true),
            (&shop, "31.11.2026", false),
            (&Times::default(), "31.11.2026 10:00", true),
            (&Times::default(), "2026-02-30", true),
            (&Times::default(), "02/30/2026 2:05 PM", true),
            (&Times::default(), "30.11.2026", false),
            (&Times::default(), "soon", false),
        ] {
            let told = times.read(text).unwrap_err();
            assert_eq!(told.contains("there is no such day"), is_none, "{told}");
        }
    }

    #[test]
    fn a_time_that_the_door_would_replace_is_told_with_what_to_look_at() {
        let now_us = 1_773_320_700_000_000;
        let told = |time_us| out_of_bounds(time_us, now_us, 300_000_000);
        assert_eq!((told(now_us + 300_000_000), told(PAST_US)), (None, None));
        for (time_us, words) in [
            (now_us + 301_000_000, "timestamp: 2026-03-12T13:10:01Z lies 5 minutes ahead of now"),
            (now_us + 7_200_000_000, "lies 2 hours ahead of now"),
            (now_us + 864_000_000_000, "lies 10 days ahead of now"),
            (now_us + 864_000_000_000, "is time_zone right?"),
            (PAST_US - 1, "before the year 2000"),
        ] {
            assert!(told(time_us).is_some_and(|told| told.contains(words)), "{words}: {:?}", told(time_us));
        }
    }

    #[test]
    fn daylight_saving_is_decided_and_said() {
        let berlin = stated(&[], Some("Europe/Berlin"));
        // 2:30 was twice on 25 October 2026, at 00:30 and 01:30 UTC; on 29 March the clock went from 2 to 3.
        for (text, utc_time, clock_change) in [
            ("2026-10-25 01:30", "2026-10-24T23:30:00Z", false),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z", true),
            ("2026-10-25 03:30", "2026-10-25T02:30:00Z", false),
            ("2026-03-29 01:30", "2026-03-29T00:30:00Z", false),
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z", true),
            ("2026-03-29 03:30", "2026-03-29T01:30:00Z", false),
        ] {
            let read = berlin.read(text).unwrap();
            assert_eq!((show(read.time_us).unwrap().as_str(), read.clock_change), (utc_time, clock_change), "{text}");
        }
    }

    #[test]
    fn formats_and_zones_that_are_none_are_told_together() {
        let faults = Times::stated(vec!["%d.%m".to_owned(), "%J".to_owned()], Some("Berlin")).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[2].contains("Europe/Berlin"), "{faults:?}");
        for (format, good) in [
            ("%d.%m.%Y", true),
            ("%s", true),
            ("%d.%m.%y %H:%M:%S", true),
            ("%Y-%m-%dT%H:%M:%S%.f%z", true),
            ("%I:%M %p %d/%m/%Y", true),
            ("%d/%m/%Y %I:%M", false),
            ("%H:%M", false),
            ("%d.%m.%Y %Z", false),
            ("day", false),
        ] {
            assert_eq!(Times::stated(vec![format.to_owned()], None).is_ok(), good, "{format}");
        }
    }

    #[test]
    fn the_formats_of_the_docs_read_what_stands_beside_them() {
        let docs = include_str!("../../docs/import.md");
        let rows = docs.lines().skip_while(|line| *line != "| time | `time_format` |").skip(2);
        let mut count = 0;
        for row in rows.take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let read = stated(&[cells[2].trim_matches('`')], Some("Europe/Berlin")).read(cells[1]).unwrap().time_us;
            assert!(show(read).unwrap().starts_with("2026-03-12T13:05"), "{row}");
            count += 1;
        }
        assert_eq!(count, 5);
    }

    #[test]
    fn what_can_be_read_in_one_way_is_guessed() {
        for (texts, text, expected) in [
            (&["12.03.2026 14:05"][..], "12.03.2026 14:05", "2026-03-12T14:05:00Z"),
            (&["12.03.2026 14:05"], "13.03.2026", "2026-03-13T00:00:00Z"),
            (&["2.3.2026, 14:05:33"], "2.3.2026, 14:05:33", "2026-03-02T14:05:33Z"),
            (&["2026/03/12 2:05 PM"], "2026/03/12 2:05 PM", "2026-03-12T14:05:00Z"),
            (&["12 Mar 2026 14:05"], "12 Mar 2026 14:05", "2026-03-12T14:05:00Z"),
            (&["12.03.2026 14:05 Uhr"], "12.03.2026 14:05 Uhr", "2026-03-12T14:05:00Z"),
            (&["Thu, 12 Mar 2026 14:05:33 +0100"], "Thu, 12 Mar 2026 14:05:33 +0100", "2026-03-12T13:05:33Z"),
            // The second row says what the first leaves open.
            (&["03/12/2026 2:05 PM", "03/25/2026 2:05 PM"], "03/12/2026 2:05 PM", "2026-03-12T14:05:00Z"),
            (&["03/12/2026", "25/12/2026"], "03/12/2026", "2026-12-03T00:00:00Z"),
        ] {
            assert_eq!(utc(&guessed(texts).unwrap(), text), expected, "{texts:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_the_setting() {
        for (texts, words) in [
            (&["03/12/2026 2:05 PM"][..], "time_format = \"%m/%d/%Y %I:%M %p\" (month first)"),
            (&["03-12-2026"], "time_format = \"%d-%m-%Y\" (day first)"),
            (&["25.03.26", "26.03.26"], "time_format = \"%d.%m.%y\" (day first)"),
            (&["13/03/2026", "03/13/2026"], "in line 3"),
        ] {
            let told = guessed(texts).unwrap_err();
            assert!(told.contains(words) && told.contains(texts[0]), "{told}");
        }
        // Of rows that cannot be read at all, each is told when it comes.
        assert!(guessed(&["morgen"]).unwrap().read("morgen").unwrap_err().contains("time_format"));
    }

    proptest! {
        /// Whatever order and clock a file has: it is read back as it was written, or refused; never as another day.
        #[test]
        fn a_guess_is_right_or_not_made(
            date in 0..(SURE.len() + 2 * EITHER.len()),
            clock in 0..CLOCKS.len(),
            times in proptest::collection::vec(946_684_800_i64..2_000_000_000, 1..6),
        ) {
            let date = match date.checked_sub(SURE.len()) {
                None => SURE[date],
                Some(index) if index % 2 == 0 => EITHER[index / 2].0,
                Some(index) => EITHER[index / 2].1,
            };
            let format = format!("{date}{}", CLOCKS[clock]);
            let zoned: Vec<jiff::Zoned> = times
                .iter()
                .map(|time_s| Timestamp::from_second(*time_s).unwrap().to_zoned(TimeZone::UTC))
                .collect();
            let texts: Vec<String> = zoned.iter().map(|time| time.strftime(&format).to_string()).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if let Ok(times) = guessed(&texts) {
                for (text, time) in texts.iter().zip(&zoned) {
                    if let Ok(read) = times.read(text) {
                        let read = Timestamp::from_microsecond(read.time_us).unwrap().to_zoned(TimeZone::UTC);
                        prop_assert_eq!(read.date(), time.date(), "{}", text);
                    }
                }
            }
        }

        #[test]
        fn no_text_and_no_format_end_the_program(text in "\\PC{0,30}", format in "\\PC{0,12}") {
            if let Ok(times) = Times::stated(vec![format], Some("Europe/Berlin")) {
                drop(times.read(&text));
            }
            drop(guessed(&[&text]));
            drop(Times::default().read(&text));
        }
    }
}
