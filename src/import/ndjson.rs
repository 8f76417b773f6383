//! NDJSON: one JSON object a line.
//!
//! In:      lines.
//! Out:     rows; lines that are no JSON object as rejects.
//! Promise: a broken line costs that line only.

use serde_json::Value;

use super::reader::{LineFault, Lines, Rows};
use super::row::{Body, Columns, Reject, Row, content_hash};

pub(super) struct NdjsonRows {
    lines: Lines,
}

impl NdjsonRows {
    pub(crate) fn open(lines: Lines) -> Self {
        Self { lines }
    }
}

impl Rows for NdjsonRows {
    fn next_row(&mut self) -> anyhow::Result<Option<Result<Row, Reject>>> {
        loop {
            let Some(line) = self.lines.next_line()? else { return Ok(None) };
            let number = line.number;
            let text = match line.text {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => text,
                Err(LineFault { reason, shown }) => return Ok(Some(Err(Reject { line: number, reason, row: shown }))),
            };
            let reason = match serde_json::from_str::<Value>(&text) {
                Ok(Value::Object(object)) => {
                    let content_hash = content_hash(&[text.as_bytes()]);
                    return Ok(Some(Ok(Row { line: number, body: Body::Object(object), content_hash })));
                }
                Ok(_) => "it is JSON, but no object".to_owned(),
                Err(error) => format!("it is not JSON: {error}"),
            };
            return Ok(Some(Err(Reject { line: number, reason, row: text })));
        }
    }

    fn columns(&self) -> Option<&Columns> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_objects_are_told_and_the_rest_goes_on() {
        let text = "{\"a\":1}\n\n{\"a\":\n[1]\n{\"a\":2}\n";
        let mut rows = NdjsonRows::open(Lines::of(text.as_bytes()));
        let mut lines = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            lines.push(row.map(|row| row.line).map_err(|reject| reject.line));
        }
        assert_eq!(lines, [Ok(1), Err(3), Err(4), Ok(5)]);
    }
}
