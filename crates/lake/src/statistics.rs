//! What a file says of its rows, so that readers can leave it out.
//!
//! In:      the batches of one file, or the statistics text another writer left in the Delta log.
//! Out:     row count, and per column the smallest and largest value and the count of nulls.
//! Promise: a bound is never tighter than the truth: long text is cut, downwards for the smallest,
//!          upwards for the largest, or left out.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use serde_json::{Map, Value};

/// Text bounds are cut to this many characters, as other Delta writers do.
const BOUND_CHARS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Int(i64),
    Text(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnStatistics {
    /// No value lies below; `None` when unknown or all null.
    pub min: Option<Bound>,
    /// No value lies above; `None` when unknown or all null.
    pub max: Option<Bound>,
    pub null_count: Option<u64>,
}

/// Per column, in no order that means anything.
pub(crate) type Statistics = Vec<(String, ColumnStatistics)>;

/// Gathers the statistics of some columns over all batches of one file.
#[derive(Debug)]
pub(crate) struct Gatherer {
    columns: Statistics,
    whole: &'static [&'static str],
}

impl Gatherer {
    pub(crate) fn new(columns: &[&str]) -> Self {
        let column =
            |name: &&str| ((*name).to_owned(), ColumnStatistics { null_count: Some(0), ..ColumnStatistics::default() });
        Self { columns: columns.iter().map(column).collect(), whole: &[] }
    }

    /// The bounds of these are not cut.
    pub(crate) fn with_whole_bounds(self, columns: &'static [&'static str]) -> Self {
        Self { whole: columns, ..self }
    }

    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        for (name, column) in &mut self.columns {
            let Some(array) = batch.column_by_name(name) else { continue };
            column.null_count = column.null_count.map(|count| count + array.null_count() as u64);
            let (min, max) = bounds_of(array.as_ref());
            column.min = smaller(column.min.take(), min);
            column.max = larger(column.max.take(), max);
        }
    }

    pub(crate) fn finish(mut self) -> Statistics {
        for (name, column) in &mut self.columns {
            if !self.whole.contains(&name.as_str()) {
                column.min = column.min.take().map(cut_down);
                column.max = column.max.take().and_then(cut_up);
            }
        }
        self.columns
    }
}

/// The statistics of `columns` over all batches of one file.
pub(crate) fn of_batches(batches: &[RecordBatch], columns: &[&str]) -> Statistics {
    let mut gatherer = Gatherer::new(columns);
    batches.iter().for_each(|batch| gatherer.add(batch));
    gatherer.finish()
}

/// The form the Delta log keeps: one JSON text a file.
pub(crate) fn to_json(rows: u64, statistics: &[(String, ColumnStatistics)]) -> String {
    let mut minimums = Map::new();
    let mut maximums = Map::new();
    let mut null_counts = Map::new();
    for (name, column) in statistics {
        if let Some(min) = &column.min {
            minimums.insert(name.clone(), min.to_json());
        }
        if let Some(max) = &column.max {
            maximums.insert(name.clone(), max.to_json());
        }
        if let Some(count) = column.null_count {
            null_counts.insert(name.clone(), Value::from(count));
        }
    }
    serde_json::json!({
        "numRecords": rows, "minValues": minimums, "maxValues": maximums, "nullCount": null_counts,
    })
    .to_string()
}

/// Reads that form back; `None` when there is no row count in it. Bounds of other types are left out.
pub(crate) fn from_json(text: &str) -> Option<(u64, Statistics)> {
    let whole: Value = serde_json::from_str(text).ok()?;
    let rows = whole.get("numRecords")?.as_u64()?;
    let part = |key: &str| whole.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (minimums, maximums, null_counts) = (part("minValues"), part("maxValues"), part("nullCount"));
    let mut names: Vec<&String> = minimums.keys().chain(maximums.keys()).chain(null_counts.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let column = |name: &String| ColumnStatistics {
        min: minimums.get(name).and_then(Bound::from_json),
        max: maximums.get(name).and_then(Bound::from_json),
        null_count: null_counts.get(name).and_then(Value::as_u64),
    };
    Some((rows, names.into_iter().map(|name| (name.clone(), column(name))).collect()))
}

impl Bound {
    fn to_json(&self) -> Value {
        match self {
            Self::Int(value) => Value::from(*value),
            Self::Text(value) => Value::from(value.as_str()),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Int),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }
}

fn bounds_of(array: &dyn Array) -> (Option<Bound>, Option<Bound>) {
    use arrow::compute::{max, max_string, min, min_string};
    match array.data_type() {
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>();
            (min(values).map(Bound::Int), max(values).map(Bound::Int))
        }
        DataType::Int32 => {
            let values = array.as_primitive::<Int32Type>();
            (min(values).map(|value| Bound::Int(value.into())), max(values).map(|value| Bound::Int(value.into())))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            let text = |value: &str| Bound::Text(value.to_owned());
            (min_string(values).map(text), max_string(values).map(text))
        }
        _ => (None, None),
    }
}

fn smaller(one: Option<Bound>, other: Option<Bound>) -> Option<Bound> {
    pick(one, other, |one, other| one <= other)
}

fn larger(one: Option<Bound>, other: Option<Bound>) -> Option<Bound> {
    pick(one, other, |one, other| one >= other)
}

fn pick(one: Option<Bound>, other: Option<Bound>, first_wins: fn(&Bound, &Bound) -> bool) -> Option<Bound> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if first_wins(&one, &other) { one } else { other }),
        (one, other) => one.or(other),
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

fn cut_down(bound: Bound) -> Bound {
    match bound {
        // A prefix is never larger than the whole.
        Bound::Text(text) => Bound::Text(text.chars().take(BOUND_CHARS_MAX).collect()),
        int @ Bound::Int(_) => int,
    }
}

fn cut_up(bound: Bound) -> Option<Bound> {
    let Bound::Text(text) = bound else { return Some(bound) };
    if text.chars().nth(BOUND_CHARS_MAX).is_none() {
        return Some(Bound::Text(text));
    }
    let mut chars: Vec<char> = text.chars().take(BOUND_CHARS_MAX).collect();
    // The prefix with its last character raised by one is larger than everything that begins with the
    // prefix. A last character that cannot be raised is dropped and the one before it raised instead.
    while let Some(last) = chars.pop() {
        if let Some(raised) = char::from_u32(u32::from(last) + 1) {
            chars.push(raised);
            return Some(Bound::Text(chars.into_iter().collect()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn bounds_span_all_batches_and_nulls_are_counted() {
        let one = batch(vec![
            ("a", Arc::new(Int64Array::from(vec![Some(5), None])) as ArrayRef),
            ("b", Arc::new(StringArray::from(vec!["m", "z"]))),
            ("c", Arc::new(Int32Array::from(vec![None::<i32>, None]))),
        ]);
        let two = batch(vec![
            ("a", Arc::new(Int64Array::from(vec![Some(-3), Some(4)])) as ArrayRef),
            ("b", Arc::new(StringArray::from(vec!["a", "q"]))),
            ("c", Arc::new(Int32Array::from(vec![None::<i32>, None]))),
        ]);
        let statistics = of_batches(&[one, two], &["a", "b", "c"]);
        let text = to_json(4, &statistics);
        let (rows, read) = from_json(&text).unwrap();
        assert_eq!((rows, &read), (4, &statistics));
        assert_eq!(
            read[0].1,
            ColumnStatistics { min: Some(Bound::Int(-3)), max: Some(Bound::Int(5)), null_count: Some(1) }
        );
        assert_eq!(read[1].1.min, Some(Bound::Text("a".into())));
        assert_eq!(read[1].1.max, Some(Bound::Text("z".into())));
        assert_eq!(read[2].1, ColumnStatistics { min: None, max: None, null_count: Some(4) });
    }

    #[test]
    fn long_text_is_cut_to_a_bound_that_still_holds() {
        let last_char = char::MAX;
        let cases = [
            ("x".repeat(40), Some(format!("{}y", "x".repeat(31)))),
            ("x".repeat(32), Some("x".repeat(32))),
            (format!("a{}", last_char.to_string().repeat(40)), Some("b".to_owned())),
            (last_char.to_string().repeat(40), None),
            (format!("{}\u{d7ff}tail", "x".repeat(31)), Some(format!("{}y", "x".repeat(30)))),
        ];
        for (text, max) in cases {
            let cut = cut_up(Bound::Text(text.clone()));
            assert_eq!(cut, max.clone().map(Bound::Text), "{text}");
            assert!(cut.is_none_or(|cut| Bound::Text(text.clone()) <= cut));
            assert!(cut_down(Bound::Text(text.clone())) <= Bound::Text(text));
        }
    }

    #[test]
    fn text_without_a_row_count_is_no_statistics() {
        assert_eq!(from_json("{}"), None);
        assert_eq!(from_json("not json"), None);
        assert_eq!(from_json(r#"{"numRecords":3}"#), Some((3, vec![])));
    }
}
