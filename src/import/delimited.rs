//! CSV and its kin, read line by line so that a broken line costs one line.
//!
//! In:      lines; the first names the columns.
//! Out:     rows; lines that do not fit as rejects.
//! Promise: an unclosed quote does not swallow the file: it is looked for in the next few lines only, and
//!          when it is not closed there, the one line is rejected and reading goes on behind it. What stands
//!          between cells is found from the first lines, unless it is given.
//!
//! A streaming CSV parser would treat an unclosed quote as the start of a cell that ends with the file.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::reader::{Line, LineFault, Lines, Rows};
use super::row::{Body, Columns, Reject, Row, content_hash};

/// Lines one quoted cell may run over.
const LINES_JOINED_MAX: usize = 50;

/// Lines below the first that tell what stands between cells.
const LINES_LOOKED_AT: usize = 20;

/// The rarer a mark is in texts and amounts, the later it stands.
const DELIMITERS: [u8; 4] = [b',', b'|', b';', b'\t'];

pub(super) struct DelimitedRows {
    lines: Lines,
    /// Lines read while looking for a closing quote and given back.
    again: VecDeque<Line>,
    delimiter: u8,
    columns: Arc<Columns>,
}

impl DelimitedRows {
    /// * `stated`: what stands between cells, where somebody says; `tab_by_name`: the file is called `.tsv`.
    pub(crate) fn open(mut lines: Lines, stated: Option<u8>, tab_by_name: bool) -> anyhow::Result<Self> {
        let empty = "the file is empty; the first line must name the columns";
        let mut first = lines.next_line()?.context(empty)?;
        // Excel's own way to say what stands between cells.
        let mut said = None;
        if let Ok([b's', b'e', b'p', b'=', between]) = first.text.as_ref().map(String::as_bytes) {
            said = Some(*between);
            first = lines.next_line()?.context(empty)?;
        }
        let first = match first.text {
            Ok(first) => first,
            Err(fault) => bail!("the first line, which names the columns, cannot be read: {}", fault.reason),
        };
        let mut again = VecDeque::new();
        let delimiter = match stated.or(said) {
            Some(delimiter) => delimiter,
            None => {
                while again.len() < LINES_LOOKED_AT {
                    let Some(line) = lines.next_line()? else { break };
                    again.push_back(line);
                }
                let texts: Vec<&str> = again.iter().filter_map(|line: &Line| line.text.as_deref().ok()).collect();
                if tab_by_name && first.contains('\t') { b'\t' } else { between_cells(&first, &texts) }
            }
        };
        let Parsed::Cells(names) = parse(&first, delimiter) else {
            bail!("the first line, which names the columns, has a quote that is not closed");
        };
        let names: Vec<String> = names.into_iter().map(|name| name.trim().to_owned()).collect();
        if let Some(twice) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            bail!("the first line names the column {:?} twice; rename one", twice.1);
        }
        Ok(Self { lines, again, delimiter, columns: Arc::new(Columns::new(names)) })
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    fn next_line(&mut self) -> anyhow::Result<Option<Line>> {
        match self.again.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next_line(),
        }
    }

    /// Looks for the quote that closes; gives all lines but the first back when there is none.
    fn join(&mut self, first: &str) -> anyhow::Result<Option<(String, Vec<String>)>> {
        let mut joined = first.to_owned();
        let mut taken = Vec::new();
        while taken.len() < LINES_JOINED_MAX {
            let Some(line) = self.next_line()? else { break };
            let Ok(text) = &line.text else {
                taken.push(line);
                break;
            };
            joined.push('\n');
            joined.push_str(text);
            taken.push(line);
            if let Parsed::Cells(cells) = parse(&joined, self.delimiter) {
                if cells.len() == self.columns.names().len() {
                    return Ok(Some((joined, cells)));
                }
                break;
            }
        }
        for line in taken.into_iter().rev() {
            self.again.push_front(line);
        }
        Ok(None)
    }
}

impl Rows for DelimitedRows {
    fn next_row(&mut self) -> anyhow::Result<Option<Result<Row, Reject>>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let number = line.number;
            let text = match line.text {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => text,
                Err(LineFault { reason, shown }) => return Ok(Some(Err(Reject { line: number, reason, row: shown }))),
            };
            let expected = self.columns.names().len();
            let (text, cells) = match parse(&text, self.delimiter) {
                Parsed::Cells(cells) => (text, cells),
                Parsed::QuoteOpen => match self.join(&text)? {
                    Some(joined) => joined,
                    None => {
                        let reason = "it has a quote that is not closed".to_owned();
                        return Ok(Some(Err(Reject { line: number, reason, row: text })));
                    }
                },
            };
            if cells.len() != expected {
                let reason = format!("it has {} cells where the first line names {expected} columns", cells.len());
                return Ok(Some(Err(Reject { line: number, reason, row: text })));
            }
            let content_hash = content_hash(&[text.as_bytes()]);
            let body = Body::Cells { columns: self.columns.clone(), cells };
            return Ok(Some(Ok(Row { line: number, body, content_hash })));
        }
    }

    fn columns(&self) -> Option<&Columns> {
        Some(&self.columns)
    }
}

/// What parts the first line, and the lines below it into as many cells; of several the one that most lines agree
/// with, then the one that makes most cells. A comma where nothing parts anything.
fn between_cells(first: &str, lines: &[&str]) -> u8 {
    let cells = |text: &str, delimiter| match parse(text, delimiter) {
        Parsed::Cells(cells) => cells.len(),
        Parsed::QuoteOpen => 0,
    };
    let standing = |delimiter: u8| {
        let count = cells(first, delimiter);
        let agreeing = lines.iter().filter(|line| cells(line, delimiter) == count).count();
        (1 < count).then_some((agreeing, count))
    };
    // Of equals the last is taken: a comma may stand in amounts and texts of a file that `;` parts.
    let found = DELIMITERS.into_iter().filter_map(|delimiter| Some((standing(delimiter)?, delimiter)));
    found.max_by_key(|(standing, _)| *standing).map_or(b',', |(_, delimiter)| delimiter)
}

enum Parsed {
    Cells(Vec<String>),
    QuoteOpen,
}

fn parse(text: &str, delimiter: u8) -> Parsed {
    if !text.contains('"') {
        return Parsed::Cells(text.split(char::from(delimiter)).map(str::to_owned).collect());
    }
    // The line behind ours is swallowed exactly when a quote of ours is still open.
    let probed = format!("{text}\n.");
    let mut records = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(probed.as_bytes())
        .into_records()
        .filter_map(Result::ok);
    match (records.next(), records.next()) {
        (Some(record), Some(_)) => Parsed::Cells(record.iter().map(str::to_owned).collect()),
        _ => Parsed::QuoteOpen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (line, cells) of good rows and (line, reason) of bad ones.
    /// Line with its cells, or with its fault.
    type Told = Result<(u64, Vec<String>), (u64, String)>;

    fn read(text: &str) -> Vec<Told> {
        let mut rows = DelimitedRows::open(Lines::of(text.as_bytes()), Some(b';'), false).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            all.push(match row {
                Ok(Row { line, body: Body::Cells { cells, .. }, .. }) => Ok((line, cells)),
                Ok(_) => unreachable!(),
                Err(reject) => Err((reject.line, reject.reason)),
            });
        }
        all
    }

    #[test]
    fn a_broken_line_costs_that_line_only() {
        let rows = read("a;b\n1;2\n3\n4;\"open\n5;6\n7;8;9\n");
        assert_eq!(rows[0], Ok((2, vec!["1".to_owned(), "2".to_owned()])));
        assert!(rows[1].as_ref().is_err_and(|(line, reason)| *line == 3 && reason.contains("1 cells")));
        assert!(rows[2].as_ref().is_err_and(|(line, reason)| *line == 4 && reason.contains("quote")));
        assert_eq!(rows[3], Ok((5, vec!["5".to_owned(), "6".to_owned()])));
        assert!(rows[4].as_ref().is_err_and(|(line, _)| *line == 6));
    }

    #[test]
    fn quoted_cells_hold_delimiters_quotes_and_line_ends() {
        let rows = read("\u{feff}a;b\r\n\"x;\"\"y\"\"\";\"two\nlines\"\r\n\n5;6\n");
        assert_eq!(rows[0], Ok((2, vec!["x;\"y\"".to_owned(), "two\nlines".to_owned()])));
        assert_eq!(rows[1], Ok((5, vec!["5".to_owned(), "6".to_owned()])));
    }

    #[test]
    fn a_line_that_is_not_utf8_is_told() {
        let mut rows = DelimitedRows::open(Lines::of(b"a;b\n\xff;1\n2;3\n"), None, false).unwrap();
        let told = rows.next_row().unwrap().unwrap().unwrap_err().reason;
        assert!(told.contains("UTF-8") && told.contains("encoding = \"windows-1252\""), "{told}");
        assert_eq!(rows.next_row().unwrap().unwrap().unwrap().line, 3);
    }

    #[test]
    fn a_file_without_a_usable_first_line_is_refused() {
        for text in ["", "a;a\n1;2\n", "\"a;b\n"] {
            assert!(DelimitedRows::open(Lines::of(text.as_bytes()), Some(b';'), false).is_err(), "{text:?}");
        }
        let told = DelimitedRows::open(Lines::of(b"K\xe4ufer;b\n"), None, false).err().unwrap().to_string();
        assert!(told.contains("encoding = \"windows-1252\""), "{told}");
    }

    #[test]
    fn what_stands_between_cells_is_found_unless_it_is_given() {
        for (text, stated, tab_by_name, delimiter, columns, first_line) in [
            ("who,day\nu1,2\n", None, false, b',', 2, 2),
            ("who;total\nu1;12,50\nu2;1,5\n", None, false, b';', 2, 2),
            // A comma in the first line that the lines below do not bear out.
            ("who;total, gross\nu1;12\n", None, false, b';', 2, 2),
            ("who;total, gross\nu1;12,50\nu2;1,50\n", None, false, b';', 2, 2),
            ("who\ttotal\tday\nu1\t12,50\tx;y\n", None, false, b'\t', 3, 2),
            ("who|total\nu1|5\n", None, false, b'|', 2, 2),
            ("\"who;1\",\"a\"\n\"x;y\",2\n", None, false, b',', 2, 2),
            ("who\nu1\n", None, false, b',', 1, 2),
            ("who;day\nu1;2\n", Some(b','), false, b',', 1, 2),
            ("a;b\tc\n1;2\t3\n", None, true, b'\t', 2, 2),
            ("who;day\nu1;2\n", None, true, b';', 2, 2),
            ("sep=;\nwho;day,hour\nu1;2,3\n", None, false, b';', 2, 3),
        ] {
            let mut rows = DelimitedRows::open(Lines::of(text.as_bytes()), stated, tab_by_name).unwrap();
            let names = rows.columns().unwrap().names().len();
            assert_eq!((rows.delimiter(), names), (delimiter, columns), "{text:?}");
            let row = rows.next_row().unwrap().unwrap();
            assert_eq!(row.map_or_else(|reject| reject.line, |row| row.line), first_line, "{text:?}");
        }
    }
}
