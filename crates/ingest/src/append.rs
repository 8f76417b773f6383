//! The last step: address what was accepted, append it, and wait until all of it is durable.
//!
//! In:      events and dead letters of one request.
//! Out:     their counts, once every one of them is durable; else a refusal.
//! Promise: `Ok` means durable, all of it. A refusal may leave some of it in the log: the client sends the same
//!          ids again and the line drops the doubles. An event the log finds too large becomes a dead letter.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use tracing::Instrument as _;
use tributary_eventlog::{Ack, LogError, Record, partition_for};
use tributary_schemas::wire::{encode_dead_letter, encode_event};
use tributary_schemas::{ClockQuality, DeadLetter, DeadReason, Event};

use crate::importance::{self, Importance};
use crate::ledger::Taken;
use crate::refusal::Refusal;
use crate::router::Door;
use crate::telling;
use crate::text::cut;

/// What a dialect made of a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Accepted {
    pub events: Vec<Event>,
    pub dead_letters: Vec<DeadLetter>,
    /// One for each event as it was sent, where the dialect answers for each; else empty.
    pub told: Vec<Told>,
    /// The request says that it brings the past.
    pub historical: bool,
    /// How many events its SDK says that it had to drop before it could send them.
    pub lost_before: u32,
    /// What the payloads of its dead letters hold so far.
    pub letter_bytes: usize,
}

/// What is said of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub event_id: Option<String>,
    pub outcome: Outcome,
    /// What is wrong and what to do, unless all is well.
    pub details: Option<String>,
    /// Its index among the events, if it is one.
    pub event: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// Taken, but not all of it is as it was sent.
    Warning,
    /// Not taken and kept as a dead letter: sending it again would change nothing.
    Drop,
    /// Not taken: to be sent again with the same id.
    Retry,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Drop => "drop",
            Self::Retry => "retry",
        }
    }
}

/// How much of a request is now durable, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Durable {
    pub event_count: usize,
    pub dead_letter_count: usize,
    /// Events whose own time lay out of bounds, so that the time of receipt stands in its place.
    pub clamped_count: usize,
    pub told: Vec<Told>,
    /// Some of it waits in the spool and is not in the log yet.
    pub spooled: bool,
}

impl Durable {
    /// Says on the answer where what was taken is now.
    pub(crate) fn mark(&self, mut response: Response) -> Response {
        let place = if self.spooled { "spool" } else { "log" };
        response.headers_mut().insert(DURABILITY, HeaderValue::from_static(place));
        response
    }
}

/// On every answer that says something was taken: `log`, or `spool` while the log is away.
const DURABILITY: HeaderName = HeaderName::from_static("x-ingest-durability");

/// What is kept of the payload of a dead letter that is itself too large for the log.
const LAST_PAYLOAD_BYTES: usize = 1_024;

/// All of it or a refusal.
pub(crate) async fn append(door: &Door, accepted: Accepted) -> Result<Durable, Refusal> {
    append_in_time(door, accepted, false).await
}

/// As [`append`], for a dialect that answers for each event: those that the log did not take are told so, and only if it
/// took none is the request refused.
pub(crate) async fn append_each(door: &Door, accepted: Accepted) -> Result<Durable, Refusal> {
    append_in_time(door, accepted, true).await
}

async fn append_in_time(door: &Door, accepted: Accepted, each: bool) -> Result<Durable, Refusal> {
    let begin = tokio::time::Instant::now();
    let time_max = door.settings.append_time_max();
    // Sent where traces are; of the level TRACE, so that it costs a look elsewhere.
    let span = tracing::trace_span!(target: "tributary::trace", "append", events = accepted.events.len());
    let appended = tokio::time::timeout(time_max, append_all(door, accepted, each).instrument(span)).await;
    telling::appended(begin.elapsed());
    match appended {
        Ok(Err(Refusal::Log(error))) => {
            tracing::warn!(%error, "the log did not take a request; its sender was told to come again");
            Err(Refusal::Log(error))
        }
        Ok(result) => result,
        Err(_) => {
            let time_ms_max = door.settings.append_time_ms_max;
            tracing::warn!(time_ms_max, "the log did not confirm in time; the sender was told to come again");
            Err(Refusal::SlowLog { time_ms_max })
        }
    }
}

async fn append_all(door: &Door, accepted: Accepted, each: bool) -> Result<Durable, Refusal> {
    let Accepted { mut events, mut dead_letters, mut told, lost_before, .. } = accepted;
    // All of one request has one source and one time of receipt.
    let of_request = events.first().map(|event| (event.source.clone(), event.ingest_time_us)).or_else(|| {
        dead_letters.first().map(|letter| (letter.source.clone().unwrap_or_default(), letter.ingest_time_us))
    });
    let mut suppressed_count = hold_back(door, &mut events, &mut told);
    dead_letters.retain_mut(|letter| {
        let allowed = door.privacy.allows_letter(letter);
        if !allowed {
            suppressed_count += 1;
            telling::suppressed(letter.source.as_deref().unwrap_or_default());
        }
        allowed
    });
    // The letters wait until the events stand: nothing drops a letter that comes twice, so a request that is
    // refused and comes again must not have left its letters behind each time.
    shed(door, &events)?;
    let (refused, events_spooled) = append_events(door, &events).await;
    let (too_large, away): (Vec<_>, Vec<_>) =
        refused.into_iter().partition(|(_, error)| matches!(error, LogError::TooLarge { .. }));
    if (!each || away.len() == events.len())
        && let Some((_, error)) = away.first()
    {
        return Err(Refusal::Log(error.clone()));
    }
    let letters: Vec<DeadLetter> = dead_letters
        .into_iter()
        .chain(too_large.iter().map(|(index, error)| too_large_letter(door, &events[*index], error)))
        .collect();
    let letters_spooled = append_dead_letters(door, &letters).await?;

    for (index, outcome, details) in too_large
        .iter()
        .map(|(index, error)| (*index, Outcome::Drop, error.to_string()))
        .chain(away.iter().map(|(index, _)| (*index, Outcome::Retry, "the log did not take it for now".to_owned())))
    {
        if let Some(told) = told.iter_mut().find(|told| told.event == Some(index)) {
            told.outcome = outcome;
            told.details = Some(details);
        }
    }
    let event_count = events.len() - too_large.len() - away.len();
    if let Some(first) = events.first() {
        telling::accepted(&first.source, &first.dialect, event_count as u64);
    }
    let is_durable = |index: usize| too_large.iter().chain(&away).all(|(failed, _)| *failed != index);
    let durable = || events.iter().enumerate().filter(|(index, _)| is_durable(*index)).map(|(_, event)| event);
    let clamped_count = durable().filter(|event| event.clock_quality == ClockQuality::Clamped).count();
    door.tail.show(durable(), &letters, events_spooled || letters_spooled);
    if let Some((source, ingest_time_us)) = of_request {
        if lost_before != 0 {
            telling::lost_before(&source, lost_before);
        }
        let taken = Taken {
            events: event_count as u64,
            dead_letters: letters.len() as u64,
            suppressed: suppressed_count as u64,
        };
        door.parts.ledger.add(&source, ingest_time_us, taken);
    }
    for letter in &letters {
        telling::dead_lettered(letter.source.as_deref(), letter.reason);
    }
    Ok(Durable {
        event_count,
        dead_letter_count: letters.len(),
        clamped_count,
        told,
        spooled: events_spooled || letters_spooled,
    })
}

/// Takes away of the events what may not be kept; returns how many may not be kept at all. Their senders hear that all is
/// well: there is nothing for them to mend, and nothing to send again.
fn hold_back(door: &Door, events: &mut Vec<Event>, told: &mut [Told]) -> usize {
    let count = events.len();
    // Where each event is afterwards: they move up into the places of those that went.
    let mut places = Vec::with_capacity(count);
    let mut kept = 0;
    events.retain_mut(|event| {
        let allowed = door.privacy.allows(event);
        if !allowed {
            telling::suppressed(&event.source);
        }
        places.push(allowed.then_some(kept));
        kept += usize::from(allowed);
        allowed
    });
    if events.len() < count {
        for told in told {
            told.event = told.event.and_then(|event| places[event]);
        }
    }
    count - events.len()
}

/// While the spool fills up, what matters least is told to come again first.
fn shed(door: &Door, events: &[Event]) -> Result<(), Refusal> {
    let Some(spool) = door.parts.log.spool_state() else { return Ok(()) };
    let fill = spool.fill();
    let weight = events.iter().map(importance::of).max().unwrap_or(Importance::Last);
    if weight.is_shed_at(fill) {
        return Err(Refusal::Shed);
    }
    Ok(())
}

/// Appends events; returns which the log did not take (by index) and why, and whether some went to the spool.
async fn append_events(door: &Door, events: &[Event]) -> (Vec<(usize, LogError)>, bool) {
    let topic = &door.parts.events;
    let records = events.iter().map(|event| {
        let key = event.partition_key();
        let partition = partition_for(&key, topic.partitions);
        door.hot.see(&key, event);
        let value = Bytes::from(encode_event(event));
        (partition, Record { key: Some(Bytes::from(key)), value, time_ms: event.ingest_time_us.div_euclid(1_000) })
    });
    let answers = append_records(door, &topic.topic, records.collect()).await;
    let spooled = any_spooled(&answers);
    (refused(answers), spooled)
}

fn any_spooled(answers: &[Result<Ack, LogError>]) -> bool {
    answers.iter().any(|answer| answer.as_ref().is_ok_and(|ack| ack.spooled))
}

/// Returns whether some went to the spool.
async fn append_dead_letters(door: &Door, letters: &[DeadLetter]) -> Result<bool, Refusal> {
    let topic = &door.parts.dead_letters;
    let (refused, spooled) = append_letters_once(door, letters).await?;
    if refused.is_empty() {
        return Ok(spooled);
    }
    // The payload was within our limit and not within the log's: what fits of it, with its true length, is
    // worth more than nothing.
    let shorter: Vec<DeadLetter> = refused
        .iter()
        .map(|(index, _)| {
            let letter = &letters[*index];
            let payload = letter.payload.as_deref().map(|payload| cut(payload, LAST_PAYLOAD_BYTES).to_owned());
            let event = letter.event.clone().map(|event| Box::new(Event { properties: None, ..*event }));
            DeadLetter { payload, event, ..letter.clone() }
        })
        .collect();
    let (still_refused, shorter_spooled) = append_letters_once(door, &shorter).await?;
    match still_refused.into_iter().next() {
        None => Ok(spooled || shorter_spooled),
        Some((_, error)) => {
            tracing::error!(%error, topic = topic.topic, "the log refuses even a short dead letter: raise its record limit");
            Err(Refusal::Log(error))
        }
    }
}

async fn append_letters_once(door: &Door, letters: &[DeadLetter]) -> Result<(Vec<(usize, LogError)>, bool), Refusal> {
    if letters.is_empty() {
        return Ok((Vec::new(), false));
    }
    let topic = &door.parts.dead_letters;
    let records = letters.iter().map(|letter| {
        let value = Bytes::from(encode_dead_letter(letter));
        // Dead letters have no order to keep: they are spread by their bytes, and the same one goes to the same place.
        let partition = partition_for(&value, topic.partitions);
        let key = letter.event_id.as_ref().map(|id| Bytes::from(id.clone().into_bytes()));
        (partition, Record { key, value, time_ms: letter.ingest_time_us.div_euclid(1_000) })
    });
    let answers = append_records(door, &topic.topic, records.collect()).await;
    let spooled = any_spooled(&answers);
    Ok((settle(answers)?, spooled))
}

async fn append_records(door: &Door, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
    if records.is_empty() { Vec::new() } else { door.parts.log.append(topic, records).await }
}

fn refused(results: Vec<Result<Ack, LogError>>) -> Vec<(usize, LogError)> {
    results.into_iter().enumerate().filter_map(|(index, result)| Some((index, result.err()?))).collect()
}

/// Parts "too large" from everything else that can go wrong, which fails the whole request.
fn settle(results: Vec<Result<Ack, LogError>>) -> Result<Vec<(usize, LogError)>, Refusal> {
    let (too_large, away): (Vec<_>, Vec<_>) =
        refused(results).into_iter().partition(|(_, error)| matches!(error, LogError::TooLarge { .. }));
    match away.into_iter().next() {
        None => Ok(too_large),
        Some((_, error)) => Err(Refusal::Log(error)),
    }
}

fn too_large_letter(door: &Door, event: &Event, error: &LogError) -> DeadLetter {
    let properties = event.properties.as_deref().unwrap_or_default();
    DeadLetter {
        source: Some(event.source.clone()),
        dialect: event.dialect.clone(),
        event_id: Some(event.event_id.clone()),
        ingest_time_us: event.ingest_time_us,
        reason: DeadReason::TooLarge,
        detail: format!("event {:?}: {error}; payload holds its properties", cut(&event.event_name, 100)),
        payload: Some(cut(properties, door.settings.dead_letter_payload_bytes_max).to_owned()),
        payload_bytes: i64::try_from(properties.len()).unwrap_or(i64::MAX),
        // It cannot be replayed: the properties alone are no body of its dialect.
        request: None,
        event: Some(Box::new(Event { properties: None, ..event.clone() })),
    }
}

/// Appends in a task of its own, so that neither a client that hangs up nor an answer that could not wait
/// takes the event with it. Returns once it is durable, refused, or `wait` is over, whichever is first.
///
/// The task holds the request's place, so there are never more of them than requests may be in work; the
/// tracker in [`crate::Parts`] is awaited on the way down.
pub(crate) async fn append_regardless(
    door: std::sync::Arc<Door>,
    place: crate::intake::Place,
    dialect: &'static str,
    accepted: Accepted,
    wait: Duration,
) {
    let tasks = door.parts.tasks.clone();
    let begin = tokio::time::Instant::now();
    // Of one request, so of one source.
    let source = accepted.events.first().map(|event| event.source.clone());
    let source = source.or_else(|| accepted.dead_letters.first()?.source.clone());
    let appending = tasks.spawn(async move {
        let appended = append(&door, accepted).await;
        drop(place);
        telling::handled(&source.unwrap_or_default(), dialect, &appended, begin);
        if let Err(refusal) = appended {
            telling::not_logged(dialect, refusal.word());
        }
    });
    if tokio::time::timeout(wait, appending).await.is_err() {
        telling::answered_early(dialect);
    }
}
