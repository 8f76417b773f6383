//! A server asked by PostgreSQL's protocol, with clients that were made for PostgreSQL: psycopg, psql, the JDBC driver.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::outside;
use crate::server::{Home, QUERY_TOKEN, Server, TRUSTED_KEY};

const PATIENCE: Duration = Duration::from_secs(60);

fn home() -> Home {
    Home::embedded().with("postgres.listen", "127.0.0.1:0")
}

/// Where PostgreSQL's protocol is spoken: the server says so when it starts.
pub(crate) fn port(home: &Home) -> u16 {
    let told = home.told();
    let line = told.lines().rev().find_map(|line| line.strip_prefix("listening on postgresql://"));
    line.and_then(|address| address.rsplit_once(':')).and_then(|(_, port)| port.parse().ok()).expect("it says where")
}

/// Three events: a page, an order, a page of another day.
pub(crate) async fn with_events(server: &Server<'_>) {
    let events = json!([
        {"event_id": "e0", "name": "page", "user_id": "u1", "time": "2026-01-05T10:00:00Z"},
        {"event_id": "e1", "name": "Order Completed", "user_id": "u1", "time": "2026-01-05T10:05:00Z", "value": "12.50", "currency": "EUR"},
        {"event_id": "e2", "name": "page", "user_id": "u2", "time": "2026-01-06T10:00:00Z"},
    ]);
    let (status, answer) = server.post("/v1/events", TRUSTED_KEY, events.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    server.wait_until_queryable("SELECT count(*) FROM events", 3).await;
}

pub(crate) fn held(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["holds"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_asks_types_parameters_sessions_and_cancels() {
    let test = "psycopg_asks_types_parameters_sessions_and_cancels";
    let Some(mut python) = outside::python(test, "postgres.py") else { return };
    // One turn: whoever leaves work behind keeps the next from its own.
    let home = home().with("query.queries_max", "1");
    let server = home.start().await;
    with_events(&server).await;
    python.args(["127.0.0.1", &port(&home).to_string(), QUERY_TOKEN]);
    let lines = outside::json_lines(python).await;
    let all = ["wrong password", "types", "parameters", "names", "session", "cancel", "grafana", "portals", "big"];
    assert_eq!(held(&lines), all);
    let metrics = reqwest::get(server.url("/metrics")).await.unwrap().bytes().await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    for name in ["tributary_postgres_connections_total", "tributary_postgres_refused_total{code=\"28P01\"}"] {
        assert!(metrics.contains(name), "{name}\n{metrics}");
    }
    assert!(server.stop().await.success());
}

/// What `psql` prints, without the lines of its own frame.
async fn psql(command: &Command, commands: &[&str]) -> String {
    let mut psql = tokio::process::Command::new(command.get_program());
    psql.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    psql.args(command.get_args()).args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).kill_on_drop(true);
    for command in commands {
        psql.args(["-c", command]);
    }
    let output = tokio::time::timeout(PATIENCE, psql.output()).await.expect("it ends").unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // What the answers are made of, and nothing else.
    let is_of_facts = |line: &str| line.starts_with("NOTICE:  read ") || line.starts_with("DETAIL:  ");
    assert!(output.status.success() && told.lines().all(is_of_facts), "{commands:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_tables_and_asks() {
    let Some(mut command) = outside::psql("psql_describes_tables_and_asks") else { return };
    let home = home();
    let server = home.start().await;
    with_events(&server).await;
    command.env("PGPASSWORD", QUERY_TOKEN).arg(format!("postgresql://anyone@127.0.0.1:{}/tributary", port(&home)));

    let listed = psql(&command, &["\\dt"]).await;
    assert!(listed.contains("| events ") && listed.contains("| dead_letters "), "{listed}");
    assert!(!listed.contains("person_events"), "{listed}");
    let views = psql(&command, &["\\dv"]).await;
    assert!(views.contains("| person_events "), "{views}");
    let all = psql(&command, &["\\d"]).await;
    assert!(all.contains("| events ") && all.contains("| person_events "), "{all}");
    let events = psql(&command, &["\\d events"]).await;
    for line in ["Table \"public.events\"", "event_id", "| bigint", "| numeric(18,6)", "| text[]", "| json", "not null"]
    {
        assert!(events.contains(line), "{line}\n{events}");
    }
    let view = psql(&command, &["\\d+ sessions"]).await;
    assert!(view.contains("View \"public.sessions\"") && view.contains("LEFT SEMI JOIN"), "{view}");
    for more in ["\\l", "\\dn", "\\du", "\\di", "\\df nothing", "\\dT", "\\dx", "\\d+ events", "\\conninfo"] {
        psql(&command, &[more]).await;
    }
    let answer =
        psql(&command, &["BEGIN", "SELECT event_id, value FROM events ORDER BY 1", "COMMIT", "SHOW TimeZone"]).await;
    assert!(answer.contains(" e1       | 12.500000") && answer.contains("(3 rows)"), "{answer}");
    let funnel =
        "SELECT position, step, units_reached FROM funnel(steps => [event_kind = 'page', event_kind = 'conversion'])";
    let answer = psql(&command, &[funnel]).await;
    assert!(answer.contains("(2 rows)"), "{answer}");
    // A cursor's worth at a time, by the simple protocol.
    let counted = psql(&command, &["SELECT sum(value) FROM generate_series(1, 100000)"]).await;
    assert!(counted.contains("5000050000"), "{counted}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jdbc_driver_reads_metadata_and_cursors() {
    let test = "the_jdbc_driver_reads_metadata_and_cursors";
    let Some(mut java) = outside::jdbc(test, "Postgres.java") else { return };
    let home = home();
    let server = home.start().await;
    with_events(&server).await;
    java.args(["127.0.0.1", &port(&home).to_string(), QUERY_TOKEN]);
    let lines = outside::json_lines(java).await;
    assert_eq!(held(&lines), ["metadata", "types", "prepared", "cursor", "cancel", "read only"]);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_nobody_is_let_in_without_tls() {
    let Some(mut command) = outside::psql("with_a_certificate_nobody_is_let_in_without_tls") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, include_str!("data/tls/first.pem")).unwrap();
    std::fs::write(&key, include_str!("data/tls/first.key")).unwrap();
    let home = home()
        .with("serve.tls_certificate", certificate.to_str().unwrap())
        .with("serve.tls_key", key.to_str().unwrap());
    let mut server = home.spawn();
    let begun = Instant::now();
    while !home.told().contains("listening on postgresql://") {
        assert!(server.runs() && begun.elapsed() < PATIENCE, "{}", home.told());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    command.env("PGPASSWORD", QUERY_TOKEN).env("PGSSLROOTCERT", &certificate);
    let at = format!("postgresql://anyone@localhost:{}/tributary?hostaddr=127.0.0.1&sslmode=", port(&home));
    let with = |mode: &str| {
        let mut psql = Command::new(command.get_program());
        psql.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).arg(format!("{at}{mode}"));
        psql
    };
    let answer = psql(&with("verify-full"), &["SELECT 7 AS seven"]).await;
    assert!(answer.contains("seven"), "{answer}");
    let mut plain = with("disable");
    plain.args(["-X", "-c", "SELECT 1"]);
    let output = tokio::task::spawn_blocking(move || plain.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("this server takes TLS only"), "{told}");
    assert!(server.stop().await.success());
}
