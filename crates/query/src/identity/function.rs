//! The function `person_of`: whose an event is, by the ids on it.
//!
//! In:      `person_of(source, user_id, anonymous_id, session_key, time_us)`.
//! Out:     the person: a user id, or `source:session_key` where nobody is known: the key is then the event's anonymous id,
//!          else its device's, else its own.
//! Promise: never null where the key never is; at most one probe of a hash table a row. Rows one after the other that are
//!          of one person, as they lie in sorted files, share one text.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{
    Array, ArrayBuilder, AsArray, DictionaryArray, Int32Array, StringBuilder, StringViewArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tributary_analytics::identity::IdentityMap;

use crate::columns;

const NAME: &str = "person_of";
/// What the views call what it says.
const PERSON: &str = "person_id";

/// Made for each question; the map is given once the plan is known to need it.
#[derive(Debug, Clone)]
pub(crate) struct PersonOf {
    signature: Signature,
    map: Arc<OnceLock<Arc<IdentityMap>>>,
}

impl PersonOf {
    pub(crate) fn new() -> Self {
        let mut arguments = vec![DataType::Utf8View; 4];
        arguments.push(DataType::Int64);
        Self { signature: Signature::exact(arguments, Volatility::Stable), map: Arc::default() }
    }

    pub(crate) fn give(&self, map: Arc<IdentityMap>) {
        // It is given once a question; a second would be the same.
        _ = self.map.set(map);
    }
}

/// Whether the plan calls `person_of` anywhere, or asks a table for persons that may call it in a plan of its own.
pub(crate) fn asks_for_persons(plan: &LogicalPlan) -> Result<bool> {
    let mut asks = false;
    plan.apply_with_subqueries(|node| {
        asks |= matches!(node, LogicalPlan::TableScan(scan) if scan.projected_schema.has_column_with_unqualified_name(PERSON));
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
        Ok(DataType::Utf8View)
    }

    /// Never null where one of the ids never is: then the optimiser drops a filter for it, and each row is asked for once.
    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields[1..4].iter().all(|field| field.is_nullable());
        Ok(Arc::new(Field::new(NAME, DataType::Utf8View, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(map) = self.map.get() else { return exec_err!("{NAME} was asked before persons were known") };
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [sources, users, anonymous, keys] = [0, 1, 2, 3].map(|index| columns[index].as_string_view());
        let times = columns[4].as_primitive::<Int64Type>();
        let rows = sources.len();
        // Each run of one person's rows has one name here, and each row the number of its run.
        let mut names = StringBuilder::new();
        let mut runs = Vec::with_capacity(rows);
        let mut key = String::new();
        let mut before: Option<Before> = None;
        let changes = columns::changes(&[users, keys, anonymous, sources], rows);
        for (row, is_changed) in changes.into_iter().enumerate() {
            if let Some(before) = before.filter(|before| !is_changed && before.holds_at_all_times) {
                runs.push(Some(before.run));
                continue;
            }
            let text = |texts: &'_ StringViewArray| texts.is_valid(row);
            let source = if text(sources) { sources.value(row) } else { "" };
            let user = text(users).then(|| users.value(row));
            let device = text(anonymous).then(|| anonymous.value(row));
            let time_us = if times.is_valid(row) { times.value(row) } else { i64::MIN };
            let known = map.person_of(source, user, device, time_us, &mut key);
            match known {
                Some(person) => names.append_value(person),
                // Written into the builder: no text is made and thrown away for each anonymous event.
                None if text(keys) => {
                    for part in [source, ":", keys.value(row)] {
                        names.write_str(part).expect("writing into memory does not fail");
                    }
                    names.append_value("");
                }
                None => {
                    runs.push(None);
                    before = None;
                    continue;
                }
            }
            let run = i32::try_from(names.len() - 1).expect("a batch has some thousands of rows");
            runs.push(Some(run));
            // Whose a device is may change from one time to another; whom an event names may not.
            before = Some(Before { run, holds_at_all_times: user.is_some() || known.is_none() });
        }
        let persons = DictionaryArray::try_new(Int32Array::from(runs), Arc::new(names.finish()))?;
        Ok(ColumnarValue::Array(cast(&persons, &DataType::Utf8View)?))
    }
}

/// The row before, if it had a person.
#[derive(Clone, Copy)]
struct Before {
    run: i32,
    holds_at_all_times: bool,
}
