//! Rows of the catalog's tables as batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

#[derive(Debug, Clone)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f32),
    Text(String),
}

/// * `columns`: `name type, name type`; a column no row names is NULL in all.
pub(super) fn batch_of(columns: &str, rows: &[Vec<(&'static str, Cell)>]) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for column in columns.split(',') {
        let (name, kind) = column.trim().split_once(' ').unwrap_or((column.trim(), "text"));
        let cell = |row: &Vec<(&'static str, Cell)>| {
            row.iter().find(|(of, _)| *of == name).map_or(Cell::Null, |(_, cell)| cell.clone())
        };
        let cells: Vec<Cell> = rows.iter().map(cell).collect();
        let array = array_of(kind, &cells);
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

fn array_of(kind: &str, cells: &[Cell]) -> ArrayRef {
    let int = |cell: &Cell| if let Cell::Int(value) = cell { Some(*value) } else { None };
    match kind {
        "bool" => {
            let of = |cell: &Cell| if let Cell::Bool(value) = cell { Some(*value) } else { None };
            Arc::new(cells.iter().map(of).collect::<BooleanArray>())
        }
        "int2" => {
            let of = |cell: &Cell| int(cell).and_then(|value| i16::try_from(value).ok());
            Arc::new(cells.iter().map(of).collect::<Int16Array>())
        }
        "int4" => {
            let of = |cell: &Cell| int(cell).and_then(|value| i32::try_from(value).ok());
            Arc::new(cells.iter().map(of).collect::<Int32Array>())
        }
        // A number of an object: of 32 bits without a sign in PostgreSQL.
        "oid" | "int8" => Arc::new(cells.iter().map(int).collect::<Int64Array>()),
        "float4" => {
            let of = |cell: &Cell| if let Cell::Float(value) = cell { Some(*value) } else { None };
            Arc::new(cells.iter().map(of).collect::<Float32Array>())
        }
        "oids" | "ints" | "texts" => {
            // None of them has a value here.
            let item = if kind == "texts" { DataType::Utf8 } else { DataType::Int64 };
            arrow::array::new_null_array(&DataType::List(Arc::new(Field::new_list_field(item, true))), cells.len())
        }
        _ => {
            let of = |cell: &Cell| if let Cell::Text(value) = cell { Some(value.clone()) } else { None };
            Arc::new(cells.iter().map(of).collect::<StringArray>())
        }
    }
}
