//! The leash: what we started ends with us, however we end.
//!
//! In:       a command.
//! Out:      its child process, in a process group of its own.
//! Promise:  when our process is gone, by a signal of any kind, the whole group is asked to end (SIGTERM).
//! Not here: ending it while we live; whoever holds the child does that by its id.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Ends with this value, so it is to be dropped once the group has ended by itself: numbers are used again.
pub(crate) struct Leash(Child);

/// A shell that waits for the end of a pipe only we hold open, which no signal can keep the system from closing. The
/// signals that end us from a keyboard must not end it first.
const WATCH: &str = r#"trap '' INT TERM HUP; read -r _; kill -s TERM -- "-$1""#;

/// Starts `command` at the head of a process group of its own.
pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Leash)> {
    let mut child = command.process_group(0).spawn()?;
    let watcher = Command::new("sh")
        .args(["-c", WATCH, "leash", &child.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match watcher {
        Ok(watcher) => Ok((child, Leash(watcher))),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Killed, not let go: the end of its pipe is what it waits for. If it is gone already, all is well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn asleep() -> Command {
        let mut command = Command::new("sleep");
        command.arg("300");
        command
    }

    #[test]
    fn the_group_ends_when_the_pipe_does() {
        let (mut child, mut leash) = spawn(&mut asleep()).unwrap();
        // What the system does when we are gone.
        drop(leash.0.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it lives on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_leash_that_is_let_go_ends_nobody() {
        let (mut child, leash) = spawn(&mut asleep()).unwrap();
        drop(leash);
        std::thread::sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
