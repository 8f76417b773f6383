//! Canceling: a second connection that shows the key of the first ends what that one is at.
//!
//! In:       keys that were given out.
//! Out:      a token for each statement at work.
//! Promise:  only what is at work when the request comes is ended, and only by who has its key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub(crate) struct Cancels(Mutex<HashMap<u32, Entry>>);

#[derive(Debug)]
struct Entry {
    secret: u32,
    /// Of what is at work.
    running: Option<CancellationToken>,
}

/// One connection among the others, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    cancels: Arc<Cancels>,
    pub(crate) process: u32,
    pub(crate) secret: u32,
}

impl Cancels {
    pub(crate) fn seat(self: &Arc<Self>) -> Result<Seat, getrandom::Error> {
        let secret = getrandom::u32()?;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Drivers hold it in 31 bits and take 0 for none.
            let process = getrandom::u32()? >> 1;
            if process != 0 && !entries.contains_key(&process) {
                entries.insert(process, Entry { secret, running: None });
                return Ok(Seat { cancels: Arc::clone(self), process, secret });
            }
        }
    }

    pub(crate) fn cancel(&self, process: u32, secret: u32) {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&process).filter(|entry| entry.secret.ct_eq(&secret).into());
        if let Some(running) = entry.and_then(|entry| entry.running.as_ref()) {
            running.cancel();
        }
    }
}

impl Seat {
    /// From here on there is something to cancel.
    pub(crate) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        self.set(Some(token.clone()));
        token
    }

    /// From here on there is not.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, running: Option<CancellationToken>) {
        let mut entries = self.cancels.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&self.process) {
            entry.running = running;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.cancels.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_ends_only_what_is_at_work() {
        let cancels = Arc::new(Cancels::default());
        let seat = cancels.seat().unwrap();
        cancels.cancel(seat.process, seat.secret);
        let first = seat.begin();
        assert!(!first.is_cancelled(), "it began after the request");
        cancels.cancel(seat.process, seat.secret.wrapping_add(1));
        cancels.cancel(seat.process.wrapping_add(1), seat.secret);
        assert!(!first.is_cancelled());
        cancels.cancel(seat.process, seat.secret);
        assert!(first.is_cancelled());
        let second = seat.begin();
        seat.end();
        cancels.cancel(seat.process, seat.secret);
        assert!(!second.is_cancelled());
        drop(seat);
        assert!(cancels.0.lock().unwrap().is_empty());
    }
}
