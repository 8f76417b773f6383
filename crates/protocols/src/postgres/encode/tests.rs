use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, DurationMillisecondArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeStringArray, ListArray, NullArray, StringViewArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt32Array, UInt64Array, UnionArray,
};
use arrow::datatypes::{Fields, IntervalMonthDayNano, Schema, UnionFields, i256};

use super::*;

/// The value in row 0 as text and as bytes; and that row 1, if there is one, is NULL.
fn both(array: ArrayRef) -> (u32, String, Vec<u8>) {
    let shape = Shape::of(array.data_type());
    let column = Column::of(&array, &Field::new("column", array.data_type().clone(), true), &shape).unwrap();
    assert!(!column.is_null(0));
    if 1 < array.len() {
        assert!(column.is_null(1));
    }
    let (mut text, mut bytes) = (BytesMut::new(), BytesMut::new());
    column.write(0, Format::Text, &mut text);
    column.write(0, Format::Binary, &mut bytes);
    (shape.oid(), String::from_utf8(text.to_vec()).unwrap(), bytes.to_vec())
}

#[test]
fn each_arrow_type_has_a_type_a_text_and_bytes() {
    let cases: Vec<(ArrayRef, u32, &str, &[u8])> = vec![
        (Arc::new(BooleanArray::from(vec![Some(true), None])), 16, "t", &[1]),
        (Arc::new(Int8Array::from(vec![Some(-2), None])), 21, "-2", &[0xff, 0xfe]),
        (Arc::new(Int16Array::from(vec![Some(258), None])), 21, "258", &[1, 2]),
        (Arc::new(Int32Array::from(vec![Some(-1), None])), 23, "-1", &[0xff; 4]),
        (Arc::new(Int64Array::from(vec![Some(1 << 40), None])), 20, "1099511627776", &[0, 0, 1, 0, 0, 0, 0, 0]),
        (Arc::new(UInt32Array::from(vec![u32::MAX])), 20, "4294967295", &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        (Arc::new(UInt64Array::from(vec![10_000])), 20, "10000", &[0, 0, 0, 0, 0, 0, 0x27, 0x10]),
        (Arc::new(Float32Array::from(vec![Some(1.5), None])), 700, "1.5", &[0x3f, 0xc0, 0, 0]),
        (Arc::new(Float64Array::from(vec![Some(1e300), None])), 701, "1e+300", &const { 1e300_f64.to_be_bytes() }),
        (Arc::new(Float64Array::from(vec![0.1])), 701, "0.1", &const { 0.1_f64.to_be_bytes() }),
        (Arc::new(Float64Array::from(vec![-2.5e-7])), 701, "-2.5e-07", &const { (-2.5e-7_f64).to_be_bytes() }),
        (
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])),
            701,
            "-Infinity",
            &const { f64::NEG_INFINITY.to_be_bytes() },
        ),
        (
            Arc::new(Decimal128Array::from(vec![Some(-12_500_000), None]).with_precision_and_scale(18, 6).unwrap()),
            1700,
            "-12.500000",
            &[0, 2, 0, 0, 0x40, 0, 0, 6, 0, 12, 0x13, 0x88],
        ),
        (
            Arc::new(Decimal256Array::from(vec![i256::from_i128(1)]).with_precision_and_scale(60, 4).unwrap()),
            1700,
            "0.0001",
            &[0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 1],
        ),
        (Arc::new(StringArray::from(vec![Some("é"), None])), 25, "é", "é".as_bytes()),
        (Arc::new(LargeStringArray::from(vec![Some("a"), None])), 25, "a", b"a"),
        (
            Arc::new(StringViewArray::from(vec![Some("longer than twelve bytes"), None])),
            25,
            "longer than twelve bytes",
            b"longer than twelve bytes",
        ),
        (Arc::new(BinaryArray::from(vec![Some(&[0_u8, 0xff][..]), None])), 17, "\\x00ff", &[0, 0xff]),
        (Arc::new(Date32Array::from(vec![Some(20_458), None])), 1082, "2026-01-05", &[0, 0, 0x25, 0x1d]),
        (
            Arc::new(Time64MicrosecondArray::from(vec![Some(3_661_000_000), None])),
            1083,
            "01:01:01",
            &const { 3_661_000_000_i64.to_be_bytes() },
        ),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![Some(calendar::EPOCH_US + 1), None])),
            1114,
            "2000-01-01 00:00:00.000001",
            &const { 1_i64.to_be_bytes() },
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![Some((calendar::EPOCH_US - 1) * 1_000), None])),
            1114,
            "1999-12-31 23:59:59.999999",
            &const { (-1_i64).to_be_bytes() },
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![calendar::EPOCH_US / 1_000_000]).with_timezone("+02:00")),
            1184,
            "2000-01-01 00:00:00+00",
            &const { 0_i64.to_be_bytes() },
        ),
        (
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano { months: 1, days: 2, nanoseconds: 3_000 }),
                None,
            ])),
            1186,
            "1 mon 2 days 00:00:00.000003",
            &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1],
        ),
        (
            Arc::new(DurationMillisecondArray::from(vec![Some(1_500), None])),
            1186,
            "00:00:01.5",
            &[0, 0, 0, 0, 0, 0x16, 0xe3, 0x60, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(7), None]), None])),
            1007,
            "{7,NULL}",
            &[
                0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7, 0xff, 0xff, 0xff,
                0xff,
            ],
        ),
        (
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(Vec::<Option<i64>>::new())])),
            1016,
            "{}",
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20],
        ),
    ];
    for (array, oid, text, bytes) in cases {
        let data_type = array.data_type().clone();
        assert_eq!(both(array), (oid, text.to_owned(), bytes.to_vec()), "{data_type}");
    }
}

#[test]
fn texts_in_arrays_are_quoted_where_they_would_be_read_otherwise() {
    let words = ["plain", "", "a b", "a,b", "a\"b", "a\\b", "{", "NULL", "nullx"];
    let items = StringArray::from(words.to_vec());
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([words.len()]);
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(items), None));
    let (oid, text, _) = both(list);
    assert_eq!(oid, 1009);
    assert_eq!(text, r#"{plain,"","a b","a,b","a\"b","a\\b","{","NULL",nullx}"#);
    let read = super::super::parameters::split_array(&text).unwrap();
    assert_eq!(read, words.map(|word| Some(word.to_owned())));
}

#[test]
fn a_count_that_does_not_fit_is_a_fault_and_no_other_number() {
    let array: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    assert!(Column::of(&array, &Field::new("a", DataType::UInt64, true), &Shape::Int8).is_err());
}

#[test]
fn a_union_is_the_text_of_whichever_it_is() {
    let fields: UnionFields = [
        (0, Arc::new(Field::new("n", DataType::Null, true))),
        (1, Arc::new(Field::new("s", DataType::Utf8, true))),
        (2, Arc::new(Field::new("i", DataType::Int64, true))),
    ]
    .into_iter()
    .collect();
    let children: Vec<ArrayRef> = vec![
        Arc::new(NullArray::new(3)),
        Arc::new(StringArray::from(vec![Some("a"), None, None])),
        Arc::new(Int64Array::from(vec![None, Some(7), None])),
    ];
    let union: ArrayRef = Arc::new(UnionArray::try_new(fields, vec![1_i8, 2, 0].into(), None, children).unwrap());
    let column = Column::of(&union, &Field::new("u", union.data_type().clone(), true), &Shape::Text).unwrap();
    let text = |row: usize| {
        let mut text = BytesMut::new();
        column.write(row, Format::Text, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    };
    assert_eq!((text(0), text(1), column.is_null(2)), ("a".to_owned(), "7".to_owned(), true));
}

#[test]
fn structures_are_json() {
    let fields = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1])), Arc::new(StringArray::from(vec!["x\"y"]))];
    let one: ArrayRef = Arc::new(StructArray::new(fields.clone(), columns, None));
    assert_eq!(both(one.clone()), (114, r#"{"a":1,"b":"x\"y"}"#.to_owned(), br#"{"a":1,"b":"x\"y"}"#.to_vec()));
    let item = Arc::new(Field::new("element", DataType::Struct(fields), true));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
    let list: ArrayRef = Arc::new(ListArray::new(item, offsets, one, None));
    assert_eq!(both(list).1, r#"[{"a":1,"b":"x\"y"}]"#);
}

#[test]
fn rows_are_whole_messages_and_null_is_no_value() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Null, true),
        Field::new("c", DataType::Utf8, true),
    ]));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![7])), Arc::new(NullArray::new(1)), Arc::new(StringArray::from(vec![""]))];
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    let shapes: Vec<Shape> = batch.schema().fields().iter().map(|field| Shape::of(field.data_type())).collect();
    let formats: Arc<[Format]> = [Format::Binary, Format::Text, Format::Text].into();
    let rows = Rows::of(&batch, &shapes, formats).unwrap();
    let mut out = BytesMut::new();
    rows.write(0, &mut out);
    let expected = [&b"D\0\0\0\x16\0\x03"[..], &[0, 0, 0, 4, 0, 0, 0, 7], &[0xff, 0xff, 0xff, 0xff], &[0, 0, 0, 0]];
    assert_eq!(&out[..], expected.concat());
}
