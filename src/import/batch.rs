//! Requests: how many events ride together.
//!
//! In:      events in file order.
//! Out:     bodies in Segment's batch form, in that order, with what the sender must know of each.
//! Promise: a body holds at most the events and, but for a single huge event, the bytes allowed.

use bytes::Bytes;

use super::mapper::MappedEvent;

/// Bytes of one body: what Segment's own libraries keep under.
const BODY_BYTES_MAX: usize = 450_000;

/// One request's worth of events.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) body: Bytes,
    /// The line each event came from, in their order.
    pub(crate) lines: Vec<u64>,
    /// Where each event stands in `body`, to cut it in two if the door finds it too large.
    ends: Vec<usize>,
    /// Earliest and latest event time; `None` when no event carries one.
    pub(crate) times_us: Option<(i64, i64)>,
}

const OPEN: &[u8] = br#"{"batch":["#;
const CLOSE: &[u8] = b"]}";

pub(crate) struct Batcher {
    events_max: usize,
    body: Vec<u8>,
    lines: Vec<u64>,
    ends: Vec<usize>,
    times_us: Option<(i64, i64)>,
}

impl Batcher {
    pub(crate) fn new(events_max: usize) -> Self {
        Self { events_max: events_max.max(1), body: OPEN.to_vec(), lines: Vec::new(), ends: Vec::new(), times_us: None }
    }

    /// Takes an event; returns the batch before it when the two do not fit together.
    pub(crate) fn add(&mut self, event: MappedEvent) -> Option<Batch> {
        let json = event.json.to_string();
        let full = self.lines.len() >= self.events_max || self.body.len() + json.len() > BODY_BYTES_MAX;
        let before = if full { self.finish() } else { None };
        if !self.lines.is_empty() {
            self.body.push(b',');
        }
        self.body.extend_from_slice(json.as_bytes());
        self.ends.push(self.body.len());
        self.lines.push(event.line);
        if let Some(time_us) = event.time_us {
            let (first, last) = self.times_us.unwrap_or((time_us, time_us));
            self.times_us = Some((first.min(time_us), last.max(time_us)));
        }
        before
    }

    pub(crate) fn finish(&mut self) -> Option<Batch> {
        if self.lines.is_empty() {
            return None;
        }
        let mut whole = std::mem::replace(self, Self::new(self.events_max));
        whole.body.extend_from_slice(CLOSE);
        Some(Batch { body: whole.body.into(), lines: whole.lines, ends: whole.ends, times_us: whole.times_us })
    }
}

impl Batch {
    /// The JSON text of each event, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(OPEN.len()).chain(self.ends.iter().map(|end| end + 1));
        starts.zip(&self.ends).map(|(start, end)| {
            std::str::from_utf8(&self.body[start..*end]).expect("the body was put together from text")
        })
    }

    /// Two halves; `None` for a single event.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        let middle = self.lines.len() / 2;
        (middle > 0).then(|| (self.part(0, middle), self.part(middle, self.lines.len())))
    }

    fn part(&self, from: usize, to: usize) -> Self {
        let start = if from == 0 { OPEN.len() } else { self.ends[from - 1] + 1 };
        let mut body = OPEN.to_vec();
        body.extend_from_slice(&self.body[start..self.ends[to - 1]]);
        body.extend_from_slice(CLOSE);
        let ends = self.ends[from..to].iter().map(|end| end - start + OPEN.len()).collect();
        Self { body: body.into(), lines: self.lines[from..to].to_vec(), ends, times_us: self.times_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(line: u64, time_us: Option<i64>) -> MappedEvent {
        MappedEvent { line, json: json!({"n": line}), time_us, unzoned: false, clock_change: false }
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        let body: Value = serde_json::from_slice(&batch.body).unwrap();
        body["batch"].as_array().unwrap().iter().map(|event| event["n"].as_u64().unwrap()).collect()
    }

    #[test]
    fn batches_keep_the_order_and_the_limit() {
        let mut batcher = Batcher::new(2);
        let mut batches: Vec<Batch> = (1..=5).filter_map(|n| batcher.add(event(n, Some(n.cast_signed())))).collect();
        batches.extend(batcher.finish());
        assert_eq!(batches.iter().map(numbers).collect::<Vec<_>>(), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(batches[1].times_us, Some((3, 4)));
        assert!(batcher.finish().is_none());
    }

    #[test]
    fn halves_hold_the_same_events() {
        let mut batcher = Batcher::new(10);
        for n in 1..=5 {
            batcher.add(event(n, None));
        }
        let whole = batcher.finish().unwrap();
        let (left, right) = whole.halves().unwrap();
        assert_eq!((numbers(&left), numbers(&right)), (vec![1, 2], vec![3, 4, 5]));
        let (middle, _) = right.halves().unwrap();
        assert_eq!((numbers(&middle), middle.lines.clone()), (vec![3], vec![3]));
        assert!(middle.halves().is_none());
    }
}
