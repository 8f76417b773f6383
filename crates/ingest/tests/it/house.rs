//! A door on a recorder, and the words the tests ask it with.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tributary_eventlog::TopicInfo;
use tributary_ingest::{IngestSettings, Ledger, Parts, Short, Web, WebError, WriteKey, routes};
use tributary_schemas::ManualClock;
use tributary_schemas::wire::{Shape, WireDecoder};

use crate::recorder::{PATIENCE, Recorder};

pub(crate) const EVENTS: &str = "events";
pub(crate) const DEAD_LETTERS: &str = "dead_letters";
pub(crate) const PARTITIONS: u32 = 4;
pub(crate) const READER: &str = "stream-job";
pub(crate) const SECRET: &str = "thirty-two bytes and then some more";
/// 2026-11-22T13:04:40Z, a moment after the captures were made.
pub(crate) const NOW_US: i64 = 1_795_352_680_000_000;

pub(crate) struct House {
    pub log: Arc<Recorder>,
    pub clock: Arc<ManualClock>,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub router: Router,
    pub short: Short,
    pub web: Arc<KnownWeb>,
    pub ledger: Arc<Ledger>,
}

/// A web of the pages that were put into it; `*` stands for all others.
#[derive(Default)]
pub(crate) struct KnownWeb {
    pub pages: Mutex<HashMap<String, Vec<u8>>>,
    /// What was asked for, in order.
    pub asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Web for KnownWeb {
    async fn get(&self, url: &str) -> Result<Vec<u8>, WebError> {
        self.asked.lock().unwrap().push(url.to_owned());
        let pages = self.pages.lock().unwrap();
        let page = pages.get(url).or_else(|| pages.get("*")).cloned();
        page.ok_or_else(|| WebError { url: url.to_owned(), reason: "not in this web".to_owned() })
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn settings() -> IngestSettings {
    let key = |key: &str, source: &str, trusted_clock| WriteKey {
        key: key.into(),
        source: source.into(),
        trusted_clock,
        ..WriteKey::default()
    };
    IngestSettings {
        write_keys: vec![
            key("WK", "shop", false),
            key("TRUSTED", "import", true),
            key("WK_SEG", "seg-node", false),
            key("WKB", "seg-web", false),
            key("WK_SEGPY", "seg-py", false),
            key("WK_RUD", "rud-node", false),
            key("WK_RUDPY", "rud-py", false),
            key("phc_KEY", "ph-node", false),
            key("phc_B", "ph-web", false),
            key("phc_PY", "ph-py", false),
            key("k", "jitsu", false),
            key("SEC", "ga4", false),
            WriteKey { known_as: vec!["app1".into(), "web".into(), "pyapp".into()], ..key("SP", "snow", false) },
            WriteKey { known_as: vec!["1".into()], ..key("MATOMO", "matomo", false) },
        ],
        ticket_secret: SECRET.to_owned(),
        ..Default::default()
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: IngestSettings) -> Self {
        let log = Recorder::new();
        let clock = Arc::new(ManualClock::at_us(NOW_US));
        let web = Arc::<KnownWeb>::default();
        let ledger = Arc::<Ledger>::default();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let topic = |name: &str| TopicInfo { topic: name.to_owned(), topic_id: "t".to_owned(), partitions: PARTITIONS };
        let parts = Parts {
            log: log.clone(),
            events: topic(EVENTS),
            dead_letters: topic(DEAD_LETTERS),
            reader: READER.to_owned(),
            clock: clock.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
            ledger: ledger.clone(),
            web: web.clone(),
        };
        let (router, short) = routes(settings, parts).unwrap();
        Self { log, clock, stop, tasks, router, short, web, ledger }
    }

    /// As a server asks: by the short way what that takes, and all else of the router.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let short = request.method() == Method::POST && self.short.takes(request.uri().path());
        self.ask_by(short, request).await
    }

    pub(crate) async fn ask_by(&self, short: bool, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([203, 0, 113, 77], 4711))));
        let asked = async {
            let response = match short {
                true => self.short.clone().answer(request).await,
                false => self.router.clone().oneshot(request).await.unwrap(),
            };
            let (head, body) = response.into_parts();
            Answer {
                status: head.status,
                headers: head.headers,
                body: body.collect().await.unwrap().to_bytes().to_vec(),
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("the door answered")
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.ask(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    /// Posts with the write key `WK`.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header("authorization", "Basic V0s6").body(body.into()).unwrap();
        self.ask(request).await
    }

    /// Posts one event, expects it accepted, and returns it as it stands in the log.
    pub(crate) async fn event(&self, path: &str, event: Value) -> Value {
        let before = self.events().len();
        let answer = self.post(path, event.to_string()).await;
        assert_eq!(
            answer.json(),
            serde_json::json!({"success": true, "accepted": 1, "dead_lettered": 0}),
            "{:?}",
            self.dead_letters()
        );
        self.events().remove(before)
    }

    /// Posts one event, expects it dead-lettered, and returns the letter.
    pub(crate) async fn dead(&self, path: &str, event: Value) -> Value {
        let before = self.dead_letters().len();
        let answer = self.post(path, event.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), serde_json::json!({"success": true, "accepted": 0, "dead_lettered": 1}));
        self.dead_letters().remove(before)
    }

    /// What the log holds, decoded as the pipeline will; absent columns are left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        decoded(Shape::Event, &self.log.taken(EVENTS).into_iter().map(|(_, record)| record.value).collect::<Vec<_>>())
    }

    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        let records = self.log.taken(DEAD_LETTERS).into_iter().map(|(_, record)| record.value);
        decoded(Shape::DeadLetter, &records.collect::<Vec<_>>())
    }
}

fn decoded(shape: Shape, values: &[bytes::Bytes]) -> Vec<Value> {
    if values.is_empty() {
        return Vec::new();
    }
    let decoded = WireDecoder::new(shape).decode(values);
    assert!(decoded.refused.is_empty(), "{:?}", decoded.refused);
    let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
    writer.write(&decoded.batch).unwrap();
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The columns of `row` that `expected` names, so that a failing assert shows both sides.
pub(crate) fn assert_columns(row: &Value, expected: Value) {
    let expected = expected.as_object().unwrap();
    let found: serde_json::Map<String, Value> =
        expected.keys().map(|name| (name.clone(), row.get(name).cloned().unwrap_or(Value::Null))).collect();
    assert_eq!(Value::from(found), Value::from(expected.clone()));
}
