//! The report: what is printed, and what must be true of it.
//!
//! In:      findings.
//! Out:     lines of at most 80 columns on stdout, but for a single longer word; a verdict.
//! Promise: every figure with a known truth is checked, and the report says which ones failed; the commands it names
//!          can be typed as they stand.

use std::path::{Path, PathBuf};

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
        let data_keys = data.join("keys.toml");
        let (program, data) = (quoted(&program().display().to_string()), quoted(&data.display().to_string()));
        self.heading("Try next", "");
        let question = quoted("SELECT * FROM attribution(by => utm_campaign)");
        for (what, words) in [
            ("ask a question:", vec!["sql", "--data", &data, &question]),
            ("ask many, in a shell where \\d lists the tables:", vec!["sql", "--data", &data]),
            (
                "keep the line running on this data (the next demo then leaves it alone):",
                vec!["serve", "--data", &data],
            ),
        ] {
            println!("  {what}");
            let words: Vec<&str> = std::iter::once(program.as_str()).chain(words).collect();
            for line in command_lines(&words, WIDTH - 4) {
                println!("    {line}");
            }
        }
        let page = "Then open http://127.0.0.1:8080/ in a browser: overview, funnel, attribution, the experiment, live";
        self.text(&format!("{page} events. The token it asks for is in {}.", data_keys.display()));
    }
}

/// This program as it can be typed here: who has just built it does not have it on the path.
fn program() -> PathBuf {
    let Ok(program) = std::env::current_exe() else { return PathBuf::from("tributary") };
    let here = std::env::current_dir().ok();
    match here.and_then(|here| Some(program.strip_prefix(here).ok()?.to_owned())) {
        // A name without a slash would be looked for on the path.
        Some(below) if below.components().count() == 1 => Path::new(".").join(below),
        Some(below) => below,
        None => program,
    }
}

/// A word of a command as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "/._-:=+@%,".contains(char);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false if word.contains(['$', '`', '"', '\\', '!']) => format!("'{}'", word.replace('\'', r"'\''")),
        false => format!("\"{word}\""),
    }
}

/// A command, broken between its words where it is wider than `width`.
fn command_lines(words: &[&str], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            // Two more for a line end that may follow.
            Some(line) if line.chars().count() + 1 + word.chars().count() + 2 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(format!("  {word}"));
            }
            None => lines.push((*word).to_owned()),
        }
    }
    lines
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
    fn a_command_is_broken_between_words_and_quoted_for_a_shell() {
        let question = quoted("SELECT * FROM t");
        let lines = command_lines(&["target/release/tributary", "sql", "--data", "a/b", &question], 45);
        assert_eq!(lines, ["target/release/tributary sql --data a/b \\", "  \"SELECT * FROM t\""]);
        assert_eq!(command_lines(&["a-word-that-is-too-long", "b"], 8), ["a-word-that-is-too-long \\", "  b"]);
        for (word, typed) in [("a/b-c.d", "a/b-c.d"), ("a b", "\"a b\""), ("$x isn't", r"'$x isn'\''t'"), ("", "\"\"")]
        {
            assert_eq!(quoted(word), typed);
        }
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
