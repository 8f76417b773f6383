//! What processes use of the machine, as the system counts it.
//!
//! In:      `/proc`.
//! Out:     CPU time and memory of this process, its children, and whole trees of processes.
//! Promise: where the system does not tell (it is no Linux), the answer is `None` and never a guess.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// USER_HZ: the unit of times in `/proc`. It is 100 on every Linux of today; the kernel converts to it whatever its own
/// tick is.
const TICKS_PER_SECOND: u64 = 100;
const PAGE_BYTES: u64 = 4_096;

/// One process as `/proc/ID/stat` tells it.
#[derive(Debug, Clone, Copy)]
struct Stat {
    parent: u32,
    group: u32,
    cpu: Duration,
    waited_for: Duration,
    started: u64,
    rss_bytes: u64,
}

/// CPU time of this process so far, all threads, ended ones too. In steps of 10 ms.
pub(crate) fn own_cpu() -> Option<Duration> {
    stat("self").map(|stat| stat.cpu)
}

/// CPU time of all processes this one has started and waited for, with theirs.
pub(crate) fn children_cpu() -> Option<Duration> {
    stat("self").map(|stat| stat.waited_for)
}

pub(crate) fn rss_bytes() -> Option<u64> {
    status_kib("self", "VmRSS:").map(|kib| kib << 10)
}

/// The most this process has had so far.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    status_kib("self", "VmHWM:").map(|kib| kib << 10)
}

/// The most another process has had so far.
pub(crate) fn peak_rss_bytes_of(process: u32) -> Option<u64> {
    status_kib(&process.to_string(), "VmHWM:").map(|kib| kib << 10)
}

fn status_kib(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

fn stat(process: &str) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, also spaces and brackets; it ends with the last bracket.
    let fields: Vec<u64> =
        text.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    let at = |index: usize| fields.get(index).copied();
    let ticks = |count: u64| Duration::from_millis(count * 1_000 / TICKS_PER_SECOND);
    Some(Stat {
        parent: u32::try_from(at(1)?).ok()?,
        group: u32::try_from(at(2)?).ok()?,
        cpu: ticks(at(11)? + at(12)?),
        waited_for: ticks(at(13)? + at(14)?),
        started: at(19)?,
        rss_bytes: at(21)? * PAGE_BYTES,
    })
}

/// CPU time and memory of another process, now.
pub(crate) fn of(process: u32) -> Option<(Duration, u64)> {
    stat(&process.to_string()).map(|stat| (stat.cpu, stat.rss_bytes))
}

/// All that one command starts, looked at again and again while it runs.
///
/// A process that leaves its parent (a JVM behind a Python that ended) is known by the group it was started in, or by
/// having been seen before.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: u32,
    /// By number and start, for numbers are used again: the CPU time last seen.
    seen: HashMap<(u32, u64), Duration>,
    peak_rss_bytes: u64,
}

impl Tree {
    pub(crate) fn of(root: u32) -> Self {
        Self { root, ..Self::default() }
    }

    /// Looks once; whether any of its processes still runs.
    pub(crate) fn look(&mut self) -> bool {
        let mut all: BTreeMap<u32, Stat> = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
                && let Some(found) = stat(&id.to_string())
            {
                all.insert(id, found);
            }
        }
        let known: HashSet<u32> = self.seen.keys().map(|(id, _)| *id).collect();
        let mut mine: HashSet<u32> = all
            .iter()
            .filter(|(id, stat)| {
                **id == self.root || stat.group == self.root || self.seen.contains_key(&(**id, stat.started))
            })
            .map(|(id, _)| *id)
            .collect();
        // Children of what is ours, however deep: ids need not rise from parent to child.
        loop {
            let more: Vec<u32> = all
                .iter()
                .filter(|(id, stat)| {
                    !mine.contains(id) && (mine.contains(&stat.parent) || known.contains(&stat.parent))
                })
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                break;
            }
            mine.extend(more);
        }
        let mut rss_bytes = 0;
        for id in &mine {
            let stat = all[id];
            self.seen.insert((*id, stat.started), stat.cpu);
            rss_bytes += stat.rss_bytes;
        }
        self.peak_rss_bytes = self.peak_rss_bytes.max(rss_bytes);
        !mine.is_empty()
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.seen.values().sum()
    }

    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.peak_rss_bytes
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_shell_and_what_it_starts_are_one_tree() {
        use std::os::unix::process::CommandExt;
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read line' & wait"])
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut tree = Tree::of(shell.id());
        let begun = std::time::Instant::now();
        while tree.cpu().is_zero() && begun.elapsed() < Duration::from_secs(30) {
            assert!(tree.look() || !tree.seen.is_empty());
            std::thread::yield_now();
        }
        assert!(!tree.cpu().is_zero() && tree.peak_rss_bytes() > 0);
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(own_cpu().is_some() && rss_bytes() <= peak_rss_bytes());
    }
}
