use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};

use super::*;
use crate::answer::Answer;
use crate::facts::Facts;

fn answer() -> Answer {
    let columns: [(&str, ArrayRef); 3] = [
        ("name", Arc::new(StringArray::from(vec![Some("a, \"b\""), None]))),
        ("count", Arc::new(Int64Array::from(vec![9_007_199_254_740_993, -1]))),
        (
            "value",
            Arc::new(Decimal128Array::from(vec![Some(12_500_000), None]).with_precision_and_scale(18, 6).unwrap()),
        ),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    Answer {
        schema: batch.schema(),
        batches: vec![batch.slice(0, 1), batch.slice(1, 1)],
        elapsed: Duration::from_millis(12),
        versions: Vec::new(),
        live_positions: None,
        facts: Facts::default(),
        truncated: false,
    }
}

fn text(write: impl Fn(&Answer, &mut Vec<u8>) -> Result<(), arrow::error::ArrowError>, answer: &Answer) -> String {
    let mut out = Vec::new();
    write(answer, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_same_values_in_each_form() {
    insta::assert_snapshot!(table(&answer()).unwrap(), @r#"
    +--------+------------------+-----------+
    | name   | count            | value     |
    +--------+------------------+-----------+
    | a, "b" | 9007199254740993 | 12.500000 |
    |        | -1               |           |
    +--------+------------------+-----------+
    2 rows in 0.012 s
    "#);
    insta::assert_snapshot!(text(|answer, out| csv(answer, out), &answer()), @r#"
    name,count,value
    "a, ""b""",9007199254740993,12.500000
    ,-1,
    "#);
    insta::assert_snapshot!(text(|answer, out| json(answer, out), &answer()), @r#"[{"name":"a, \"b\"","count":9007199254740993,"value":12.500000},{"name":null,"count":-1,"value":null}]"#);
    insta::assert_snapshot!(text(|answer, out| ndjson(answer, out), &answer()), @r#"
    {"name":"a, \"b\"","count":9007199254740993,"value":12.500000}
    {"name":null,"count":-1,"value":null}
    "#);
}

#[test]
fn a_terminal_is_shown_control_characters_and_does_not_obey_them() {
    let text = "\x1b]52;c;ZXZpbA==\x07\r\u{9b}2J\tend\nnext";
    let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let batch = RecordBatch::try_from_iter([("a\x1bb", column)]).unwrap();
    let answer = Answer { schema: batch.schema(), batches: vec![batch], ..answer() };
    insta::assert_snapshot!(table(&answer).unwrap(), @r"
    +-----------------------------------------+
    | a\x1bb                                  |
    +-----------------------------------------+
    | \x1b]52;c;ZXZpbA==\x07\x0d\x9b2J\x09end |
    | next                                    |
    +-----------------------------------------+
    1 row in 0.012 s
    ");
}

#[test]
fn an_answer_without_rows_keeps_its_columns() {
    let none = Answer { batches: Vec::new(), truncated: true, ..answer() };
    insta::assert_snapshot!(table(&none).unwrap(), @r"
    +------+-------+-------+
    | name | count | value |
    +------+-------+-------+
    +------+-------+-------+
    0 rows in 0.012 s, more were cut off
    ");
    assert_eq!(text(|answer, out| csv(answer, out), &none), "name,count,value\n");
    assert_eq!(text(|answer, out| json(answer, out), &none), "[]");
}
