//! Long work, away from the threads that carry everyone's tasks.
//!
//! In:      a job's state, and work on it that may take seconds.
//! Out:     the state back in its place, and the result.
//! Promise: a job dropped meanwhile loses the state with it, and nothing else: nothing here is written anywhere.

pub(crate) async fn aside<S, R>(state: &mut Vec<S>, work: impl FnOnce(&mut Vec<S>) -> R + Send + 'static) -> R
where
    S: Send + 'static,
    R: Send + 'static,
{
    let mut moved = std::mem::take(state);
    let working = tokio::task::spawn_blocking(move || {
        let result = work(&mut moved);
        (moved, result)
    });
    let (back, result) = working.await.expect("the work does not panic and is never cancelled");
    *state = back;
    result
}
