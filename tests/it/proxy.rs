//! A bad line between an SDK and the door: passes HTTP on, and spoils chosen requests.
//!
//! In:       connections of a client; a list of faults, one a request in order of arrival, then none.
//! Out:      the door's own answers, or the fault.
//! Promise:  byte for byte but for the faults, which meet requests with events only; ends with the value.
//! Not here: anything of HTTP but where a message's head and body end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request never reaches the door; the client is told to come again.
    Unavailable,
    /// The first bytes of the head reach the door, then both lines break.
    HeadCut,
    /// The head and half the body reach the door, then both lines break.
    BodyCut,
    /// The request reaches the door and is answered; the client's line breaks before it hears.
    AnswerLost,
    /// The same, but the client hears half the status line.
    AnswerCut,
    /// The client waits for its answer.
    AnswerSlow,
    /// The request reaches the door on two lines at once, as when a load balancer tries again; the client hears one answer.
    RequestDoubled,
}

/// A bad minute: every fault once. At most two in a row make a client try again: some SDKs try a cut line three times only,
/// others wait twice as long each time.
pub(crate) const FAULTS: [Fault; 7] = [
    Fault::Unavailable,
    Fault::HeadCut,
    Fault::RequestDoubled,
    Fault::BodyCut,
    Fault::AnswerSlow,
    Fault::AnswerLost,
    Fault::AnswerCut,
];

/// How many events the door gets once too often at least: one for each request that it takes and that comes again.
pub(crate) fn copies_min(faults: &[Fault]) -> i64 {
    let comes_again = |fault: &&Fault| matches!(fault, Fault::AnswerLost | Fault::AnswerCut | Fault::RequestDoubled);
    i64::try_from(faults.iter().filter(comes_again).count()).unwrap()
}

/// So few that of an answer not even the status is whole (`HTTP/1.1 2`): Python takes a head that ends after its status line
/// for a good answer.
const PIECE_BYTES: usize = 10;

/// Longer than anything here answers, shorter than any of the SDKs waits (Snowplow's 5 s).
const SLOW: Duration = Duration::from_millis(1_500);

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    faults: VecDeque<Fault>,
    request_count: usize,
    fault_count: usize,
}

impl Seen {
    fn fault_of(&mut self, request: &[u8]) -> Option<Fault> {
        self.request_count += 1;
        let fault = if carries_no_events(request) { None } else { self.faults.pop_front() };
        self.fault_count += usize::from(fault.is_some());
        fault
    }
}

impl Proxy {
    pub(crate) async fn start(door: SocketAddr, faults: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen { faults: faults.into_iter().collect(), ..Seen::default() }));
        let for_task = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut lines = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let seen = Arc::clone(&for_task);
                // A broken line is what this is for: how one ended is of no interest.
                lines.spawn(async move { drop(serve(client, door, &seen).await) });
            }
        });
        Self { address, seen, task }
    }

    /// Requests that came, and how many of them were spoilt.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap();
        (seen.request_count, seen.fault_count)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, door: SocketAddr, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(door).await?;
    while let Some(request) = read_message(&mut client).await? {
        let fault = seen.lock().unwrap().fault_of(&request);
        match fault {
            Some(Fault::Unavailable) => {
                let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
                client.write_all(answer).await?;
                continue;
            }
            Some(Fault::HeadCut) => return upstream.write_all(&request[..PIECE_BYTES]).await,
            Some(Fault::BodyCut) => return upstream.write_all(&request[..middle_of(&request)]).await,
            Some(Fault::RequestDoubled) => {
                let mut other = TcpStream::connect(door).await?;
                // Both are written before either answer is read: the door has the two at the same time.
                other.write_all(&request).await?;
                upstream.write_all(&request).await?;
                read_message(&mut other).await?;
            }
            Some(Fault::AnswerLost | Fault::AnswerCut | Fault::AnswerSlow) | None => {
                upstream.write_all(&request).await?
            }
        }
        let Some(answer) = read_message(&mut upstream).await? else { return Ok(()) };
        match fault {
            Some(Fault::AnswerLost) => return Ok(()),
            Some(Fault::AnswerCut) => return client.write_all(&answer[..PIECE_BYTES]).await,
            Some(Fault::AnswerSlow) => tokio::time::sleep(SLOW).await,
            _ => {}
        }
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// What a browser's SDK asks for at its start carries no events, and neither does a browser that asks whether it may send
/// them: both are let through.
fn carries_no_events(request: &[u8]) -> bool {
    let paths = ["/v1/projects/", "/array/", "/flags", "/sourceConfig/"];
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    request.starts_with(b"OPTIONS ") || paths.iter().any(|begin| path.starts_with(begin.as_bytes()))
}

/// The middle of the body; of a request without one, of the head.
fn middle_of(request: &[u8]) -> usize {
    let head_bytes = head_bytes(request).expect("a whole message has a whole head");
    if head_bytes == request.len() { head_bytes / 2 } else { usize::midpoint(head_bytes, request.len()) }
}

/// One whole HTTP/1.1 message; `None` when the line was closed before it began.
async fn read_message(line: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    let mut end = None;
    loop {
        if end.is_none() {
            end = end_of(&message);
        }
        match end {
            Some(End::At(length)) if length <= message.len() => return Ok(Some(message)),
            Some(End::Chunked) if message.ends_with(b"\r\n0\r\n\r\n") => return Ok(Some(message)),
            _ => {}
        }
        if line.read_buf(&mut message).await? == 0 {
            return if message.is_empty() { Ok(None) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

enum End {
    At(usize),
    Chunked,
}

/// How long the head is, as soon as it is whole.
fn head_bytes(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4)
}

/// Where the message ends, as soon as its head is whole.
fn end_of(message: &[u8]) -> Option<End> {
    let head_bytes = head_bytes(message)?;
    let head = String::from_utf8_lossy(&message[..head_bytes]).to_ascii_lowercase();
    let value_of = |name: &str| {
        head.lines().filter_map(|line| line.split_once(':')).find(|(found, _)| *found == name).map(|(_, v)| v.trim())
    };
    if value_of("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        return Some(End::Chunked);
    }
    let body_bytes: usize = value_of("content-length").map_or(0, |length| length.parse().unwrap_or(0));
    Some(End::At(head_bytes + body_bytes))
}
