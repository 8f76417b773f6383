//! Several workers on one topic and one lake: killed, frozen past their session and thawed as zombies, sent away politely.
//! After each round the books balance.
//!
//! In:      a door that stays; a loader; two worker processes, and moments chosen by a seed.
//! Out:     the books of `audit` after every round, and one line that says what the run came to.
//! Promise: each round ends with every acknowledged event in the tables once, offsets without a hole, and the sessions of
//!          the batch definition, whichever process believed itself the owner of whatever; after the last round with the
//!          late events in them.

use std::time::{Duration, Instant};

use crate::audit::{self, Found, Late};
use crate::chance::Chance;
use crate::load::{Load, Running};
use crate::outside;
use crate::server::{Home, Server};

const ROUNDS: usize = 20;
const ROUNDS_EXTENDED: usize = 100;
const ACKNOWLEDGED_MAX: u64 = 150;
/// A member that Kafka has not heard of for so long is put out of its group.
const SESSION_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Longer than any rebalance, restart and commit together on a busy machine with two cores.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a worker says once it has its partitions by their numbers.
const STANDS: &str = "stands where the tables stand";
/// What it says of a partition whose state it did not have to put together from the tables.
const STATE_READ: &str = "the state was read from its object";
/// What it says after a repair.
const REPAIRED: &str = "late events were put into their sessions";
/// 2026-01-05, a Monday: past, so that no time of the world is ahead of the door's clock.
const BEGUN_US: i64 = 1_767_571_200_000_000;

#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    freezes: u32,
    farewells: u32,
    /// Of processes in place of those that were gone.
    starts: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_share_by_a_group_survive_kills_and_become_zombies_without_harm() {
    let test = "workers_that_share_by_a_group_survive_kills_and_become_zombies_without_harm";
    let Some(bootstrap) = outside::kafka(test) else { return };
    let (mut chance, mut tally) = (Chance::of(test), Tally::default());
    let field = Field::new(&bootstrap, "workers-group", &mut chance, &[("pipeline.assignment", "group")]);
    let Field { door, homes, load, .. } = &field;
    let server = door.start().await;
    let mut workers = homes.each_ref().map(Home::spawn_beside);
    for _ in 0..field.rounds {
        let mut running = load.start(&server.url(""));
        acknowledged(load, &mut running, &mut chance).await;
        let (one, other) = if chance.one_in(2) { (0, 1) } else { (1, 0) };
        match chance.below(8) {
            0..=2 => {
                workers[one].kill_where_it_is().await;
                tally.kills += 1;
            }
            3 => {
                for worker in &mut workers {
                    worker.kill_where_it_is().await;
                }
                tally.kills += 2;
            }
            4..=6 => {
                let gained = count(&homes[other], "partitions gained");
                workers[one].freeze();
                // Until the other has what the frozen one had; it may have had nothing.
                until_told_more(&homes[other], "partitions gained", gained, 4 * SESSION_TIMEOUT).await;
                acknowledged(load, &mut running, &mut chance).await;
                workers[one].thaw();
                tally.freezes += 1;
            }
            _ => {
                let leaving = std::mem::replace(&mut workers[one], homes[one].spawn_beside());
                assert!(leaving.stop().await.success(), "{}", homes[one].told());
                tally.farewells += 1;
            }
        }
        for (worker, home) in workers.iter_mut().zip(homes) {
            if !worker.runs() {
                *worker = home.spawn_beside();
                tally.starts += 1;
            }
        }
        acknowledged(load, &mut running, &mut chance).await;
        running.stopped().await;
        audit::until_all_is_well(&server, &load.ledger(), Late::Repairing, PATIENCE).await;
    }
    let found = field.repaired(&server).await;
    field.came_to("workers in a group", &tally, found);
    assert!(0 < field.told("partitions gained") && 0 < field.told("partitions lost") + field.fenced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_replaced_while_it_was_frozen_can_do_no_harm() {
    let test = "a_worker_that_was_replaced_while_it_was_frozen_can_do_no_harm";
    let Some(bootstrap) = outside::kafka(test) else { return };
    // Both own every partition by their number, and no group tells them otherwise.
    let (mut chance, mut tally) = (Chance::of(test), Tally::default());
    let field = Field::new(&bootstrap, "workers-replaced", &mut chance, &[]);
    let Field { door, homes, load, .. } = &field;
    let server = door.start().await;
    let mut active = 0;
    let mut worker = homes[active].spawn_beside();
    for _ in 0..field.rounds {
        let mut running = load.start(&server.url(""));
        acknowledged(load, &mut running, &mut chance).await;
        let next = 1 - active;
        if chance.one_in(3) {
            worker.kill_9().await;
            worker = homes[next].spawn_beside();
            tally.kills += 1;
        } else {
            worker.freeze();
            let stood = count(&homes[next], STANDS);
            let successor = homes[next].spawn_beside();
            until_told_more(&homes[next], STANDS, stood, PATIENCE).await;
            acknowledged(load, &mut running, &mut chance).await;
            // In the middle of whatever it was at, and sure that all partitions are its own.
            worker.thaw();
            acknowledged(load, &mut running, &mut chance).await;
            worker.kill_9().await;
            worker = successor;
            tally.freezes += 1;
            tally.kills += 1;
        }
        active = next;
        acknowledged(load, &mut running, &mut chance).await;
        running.stopped().await;
        if !worker.runs() {
            // Pushed aside too often in a row by the zombie, it has said so and ended.
            worker = homes[active].spawn_beside();
            tally.starts += 1;
        }
        audit::until_all_is_well(&server, &load.ledger(), Late::Repairing, PATIENCE).await;
    }
    let found = field.repaired(&server).await;
    field.came_to("workers replaced while frozen", &tally, found);
    assert!(0 < field.fenced(), "no zombie was fenced: the test no longer tests");
}

/// What a run happens on.
struct Field {
    rounds: usize,
    /// Takes events and answers questions.
    door: Home,
    homes: [Home; 2],
    load: Load,
    begun: Instant,
}

impl Field {
    fn new(bootstrap: &str, name: &str, chance: &mut Chance, knobs: &[(&str, &str)]) -> Self {
        let session_ms = SESSION_TIMEOUT.as_millis().to_string();
        let door = Home::kafka(bootstrap, name)
            .with("log.kafka_properties.session.timeout.ms", &session_ms)
            .with("log.kafka_properties.heartbeat.interval.ms", "300")
            .with("pipeline.commit_interval_ms", "30")
            // State is stored and read back, and late events are put into their sessions, amid all of it.
            .with("pipeline.state_bytes_min", "0")
            .with("pipeline.state_records_min", "200")
            .with("pipeline.repair_interval_ms", "400")
            // The world of the loader is long gone.
            .with("pipeline.repair_lookback_ms", "31536000000")
            .with("pipeline.dedup_window_ms", "31536000000");
        let worker = || {
            let home = Home::with_data_of(&door).with("serve.roles", "pipeline");
            knobs.iter().fold(home, |home, (key, value)| home.with(key, value))
        };
        let homes = [worker(), worker()];
        let rounds = if outside::is_extended() { ROUNDS_EXTENDED } else { ROUNDS };
        let load = Load::new(chance.split(), BEGUN_US);
        Self { rounds, door: door.with("serve.roles", "ingest,query"), homes, load, begun: Instant::now() }
    }

    /// Late events too are in their sessions in the end, and starts have read stored state.
    async fn repaired(&self, server: &Server<'_>) -> Found {
        self.load.seal(&server.url("")).await;
        let found = audit::until_all_is_well(server, &self.load.ledger(), Late::Repaired, PATIENCE).await;
        assert!(0 < found.late, "no event came late: the test no longer tests");
        for words in [STATE_READ, REPAIRED] {
            assert!(0 < self.told(words), "no worker said that {words}: the test no longer tests");
        }
        found
    }

    /// How often the workers have said so.
    fn told(&self, words: &str) -> usize {
        self.homes.iter().map(|home| count(home, words)).sum()
    }

    fn fenced(&self) -> usize {
        self.told("positions were moved by another worker")
    }

    fn came_to(&self, what: &str, tally: &Tally, found: Found) {
        let Tally { kills, freezes, farewells, starts } = tally;
        let Found { events, late, sessions } = found;
        outside::came_to(&format!(
            "{what}: {} rounds in {} s: {kills} kill -9, {freezes} SIGSTOP/SIGCONT, {farewells} polite stops, {starts} \
             started again; {} times fenced, state objects read {} times, late events repaired {} times, partitions \
             gained {} times, handed over {}, lost {}; after each round the books balanced, at last {} sent, {events} \
             events ({late} late) in {sessions} sessions",
            self.rounds,
            self.begun.elapsed().as_secs(),
            self.fenced(),
            self.told(STATE_READ),
            self.told(REPAIRED),
            self.told("partitions gained"),
            self.told("partitions handed over"),
            self.told("partitions lost"),
            self.load.ledger().sent.len(),
        ));
    }
}

async fn acknowledged(load: &Load, running: &mut Running, chance: &mut Chance) {
    let count = usize::try_from(1 + chance.below(ACKNOWLEDGED_MAX)).unwrap();
    load.until_acknowledged(count, running).await;
}

/// How often the processes of this home have said so.
fn count(home: &Home, words: &str) -> usize {
    home.told().matches(words).count()
}

/// Waits until they have said so more often than `before`; for a while.
async fn until_told_more(home: &Home, words: &str, before: usize, patience: Duration) {
    let deadline = Instant::now() + patience;
    while count(home, words) <= before && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
