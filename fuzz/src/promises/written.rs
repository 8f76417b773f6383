//! A request as it is written down.
//!
//! In:      `METHOD ADDRESS`, header lines, an empty line, the body.
//! Out:     the request, and whose parser its address leads to.

use axum::body::Body;
use axum::http::{HeaderValue, Request};

/// A request as it is written down.
#[derive(Clone)]
pub(super) struct Written {
    pub method: String,
    pub address: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Written {
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let head_bytes = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
        let body = input.get(head_bytes + 2..).unwrap_or_default().to_vec();
        let mut lines = input[..head_bytes].split(|byte| *byte == b'\n');
        let (method, address) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
        let headers = lines
            .map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let name = std::str::from_utf8(&line[..colon]).ok()?;
                Some((name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec()))
            })
            .collect::<Option<_>>()?;
        Some(Self { method: method.to_owned(), address: address.to_owned(), headers, body })
    }

    /// Puts a header, unless it is there.
    pub(super) fn put(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        if self.headers.iter().all(|(known, _)| known != name) {
            self.headers.push((name.to_owned(), value.into()));
        }
    }

    /// `None`: no client could send it.
    pub(super) fn request(&self) -> Option<Request<Body>> {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.address);
        for (name, value) in &self.headers {
            request = request.header(name, HeaderValue::from_bytes(value).ok()?);
        }
        request.body(Body::from(self.body.clone())).ok()
    }
}

/// Whose parser an address leads to.
pub(super) fn parser_of(address: &str) -> Option<&'static str> {
    let path = address.split('?').next().unwrap_or_default();
    let by_begin = [
        ("/webhooks/", "webhooks"),
        ("/pixel/v1/", "pixel"),
        ("/r/", "tickets"),
        ("/u/", "tickets"),
        ("/api/s/", "segment"),
        ("/beacon/v1/", "segment"),
        ("/array/", "posthog"),
    ];
    match path.trim_end_matches('/') {
        "/v1/events" => Some("native"),
        "/v1/cloudevents" => Some("cloudevents"),
        "/mp/collect" | "/debug/mp/collect" => Some("ga4"),
        "/matomo.php" | "/piwik.php" => Some("matomo"),
        "/i" | "/ice.png" | "/com.snowplowanalytics.snowplow/tp2" => Some("snowplow"),
        "/e"
        | "/i/v0/e"
        | "/i/v1/analytics/events"
        | "/capture"
        | "/track"
        | "/engage"
        | "/batch"
        | "/flags"
        | "/decide" => Some("posthog"),
        "/p.gif" if address.ends_with("?t=") => Some("tickets"),
        "/p.gif" => Some("pixel"),
        path if path.starts_with("/v1/") => Some("segment"),
        _ => by_begin.into_iter().find(|(begin, _)| path.starts_with(begin)).map(|(_, parser)| parser),
    }
}
