//! Room for requests, and reading their bodies within it.
//!
//! In:      requests and their bodies.
//! Out:     bytes, with the room they take held until they are dropped.
//! Promise: never more requests in work or bytes held than the settings say; who finds no room is told at
//!          once (503) and waits outside, not in our memory.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;
use crate::settings::IngestSettings;
use crate::telling;

/// Bytes are counted in KiB, for a semaphore counts at most `u32::MAX` in one step.
const UNIT_BYTES: usize = 1_024;

pub(crate) struct Room {
    requests: Arc<Semaphore>,
    units: Arc<Semaphore>,
}

/// One request's place, given back when dropped.
pub(crate) struct Place {
    _request: OwnedSemaphorePermit,
    _gauge: telling::InFlight,
    units: Arc<Semaphore>,
}

impl Room {
    pub(crate) fn new(settings: &IngestSettings) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(settings.in_flight_requests_max)),
            units: Arc::new(Semaphore::new(settings.in_flight_bytes_max / UNIT_BYTES)),
        }
    }

    pub(crate) fn enter(&self) -> Result<Place, Refusal> {
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Place { _request: request, _gauge: telling::InFlight::begin(), units: Arc::clone(&self.units) })
    }
}

/// Bytes held for one request; grows as they come, given back when dropped.
pub(crate) struct Reserved {
    semaphore: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    held_units: usize,
    bytes: usize,
}

impl Reserved {
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        let more = self.bytes.div_ceil(UNIT_BYTES).saturating_sub(self.held_units);
        if more == 0 {
            return Ok(());
        }
        let count = u32::try_from(more).map_err(|_| Refusal::Full)?;
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(count).map_err(|_| Refusal::Full)?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.held_units += more;
        Ok(())
    }
}

impl Place {
    pub(crate) fn reserve(&self) -> Reserved {
        Reserved { semaphore: Arc::clone(&self.units), held: None, held_units: 0, bytes: 0 }
    }
}

/// Reads a body whole, within size and time.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    settings: &IngestSettings,
    reserved: &mut Reserved,
) -> Result<Vec<u8>, Refusal> {
    let bytes_max = settings.request_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let is_over = |limit: usize| announced.is_some_and(|bytes| u64::try_from(limit).is_ok_and(|max| max < bytes));
    let too_large = Refusal::TooLarge { bytes_max, decoded: false };
    // Far too large: not a byte of it is read.
    if is_over(bytes_max.saturating_add(settings.body_bytes_max)) {
        return Err(too_large);
    }
    let mut body = body;
    let time_max = settings.body_time_max();
    let read = if is_over(bytes_max) {
        Err(too_large)
    } else {
        let reading = tokio::time::timeout(time_max, read_frames(&mut body, bytes_max, reserved)).await;
        reading.unwrap_or(Err(Refusal::SlowBody { time_ms_max: settings.body_time_ms_max }))
    };
    if let Err(Refusal::TooLarge { .. }) = read {
        // In vain if it takes too long: the answer is the same.
        drop(tokio::time::timeout(time_max, discard(&mut body, settings.body_bytes_max)).await);
    }
    read
}

/// Lets the rest of a refused body pass by, up to a bound, so that its sender comes to read the answer. Closing
/// while a client still writes looks to it like a broken line, and it would send the same body again and again.
async fn discard(body: &mut Body, bytes_max: usize) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        if bytes_max < bytes {
            return;
        }
    }
}

async fn read_frames(body: &mut Body, bytes_max: usize, reserved: &mut Reserved) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::BrokenBody(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue }; // trailers say nothing to us
        if bytes_max < bytes.len() + data.len() {
            return Err(Refusal::TooLarge { bytes_max, decoded: false });
        }
        reserved.grow(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let settings =
            IngestSettings { in_flight_requests_max: 2, in_flight_bytes_max: 10 * UNIT_BYTES, ..Default::default() };
        let room = Room::new(&settings);
        let first = room.enter().unwrap();
        let second = room.enter().unwrap();
        assert!(matches!(room.enter(), Err(Refusal::Full)));
        let mut held = first.reserve();
        for _ in 0..9 * UNIT_BYTES {
            held.grow(1).unwrap();
        }
        let mut other = second.reserve();
        other.grow(1).unwrap();
        assert!(matches!(held.grow(1), Err(Refusal::Full)));
        drop(other);
        held.grow(1).unwrap();
        drop(held);
        drop(first);
        room.enter().unwrap().reserve().grow(10 * UNIT_BYTES).unwrap();
    }
}
