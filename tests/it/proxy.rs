//! A bad line between an SDK and the door: passes HTTP on, and spoils chosen requests.
//!
//! In:       connections of a client; a list of faults, one a request in order of arrival, then none.
//! Out:      the door's own answers, or the fault.
//! Promise:  byte for byte but for the faults, which meet requests with events only; ends with the value.
//! Not here: anything of HTTP but where a message ends.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request never reaches the door; the client is told to come again.
    Unavailable,
    /// The request reaches the door and is answered; the client's line breaks before it hears.
    AnswerLost,
    /// Half the request reaches the door, then both lines break.
    RequestCut,
}

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
        let fault = {
            let mut seen = seen.lock().unwrap();
            seen.request_count += 1;
            let fault = if asks_for_settings(&request) { None } else { seen.faults.pop_front() };
            seen.fault_count += usize::from(fault.is_some());
            fault
        };
        match fault {
            Some(Fault::Unavailable) => {
                let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
                client.write_all(answer).await?;
                continue;
            }
            Some(Fault::RequestCut) => {
                upstream.write_all(&request[..request.len() / 2]).await?;
                return Ok(());
            }
            Some(Fault::AnswerLost) | None => upstream.write_all(&request).await?,
        }
        let Some(answer) = read_message(&mut upstream).await? else { return Ok(()) };
        if fault == Some(Fault::AnswerLost) {
            return Ok(());
        }
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// What a browser's SDK asks for at its start carries no events: it is let through.
fn asks_for_settings(request: &[u8]) -> bool {
    let paths = ["/v1/projects/", "/array/", "/flags", "/sourceConfig/"];
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    paths.iter().any(|begin| path.starts_with(begin.as_bytes()))
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

/// Where the message ends, as soon as its head is whole.
fn end_of(message: &[u8]) -> Option<End> {
    let head_bytes = message.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
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
