//! `exposure_to(exposures, 'experiment')`: what an event shows of one experiment.
//!
//! In:       the column `exposures`, a constant name.
//! Out:      a structure: `variant`, `probability` (above 0 and at most 1, else NULL), `is_mixed`: whether the event shows
//!           several variants of it, in which case the first by name is told. All NULL where it shows none.
//! Not here: which exposure of a unit counts: `analytics::experiment::Exposures`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, ListArray, StringArray, StringBuilder, StructArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(ExposureTo { signature: Signature::user_defined(Volatility::Immutable) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExposureTo {
    signature: Signature,
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("variant", DataType::Utf8, true),
        Field::new("probability", DataType::Float64, true),
        Field::new("is_mixed", DataType::Boolean, true),
    ])
}

impl ScalarUDFImpl for ExposureTo {
    fn name(&self) -> &str {
        "exposure_to"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [exposures @ DataType::List(item), _] if matches!(item.data_type(), DataType::Struct(_)) => {
                Ok(vec![exposures.clone(), DataType::Utf8])
            }
            _ => plan_err!("exposure_to takes the column exposures and the name of an experiment"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [exposures, name] = arguments.args.as_slice() else {
            return exec_err!("exposure_to takes two arguments");
        };
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))) = name else {
            return exec_err!("exposure_to: the name of the experiment is a constant text");
        };
        let exposures = exposures.to_array(arguments.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(shown(exposures.as_list::<i32>(), name)?)))
    }
}

fn shown(exposures: &ListArray, name: &str) -> Result<StructArray> {
    let of_all = exposures.values().as_struct();
    let column = |name: &str, data_type: &DataType| -> Result<ArrayRef> {
        match of_all.column_by_name(name) {
            Some(column) => Ok(cast(column, data_type)?),
            None => exec_err!("exposure_to: exposures have no field {name}"),
        }
    };
    let experiments = column("experiment", &DataType::Utf8)?;
    let variants = column("variant", &DataType::Utf8)?;
    let probabilities = column("probability", &DataType::Float64)?;
    let (experiments, variants): (&StringArray, &StringArray) = (experiments.as_string(), variants.as_string());
    let probabilities = probabilities.as_primitive::<Float64Type>();
    let mut told = (StringBuilder::new(), Float64Builder::new(), BooleanBuilder::new());
    for row in 0..exposures.len() {
        let mut first: Option<usize> = None;
        let mut is_mixed = false;
        let bounds = if exposures.is_valid(row) {
            exposures.value_offsets()[row]..exposures.value_offsets()[row + 1]
        } else {
            0..0
        };
        for place in bounds {
            let place = usize::try_from(place).unwrap_or_default();
            if of_all.is_null(place) || variants.is_null(place) || experiments.is_null(place) {
                continue;
            }
            if experiments.value(place) != name {
                continue;
            }
            is_mixed |= first.is_some_and(|first| variants.value(first) != variants.value(place));
            if first.is_none_or(|first| variants.value(place) < variants.value(first)) {
                first = Some(place);
            }
        }
        told.0.append_option(first.map(|place| variants.value(place)));
        let probability = first.filter(|place| probabilities.is_valid(*place)).map(|place| probabilities.value(place));
        told.1.append_option(probability.filter(|probability| 0.0 < *probability && *probability <= 1.0));
        told.2.append_option(first.map(|_| is_mixed));
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(told.0.finish()), Arc::new(told.1.finish()), Arc::new(told.2.finish())];
    Ok(StructArray::try_new(fields(), columns, None)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, ListArray};
    use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};

    use super::*;

    #[test]
    fn an_event_shows_one_variant_several_or_none() {
        let experiments = StringArray::from(vec!["x", "y", "x", "x", "x", "x"]);
        let variants = StringArray::from(vec![Some("a"), Some("q"), Some("b"), Some("a"), None, Some("c")]);
        let chances = Float64Array::from(vec![Some(0.5), None, Some(0.25), Some(0.75), None, Some(7.0)]);
        let fields = Fields::from(vec![
            Field::new("experiment", DataType::Utf8, true),
            Field::new("variant", DataType::Utf8, true),
            Field::new("probability", DataType::Float64, true),
        ]);
        let columns: Vec<ArrayRef> = vec![Arc::new(experiments), Arc::new(variants), Arc::new(chances)];
        let values = StructArray::try_new(fields.clone(), columns, None).unwrap();
        let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
        // One of x; y alone; b and a of x at once; nothing; x without a variant; a chance that is none.
        let offsets = OffsetBuffer::from_lengths([1, 1, 2, 0, 1, 1]);
        let valid = NullBuffer::from(vec![true, true, true, false, true, true]);
        let lists = ListArray::try_new(item, offsets, Arc::new(values), Some(valid)).unwrap();
        let told = shown(&lists, "x").unwrap();
        let variant: Vec<Option<&str>> = told.column(0).as_string::<i32>().iter().collect();
        assert_eq!(variant, [Some("a"), None, Some("a"), None, None, Some("c")]);
        let chance: Vec<Option<f64>> = told.column(1).as_primitive::<Float64Type>().iter().collect();
        assert_eq!(chance, [Some(0.5), None, Some(0.75), None, None, None]);
        let mixed: Vec<Option<bool>> = told.column(2).as_boolean().iter().collect();
        assert_eq!(mixed, [Some(false), None, Some(true), None, None, Some(false)]);
    }
}
