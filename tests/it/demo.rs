//! The demo, as a stranger runs it: every figure with a known truth agrees with it.

use std::process::{Command, Output};

fn demo(dir: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["demo", "--data", "demo"])
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn tributary(dir: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tributary")).args(arguments).current_dir(dir).output().unwrap()
}

#[test]
fn the_demo_finds_every_known_truth_and_leaves_a_lake_to_ask() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path());
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("{report}\n---\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    for part in ["165,474 events sent", "24,026 sessions", "21,127", "9,035", "4,327", "1,806", "503", "agree with it"]
    {
        assert!(report.contains(part), "{part}\n---\n{told}");
    }
    assert!(!report.contains("WRONG"), "{told}");
    // The path of the program under test is as long as it is.
    let program = env!("CARGO_BIN_EXE_tributary");
    let widest = report.lines().filter(|line| !line.contains(program)).map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80, "a line of {widest} columns\n{told}");

    // What it leaves behind can be asked, in each format, without a server.
    let count = "SELECT count(*) AS events FROM events WHERE source = 'shop'";
    let csv = tributary(dir.path(), &["sql", "--data", "demo", "--format", "csv", count]);
    assert_eq!(String::from_utf8_lossy(&csv.stdout), "events\n165474\n");
    let json = tributary(dir.path(), &["sql", "--data", "demo", "--format", "json", count]);
    assert_eq!(String::from_utf8_lossy(&json.stdout).trim(), r#"[{"events":165474}]"#);
    let table = tributary(dir.path(), &["sql", "--data", "demo", count]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("| 165474 |"));
    let wrong = tributary(dir.path(), &["sql", "--data", "demo", "SELECT nothing FROM events"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stdout.is_empty() && String::from_utf8_lossy(&wrong.stderr).contains("nothing"));

    // The commands it names can be typed as they stand.
    let command = |what: &str| {
        let lines = report.lines().skip_while(|line| line.trim() != what).skip(1);
        lines.take_while(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n")
    };
    let typed = Command::new("sh").args(["-c", &command("ask a question:")]).current_dir(dir.path()).output().unwrap();
    let answer = String::from_utf8_lossy(&typed.stdout).into_owned();
    assert!(answer.contains("brand-search") && answer.contains("rows in"), "{}\n{answer}", command("ask a question:"));

    // Once a server has run on it, it may hold what nobody can make again.
    serve_once(&command("keep the line running on this data (the next demo then leaves it alone):"), dir.path());
    let again = demo(dir.path());
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("a server has used"));
}

/// Starts the server until it says that it listens.
fn serve_once(command: &str, dir: &std::path::Path) {
    use std::io::BufRead;
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {command} --listen 127.0.0.1:0")])
        .current_dir(dir)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let first = std::io::BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.starts_with("listening on"), "{first}");
}

#[test]
fn the_demo_wipes_no_folder_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("demo")).unwrap();
    std::fs::write(dir.path().join("demo/thesis.txt"), "five years").unwrap();
    let output = demo(dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a demo's"));
    assert!(dir.path().join("demo/thesis.txt").exists());
}
