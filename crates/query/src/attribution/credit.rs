//! `credit_touches(model, lookback_us, touches, conversions)`: the credit of one person's journey.
//!
//! In:       a person's touches, `list<struct{time_us, sequence, ...}>`, and conversions,
//!           `list<struct{time_us, event_id, value, currency}>`, in any order.
//! Out:      `list<struct{conversion, touch, position, touch_count, credit_ratio, credit_value}>`: the structs that
//!           came in, beside what the touch gets of the conversion. A conversion without a touch in the lookback
//!           gets one entry with a null touch, a `touch_count` of 0 and the whole credit.
//! Promise:  ratios sum to 1 and values to the value for each conversion.
//! Not here: lookback, order and shares: `analytics::attribution`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, ListArray, StructArray, UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Fields, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use tributary_analytics::attribution::{Model, Touch, credit_conversion, touches_in_lookback};
use tributary_schemas::money;

pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(CreditTouches { signature: Signature::user_defined(Volatility::Immutable) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CreditTouches {
    signature: Signature,
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
            [_, _, touches, conversions] => {
                Ok(vec![DataType::Utf8, DataType::Int64, touches.clone(), conversions.clone()])
            }
            _ => plan_err!("credit_touches takes (model, lookback_us, touches, conversions)"),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [_, _, DataType::List(touch), DataType::List(conversion)] => Ok(DataType::List(Arc::new(
                Field::new_list_field(DataType::Struct(credit_fields(conversion.data_type(), touch.data_type())), true),
            ))),
            _ => plan_err!("credit_touches takes two lists of structs; ask `attribution` or `touchpoints` instead"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [model, lookback_us, touches, conversions] = arguments.args.as_slice() else {
            return exec_err!("credit_touches takes four arguments");
        };
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(model))) = model else {
            return exec_err!("credit_touches: the model is a constant text");
        };
        let ColumnarValue::Scalar(ScalarValue::Int64(Some(lookback_us))) = lookback_us else {
            return exec_err!("credit_touches: the lookback is a constant number");
        };
        let model = Model::parse(model).map_err(|error| exec_datafusion_err!("{error}"))?;
        let touches = touches.to_array(arguments.number_rows)?;
        let conversions = conversions.to_array(arguments.number_rows)?;
        let credits = credit_journeys(model, *lookback_us, touches.as_list(), conversions.as_list())?;
        Ok(ColumnarValue::Array(Arc::new(credits)))
    }
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

fn credit_journeys(model: Model, lookback_us: i64, touches: &ListArray, conversions: &ListArray) -> Result<ListArray> {
    let touch_values = touches.values().as_struct();
    let conversion_values = conversions.values().as_struct();
    let touch_times_us = column(touch_values, "time_us")?.as_primitive::<Int64Type>();
    let touch_sequences = column(touch_values, "sequence")?.as_primitive::<Int64Type>();
    let conversion_times_us = column(conversion_values, "time_us")?.as_primitive::<Int64Type>();
    let conversion_amounts = column(conversion_values, "value")?.as_primitive::<Decimal128Type>();

    let mut rows = Rows::default();
    let mut lengths = Vec::with_capacity(conversions.len());
    let mut times_us = Vec::new();
    let mut journey: Vec<Touch> = Vec::new();
    for person in 0..conversions.len() {
        let before = rows.conversion.len();
        let mut order: Vec<usize> = range(touches, person).collect();
        order.sort_by_key(|&index| (touch_times_us.value(index), touch_sequences.value(index)));
        journey.clear();
        journey.extend(
            order
                .iter()
                .enumerate()
                .map(|(rank, &index)| Touch { time_us: touch_times_us.value(index), index: rank as u64 }),
        );
        times_us.clear();
        times_us.extend(journey.iter().map(|touch| touch.time_us));
        for conversion in range(conversions, person) {
            let time_us = conversion_times_us.value(conversion);
            let amount = conversion_amounts.is_valid(conversion).then(|| conversion_amounts.value(conversion));
            let value_micros = i64::try_from(amount.unwrap_or(0))
                .map_err(|_| exec_datafusion_err!("a conversion's value has more than 18 digits"))?;
            let eligible = touches_in_lookback(&times_us, time_us, lookback_us);
            let touch_count = number(eligible.len());
            if eligible.is_empty() {
                rows.push(conversion, None, touch_count, 1.0, amount);
            }
            for credit in credit_conversion(model, &journey, time_us, lookback_us, value_micros) {
                let rank = usize::try_from(credit.touch.index).expect("it was a rank a moment ago");
                let touch = Some((order[rank], number(rank - eligible.start + 1)));
                rows.push(
                    conversion,
                    touch,
                    touch_count,
                    credit.credit_ratio,
                    amount.map(|_| credit.value_micros.into()),
                );
            }
        }
        lengths.push(rows.conversion.len() - before);
    }
    rows.into_lists(lengths, touch_values, conversion_values)
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
        let small = |index: usize| u32::try_from(index).expect("a batch has fewer than 2^32 entries: lists use i32");
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
fn range(list: &ListArray, person: usize) -> std::ops::Range<usize> {
    if list.is_null(person) {
        return 0..0;
    }
    let offsets = list.value_offsets();
    offsets[person] as usize..offsets[person + 1] as usize
}

fn column<'a>(values: &'a StructArray, name: &str) -> Result<&'a ArrayRef> {
    values.column_by_name(name).ok_or_else(|| exec_datafusion_err!("credit_touches needs a field {name:?}"))
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a list is shorter than 2^63")
}
