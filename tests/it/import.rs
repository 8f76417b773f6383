//! Imports through the door of a running server: every kind of file, broken rows, a second run; and what is no door.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use crate::server::{Home, Server, TRUSTED_KEY, TRUSTED_SOURCE, WRITE_KEY};

async fn import(server: &Server<'_>, dir: &Path, arguments: &[&str]) -> Output {
    import_to(&server.url(""), dir, arguments).await
}

async fn import_to(url: &str, dir: &Path, arguments: &[&str]) -> Output {
    tributary_import(dir, &[arguments, &["--url", url, "--write-key", TRUSTED_KEY]].concat()).await
}

async fn tributary_import(dir: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_tributary"))
        .arg("import")
        .args(arguments)
        .current_dir(dir)
        .output()
        .await
        .unwrap()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const MAPPING: &str = "[file]\ndelimiter = ';'\n[event]\ntype = 'track'\nevent = 'Bought'\nuserId = '{who}'\n\
                       timestamp = '{day} + {second}s'\n[event.properties]\nprice = '{price:number}'\n";

fn rows(count: usize) -> String {
    let mut text = "who;day;second;price\n".to_owned();
    for row in 0..count {
        text += &format!("u{};2026-0{}-01;{};{}.5\n", row % 50, 1 + row * 5 / count, row, row);
    }
    text
}

#[tokio::test]
async fn a_broken_line_is_told_and_the_rest_goes_on() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.toml", MAPPING.as_bytes());
    let text = "who;day;second;price\nu1;2026-01-01;1;5\nu2;2026-01-01\nu3;\"2026-01-01;1;5\nu4;2026-01-01;2;cheap\n\
                u5;someday;2;5\n;2026-01-01;2;5\nu6;2026-01-01;3;7\n";
    write(dir.path(), "sales.csv", text.as_bytes());
    let output = import(&server, dir.path(), &["sales.csv", "--mapping", "map.toml"]).await;
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("7 rows") && told.contains("2 accepted") && told.contains("5 rejected"), "{told}");
    for part in
        ["line 3: it has 2 cells", "line 4: it has a quote", "line 5:", "line 6: timestamp", "line 7: it names nobody"]
    {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
    let rejected = std::fs::read_to_string(dir.path().join("sales.csv.rejected.ndjson")).unwrap();
    let lines: Vec<u64> = rejected
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 5, 6, 7]);
    server.wait_until_queryable(&format!("SELECT count(*) FROM events WHERE source = '{TRUSTED_SOURCE}'"), 2).await;
}

#[tokio::test]
async fn an_older_file_of_a_source_is_told_to_be_too_late_for_sessions() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = |month: u32| {
        let rows = (1..=9).map(|day| format!("u{day},E,2026-0{month}-0{day}T00:00:00Z\n"));
        format!("userId,event,timestamp\n{}", rows.collect::<String>())
    };
    write(dir.path(), "may.csv", file(5).as_bytes());
    write(dir.path(), "march.csv", file(3).as_bytes());
    let first = told(&import(&server, dir.path(), &["may.csv"]).await);
    assert!(first.contains("9 accepted") && !first.contains("too late"), "{first}");
    server.wait_until_queryable("SELECT count(*) FROM events", 9).await;
    // What is late is told by the watermark, which the server says a moment after the commit.
    let is_told = || {
        let status = home.tool(&["status", "--url", &server.url(""), "--json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        crate::ops::has_watermark(&report["topics"][0])
    };
    let begun = std::time::Instant::now();
    while !is_told() {
        assert!(begun.elapsed().as_secs() < 30, "the server tells no watermark");
    }
    let second = told(&import(&server, dir.path(), &["march.csv"]).await);
    assert!(second.contains("9 accepted") && second.contains("9 events came too late for a session"), "{second}");
    assert!(second.contains("a source of their own"), "{second}");
    let status = home.tool(&["status", "--url", &server.url("")]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("50 % of them came too late") && !status.contains("all is well"), "{status}");
    // The same rows once more are duplicates, not late.
    let again = told(&import(&server, dir.path(), &["march.csv"]).await);
    assert!(again.contains("9 accepted") && !again.contains("too late"), "{again}");
}

#[tokio::test]
async fn a_row_ahead_of_now_is_rejected_and_not_moved() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let text = "userId,event,timestamp\nu1,E,2026-01-01T00:00:00Z\nu2,E,2126-01-01T00:00:00Z\nu3,E,1970-01-01\n";
    write(dir.path(), "a.csv", text.as_bytes());
    let told = told(&import(&server, dir.path(), &["a.csv"]).await);
    assert!(told.contains("1 accepted, 0 dead-lettered, 2 rejected"), "{told}");
    for words in
        ["line 3: timestamp: 2126-01-01T00:00:00Z lies", "is time_zone right?", "line 4: timestamp: 1970-01-01"]
    {
        assert!(told.contains(words), "{words}\n---\n{told}");
    }
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;
}

#[tokio::test]
async fn rows_whose_time_the_door_replaced_are_counted() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.csv", b"userId,event,timestamp\nu1,E,2020-01-01T00:00:00Z\nu2,E,2020-01-02T00:00:00Z\n");
    let url = server.url("");
    for (key, is_told) in [(WRITE_KEY, true), (TRUSTED_KEY, false)] {
        let told = told(&tributary_import(dir.path(), &["a.csv", "--url", &url, "--write-key", key]).await);
        assert!(told.contains("2 accepted, 0 dead-lettered, 0 rejected"), "{told}");
        assert_eq!(told.contains("2 of the accepted rows count as of now"), is_told, "{told}");
    }
}

#[tokio::test]
async fn a_second_import_of_a_gzip_file_doubles_nothing() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.toml", MAPPING.as_bytes());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(rows(3_000).as_bytes()).unwrap();
    write(dir.path(), "sales.csv.gz", &packed.finish().unwrap());
    for _ in 0..2 {
        let output = import(&server, dir.path(), &["sales.csv.gz", "--mapping", "map.toml"]).await;
        assert!(output.status.success() && told(&output).contains("3,000 accepted"), "{}", told(&output));
    }
    let in_lake = format!("SELECT count(*) FROM events WHERE source = '{TRUSTED_SOURCE}'");
    server.wait_until_queryable(&in_lake, 3_000).await;
    // The doubles went through the same log behind the first ones; once they are dead letters, none can follow.
    let doubled =
        format!("SELECT count(*) FROM dead_letters WHERE reason = 'duplicate' AND source = '{TRUSTED_SOURCE}'");
    server.wait_until_queryable(&doubled, 3_000).await;
    assert_eq!(server.number(&in_lake).await, 3_000);
}

#[tokio::test]
async fn ndjson_in_segments_shape_needs_no_mapping() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let lines: String =
        (0..5).map(|n| format!("{{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u{n}\"}}\n")).collect();
    write(dir.path(), "events.ndjson", format!("{lines}not json\n").as_bytes());
    let output = import(&server, dir.path(), &["events.ndjson"]).await;
    assert!(
        told(&output).contains("5 accepted") && told(&output).contains("line 6: it is not JSON"),
        "{}",
        told(&output)
    );
    server.wait_until_queryable("SELECT count(*) FROM events WHERE event_name = 'E'", 5).await;
}

/// A table of what came in: who, when, what kind, how much of what.
async fn taken(server: &Server<'_>) -> Vec<String> {
    let rows = server
        .sql(
            "SELECT user_id, CAST(event_time_us AS VARCHAR) AS time, event_kind, CAST(value AS VARCHAR) AS value, currency FROM events \
             ORDER BY event_time_us",
        )
        .await;
    let cell = |row: &serde_json::Map<String, serde_json::Value>, name: &str| {
        row[name].as_str().map_or_else(|| "-".to_owned(), str::to_owned)
    };
    rows.iter()
        .map(|row| ["user_id", "time", "event_kind", "value", "currency"].map(|name| cell(row, name)).join(" "))
        .collect()
}

#[tokio::test]
async fn local_times_decimal_commas_and_names_of_ones_own_are_read_as_stated() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let mapping = "[file]\nencoding = 'windows-1252'\ntime_format = '%d.%m.%Y %H:%M'\ntime_zone = 'Europe/Berlin'\ndecimal = ','\n\
                   thousands = '.'\n[kinds]\nconversion = ['Kauf', 'Käufe']\n[event]\nevent = '{was}'\nuserId = '{wer}'\n\
                   timestamp = '{wann}'\n[event.properties]\nrevenue = '{Betrag}'\ncurrency = 'EUR'\n";
    write(dir.path(), "map.toml", mapping.as_bytes());
    // The last hour of summer time is there twice; the last rows are told.
    let text = "wer;wann;was;Betrag\nJürgen;12.03.2026 14:05;Warenkorb;\nJürgen;12.03.2026 14:06;KAUF;1.234,50 €\n\
                u3;25.10.2026 02:30;Kauf;-12,50\nu4;2026-03-12 14:05;Kauf;5\nu5;12.03.2026 14:05;Kauf;12.5\n\
                u6;12.03.2026 14:05;Kauf;$5\n";
    let bytes: Vec<u8> =
        text.chars().map(|char| if char == '€' { 0x80 } else { u8::try_from(u32::from(char)).unwrap() }).collect();
    write(dir.path(), "shop.csv", &bytes);
    let output = import(&server, dir.path(), &["shop.csv", "--mapping", "map.toml"]).await;
    let told = told(&output);
    assert!(output.status.success() && told.contains("3 accepted, 0 dead-lettered, 3 rejected"), "{told}");
    for words in [
        "line 5: timestamp: \"2026-03-12 14:05\" does not fit time_format = \"%d.%m.%Y %H:%M\"; write time_format = \
         [\"%d.%m.%Y %H:%M\", \"%Y-%m-%d %H:%M\"] below [file]",
        "line 6: column \"Betrag\": \"12.5\" is no amount",
        "line 7: column \"Betrag\": \"$5\" is not in EUR",
        "times at which the clocks are changed: 1;",
        "';' was taken to stand between the cells",
        "[kinds] names what no row is called: Käufe",
    ] {
        assert!(told.contains(words), "{words}\n---\n{told}");
    }
    server.wait_until_queryable("SELECT count(*) FROM events", 3).await;
    assert_eq!(
        taken(&server).await,
        [
            "Jürgen 1773320700000000 custom - EUR",
            "Jürgen 1773320760000000 conversion 1234.500000 EUR",
            "u3 1792888200000000 conversion -12.500000 EUR",
        ]
    );
}

#[tokio::test]
async fn what_nobody_states_is_found_and_said_or_refused() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    // UTF-16 with tabs, and days with points.
    let utf_16: Vec<u8> = "\u{feff}userId\ttimestamp\tevent\nJürgen\t12.03.2026 14:05\tE\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    write(dir.path(), "a.csv", &utf_16);
    let output = import(&server, dir.path(), &["a.csv"]).await;
    for words in [
        "1 accepted",
        "tabs were taken to stand between the cells",
        "taken for UTF-16LE",
        "times were read as time_format = \"%d.%m.%Y %H:%M\", by line 2 (\"12.03.2026 14:05\")",
        "times that say no zone and were taken as UTC: 1;",
    ] {
        assert!(told(&output).contains(words), "{words}\n---\n{}", told(&output));
    }
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;
    assert_eq!(taken(&server).await, ["Jürgen 1773324300000000 custom - -"]);

    // Day and month could change places: nothing is sent.
    write(dir.path(), "b.csv", b"userId,timestamp,event\nu1,03/12/2026 2:05 PM,E\nu2,2026-03-01,E\n");
    let output = import(&server, dir.path(), &["b.csv"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    for words in ["line 2", "03/12/2026 2:05 PM", "time_format = \"%m/%d/%Y %I:%M %p\" (month first)"] {
        assert!(told(&output).contains(words), "{words}\n---\n{}", told(&output));
    }
    write(
        dir.path(),
        "b.toml",
        b"[file]\ntime_format = ['%m/%d/%Y %I:%M %p', '%Y-%m-%d']\ntime_zone = 'America/New_York'\n",
    );
    let output = import(&server, dir.path(), &["b.csv", "--mapping", "b.toml"]).await;
    assert!(told(&output).contains("2 accepted"), "{}", told(&output));
    server.wait_until_queryable("SELECT count(*) FROM events WHERE event_time_us = 1773338700000000", 1).await;

    // Text of another century, and a field that would vanish.
    write(dir.path(), "c.csv", b"userId,event\nJ\xfcrgen,E\n");
    let output = import(&server, dir.path(), &["c.csv"]).await;
    assert!(
        told(&output).contains("line 2: it is not UTF-8") && told(&output).contains("encoding = \"windows-1252\""),
        "{}",
        told(&output)
    );
    write(
        dir.path(),
        "d.toml",
        b"[event]\nuserId = '{userId}'\nevent = 'E'\n[event.context.traits]\nemail = 'a@b.example'\n",
    );
    let output = import(&server, dir.path(), &["c.csv", "--mapping", "d.toml"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("event.context.traits.email would not be kept"), "{}", told(&output));
    assert_eq!(server.number("SELECT count(*) FROM events").await, 3);
}

#[tokio::test]
async fn a_mapping_is_proposed_without_a_server_and_never_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "my shop.csv", b"customer,date,total\nc1,2026-03-12 14:05,5.00\n");
    let output = tributary_import(dir.path(), &["my shop.csv", "--propose"]).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && printed.contains("userId = \"{customer}\""), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("tributary import 'my shop.csv' --mapping mapping.toml") && !printed.contains("person  "),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is written unless a file is named");

    let output = tributary_import(dir.path(), &["my shop.csv", "--propose=map.toml"]).await;
    assert!(output.status.success() && output.stdout.is_empty(), "{}", told(&output));
    let written = std::fs::read_to_string(dir.path().join("map.toml")).unwrap();
    assert_eq!(written.lines().skip(3).collect::<Vec<_>>(), printed.lines().skip(3).collect::<Vec<_>>());
    write(dir.path(), "map.toml", b"mine");
    let output = tributary_import(dir.path(), &["my shop.csv", "--propose=map.toml"]).await;
    assert!(
        output.status.code() == Some(2) && told(&output).contains("map.toml is there already"),
        "{}",
        told(&output)
    );
    assert_eq!(std::fs::read(dir.path().join("map.toml")).unwrap(), b"mine");
    let output = tributary_import(dir.path(), &["none.csv", "--propose"]).await;
    assert!(output.status.code() == Some(2) && told(&output).contains("cannot open none.csv"), "{}", told(&output));
}

#[tokio::test]
async fn parquet_keeps_amounts_times_and_nulls() {
    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray,
        TimestampMillisecondArray,
    };
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    // 2026-03-01T10:00:00Z, and amounts that no float holds.
    let time_us = 1_772_359_200_000_000;
    let amounts = Decimal128Array::from(vec![Some(123_456_789_012_000_001), None, Some(-300_000), Some(1)]);
    let columns: [(&str, ArrayRef); 6] = [
        ("who", Arc::new(StringArray::from(vec![Some("u0"), Some("u1"), Some("u2"), None]))),
        ("total", Arc::new(amounts.with_precision_and_scale(18, 6).unwrap())),
        ("zoned", Arc::new(TimestampMicrosecondArray::from(vec![time_us; 4]).with_timezone("Europe/Berlin"))),
        ("plain", Arc::new(TimestampMillisecondArray::from(vec![time_us / 1_000; 4]))),
        ("day", Arc::new(Date32Array::from(vec![20_513; 4]))),
        ("colour", Arc::new(StringArray::from(vec![None, Some("red"), None, None]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let file = std::fs::File::create(dir.path().join("orders.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    for (column, expected_us) in [("day", time_us - 10 * 3_600 * 1_000_000), ("plain", time_us), ("zoned", time_us)] {
        let mapping = format!(
            "[event]\nevent = 'Order Completed'\nuserId = '{{who}}'\nmessageId = '{column}-{{who}}'\n\
             timestamp = '{{{column}}}'\n[event.properties]\nrevenue = '{{total}}'\ncurrency = 'EUR'\n\
             colour = '{{colour}}'\n"
        );
        write(dir.path(), "map.toml", mapping.as_bytes());
        let output = import(&server, dir.path(), &["orders.parquet", "--mapping", "map.toml"]).await;
        let told = told(&output);
        assert!(output.status.success() && told.contains("3 accepted"), "{told}");
        assert!(told.contains("1 rejected") && told.contains("line 4: it names nobody"), "{told}");
        let found = format!(
            "SELECT count(*) FROM events WHERE event_id LIKE '{column}-%' AND event_time_us = {expected_us} AND \
             flags = 0"
        );
        server.wait_until_queryable(&found, 3).await;
    }
    let rows = server
        .sql(
            "SELECT CAST(value AS VARCHAR) AS value, properties FROM events WHERE event_id LIKE 'zoned-%' ORDER BY user_id",
        )
        .await;
    let values: Vec<Option<&str>> = rows.iter().map(|row| row["value"].as_str()).collect();
    assert_eq!(values, [Some("123456789012.000001"), None, Some("-0.300000")]);
    let properties = |row: usize| rows[row]["properties"].as_str().unwrap().to_owned();
    assert!(properties(1).contains("red") && !properties(1).contains("revenue"), "{}", properties(1));
    assert!(!properties(0).contains("colour"), "{}", properties(0));
}

#[tokio::test]
async fn the_server_on_a_data_folder_is_found_and_a_dead_one_is_not() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.csv", b"userId,event\nu1,E\n");
    // What `serve` makes on a first start; here the keys come from a settings file.
    let keys = format!("[[ingest.write_keys]]\nsource = \"{TRUSTED_SOURCE}\"\nkey = \"{TRUSTED_KEY}\"\n");
    std::fs::write(home.data_dir().join("keys.toml"), keys).unwrap();
    let data = home.data_dir().display().to_string();
    let arguments = ["a.csv", "--data", &data, "--source", TRUSTED_SOURCE];
    let output = tributary_import(dir.path(), &arguments).await;
    assert!(output.status.success() && told(&output).contains("1 accepted"), "{}", told(&output));
    server.wait_until_queryable(&format!("SELECT count(*) FROM events WHERE source = '{TRUSTED_SOURCE}'"), 1).await;

    let output = tributary_import(dir.path(), &["a.csv", "--data", &data]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("no write key for the source \"import\""), "{}", told(&output));

    server.kill_9().await;
    assert!(home.data_dir().join("listen.addr").exists(), "a killed server leaves its address behind");
    let begun = std::time::Instant::now();
    let output = tributary_import(dir.path(), &arguments).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("no server runs on"), "{}", told(&output));
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it is not tried again for minutes");
}

#[tokio::test]
async fn rows_the_door_keeps_apart_are_counted_as_such() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u1\"}\n{\"type\":\"no such call\",\"userId\":\"u2\"}\n\
                 {\"type\":\"track\",\"event\":\"E\",\"userId\":[\"u3\"]}\n";
    write(dir.path(), "events.ndjson", lines.as_bytes());
    let output = import(&server, dir.path(), &["events.ndjson"]).await;
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("3 rows") && told.contains("1 accepted, 2 dead-lettered, 0 rejected"), "{told}");
    server.wait_until_queryable("SELECT count(*) FROM dead_letters", 2).await;
    // The question the summary gives tells the lines.
    let question = told.split_once("TOKEN \"").and_then(|(_, rest)| rest.split_once('"')).expect(&told).0;
    let letters = server.sql(question).await;
    let line = |letter: &serde_json::Map<String, serde_json::Value>| {
        letter["event_id"].as_str().and_then(|id| id.rsplit_once('-')).map(|(_, line)| line.to_owned())
    };
    let mut lines: Vec<_> = letters.iter().map(line).collect();
    lines.sort();
    assert_eq!(lines, [Some("2".to_owned()), Some("3".to_owned())], "{letters:?}");
    assert!(letters.iter().all(|letter| letter["detail"].as_str().is_some_and(|why| !why.is_empty())), "{letters:?}");
}

#[tokio::test]
async fn a_file_that_breaks_off_is_told_after_what_stood_before_is_in() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut text = "userId,event,note\n".to_owned();
    for row in 0..700 {
        // Nothing that packs well, so that half of the file is about half of the rows.
        text += &format!("u{row},E,{:x}\n", (row as u128 + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    }
    packed.write_all(text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    write(dir.path(), "half.csv.gz", &packed[..packed.len() / 2]);
    let output = import(&server, dir.path(), &["half.csv.gz"]).await;
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let told_line = told.split("breaks off after line ").nth(1).unwrap_or_else(|| panic!("{told}"));
    let line: i64 = told_line.split(|char: char| !char.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!((100..690).contains(&line), "{told}");
    // The first line names the columns.
    assert!(told.contains(&format!("{} accepted", line - 1)), "{told}");
    server.wait_until_queryable("SELECT count(*) FROM events", line - 1).await;
}

/// A web server that gives everybody the same answer, as many do.
async fn answers_always(status: &'static str, body: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let here = url.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4_096];
            // The bodies here are small and of a known end.
            while !request.ends_with(b"]}") && !request.starts_with(b"GET") {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => request.extend_from_slice(&buffer[..length]),
                }
            }
            let answer = format!(
                "HTTP/1.1 {status}\r\nlocation: {here}/welcome\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // A client that has gone away has what it wanted.
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    url
}

#[tokio::test]
async fn what_is_not_the_door_takes_nothing_whatever_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.csv", b"userId,event\nu1,E\nu2,E\n");
    for (status, body) in [
        ("200 OK", "<html>Welcome</html>"),
        ("200 OK", "{\"success\": true}"),
        ("200 OK", "{\"success\": true, \"accepted\": 1, \"dead_lettered\": 0}"),
        ("302 Found", ""),
        ("404 Not Found", "nothing here"),
    ] {
        let url = answers_always(status, body).await;
        let output = import_to(&url, dir.path(), &["a.csv"]).await;
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{status} {body}: {told}");
        assert!(told.contains("is not the door of a Tributary server"), "{status} {body}: {told}");
        assert!(!told.contains("accepted"), "{status} {body}: {told}");
    }
}

#[tokio::test]
async fn what_a_user_must_mend_is_told_with_exit_code_2() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.toml", b"[event]\nuserId = '{nobody}'\n");
    write(dir.path(), "a.csv", b"who\nu1\n");
    write(dir.path(), "rows.xyz", b"who\nu1\n");
    std::fs::create_dir(dir.path().join("folder.csv")).unwrap();
    let url = server.url("");
    for (arguments, code, words) in [
        (vec!["none.csv", "--url", &url, "--write-key", TRUSTED_KEY], 2, "cannot open none.csv"),
        (vec!["a.csv", "--url", "localhost", "--write-key", "k"], 2, "http://127.0.0.1:8080"),
        (vec!["a.csv", "--url", &url, "--write-key", "wrong", "--mapping", "map.toml"], 2, "it has: who"),
        (vec!["rows.xyz", "--url", &url, "--write-key", TRUSTED_KEY], 2, "add --format"),
        (vec!["folder.csv", "--url", &url, "--write-key", TRUSTED_KEY], 2, "is a folder"),
        (vec!["a.csv", "--url", &url, "--write-key", TRUSTED_KEY], 2, "no column is called anonymousId or userId"),
        (vec!["a.csv", "--data", "nowhere"], 2, "no server runs on nowhere"),
    ] {
        let output = tributary_import(dir.path(), &arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(words), "{arguments:?}: {}", told(&output));
    }
    write(dir.path(), "b.csv", b"userId\nu1\n");
    let output = tributary_import(dir.path(), &["b.csv", "--url", &url, "--write-key", "wrong"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("refuses the write key"), "{}", told(&output));
}
