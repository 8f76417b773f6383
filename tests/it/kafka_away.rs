//! Kafka that freezes, dies and comes back, under load, and a server that dies meanwhile: nothing acknowledged is lost.
//!
//! In:       a broker of its own; a loader that never rests.
//! Out:      the books of `audit`, once Kafka is back.
//! Not here: the spool by itself, on a line that is torn at each place (`eventlog/tests/it/spooled.rs`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::audit;
use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::server::{Home, SOURCE, Server, WRITE_KEY};

/// 2026-01-05, a Monday: past, so that no time of the world is ahead of the door's clock.
const BEGUN_US: i64 = 1_767_571_200_000_000;
const ROUNDS: u64 = 3;
const ROUNDS_EXTENDED: u64 = 40;
const ACKNOWLEDGED_A_STAGE: u64 = 300;

/// `cargo xtask kafka`, which does as it is told line by line.
struct Broker {
    child: Child,
    told: BufReader<ChildStdout>,
    tell: Option<ChildStdin>,
    bootstrap: String,
}

impl Broker {
    fn start(mut xtask: Command) -> Self {
        let mut child = xtask.arg("kafka").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let bootstrap = line.split("listens on ").nth(1).and_then(|rest| rest.split(';').next());
        let bootstrap = bootstrap.unwrap_or_else(|| panic!("not what xtask says: {line:?}")).to_owned();
        Self { tell: child.stdin.take(), child, told, bootstrap }
    }

    /// Returns once it is done.
    fn tell(&mut self, word: &str) {
        writeln!(self.tell.as_mut().unwrap(), "{word}").unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("done: {word}"));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // At the end of its input it stops its broker.
        drop(self.tell.take());
        drop(self.child.wait());
    }
}

/// Waits until nothing waits in the spool.
async fn drained(server: &Server<'_>) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let waiting = async {
        loop {
            let page = client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
            let is_empty = page.lines().any(|line| line.strip_prefix("tributary_spool_partitions ") == Some("0"));
            if is_empty {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("the spool is drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_freezes_or_dies_and_a_server_that_dies_meanwhile_lose_nothing() {
    let test = "a_broker_that_freezes_or_dies_and_a_server_that_dies_meanwhile_lose_nothing";
    let Some(xtask) = outside::xtask(test) else { return };
    let mut broker = Broker::start(xtask);
    let home = Home::kafka(&broker.bootstrap, "away");
    let home = &home.with("log.spool_after_ms", "200").with("pipeline.commit_interval_ms", "20");
    let mut chance = Chance::of(test);
    let load = Load::new(chance.split(), BEGUN_US);
    let mut server = home.start().await;
    let rounds = if outside::is_extended() { ROUNDS_EXTENDED } else { ROUNDS };
    let count = |chance: &mut Chance| usize::try_from(1 + chance.below(ACKNOWLEDGED_A_STAGE)).unwrap();
    for round in 0..rounds {
        let mut running = load.start(&server.url(""));
        load.until_acknowledged(count(&mut chance), &mut running).await;
        // Frozen, it takes connections and says nothing; dead, it refuses them.
        let (away, back) = if round % 2 == 0 { ("freeze", "thaw") } else { ("kill", "start") };
        broker.tell(away);
        load.until_durable_in(true, &mut running).await;
        load.until_acknowledged(count(&mut chance), &mut running).await;
        server.kill_9().await;
        running.stopped().await;

        // A start needs no Kafka, and takes events at once.
        server = home.start().await;
        let mut running = load.start(&server.url(""));
        load.until_durable_in(true, &mut running).await;
        load.until_acknowledged(count(&mut chance), &mut running).await;
        broker.tell(back);
        // Six connections that never rest fill a spool as fast as a build for tests drains it.
        running.stopped().await;
        drained(&server).await;
        let mut running = load.start(&server.url(""));
        load.until_durable_in(false, &mut running).await;
        running.stopped().await;
    }
    let ledger = load.ledger();
    assert!(ledger.answers.iter().all(|answers| 0 < *answers), "{:?}", ledger.answers);
    let server = audit::made_whole(home, server, &ledger).await;
    eprintln!("{rounds} outages: {} events sent, {} acknowledged", ledger.sent.len(), ledger.acknowledged.len());
    assert!(server.stop().await.success());
}

/// A spool with room for some hundreds of events, and a broker that says nothing.
#[tokio::test]
async fn a_full_spool_turns_pages_away_before_clicks_and_neither_orders_nor_ways_out() {
    let test = "a_full_spool_turns_pages_away_before_clicks_and_neither_orders_nor_ways_out";
    let Some(xtask) = outside::xtask(test) else { return };
    let mut broker = Broker::start(xtask);
    let webhook = format!("provider = \"postmark\"\nsource = \"{SOURCE}\"\nsecret = \"tributary:a-long-password\"");
    let home = Home::kafka(&broker.bootstrap, "full").with_lines(&format!("[[ingest.webhooks]]\n{webhook}"));
    let home = home.with("log.spool_after_ms", "200").with("log.spool_bytes_max", "1000000");
    let server = home.start().await;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    let mut taken = 0;
    let mut send = async |kind: &str| {
        let id = format!("{kind}-{taken}");
        let event = serde_json::json!({
            "event_id": id, "name": "E", "kind": kind, "user_id": "u", "properties": {"filler": "x".repeat(2_000)},
        });
        let request = client.post(server.url("/v1/events")).basic_auth(WRITE_KEY, Some("")).body(event.to_string());
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        match answer.status().as_u16() {
            200 => taken += 1,
            503 => assert!(header("retry-after").is_some(), "{answer:?}"),
            status => panic!("{status}"),
        }
        (answer.status().as_u16(), header("x-ingest-durability"))
    };
    let data = home.data_dir().to_str().unwrap().to_owned();
    let mut link = home.tool(&["link", "--data", &data, "--server", &server.url(""), "--source", SOURCE]);
    link.args(["--url", "https://shop.example/", "--user-id", "ada", "--message-id", "m1"]);
    let output = tokio::task::spawn_blocking(move || link.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let way_out =
        told.split_whitespace().find(|word| word.contains("/u/")).unwrap_or_else(|| panic!("{told}")).to_owned();

    broker.tell("freeze");
    /// More than fit.
    const TRIES_MAX: usize = 2_000;
    for kind in ["page", "click"] {
        let mut tries = 0;
        while send(kind).await.0 == 200 {
            tries += 1;
            assert!(tries < TRIES_MAX, "all of {tries} were taken");
        }
        assert!(0 < tries, "{kind}: not one was taken");
        assert_eq!(send("page").await.0, 503, "what matters least is not taken again");
        let order = send("conversion").await;
        assert_eq!((order.0, order.1.as_deref()), (200, Some("spool")), "when {kind}s are turned away");
    }
    let left = client.post(way_out).send().await.unwrap();
    assert_eq!(left.status().as_u16(), 200, "who wants no more mail is heard");
    let complaint = serde_json::json!({
        "RecordType": "SpamComplaint", "ID": 1, "MessageID": "m1", "Email": "ada@shop.example",
        "BouncedAt": jiff::Timestamp::UNIX_EPOCH.to_string(),
    });
    let told = client.post(server.url(&format!("/webhooks/{SOURCE}"))).basic_auth("tributary", Some("a-long-password"));
    assert_eq!(told.body(complaint.to_string()).send().await.unwrap().status().as_u16(), 200);
    // A mail reader gets its dot, whatever becomes of it.
    let pixel =
        client.get(server.url(&format!("/p.gif?writeKey={WRITE_KEY}&event=E&anonymousId=a"))).send().await.unwrap();
    assert_eq!(pixel.status().as_u16(), 200);

    broker.tell("thaw");
    drained(&server).await;
    let ours = "SELECT count(*) FROM events WHERE dialect = 'native'";
    server.wait_until_queryable(ours, taken).await;
    server.wait_until_queryable("SELECT count(*) FROM events WHERE dialect IN ('unsubscribe', 'postmark')", 2).await;
    assert!(server.stop().await.success());
}
