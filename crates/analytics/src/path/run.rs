//! Runs: counts in the order of their keys, as a caller short of memory writes them to disk.
//!
//! In:       runs, each in the order of its keys.
//! Out:      one run in which each key comes once.
//! Promise:  exact, and one entry a run is all that is held. Keys are compared byte by byte, and their order is the order in
//!           which a report can be made in one go: totals, steps, nodes, edges, times, paths, n-grams.
//! Not here: files. An entry is a key of at most `KEY_BYTES_MAX` bytes and `Tally::BYTES`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::STEP_COUNT_MAX;
use super::duration::BUCKET_MAX;
use super::flow_table::{ENDED, FlowKey, NODE_CODE_MAX, WENT_ON, WHOLE};
use super::sequence_table::Sequence;
use super::tally::Tally;
use crate::error::AnalyticsError;

/// The longest key; its length fits a byte.
pub const KEY_BYTES_MAX: usize = 2 + STEP_COUNT_MAX * size_of::<u32>();

/// What an entry counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'k> {
    Totals,
    Level(usize),
    Node(FlowKey),
    Edge(FlowKey),
    Duration(FlowKey, u16),
    FullPath(Sequence<'k>),
    NGram(Sequence<'k>),
}

impl<'k> Key<'k> {
    pub(super) fn write(self, bytes: &mut Vec<u8>) {
        bytes.clear();
        match self {
            Self::Totals => bytes.push(0),
            Self::Level(step) => bytes.extend([1, step as u8]),
            Self::Node(flow) => write_flow(2, flow, bytes),
            Self::Edge(flow) => write_flow(3, flow, bytes),
            Self::Duration(flow, bucket) => {
                write_flow(4, flow, bytes);
                bytes.extend(bucket.to_be_bytes());
            }
            Self::FullPath(sequence) => write_sequence(5, sequence, bytes),
            Self::NGram(sequence) => write_sequence(6, sequence, bytes),
        }
    }

    /// * `codes`: room for those of a sequence.
    pub(super) fn read(bytes: &[u8], codes: &'k mut [u32; STEP_COUNT_MAX]) -> Result<Self, AnalyticsError> {
        Self::parse(bytes, codes).ok_or(AnalyticsError::PathKey { length_bytes: bytes.len() })
    }

    fn parse(bytes: &[u8], codes: &'k mut [u32; STEP_COUNT_MAX]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match (tag, rest) {
            (0, []) => Some(Self::Totals),
            (1, [step]) => Some(usize::from(*step)).filter(is_step).map(Self::Level),
            (2, flow) => read_flow(flow).filter(|flow| flow.target() == WHOLE).map(Self::Node),
            (3, flow) => read_flow(flow)
                .filter(|flow| flow.target() <= NODE_CODE_MAX || [ENDED, WENT_ON].contains(&flow.target()))
                .map(Self::Edge),
            (4, [flow @ .., high, low]) => {
                let flow = read_flow(flow).filter(|flow| flow.target() <= NODE_CODE_MAX)?;
                let bucket = u16::from_be_bytes([*high, *low]);
                (bucket <= BUCKET_MAX).then_some(Self::Duration(flow, bucket))
            }
            (5, sequence) => read_sequence(sequence, codes).map(Self::FullPath),
            (6, sequence) => read_sequence(sequence, codes).map(Self::NGram),
            _ => None,
        }
    }
}

fn is_step(step: &usize) -> bool {
    (1..=STEP_COUNT_MAX).contains(step)
}

fn write_flow(tag: u8, flow: FlowKey, bytes: &mut Vec<u8>) {
    bytes.push(tag);
    bytes.extend(flow.0.to_be_bytes());
}

fn read_flow(bytes: &[u8]) -> Option<FlowKey> {
    let flow = FlowKey(u64::from_be_bytes(bytes.try_into().ok()?));
    (is_step(&flow.step()) && flow.source() <= NODE_CODE_MAX).then_some(flow)
}

fn write_sequence(tag: u8, sequence: Sequence<'_>, bytes: &mut Vec<u8>) {
    bytes.extend([tag, u8::from(sequence.is_cut)]);
    sequence.codes.iter().for_each(|code| bytes.extend(code.to_be_bytes()));
}

fn read_sequence<'k>(bytes: &[u8], codes: &'k mut [u32; STEP_COUNT_MAX]) -> Option<Sequence<'k>> {
    let (is_cut, rest) = bytes.split_first()?;
    let (words, odd) = rest.as_chunks::<4>();
    if 1 < *is_cut || !odd.is_empty() || !is_step(&words.len()) {
        return None;
    }
    let codes = &mut codes[..words.len()];
    for (code, word) in codes.iter_mut().zip(words) {
        *code = u32::from_be_bytes(*word);
    }
    codes.iter().all(|code| *code <= NODE_CODE_MAX).then_some(Sequence { is_cut: *is_cut == 1, codes })
}

/// What a run holds many of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEntry {
    pub key: Vec<u8>,
    pub tally: Tally,
}

/// The next entry of a run; those with smaller keys come first, then those of earlier runs.
struct Head {
    entry: RunEntry,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.entry.key, self.run).cmp(&(&other.entry.key, other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Merges runs into one.
///
/// * `runs`: each as `PathCounts::drain` or this function wrote it: keys ascending. No unit may be in two of them.
/// * `write`: gets each key once, ascending, with the sum of its tallies: `PathReportBuilder::push`, `PathCounts::absorb`
///   or a writer of another run.
/// * The first error of a run or of `write` ends the work and is returned.
pub fn merge_runs<E, R>(
    runs: impl IntoIterator<Item = R>,
    mut write: impl FnMut(&[u8], &Tally) -> Result<(), E>,
) -> Result<(), E>
where
    R: Iterator<Item = Result<RunEntry, E>>,
{
    let mut runs: Vec<R> = runs.into_iter().collect();
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (run, entries) in runs.iter_mut().enumerate() {
        if let Some(entry) = entries.next() {
            heads.push(Reverse(Head { entry: entry?, run }));
        }
    }
    let mut sum: Option<RunEntry> = None;
    while let Some(mut head) = heads.peek_mut() {
        let run = head.0.run;
        let entry = match runs[run].next() {
            // The heap sinks the new head to its place when `head` goes.
            Some(next) => std::mem::replace(&mut head.0.entry, next?),
            None => std::collections::binary_heap::PeekMut::pop(head).0.entry,
        };
        match &mut sum {
            Some(sum) if sum.key == entry.key => sum.tally.add(&entry.tally),
            sum => {
                debug_assert!(sum.as_ref().is_none_or(|sum| sum.key < entry.key), "keys of a run ascend");
                if let Some(done) = sum.replace(entry) {
                    write(&done.key, &done.tally)?;
                }
            }
        }
    }
    sum.map_or(Ok(()), |last| write(&last.key, &last.tally))
}
