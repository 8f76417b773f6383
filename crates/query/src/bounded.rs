//! Functions that make much out of a number: refused, or held to a bound.
//!
//! In:       the registry with all functions of the engine; a type a cast names.
//! Out:      the same registry, without what one short question could fill the memory with.
//! Promise:  no expression makes more than about a thousand times its rows out of a constant.
//! Not here: memory of sorts, joins, groups: the pool's (`engine.rs`).
//!
//! Why: what an expression makes of a batch is not accounted for by the pool, and `range(0, 2000000000)` is 16 GB in
//! one call. The tables `range` and `generate_series` make their rows as they are asked for, and stay.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef};

/// Each with what to write instead.
const REFUSED: &[(&str, &str)] = &[
    ("range", "as a table it is: FROM range(0, 10)"),
    ("generate_series", "as a table it is: FROM generate_series(1, 10)"),
    ("repeat", "write the text out"),
    ("array_repeat", "write the list out"),
    ("array_resize", "array_slice makes a list shorter"),
    ("arrow_cast", "write CAST(... AS type)"),
    ("arrow_try_cast", "write TRY_CAST(... AS type)"),
];

/// Padding to a width is wanted often, and never far.
const PADDED: &[&str] = &["lpad", "rpad"];
const WIDTH_MAX: i64 = 1_000;

pub(crate) fn bound(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for (name, instead) in REFUSED {
        let of = registry.udf(name)?;
        let signature = Signature::variadic_any(Volatility::Volatile);
        registry.register_udf(Arc::new(ScalarUDF::from(Refused { of, instead, signature })))?;
    }
    for name in PADDED {
        let of = registry.udf(name)?;
        registry.register_udf(Arc::new(ScalarUDF::from(Padded { of })))?;
    }
    Ok(())
}

/// `INT[2000000000]` is a list of that many, NULL or not.
pub(crate) fn has_fixed_length(data_type: &ast::DataType) -> bool {
    match data_type {
        ast::DataType::Array(ArrayElemTypeDef::SquareBracket(_, Some(_))) => true,
        ast::DataType::Array(ArrayElemTypeDef::SquareBracket(of, None))
        | ast::DataType::Array(ArrayElemTypeDef::AngleBracket(of) | ArrayElemTypeDef::Parenthesis(of)) => {
            has_fixed_length(of)
        }
        ast::DataType::Struct(fields, _) => fields.iter().any(|field| has_fixed_length(&field.field_type)),
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Refused {
    of: Arc<ScalarUDF>,
    instead: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Refused {
    fn name(&self) -> &str {
        self.of.name()
    }

    fn aliases(&self) -> &[String] {
        self.of.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let (name, instead) = (self.name(), self.instead);
        plan_err!("{name} is not offered here, because a number alone could have it fill the memory; {instead}")
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} is not offered here", self.name())
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Padded {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Padded {
    fn name(&self) -> &str {
        self.of.name()
    }

    fn aliases(&self) -> &[String] {
        self.of.aliases()
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.of.return_type(given)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let widths = arguments.args[1].to_array(1)?;
        let widest = widths.as_primitive_opt::<Int64Type>().and_then(compute::max);
        if widest.is_some_and(|width| WIDTH_MAX < width) {
            return exec_err!("{} pads to at most {WIDTH_MAX} characters here", self.name());
        }
        self.of.invoke_with_args(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of.documentation()
    }
}
