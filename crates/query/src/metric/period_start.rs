//! `period_start(period, time_us [, timezone [, week_start]])`: the first day of the period a time is in.
//!
//! In:       `'day'`, `'week'`, `'month'`, `'quarter'` or `'year'`; UTC microseconds; the name of a zone, default `'UTC'`; the first
//!           day of a week, default `'monday'`. All but the time are constants.
//! Out:      a date; NULL for no time.
//! Promise:  the calendar of the zone, daylight saving and all: the same periods as `retention` and `lifecycle`.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Date32Array};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use tributary_analytics::calendar::{Calendar, Period, Weekday};

const NAME: &str = "period_start";

pub(super) fn functions() -> Vec<ScalarUDF> {
    let text = || DataType::Utf8;
    let shapes = [
        vec![text(), DataType::Int64],
        vec![text(), DataType::Int64, text()],
        vec![text(), DataType::Int64, text(), text()],
    ];
    let signature = Signature::one_of(shapes.map(TypeSignature::Exact).to_vec(), Volatility::Immutable);
    vec![ScalarUDF::from(PeriodStart { signature })]
}

/// The calendar of a period that begins with a day.
pub(super) fn calendar(period: &str, zone: &str, week_start: Weekday) -> std::result::Result<Calendar, String> {
    let read = Period::parse(period, week_start).and_then(|period| Calendar::new(period, zone));
    match read {
        Ok(calendar) if calendar.period() == Period::Hour => {
            Err("period is \"hour\", which has no first day: day, week, month, quarter or year".to_owned())
        }
        Ok(calendar) => Ok(calendar),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PeriodStart {
    signature: Signature,
}

impl ScalarUDFImpl for PeriodStart {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let constant = |index: usize, otherwise: &str| match arguments.args.get(index) {
            None => Ok(otherwise.to_owned()),
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => Ok(text.clone()),
            Some(_) => exec_err!("{NAME}: period, timezone and week_start are constants, such as 'week'"),
        };
        let first =
            Period::parse_week_start(&constant(3, "monday")?).map_err(|error| exec_datafusion_err!("{error}"))?;
        let calendar = calendar(&constant(0, "day")?, &constant(2, "UTC")?, first)
            .map_err(|reason| plan_datafusion_err!("{NAME}: {reason}"))?;
        let times = arguments.args[1].to_array(rows)?;
        let mut cursor = calendar.cursor();
        let mut first_day = |time_us| {
            let number = cursor.number(time_us);
            i32::try_from(cursor.calendar().first_day(number)).ok()
        };
        let days = times.as_primitive::<Int64Type>().iter().map(|time_us| time_us.and_then(&mut first_day));
        Ok(ColumnarValue::Array(Arc::new(days.collect::<Date32Array>())))
    }
}
