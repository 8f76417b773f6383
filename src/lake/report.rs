//! What `tributary lake` prints.
//!
//! In:      what the lake told.
//! Out:     text: a table for people, or one JSON document.
//! Promise: both say the same; nothing of a row's content is in it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tributary_lake::{Compacted, Lake, TableStatus, Vacuumed, Verified};
use tributary_schemas::Table;

/// Rows of cells under heads, each column as wide as it must be; numbers to the right.
fn laid_out(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let heads = heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
    for row in std::iter::once(&heads).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let (gap, width) = (if column == 0 { "" } else { "  " }, widths[column]);
            // The first column is a name; the rest are numbers and days.
            let _ = if column == 0 { write!(text, "{gap}{cell:<width$}") } else { write!(text, "{gap}{cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// 3 digits and a unit: 1.25 GB.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut amount = count as f64;
    let mut unit = 0;
    while 999.5 <= amount && unit + 1 < UNITS.len() {
        amount /= 1_000.0;
        unit += 1;
    }
    let digits = if unit == 0 || 99.95 <= amount { 0 } else { 1 };
    format!("{amount:.digits$} {}", UNITS[unit])
}

pub(super) fn status(lake: &Lake, tables: &[TableStatus], as_json: bool) -> String {
    if as_json {
        let of = |table: &TableStatus| {
            json!({
                "table": table.table.name(), "version": table.version, "files": table.files, "bytes": table.bytes,
                "rows": table.rows, "small_files": table.small_files, "sorted_files": table.sorted_files,
                "settled_files": table.settled_files, "days": table.days, "oldest_day": table.oldest_day,
                "newest_day": table.newest_day, "checkpoint": table.checkpoint, "log_entries": table.log_entries,
                "append_only": table.is_append_only, "unknown_columns": table.has_unknown_columns,
                "positions": table.positions.iter().map(|(app_id, at)| (app_id.clone(), json!(at))).collect::<serde_json::Map<_, _>>(),
            })
        };
        return line(&json!({"url": lake.url().as_str(), "tables": tables.iter().map(of).collect::<Vec<_>>()}));
    }
    let shown = |version: Option<u64>| version.map_or_else(|| "-".to_owned(), |version| version.to_string());
    let day = |day: &Option<String>| day.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = tables
        .iter()
        .map(|table| {
            vec![
                table.table.name().to_owned(),
                table.version.to_string(),
                shown(table.checkpoint),
                table.files.to_string(),
                table.small_files.to_string(),
                table.sorted_files.to_string(),
                table.settled_files.to_string(),
                bytes(table.bytes),
                table.rows.to_string(),
                day(&table.oldest_day),
                day(&table.newest_day),
            ]
        })
        .collect();
    let heads =
        ["table", "version", "checkpoint", "files", "small", "sorted", "settled", "bytes", "rows", "oldest", "newest"];
    let mut text = format!("{}\n\n{}", lake.url(), laid_out(&heads, &rows));
    for table in tables.iter().filter(|table| table.has_unknown_columns) {
        let _ =
            writeln!(text, "\n{}: a newer program has added columns; this one compacts nothing", table.table.name());
    }
    let positions = tables.iter().flat_map(|table| {
        table.positions.iter().map(|(app_id, at)| vec![app_id.clone(), table.table.name().to_owned(), at.to_string()])
    });
    let positions: Vec<Vec<String>> = positions.collect();
    if !positions.is_empty() {
        let _ = write!(text, "\n{}", laid_out(&["position", "table", "at"], &positions));
    }
    text
}

pub(super) fn compacted(done: &[(Table, Compacted)], as_json: bool) -> String {
    if as_json {
        let of = |(table, done): &(Table, Compacted)| {
            json!({
                "table": table.name(), "commits": done.commits, "files_before": done.files_before,
                "files_after": done.files_after, "bytes_before": done.bytes_before, "bytes_after": done.bytes_after,
                "rows_before": done.rows_before, "rows_after": done.rows_after, "duplicates": done.duplicates,
                "duplicates_kept": done.duplicates_kept, "collisions": done.collisions, "versions": done.versions,
                "overtaken": done.overtaken,
            })
        };
        return line(&json!({"tables": done.iter().map(of).collect::<Vec<_>>()}));
    }
    let rows: Vec<Vec<String>> = done
        .iter()
        .map(|(table, done)| {
            vec![
                table.name().to_owned(),
                format!("{} -> {}", done.files_before, done.files_after),
                format!("{} -> {}", bytes(done.bytes_before), bytes(done.bytes_after)),
                done.rows_after.to_string(),
                done.duplicates.to_string(),
                done.versions.to_string(),
                done.collisions.to_string(),
            ]
        })
        .collect();
    let mut text =
        laid_out(&["table", "files", "bytes", "rows", "duplicates dropped", "versions dropped", "flagged"], &rows);
    for (table, done) in done {
        if 0 < done.duplicates_kept {
            let _ = writeln!(
                text,
                "{}: {} duplicates stay until the sessions they may belong to are closed",
                table.name(),
                done.duplicates_kept
            );
        }
        if 0 < done.overtaken {
            let _ = writeln!(
                text,
                "{}: {} days were compacted or dropped by another meanwhile",
                table.name(),
                done.overtaken
            );
        }
    }
    text
}

pub(super) fn vacuumed(done: &[(Table, Vacuumed)], dry_run: bool, as_json: bool) -> String {
    if as_json {
        let of = |(table, done): &(Table, Vacuumed)| {
            json!({
                "table": table.name(), "files": done.files, "bytes": done.bytes, "files_waiting": done.files_waiting,
                "log_entries": done.log_entries,
            })
        };
        return line(&json!({"dry_run": dry_run, "tables": done.iter().map(of).collect::<Vec<_>>()}));
    }
    let rows: Vec<Vec<String>> = done
        .iter()
        .map(|(table, done)| {
            vec![
                table.name().to_owned(),
                done.files.to_string(),
                bytes(done.bytes),
                done.files_waiting.to_string(),
                done.log_entries.to_string(),
            ]
        })
        .collect();
    let files = if dry_run { "files that would go" } else { "files deleted" };
    laid_out(&["table", files, "bytes", "files too young", "log entries"], &rows)
}

pub(super) fn verified(found: &Verified, as_json: bool) -> String {
    if as_json {
        let of = |table: &tributary_lake::TableVerified| {
            json!({
                "table": table.table.name(), "version": table.version, "files": table.files, "rows": table.rows,
                "faults": table.faults,
            })
        };
        let hole = |hole: &tributary_lake::Hole| json!({"log_partition": hole.log_partition, "first": hole.first, "last": hole.last});
        return line(&json!({
            "sound": found.is_sound(), "tables": found.tables.iter().map(of).collect::<Vec<_>>(),
            "faults": found.faults, "holes": found.holes.iter().map(hole).collect::<Vec<_>>(),
        }));
    }
    let rows: Vec<Vec<String>> = found
        .tables
        .iter()
        .map(|table| {
            let name = table.table.name().to_owned();
            vec![
                name,
                table.version.to_string(),
                table.files.to_string(),
                table.rows.to_string(),
                table.faults.len().to_string(),
            ]
        })
        .collect();
    let mut text = laid_out(&["table", "version", "files", "rows", "faults"], &rows);
    for table in &found.tables {
        for fault in &table.faults {
            let _ = writeln!(text, "{}: {fault}", table.table.name());
        }
    }
    for fault in &found.faults {
        let _ = writeln!(text, "{fault}");
    }
    if !found.holes.is_empty() {
        let _ = writeln!(text, "\noffsets of the events' topic in neither `events` nor `dead_letters`:");
    }
    for hole in &found.holes {
        let count = hole.last - hole.first + 1;
        let _ = writeln!(text, "  partition {}: {} to {} ({count})", hole.log_partition, hole.first, hole.last);
    }
    if found.is_sound() {
        text.push_str("\nsound\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_digits_and_columns_line_up() {
        assert_eq!(
            [0, 999, 1_000, 99_900, 1_234_567, 201_326_592].map(bytes),
            ["0 B", "999 B", "1.0 kB", "99.9 kB", "1.2 MB", "201 MB"]
        );
        let text = laid_out(&["table", "n"], &[vec!["events".into(), "1234".into()], vec!["x".into(), "5".into()]]);
        assert_eq!(text, "table      n\nevents  1234\nx          5\n");
    }
}
