//! gRPC on HTTP/2: messages with their length before them, and a status at the end.
//!
//! In:       bodies of requests; messages to answer with.
//! Out:      messages; bodies of answers.
//! Promise:  a message is bounded; an answer that is not read any more is dropped, and with it the work behind it.
//!
//! Why not tonic: it asks hyper-util and tower for features nothing else here needs, which have DataFusion built anew for all; what a
//! server of six calls needs of gRPC is this file.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::Stream;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tributary_query::{Advice, QueryError};

use super::Call;

/// Why a call was not answered. The numbers are those of gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Status {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: 5, message: message.into() }
    }

    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self { code: 8, message: message.into() }
    }

    pub(crate) fn unimplemented(what: &str) -> Self {
        Self { code: 12, message: format!("{what}: not offered here") }
    }

    pub(crate) fn internal() -> Self {
        Self { code: 13, message: format!("the question could not be answered; {}", Advice::Stop.words()) }
    }

    pub(crate) fn unauthenticated(message: &str) -> Self {
        Self { code: 16, message: message.to_owned() }
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let advice = error.advice();
        let code = match (&error, advice) {
            (QueryError::Refused { .. } | QueryError::Forbidden { .. }, _) => 7,
            (QueryError::TooOften { .. }, _) => 8,
            (QueryError::TimedOut { .. }, _) => 4,
            (_, Advice::FixInput) => 3,
            (_, Advice::AskLess) => 8,
            (_, Advice::Retry) => 14,
            (_, Advice::Stop) => {
                // Paths and settings of the server are for its log, not for who asks.
                tracing::error!(%error, "a question could not be answered");
                return Self::internal();
            }
        };
        Self { code, message: format!("{error}; {}", advice.words()) }
    }
}

/// Messages to answer with.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// One message, or none with a status.
pub(crate) fn one(message: Result<Bytes, Status>) -> Messages {
    Box::pin(futures::stream::iter([message]))
}

pub(crate) fn many(messages: Vec<Bytes>) -> Messages {
    Box::pin(futures::stream::iter(messages.into_iter().map(Ok)))
}

/// The messages of a request.
pub(crate) struct Requests {
    body: Incoming,
    read: BytesMut,
    bytes_max: usize,
}

impl Requests {
    pub(crate) fn new(body: Incoming, bytes_max: usize) -> Self {
        Self { body, read: BytesMut::new(), bytes_max }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = take(&mut self.read, self.bytes_max)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(Status::invalid("the request broke off")),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(Status::invalid("the request ends within a message")),
            }
        }
    }

    /// The one message of a call that has one.
    pub(crate) async fn only(&mut self) -> Result<Bytes, Status> {
        self.next().await?.ok_or_else(|| Status::invalid("the request has no message"))
    }
}

/// The next message, if all of it is there.
fn take(read: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Status> {
    let Some(&[is_compressed, a, b, c, d]) = read.first_chunk() else { return Ok(None) };
    if is_compressed != 0 {
        return Err(Status::unimplemented("compression of messages"));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if bytes_max < length {
        let told = format!("a message has {length} bytes, {bytes_max} are allowed (flight.message_bytes_max)");
        return Err(Status::exhausted(told));
    }
    if read.len() < 5 + length {
        return Ok(None);
    }
    read.advance(5);
    Ok(Some(read.split_to(length).freeze()))
}

/// An answer: its messages, then its status.
pub(crate) fn respond(messages: Messages) -> Response<Answer> {
    let mut response = Response::new(Answer { messages: Some(messages) });
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
    response
}

pub(crate) struct Answer {
    /// Until the status was said.
    messages: Option<Messages>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        match messages.as_mut().poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(message))) => {
                let mut framed = BytesMut::with_capacity(5 + message.len());
                framed.put_u8(0);
                framed.put_u32(u32::try_from(message.len()).expect("a batch is cut far below 4 GiB"));
                framed.put_slice(&message);
                Poll::Ready(Some(Ok(Frame::data(framed.freeze()))))
            }
            Poll::Ready(Some(Err(status))) => {
                this.messages = None;
                Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
            }
            Poll::Ready(None) => {
                this.messages = None;
                let status = Status { code: 0, message: String::new() };
                Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
            }
        }
    }
}

/// An answer that counts as a running call until it has been read or dropped.
pub(crate) struct Counted {
    answer: Answer,
    _call: Call,
}

impl Counted {
    pub(crate) fn new(answer: Answer, call: Call) -> Self {
        Self { answer, _call: call }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_frame(context)
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(status.code)));
    if !status.message.is_empty()
        && let Ok(message) = HeaderValue::from_str(&percent(&status.message))
    {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    headers
}

/// Visible ASCII but `%` stays as it is.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole_and_bounded() {
        let mut read = BytesMut::new();
        let mut found = Vec::new();
        for byte in [0, 0, 0, 0, 2, b'h', b'i', 0, 0, 0, 0, 0] {
            read.put_u8(byte);
            found.extend(take(&mut read, 100).unwrap());
        }
        assert_eq!(found, [&b"hi"[..], b""]);
        assert_eq!(take(&mut BytesMut::from(&[0, 0, 0, 0, 101][..]), 100).unwrap_err().code, 8);
        assert_eq!(take(&mut BytesMut::from(&[1, 0, 0, 0, 1][..]), 100).unwrap_err().code, 12);
        assert_eq!(percent("a é\n100%"), "a %C3%A9%0A100%25");
    }
}
