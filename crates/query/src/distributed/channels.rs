//! The ways to the workers, from the head and from worker to worker.
//!
//! In:      an address.
//! Out:     a client for it, that shows the token and says which version of the program asks.
//! Promise: one connection an address, made when it is wanted and again when it broke. One that says nothing for
//!          `SILENT_MAX` is given up, so that a machine that lost its power is no worker any more. An error says at which
//!          address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;
use url::Url;

/// How long a worker may take to accept a connection.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How often an end of a connection that is silent is asked whether it is there, and how long it may take to say so.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(10);

pub(super) const VERSION_HEADER: HeaderName = HeaderName::from_static("x-tributary-version");

/// Clones share the connections.
#[derive(Clone)]
pub(super) struct Channels(Arc<Shared>);

struct Shared {
    token: HeaderValue,
    version: HeaderValue,
    made: Mutex<HashMap<Url, Channel>>,
}

impl Channels {
    /// * `token`: one that passed the check of the settings.
    pub(super) fn new(token: &str) -> Result<Self> {
        let header = |text: String| HeaderValue::try_from(text).map_err(|error| exec_datafusion_err!("{error}"));
        let mut token = header(format!("Bearer {token}"))?;
        token.set_sensitive(true);
        let version = header(super::version())?;
        Ok(Self(Arc::new(Shared { token, version, made: Mutex::default() })))
    }

    fn channel(&self, url: &Url) -> Result<Channel> {
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = made.get(url) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|error| exec_datafusion_err!("{url} is no address of a worker: {error}"))?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(SILENT_MAX)
            .keep_alive_timeout(SILENT_MAX);
        let channel = endpoint.connect_lazy();
        made.insert(url.clone(), channel.clone());
        Ok(channel)
    }

    pub(super) fn client(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let (token, version) = (self.0.token.clone(), self.0.version.clone());
        let signed = self.channel(url)?.map_request(move |mut request: Request<Body>| {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
            request.headers_mut().insert(VERSION_HEADER, version.clone());
            request
        });
        let client = create_worker_client(BoxCloneSyncChannel::new(signed));
        Ok(Box::new(Named { url: url.clone(), client }))
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        self.client(url)
    }
}

/// A client whose errors say whose they are.
struct Named {
    url: Url,
    client: Box<dyn WorkerChannel>,
}

fn at(url: &Url, error: DataFusionError) -> DataFusionError {
    if let DataFusionError::ResourcesExhausted(reason) = error.find_root()
        && !reason.starts_with(ELSEWHERE)
    {
        // Addresses are for the server's log, not for who asks.
        tracing::warn!(worker = %url, reason, "a worker has not enough memory");
        return DataFusionError::ResourcesExhausted(format!("{ELSEWHERE}{reason}"));
    }
    error.context(format!("worker {url}"))
}

/// The limit that was met is not that of the process that tells it.
const ELSEWHERE: &str = "on a worker, by its own query.memory_bytes_max: ";

#[async_trait]
impl WorkerChannel for Named {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        request: SetPlanRequest,
        to_worker: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let url = self.url.clone();
        let answers = self.client.coordinator_channel(headers, request, to_worker, metrics, context).await;
        let answers = answers.map_err(|error| at(&url, error))?;
        Ok(answers.map(move |answer| answer.map_err(|error| at(&url, error))).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let streams = self.client.execute_task(headers, request, metrics, context).await;
        let streams = streams.map_err(|error| at(&self.url, error))?;
        let named = |batches: BoxStream<'static, Result<RecordBatch>>| {
            let url = self.url.clone();
            batches.map(move |batch| batch.map_err(|error| at(&url, error))).boxed()
        };
        Ok(streams.into_iter().map(named).collect())
    }

    async fn get_worker_info(&mut self, request: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        self.client.get_worker_info(request).await.map_err(|error| at(&self.url, error))
    }
}
