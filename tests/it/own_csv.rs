//! The README's section "Your own CSV": a German shop's file, from the file to the funnel, by the commands as they stand; and the
//! questions it asks later.
//!
//! In:      the section, run by a shell in an empty folder beside a server of its own.
//! Out:     what the section says comes out, in tables that a terminal of 100 columns shows unbroken.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECTION: &str = "## Your own CSV\n";

/// Columns of a terminal.
const WIDTH_MAX: usize = 100;

/// What a person waits, and what a test waits for.
const WAIT: &str = "sleep 6\n";
const UNTIL: &str = "for i in $(seq 300); do\n\
    \x20 test \"$(tributary sql --format csv \"SELECT count(*) FROM events\" | tail -1)\" = 5 && break; sleep 0.2\n\
    done\n";

/// The blocks of one kind, in order.
fn blocks<'t>(section: &'t str, kind: &str) -> Vec<&'t str> {
    let parts = section.split("```").skip(1).step_by(2);
    parts.filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n')).collect()
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn serve(dir: &Path) -> Serving {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_tributary"));
    serve.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    let serving = Serving(serve.spawn().unwrap());
    let begun = Instant::now();
    while !dir.join("tributary-data/listen.addr").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    serving
}

#[test]
fn the_readmes_commands_lead_from_a_shops_file_to_its_funnel() {
    let readme = include_str!("../../README.md");
    let section = readme.split_once(SECTION).unwrap().1.split("\n## ").next().unwrap();
    let script = blocks(section, "sh").concat();
    assert!(script.contains(WAIT) && script.contains("--propose=") && script.contains("funnel("), "{script}");
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tributary"), bin.join("tributary")).unwrap();
    let _serving = serve(dir.path());

    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell
        .args(["-euc", &format!("exec 2>&1\n{}", script.replace(WAIT, UNTIL))])
        .current_dir(dir.path())
        .env("PATH", &path);
    let output = shell.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    let shown = blocks(section, "text");
    assert_eq!(shown.len(), 2);
    for line in shown.iter().flat_map(|block| block.lines()) {
        assert!(told.lines().any(|said| said == line), "the README shows {line:?}, which is not in\n{told}");
    }
    assert!(told.contains("5 rows in") && told.contains("5 accepted, 0 dead-lettered, 0 rejected"), "{told}");

    // A reader has started a server by then, and has met no SDK, pixel or provider of mails.
    let before = readme.split_once(SECTION).unwrap().0;
    assert!(before.contains("tributary serve &") && !before.contains("curl -u") && !before.contains("postmark"));

    let asks =
        readme.split_once("**Ask.**").and_then(|(_, rest)| rest.split_once("```sh\n")?.1.split_once("```")).unwrap().0;
    let asks: Vec<&str> = asks.lines().filter(|line| line.contains("SELECT")).collect();
    assert_eq!(asks.len(), 5);
    let mut shell = Command::new("bash");
    let output = shell.args(["-euc", &asks.join("\n")]).current_dir(dir.path()).env("PATH", &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in told.lines().chain(answers.lines()).filter(|line| line.starts_with(['+', '|'])) {
        assert!(line.chars().count() <= WIDTH_MAX, "{line}");
    }

    // The mapping that was edited stays as it is, whoever runs the first command again.
    let edited = std::fs::read_to_string(dir.path().join("shop.toml")).unwrap();
    assert!(edited.contains("time_zone = \"Europe/Berlin\"") && edited.contains("conversion = [\"Kauf\"]"), "{edited}");
    let again = Command::new(bin.join("tributary"))
        .args(["import", "shop.csv", "--propose=shop.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not overwritten"));
    assert_eq!(std::fs::read_to_string(dir.path().join("shop.toml")).unwrap(), edited);
}
