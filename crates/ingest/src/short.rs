//! The straight way to the dialects that are posted to, past the router and its layers.
//!
//! In:      a POST for one of the paths that [`Short::takes`].
//! Out:     the answer the router would give.
//! Promise: the same handlers, the same counting, the same CORS as in `router`: the paths come from the tables of the
//!          dialects, and a test asks both for the same.
//!
//! A router that is built of layers boxes and clones each of them for each request; of a request that is to be taken in a
//! hundredth of a millisecond that was a tenth.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use tower::{Layer as _, Service};
use tower_http::cors::{Cors, CorsLayer};

use crate::dialect::segment::Call;
use crate::dialect::{cloudevents, ga4, matomo, native, posthog, segment, snowplow};
use crate::router::{Door, both, counted};
use crate::telling;

#[derive(Clone)]
pub struct Short {
    service: Cors<Direct>,
    /// What CORS adds to every answer that no page has asked for: SDKs on servers send no Origin.
    without_origin: HeaderMap,
}

impl Short {
    pub(crate) fn new(door: Arc<Door>, cors: &CorsLayer) -> Self {
        let mut ways = HashMap::new();
        let mut put = |path: &str, way| {
            ways.insert(Arc::from(path), way);
        };
        put(native::PATH, Way::Native);
        for (path, call) in segment::PATHS {
            put(path, Way::Segment(*call));
        }
        for path in both(posthog::PATHS) {
            put(&path, Way::Posthog);
        }
        put(posthog::V1_PATH, Way::PosthogV1);
        put(snowplow::POST_PATH, Way::Snowplow);
        put(ga4::PATH, Way::Ga4);
        for path in matomo::PATHS {
            put(path, Way::Matomo);
        }
        put(cloudevents::PATH, Way::CloudEvents);
        Self { service: cors.layer(Direct { door, ways: Arc::new(ways) }), without_origin: without_origin(cors) }
    }

    /// Whether a POST to this path may come this way.
    pub fn takes(&self, path: &str) -> bool {
        self.service.get_ref().ways.contains_key(path)
    }

    /// Answers a POST to a path that it [takes](Self::takes); the request carries its `ConnectInfo`, as for the router.
    pub async fn answer(&mut self, request: Request) -> Response {
        if request.headers().contains_key(header::ORIGIN) {
            let Ok(response) = self.service.call(request).await;
            return response;
        }
        let Ok(mut response) = self.service.get_mut().call(request).await;
        for (name, value) in &self.without_origin {
            if name == header::VARY {
                response.headers_mut().append(name, value.clone());
            } else {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// Asks the layer itself, once, around a service that does nothing.
fn without_origin(cors: &CorsLayer) -> HeaderMap {
    let nothing = tower::service_fn(async |_: Request| Ok::<_, Infallible>(Response::<axum::body::Body>::default()));
    let answered = pin!(cors.layer(nothing).call(Request::default())).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(response)) = answered else {
        unreachable!("neither the layer nor the service waits for anything")
    };
    response.into_parts().0.headers
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Native,
    Segment(Option<Call>),
    Posthog,
    PosthogV1,
    Snowplow,
    Ga4,
    Matomo,
    CloudEvents,
}

#[derive(Clone)]
struct Direct {
    door: Arc<Door>,
    ways: Arc<HashMap<Arc<str>, Way>>,
}

impl Service<Request> for Direct {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let begin = tokio::time::Instant::now();
        let door = State(self.door.clone());
        let path = request.uri().path();
        let Some((route, way)) = self.ways.get_key_value(path).map(|(route, way)| (route.clone(), *way)) else {
            return Box::pin(async { Ok(axum::http::StatusCode::NOT_FOUND.into_response()) });
        };
        telling::retry_of(request.headers());
        Box::pin(async move {
            let response = match way {
                Way::Native => native::receive(door, request).await,
                Way::Segment(call) => segment::receive(call, door, request).await,
                Way::Posthog => posthog::receive(door, request).await,
                Way::PosthogV1 => posthog::receive_v1(door, request).await,
                Way::Snowplow => snowplow::receive(door, request).await,
                Way::Ga4 => ga4::receive(door, request).await,
                Way::Matomo => matomo::receive(door, request).await,
                Way::CloudEvents => cloudevents::receive(door, request).await,
            };
            Ok(counted(&route, begin, response))
        })
    }
}
