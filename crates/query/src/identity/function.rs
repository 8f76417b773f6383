//! The function `person_of`: whose an event is, by the ids on it.
//!
//! In:      `person_of(source, user_id, anonymous_id, device_id, own_id, time_us)`.
//! Out:     the person: a user id, or `source:id` where nobody is known.
//! Promise: never null where one of the ids is given; one probe of a hash table a row.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{Array, AsArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tributary_analytics::identity::IdentityMap;

const NAME: &str = "person_of";

/// Made for each question; the map is given once the plan is known to need it.
#[derive(Debug, Clone)]
pub(crate) struct PersonOf {
    signature: Signature,
    map: Arc<OnceLock<Arc<IdentityMap>>>,
}

impl PersonOf {
    pub(crate) fn new() -> Self {
        let mut arguments = vec![DataType::Utf8; 5];
        arguments.push(DataType::Int64);
        Self { signature: Signature::exact(arguments, Volatility::Stable), map: Arc::default() }
    }

    pub(crate) fn give(&self, map: Arc<IdentityMap>) {
        // It is given once a question; a second would be the same.
        _ = self.map.set(map);
    }
}

/// Whether the plan calls `person_of` anywhere.
pub(crate) fn asks_for_persons(plan: &LogicalPlan) -> Result<bool> {
    let mut asks = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                asks |= matches!(part, Expr::ScalarFunction(call) if call.func.name() == NAME);
                Ok(if asks { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(asks)
}

/// Equal only to its own copies: two questions do not share a map.
impl PartialEq for PersonOf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.map, &other.map)
    }
}

impl Eq for PersonOf {}

impl Hash for PersonOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.map).hash(state);
    }
}

impl ScalarUDFImpl for PersonOf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    /// Never null where one of the ids never is: then the optimiser drops a filter for it, and each row is asked for once.
    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields[1..5].iter().all(|field| field.is_nullable());
        Ok(Arc::new(Field::new(NAME, DataType::Utf8, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(map) = self.map.get() else { return exec_err!("{NAME} was asked before persons were known") };
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [sources, users, anonymous, devices, own] = [0, 1, 2, 3, 4].map(|index| columns[index].as_string::<i32>());
        let times = columns[5].as_primitive::<Int64Type>();
        let rows = sources.len();
        let mut persons = StringBuilder::with_capacity(rows, rows * 24);
        let mut key = String::new();
        for row in 0..rows {
            let text = |index: usize| {
                let texts = [sources, users, anonymous, devices, own][index];
                texts.is_valid(row).then(|| texts.value(row))
            };
            let source = text(0).unwrap_or_default();
            let time_us = if times.is_valid(row) { times.value(row) } else { i64::MIN };
            if let Some(person) = map.person_of(source, text(1), text(2), time_us, &mut key) {
                persons.append_value(person);
                continue;
            }
            match text(2).or(text(3)).or(text(4)) {
                Some(id) => {
                    // Written into the builder: no text is made and thrown away for each anonymous event.
                    write!(persons, "{source}:{id}").expect("writing into memory does not fail");
                    persons.append_value("");
                }
                None => persons.append_null(),
            }
        }
        let persons = Arc::new(persons.finish());
        Ok(ColumnarValue::Array(persons))
    }
}
