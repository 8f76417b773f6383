//! `credit_touches(model, lookback_us, same_touch_us, touches, conversions)`: the credit of one person's journey.
//!
//! In:       a person's touches, `list<struct{time_us, sequence, channel, campaign, utm_source, ...}>`, and conversions,
//!           `list<struct{time_us, event_id, value, currency}>`, in any order.
//! Out:      `list<struct{conversion, touch, position, touch_count, credit_ratio, credit_value}>`: the structs that
//!           came in, beside what the touch gets of the conversion. A conversion without a touch in the lookback
//!           gets one entry with a null touch, a `touch_count` of 0 and the whole credit.
//! Promise:  ratios sum to 1 and values to the value for each conversion. Credits are counted before they are made
//!           and their memory is asked of the pool: one person may have as many as touches times conversions.
//! Not here: lookback, order and shares: `analytics::attribution`.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Fields, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use tributary_analytics::attribution::{Model, Touch, credit_conversion, touches_in_lookback};
use tributary_schemas::money;

use crate::stop::StopFlag;

/// For one question: it asks that question's flag whether to go on, and `pool` for the memory of the credits.
pub(crate) fn credit_function(stop: StopFlag, pool: Arc<dyn MemoryPool>) -> ScalarUDF {
    ScalarUDF::from(CreditTouches { signature: Signature::user_defined(Volatility::Immutable), stop, pool })
}

#[derive(Debug)]
struct CreditTouches {
    signature: Signature,
    stop: StopFlag,
    pool: Arc<dyn MemoryPool>,
}

impl PartialEq for CreditTouches {
    fn eq(&self, other: &Self) -> bool {
        self.stop == other.stop
    }
}

impl Eq for CreditTouches {}

impl Hash for CreditTouches {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stop.hash(state);
    }
}

impl ScalarUDFImpl for CreditTouches {
    fn name(&self) -> &str {
        "credit_touches"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [_, _, _, touches, conversions] => {
                Ok(vec![DataType::Utf8, DataType::Int64, DataType::Int64, touches.clone(), conversions.clone()])
            }
            _ => plan_err!("credit_touches takes (model, lookback_us, same_touch_us, touches, conversions)"),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [_, _, _, DataType::List(touch), DataType::List(conversion)] => {
                let credit = DataType::Struct(credit_fields(conversion.data_type(), touch.data_type()));
                Ok(DataType::List(Arc::new(Field::new_list_field(credit, true))))
            }
            _ => plan_err!("credit_touches takes two lists of structs; ask `attribution` or `touchpoints` instead"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [model, lookback_us, same_touch_us, touches, conversions] = arguments.args.as_slice() else {
            return exec_err!("credit_touches takes five arguments");
        };
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(model))) = model else {
            return exec_err!("credit_touches: the model is a constant text");
        };
        let length_us = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(length_us))) => Ok(*length_us),
            _ => exec_err!("credit_touches: a length of time is a constant number"),
        };
        let rule = Rule {
            model: Model::parse(model).map_err(|error| exec_datafusion_err!("{error}"))?,
            lookback_us: length_us(lookback_us)?,
            same_touch_us: length_us(same_touch_us)?,
        };
        let touches = touches.to_array(arguments.number_rows)?;
        let conversions = conversions.to_array(arguments.number_rows)?;
        let (touches, conversions) = (touches.as_list(), conversions.as_list());
        let journeys = Journeys::read(rule, touches, conversions, &self.stop)?;
        // Given back when the credits leave: from there on they are a batch like any other.
        let _reserved = self.reserve(&journeys, touches, conversions)?;
        let credits = journeys.credit(rule, touches, conversions, &self.stop)?;
        Ok(ColumnarValue::Array(Arc::new(credits)))
    }
}

impl CreditTouches {
    fn reserve(&self, journeys: &Journeys, touches: &ListArray, conversions: &ListArray) -> Result<MemoryReservation> {
        let each = size_of::<(u32, Option<u32>, Option<i64>, i64, f64, Option<i128>)>()
            // Once gathered here, once more where the lists are taken apart into rows.
            + 2 * (bytes_each(conversions.values())? + bytes_each(touches.values())?);
        let bytes = journeys.credit_count.saturating_mul(each);
        let reservation = MemoryConsumer::new("credit_touches").register(&self.pool);
        let has_room = journeys.credit_count < i32::MAX as usize && reservation.try_grow(bytes).is_ok();
        if has_room {
            return Ok(reservation);
        }
        Err(DataFusionError::ResourcesExhausted(format!(
            "{} credits at once take {} MiB, one person having up to {}; leave out who is met too often to be a person \
             with filter => ..., or shorten the lookback",
            journeys.credit_count,
            bytes >> 20,
            journeys.credit_count_of_one,
        )))
    }
}

fn bytes_each(values: &ArrayRef) -> Result<usize> {
    Ok(values.to_data().get_slice_memory_size()?.div_ceil(values.len().max(1)))
}

fn credit_fields(conversion: &DataType, touch: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("conversion", conversion.clone(), true),
        Field::new("touch", touch.clone(), true),
        Field::new("position", DataType::Int64, true),
        Field::new("touch_count", DataType::Int64, false),
        Field::new("credit_ratio", DataType::Float64, false),
        Field::new("credit_value", DataType::Decimal128(money::PRECISION, money::SCALE), true),
    ])
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    model: Model,
    lookback_us: i64,
    /// 0: each touch counts by itself.
    same_touch_us: i64,
}

/// The touches of each person that count, in order; and how many credits they make.
#[derive(Default)]
struct Journeys {
    /// Indexes into the values of the list of touches, person after person.
    order: Vec<usize>,
    /// Where in `order` each person's end.
    ends: Vec<usize>,
    credit_count: usize,
    credit_count_of_one: usize,
}

impl Journeys {
    fn read(rule: Rule, touches: &ListArray, conversions: &ListArray, stop: &StopFlag) -> Result<Self> {
        let values = touches.values().as_struct();
        let times_us = number_column(values, "time_us")?;
        let sequences = number_column(values, "sequence")?;
        let marks = Marks::read(values)?;
        let conversion_times_us = number_column(conversions.values().as_struct(), "time_us")?;
        let mut read = Self::default();
        let mut person_times_us = Vec::new();
        for person in 0..conversions.len() {
            stop.check()?;
            let start = read.order.len();
            read.order.extend(range(touches, person));
            read.order[start..].sort_by_key(|&index| (times_us.value(index), sequences.value(index)));
            if 0 < rule.same_touch_us {
                marks.drop_told_again(&mut read.order, start, times_us, rule.same_touch_us);
            }
            read.ends.push(read.order.len());
            person_times_us.clear();
            person_times_us.extend(read.order[start..].iter().map(|&index| times_us.value(index)));
            let credits = range(conversions, person).map(|conversion| {
                let time_us = conversion_times_us.value(conversion);
                let eligible = touches_in_lookback(&person_times_us, time_us, rule.lookback_us);
                rule.model.credited(eligible.len()).len().max(1)
            });
            let credit_count = credits.sum();
            read.credit_count += credit_count;
            read.credit_count_of_one = read.credit_count_of_one.max(credit_count);
        }
        Ok(read)
    }

    fn credit(&self, rule: Rule, touches: &ListArray, conversions: &ListArray, stop: &StopFlag) -> Result<ListArray> {
        let (touch_values, conversion_values) = (touches.values().as_struct(), conversions.values().as_struct());
        let touch_times_us = number_column(touch_values, "time_us")?;
        let conversion_times_us = number_column(conversion_values, "time_us")?;
        let conversion_amounts = column(conversion_values, "value")?.as_primitive::<Decimal128Type>();

        let mut rows = Rows::default();
        let mut lengths = Vec::with_capacity(conversions.len());
        let (mut times_us, mut journey) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (person, end) in self.ends.iter().enumerate() {
            let before = rows.conversion.len();
            let order = &self.order[start..*end];
            start = *end;
            times_us.clear();
            times_us.extend(order.iter().map(|&index| touch_times_us.value(index)));
            journey.clear();
            journey.extend((0..).zip(&times_us).map(|(index, time_us)| Touch { time_us: *time_us, index }));
            for conversion in range(conversions, person) {
                stop.check()?;
                let time_us = conversion_times_us.value(conversion);
                let amount = conversion_amounts.is_valid(conversion).then(|| conversion_amounts.value(conversion));
                let value_micros = i64::try_from(amount.unwrap_or(0))
                    .map_err(|_| exec_datafusion_err!("a conversion's value has more than 18 digits"))?;
                let eligible = touches_in_lookback(&times_us, time_us, rule.lookback_us);
                let touch_count = number(eligible.len());
                if eligible.is_empty() {
                    rows.push(conversion, None, touch_count, 1.0, amount);
                }
                for credit in credit_conversion(rule.model, &journey, time_us, rule.lookback_us, value_micros) {
                    let rank = usize::try_from(credit.touch.index).expect("it was a rank a moment ago");
                    let touch = Some((order[rank], number(rank - eligible.start + 1)));
                    let credit_micros = amount.map(|_| credit.value_micros.into());
                    rows.push(conversion, touch, touch_count, credit.credit_ratio, credit_micros);
                }
            }
            lengths.push(rows.conversion.len() - before);
        }
        rows.into_lists(lengths, touch_values, conversion_values)
    }
}

/// What tells one touch from another of the same person.
struct Marks([StringArray; 3]);

impl Marks {
    fn read(touches: &StructArray) -> Result<Self> {
        let text =
            |name| -> Result<StringArray> { Ok(cast(column(touches, name)?, &DataType::Utf8)?.as_string().clone()) };
        Ok(Self([text("channel")?, text("campaign")?, text("utm_source")?]))
    }

    /// Of touches with the same marks, each within `same_touch_us` of the one before, the first stays.
    ///
    /// * `order`: from `start` on one person's touches, by time.
    fn drop_told_again(&self, order: &mut Vec<usize>, start: usize, times_us: &Int64Array, same_touch_us: i64) {
        let mut last_seen_us = HashMap::new();
        let mut kept = start;
        for at in start..order.len() {
            let (index, time_us) = (order[at], times_us.value(order[at]));
            let marks = self.0.each_ref().map(|column| column.is_valid(index).then(|| column.value(index)));
            let before_us = last_seen_us.insert(marks, time_us);
            if before_us.is_none_or(|before_us: i64| same_touch_us < time_us.saturating_sub(before_us)) {
                order[kept] = index;
                kept += 1;
            }
        }
        order.truncate(kept);
    }
}

/// What each output row is made of, by index into the lists' values.
#[derive(Default)]
struct Rows {
    conversion: Vec<u32>,
    touch: Vec<Option<u32>>,
    position: Vec<Option<i64>>,
    touch_count: Vec<i64>,
    credit_ratio: Vec<f64>,
    credit_micros: Vec<Option<i128>>,
}

impl Rows {
    /// * `touch`: its index, and its position among the touches in the lookback.
    fn push(
        &mut self,
        conversion: usize,
        touch: Option<(usize, i64)>,
        touch_count: i64,
        credit_ratio: f64,
        credit_micros: Option<i128>,
    ) {
        let small = |index: usize| u32::try_from(index).expect("a list has fewer than 2^31 entries");
        self.conversion.push(small(conversion));
        self.touch.push(touch.map(|(index, _)| small(index)));
        self.position.push(touch.map(|(_, position)| position));
        self.touch_count.push(touch_count);
        self.credit_ratio.push(credit_ratio);
        self.credit_micros.push(credit_micros);
    }

    fn into_lists(self, lengths: Vec<usize>, touches: &StructArray, conversions: &StructArray) -> Result<ListArray> {
        let fields = credit_fields(conversions.data_type(), touches.data_type());
        let amounts =
            Decimal128Array::from(self.credit_micros).with_precision_and_scale(money::PRECISION, money::SCALE)?;
        let columns: Vec<ArrayRef> = vec![
            take(conversions, &UInt32Array::from(self.conversion), None)?,
            take(touches, &UInt32Array::from(self.touch), None)?,
            Arc::new(Int64Array::from(self.position)),
            Arc::new(Int64Array::from(self.touch_count)),
            Arc::new(Float64Array::from(self.credit_ratio)),
            Arc::new(amounts),
        ];
        let credits = StructArray::try_new(fields, columns, None)?;
        let field = Arc::new(Field::new_list_field(credits.data_type().clone(), true));
        Ok(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), Arc::new(credits), None)?)
    }
}

/// Where a person's entries stand among the list's values; nothing for NULL.
fn range(list: &ListArray, person: usize) -> Range<usize> {
    if list.is_null(person) {
        return 0..0;
    }
    let offsets = list.value_offsets();
    offsets[person] as usize..offsets[person + 1] as usize
}

fn number_column<'a>(values: &'a StructArray, name: &str) -> Result<&'a Int64Array> {
    Ok(column(values, name)?.as_primitive::<Int64Type>())
}

fn column<'a>(values: &'a StructArray, name: &str) -> Result<&'a ArrayRef> {
    values.column_by_name(name).ok_or_else(|| exec_datafusion_err!("credit_touches needs a field {name:?}"))
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a list is shorter than 2^63")
}

#[cfg(test)]
mod tests;
