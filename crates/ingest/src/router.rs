//! Which path leads where, and what stands around all of them: CORS, counting, health.
//!
//! In:      settings and parts.
//! Out:     an `axum::Router`; serve it with connect info (`into_make_service_with_connect_info::<SocketAddr>()`),
//!          or no event has a network.
//! Promise: paths of dialects stand in this one table, and those that are posted to most in `short` too. A layer put around
//!          the routes is passed by there. `/healthz` says the process lives, `/readyz` that it would take an event now.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tributary_eventlog::{EventLog, TopicInfo};
use tributary_schemas::Clock;

use crate::dialect::{
    self, cloudevents, ga4, matomo, native, pixel, posthog, redirect, segment, snowplow, unsubscribe,
};
use crate::event_id::EventIds;
use crate::guard::Guard;
use crate::history::History;
use crate::hot::HotKeys;
use crate::intake::Room;
use crate::ledger::Ledger;
use crate::openapi::{self, Limits, Routes};
use crate::privacy::Privacy;
use crate::refusal::json_answer;
use crate::replay;
use crate::schema::{self, Judge};
use crate::script;
use crate::settings::IngestSettings;
use crate::short::Short;
use crate::suppressed;
use crate::tail::{self, Tail};
use crate::telling;
use crate::webhook::{self, Web, Webhook};

/// What the door works with.
#[derive(Clone)]
pub struct Parts {
    pub log: Arc<dyn EventLog>,
    pub events: TopicInfo,
    pub dead_letters: TopicInfo,
    /// The group by which the stream job reports how far it has come.
    pub reader: String,
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the process is about to go: `/readyz` then says no, so that a balancer looks elsewhere.
    pub stop: CancellationToken,
    /// Owns the appends that outlive their answer (pixels, redirects). On the way down, after the server has
    /// stopped: `tasks.close()`, then `tasks.wait()`, then close the log.
    pub tasks: TaskTracker,
    /// Where what was taken is counted, for the books.
    pub ledger: Arc<Ledger>,
    /// Fetches what it takes to believe a webhook.
    pub web: Arc<dyn Web>,
}

/// Put by a server on what its routes are asked over a connection whose TLS it ends itself.
#[derive(Debug, Clone, Copy)]
pub struct Secure;

/// The settings cannot stand: every fault, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the settings of the door cannot stand:\n{}", faults.join("\n"))]
pub struct SetupError {
    pub faults: Vec<String>,
}

/// The door as every handler sees it.
pub(crate) struct Door {
    pub settings: IngestSettings,
    pub parts: Parts,
    pub room: Room,
    pub webhooks: Vec<Webhook>,
    pub guard: Guard,
    pub privacy: Arc<Privacy>,
    pub ids: EventIds,
    pub tail: Tail,
    pub judge: Arc<Judge>,
    pub hot: HotKeys,
    pub history: History,
}

/// The routes of the door. It sets no fallback, so it may be merged with other routers.
pub fn router(settings: IngestSettings, parts: Parts) -> Result<Router, SetupError> {
    routes(settings, parts).map(|(router, _)| router)
}

/// The routes of the door, and the straight way to those that are most used: it answers as the routes do.
pub fn routes(settings: IngestSettings, parts: Parts) -> Result<(Router, Short), SetupError> {
    let faults = settings.check();
    if !faults.is_empty() {
        return Err(SetupError { faults });
    }
    let cors = cors(&settings);
    let room = Room::new(&settings);
    let webhooks = settings.webhooks.iter().cloned().map(Webhook::new).collect();
    let guard = Guard::new(&settings);
    let privacy = Arc::new(Privacy::new(&settings.privacy, &settings.ticket_secret));
    if !settings.suppress_file.as_os_str().is_empty() {
        let following = suppressed::follow(settings.suppress_file.clone(), privacy.clone(), parts.stop.clone())
            .map_err(|fault| SetupError { faults: vec![fault] })?;
        parts.tasks.spawn(following);
    }
    let (judge, following) = schema::open(&settings, parts.stop.clone()).map_err(|faults| SetupError { faults })?;
    if let Some(following) = following {
        parts.tasks.spawn(following);
    }
    let hot = HotKeys::new(settings.hot_key_events_per_second);
    let (tail, history) = (Tail::default(), History::default());
    let ids = EventIds::new(&settings.ticket_secret);
    let door = Arc::new(Door { settings, parts, room, webhooks, guard, privacy, ids, tail, judge, hot, history });

    let short = Short::new(door.clone(), &cors);
    let dialects = dialects();
    // What is sent again goes the way it came.
    let again = dialects.clone().with_state(door.clone());
    let router = dialects
        // Before the layer: what is set after it would stand outside, and a browser that asks first would be refused.
        .method_not_allowed_fallback(not_allowed)
        .layer(cors)
        .route(replay::PATH, post(async move |state, request| replay::receive(again, state, request).await))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/tail", get(tail::receive))
        .route("/openapi.json", get(openapi_document))
        .layer(middleware::from_fn(count));
    Ok((router.with_state(door), short))
}

/// Every path a tracker, a mail reader or a webhook may call.
fn dialects() -> Router<Arc<Door>> {
    let mut router = Router::new();
    for (path, call) in segment::PATHS {
        router = router.route(path, post(move |door, request| segment::receive(*call, door, request)));
    }
    for path in both(posthog::PATHS) {
        router = router.route(&path, get(posthog::receive).post(posthog::receive));
    }
    for path in both(posthog::FLAGS_PATHS) {
        router = router.route(&path, get(posthog::flags).post(posthog::flags));
    }
    for path in snowplow::GET_PATHS {
        router = router.route(path, get(snowplow::receive));
    }
    for path in matomo::PATHS {
        router = router.route(path, get(matomo::receive).post(matomo::receive));
    }
    router
        .route(native::PATH, post(native::receive))
        .route(segment::METRICS_PATH, post(segment::discard))
        .route(segment::SETTINGS_PATH, get(segment::settings))
        .route(segment::RUDDER_CONFIG_PATH, get(segment::rudder_config))
        .route("/pixel/v1/{call}", get(pixel::receive_rudder))
        .route(posthog::V1_PATH, post(posthog::receive_v1))
        .route("/array/{key}/{file}", get(posthog::config))
        .route(snowplow::POST_PATH, get(snowplow::receive).post(snowplow::receive))
        .route(ga4::PATH, post(ga4::receive))
        .route(ga4::DEBUG_PATH, post(ga4::debug))
        .route(cloudevents::PATH, post(cloudevents::receive))
        .route("/webhooks/{source}", post(webhook::receive))
        .route("/t.js", get(script::receive))
        .route("/p.gif", get(pixel::receive))
        .route("/r/{ticket}", get(redirect::receive))
        .route("/u/{ticket}", get(unsubscribe::receive).post(unsubscribe::receive))
}

/// Mirrors the origin and the headers asked for. `analytics-next` sends `Authorization`, so it always asks
/// first; mirroring with credentials gives nothing away, for no answer here depends on a cookie.
fn cors(settings: &IngestSettings) -> CorsLayer {
    let origin = if settings.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::mirror_request()
    } else {
        // The check has seen to it that they are plain ASCII.
        AllowOrigin::list(settings.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        // Or a page's script cannot see how long to wait.
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static("x-ingest-durability")])
        .max_age(std::time::Duration::from_secs(7_200))
}

async fn count(request: Request, next: Next) -> Response {
    let begin = tokio::time::Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    telling::retry_of(request.headers());
    let response = next.run(request).await;
    counted(route.as_ref().map_or("unmatched", MatchedPath::as_str), begin, response)
}

/// What every answer of the door has gone through.
pub(crate) fn counted(route: &str, begin: tokio::time::Instant, mut response: Response) -> Response {
    telling::request(route, &response.status(), begin.elapsed());
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// Says which way what is here is asked for.
pub async fn not_allowed(method: Method, uri: Uri) -> Response {
    let body = serde_json::json!({
        "error": format!("{method} is not answered at {}", uri.path()),
        "advice": "events and questions are sent with POST, the rest is asked with GET",
    });
    json_answer(StatusCode::METHOD_NOT_ALLOWED, &body)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(door): State<Arc<Door>>) -> Response {
    let unready = if door.parts.stop.is_cancelled() {
        Some("shutting down".to_owned())
    } else {
        match tokio::time::timeout(door.settings.append_time_max(), door.parts.log.check()).await {
            Ok(Ok(())) => None,
            // Unlike an answer to a tracker, this one is for whoever runs the server: it may name things.
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("the log did not answer within {} ms", door.settings.append_time_ms_max)),
        }
    };
    match unready {
        None => json_answer(StatusCode::OK, &serde_json::json!({"ready": true})),
        Some(reason) => {
            let body = serde_json::json!({"ready": false, "reason": reason});
            let mut response = json_answer(StatusCode::SERVICE_UNAVAILABLE, &body);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response.into_response()
        }
    }
}

async fn openapi_document(State(door): State<Arc<Door>>) -> Response {
    json_answer(StatusCode::OK, &described(door.settings.batch_events_max))
}

/// PostHog's SDKs write these with and without the slash at the end.
pub(crate) fn both(paths: &[&str]) -> Vec<String> {
    paths.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/")]).collect()
}

/// The routes of this file, told to programs.
///
/// * `events_max`: `batch_events_max` of the settings.
pub(crate) fn described(events_max: usize) -> serde_json::Value {
    let segment: Vec<&str> = segment::PATHS.iter().map(|(path, _)| *path).collect();
    let (posthog, flags) = (both(posthog::PATHS), both(posthog::FLAGS_PATHS));
    let posthog: Vec<&str> = posthog.iter().map(String::as_str).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let snowplow: Vec<&str> = snowplow::GET_PATHS.iter().copied().chain([snowplow::POST_PATH]).collect();
    let routes = Routes {
        native: &[native::PATH],
        segment: &segment,
        segment_metrics: &[segment::METRICS_PATH],
        segment_settings: &[segment::SETTINGS_PATH],
        rudder_config: &[segment::RUDDER_CONFIG_PATH],
        rudder_pixel: &["/pixel/v1/{call}"],
        posthog: &posthog,
        posthog_v1: &[posthog::V1_PATH],
        posthog_flags: &flags,
        posthog_config: &["/array/{key}/{file}"],
        snowplow_get: &snowplow,
        snowplow_post: &[snowplow::POST_PATH],
        matomo: matomo::PATHS,
        ga4: &[ga4::PATH],
        ga4_debug: &[ga4::DEBUG_PATH],
        cloudevents: &[cloudevents::PATH],
        webhooks: &["/webhooks/{source}"],
        script: &["/t.js"],
        pixel: &["/p.gif"],
        link: &["/r/{ticket}"],
        way_out: &["/u/{ticket}"],
        tail: &["/v1/tail"],
        replay: &[replay::PATH],
        health: &["/healthz"],
        ready: &["/readyz"],
        itself: &["/openapi.json"],
        sql: &["/v1/sql", "/v1/query/sql"],
        functions: &["/v1/query"],
        function: &["/v1/query/{function}"],
        definitions: &["/v1/metrics"],
        receipts: &["/v1/receipts/{event_id}"],
    };
    let limits = Limits { events_max, exposures_max: dialect::EXPOSURES_MAX, letters_max: replay::LETTERS_MAX };
    openapi::document(&routes, &limits)
}
