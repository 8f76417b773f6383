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
use crate::server::{Home, Server};

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
