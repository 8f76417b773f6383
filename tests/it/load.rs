//! A loader: many connections that send a made-up world, and a ledger of what the door acknowledged.
//!
//! In:       a seed; a running server, for as long as it runs.
//! Out:      `Ledger`: what was sent, what was acknowledged.
//! Promise:  what is sent is a function of the seed but for which requests met a fault. On purpose there are
//!           ids sent twice, retries, events out of order, events too late, and people who come back after
//!           about the quiet that parts two sessions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::server::TRUSTED_KEY;

const CONNECTIONS: usize = 6;
const BATCH_EVENTS_MAX: u64 = 12;
/// Batches kept to be sent once more although they were acknowledged.
const REMEMBERED_MAX: usize = 200;
/// Between two events of the world, in its own time.
const STEP_US: i64 = 4_000_000;
const MINUTE_US: i64 = 60_000_000;
/// People of `Load::seal`: so many that each partition has some.
const SEALERS: usize = 100;

/// The made-up world and what became of it.
pub(crate) struct Load {
    shared: Arc<Mutex<World>>,
}

struct World {
    chance: Chance,
    begun_us: i64,
    minted: u64,
    /// Batches whose fate is not known; to be sent again with the same ids.
    unsure: VecDeque<Batch>,
    remembered: VecDeque<Batch>,
    ledger: Ledger,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    /// Event id and time of everything that ever left.
    pub(crate) sent: BTreeMap<String, i64>,
    pub(crate) acknowledged: BTreeSet<String>,
    /// Requests answered 200, with events that had been acknowledged before.
    pub(crate) doubled_count: usize,
    /// Answers that said that all is in the log, and that some is in the spool.
    pub(crate) answers: [u64; 2],
}

#[derive(Clone)]
struct Batch {
    ids: Vec<String>,
    body: String,
}

/// Connections at work on one server.
pub(crate) struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// * `begun_us`: when the world's first event happens; far enough back that the world never runs into the
    ///   future, whose times the door would replace.
    pub(crate) fn new(chance: Chance, begun_us: i64) -> Self {
        let world = World {
            chance,
            begun_us,
            minted: 0,
            unsure: VecDeque::new(),
            remembered: VecDeque::new(),
            ledger: Ledger::default(),
        };
        Self { shared: Arc::new(Mutex::new(world)) }
    }

    /// Starts sending to the server at `url` until `Running` is stopped or the server is gone.
    pub(crate) fn start(&self, url: &str) -> Running {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        // A client of its own for each start: connections to a server that died are of no use.
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        for _ in 0..CONNECTIONS {
            tasks.spawn(send(Arc::clone(&self.shared), client.clone(), format!("{url}/v1/batch"), stop.clone()));
        }
        Running { tasks, stop }
    }

    /// Half a day later in each partition: whatever was open is over.
    pub(crate) async fn seal(&self, url: &str) {
        let batch = lock(&self.shared).sealing_batch();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        let request = client.post(format!("{url}/v1/batch")).basic_auth(TRUSTED_KEY, Some("")).body(batch.body.clone());
        assert!(request.send().await.unwrap().status().is_success());
        lock(&self.shared).acknowledge(batch);
    }

    pub(crate) fn acknowledged_count(&self) -> usize {
        lock(&self.shared).ledger.acknowledged.len()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        lock(&self.shared).ledger.clone()
    }

    /// Waits until an answer says that what it took is in the log, or in the spool.
    pub(crate) async fn until_durable_in(&self, spool: bool, running: &mut Running) {
        let count = || lock(&self.shared).ledger.answers[usize::from(spool)];
        let before = count();
        let waiting = async {
            while count() == before {
                assert!(!running.tasks.is_empty(), "the connections have ended");
                drop(tokio::time::timeout(Duration::from_millis(5), running.tasks.join_next()).await);
            }
        };
        tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("answers say where it is");
    }

    /// Waits until `count` more events than now are acknowledged, or the connections have ended by themselves.
    pub(crate) async fn until_acknowledged(&self, count: usize, running: &mut Running) {
        let goal = self.acknowledged_count() + count;
        while self.acknowledged_count() < goal && !running.tasks.is_empty() {
            // Looks again after a while; whoever ends first ends the wait.
            drop(tokio::time::timeout(Duration::from_millis(5), running.tasks.join_next()).await);
        }
    }
}

impl Running {
    /// Waits for the answers still under way; none are asked for after.
    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
    }
}

async fn send(world: Arc<Mutex<World>>, client: reqwest::Client, url: String, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let batch = lock(&world).next_batch();
        let request = client.post(&url).basic_auth(TRUSTED_KEY, Some("")).body(batch.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                let is_spooled = answer.headers().get("x-ingest-durability").is_some_and(|place| place == "spool");
                let mut world = lock(&world);
                world.ledger.answers[usize::from(is_spooled)] += 1;
                world.acknowledge(batch);
            }
            Ok(answer) => {
                assert_eq!(answer.status().as_u16(), 503, "the only refusal a good request may meet");
                lock(&world).unsure(batch);
                if stop.is_cancelled() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            // The server is gone: these events may or may not be in the log.
            Err(_) => {
                lock(&world).unsure(batch);
                return;
            }
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

impl World {
    fn next_batch(&mut self) -> Batch {
        if let Some(batch) = self.unsure.pop_front() {
            return batch;
        }
        if !self.remembered.is_empty() && self.chance.one_in(12) {
            let count = u64::try_from(self.remembered.len()).unwrap();
            let index = usize::try_from(self.chance.below(count)).unwrap();
            return self.remembered[index].clone();
        }
        let count = 1 + self.chance.below(BATCH_EVENTS_MAX);
        let (mut ids, mut events) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (id, time_us, event) = self.mint();
            self.ledger.sent.insert(id.clone(), time_us);
            ids.push(id);
            events.push(event);
        }
        Batch { ids, body: json!({"batch": events}).to_string() }
    }

    fn sealing_batch(&mut self) -> Batch {
        let time_us = self.begun_us + i64::try_from(self.minted).unwrap() * STEP_US + 12 * 60 * MINUTE_US;
        let timestamp = jiff::Timestamp::from_microsecond(time_us).unwrap().to_string();
        let (mut ids, mut events) = (Vec::new(), Vec::new());
        for index in 0..SEALERS {
            let id = format!("sealing-{index:03}");
            self.ledger.sent.insert(id.clone(), time_us);
            events.push(json!({
                "messageId": id, "timestamp": timestamp, "type": "page", "anonymousId": format!("sealer-{index}"),
            }));
            ids.push(id);
        }
        Batch { ids, body: json!({"batch": events}).to_string() }
    }

    fn acknowledge(&mut self, batch: Batch) {
        let mut again = false;
        for id in &batch.ids {
            again |= !self.ledger.acknowledged.insert(id.clone());
        }
        self.ledger.doubled_count += usize::from(again);
        self.remembered.push_back(batch);
        if REMEMBERED_MAX < self.remembered.len() {
            self.remembered.pop_front();
        }
    }

    /// Some senders come again, some give up; both must be right.
    fn unsure(&mut self, batch: Batch) {
        if self.chance.one_in(2) {
            self.unsure.push_back(batch);
        }
    }

    fn mint(&mut self) -> (String, i64, Value) {
        let index = self.minted;
        self.minted += 1;
        let id = format!("event-{index:07}");
        // Six of ninety people are there at a time; each comes back after about half an hour of the world's time,
        // sometimes sooner, sometimes later than the quiet that ends a session.
        let person = (index / 40 * 7 + self.chance.below(6)) % 90;
        let mut time_us = self.begun_us + i64::try_from(index).unwrap() * STEP_US;
        time_us -= match self.chance.below(200) {
            // Far too late for its session.
            0 => 150 * MINUTE_US,
            // Out of order, near and far.
            1..=20 => i64::try_from(self.chance.below(50)).unwrap() * MINUTE_US,
            21..=60 => i64::try_from(self.chance.below(90_000)).unwrap() * 1_000,
            // On the second, so that some events of a person tie.
            61..=90 => time_us % 1_000_000,
            _ => 0,
        };
        let timestamp = jiff::Timestamp::from_microsecond(time_us).unwrap().to_string();
        let mut event = json!({
            "messageId": id, "timestamp": timestamp,
            "context": {"page": {"url": format!("https://shop.example/p/{}", index % 17)}},
        });
        let members = event.as_object_mut().unwrap();
        if person.is_multiple_of(9) {
            members.insert("userId".to_owned(), json!(format!("user-{person}")));
        } else {
            members.insert("anonymousId".to_owned(), json!(format!("device-{person}")));
            if person.is_multiple_of(4) {
                members.insert("userId".to_owned(), json!(format!("user-{person}")));
            }
        }
        match self.chance.below(20) {
            0 => {
                members.insert("type".to_owned(), json!("track"));
                members.insert("event".to_owned(), json!("Order Completed"));
                members.insert("properties".to_owned(), json!({"revenue": 19.99, "currency": "EUR"}));
            }
            1 => {
                members.insert("type".to_owned(), json!("identify"));
            }
            2..=8 => {
                members.insert("type".to_owned(), json!("track"));
                members.insert("event".to_owned(), json!("Product Viewed"));
            }
            _ => {
                members.insert("type".to_owned(), json!("page"));
            }
        }
        (id, time_us, event)
    }
}
