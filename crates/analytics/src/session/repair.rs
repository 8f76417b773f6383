//! Sessions of one key anew, with the events that came too late for the stream.
//!
//! In:       all events of a key over the time that is to be repaired; the sessions of that time that stand.
//! Out:      what must be told so that the sessions of these events stand in their place.
//! Promise:  the same cuts, ids and rows as the stream's: it is the same code. What is as it stands is not told again.
//! Not here: when a repair runs, what it reads, how it is committed (`pipeline`).

use super::changes::{Change, Changes, Session};
use super::event::SessionEvent;
use super::id::{SessionId, SessionKey};
use super::rule::SessionRule;
use super::sessionizer::Sessionizer;

/// A session that stands: the latest row of its id, and no tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub session_id: SessionId,
    pub start_time_us: i64,
    pub end_time_us: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub event_count: i64,
    pub late_event_count: i64,
}

/// Why a repair is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {session_id} stands, but its first event is not among the events given: give whole sessions")]
pub struct RepairError {
    pub session_id: SessionId,
}

/// Which spans of time of a key must be read and cut anew for events that came too late.
///
/// * `standing`: start and end of its sessions in the table, by start. `late_us`: times of the late events, ascending.
///
/// Each span begins where a session is sure to begin whatever the late events do, and ends where a quiet time closes
/// whatever they do; so the events in it, late ones included, give the same sessions as all events of the key would.
/// Repair a span only when its end `SessionRule::is_sealed`: before that the stream still holds its sessions, and tells
/// them again without the late events.
pub fn affected(rule: &SessionRule, standing: &[(i64, i64)], late_us: &[i64]) -> Vec<(i64, i64)> {
    let mut pieces: Vec<(i64, i64, bool)> =
        standing.iter().map(|&(start_us, end_us)| (start_us, end_us, false)).collect();
    pieces.extend(late_us.iter().map(|&time_us| (time_us, time_us, true)));
    // A late event at the very start of a session may come before its first event, and join it to the session before.
    pieces.sort_unstable_by_key(|&(start_us, end_us, is_late)| (start_us, !is_late, end_us));
    let mut spans = Vec::new();
    // Of the chain at hand: its last session's start, or that of the chain; its end; from where it is affected.
    let mut chain: Option<(i64, i64, Option<i64>)> = None;
    for (start_us, end_us, is_late) in pieces {
        if let Some((_, chain_end_us, from_us)) = chain
            && rule.is_closed_by(start_us.saturating_sub(chain_end_us))
        {
            spans.extend(from_us.map(|from_us| (from_us, chain_end_us)));
            chain = None;
        }
        let (last_start_us, chain_end_us, mut from_us) = chain.unwrap_or((start_us, end_us, None));
        let last_start_us = if is_late { last_start_us } else { start_us };
        if is_late && from_us.is_none() {
            from_us = Some(last_start_us);
        }
        chain = Some((last_start_us, chain_end_us.max(end_us), from_us));
    }
    spans.extend(chain.and_then(|(_, end_us, from_us)| Some((from_us?, end_us))));
    spans
}

/// The sessions of `events`, as changes to those that stand.
///
/// * `events`: all of the key over a span that `affected` names, in any order; those that were late with `is_late`.
/// * `standing`: its sessions that begin in the span. `watermark_us`: of its source, for `is_final`.
/// * `tell`: is given the changes: rows that are new or other than they stand, and tombstones.
pub fn resession<'e, T>(
    rule: &SessionRule,
    key: SessionKey<'_>,
    events: impl IntoIterator<Item = SessionEvent<'e>>,
    standing: &[Standing],
    watermark_us: i64,
    tell: impl FnOnce(&Changes<'_>) -> T,
) -> Result<T, RepairError> {
    let mut sessionizer = Sessionizer::new(rule.clone());
    let source = sessionizer.add_source(key.source, Some(watermark_us));
    for event in events {
        sessionizer.take(source, key.session_key, &event);
    }
    let changes = sessionizer.drain();
    let mut starts: Vec<(i64, i64, SessionId)> =
        changes.iter().map(|change| (change.start_time_us(), change.end_time_us(), change.session_id())).collect();
    starts.sort_unstable();
    let mut gone = Vec::new();
    for stands in standing {
        let heir = starts[..starts.partition_point(|start| start.0 <= stands.start_time_us)].last();
        match heir {
            Some((_, _, id)) if *id == stands.session_id => {}
            Some((_, end_us, id)) if stands.start_time_us <= *end_us => gone.push((*stands, *id)),
            _ => return Err(RepairError { session_id: stands.session_id }),
        }
    }
    // Two sessions of one first event and as many events hold the same ones, unless a late one has come into it: then it
    // holds one late event more.
    let stands = |session: &Session<'_>| {
        standing.iter().any(|row| {
            let (row_is, session_is) = (
                (row.session_id, row.end_time_us, row.event_count, row.late_event_count),
                (session.session_id(), session.end_time_us(), session.event_count(), session.late_event_count()),
            );
            row_is == session_is
        })
    };
    let is_told: Vec<bool> =
        changes.iter().map(|change| !matches!(change, Change::Upsert(session) if stands(&session))).collect();
    sessionizer.revise(&is_told, &gone);
    Ok(tell(&sessionizer.last_changes()))
}
