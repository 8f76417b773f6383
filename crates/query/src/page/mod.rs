//! `/`: the page for a first look, as it lies in `files/`.
//!
//! In:       `GET /` from a browser; `GET /page/FILE`.
//! Out:      the page, its scripts, its style; 304 where the browser has them. Who does not ask for HTML at `/` (curl, an API's
//!           client) gets a few lines of JSON that say where what is.
//! Promise:  it holds nothing of the lake and needs no token: what it shows it asks for by `POST /v1/sql` with the token of who
//!           looks. Nothing is loaded from elsewhere, and the browser is told to refuse it.
//! Not here: answers (`http.rs`); how it looks and asks (`files/*`, each with a header of its own).

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::http::refusal;

/// The routes, for the binary to mount.
pub(crate) fn router() -> Router {
    Router::new().route("/", get(root)).route("/page/{file}", get(file))
}

const INDEX: File = File { name: "index.html", text: include_str!("files/index.html") };

const FILES: &[File] = &[
    File { name: "style.css", text: include_str!("files/style.css") },
    File { name: "icon.svg", text: include_str!("files/icon.svg") },
    File { name: "main.js", text: include_str!("files/main.js") },
    File { name: "overview.js", text: include_str!("files/overview.js") },
    File { name: "funnel.js", text: include_str!("files/funnel.js") },
    File { name: "attribution.js", text: include_str!("files/attribution.js") },
    File { name: "experiment.js", text: include_str!("files/experiment.js") },
    File { name: "live.js", text: include_str!("files/live.js") },
    File { name: "panel.js", text: include_str!("files/panel.js") },
    File { name: "ask.js", text: include_str!("files/ask.js") },
    File { name: "sql.js", text: include_str!("files/sql.js") },
    File { name: "choices.js", text: include_str!("files/choices.js") },
    File { name: "time.js", text: include_str!("files/time.js") },
    File { name: "memory.js", text: include_str!("files/memory.js") },
    File { name: "format.js", text: include_str!("files/format.js") },
    File { name: "dom.js", text: include_str!("files/dom.js") },
    File { name: "chart.js", text: include_str!("files/chart.js") },
    File { name: "curve.js", text: include_str!("files/curve.js") },
    File { name: "bars.js", text: include_str!("files/bars.js") },
];

/// What the page may do: load what is ours, ask where it came from. Trusted types make the browser refuse to read any text as
/// markup, so a name of an event cannot become a script even by a mistake of ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

struct File {
    name: &'static str,
    text: &'static str,
}

impl File {
    fn media_type(&self) -> &'static str {
        match self.name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    /// The same in every process of one build, so that it does not matter which of them a balancer asks.
    fn mark(&self) -> String {
        format!("\"{:016x}\"", xxh3_64(self.text.as_bytes()))
    }
}

async fn root(headers: HeaderMap) -> Response {
    if wants_html(&headers) {
        return answer(&INDEX, &headers);
    }
    let told = json!({
        "service": "tributary",
        "page": "open / in a browser",
        "questions": "POST /v1/sql, POST /v1/query/FUNCTION; GET /v1/query tells the functions",
    });
    let about = [(header::CONTENT_TYPE, "application/json"), (header::VARY, "accept")];
    (about, told.to_string()).into_response()
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => answer(file, &headers),
        None => refusal(StatusCode::NOT_FOUND, &format!("there is nothing at /page/{name}"), "the page is at /"),
    }
}

/// A browser names it when it opens an address; `*/*` alone is what curl and most clients send.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or_default());
    types.any(|one| matches!(one.trim(), "text/html" | "application/xhtml+xml"))
}

fn answer(file: &File, headers: &HeaderMap) -> Response {
    let mark = file.mark();
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|one| one.trim().trim_start_matches("W/"));
    let is_known = known.any(|one| one == mark || one == "*");
    let about = [
        (header::ETAG, mark),
        // Asked for again each time, and then mostly answered with 304: a new build's page must not run on an old one's scripts.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::VARY, "accept".to_owned()),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CONTENT_TYPE, file.media_type().to_owned()),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, file.text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

    #[tokio::test]
    async fn a_browser_gets_the_page_and_a_client_gets_json() {
        let (status, headers, body) = asked("/", &[BROWSER]).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/html; charset=utf-8"));
        assert!(body.contains("<title>Tributary</title>") && headers.contains_key("content-security-policy"));
        for accept in [&[][..], &[("accept", "*/*")], &[("accept", "application/json")]] {
            let (status, headers, body) = asked("/", accept).await;
            assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "application/json"));
            assert!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["questions"].is_string());
        }
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let (_, headers, _) = asked("/page/main.js", &[]).await;
        let mark = headers["etag"].to_str().unwrap().to_owned();
        for given in [mark.clone(), format!("\"0\", W/{mark}"), "*".to_owned()] {
            let (status, headers, body) = asked("/page/main.js", &[("if-none-match", &given)]).await;
            assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{given}");
            assert_eq!(headers["etag"], mark.as_str());
        }
        let (status, ..) = asked("/page/main.js", &[("if-none-match", "\"0\"")]).await;
        assert_eq!(status, StatusCode::OK);
    }

    #[tokio::test]
    async fn nothing_but_the_files_is_there() {
        for path in ["/page/mod.rs", "/page/index.html", "/page/..%2Fmod.rs", "/page/main.js%00"] {
            assert_eq!(asked(path, &[BROWSER]).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn whatever_a_file_asks_for_is_there_and_is_ours() {
        for file in FILES.iter().chain([&INDEX]) {
            let quoted = file.text.split(['"', '\'']).filter(|part| !part.contains(char::is_whitespace));
            for part in quoted {
                if let Some(name) = part.strip_prefix("./").or_else(|| part.strip_prefix("/page/")) {
                    assert!(FILES.iter().any(|other| other.name == name), "{}: {part}", file.name);
                }
                let is_namespace = part == "http://www.w3.org/2000/svg";
                assert!(!part.starts_with("http") || is_namespace, "{}: {part}", file.name);
            }
            // By any of these a text could become markup or code.
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setHTML", "DOMParser"]
            {
                assert!(!file.text.contains(way), "{}: {way}", file.name);
            }
        }
        let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/files")).unwrap().count();
        assert_eq!(there, FILES.len() + 1, "each file that lies there is served");
    }
}
