//! How far a replay has come, for whoever waits: a bar on a terminal, plain lines elsewhere.
//!
//! In:      where the new lake stands, after each commit.
//! Out:     records a second, percent, time left, partitions; on stderr.
//! Promise: a line holds no control characters, and lines come no more often than every two seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{At, sum};
use crate::import::grouped;
use crate::ops::report::TopicReport;

const LINE_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Progress {
    topics: Vec<TopicReport>,
    total: u64,
    reached: u64,
    /// Since when and from where: what an earlier run did is no speed of this one.
    begun: Option<(Instant, u64)>,
    bar: Option<ProgressBar>,
    at: At,
    last_line: Option<Instant>,
    tick: tokio::time::Interval,
}

impl Progress {
    pub(super) fn begin(topics: &[TopicReport]) -> Self {
        let total = topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.next - p.earliest).sum();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  [{bar:24}] {percent:>3}%  {msg}")
                .expect("the template is fixed and a test draws it")
                .progress_chars("=> ");
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style)
        });
        let mut tick = tokio::time::interval(LINE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { topics: topics.to_vec(), total, reached: 0, begun: None, bar, at: At::new(), last_line: None, tick }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    /// The lake stands here now.
    pub(super) fn tell(&mut self, at: &At) {
        // A job that has not looked yet stands nowhere.
        if at.iter().all(Vec::is_empty) {
            return;
        }
        let reached = sum(at, &self.topics);
        self.begun.get_or_insert((Instant::now(), reached));
        self.reached = reached;
        self.at.clone_from(at);
        self.draw();
    }

    /// Time for another line although nothing was committed.
    pub(super) async fn next_line(&mut self) {
        self.tick.tick().await;
        self.draw();
    }

    fn draw(&mut self) {
        let Some((begun, from)) = self.begun else { return };
        let text =
            words(self.reached, self.total, self.reached - from.min(self.reached), begun.elapsed(), &self.shares());
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.reached);
                bar.set_message(text);
            }
            None if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) => {
                self.last_line = Some(Instant::now());
                self.line(&text);
            }
            None => {}
        }
    }

    fn line(&self, text: &str) {
        eprintln!("replay: {}% {text}", percent(self.reached, self.total));
    }

    pub(super) fn end(&self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => {
                if let Some((begun, from)) = self.begun {
                    let done = self.reached - from.min(self.reached);
                    self.line(&words(self.reached, self.total, done, begun.elapsed(), &self.shares()));
                }
            }
        }
    }

    /// Percent of each partition of the events topic.
    fn shares(&self) -> Vec<u64> {
        let Some((topic, at)) = self.topics.first().zip(self.at.first()) else { return Vec::new() };
        let share = |partition: &crate::ops::report::PartitionReport| {
            let reached = at.iter().find(|(other, _)| *other == partition.partition).map_or(0, |(_, reached)| *reached);
            percent(reached.saturating_sub(partition.earliest), partition.next - partition.earliest)
        };
        topic.partitions.iter().map(share).collect()
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    (u128::from(part.min(whole)) * 100).checked_div(u128::from(whole)).map_or(100, |percent| percent as u64)
}

/// * `done`: in this run, within `took`.
fn words(reached: u64, total: u64, done: u64, took: Duration, shares: &[u64]) -> String {
    /// More would fill the line.
    const SHARES_MAX: usize = 8;
    let rate = done as f64 / took.as_secs_f64().max(1e-3);
    let left = match rate {
        rate if rate >= 1.0 => {
            format!(", {} s left", grouped(((total - reached.min(total)) as f64 / rate).ceil() as u64))
        }
        _ => String::new(),
    };
    let mut text = format!("{} of {} records, {}/s{left}", grouped(reached), grouped(total), grouped(rate as u64));
    match shares.len() {
        0 => {}
        1..=SHARES_MAX => {
            let shares: Vec<String> = shares.iter().map(|share| format!("{share}")).collect();
            text.push_str(&format!(", partitions {} %", shares.join(" ")));
        }
        count => {
            let slowest = shares.iter().min().copied().unwrap_or_default();
            text.push_str(&format!(", {count} partitions, the slowest at {slowest} %"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let text = words(1_500, 4_500, 1_000, Duration::from_secs(2), &[30, 40]);
        assert_eq!(text, "1,500 of 4,500 records, 500/s, 6 s left, partitions 30 40 %");
        assert!(!words(0, 10, 0, Duration::ZERO, &[]).contains("left"));
        assert!(words(0, 10, 0, Duration::ZERO, &[7; 20]).contains("20 partitions, the slowest at 7 %"));
        assert_eq!((percent(1, 3), percent(0, 0), percent(9, 3)), (33, 100, 100));
    }

    #[test]
    fn the_bar_can_be_drawn() {
        ProgressStyle::with_template("  [{bar:24}] {percent:>3}%  {msg}").unwrap();
    }
}
