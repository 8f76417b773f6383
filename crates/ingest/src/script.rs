//! `GET /t.js`: the browser SDK, as `sdk/js` builds it.
//!
//! In:      a browser's request.
//! Out:     the script, packed where the browser takes that; 304 where it has it already.
//! Promise: what is served is what stands in `sdk/js/dist`, whose own test holds it against its sources.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

const SCRIPT: &[u8] = include_bytes!("../../../sdk/js/dist/tributary.js");

/// Made once: packing takes a millisecond, and every page asks.
static PACKED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(SCRIPT).and_then(|()| encoder.finish()).expect("a Vec takes all that is written")
});

static TAG: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::digest(SCRIPT);
    format!("\"{}\"", hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>())
});

pub(crate) async fn receive(headers: HeaderMap) -> Response {
    let has = |name, part: &str| {
        headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).is_some_and(|value| value.contains(part))
    };
    let about = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        // An hour: a new version reaches everybody within it, and a page asks no more often.
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::ETAG, TAG.as_str()),
        (header::VARY, "accept-encoding"),
    ];
    if has(header::IF_NONE_MATCH, &TAG) {
        (StatusCode::NOT_MODIFIED, about).into_response()
    } else if has(header::ACCEPT_ENCODING, "gzip") {
        (about, [(header::CONTENT_ENCODING, "gzip")], PACKED.as_slice()).into_response()
    } else {
        (about, SCRIPT).into_response()
    }
}
