//! The Grafana dashboards in `dashboards/`: what they ask is answered, and with what their panels want.
//!
//! In:      each query of each dashboard, with Grafana's macros and variables put in as Grafana does it.
//! Out:     columns and rows, by psql over PostgreSQL's protocol; for Prometheus, the names a served process really tells.
//! Promise: a panel whose query is refused, brings no number, or is out of the order of time fails by its name.
//!
//! Source of the macros: Grafana's data source for PostgreSQL, `macros.go`, and the ones all SQL sources share (`sqleng`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::outside;
use crate::page::plant;
use crate::postgres::port;
use crate::server::{Home, QUERY_TOKEN, Server, TRUSTED_KEY, WRITE_KEY};

const BOARDS: [(&str, &str); 5] = [
    ("overview", include_str!("../../dashboards/overview.json")),
    ("funnel", include_str!("../../dashboards/funnel.json")),
    ("attribution", include_str!("../../dashboards/attribution.json")),
    ("experiments", include_str!("../../dashboards/experiments.json")),
    ("operations", include_str!("../../dashboards/operations.json")),
];

/// From 2026-01-01, before what `page::plant` plants, until far from now: what was kept apart is told by its receipt.
const FROM_S: i64 = 1_767_225_600;
const TO_S: i64 = 4_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn boards() -> Vec<(&'static str, Value)> {
    BOARDS.map(|(name, text)| (name, serde_json::from_str(text).unwrap())).to_vec()
}

fn list<'b>(board: &'b Value, pointer: &str) -> &'b Vec<Value> {
    board.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("{pointer} is no list"))
}

fn text<'b>(value: &'b Value, name: &str) -> &'b str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {value}"))
}

/// Its name as Grafana writes it into SQL, in each form that is asked for.
fn values(board: &Value) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for variable in list(board, "/templating/list") {
        let name = text(variable, "name");
        let value = match (name, text(variable, "type")) {
            (_, "datasource") => continue,
            ("source", _) => "backend",
            ("experiment", _) => "button",
            ("instance", _) => ".*",
            // What a dashboard starts with.
            _ => variable["current"]["value"].as_str().unwrap(),
        };
        values.insert(format!("${{{name}:raw}}"), value.to_owned());
        values.insert(format!("${{{name}:sqlstring}}"), format!("'{}'", value.replace('\'', "''")));
    }
    values
}

fn expanded(sql: &str, values: &BTreeMap<String, String>) -> String {
    let mut sql = sql.to_owned();
    for (name, value) in values {
        sql = sql.replace(name, value);
    }
    for (name, value) in [("${__from:date:YYYY-MM-DD}", "2026-01-01"), ("${__to:date:YYYY-MM-DD}", "2026-02-01")] {
        sql = sql.replace(name, value);
    }
    for (name, value) in [("$__unixEpochFrom()", FROM_S), ("$__unixEpochTo()", TO_S)] {
        sql = sql.replace(name, &value.to_string());
    }
    // An argument ends at a comma and a call at the first parenthesis, whatever it belongs to: so does Grafana's expression.
    while let Some(at) = sql.find("$__") {
        let (name, rest) = sql[at..].split_once('(').unwrap_or_else(|| panic!("no macro: {sql}"));
        let (arguments, after) = rest.split_once(')').unwrap();
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        let column = arguments[0];
        let seconds = || match arguments[1].trim_matches('\'') {
            "1h" => 3_600,
            "1d" => 86_400,
            other => panic!("{other} is no interval of the dashboards"),
        };
        let made = match name {
            "$__unixEpochGroupAlias" => format!("floor(({column})/{0})*{0} AS \"time\"", seconds()),
            "$__timeGroupAlias" => format!("floor(extract(epoch from {column})/{0})*{0} AS \"time\"", seconds()),
            "$__time" => format!("{column} AS \"time\""),
            "$__unixEpochFilter" => format!("{column} >= {FROM_S} AND {column} <= {TO_S}"),
            other => panic!("{other} is not a macro the dashboards use"),
        };
        sql = format!("{}{made}{after}", &sql[..at]);
    }
    assert!(!sql.contains('$'), "something was left to put in: {sql}");
    sql
}

/// What one query gave: columns with their types, rows of cells.
struct Told {
    columns: Vec<(String, String)>,
    rows: Vec<Vec<String>>,
}

impl Told {
    fn numbers(&self) -> Vec<&str> {
        let is_number = |kind: &str| {
            ["bigint", "integer", "smallint", "double precision", "real"].contains(&kind) || kind.starts_with("numeric")
        };
        let numbers = self.columns.iter().filter(|(_, kind)| is_number(kind));
        numbers.map(|(name, _)| name.as_str()).filter(|name| *name != "time").collect()
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(known, _)| known == name)
    }
}

/// All queries through one psql: for each, what it will be and what it is.
async fn asked(at: &str, queries: &[String]) -> Option<Vec<Told>> {
    const MARK: &str = "==next==";
    let command = outside::psql("each_query_of_the_dashboards_is_answered_with_what_its_panel_wants")?;
    let mut script = String::new();
    for query in queries {
        script += &format!("{query} \\gdesc\n\\echo {MARK}\n{query};\n\\echo {MARK}\n");
    }
    let mut psql = tokio::process::Command::new(command.get_program());
    psql.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PGPASSWORD", QUERY_TOKEN);
    psql.args(["-X", "-q", "-A", "-F", "\t", "-P", "footer=off", "-v", "ON_ERROR_STOP=1", at]).kill_on_drop(true);
    psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = psql.spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    let writing = async move { input.write_all(script.as_bytes()).await.unwrap() };
    let (output, ()) = tokio::join!(tokio::time::timeout(PATIENCE, running.wait_with_output()), writing);
    let output = output.expect("it ends").unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mark = format!("{MARK}\n");
    let mut parts = printed.split(&mark);
    let mut all = Vec::new();
    for query in queries {
        let failed = || format!("{query}\n{}", String::from_utf8_lossy(&output.stderr));
        let cells = |part: &str| -> Vec<Vec<String>> {
            part.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
        };
        let (described, rows) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        assert!(!rows.is_empty(), "{}", failed());
        let columns = cells(described).into_iter().map(|line| (line[0].clone(), line[1].clone())).collect();
        all.push(Told { columns, rows: cells(rows) });
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(all)
}

/// What a panel needs of an answer to draw it.
fn fits(panel: &Value, target: &Value, told: &Told) -> Result<(), String> {
    let kind = text(panel, "type");
    if told.rows.is_empty() {
        return Err("it has no rows, though what it asks for was planted".to_owned());
    }
    if kind != "table" && told.numbers().is_empty() {
        return Err(format!("it has no number to draw: {:?}", told.columns));
    }
    if text(target, "format") == "time_series" {
        let at = told.column("time").ok_or("it has no column called time")?;
        let is_time = |kind: &str| kind.starts_with("timestamp") || kind == "double precision" || kind == "bigint";
        if !is_time(&told.columns[at].1) {
            return Err(format!("its time is {}", told.columns[at].1));
        }
        let times: Vec<&String> = told.rows.iter().map(|row| &row[at]).collect();
        // Numbers of seconds of our century are of one length, as are times in words: they compare as texts.
        if !times.is_sorted() {
            return Err(format!("its rows are not in the order of time: {times:?}"));
        }
    }
    if kind == "barchart" {
        let name = panel.pointer("/options/xField").and_then(Value::as_str).unwrap_or_default();
        let at = told.column(name).ok_or_else(|| format!("it has no column {name} for its axis"))?;
        if told.columns[at].1 != "text" {
            return Err(format!("its axis {name} is {}", told.columns[at].1));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_of_the_dashboards_is_answered_with_what_its_panel_wants() {
    let home = Home::embedded().with("postgres.listen", "127.0.0.1:0");
    let server = home.start().await;
    plant(&server).await;
    keep_one_apart(&server).await;
    let at = format!("postgresql://grafana@127.0.0.1:{}/tributary", port(&home));
    let all = boards();
    let mut queries = Vec::new();
    for (name, board) in &all {
        let values = values(board);
        for variable in list(board, "/templating/list") {
            if let ("query", Some(sql)) = (text(variable, "type"), variable["query"].as_str()) {
                queries.push((format!("{name}: variable {}", text(variable, "name")), expanded(sql, &values), None));
            }
        }
        for panel in list(board, "/panels") {
            for target in list(panel, "/targets") {
                let Some(sql) = target["rawSql"].as_str() else { continue };
                let title = format!("{name}: {}", text(panel, "title"));
                queries.push((title, expanded(sql, &values), Some((panel, target))));
            }
        }
    }
    assert!(40 <= queries.len(), "{}", queries.len());
    let sql: Vec<String> = queries.iter().map(|(_, sql, _)| sql.clone()).collect();
    let Some(answers) = asked(&at, &sql).await else { return };
    let mut faults = Vec::new();
    for ((title, sql, panel), told) in queries.iter().zip(&answers) {
        match panel {
            Some((panel, target)) => {
                if let Err(fault) = fits(panel, target, told) {
                    faults.push(format!("{title}: {fault}\n{sql}"));
                }
            }
            None if told.rows.is_empty() || told.columns.len() != 1 => {
                faults.push(format!("{title}: no values\n{sql}"))
            }
            None => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));

    // A few of them beside what was planted.
    let row = |title: &str| {
        let at = queries.iter().position(|(known, ..)| known == title).unwrap_or_else(|| panic!("{title}"));
        answers[at].rows.iter().map(|row| row.join("|")).collect::<Vec<_>>()
    };
    assert_eq!(row("overview: Conversions"), ["5"]);
    assert_eq!(row("overview: Persons"), ["20"]);
    assert_eq!(row("attribution: Spend and return"), ["paid_search|EUR|7.5|1|10|7.5|1.3333333333333333"]);
    assert_eq!(row("attribution: Conversions"), ["5"]);
    let funnel = row("funnel: How many come how far");
    assert!(funnel[0].ends_with("|20") && funnel[1].ends_with("|12") && funnel[2].ends_with("|5"), "{funnel:?}");
    assert!(server.stop().await.success());
}

async fn keep_one_apart(server: &Server<'_>) {
    let body = r#"{"batch": [{"type": "track", "userId": "u01", "messageId": "no-name", "timestamp": "2026-01-05T10:00:00Z"}]}"#;
    let (status, answer) = server.post("/v1/batch", TRUSTED_KEY, body).await;
    assert_eq!(status, 200, "{answer}");
    server.wait_until_at_least("SELECT count(*) FROM dead_letters", 1).await;
}

#[test]
fn the_dashboards_are_ones_grafana_11_imports() {
    let (mut uids, mut files) = (BTreeSet::new(), 0);
    for (name, board) in &boards() {
        assert!(uids.insert(text(board, "uid").to_owned()), "{name}: its uid is another's");
        assert!(!text(board, "title").is_empty() && board["id"].is_null(), "{name}");
        // 39 is Grafana 11's; older ones are brought up to it, newer ones are refused by nobody.
        assert_eq!(board["schemaVersion"], 39, "{name}");
        let variables = list(board, "/templating/list");
        assert_eq!(variables[0]["type"], "datasource", "{name}: which data source is asked first");
        let known: Vec<&str> = variables.iter().map(|variable| text(variable, "name")).collect();
        let (mut ids, mut places) = (BTreeSet::new(), Vec::new());
        for panel in list(board, "/panels") {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}: its id is another's");
            let of = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            let (x, y, w, h) = (of("x"), of("y"), of("w"), of("h"));
            assert!(x + w <= 24 && 0 < w && 0 < h, "{name}: {title} is wider than the page");
            for (other, (x2, y2, w2, h2)) in &places {
                let apart = x + w <= *x2 || x2 + w2 <= x || y + h <= *y2 || y2 + h2 <= y;
                assert!(apart, "{name}: {title} lies over {other}");
            }
            places.push((title, (x, y, w, h)));
            for target in list(panel, "/targets") {
                for part in [panel, target] {
                    assert_eq!(part["datasource"]["uid"], "${datasource}", "{name}: {title}");
                    assert_eq!(part["datasource"]["type"], variables[0]["query"], "{name}: {title}");
                }
                let asked = target["rawSql"].as_str().or(target["expr"].as_str()).unwrap();
                for used in asked.split("${").skip(1) {
                    let used = used.split([':', '}']).next().unwrap();
                    assert!(
                        known.contains(&used) || ["__from", "__to"].contains(&used),
                        "{name}: {title}: no variable is called {used}"
                    );
                }
            }
        }
    }
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        files += usize::from(file.ends_with(".json"));
    }
    assert_eq!(files, BOARDS.len(), "each dashboard is tested");
}

/// The names of metrics in an expression of Prometheus.
fn metric_names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("tributary_"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_metric_of_the_dashboards_is_told_by_a_server() {
    let home = Home::embedded()
        .with("postgres.listen", "127.0.0.1:0")
        .with("telemetry.observe_interval_ms", "100")
        .with("telemetry.books_interval_ms", "100");
    let server = home.start().await;
    plant(&server).await;
    keep_one_apart(&server).await;
    // A counter with labels appears at its first count: who is not let in is counted so.
    let refused = refused_by_postgres(port(&home)).await;
    assert!(refused, "a client that shows no token is let in by nobody");
    server.number("SELECT count(*) FROM events_live").await;
    let (status, _) = server.post("/v1/track", WRITE_KEY, r#"{"userId": "u", "event": "Now"}"#).await;
    assert_eq!(status, 200);

    let boards = boards();
    let (_, operations) = boards.iter().find(|(name, _)| *name == "operations").unwrap();
    let panels = list(operations, "/panels").iter();
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for panel in panels {
        for target in list(panel, "/targets") {
            wanted.extend(metric_names(text(target, "expr")).map(|name| (name, text(panel, "title"))));
        }
    }
    assert!(30 < wanted.len(), "{wanted:?}");
    let begun = Instant::now();
    loop {
        let told = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
        let names: BTreeSet<&str> = told
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let missing: Vec<_> = wanted.iter().filter(|(name, _)| !names.contains(**name)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{missing:?} are not among {names:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(server.stop().await.success());
}

/// Greets as a client of PostgreSQL and then says something that is no proof.
async fn refused_by_postgres(port: u16) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = b"\0\x03\0\0user\0ann\0\0";
    let mut greeting = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    greeting.extend(body);
    greeting.extend(b"p\0\0\0\x0anonsen");
    stream.write_all(&greeting).await.unwrap();
    let mut told = Vec::new();
    let reading = stream.read_to_end(&mut told);
    drop(tokio::time::timeout(PATIENCE, reading).await.expect("it hangs up"));
    told.windows(5).any(|part| part == b"FATAL")
}
