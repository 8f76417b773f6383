//! `wilson_low(successes, trials)` and `wilson_high(successes, trials)`: the 95 % interval of a share.
//!
//! In:       two counts a row.
//! Out:      a double; NULL for no trials, or where a count is NULL or makes no sense.
//! Not here: the formula: `analytics::stats`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use tributary_analytics::stats::{Alpha, Interval, wilson_interval};

pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![bound("wilson_low", |interval| interval.low), bound("wilson_high", |interval| interval.high)]
}

fn bound(name: &str, end: fn(Interval) -> f64) -> ScalarUDF {
    let compute = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let [successes, trials] = [0, 1].map(|index| arrays[index].as_primitive::<Int64Type>());
        let ends: Float64Array = successes
            .iter()
            .zip(trials)
            .map(|(successes, trials)| {
                let (successes, trials) = (u64::try_from(successes?).ok()?, u64::try_from(trials?).ok()?);
                if trials < successes {
                    return None;
                }
                wilson_interval(successes, trials, Alpha::FIVE_PERCENT).map(end)
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(ends) as ArrayRef))
    };
    let counts = vec![DataType::Int64, DataType::Int64];
    create_udf(name, counts, DataType::Float64, Volatility::Immutable, Arc::new(compute))
}
