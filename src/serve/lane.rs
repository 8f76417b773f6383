//! The short way for the requests of which there are most: small ones, sent whole, that say how long they are.
//!
//! In:       a connection, the routes.
//! Out:      answers; or, at the first request that is anything else, the connection with what was read of it. hyper goes on
//!           from there.
//! Promise:  a request is read here only if there is one way to read it: HTTP/1.1, a path, at most one plain Content-Length,
//!           nothing of transfer codings, upgrades, expectations or how the connection goes on. Of all others not a byte is
//!           consumed.
//! Not here: what takes long or is told piece by piece.
//!
//! hyper serves every kind of client, and pays for it on each request. Here a request is one read and one write;
//! docs/adr/0014-a-short-way-for-small-requests.md has the numbers.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use axum::response::Response;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tributary_ingest::Short;

/// Head and body together. What is larger costs so much to read that hyper's share no longer counts.
const REQUEST_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 48;
/// For the rest of a request that came in part; then it is hyper's, which has its own limits.
const REST_TIME_MAX: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 8 << 10;

/// How a connection left this way.
pub(super) enum Left {
    /// It is over: closed, idle for too long, or the server stops.
    Over,
    /// What was read and not answered; the next request in it is not for here.
    With(BytesMut),
}

/// What is answered here.
pub(super) trait ShortRoutes {
    /// Whether a POST to this path is answered in one piece and soon.
    fn takes(&self, path: &str) -> bool;
    fn answer(&mut self, request: Request) -> impl Future<Output = Response> + Send;
}

impl ShortRoutes for Short {
    fn takes(&self, path: &str) -> bool {
        Self::takes(self, path)
    }

    fn answer(&mut self, request: Request) -> impl Future<Output = Response> + Send {
        Self::answer(self, request)
    }
}

/// Answers requests as long as they are of the kind that is answered here.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    peer: SocketAddr,
    routes: &mut impl ShortRoutes,
    idle_max: Duration,
    stop: &CancellationToken,
) -> io::Result<Left> {
    let mut read = BytesMut::with_capacity(READ_BYTES);
    let mut answer = Vec::with_capacity(512);
    let mut stopped = pin!(stop.cancelled());
    let mut idle = Idle { begun: Instant::now(), max: idle_max, alarm: pin!(tokio::time::sleep(idle_max)) };
    let mut part_end = None;
    loop {
        let mut request = match look(&read, routes) {
            Look::Whole { request, bytes } => {
                read.advance(bytes);
                if READ_BYTES < bytes {
                    // The room of a large one is not kept for as long as the connection.
                    read = BytesMut::from(&read[..]);
                }
                part_end = None;
                request
            }
            Look::Other => return Ok(Left::With(read)),
            Look::Nothing => {
                read.reserve(READ_BYTES);
                let count = tokio::select! {
                    biased;
                    count = stream.read_buf(&mut read) => count?,
                    () = idle.over() => return Ok(end(stream).await),
                    () = stopped.as_mut() => return Ok(end(stream).await),
                };
                if count == 0 {
                    return Ok(end(stream).await);
                }
                continue;
            }
            Look::Part { bytes } => {
                // From its first byte on, or a byte a second would keep a place for hours.
                let end = *part_end.get_or_insert_with(|| Instant::now() + REST_TIME_MAX);
                match tokio::time::timeout_at(end, read_to(stream, &mut read, bytes)).await {
                    Ok(Ok(true)) => continue,
                    Ok(Err(error)) => return Err(error),
                    Ok(Ok(false)) | Err(_) => return Ok(Left::With(read)),
                }
            }
        };
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = routes.answer(request).await;
        let is_last = stop.is_cancelled();
        answer.clear();
        write_answer(response, is_last, &mut answer).await?;
        match tokio::time::timeout(idle_max, write(stream, &answer)).await {
            Ok(written) => written?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "an answer was not taken")),
        }
        if is_last {
            return Ok(end(stream).await);
        }
        idle.begun = Instant::now();
    }
}

/// Reads until so many bytes are there; `false` where the other side ends before. Cancel-safe: what was read is in `read`.
async fn read_to(stream: &mut (impl AsyncRead + Unpin), read: &mut BytesMut, bytes: usize) -> io::Result<bool> {
    read.reserve(bytes.saturating_sub(read.len()).max(READ_BYTES));
    while read.len() < bytes {
        if stream.read_buf(read).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says goodbye, as TLS wants it; whoever does not listen is left.
async fn end(stream: &mut (impl AsyncWrite + Unpin)) -> Left {
    drop(tokio::time::timeout(REST_TIME_MAX, stream.shutdown()).await);
    Left::Over
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.flush().await
}

/// The time without a request. One alarm, set again only when it rings: setting it for each request would cost more than
/// the waiting.
struct Idle<'a> {
    begun: Instant,
    max: Duration,
    alarm: Pin<&'a mut Sleep>,
}

impl Idle<'_> {
    /// Cancel-safe.
    async fn over(&mut self) {
        loop {
            self.alarm.as_mut().await;
            let end = self.begun + self.max;
            if end <= Instant::now() {
                return;
            }
            self.alarm.as_mut().reset(end);
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made; a box would cost each request")]
enum Look {
    Nothing,
    /// The beginning of one: to look again is worth it once so many bytes are there.
    Part {
        bytes: usize,
    },
    Whole {
        request: Request,
        bytes: usize,
    },
    /// Something hyper knows what to do with.
    Other,
}

fn look(read: &[u8], routes: &impl ShortRoutes) -> Look {
    if read.is_empty() {
        return Look::Nothing;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(read) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if read.len() < REQUEST_BYTES_MAX => return Look::Part { bytes: read.len() + 1 },
        Ok(httparse::Status::Partial) | Err(_) => return Look::Other,
    };
    let Some(body_bytes) = plain_body_bytes(&head, routes).filter(|bytes| head_bytes + bytes <= REQUEST_BYTES_MAX)
    else {
        return Look::Other;
    };
    let bytes = head_bytes + body_bytes;
    if read.len() < bytes {
        return Look::Part { bytes };
    }
    match request(&head, &read[head_bytes..bytes]) {
        Some(request) => Look::Whole { request, bytes },
        None => Look::Other,
    }
}

/// How long the body is, if this is a request for here.
fn plain_body_bytes(head: &httparse::Request<'_, '_>, routes: &impl ShortRoutes) -> Option<usize> {
    let target = head.path?;
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if head.version != Some(1) || head.method != Some("POST") || !routes.takes(path) {
        return None;
    }
    let mut length = None;
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // By its length first: most names are none of these.
        match header.name.len() {
            14 if is("content-length") => {
                let digits = header.value;
                let is_plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
                if length.is_some() || !is_plain {
                    return None;
                }
                length = std::str::from_utf8(digits).ok()?.parse::<usize>().ok();
            }
            10 if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive") => return None,
            17 if is("transfer-encoding") => return None,
            6 if is("expect") => return None,
            7 if is("upgrade") || is("trailer") => return None,
            _ => {}
        }
    }
    length
}

fn request(head: &httparse::Request<'_, '_>, body: &[u8]) -> Option<Request> {
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for header in head.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    let mut request = Request::new(Body::from(Bytes::copy_from_slice(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = head.path.filter(|path| path.starts_with('/'))?.parse::<Uri>().ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request)
}

/// * `is_last`: the connection ends with it.
async fn write_answer(response: Response, is_last: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    let mut content = Bytes::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
        // Answers from here are of one piece, as a rule.
        content = if content.is_empty() { data } else { [content, data].concat().into() };
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut put = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    for (name, value) in &head.headers {
        if name != header::CONTENT_LENGTH {
            put(name.as_str(), value.as_bytes());
        }
    }
    // An answer that can have no content must not say how long it is (RFC 9110, 8.6).
    let has_content = !matches!(head.status.as_u16(), 204 | 304);
    if has_content {
        put("content-length", content.len().to_string().as_bytes());
    }
    if is_last {
        put("connection", b"close");
    }
    if !head.headers.contains_key(header::DATE) {
        with_date(|date| put("date", date));
    }
    out.extend_from_slice(b"\r\n");
    if has_content {
        out.extend_from_slice(&content);
    }
    Ok(())
}

/// The Date of an answer (RFC 9110, 6.6.1), which nothing here is reckoned by. Written once a second: that takes longer than the
/// rest of a head.
fn with_date(tell: impl FnOnce(&[u8])) {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    WRITTEN.with_borrow_mut(|(second, text)| {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        if *second != now {
            *second = now;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        }
        tell(text.as_bytes());
    });
}

/// A stream of which some was read already.
pub(super) struct Rewound<S> {
    read: BytesMut,
    stream: S,
}

impl<S> Rewound<S> {
    pub(super) fn new(read: BytesMut, stream: S) -> Self {
        Self { read, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(count));
        if self.read.is_empty() {
            // Its memory is wanted no longer.
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::super::http::{Limits, connection};
    use super::*;

    /// Says all that it was asked.
    async fn echo(request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if head.uri.path() == "/nothing" {
            return StatusCode::NO_CONTENT.into_response();
        }
        let headers: BTreeSet<String> = head.headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        format!("{} {} {:?} {headers:?} {peer:?} {body:?}", head.method, head.uri, head.version).into_response()
    }

    struct Echo;

    impl ShortRoutes for Echo {
        fn takes(&self, path: &str) -> bool {
            matches!(path, "/short" | "/nothing")
        }

        async fn answer(&mut self, request: Request) -> Response {
            ANSWERED.fetch_add(1, Ordering::Relaxed);
            echo(request).await
        }
    }

    static ANSWERED: AtomicUsize = AtomicUsize::new(0);

    const LIMITS: Limits = Limits { connections_max: 1, idle_max: Duration::from_secs(60) };

    /// What comes back when `pieces` are sent.
    async fn answers(short: Option<Echo>, pieces: &[Vec<u8>]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let router = Router::new().fallback(echo);
        let peer = SocketAddr::from(([192, 0, 2, 1], 5));
        let served = tokio::spawn(connection(server, (peer, false), router, short, LIMITS, CancellationToken::new()));
        for piece in pieces {
            // Once the server has ended the connection nobody reads the rest.
            if client.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        served.await.unwrap();
        bytes
    }

    /// The lines of heads in order of the alphabet, without the date: nobody promises their order.
    fn told(answers: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(answers);
        text.split("\r\n\r\n")
            .map(|part| {
                let mut lines: Vec<&str> = part.lines().filter(|line| !line.starts_with("date: ")).collect();
                lines.sort_unstable();
                lines.join("\n")
            })
            .collect()
    }

    /// Requests as clients write them, and as none should.
    fn request() -> impl Strategy<Value = String> {
        let plain =
            written(&[("POST", "HTTP/1.1")], &["/short", "/short?writeKey=a%20b", "/nothing"], PLAIN, &["length"]);
        let lines = [
            ("POST", "HTTP/1.1"),
            ("POST", "HTTP/1.0"),
            ("GET", "HTTP/1.1"),
            ("HEAD", "HTTP/1.1"),
            ("PUT", "HTTP/1.1"),
            ("post", "HTTP/1.1"),
            ("\r\nPOST", "HTTP/1.1"),
            ("POST", "HTTP/2.0"),
        ];
        let framings = ["length", "twice", "other twice", "chunked", "both", "list", "plus", "spaced"];
        let odd_line = written(&lines, &["/short", "/other", "/short/", "http://it/short"], PLAIN, &["length"]);
        let odd_header = written(&lines[..1], &["/short"], ODD, &["length"]);
        let odd_framing = written(&lines[..1], &["/short"], PLAIN, &framings);
        prop_oneof![12 => plain, 1 => odd_line, 1 => odd_header, 1 => odd_framing]
    }

    const PLAIN: &[&str] = &[
        "",
        "",
        "User-Agent: a\tb \u{e4}\r\nX-Same: 1\r\nx-same: 2\r\n",
        "Connection: keep-alive\r\n",
        "X-Empty:\r\n",
    ];

    const ODD: &[&str] = &[
        "Connection: close\r\n",
        "Connection: Keep-Alive, x\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: websocket\r\n",
        "Bad Name: x\r\n",
        "Bad: \u{1}\r\n",
        "Space : x\r\n",
        "No-Colon\r\n",
        "X: 1\nY: 2\r\n",
        " folded: x\r\n",
        "A: b\r\n folded\r\n",
    ];

    fn written(
        lines: &[(&'static str, &'static str)],
        paths: &[&'static str],
        extras: &[&'static str],
        framings: &[&'static str],
    ) -> impl Strategy<Value = String> + use<> {
        let body = prop_oneof![
            6 => "[a-z{}\r\n]{0,40}",
            1 => Just("x".repeat(9_000)),
            1 => Just("y".repeat(40_000)),
        ];
        let (line, path) = (prop::sample::select(lines.to_vec()), prop::sample::select(paths.to_vec()));
        let (extra, framing) = (prop::sample::select(extras.to_vec()), prop::sample::select(framings.to_vec()));
        (line, path, extra, framing, body).prop_map(|((method, version), path, extra, framing, body)| {
            let length = body.len();
            let (framing, body) = match framing {
                "length" => (format!("Content-Length: {length}\r\n"), body),
                "twice" => (format!("content-length: {length}\r\ncontent-length: {length}\r\n"), body),
                "other twice" => (format!("content-length: {length}\r\ncontent-length: 1\r\n"), body),
                "list" => (format!("content-length: {length}, {length}\r\n"), body),
                "spaced" => (format!("content-length :{length}\r\n"), body),
                "plus" => (format!("content-length: +{length}\r\n"), body),
                _ => {
                    let chunk = if body.is_empty() { String::new() } else { format!("{length:x}\r\n{body}\r\n") };
                    let both = if framing == "both" { "content-length: 3\r\n" } else { "" };
                    (format!("{both}transfer-encoding: chunked\r\n"), format!("{chunk}0\r\n\r\n"))
                }
            };
            format!("{method} {path} {version}\r\nHost: it\r\n{extra}{framing}\r\n{body}")
        })
    }

    #[test]
    fn whatever_is_sent_in_whatever_pieces_is_answered_as_hyper_answers() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let several =
            (prop::collection::vec(request(), 1..8), prop::collection::vec(any::<prop::sample::Index>(), 0..6));
        let run = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(3_000) }).run(
            &several,
            |(requests, cuts)| {
                let sent = requests.concat() + "GET /end HTTP/1.1\r\nConnection: close\r\n\r\n";
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(sent.len())).collect();
                cuts.sort_unstable();
                let mut pieces = Vec::new();
                let mut rest = sent.as_bytes();
                for pair in [vec![0], cuts].concat().windows(2) {
                    let (piece, after) = rest.split_at(pair[1] - pair[0]);
                    pieces.push(piece.to_vec());
                    rest = after;
                }
                pieces.push(rest.to_vec());
                let expected = runtime.block_on(answers(None, &pieces));
                let found = runtime.block_on(answers(Some(Echo), &pieces));
                prop_assert_eq!(told(&expected), told(&found));
                Ok(())
            },
        );
        run.unwrap();
        let short = ANSWERED.load(Ordering::Relaxed);
        assert!(3_000 < short, "only {short} went the short way");
    }

    fn runs_here(request: &str) -> bool {
        matches!(look(request.as_bytes(), &Echo), Look::Whole { bytes, .. } if bytes == request.len())
    }

    #[test]
    fn a_plain_request_is_read_here_and_no_other() {
        assert!(runs_here("POST /short HTTP/1.1\r\nHost: it\r\nContent-Length: 2\r\n\r\n{}"));
        assert!(runs_here("POST /short?a=b HTTP/1.1\r\nconnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n"));
        for other in [
            "POST /other HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "POST /short HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
            "GET /short HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "POST /short HTTP/1.1\r\n\r\n",
            "POST /short HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            "POST /short HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "POST /short HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
            "POST /short HTTP/1.1\r\nContent-Length: 2\r\nUpgrade: h2c\r\n\r\n{}",
            "POST /short HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            "POST /short HTTP/1.1\r\nContent-Length: 33000\r\n\r\n{}",
        ] {
            assert!(matches!(look(other.as_bytes(), &Echo), Look::Other), "{other}");
        }
        for part in ["POST /sho", "POST /short HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}"] {
            assert!(matches!(look(part.as_bytes(), &Echo), Look::Part { .. }), "{part}");
        }
    }

    #[tokio::test]
    async fn who_is_silent_is_let_go_and_a_stop_ends_who_waits() {
        let (mut client, mut server) = tokio::io::duplex(1 << 10);
        let stop = CancellationToken::new();
        let peer = SocketAddr::from(([192, 0, 2, 1], 5));
        let idle_max = Duration::from_secs(2);
        let begun = Instant::now();
        let mut routes = Echo;
        let serving = serve(&mut server, peer, &mut routes, idle_max, &stop);
        let asking = async {
            // Its time counts from the last request, not from the first byte.
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(800)).await;
                client.write_all(b"POST /nothing HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        };
        let (left, ()) = tokio::join!(serving, asking);
        assert!(matches!(left.unwrap(), Left::Over));
        assert!(Duration::from_millis(4_400) <= begun.elapsed(), "{:?}", begun.elapsed());

        let (_client, mut server) = tokio::io::duplex(1 << 10);
        stop.cancel();
        let serving = serve(&mut server, peer, &mut routes, Duration::from_secs(3_600), &stop);
        let left = tokio::time::timeout(Duration::from_secs(60), serving).await.expect("it hears of the stop");
        assert!(matches!(left.unwrap(), Left::Over));
    }

    #[tokio::test]
    async fn an_answer_under_way_is_given_before_a_stop_closes() {
        let (mut client, mut server) = tokio::io::duplex(1 << 10);
        let stop = CancellationToken::new();
        client.write_all(b"POST /nothing HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        struct Stopping(CancellationToken);
        impl ShortRoutes for Stopping {
            fn takes(&self, _: &str) -> bool {
                true
            }

            async fn answer(&mut self, request: Request) -> Response {
                self.0.cancel();
                echo(request).await
            }
        }
        let peer = SocketAddr::from(([192, 0, 2, 1], 5));
        let left = serve(&mut server, peer, &mut Stopping(stop.clone()), Duration::from_secs(60), &stop).await;
        assert!(matches!(left.unwrap(), Left::Over));
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 204 No Content\r\n") && answer.contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("content-length"), "{answer}");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_given_up() {
        let (mut client, mut server) = tokio::io::duplex(64);
        let stop = CancellationToken::new();
        let peer = SocketAddr::from(([192, 0, 2, 1], 5));
        let mut routes = Echo;
        let serving = serve(&mut server, peer, &mut routes, Duration::from_millis(200), &stop);
        let asking = client.write_all(b"POST /short HTTP/1.1\r\nhost: it\r\ncontent-length: 70\r\n\r\n{012345678901234567890123456789012345678901234567890123456789012345678}");
        let (left, asked) = tokio::join!(tokio::time::timeout(Duration::from_secs(60), serving), asking);
        asked.unwrap();
        let error =
            left.expect("it does not wait for ever").err().expect("the answer is larger than what it is taken into");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Whatever is half there when the server is told to stop is answered, and it is the last: here and where hyper has it.
    #[tokio::test]
    async fn a_request_that_is_half_there_at_a_stop_is_answered() {
        for (half, rest) in [
            ("POST /short HTTP/1.1\r\ncontent-length: 4\r\n\r\n{", "  }"),
            ("POST /sho", "rt HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"),
            ("GET /other HTTP/1.1\r\nhost", ": it\r\n\r\n"),
            ("POST /other HTTP/1.1\r\ncontent-length: 4\r\n\r\n{", "  }"),
        ] {
            // Room for all of it but a byte: once it is written, the server has begun to read.
            let (mut client, server) = tokio::io::duplex(half.len() - 1);
            let stop = CancellationToken::new();
            let peer = SocketAddr::from(([192, 0, 2, 1], 5));
            let router = Router::new().fallback(echo);
            let served = tokio::spawn(connection(server, (peer, false), router, Some(Echo), LIMITS, stop.clone()));
            client.write_all(half.as_bytes()).await.unwrap();
            stop.cancel();
            tokio::task::yield_now().await;
            client.write_all(rest.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{half}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1);
            tokio::time::timeout(Duration::from_secs(60), served).await.expect("it ends with that").unwrap();
        }
    }
}
