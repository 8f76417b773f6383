use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_lake::{Lake, LakeSettings};
use tributary_protocols::postgres::{PostgresSettings, serve};
use tributary_query::{AccessSettings, Engine, QuerySettings};

use crate::client::{Client, code, kinds, message};

const TOKEN: &str = "a-token-of-the-tests-0123456789";
const PATIENCE: Duration = Duration::from_secs(60);
/// Pairs beyond counting.
const LONG: &str = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b \
                    WHERE a.value * b.value = 17";

struct Served {
    address: SocketAddr,
    engine: Arc<Engine>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn served(settings: PostgresSettings, query: QuerySettings) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("lake").to_str().unwrap().to_owned();
    let lake = Lake::open(LakeSettings { url, ..LakeSettings::default() }).await.unwrap();
    let query = QuerySettings { tokens: vec!["another-token-0123456789".to_owned(), TOKEN.to_owned()], ..query };
    let engine = Arc::new(Engine::new(query, lake).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, None, Arc::clone(&engine), settings, stop.clone()));
    Served { address, engine, stop, serving, _folder: folder }
}

impl Served {
    async fn client(&self) -> Client {
        Client::connect(self.address, TOKEN).await
    }

    async fn until_tasks(&self, holds: impl Fn(usize) -> bool) {
        let begun = Instant::now();
        while !holds(self.engine.task_count()) {
            assert!(begun.elapsed() < PATIENCE, "{} tasks", self.engine.task_count());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_canceled_left_or_too_slow_is_stopped() {
    let settings = PostgresSettings::default();
    let served = served(settings, QuerySettings { queries_max: 1, ..QuerySettings::default() }).await;
    // By the key of the connection.
    let mut client = served.client().await;
    client.query(LONG).await;
    served.until_tasks(|count| 0 < count).await;
    let mut other = Client::bare(served.address).await;
    let mut request = vec![0, 0, 0, 16, 4, 210, 22, 46];
    request.extend(client.process.to_be_bytes());
    request.extend(client.secret.wrapping_add(1).to_be_bytes());
    other.say(&request).await;
    assert!(other.receive().await.is_none());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(0 < served.engine.task_count(), "another key cancels nothing");
    let mut other = Client::bare(served.address).await;
    request.truncate(12);
    request.extend(client.secret.to_be_bytes());
    other.say(&request).await;
    let told = client.receive_all().await;
    assert_eq!((kinds(&told).as_str(), code(&told[1]).as_str()), ("TEZ", "57014"));
    served.until_tasks(|count| count == 0).await;
    // The session goes on.
    client.query("SELECT 1").await;
    assert_eq!(kinds(&client.receive_all().await), "TDCZ");

    // By hanging up, in the midst of a question and of an answer.
    for sql in [LONG, "SELECT value FROM generate_series(1, 100000000)"] {
        let mut client = served.client().await;
        client.query(sql).await;
        served.until_tasks(|count| 0 < count).await;
        drop(client);
        served.until_tasks(|count| count == 0).await;
    }

    // By a time of the client's.
    client.query("SET statement_timeout = '100ms'").await;
    client.receive_all().await;
    client.query(LONG).await;
    let told = client.receive_all().await;
    assert_eq!((kinds(&told).as_str(), code(&told[1]).as_str()), ("TEZ", "57014"));
    served.until_tasks(|count| count == 0).await;
    served.stop.cancel();
    served.serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_or_fetch_takes_no_turn_for_ever() {
    let query = QuerySettings { queries_max: 1, time_ms_max: 1_500, ..QuerySettings::default() };
    let served = served(PostgresSettings::default(), query).await;
    // It asks for a hundred million rows and reads none.
    let mut deaf = served.client().await;
    deaf.query("SELECT value FROM generate_series(1, 100000000)").await;
    served.until_tasks(|count| 0 < count).await;
    served.until_tasks(|count| count == 0).await;
    // It fetches ten rows in a transaction, and no more.
    let mut slow = served.client().await;
    slow.query("BEGIN").await;
    slow.receive_all().await;
    let mut said = message(b'P', b"\0SELECT value FROM generate_series(1, 100000000)\0\0\0");
    said.extend(message(b'B', b"p\0\0\0\0\0\0\0\0"));
    said.extend(message(b'E', b"p\0\0\0\0\x0a"));
    said.extend(message(b'S', b""));
    slow.say(&said).await;
    assert_eq!(kinds(&slow.receive_all().await), "12DDDDDDDDDDsZ");
    served.until_tasks(|count| count == 0).await;
    // The turn is another's.
    let mut other = served.client().await;
    other.query("SELECT 1").await;
    assert_eq!(kinds(&other.receive_all().await), "TDCZ");
    slow.say(&[message(b'E', b"p\0\0\0\0\x0a"), message(b'S', b"")].concat()).await;
    assert_eq!(code(&slow.receive_all().await[0]), "55000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portals_give_rows_as_they_are_asked_for() {
    let served = served(PostgresSettings::default(), QuerySettings::default()).await;
    let mut client = served.client().await;
    client.query("BEGIN").await;
    assert_eq!(client.receive_all().await.last().unwrap().1, b"T");
    let mut said = message(b'P', b"s\0SELECT value FROM generate_series(1, 25)\0\0\0");
    said.extend(message(b'D', b"Ss\0"));
    said.extend(message(b'B', b"p\0s\0\0\0\0\0\0\x01\0\x01"));
    said.extend(message(b'D', b"Pp\0"));
    for _ in 0..3 {
        said.extend(message(b'E', b"p\0\0\0\0\x0a"));
        said.extend(message(b'S', b""));
    }
    client.say(&said).await;
    let ten = "D".repeat(10);
    assert_eq!(kinds(&client.receive_all().await), format!("1tT2T{ten}sZ"));
    let more = client.receive_all().await;
    assert_eq!(kinds(&more), format!("{ten}sZ"));
    assert_eq!(more[0].1, [0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 11], "in the binary format");
    let last = client.receive_all().await;
    assert_eq!(kinds(&last), "DDDDDCZ");
    assert_eq!(last[5].1, b"SELECT 25\0");
    // Its end is the end of its portals.
    client.query("COMMIT").await;
    client.receive_all().await;
    client.say(&[message(b'E', b"p\0\0\0\0\0"), message(b'S', b"")].concat()).await;
    assert_eq!(code(&client.receive_all().await[0]), "34000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_pass_over_the_rest_up_to_sync_and_no_further() {
    let served =
        served(PostgresSettings { statements_max: 2, ..PostgresSettings::default() }, QuerySettings::default()).await;
    let mut client = served.client().await;
    let mut said = message(b'P', b"a\0SELEC 1\0\0\0");
    said.extend(message(b'D', b"Sa\0"));
    said.extend(message(b'B', b"\0a\0\0\0\0\0\0\0"));
    said.extend(message(b'E', b"\0\0\0\0\0"));
    said.extend(message(b'S', b""));
    said.extend(message(b'Q', b"SELECT 1\0"));
    client.say(&said).await;
    let told = client.receive_all().await;
    assert_eq!((kinds(&told).as_str(), code(&told[1]).as_str()), ("1EZ", "42601"));
    assert_eq!(kinds(&client.receive_all().await), "TDCZ");
    let cases: &[(&[u8], &str)] = &[
        (b"B\0\0\0\x12\0nobody\0\0\0\0\0\0\0", "26000"),
        (b"E\0\0\0\x09\0\0\0\0\0", "34000"),
        (b"D\0\0\0\x07Sx\0", "26000"),
        (b"P\0\0\0\x15\0SELECT 1; SELEC\0\0", "08P01"),
    ];
    for (bytes, expected) in &cases[..3] {
        client.say(&[bytes, &message(b'S', b"")[..]].concat()).await;
        assert_eq!(code(&client.receive_all().await[0]), *expected);
    }
    // More than there is room for.
    client
        .say(&[message(b'P', b"b\0SELECT 1\0\0\0"), message(b'P', b"c\0SELECT 1\0\0\0"), message(b'S', b"")].concat())
        .await;
    let told = client.receive_all().await;
    assert_eq!((kinds(&told).as_str(), code(&told[1]).as_str()), ("1EZ", "53400"));
    client.say(&[message(b'C', b"Sb\0"), message(b'P', b"c\0SELECT 1\0\0\0"), message(b'S', b"")].concat()).await;
    assert_eq!(kinds(&client.receive_all().await), "31Z");
    // What cannot be read ends the session with a word.
    for bytes in [cases[3].0, b"GET / HTTP/1.1\r\n\r\n", b"Q\x7f\xff\xff\xff", b"p\0\0\0\x05x", b"\0\0\0\0\0\0\0\0"] {
        let mut client = served.client().await;
        client.say(bytes).await;
        let told = client.receive_all().await;
        assert_eq!((kinds(&told).as_str(), code(&told[0]).as_str()), ("E", "08P01"), "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_client_or_knows_no_token_is_gone_soon() {
    let settings = PostgresSettings { connections_max: 1, idle_ms_max: 700, ..PostgresSettings::default() };
    let served = served(settings, QuerySettings::default()).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\x08\0\x02\0\0",
        b"\0\0\0\x08\0\x03\0\0",
        b"\x16\x03\x01\x02\0\x01\0\0",
    ] {
        let mut client = Client::bare(served.address).await;
        client.say(bytes).await;
        assert!(kinds(&client.receive_all().await).len() <= 1, "{bytes:?}");
    }
    let mut client = Client::bare(served.address).await;
    client.greet().await;
    client.receive().await.unwrap();
    client.prove("a-token-of-the-tests-012345678").await;
    let told = client.receive_all().await;
    assert_eq!((kinds(&told).as_str(), code(&told[0]).as_str()), ("E", "28P01"));
    // A question before the proof is none.
    let mut client = Client::bare(served.address).await;
    client.greet().await;
    client.query("SELECT 1").await;
    assert_eq!(kinds(&client.receive_all().await), "RE");

    let mut one = served.client().await;
    let mut two = Client::bare(served.address).await;
    two.greet().await;
    two.receive().await.unwrap();
    two.prove(TOKEN).await;
    let told = two.receive_all().await;
    assert_eq!(code(told.last().unwrap()), "53300");
    // Silence has an end.
    let told = one.receive_all().await;
    assert_eq!((kinds(&told).as_str(), code(&told[0]).as_str()), ("E", "57P05"));
    let mut three = served.client().await;
    served.stop.cancel();
    assert_eq!(code(&three.receive().await.unwrap()), "57P01");
    served.serving.await.unwrap();
}

/// The most memory this process ever had, in kilobytes.
#[cfg(target_os = "linux")]
fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_gigabyte_passes_through_little_memory() {
    let served = served(PostgresSettings::default(), QuerySettings::default()).await;
    let mut client = served.client().await;
    client.query("SELECT 1").await;
    client.receive_all().await;
    let before = peak_kilobytes();
    let text = "x".repeat(1_000);
    client.query(&format!("SELECT value, '{text}' AS text FROM generate_series(1, 1000000)")).await;
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let (kind, body) = client.receive().await.unwrap();
        match kind {
            b'D' => (rows, bytes) = (rows + 1, bytes + body.len()),
            b'Z' => break,
            b'T' | b'C' => {}
            _ => panic!("{}", String::from_utf8_lossy(&body)),
        }
    }
    let grown = peak_kilobytes() - before;
    assert!(rows == 1_000_000 && 1_000_000_000 < bytes, "{rows} rows, {bytes} bytes");
    // What the other tests of this process take at the same time is in it, too.
    assert!(grown < 400_000, "{grown} kB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_by_the_token_and_not_by_the_user() {
    let access = |name: &str, token: &str| AccessSettings {
        name: name.to_owned(),
        token: token.to_owned(),
        tables: Some(vec!["sessions".to_owned()]),
        ..AccessSettings::default()
    };
    let narrow = AccessSettings { queries_per_minute: Some(3), ..access("narrow", "a-narrow-token-0123456789") };
    // printf %s a-token-known-by-hash | sha256sum
    let digest = "1aca8d2b94210c28e5aa8f9dfb457f96b5eb94fcfa67d79ecc9ef406e3947d3d";
    let hashed = AccessSettings { token_sha256: digest.to_owned(), ..access("hashed", "") };
    let quick = AccessSettings { time_ms_max: Some(200), ..access("quick", "a-quick-token-0123456789") };
    let query = QuerySettings { access: vec![narrow, hashed, quick], ..QuerySettings::default() };
    let served = served(PostgresSettings::default(), query).await;
    let ask = async |client: &mut Client, sql: &str| {
        client.query(sql).await;
        let all = client.receive_all().await;
        all.iter().find(|(kind, _)| *kind == b'E').map(code)
    };
    let mut full = served.client().await;
    assert_eq!(ask(&mut full, "SELECT count(*) FROM events").await, None);
    let mut narrow = Client::connect(served.address, "a-narrow-token-0123456789").await;
    assert_eq!(ask(&mut narrow, "SELECT count(*) FROM sessions").await, None);
    assert_eq!(ask(&mut narrow, "SELECT count(*) FROM events").await.as_deref(), Some("42501"));
    assert_eq!(ask(&mut narrow, "EXPLAIN ANALYZE SELECT count(*) FROM sessions").await.as_deref(), Some("42501"));
    assert_eq!(ask(&mut narrow, "SELECT count(*) FROM sessions").await.as_deref(), Some("53400"));
    assert_eq!(ask(&mut full, "EXPLAIN ANALYZE SELECT count(*) FROM sessions").await, None, "its limits are its own");
    let mut quick = Client::connect(served.address, "a-quick-token-0123456789").await;
    assert_eq!(ask(&mut quick, LONG).await.as_deref(), Some("57014"));
    served.until_tasks(|count| count == 0).await;
    // What the server does not know it cannot have proven.
    let mut hashed = Client::bare(served.address).await;
    hashed.greet().await;
    hashed.receive().await.unwrap();
    hashed.prove("a-token-known-by-hash").await;
    assert_eq!(code(&hashed.receive().await.unwrap()), "28P01");
}

/// What an answer was made of is a notice before its end; a name that no event bears, a warning; SHOW tells it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_what_it_was_made_of() {
    let served = served(PostgresSettings::default(), QuerySettings::default()).await;
    let mut client = served.client().await;
    let text = |message: &crate::client::Message| String::from_utf8_lossy(&message.1).replace('\0', "|");
    let funnel = "SELECT units_reached FROM funnel(steps => [event_name = 'purchse'], window => '7 days')";
    client.query(funnel).await;
    let told = client.receive_all().await;
    assert_eq!(kinds(&told), "TDNNCZ");
    let notice = text(&told[2]);
    assert!(notice.contains("SNOTICE|") && notice.contains("Mread 0 rows of events at version 0"), "{notice}");
    assert!(notice.contains("window => '7 days'; UTC") && notice.contains("DSELECT units_reached"), "{notice}");
    assert!(text(&told[3]).contains("SWARNING|") && text(&told[3]).contains("'purchse'"), "{}", text(&told[3]));
    client.query("SHOW tributary.facts").await;
    let told = client.receive_all().await;
    assert_eq!(kinds(&told), "TDCZ");
    assert!(text(&told[1]).contains("\"rows_read\":0") && text(&told[1]).contains("'purchse'"), "{}", text(&told[1]));
    // What is not about tables of ours says nothing, and who wants to hear of faults only, hears of them only.
    client.query("SELECT 1 AS n").await;
    assert_eq!(kinds(&client.receive_all().await), "TDCZ");
    for (least, wanted) in [("warning", "TDNCZ"), ("error", "TDCZ")] {
        client.query(&format!("SET client_min_messages = '{least}'")).await;
        assert_eq!(kinds(&client.receive_all().await), "CZ");
        client.query(funnel).await;
        assert_eq!(kinds(&client.receive_all().await), wanted, "{least}");
    }
    served.stop.cancel();
    served.serving.await.unwrap();
}
