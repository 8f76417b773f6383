//! The load of `bench door`: as many requests as one core can send and read answers of.
//!
//! In:      an address, how many events a request, how many connections, a rate or none.
//! Out:     requests answered, and how long an answer took, as JSON on standard output.
//! Promise: each connection sends its next request when it has read the answer to the last; with a rate, at the times that rate
//!          names, and an answer's time counts from the moment its request was due, so that waiting is not hidden.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::Found;
use super::server::KEY;

#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    #[arg(long)]
    address: String,
    #[arg(long)]
    path: String,
    #[arg(long)]
    events: usize,
    #[arg(long)]
    connections: usize,
    /// Requests a second of all connections; 0: as many as go
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    seconds: u64,
}

/// Different bodies, so that not everything is one person's.
const BODIES: usize = 500;

/// Half a kilobyte an event, in the words of its path.
pub(super) fn body(number: usize, events: usize, path: &str) -> Vec<u8> {
    let event = |index: usize| {
        let id = number * events + index;
        let filler = "x".repeat(118);
        match path {
            "/v1/track" => serde_json::json!({
                "type": "track", "event": "Product Viewed", "messageId": format!("bench-{id:012}"),
                "anonymousId": format!("visitor-{:09}", id % 997), "timestamp": "2026-11-26T12:00:00.000Z",
                "properties": {"sku": "A-1", "price": 19.99, "note": filler},
                "context": {"page": {"url": "https://shop.example/p/1?utm_source=news", "title": "A page of the shop"},
                            "locale": "de-DE"},
            }),
            _ => serde_json::json!({
                "event_id": format!("bench-{id:012}"), "name": "Product Viewed",
                "anonymous_id": format!("visitor-{:09}", id % 997), "time": "2026-11-26T12:00:00.000Z",
                "url": "https://shop.example/p/1?utm_source=news", "title": "A page of the shop", "language": "de-DE",
                "timezone": "Europe/Berlin", "screen": "1920x1080", "library": "bench/1.0.0",
                "properties": {"sku": "A-1", "price": 19.99, "note": filler},
            }),
        }
    };
    match events {
        1 => event(0).to_string().into_bytes(),
        many => serde_json::Value::from((0..many).map(event).collect::<Vec<_>>()).to_string().into_bytes(),
    }
}

pub(crate) async fn command(args: LoadArgs) -> anyhow::Result<()> {
    // Each connection is a file.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let bodies = if args.events == 1 { BODIES } else { 20 };
    let requests: Vec<Vec<u8>> = (0..bodies)
        .map(|number| {
            let body = body(number, args.events, &args.path);
            let head = format!(
                "POST {}?writeKey={KEY} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                args.path,
                args.address,
                body.len()
            );
            [head.into_bytes(), body].concat()
        })
        .collect();
    let found = tokio::task::spawn_blocking(move || {
        // One core, one thread.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(&args, requests))
    })
    .await??;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

async fn run(args: &LoadArgs, requests: Vec<Vec<u8>>) -> anyhow::Result<Found> {
    let requests = std::rc::Rc::new(requests);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(args.seconds);
    let every = (args.rate > 0.0).then(|| Duration::from_secs_f64(args.connections as f64 / args.rate));
    let mut tasks = Vec::new();
    for number in 0..args.connections {
        let line = TcpStream::connect(&args.address).await.context("connecting")?;
        line.set_nodelay(true)?;
        let requests = requests.clone();
        // Spread over the interval, so that they do not all come at once.
        let first =
            begun + every.map_or(Duration::ZERO, |every| every.mul_f64(number as f64 / args.connections as f64));
        tasks.push(tokio::task::spawn_local(connection(line, requests, number, first, every, end)));
    }
    let (mut times, mut refused) = (Vec::new(), 0);
    for task in tasks {
        let (own, own_refused) = task.await??;
        times.extend(own);
        refused += own_refused;
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(!times.is_empty(), "no request was answered");
    times.sort_unstable();
    let at = |share: f64| u64::from(times[((times.len() - 1) as f64 * share) as usize]);
    Ok(Found { requests: times.len() as u64, seconds, p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0), refused })
}

async fn connection(
    mut line: TcpStream,
    requests: std::rc::Rc<Vec<Vec<u8>>>,
    first: usize,
    mut due: Instant,
    every: Option<Duration>,
    end: Instant,
) -> anyhow::Result<(Vec<u32>, u64)> {
    let (mut times, mut refused) = (Vec::new(), 0);
    let mut buffer = Vec::with_capacity(64 << 10);
    for number in first.. {
        let begun = match every {
            Some(every) => {
                tokio::time::sleep_until(due).await;
                let begun = due;
                due += every;
                begun
            }
            None => Instant::now(),
        };
        if end <= Instant::now() {
            break;
        }
        line.write_all(&requests[number % requests.len()]).await?;
        match read_answer(&mut line, &mut buffer).await? {
            200 | 204 => times.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX)),
            503 => refused += 1,
            status => bail!("the server answers {status}"),
        }
    }
    Ok((times, refused))
}

/// The status of the next answer, read to its end.
async fn read_answer(line: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    loop {
        ensure!(line.read_buf(buffer).await? != 0, "the server closed the connection");
        let Some(head) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head])?;
        let status = text.get(9..12).context("a status")?.parse()?;
        let length = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
        while buffer.len() < head + 4 + length {
            ensure!(line.read_buf(buffer).await? != 0, "the server closed the connection");
        }
        return Ok(status);
    }
}
