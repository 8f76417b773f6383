//! What others would use instead, run on the same lines in the same minute.
//!
//! In:      `name=command`, with `{src}` for the file of lines, `{parts}` for them in ten files of a folder, `{out}` for
//!          a folder to write to.
//! Out:     wall and CPU time and memory of everything the command started.
//! Promise: its start-up counts, as does ours in the same table; no process of it is left behind. A command that fails
//!          is told with its last words and spoils nothing else.

use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::input::Input;
use crate::bench::usage::{self, Tree};

#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) name: String,
    command: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command)) if !name.trim().is_empty() && !command.trim().is_empty() => {
                Ok(Self { name: name.trim().to_owned(), command: command.trim().to_owned() })
            }
            _ => Err("write NAME=COMMAND, such as 'duckdb=python3 sessions.py {src} {out}'".to_owned()),
        }
    }
}

#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct PeerRun {
    pub(super) name: String,
    pub(super) events: u64,
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    pub(super) rss_peak_bytes: u64,
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long processes may outlive the command that started them.
const LEFT_BEHIND_MAX: Duration = Duration::from_secs(15);

impl Peer {
    /// * `time_max`: then it is ended and counts as failed.
    pub(super) async fn run(&self, input: &Input, folder: &Path, time_max: Duration) -> anyhow::Result<PeerRun> {
        let out = folder.join(format!("peer-{}", self.name.replace(|char: char| !char.is_ascii_alphanumeric(), "-")));
        std::fs::create_dir_all(&out)?;
        let mut command = self.command.replace("{out}", &out.canonicalize()?.display().to_string());
        if command.contains("{src}") {
            command = command.replace("{src}", &input.as_file(folder)?.display().to_string());
        }
        if command.contains("{parts}") {
            command = command.replace("{parts}", &input.as_parts(folder)?.display().to_string());
        }
        let told = out.with_extension("log");
        let log = std::fs::File::create(&told)?;
        let (begun, waited_before) = (Instant::now(), usage::children_cpu().unwrap_or_default());
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.name))?;
        let group = child.id().context("it was just started")?;
        let mut tree = Tree::of(group);
        let mut tick = tokio::time::interval(LOOK_EVERY);
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break Some(ended?),
                _ = tick.tick() => {
                    tree.look();
                }
            }
            if time_max < begun.elapsed() {
                break None;
            }
        };
        let wall = begun.elapsed();
        // A JVM may live on for a moment: its time is part of the bill.
        while tree.look() && begun.elapsed() < wall + LEFT_BEHIND_MAX && ended.is_some() {
            tick.tick().await;
        }
        if tree.look() {
            end_group(group).await;
        }
        drop(child.wait().await);
        let waited = usage::children_cpu().unwrap_or_default().saturating_sub(waited_before);
        match ended {
            Some(status) if status.success() => {}
            Some(status) => bail!("{} ended with {status}: {}", self.name, last_words(&told)),
            None => bail!("{} took longer than {} s and was ended", self.name, time_max.as_secs()),
        }
        std::fs::remove_dir_all(&out)?;
        // Two counts of the same: what was waited for is exact, but lacks processes that left their parents; what was seen
        // has those, but lacks each one's last moment. The larger is nearer.
        let cpu = waited.max(tree.cpu());
        Ok(PeerRun {
            name: self.name.clone(),
            events: input.events,
            wall_s: wall.as_secs_f64(),
            cpu_s: cpu.as_secs_f64(),
            rss_peak_bytes: tree.peak_rss_bytes(),
        })
    }
}

/// Ends the processes of the group this run made, and no others.
async fn end_group(group: u32) {
    let ended = tokio::process::Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status().await;
    if let Err(error) = ended {
        eprintln!("processes of a peer may be left behind in process group {group}: {error}");
    }
}

fn last_words(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command() {
        let peer: Peer = "duckdb = python3 x.py {src} k=v".parse().unwrap();
        assert_eq!((peer.name.as_str(), peer.command.as_str()), ("duckdb", "python3 x.py {src} k=v"));
        for text in ["", "name", "=command", "name="] {
            assert!(text.parse::<Peer>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_is_run_on_the_lines_and_a_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let input = Input::new(None, Some(30)).unwrap();
        let peer: Peer = "words=sh -c 'test $(cat {parts}/* | wc -l) -eq 30 && cat {src} > {out}/x'".parse().unwrap();
        let run = peer.run(&input, dir.path(), Duration::from_secs(60)).await.unwrap();
        assert_eq!((run.name.as_str(), run.events), ("words", 30));
        let peer: Peer = "bad=sh -c 'echo the disk is made of cheese; exit 3'".parse().unwrap();
        let error = peer.run(&input, dir.path(), Duration::from_secs(60)).await.unwrap_err();
        assert!(error.to_string().contains("made of cheese"), "{error}");
        let peer: Peer = "long=tail -f /dev/null".parse().unwrap();
        let error = peer.run(&input, dir.path(), Duration::from_millis(100)).await.unwrap_err();
        assert!(error.to_string().contains("was ended"), "{error}");
    }
}
