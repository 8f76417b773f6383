//! The gate of a worker's port.
//!
//! In:      calls of a head, or of another worker.
//! Out:     those that may come in; a flag for each task that is set when its head is gone.
//! Promise: nobody comes in without the token, and no plan of another version of the program is read. A task's flag is set when
//!          the call that brought its plan ends, however it ends: then nobody waits for the task.
//!
//! Why a flag: the library drops a task whose call has ended, which ends it where it pauses; a join in the middle of a batch
//! does not pause (`stop.rs`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use subtle::ConstantTimeEq;
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::channels::VERSION_HEADER;
use super::members::other_version;
use crate::stop::{Stop, StopFlag};
use crate::telling;

/// Which task a plan is for; set here, whatever came.
const TASK_HEADER: HeaderName = HeaderName::from_static("x-tributary-task");

/// How the call that brings a plan is called.
const BRINGS_A_PLAN: &str = "/CoordinatorChannel";

/// The tasks whose heads wait.
#[derive(Debug)]
pub(super) struct Tasks {
    next: AtomicU64,
    flags: Mutex<HashMap<u64, StopFlag>>,
    ended: Notify,
}

/// One of them; when this is dropped its work is to stop.
struct Waiting {
    number: u64,
    tasks: Arc<Tasks>,
    _stop: Stop,
}

impl Tasks {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new(1), flags: Mutex::default(), ended: Notify::new() })
    }

    fn begin(self: &Arc<Self>) -> Waiting {
        let (number, stop) = (self.next.fetch_add(1, Ordering::Relaxed), Stop::default());
        self.flags().insert(number, stop.flag());
        metrics::counter!(telling::WORKER_TASKS).increment(1);
        metrics::gauge!(telling::WORKER_TASKS_RUNNING).increment(1.0);
        Waiting { number, tasks: Arc::clone(self), _stop: stop }
    }

    /// What the work of the task that came with `headers` is to ask.
    pub(super) fn flag(&self, headers: &HeaderMap) -> Option<StopFlag> {
        let number = headers.get(TASK_HEADER)?.to_str().ok()?.parse().ok()?;
        self.flags().get(&number).cloned()
    }

    /// Ready when some have ended since it was last asked; for one listener.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn flags(&self) -> std::sync::MutexGuard<'_, HashMap<u64, StopFlag>> {
        // A map of flags is whole after each line here.
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.tasks.flags().remove(&self.number);
        self.tasks.ended.notify_one();
        metrics::gauge!(telling::WORKER_TASKS_RUNNING).decrement(1.0);
    }
}

#[derive(Clone)]
pub(super) struct Gate<S> {
    pub(super) inner: S,
    pub(super) token: Arc<str>,
    pub(super) tasks: Arc<Tasks>,
}

impl<S> Gate<S> {
    fn judge(&self, headers: &HeaderMap) -> Result<(), Status> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let shown = shown.strip_prefix("Bearer ").unwrap_or_default();
        if !bool::from(shown.as_bytes().ct_eq(self.token.as_bytes())) {
            return Err(Status::unauthenticated(
                "the token shown is not this worker's: give head and workers the same worker.token",
            ));
        }
        let version = headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
        if version != super::version() {
            return Err(Status::failed_precondition(other_version(&super::version(), version)));
        }
        Ok(())
    }
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Err(status) = self.judge(request.headers()) {
            return futures::future::ready(Ok(status.into_http())).boxed();
        }
        request.headers_mut().remove(TASK_HEADER);
        if request.uri().path().ends_with(BRINGS_A_PLAN) {
            let waiting = self.tasks.begin();
            request.headers_mut().insert(TASK_HEADER, HeaderValue::from(waiting.number));
            // The body ends when the head has all it wants, and breaks off when the head is gone.
            request = request.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _ = &waiting;
                    frame
                }))
            });
        }
        self.inner.call(request).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(headers: &[(HeaderName, &str)]) -> Result<(), Status> {
        let gate = Gate { inner: (), token: Arc::from("0123456789abcdef"), tasks: Tasks::new() };
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        gate.judge(&headers.collect())
    }

    #[test]
    fn who_shows_no_token_or_another_stays_outside() {
        let own = super::super::version();
        for shown in ["Bearer 0123456789abcdeg", "Bearer ", "0123456789abcdef", "Bearer 0123456789abcdef0"] {
            let status = judged(&[(header::AUTHORIZATION, shown), (VERSION_HEADER, &own)]).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{shown}");
            assert!(status.message().contains("worker.token"), "{}", status.message());
        }
        assert!(judged(&[(VERSION_HEADER, &own)]).is_err());
        assert!(judged(&[(header::AUTHORIZATION, "Bearer 0123456789abcdef"), (VERSION_HEADER, &own)]).is_ok());
    }

    #[test]
    fn a_plan_of_another_version_is_refused_and_both_are_told() {
        let shown = (header::AUTHORIZATION, "Bearer 0123456789abcdef");
        for (headers, told) in
            [(vec![shown.clone(), (VERSION_HEADER, "0.0.9 with X")], "0.0.9 with X"), (vec![shown], "unknown")]
        {
            let status = judged(&headers).unwrap_err();
            assert_eq!(status.code(), tonic::Code::FailedPrecondition);
            assert!(status.message().contains(told), "{}", status.message());
            assert!(status.message().contains(&super::super::version()), "{}", status.message());
        }
    }

    #[test]
    fn a_task_is_stopped_when_its_call_is_over() {
        let tasks = Tasks::new();
        let waiting = tasks.begin();
        let headers = HeaderMap::from_iter([(TASK_HEADER, HeaderValue::from(waiting.number))]);
        let flag = tasks.flag(&headers).unwrap();
        assert!(flag.check().is_ok());
        drop(waiting);
        assert!(flag.check().is_err());
        assert!(tasks.flag(&headers).is_none());
    }
}
