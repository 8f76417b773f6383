//! The line of one process: its roles as tasks, each with one owner, stopped in the order of the data.
//!
//! In:       settings, a bound listener, the metrics.
//! Out:      a running line; what failed, if something did.
//! Promise:  `stop` says so on `/readyz`, closes the door, lets requests inside finish (bounded) and cuts off the rest,
//!           lets late appends finish, has the pipeline take in the rest and commit, and closes the log: in this
//!           order, whatever fails on the way.
//! Not here: signals and messages (`mod.rs`), connections (`http.rs`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tributary_analytics::enrich::currency::NewerRates;
use tributary_pipeline::{PipelineError, Progress, Summary};
use tributary_query::Engine;
use tributary_query::live::{LiveSource, LiveSources};
use tributary_schemas::{Clock, SystemClock};

use super::definitions::follow;
use super::faces::Faces;
use super::http;
use super::live::{OtherProcess, OwnJob};
use super::parts::{LogParts, lake_folder, log_is_there, open_lake, open_log};
use super::traces::traced;
use super::{rates, tls, upkeep};
use crate::cli::{UserError, spelling};
use crate::definitions;
use crate::ops::{self, Observer, ObserverParts};
use crate::settings::{Role, Settings};

pub(crate) struct Line {
    watch: LineWatch,
    /// Only where the door is: it tells imports whom to send to.
    addr_file: Option<PathBuf>,
    /// `/readyz` says no from here on.
    unready: CancellationToken,
    unready_for: Duration,
    door_stop: CancellationToken,
    pipeline_stop: CancellationToken,
    /// Appends that outlive their answers.
    late_appends: TaskTracker,
    drain_max: Duration,
    server: Option<JoinHandle<()>>,
    /// Where another protocol than HTTP is spoken.
    faces: Option<JoinHandle<()>>,
    pipeline: Option<JoinHandle<Result<Summary, PipelineError>>>,
    upkeep: JoinHandle<()>,
    /// Of the lake, where this process writes it.
    lake_upkeep: Option<JoinHandle<()>>,
    /// Of the currency rates, where a table of them is set.
    rates_upkeep: Option<JoinHandle<()>>,
}

/// What others may see of a running line, for as long as they like.
#[derive(Clone)]
pub(crate) struct LineWatch {
    addr: SocketAddr,
    log: Option<LogParts>,
    engine: Option<Arc<Engine>>,
    progress: watch::Receiver<Progress>,
}

impl Line {
    /// Opens the parts and starts the roles. Serves requests when it returns.
    pub(crate) async fn start(
        settings: &Settings,
        listener: TcpListener,
        faces: Faces,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let data_dir = &settings.serve.data_dir;
        std::fs::create_dir_all(data_dir).map_err(|error| {
            UserError(format!(
                "cannot make the data folder {}: {error}; choose another with --data",
                data_dir.display()
            ))
        })?;
        let has = |role| settings.serve.roles.contains(&role);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log = if has(Role::Ingest) || has(Role::Pipeline) {
            Some(open_log(&settings.log, clock.clone(), has(Role::Ingest)).await?)
        } else {
            None
        };
        if let Some(folder) = lake_folder(settings)
            && let Some(told) = ops::finish_swap(&folder)?
        {
            tracing::info!("a replay that was cut off is finished: {told}");
        }
        let lake = if has(Role::Pipeline) || has(Role::Query) || has(Role::Worker) {
            Some(open_lake(settings).await?)
        } else {
            None
        };

        let ledger: Arc<tributary_ingest::Ledger> = Arc::default();
        let (unready, late_appends) = (CancellationToken::new(), TaskTracker::new());
        let mut router = Router::new();
        let mut short = None;
        router = match &log {
            Some(log) if has(Role::Ingest) => {
                let parts = tributary_ingest::Parts {
                    log: log.log.clone(),
                    events: log.events.clone(),
                    dead_letters: log.dead_letters.clone(),
                    reader: tributary_pipeline::GROUP.to_owned(),
                    clock,
                    stop: unready.clone(),
                    tasks: late_appends.clone(),
                    ledger: ledger.clone(),
                    web: Arc::new(tributary_ingest::HttpsWeb),
                };
                let mut ingest = settings.ingest.clone();
                if ingest.watch_tokens.is_empty() {
                    ingest.watch_tokens.clone_from(&settings.query.tokens);
                }
                let door = tributary_ingest::routes(ingest, parts);
                let (door, straight) = door.map_err(|error| UserError(error.to_string()))?;
                short = Some(straight);
                router.merge(door)
            }
            // The door brings these two; without it the process still must say how it is.
            _ => router.merge(health(unready.clone())),
        };
        let (tail, desk) = tributary_pipeline::live(Duration::from_millis(settings.query.live_wait_ms_max));
        let own = has(Role::Pipeline).then(|| Arc::new(OwnJob(tail)) as Arc<dyn LiveSource>);
        let others =
            OtherProcess::all(&settings.query)?.into_iter().map(|other| Arc::new(other) as Arc<dyn LiveSource>);
        let live = LiveSources { own, others: others.collect() };
        let engine = match &lake {
            Some(lake) => {
                let mut query = settings.query.clone();
                // Who answers nobody needs no names.
                query.metrics_dir = query.metrics_dir.filter(|_| has(Role::Query));
                query.workers.retain(|_| has(Role::Query));
                let engine = Engine::with_live(query, lake.clone(), live).map_err(definitions::told)?;
                engine.check_definitions().await.map_err(definitions::told)?;
                Some(Arc::new(engine))
            }
            None => None,
        };
        router = router.route(
            "/metrics",
            get({
                let (metrics, engine) = (metrics.clone(), engine.clone());
                async move || {
                    if let Some(engine) = &engine {
                        engine.tell();
                    }
                    metrics.render()
                }
            }),
        );
        if let Some(engine) = engine.as_ref().filter(|_| has(Role::Pipeline)) {
            router = router.merge(tributary_query::live_router(engine.clone()));
        }
        if let Some(engine) = engine.as_ref().filter(|_| has(Role::Query)) {
            router = router.merge(tributary_query::router(engine.clone()));
        }

        let addr = listener.local_addr().context("the listener has no address")?;
        let addr_file = has(Role::Ingest).then(|| data_dir.join("listen.addr"));
        if let Some(file) = &addr_file {
            let scheme = if settings.serve.tls() { "https://" } else { "" };
            std::fs::write(file, format!("{scheme}{addr}\n"))
                .with_context(|| format!("cannot write {}; is the disk full?", file.display()))?;
        }

        let (progress_in, progress) = watch::channel(Progress::default());
        let observed = ObserverParts {
            log: log.clone(),
            lake: lake.clone(),
            ledger,
            progress: progress.clone(),
            metrics,
            clock: Arc::new(SystemClock),
        };
        let roles = settings.serve.roles.iter().map(spelling).collect();
        // Its books begin where the lake stands, so before anybody moves it.
        let observer = Observer::begin(settings, roles, observed).await?;
        router = router.route(
            "/status",
            get({
                let observer = observer.clone();
                async move |Query(asked): Query<StatusQuery>| status(observer.report_now(asked.minutes).await)
            }),
        );
        router = router.fallback(not_found).method_not_allowed_fallback(tributary_ingest::not_allowed);
        // Whatever it is that is asked for, it is what its type says.
        router = router.layer(axum::middleware::map_response(async |mut response: Response| {
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }));
        let pipeline_stop = CancellationToken::new();
        let lake_upkeep = lake
            .as_ref()
            // The first of several workers does it for all: the others would only do the same work once more.
            .filter(|_| has(Role::Pipeline) && settings.pipeline.worker_ordinal == 0)
            .map(|lake| upkeep::spawn(lake.clone(), settings, pipeline_stop.clone()));
        let mut rates_upkeep = None;
        let pipeline = match (&log, lake) {
            (Some(log), Some(lake)) if has(Role::Pipeline) => {
                let parts = tributary_pipeline::Parts {
                    log: log.log.clone(),
                    lake,
                    events: log.events.clone(),
                    dead_letters: log.dead_letters.clone(),
                    progress: progress_in,
                };
                let newer_rates = NewerRates::default();
                rates_upkeep = rates::spawn(&settings.pipeline, newer_rates.clone(), pipeline_stop.clone());
                let (pipeline, stop) = (settings.pipeline.clone(), pipeline_stop.clone());
                let log = log.clone();
                Some(tokio::spawn(async move {
                    tokio::select! {
                        () = log_is_there(&log) => {}
                        () = stop.cancelled() => return Ok(Summary::default()),
                    }
                    tributary_pipeline::run_live(pipeline, parts, desk, newer_rates, stop).await
                }))
            }
            _ => None,
        };

        let limits = http::Limits {
            connections_max: http::connections_that_fit(settings.serve.connections_max),
            idle_max: Duration::from_millis(settings.serve.idle_ms_max),
        };
        let door_stop = CancellationToken::new();
        if !settings.telemetry.otlp_endpoint.is_empty() {
            router = router.layer(axum::middleware::from_fn(traced));
            // Every request is to have its span.
            short = None;
        }
        let tls = match settings.serve.tls() {
            true => {
                let (certificate, key) = (settings.serve.tls_certificate.clone(), settings.serve.tls_key.clone());
                let (tls, following) = tls::open(certificate, key, unready.clone())?;
                late_appends.spawn(following);
                Some(tls)
            }
            false => None,
        };
        if let (Some(engine), Some(folder)) =
            (engine.as_ref().filter(|_| has(Role::Query)), &settings.query.metrics_dir)
        {
            late_appends.spawn(follow(folder.clone(), Arc::clone(engine), unready.clone()));
        }
        let faces = engine
            .as_ref()
            .filter(|_| has(Role::Query) || has(Role::Worker))
            .and_then(|engine| faces.serve(engine, settings, tls.as_ref(), door_stop.clone()));
        let server =
            tokio::spawn(http::serve(listener, tls, http::Routes { router, short }, limits, door_stop.clone()));
        let upkeep = tokio::spawn(observer.run());
        Ok(Self {
            watch: LineWatch { addr, log, engine, progress },
            addr_file,
            unready,
            unready_for: Duration::from_millis(settings.serve.unready_ms),
            door_stop,
            pipeline_stop,
            late_appends,
            drain_max: Duration::from_millis(settings.serve.drain_ms_max),
            server: Some(server),
            faces,
            pipeline,
            upkeep,
            lake_upkeep,
            rates_upkeep,
        })
    }

    pub(crate) fn watch(&self) -> &LineWatch {
        &self.watch
    }

    /// Resolves when a role ends by itself, which none should, with the reason.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let server = async {
            match &mut self.server {
                Some(server) => server.await,
                None => std::future::pending().await,
            }
        };
        let faces = async {
            match &mut self.faces {
                Some(faces) => faces.await,
                None => std::future::pending().await,
            }
        };
        let pipeline = async {
            match &mut self.pipeline {
                Some(pipeline) => pipeline.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = server => {
                self.server = None;
                match ended {
                    Ok(()) => anyhow!("the door closed by itself"),
                    Err(error) => anyhow::Error::new(error).context("the door broke off"),
                }
            }
            ended = faces => {
                self.faces = None;
                match ended {
                    Ok(()) => anyhow!("a protocol of questions ended by itself"),
                    Err(error) => anyhow::Error::new(error).context("a protocol of questions broke off"),
                }
            }
            ended = pipeline => {
                self.pipeline = None;
                match ended {
                    Ok(Err(error)) => pipeline_fault(error),
                    Ok(Ok(_)) => anyhow!("the stream job ended by itself"),
                    Err(error) => anyhow::Error::new(error).context("the stream job broke off"),
                }
            }
        }
    }

    /// Stops in the order of the data. The first thing that goes wrong is returned; the rest is stopped all the same.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let mut first_error: Option<anyhow::Error> = None;
        let mut keep = |error: anyhow::Error| {
            first_error.get_or_insert(error);
        };
        // 1. The door: readyz says no for as long as a balancer needs to hear it; then nobody new comes in, and who is
        // inside may finish.
        self.unready.cancel();
        if self.server.is_some() {
            tokio::time::sleep(self.unready_for).await;
        }
        self.door_stop.cancel();
        let drained_by = tokio::time::Instant::now() + self.drain_max;
        if let Some(mut server) = self.server.take() {
            match tokio::time::timeout_at(drained_by, &mut server).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => keep(anyhow::Error::new(error).context("the door broke off while it closed")),
                Err(_) => {
                    // Their senders had no answer and will come again with the same ids.
                    tracing::warn!(
                        drain_ms = self.drain_max.as_millis(),
                        "some requests did not finish and were cut off"
                    );
                    // With the server go its connections; what they had handed to the log already is drained below.
                    server.abort();
                    drop(server.await);
                }
            }
        }
        if let Some(mut faces) = self.faces.take()
            && tokio::time::timeout_at(drained_by, &mut faces).await.is_err()
        {
            tracing::warn!(drain_ms = self.drain_max.as_millis(), "some questions were not answered and were cut off");
            faces.abort();
            drop(faces.await);
        }
        // 2. Appends that outlived their answers.
        self.late_appends.close();
        if tokio::time::timeout(self.drain_max, self.late_appends.wait()).await.is_err() {
            tracing::warn!("some pixels and redirects were not logged in time");
        }
        // 3. The pipeline takes in what the log holds, and commits as its last act. Its drain is bounded by itself. The
        // lake's upkeep is broken off: whatever it was at, the next one begins anew.
        self.pipeline_stop.cancel();
        if let Some(lake_upkeep) = self.lake_upkeep.take()
            && let Err(error) = lake_upkeep.await
        {
            keep(anyhow::Error::new(error).context("the upkeep of the lake broke off"));
        }
        if let Some(rates_upkeep) = self.rates_upkeep.take()
            && let Err(error) = rates_upkeep.await
        {
            keep(anyhow::Error::new(error).context("the looking after currency rates broke off"));
        }
        if let Some(pipeline) = self.pipeline.take() {
            match pipeline.await {
                Ok(Ok(summary)) => {
                    tracing::info!(commits = summary.commits, rows = summary.rows, "the stream job has stopped")
                }
                Ok(Err(error)) => keep(pipeline_fault(error)),
                Err(error) => keep(anyhow::Error::new(error).context("the stream job broke off")),
            }
        }
        // 4. The log, which nobody uses once the observer looks no more.
        self.upkeep.abort();
        self.watch.engine = None;
        if let Some(log) = self.watch.log.take()
            && let Err(error) = log.log.close().await
        {
            keep(anyhow::Error::new(error).context("the log did not close"));
        }
        // Gone already, or not: what matters is that it does not point at a server that is no more.
        if let Some(file) = &self.addr_file {
            drop(std::fs::remove_file(file));
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl LineWatch {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where this process asks its own questions; there is one where it runs pipeline or query.
    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref()
    }

    /// Waits until everything now durable in the log is queryable, or `limit` has passed.
    pub(crate) async fn caught_up(&self, limit: Duration) -> anyhow::Result<()> {
        let log = self.log.as_ref().context("this process has no log to catch up with")?;
        let mut events_next = Vec::new();
        for partition in 0..log.events.partitions {
            events_next.push((partition, log.log.bounds(&log.events.topic, partition).await?.next));
        }
        let mut dead_next = Vec::new();
        for partition in 0..log.dead_letters.partitions {
            dead_next.push((partition, log.log.bounds(&log.dead_letters.topic, partition).await?.next));
        }
        let reached = |at: &[(u32, u64)], goal: &[(u32, u64)]| {
            goal.iter().all(|(partition, next)| {
                *next == 0 || at.iter().any(|(other, reached)| other == partition && reached >= next)
            })
        };
        let mut progress = self.progress.clone();
        let arrived =
            progress.wait_for(|now| reached(&now.events, &events_next) && reached(&now.dead_letters, &dead_next));
        match tokio::time::timeout(limit, arrived).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(anyhow!("the stream job ended before it had caught up")),
            Err(_) => Err(anyhow!("the stream job did not catch up within {} s", limit.as_secs())),
        }
    }
}

fn pipeline_fault(error: PipelineError) -> anyhow::Error {
    let users = error.advice() == tributary_pipeline::Advice::Stop;
    let error = anyhow::Error::new(error).context("the stream job failed");
    if users { UserError(format!("{error:#}")).into() } else { error }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StatusQuery {
    /// Of the books.
    minutes: u32,
}

fn status(report: anyhow::Result<ops::Report>) -> (StatusCode, String) {
    match report.and_then(|report| Ok(serde_json::to_string_pretty(&report)?)) {
        Ok(text) => (StatusCode::OK, text + "\n"),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("log and lake cannot be looked at: {error:#}\n")),
    }
}

async fn not_found(uri: Uri) -> Response {
    let advice = "events go to /v1/track, /v1/page, /v1/identify, /v1/batch ..., questions to /v1/sql; a process answers \
                  for its roles only";
    refusal(StatusCode::NOT_FOUND, &format!("there is nothing at {}", uri.path()), advice)
}

fn refusal(status: StatusCode, error: &str, advice: &str) -> Response {
    let body = serde_json::json!({"error": error, "advice": advice}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn health(stop: CancellationToken) -> Router {
    let ready = async move || {
        if stop.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        } else {
            (StatusCode::OK, "ready\n")
        }
    };
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}
