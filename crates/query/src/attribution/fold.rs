//! The fold behind `attribution`: all models in one pass over each person's journey.
//!
//! In:       rows of a person: touches, conversions, milestones; rows of spend.
//! Out:      a row for each model, value of `by` and currency, and if asked for each period and place on the path.
//! Promise:  for each model but participation the conversions sum to the conversions there are, and for each currency the
//!           value to their value, to the micro, whatever the number of threads: credit is summed in whole numbers.
//! Not here: paths, rules and models: `analytics::attribution`.

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use hashbrown::HashMap;
use tributary_analytics::attribution::{
    Conversion, CreditRule, Crediting, Lookbacks, MarketingTouch, Milestones, PathCounts, PathRule, PathTable, Touch,
    TouchKind, Transform, path_without_conversion, visit_paths_to_conversions,
};
use tributary_analytics::calendar::{Calendar, Progress};

use super::learnt::{Learnt, LearntCredit};
use crate::fold::{About, Fold, Layout, Rows, Texts};
use crate::retention::{start_type, starts};
use crate::stop::StopFlag;

/// What the conditions of the input are, by bit.
pub(super) mod bit {
    pub(in super::super) const TOUCH: u32 = 1 << 0;
    pub(in super::super) const CONVERSION: u32 = 1 << 1;
    pub(in super::super) const VIEW: u32 = 1 << 2;
    pub(in super::super) const DIRECT: u32 = 1 << 3;
    pub(in super::super) const PAID: u32 = 1 << 4;
    pub(in super::super) const SPEND: u32 = 1 << 5;
    pub(in super::super) const LEAD: u32 = 1 << 6;
    pub(in super::super) const OPPORTUNITY: u32 = 1 << 7;
    pub(in super::super) const COUNT: usize = 8;
}

/// Code columns: what credit is for, the currency, and up to three things that mark a touch told twice.
mod text {
    pub(super) const BY: usize = 0;
    pub(super) const CURRENCY: usize = 1;
    pub(super) const MARKS: usize = 2;
}

/// Columns of the answer that `by` cannot be called.
pub(super) const COLUMNS: [&str; 14] = [
    "model",
    "period",
    "is_complete",
    "position",
    "currency",
    "conversions",
    "value",
    "conversion_share",
    "value_share",
    "conversions_low",
    "conversions_high",
    "cost",
    "cost_per_conversion",
    "return_on_spend",
];

/// A way to share conversions.
#[derive(Debug, Clone)]
pub(super) enum Sharing {
    Rule(CreditRule),
    Learnt(Learnt),
}

#[derive(Debug)]
pub(super) struct AttributionFold {
    /// By the names they were asked by.
    pub(super) models: Vec<(String, Sharing)>,
    pub(super) path: PathRule,
    /// Touches with the mark of one at most so long before are that one told again; 0: each counts.
    pub(super) same_touch_us: i64,
    /// Transforms that name a value of `by`: known once its texts are.
    pub(super) remove: Vec<Removal>,
    /// What the column of `by` is called in the answer.
    pub(super) column: String,
    pub(super) told: Told,
    pub(super) dated: Option<Dated>,
    /// Whether credit is told by place on the path; for rules only.
    pub(super) is_placed: bool,
    pub(super) layout: Layout,
}

/// Credit by period; for rules only.
#[derive(Debug)]
pub(super) struct Dated {
    pub(super) calendar: Calendar,
    pub(super) by: CreditTime,
}

/// Whose time says which period credit is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CreditTime {
    Conversion,
    /// As spend is: return on spend compares the two of one time.
    Touch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// What each value of `by` gets.
    Credit,
    /// The paths themselves, so many of those that converted most; the others are one row.
    Paths { paths_max: usize },
}

/// A transform that takes a value of `by` away.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) name: String,
    pub(super) only_at_the_end: bool,
}

/// No value of `by`, or no touch at all. Both come after every text.
const UNSET: u32 = u32::MAX - 1;
const NONE: u32 = u32::MAX;

/// Places of a path that are told apart; those behind are told as one. Paths of machines have many thousands.
const PLACES_MAX: usize = 100;

/// Parts of a conversion are counted in these.
const WHOLE: f64 = (1_u64 << 60) as f64;

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// In parts of `WHOLE`.
    credit: i128,
    value_micros: i128,
}

/// What a model gives.
#[derive(Debug)]
struct Ledger {
    /// By currency, none first, and value of `by`, none last; empty where there would be too many.
    plain: Vec<Sums>,
    by_count: usize,
    others: HashMap<Key, Sums>,
}

impl Ledger {
    /// Looked up by number, as long as all of it is at hand: of five rules each touch of a conversion is looked up five times.
    const PLAIN_MAX: usize = 1 << 12;

    fn new(is_plain: bool, by_count: usize, currency_count: usize) -> Self {
        let count = Some((by_count + 1) * (currency_count + 1)).filter(|count| is_plain && *count <= Self::PLAIN_MAX);
        Self { plain: vec![Sums::default(); count.unwrap_or(0)], by_count, others: HashMap::new() }
    }

    fn of(&mut self, key: Key) -> &mut Sums {
        if self.plain.is_empty() {
            return self.others.entry(key).or_default();
        }
        let by = if key.by == UNSET { self.by_count } else { key.by as usize };
        &mut self.plain[key.currency.map_or(0, |currency| currency as usize + 1) * (self.by_count + 1) + by]
    }

    /// What got something, be it nothing in sum.
    fn all(&self) -> impl Iterator<Item = (Key, Sums)> {
        let key = |at: usize| {
            let (currency, by) = (at / (self.by_count + 1), at % (self.by_count + 1));
            let by = if by == self.by_count { UNSET } else { by as u32 };
            Key::of(by, currency.checked_sub(1).map(|currency| currency as u32))
        };
        let plain = self.plain.iter().enumerate().filter(|(_, sums)| 0 < sums.credit);
        plain.map(move |(at, sums)| (key(at), *sums)).chain(self.others.iter().map(|(key, sums)| (*key, *sums)))
    }

    fn capacity(&self) -> usize {
        self.plain.len() + self.others.capacity()
    }
}

/// What tells one touch from another.
type Mark = [Option<u32>; 3];

/// What credit is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    by: u32,
    currency: Option<u32>,
    /// Its number; 0 where none is asked for.
    period: i64,
    /// From the first, 1, up to one beyond `PLACES_MAX`; 0 where none is asked for or there is none.
    place: u32,
}

impl Key {
    fn of(by: u32, currency: Option<u32>) -> Self {
        Self { by, currency, period: 0, place: 0 }
    }
}

#[derive(Debug)]
pub(super) struct Part {
    path: PathRule,
    by_count: u32,
    /// By model; empty for learnt ones.
    credits: Vec<Ledger>,
    /// In parts of a conversion as well: what no touch led to.
    unattributed: HashMap<Key, Sums>,
    spend: HashMap<Key, i128>,
    /// For learnt models: by currency and path, how often it converted and for how much.
    converting: HashMap<(Option<u32>, Box<[u32]>), Converted>,
    not_converting: HashMap<Box<[u32]>, u64>,
    path_words: usize,
    room: Room,
    crediting: Crediting,
}

/// Room for one person.
#[derive(Debug, Default)]
struct Room {
    touches: Vec<MarketingTouch>,
    /// Of each touch, if credit is told by it.
    periods: Vec<i64>,
    conversions: Vec<Conversion>,
    /// Of each conversion.
    currencies: Vec<Option<u32>>,
    last_seen: Vec<(Mark, i64)>,
}

/// A path as a table of paths has it.
fn channels(path: &[MarketingTouch], unset: u32) -> Box<[u32]> {
    path.iter().map(|touch| if touch.channel == UNSET { unset } else { touch.channel }).collect()
}

#[derive(Debug, Clone, Copy, Default)]
struct Converted {
    count: u64,
    value_micros: i128,
}

impl AttributionFold {
    /// Whether whole paths are kept.
    fn is_learning(&self) -> bool {
        self.told != Told::Credit || self.models.iter().any(|(_, sharing)| matches!(sharing, Sharing::Learnt(_)))
    }

    /// Whether credit is told by value of `by` and currency alone.
    fn is_plain(&self) -> bool {
        self.dated.is_none() && !self.is_placed
    }

    /// Whether credit is in the period of its touch.
    fn is_by_touch(&self) -> bool {
        matches!(self.dated, Some(Dated { by: CreditTime::Touch, .. }))
    }

    /// The number of the period.
    fn period(&self, time_us: i64) -> i64 {
        self.dated.as_ref().map_or(0, |dated| dated.calendar.number(time_us))
    }

    /// Credits each conversion of the person whose touches and conversions are in the part's room.
    fn credit(&self, part: &mut Part, stop: &StopFlag) -> Result<()> {
        let is_learning = self.is_learning();
        let Part { path: rule, by_count, credits, unattributed, converting, path_words, room, crediting, .. } = part;
        let views = rule.views;
        let done = visit_paths_to_conversions(rule, &room.touches, &room.conversions, |place, path| {
            if let Err(error) = stop.check() {
                return ControlFlow::Break(error);
            }
            let (conversion, currency) = (&room.conversions[place], room.currencies[place]);
            let value_micros = i128::from(conversion.value_micros);
            let period = self.period(conversion.time_us);
            if path.is_empty() {
                let sums = unattributed.entry(Key { period, ..Key::of(NONE, currency) }).or_default();
                sums.credit += WHOLE as i128;
                sums.value_micros += value_micros;
                return ControlFlow::Continue(());
            }
            for ((_, sharing), credits) in self.models.iter().zip(&mut *credits) {
                let Sharing::Rule(rule) = sharing else { continue };
                let shares_whole = *rule != CreditRule::Participation;
                let parts = crediting.credit(*rule, views, path, conversion);
                let (mut left, mut place) = (WHOLE as i128, 0);
                for (nth, credit) in parts.iter().enumerate() {
                    // What rounding leaves goes to the last, so that a conversion is one.
                    let is_last = shares_whole && nth + 1 == parts.len();
                    let share = if is_last { left } else { i128::from((credit.credit_ratio * WHOLE) as i64) };
                    left -= share;
                    let mut key =
                        Key { period, ..Key::of(room.touches[credit.touch.index as usize].channel, currency) };
                    if self.is_by_touch() {
                        key.period = room.periods[credit.touch.index as usize];
                    }
                    if self.is_placed {
                        // Touches without credit are on the path all the same.
                        while path[place].touch.index != credit.touch.index {
                            place += 1;
                        }
                        key.place = place.min(PLACES_MAX) as u32 + 1;
                    }
                    let sums = credits.of(key);
                    sums.credit += share;
                    sums.value_micros += i128::from(credit.value_micros);
                }
            }
            if is_learning {
                let channels = channels(path, *by_count);
                let words = channels.len();
                let converted = converting.entry((currency, channels)).or_insert_with(|| {
                    *path_words += words;
                    Converted::default()
                });
                converted.count += 1;
                converted.value_micros += value_micros;
            }
            ControlFlow::Continue(())
        });
        match done {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// The touches after the last conversion are a path that led to none.
    fn learn_of_the_rest(&self, part: &mut Part) {
        let converted_us = part.room.conversions.last().map(|conversion| conversion.time_us);
        let after = path_without_conversion(&part.path, &part.room.touches, converted_us);
        let is_after = |touch: &MarketingTouch| converted_us.is_none_or(|converted| converted < touch.touch.time_us);
        if after.iter().any(is_after) {
            let channels = channels(&after, part.by_count);
            let words = channels.len();
            let count = part.not_converting.entry(channels).or_insert_with(|| {
                part.path_words += words;
                0
            });
            *count += 1;
        }
    }

    /// What learnt models say, currency by currency.
    fn learnt(&self, part: &Part) -> Result<Vec<(usize, Key, LearntCredit)>> {
        let mut currencies: Vec<Option<u32>> = part.converting.keys().map(|(currency, _)| *currency).collect();
        currencies.sort_unstable();
        currencies.dedup();
        let mut nulls: Vec<(&Box<[u32]>, u64)> =
            part.not_converting.iter().map(|(path, count)| (path, *count)).collect();
        nulls.sort_unstable();
        let mut credits = Vec::new();
        let wrong = |error: tributary_analytics::error::AnalyticsError| exec_datafusion_err!("{error}");
        for currency in currencies {
            let mut converting: Vec<(&[u32], Converted)> = part
                .converting
                .iter()
                .filter(|((of, _), _)| *of == currency)
                .map(|((_, path), converted)| (&**path, *converted))
                .collect();
            converting.sort_unstable_by_key(|(path, _)| *path);
            let mut table = PathTable::new(part.by_count + 1).map_err(wrong)?;
            let mut value_micros = 0;
            for (path, converted) in &converting {
                value_micros += converted.value_micros;
                // A path that took more back than it brought teaches nothing about value.
                let of_path = i64::try_from(converted.value_micros.max(0)).unwrap_or(i64::MAX);
                let counts = PathCounts { conversions: converted.count, nulls: 0, value_micros: of_path };
                table.push(path, counts).map_err(wrong)?;
            }
            for (path, count) in &nulls {
                table.push(path, PathCounts { nulls: *count, ..PathCounts::default() }).map_err(wrong)?;
            }
            for (model, (_, sharing)) in self.models.iter().enumerate() {
                let Sharing::Learnt(learnt) = sharing else { continue };
                for (channel, credit) in (0..).zip(learnt.credits(&table, value_micros).map_err(wrong)?) {
                    let channel = if channel == part.by_count { UNSET } else { channel };
                    credits.push((model, Key::of(channel, currency), credit));
                }
            }
        }
        Ok(credits)
    }
}

impl Fold for AttributionFold {
    type Part = Part;

    fn explain(&self) -> String {
        if let Told::Paths { .. } = self.told {
            return format!("paths of {} to conversions", self.column);
        }
        let names: Vec<&str> = self.models.iter().map(|(name, _)| name.as_str()).collect();
        format!("attribution by {}, models {}", self.column, names.join(", "))
    }

    fn schema(&self) -> SchemaRef {
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let money = |name: &str| Field::new(name, MONEY, true);
        if let Told::Paths { .. } = self.told {
            let count = |name: &str| Field::new(name, DataType::Int64, true);
            return Arc::new(Schema::new(vec![
                Field::new("path", DataType::Utf8, false),
                Field::new("currency", DataType::Utf8, true),
                count("touches"),
                count("distinct_paths"),
                count("conversions"),
                money("value"),
                count("journeys_without"),
                number("conversion_rate"),
            ]));
        }
        let mut fields = vec![Field::new("model", DataType::Utf8, false)];
        if let Some(dated) = &self.dated {
            fields.push(Field::new("period", start_type(&dated.calendar), false));
            fields.push(Field::new("is_complete", DataType::Boolean, false));
        }
        fields.push(Field::new(&self.column, DataType::Utf8, false));
        if self.is_placed {
            fields.push(Field::new("position", DataType::Int64, true));
        }
        fields.extend([
            Field::new("currency", DataType::Utf8, true),
            number("conversions"),
            money("value"),
            number("conversion_share"),
            number("value_share"),
            number("conversions_low"),
            number("conversions_high"),
            money("cost"),
            number("cost_per_conversion"),
            number("return_on_spend"),
        ]);
        Arc::new(Schema::new(fields))
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let (by, currencies) = (&about.texts[text::BY], &about.texts[text::CURRENCY]);
        let mut path = self.path.clone();
        for removal in &self.remove {
            // One that nobody has takes nothing away.
            let Some(channel) = by.code_of(&removal.name) else { continue };
            path.transforms.push(match removal.only_at_the_end {
                true => Transform::RemoveIfLastAndNotAll { channel },
                false => Transform::RemoveIfNotAll { channel },
            });
        }
        Ok(Part {
            path,
            by_count: by.len() as u32,
            credits: self.models.iter().map(|_| Ledger::new(self.is_plain(), by.len(), currencies.len())).collect(),
            unattributed: HashMap::new(),
            spend: HashMap::new(),
            converting: HashMap::new(),
            not_converting: HashMap::new(),
            path_words: 0,
            room: Room::default(),
            crediting: Crediting::default(),
        })
    }

    fn unit(&self, part: &mut Part, _: &str, rows: Rows<'_>, stop: &StopFlag) -> Result<()> {
        let all = rows.iter().fold(0, |all, row| all | row.mask());
        let is_learning = self.is_learning();
        if all & bit::SPEND != 0 {
            for row in rows.iter().filter(|row| row.mask() & bit::SPEND != 0) {
                let (by, period) = (row.code(text::BY).unwrap_or(UNSET), self.period(row.time_us()));
                let key = Key { period, ..Key::of(by, row.code(text::CURRENCY)) };
                *part.spend.entry(key).or_default() += i128::from(row.value_micros(0).unwrap_or(0));
            }
        }
        if all & bit::CONVERSION == 0 && !(is_learning && all & bit::TOUCH != 0) {
            return Ok(());
        }
        let room = &mut part.room;
        room.touches.clear();
        room.periods.clear();
        room.conversions.clear();
        room.currencies.clear();
        room.last_seen.clear();
        let mut milestones = Milestones::default();
        for row in rows.iter() {
            let (mask, time_us) = (row.mask(), row.time_us());
            if mask & bit::LEAD != 0 {
                milestones.lead_time_us.get_or_insert(time_us);
            }
            if mask & bit::OPPORTUNITY != 0 {
                milestones.opportunity_time_us.get_or_insert(time_us);
            }
            if mask & bit::TOUCH != 0 {
                let mark_at = |mark| if mark < self.layout.codes { row.code(mark) } else { None };
                let mark = [0, 1, 2].map(|mark| mark_at(text::MARKS + mark));
                if !is_told_again(&mut room.last_seen, mark, time_us, self.same_touch_us) {
                    let kind = if mask & bit::VIEW != 0 { TouchKind::Impression } else { TouchKind::Click };
                    if self.is_by_touch() {
                        room.periods.push(self.period(time_us));
                    }
                    room.touches.push(MarketingTouch {
                        touch: Touch { time_us, index: room.touches.len() as u64 },
                        kind,
                        channel: row.code(text::BY).unwrap_or(UNSET),
                        mark: 0, // Told again or not was settled above.
                        is_direct: mask & bit::DIRECT != 0,
                        is_paid: mask & bit::PAID != 0,
                    });
                }
            }
            if mask & bit::CONVERSION != 0 {
                let value_micros = row.value_micros(0).unwrap_or(0);
                room.conversions.push(Conversion { time_us, value_micros, milestones });
                room.currencies.push(row.code(text::CURRENCY));
            }
        }
        self.credit(part, stop)?;
        if is_learning {
            self.learn_of_the_rest(part);
        }
        Ok(())
    }

    /// Without a conversion a journey teaches the models that learn, and gives the others nothing.
    fn wanted(&self) -> u32 {
        if self.is_learning() { 0 } else { bit::CONVERSION | bit::SPEND }
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        let add = |sums: &mut Sums, more: Sums| {
            sums.credit += more.credit;
            sums.value_micros += more.value_micros;
        };
        for (credits, more) in part.credits.iter_mut().zip(other.credits) {
            more.all().for_each(|(key, sums)| add(credits.of(key), sums));
        }
        other.unattributed.into_iter().for_each(|(key, sums)| add(part.unattributed.entry(key).or_default(), sums));
        other.spend.into_iter().for_each(|(key, micros)| *part.spend.entry(key).or_default() += micros);
        for (key, more) in other.converting {
            let converted = part.converting.entry(key).or_default();
            converted.count += more.count;
            converted.value_micros += more.value_micros;
        }
        for (path, count) in other.not_converting {
            *part.not_converting.entry(path).or_default() += count;
        }
        part.path_words += other.path_words;
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        let sums: usize = part.credits.iter().map(Ledger::capacity).sum();
        let (spend, none) = (part.spend.capacity(), part.unattributed.capacity());
        // Each of them is told once for each model in the end.
        let lines = sums + (spend + none) * self.models.len();
        (sums + none) * size_of::<(Key, Sums)>()
            + spend * size_of::<(Key, i128)>()
            + lines * size_of::<Line>()
            + part.converting.capacity() * size_of::<((Option<u32>, Box<[u32]>), Converted)>()
            + part.not_converting.capacity() * size_of::<(Box<[u32]>, u64)>()
            + part.path_words * size_of::<u32>()
    }

    fn finish(&self, part: Part, about: &About<'_>) -> Result<RecordBatch> {
        if let Told::Paths { paths_max } = self.told {
            return self.paths(&part, paths_max, &about.texts[text::BY], &about.texts[text::CURRENCY]);
        }
        let mut lines: Vec<Line> = Vec::new();
        for (model, credits) in part.credits.iter().enumerate() {
            lines.extend(credits.all().map(|(key, sums)| Line {
                model,
                key,
                conversions: sums.credit as f64 / WHOLE,
                value_micros: sums.value_micros,
                interval: None,
                cost_micros: None,
            }));
            lines.extend(part.unattributed.iter().map(|(key, sums)| Line {
                model,
                key: *key,
                conversions: sums.credit as f64 / WHOLE,
                value_micros: sums.value_micros,
                interval: None,
                cost_micros: None,
            }));
        }
        lines.extend(self.learnt(&part)?.into_iter().filter(|(.., credit)| !credit.is_nothing()).map(
            |(model, key, credit)| Line {
                model,
                key,
                conversions: credit.conversions,
                value_micros: credit.value_micros,
                interval: credit.interval,
                cost_micros: None,
            },
        ));
        add_spend(&mut lines, &part.spend, self.models.len());
        self.table(lines, about)
    }
}

/// A row of the answer.
struct Line {
    model: usize,
    key: Key,
    conversions: f64,
    value_micros: i128,
    interval: Option<(f64, f64)>,
    cost_micros: Option<i128>,
}

/// Spend beside its credit, for each model; what was spent without credit has a row of its own.
fn add_spend(lines: &mut Vec<Line>, spend: &HashMap<Key, i128>, model_count: usize) {
    let at: HashMap<(usize, Key), usize> =
        lines.iter().enumerate().map(|(place, line)| ((line.model, line.key), place)).collect();
    for (key, micros) in spend {
        for model in 0..model_count {
            match at.get(&(model, *key)) {
                Some(place) => lines[*place].cost_micros = Some(*micros),
                None => lines.push(Line {
                    model,
                    key: *key,
                    conversions: 0.0,
                    value_micros: 0,
                    interval: None,
                    cost_micros: Some(*micros),
                }),
            }
        }
    }
}

/// A path, or all that are not shown.
#[derive(Debug, Clone, Default)]
struct PathLine<'p> {
    path: Option<&'p [u32]>,
    currency: Option<u32>,
    distinct: i64,
    conversions: i64,
    value_micros: i128,
    /// `None` for all that are not shown: a path without a currency may stand beside several with one.
    nulls: Option<i64>,
}

impl AttributionFold {
    fn paths(&self, part: &Part, paths_max: usize, by: &Texts, currencies: &Texts) -> Result<RecordBatch> {
        let mut lines: Vec<PathLine<'_>> = part
            .converting
            .iter()
            .map(|((currency, path), converted)| PathLine {
                path: Some(path),
                currency: *currency,
                distinct: 1,
                conversions: converted.count as i64,
                value_micros: converted.value_micros,
                nulls: Some(part.not_converting.get(path).copied().unwrap_or(0) as i64),
            })
            .collect();
        lines.sort_unstable_by(|a, b| (b.conversions, a.path, a.currency).cmp(&(a.conversions, b.path, b.currency)));
        let rest = lines.split_off(paths_max.min(lines.len()));
        let mut others: Vec<PathLine<'_>> = Vec::new();
        for line in rest {
            let known = others.iter_mut().find(|other| other.currency == line.currency);
            let other = match known {
                Some(other) => other,
                None => {
                    others.push(PathLine { currency: line.currency, ..PathLine::default() });
                    others.last_mut().expect("it was pushed")
                }
            };
            other.distinct += 1;
            other.conversions += line.conversions;
            other.value_micros += line.value_micros;
        }
        others.sort_unstable_by_key(|other| (other.currency.is_none(), other.currency));
        lines.extend(others);
        for (key, sums) in &part.unattributed {
            lines.push(PathLine {
                path: Some(&[]),
                currency: key.currency,
                distinct: 1,
                conversions: (sums.credit / WHOLE as i128) as i64,
                value_micros: sums.value_micros,
                nulls: None,
            });
        }
        let name = |code: u32| by.get(Some(code).filter(|code| *code < part.by_count)).unwrap_or("(unset)");
        let path = |line: &PathLine<'_>| match line.path {
            None => "(other)".to_owned(),
            Some([]) => "(none)".to_owned(),
            Some(path) => path.iter().map(|code| name(*code)).collect::<Vec<_>>().join(" > "),
        };
        let count = |of: &dyn Fn(&PathLine<'_>) -> Option<i64>| -> ArrayRef {
            Arc::new(lines.iter().map(of).collect::<Int64Array>())
        };
        let amounts = lines.iter().map(|line| Some(line.value_micros)).collect::<Decimal128Array>();
        let rate = |line: &PathLine<'_>| {
            let journeys = line.nulls? + line.conversions;
            Some(line.conversions as f64 / journeys as f64)
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(lines.iter().map(path))),
            Arc::new(lines.iter().map(|line| currencies.get(line.currency)).collect::<StringArray>()),
            count(&|line| line.path.map(|path| path.len() as i64)),
            count(&|line| Some(line.distinct)),
            count(&|line| Some(line.conversions)),
            Arc::new(amounts.with_precision_and_scale(38, 6)?),
            count(&|line| line.nulls),
            Arc::new(lines.iter().map(rate).collect::<Float64Array>()),
        ];
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }
}

const MONEY: DataType = DataType::Decimal128(38, 6);

impl AttributionFold {
    fn table(&self, mut lines: Vec<Line>, about: &About<'_>) -> Result<RecordBatch> {
        let (by_texts, currencies) = (&about.texts[text::BY], &about.texts[text::CURRENCY]);
        let by = |code: u32| match code {
            NONE => "(none)",
            UNSET => "(unset)",
            code => by_texts.get(Some(code)).unwrap_or_default(),
        };
        lines.sort_unstable_by(|a, b| {
            (a.model, a.key.period)
                .cmp(&(b.model, b.key.period))
                .then_with(|| b.conversions.total_cmp(&a.conversions))
                .then_with(|| by(a.key.by).cmp(by(b.key.by)))
                .then_with(|| a.key.place.cmp(&b.key.place))
                .then_with(|| {
                    (a.key.currency.is_none(), a.key.currency).cmp(&(b.key.currency.is_none(), b.key.currency))
                })
        });
        let mut conversions_of: HashMap<(usize, i64), f64> = HashMap::new();
        let mut value_of: HashMap<(usize, i64, Option<u32>), i128> = HashMap::new();
        for Line { model, key, conversions, value_micros, .. } in &lines {
            *conversions_of.entry((*model, key.period)).or_default() += conversions;
            *value_of.entry((*model, key.period, key.currency)).or_default() += value_micros;
        }
        let ratio = |part: f64, whole: f64| (whole != 0.0).then(|| part / whole);
        let each = |of: &dyn Fn(&Line) -> Option<f64>| -> ArrayRef {
            Arc::new(lines.iter().map(of).collect::<Float64Array>())
        };
        let money = |of: &dyn Fn(&Line) -> Option<i128>| -> Result<ArrayRef> {
            let amounts = lines.iter().map(of).collect::<Decimal128Array>();
            Ok(Arc::new(amounts.with_precision_and_scale(38, 6)?))
        };
        let cost = |line: &Line| line.cost_micros.map(|micros| micros as f64);
        let all_value = |line: &Line| value_of[&(line.model, line.key.period, line.key.currency)] as f64;
        let named = |line: &Line| Some(self.models[line.model].0.as_str());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(lines.iter().map(named).collect::<StringArray>())];
        if let Some(dated) = &self.dated {
            let periods: Vec<i64> = lines.iter().map(|line| line.key.period).collect();
            let last_us = about.times_us.map_or(i64::MIN, |(_, last_us)| last_us);
            let is_complete = |number: &i64| Some(self.is_over(dated, *number, last_us));
            columns.push(starts(&dated.calendar, &periods));
            columns.push(Arc::new(periods.iter().map(is_complete).collect::<BooleanArray>()));
        }
        columns.push(Arc::new(lines.iter().map(|line| Some(by(line.key.by))).collect::<StringArray>()));
        if self.is_placed {
            let place = |line: &Line| (0 < line.key.place).then_some(i64::from(line.key.place));
            columns.push(Arc::new(lines.iter().map(place).collect::<Int64Array>()));
        }
        columns.extend([
            Arc::new(lines.iter().map(|line| currencies.get(line.key.currency)).collect::<StringArray>()) as _,
            each(&|line| Some(line.conversions)),
            money(&|line| Some(line.value_micros))?,
            each(&|line| ratio(line.conversions, conversions_of[&(line.model, line.key.period)])),
            each(&|line| ratio(line.value_micros as f64, all_value(line))),
            each(&|line| line.interval.map(|(low, _)| low)),
            each(&|line| line.interval.map(|(_, high)| high)),
            money(&|line| line.cost_micros)?,
            each(&|line| ratio(cost(line)? / 1e6, line.conversions)),
            each(&|line| ratio(line.value_micros as f64, cost(line)?)),
        ]);
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }

    /// Whether no conversion can come any more that credits the period.
    ///
    /// * `last_us`: of the last event that is known.
    fn is_over(&self, dated: &Dated, period: i64, last_us: i64) -> bool {
        let wait_us = match dated.by {
            CreditTime::Conversion => 0,
            CreditTime::Touch => {
                let Lookbacks { click_us, impression_us, other_us } = self.path.lookbacks;
                click_us.max(impression_us).max(other_us).max(0)
            }
        };
        let (start_us, end_us) =
            (dated.calendar.start_us(period), dated.calendar.start_us(dated.calendar.next(period)));
        Progress::of(start_us..end_us.saturating_add(wait_us), last_us.saturating_add(1)) == Progress::Over
    }
}

/// Of touches with one mark, each within `same_touch_us` of the one before, the first stays.
fn is_told_again(last_seen: &mut Vec<(Mark, i64)>, mark: Mark, time_us: i64, same_touch_us: i64) -> bool {
    if same_touch_us <= 0 {
        return false;
    }
    match last_seen.iter_mut().find(|(of, _)| *of == mark) {
        Some((_, last_us)) => {
            let is_again = time_us.saturating_sub(*last_us) <= same_touch_us;
            *last_us = time_us;
            is_again
        }
        None => {
            last_seen.push((mark, time_us));
            false
        }
    }
}
