//! The report: what is printed, and what must be true of it.
//!
//! In:      findings.
//! Out:     lines of at most 80 columns on stdout; a verdict.
//! Promise: every figure with a known truth is checked, and the report says which ones failed.

use std::path::Path;

const WIDTH: usize = 78;

/// Prints at once: the demo takes a while, and its reader should see it move.
pub(crate) struct Report;

impl Report {
    pub(crate) fn title(&mut self, text: &str) {
        println!("\n{text}\n{}", "=".repeat(text.chars().count()));
    }

    pub(crate) fn heading(&mut self, name: &str, about: &str) {
        println!("\n{name}");
        println!("{}", "-".repeat(WIDTH));
        if !about.is_empty() {
            self.text(about);
        }
    }

    /// Text, broken into lines.
    pub(crate) fn text(&mut self, text: &str) {
        for line in wrapped(text, WIDTH - 2) {
            println!("  {line}");
        }
    }

    /// A finding.
    pub(crate) fn line(&mut self, text: &str) {
        for (index, line) in wrapped(text, WIDTH - 4).iter().enumerate() {
            println!("  {} {line}", if index == 0 { '*' } else { ' ' });
        }
    }

    /// A table with right-aligned figures under its heads; the first column is text.
    pub(crate) fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let print = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from("    ");
            for (column, cell) in cells.enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                line += &if column == 0 { format!("{cell:<width$}") } else { format!("   {cell:>width$}") };
            }
            println!("{}", line.trim_end());
        };
        print(&mut heads.iter().copied());
        for row in rows {
            print(&mut row.iter().map(String::as_str));
        }
    }

    pub(crate) fn next_commands(&mut self, data: &Path) {
        let data = data.display();
        self.heading("Try next", "");
        for (what, command) in [
            (
                "ask a question:",
                format!("sql --data {data} \\\n      \"SELECT * FROM attribution(by => campaign_id)\""),
            ),
            ("ask many, in a shell where \\d lists the tables:", format!("sql --data {data}")),
            ("keep the line running on this data:", format!("serve --data {data}")),
        ] {
            println!("  {what}\n    tributary {command}");
        }
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What must be true, and whether it is.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    count: usize,
    failed: Vec<String>,
}

impl Checks {
    pub(crate) fn equal<T: PartialEq + std::fmt::Display>(&mut self, what: &str, expected: T, found: T) {
        self.holds(&format!("{what}: {expected} was expected, {found} was found"), expected == found);
    }

    pub(crate) fn holds(&mut self, what: &str, is_true: bool) {
        self.count += 1;
        if !is_true {
            self.failed.push(what.to_owned());
        }
    }

    pub(crate) fn tell(&self, report: &mut Report) {
        if self.failed.is_empty() {
            report.line(&format!("all {} figures with a known truth agree with it", self.count));
        }
        for failed in &self.failed {
            report.line(&format!("WRONG: {failed}"));
        }
    }

    pub(crate) fn into_result(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.failed.is_empty(),
            "{} of {} figures differ from what is known to be true (see WRONG above); this is a fault of Tributary: \
             please report it with the output of this run",
            self.failed.len(),
            self.count
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_the_width() {
        let lines = wrapped("a bb ccc dddd eeeee", 7);
        assert_eq!(lines, ["a bb", "ccc", "dddd", "eeeee"]);
    }

    #[test]
    fn one_wrong_figure_fails_the_demo() {
        let mut checks = Checks::default();
        checks.equal("sessions", 3, 3);
        checks.equal("events", 5, 4);
        let error = checks.into_result().expect_err("a figure differs").to_string();
        assert!(error.starts_with("1 of 2"), "{error}");
    }
}
