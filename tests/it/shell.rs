//! The SQL shell at a real terminal: what its user types, and what Ctrl-C does.
//!
//! In:      keys, through a pseudo-terminal that Python's standard library opens (`shell.py`).
//! Out:     what stood on the screen, and the exit code.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::outside;
use crate::server::{Home, QUERY_TOKEN, WRITE_KEY};

const CTRL_C: &str = "\u{3}";
/// Hours of work for one core, in little memory: it ends by being stopped or not at all.
const LONG: &str = "SELECT count(*) FROM range(1, 1000000) a JOIN range(1, 1000000) b ON a.value * b.value % 7 = 1;";

fn at_terminal(mut python: Command, arguments: &[String], steps: &[Value]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut child = python
        .arg("-c")
        .arg(include_str!("shell.py"))
        .arg(env!("CARGO_BIN_EXE_tributary"))
        .args(arguments)
        // The history of the shell belongs to no person here.
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    for step in steps {
        writeln!(typed, "{step}").unwrap();
    }
    drop(typed);
    child.wait_with_output().unwrap()
}

fn wait(text: &str) -> Value {
    json!({"wait": text})
}

fn line(text: &str) -> Value {
    json!({"type": format!("{text}\r")})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_answers_stops_on_ctrl_c_and_lives_on() {
    let test = "the_shell_answers_stops_on_ctrl_c_and_lives_on";
    let Some(python) = outside::bare_python(test) else { return };
    let home = Home::embedded();
    let server = home.start().await;
    server.post("/v1/track", WRITE_KEY, r#"{"event":"E","userId":"ann","messageId":"m1"}"#).await;
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;
    let url = server.url("");
    let data = home.data_dir().display().to_string();
    let steps = [
        wait("tributary> "),
        line("SELECT user_id || '-1' AS who"),
        wait("...> "),
        line("  -- not the end;"),
        wait("...> "),
        line("FROM events;"),
        wait("ann-1"),
        wait("1 row in"),
        wait("tributary> "),
        // The wrong case of a table, and a table that is none.
        line("\\d Events"),
        wait("user_id"),
        wait("tributary> "),
        line("\\d nothing"),
        wait("there is no table nothing"),
        wait("tributary> "),
        // A question that fails does not end it.
        line("SELECT nothing FROM events;"),
        wait("change the question"),
        wait("tributary> "),
        line(LONG),
        wait("% 7 = 1;"),
        json!({"type": CTRL_C, "until": "stopped"}),
        wait("tributary> "),
        line("SELECT 40 + 2 AS answer;"),
        wait("| 42"),
        wait("tributary> "),
        // Ctrl-C at the prompt throws the line away.
        json!({"type": "SELECT 1"}),
        wait("SELECT 1"),
        json!({"type": CTRL_C}),
        wait("tributary> "),
        line("\\q"),
    ];
    for arguments in [vec!["sql", "--data", data.as_str()], vec!["sql", "--url", &url, "--token", QUERY_TOKEN]] {
        let (python, steps) = (Command::new(&python), steps.clone());
        let owned: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let ended = tokio::task::spawn_blocking(move || at_terminal(python, &owned, &steps));
        let output = ended.await.unwrap();
        let screen = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{screen}\n{told}");
    }
}
