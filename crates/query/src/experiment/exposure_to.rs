//! `exposure_to(exposures, 'experiment')`: what an event shows of one experiment.
//!
//! In:       the column `exposures`, a constant name.
//! Out:      a structure: `variant`, `probability` (above 0 and at most 1, else NULL), `is_mixed`: whether the event shows
//!           several variants of it, in which case the first by name is told. All NULL where it shows none. Each field also by
//!           a function of its own: the planner would ask for the structure once for each field, and each row of a large
//!           table is asked.
//! Not here: which exposure of a unit counts: `analytics::experiment::Exposures`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, ListArray, StringArray,
    StructArray, new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// What is told: the structure, or one field of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Told {
    All,
    Variant,
    Probability,
    IsMixed,
}

/// The variant alone.
pub(super) const VARIANT: &str = "exposed_variant";
/// The probability alone.
pub(super) const PROBABILITY: &str = "exposed_probability";
/// Whether several variants are shown; false where none is.
pub(super) const IS_MIXED: &str = "exposed_to_several";

pub(crate) fn functions() -> Vec<ScalarUDF> {
    let function =
        |told| ScalarUDF::from(ExposureTo { told, signature: Signature::user_defined(Volatility::Immutable) });
    [Told::All, Told::Variant, Told::Probability, Told::IsMixed].map(function).into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExposureTo {
    told: Told,
    signature: Signature,
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("variant", DataType::Utf8View, true),
        Field::new("probability", DataType::Float64, true),
        Field::new("is_mixed", DataType::Boolean, true),
    ])
}

impl ScalarUDFImpl for ExposureTo {
    fn name(&self) -> &str {
        match self.told {
            Told::All => "exposure_to",
            Told::Variant => VARIANT,
            Told::Probability => PROBABILITY,
            Told::IsMixed => IS_MIXED,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [exposures @ DataType::List(item), _] if matches!(item.data_type(), DataType::Struct(_)) => {
                Ok(vec![exposures.clone(), DataType::Utf8])
            }
            _ => plan_err!("{} takes the column exposures and the name of an experiment", self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.told {
            Told::All => DataType::Struct(fields()),
            Told::Variant => DataType::Utf8View,
            Told::Probability => DataType::Float64,
            Told::IsMixed => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [exposures, name] = arguments.args.as_slice() else {
            return exec_err!("{} takes two arguments", self.name());
        };
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))) = name else {
            return exec_err!("{}: the name of the experiment is a constant text", self.name());
        };
        let exposures = exposures.to_array(arguments.number_rows)?;
        let shown = Shown::of(exposures.as_list::<i32>(), name)?;
        Ok(ColumnarValue::Array(match self.told {
            Told::All => {
                let is_mixed = shown.is_mixed(|is_shown| is_shown.then_some(false));
                let columns = vec![shown.variants()?, shown.probabilities(), Arc::new(is_mixed)];
                Arc::new(StructArray::try_new(fields(), columns, None)?)
            }
            Told::Variant => shown.variants()?,
            Told::Probability => shown.probabilities(),
            Told::IsMixed => Arc::new(shown.is_mixed(|_| Some(false))),
        }))
    }
}

/// The exposures of a batch, and which of them are to the experiment.
struct Shown<'e> {
    exposures: &'e ListArray,
    experiments: StringArray,
    variants: StringArray,
    chances: Float64Array,
    name: &'e str,
}

impl<'e> Shown<'e> {
    fn of(exposures: &'e ListArray, name: &'e str) -> Result<Self> {
        let of_all = exposures.values().as_struct();
        let column = |name: &str, data_type: &DataType| -> Result<ArrayRef> {
            match of_all.column_by_name(name) {
                Some(column) => Ok(cast(column, data_type)?),
                None => exec_err!("exposures have no field {name}"),
            }
        };
        Ok(Self {
            exposures,
            experiments: column("experiment", &DataType::Utf8)?.as_string().clone(),
            variants: column("variant", &DataType::Utf8)?.as_string().clone(),
            chances: column("probability", &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
            name,
        })
    }

    /// Of each row: the places of the exposures to the experiment.
    fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        let offsets = self.exposures.value_offsets();
        let of_all = self.exposures.values();
        let is_to = |place: &usize| {
            let place = *place;
            of_all.is_valid(place)
                && self.variants.is_valid(place)
                && self.experiments.is_valid(place)
                && self.experiments.value(place) == self.name
        };
        (0..self.exposures.len()).map(move |row| {
            let bounds = if self.exposures.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
            // Offsets count from 0 up.
            (bounds.start as usize..bounds.end as usize).filter(is_to)
        })
    }

    /// Of each row: the place of the first variant by name.
    fn firsts(&self) -> impl Iterator<Item = Option<usize>> {
        self.rows().map(|places| places.min_by_key(|place| self.variants.value(*place)))
    }

    fn variants(&self) -> Result<ArrayRef> {
        // Each row points at its text: no text is copied.
        let keys: Int32Array = self.firsts().map(|first| first.and_then(|place| i32::try_from(place).ok())).collect();
        Ok(cast(&DictionaryArray::try_new(keys, Arc::new(self.variants.clone()))?, &DataType::Utf8View)?)
    }

    fn probabilities(&self) -> ArrayRef {
        if self.chances.null_count() == self.chances.len() {
            return new_null_array(&DataType::Float64, self.exposures.len());
        }
        let probability = |first: Option<usize>| {
            let given = first.filter(|place| self.chances.is_valid(*place)).map(|place| self.chances.value(place));
            given.filter(|probability| 0.0 < *probability && *probability <= 1.0)
        };
        Arc::new(self.firsts().map(probability).collect::<Float64Array>())
    }

    /// * `of_one`: what is told of a row that shows no two variants, by whether it shows one.
    fn is_mixed(&self, of_one: impl Fn(bool) -> Option<bool>) -> BooleanArray {
        // Where no list has two, nothing is mixed, whatever it is to.
        let is_single = self.exposures.value_offsets().windows(2).all(|bounds| bounds[1] - bounds[0] < 2);
        if is_single && of_one(true) == of_one(false) {
            return std::iter::repeat_n(of_one(true), self.exposures.len()).collect();
        }
        let rows = self.rows().map(|places| {
            let mut variants = places.map(|place| self.variants.value(place));
            let Some(first) = variants.next() else { return of_one(false) };
            if variants.any(|variant| variant != first) { Some(true) } else { of_one(true) }
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
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
        let told = |lists: &ListArray| {
            let shown = Shown::of(lists, "x").unwrap();
            let (variants, chances) = (shown.variants().unwrap(), shown.probabilities());
            let variant: Vec<Option<String>> =
                variants.as_string_view().iter().map(|variant| variant.map(str::to_owned)).collect();
            let chance: Vec<Option<f64>> = chances.as_primitive::<Float64Type>().iter().collect();
            let mixed: Vec<Option<bool>> = shown.is_mixed(|is_shown| is_shown.then_some(false)).iter().collect();
            let several: Vec<Option<bool>> = shown.is_mixed(|_| Some(false)).iter().collect();
            (variant, chance, mixed, several)
        };
        let text = |text: &str| Some(text.to_owned());
        let (variant, chance, mixed, several) = told(&lists);
        assert_eq!(variant, [text("a"), None, text("a"), None, None, text("c")]);
        assert_eq!(chance, [Some(0.5), None, Some(0.75), None, None, None]);
        assert_eq!(mixed, [Some(false), None, Some(true), None, None, Some(false)]);
        assert_eq!(several, [false, false, true, false, false, false].map(Some));
        // No list of two.
        let (variant, chance, mixed, several) = told(&lists.slice(3, 3));
        assert_eq!((variant, chance), (vec![None, None, text("c")], vec![None; 3]));
        assert_eq!((mixed, several), (vec![None, None, Some(false)], vec![Some(false); 3]));
    }
}
