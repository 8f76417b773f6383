//! The reference page of the event and the tables, printed from the column tables.
//!
//! In:      the tables of the lake.
//! Out:     `docs/event.md` as text.
//! Promise: nothing on that page is written by hand; a test compares the file in the repository with this.

use std::fmt::Write as _;

use crate::columns::{Column, Personal, Purpose};
use crate::event::DEAD_LETTER_OWN;
use crate::tables::{DEAD_LETTER_LAKE_COLUMNS, Table};
use crate::vocabulary::{
    ClockQuality, Consent, DeadReason, EngagementClass, EventFlags, EventKind, LinkAction, LinkKind, LinkReason,
};

const HEAD: &str = "\
# The event and the tables

This page is printed from the column tables in `crates/schemas/src` by `cargo xtask docs`; change it there.

Times are UTC microseconds since 1970 in a `bigint`. Money is `decimal(18, 6)` beside its currency, never a float.
*Personal* says whether the column, taken alone, can point at somebody: *no*, *pseudonymous* (picks out a device
or browser), or *yes* (may hold what a person typed or was called).
";

/// The whole of `docs/event.md`.
pub fn event_markdown() -> String {
    let mut page = String::from(HEAD);
    for table in Table::ALL {
        write_table(&mut page, *table);
    }
    page.push_str(
        "\n## Words\n\nClosed lists: a column of this kind holds one of these and nothing else. Lists only grow.\n\n",
    );
    page.push_str("| list | words |\n|---|---|\n");
    write_words(&mut page, "event_kind", EventKind::ALL.iter().map(|word| word.as_str()));
    write_words(&mut page, "clock_quality", ClockQuality::ALL.iter().map(|word| word.as_str()));
    write_words(&mut page, "engagement_class", EngagementClass::ALL.iter().map(|word| word.as_str()));
    write_words(&mut page, "reason (dead_letters)", DeadReason::ALL.iter().map(|word| word.as_str()));
    write_words(&mut page, "action (identities)", LinkAction::ALL.iter().map(|word| word.as_str()));
    write_words(&mut page, "kind (identities)", LinkKind::ALL.iter().map(|word| word.as_str()));
    write_words(&mut page, "reason (identities, identity_map)", LinkReason::ALL.iter().map(|word| word.as_str()));
    page.push_str("\n## Bits\n\nBit masks: the number is the sum of the bits that hold.\n\n| column | bit | name |\n|---|---|---|\n");
    for (name, consent) in Consent::NAMES {
        write_line(&mut page, format_args!("| `consent` | {} | {name} |", consent.0));
    }
    for (name, flag) in EventFlags::NAMES {
        write_line(&mut page, format_args!("| `flags` | {} | {name} |", flag.0));
    }
    page
}

fn write_table(page: &mut String, table: Table) {
    let partition = table.partition_columns();
    let partitioned = if partition.is_empty() {
        "Not partitioned.".to_owned()
    } else {
        format!("Partitioned by {}.", ticked(partition))
    };
    write_line(page, format_args!("\n## {}\n", table.name()));
    write_line(page, format_args!("{} {partitioned}", table.meaning()));
    write_line(page, format_args!("Files are skipped by {}.\n", ticked(table.statistics_columns())));
    page.push_str("| column | type | null | unit | meaning | purpose | personal |\n|---|---|---|---|---|---|---|\n");
    let columns = table.columns();
    for Column { name, kind, nullable, meaning, unit, purpose, personal } in shown(table, &columns) {
        write_line(
            page,
            format_args!(
                "| `{name}` | {} | {} | {} | {} | {} | {} |",
                kind.sql_name(),
                if nullable { "yes" } else { "no" },
                cell(unit),
                cell(meaning),
                purpose_word(purpose),
                personal_word(personal),
            ),
        );
    }
    if table == Table::DeadLetters {
        page.push_str(
            "\nAnd every other column that `events` has from the log, each null where it could not be read.\n",
        );
    }
}

/// The columns that are told on the table's own part of the page: those that dead letters share with events are not told twice.
fn shown(table: Table, columns: &[Column]) -> impl Iterator<Item = Column> {
    let is_own = move |column: &Column| {
        table != Table::DeadLetters
            || DEAD_LETTER_OWN.iter().chain(DEAD_LETTER_LAKE_COLUMNS).any(|own| own.name == column.name)
    };
    columns.iter().filter(move |column| is_own(column)).copied()
}

fn write_words<'w>(page: &mut String, list: &str, words: impl Iterator<Item = &'w str>) {
    let words: Vec<&str> = words.collect();
    write_line(page, format_args!("| `{list}` | {} |", ticked(&words)));
}

fn write_line(page: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(page, "{line}").expect("a String takes every write");
}

fn ticked(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Text that is safe inside a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn purpose_word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Identity => "identity",
        Purpose::Time => "time",
        Purpose::Measure => "measure",
        Purpose::Attribution => "attribution",
        Purpose::Experiment => "experiment",
        Purpose::Context => "context",
        Purpose::Quality => "quality",
        Purpose::Audit => "audit",
    }
}

fn personal_word(personal: Personal) -> &'static str {
    match personal {
        Personal::No => "no",
        Personal::Pseudonymous => "pseudonymous",
        Personal::Yes => "yes",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_column_of_every_table_is_on_the_page() {
        let page = event_markdown();
        for table in Table::ALL {
            let (_, rest) = page.split_once(&format!("\n## {}\n", table.name())).unwrap();
            let section = rest.split("\n## ").next().unwrap();
            for column in shown(*table, &table.columns()) {
                assert!(section.contains(&format!("| `{}` |", column.name)), "{}.{}", table.name(), column.name);
            }
        }
    }

    #[test]
    fn every_row_of_the_page_has_as_many_cells_as_its_heading() {
        let mut cells = None;
        for line in event_markdown().lines() {
            let bars = line.replace("\\|", "").matches('|').count();
            cells = match (bars, cells) {
                (0, _) => None,
                (bars, None) => Some(bars),
                (bars, Some(expected)) => {
                    assert_eq!(bars, expected, "{line}");
                    cells
                }
            };
        }
    }

    #[test]
    fn the_page_in_the_repository_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/event.md");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            written == event_markdown(),
            "docs/event.md is not what the column tables say: run `cargo xtask docs > docs/event.md`"
        );
    }
}
