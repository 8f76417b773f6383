//! The data directory: its lock, its topics, their threads.
//!
//! In:       settings; topics asked for.
//! Out:      topics, each with one commit thread.
//! Promise:  a topic's directory appears whole (made aside, then renamed) or not at all.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::EmbeddedSettings;
use super::commit::{Committer, is_full};
use super::disk::{Disk, Lock, read_whole, write_atomically};
use super::frame::Home;
use super::positions::Positions;
use super::queue::Queue;
use super::recovery::{Opened, open_segments};
use super::segment;
use super::topic::{Health, State, Topic};
use crate::{LogError, TopicInfo, TopicSpec};

const LOCK_FILE: &str = "LOCK";
const TOPICS_DIR: &str = "topics";
const TOPIC_FILE: &str = "topic.json";
const UNFINISHED: &str = ".unfinished";
const FORMAT_VERSION: u32 = 1;
/// Each partition costs 8 bytes in every segment header and an index row; Kafka too is run with fewer.
const PARTITIONS_MAX: u32 = 4096;
/// Enough to notice that space is back; small enough to be taken from a disk that has just a little.
const PROBE_BYTES: usize = 64 << 10;

pub(crate) struct Store {
    pub(crate) settings: Arc<EmbeddedSettings>,
    pub(crate) positions: Arc<Positions>,
    disk: Arc<dyn Disk>,
    /// Looked at by every append, so never held across file operations.
    topics: RwLock<HashMap<String, Arc<Topic>>>,
    /// Held while a topic is made or the log is closed.
    held: Mutex<Held>,
}

/// What is let go at the end.
struct Held {
    threads: Vec<(Arc<Topic>, JoinHandle<()>)>,
    /// `None` once closed.
    lock: Option<Arc<Lock>>,
}

#[derive(Serialize, Deserialize)]
struct TopicFile {
    format_version: u32,
    name: String,
    topic_id: String,
    partitions: u32,
}

impl Store {
    pub(crate) fn open(disk: Arc<dyn Disk>, settings: EmbeddedSettings) -> Result<Self, LogError> {
        let faults = settings.check();
        if !faults.is_empty() {
            return Err(LogError::Invalid(faults.join("; ")));
        }
        let settings = Arc::new(settings);
        let dir = settings.dir.clone();
        let topics_dir = dir.join(TOPICS_DIR);
        let failed = |error: io::Error| LogError::Fatal(format!("the log's directory {}: {error}", dir.display()));
        disk.create_dir_all(&topics_dir).map_err(failed)?;
        let lock = disk.lock(&dir.join(LOCK_FILE)).map_err(failed)?;
        let lock = Arc::new(lock.ok_or_else(|| LogError::InUse { dir: dir.clone() })?);
        disk.sync_dir(&dir).map_err(failed)?;
        // A process that was killed may have named a topic without making the name durable. What is synced
        // inside it from here on must not outlive that name, or the topic would come back without its file.
        disk.sync_dir(&topics_dir).map_err(failed)?;
        let positions = Arc::new(Positions::open(disk.clone(), dir.clone()).map_err(failed)?);
        let names = disk.list(&topics_dir).map_err(failed)?;
        let held = Mutex::new(Held { threads: Vec::new(), lock: Some(lock) });
        let store = Self { settings, positions, disk, topics: RwLock::default(), held };
        let started = names
            .iter()
            .filter(|name| may_be_topic(name))
            .try_for_each(|name| store.start_topic(&mut store.held(), name).map(drop));
        if started.is_err() {
            drop(store.close());
        }
        started.map(|()| store)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic under this lock leaves at worst a topic out of the table.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.find(name).ok_or_else(|| LogError::NoSuchTopic { topic: name.to_owned() })
    }

    pub(crate) fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        crate::log::check_spec(spec)?;
        if PARTITIONS_MAX < spec.partitions {
            return Err(LogError::Invalid(format!("{} partitions, at most {PARTITIONS_MAX}", spec.partitions)));
        }
        let mut held = self.held();
        if held.lock.is_none() {
            return Err(LogError::Closed);
        }
        let topic = match self.find(&spec.name) {
            Some(topic) => topic,
            None => {
                self.make_topic(spec).map_err(|error| self.not_made(spec, &error))?;
                self.start_topic(&mut held, &spec.name)?
            }
        };
        drop(held);
        if topic.partitions != spec.partitions {
            let (asked, found) = (spec.partitions, topic.partitions);
            return Err(LogError::PartitionsDiffer { topic: spec.name.clone(), asked, found });
        }
        let topic_id = Uuid::from_u128(topic.id).to_string();
        Ok(TopicInfo { topic: spec.name.clone(), topic_id, partitions: topic.partitions })
    }

    fn not_made(&self, spec: &TopicSpec, error: &io::Error) -> LogError {
        if is_full(error) {
            return LogError::DiskFull { dir: self.settings.dir.clone() };
        }
        LogError::Fatal(format!("topic {} could not be made in {}: {error}", spec.name, self.settings.dir.display()))
    }

    fn make_topic(&self, spec: &TopicSpec) -> io::Result<()> {
        self.positions.forget(&spec.name)?;
        let topics_dir = self.settings.dir.join(TOPICS_DIR);
        let aside = topics_dir.join(format!("{}{UNFINISHED}", spec.name));
        let disk = self.disk.as_ref();
        disk.create_dir_all(&aside)?;
        for name in disk.list(&aside)? {
            disk.remove(&aside.join(name))?;
        }
        #[expect(clippy::disallowed_methods, reason = "the log names its own topic here; no run depends on the name")]
        let topic_id = Uuid::new_v4();
        let file = TopicFile {
            format_version: FORMAT_VERSION,
            name: spec.name.clone(),
            topic_id: topic_id.to_string(),
            partitions: spec.partitions,
        };
        let first_offsets = vec![0; spec.partitions as usize];
        segment::create(disk, &aside, Home { topic_id: topic_id.as_u128(), segment: 0 }, &first_offsets)?;
        write_atomically(disk, &aside, TOPIC_FILE, &serde_json::to_vec_pretty(&file)?)?;
        disk.rename(&aside, &topics_dir.join(&spec.name))?;
        disk.sync_dir(&topics_dir)
    }

    fn start_topic(&self, held: &mut Held, name: &str) -> Result<Arc<Topic>, LogError> {
        let dir = self.settings.dir.join(TOPICS_DIR).join(name);
        let file = self.read_topic_file(&dir, name)?;
        let id = file.topic_id.parse::<Uuid>().map_err(|error| LogError::Corrupt {
            file: dir.join(TOPIC_FILE),
            position: 0,
            what: error.to_string(),
        })?;
        let scan_all = self.settings.scan_all_on_open;
        let Opened { segments, active, cut_bytes } =
            open_segments(self.disk.as_ref(), &dir, id.as_u128(), file.partitions, scan_all)?;
        if 0 < cut_bytes {
            tracing::warn!(topic = name, cut_bytes, "cut a torn tail: writes that were never acknowledged");
        }
        let settings = self.settings.clone();
        let queue = Queue::new(settings.queue_bytes_max, Duration::from_millis(settings.queue_wait_ms_max));
        let keep_from = vec![0; file.partitions as usize];
        let topic = Arc::new(Topic {
            name: name.to_owned(),
            id: id.as_u128(),
            partitions: file.partitions,
            dir,
            disk: self.disk.clone(),
            settings,
            positions: self.positions.clone(),
            queue,
            rounds: watch::Sender::new(0),
            state: Mutex::new(State { segments, keep_from, health: Health::Sound }),
            removing: Mutex::new(()),
        });
        let lock = held.lock.clone().ok_or(LogError::Closed)?;
        let committer = Committer::new(topic.clone(), lock, active);
        let thread = std::thread::Builder::new().name(format!("log-{name}")).spawn(move || committer.run());
        let thread = thread.map_err(|error| LogError::Fatal(format!("no thread for topic {name}: {error}")))?;
        held.threads.push((topic.clone(), thread));
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    fn read_topic_file(&self, dir: &Path, name: &str) -> Result<TopicFile, LogError> {
        let path = dir.join(TOPIC_FILE);
        let corrupt = |what: String| LogError::Corrupt { file: path.clone(), position: 0, what };
        let bytes = read_whole(self.disk.as_ref(), &path).map_err(|error| corrupt(error.to_string()))?;
        let file: TopicFile = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if file.format_version != FORMAT_VERSION {
            return Err(corrupt(format!("format version {} is not known to this program", file.format_version)));
        }
        if file.name != name || file.partitions == 0 || PARTITIONS_MAX < file.partitions {
            return Err(corrupt("it does not describe the topic it lies with".to_owned()));
        }
        Ok(file)
    }

    /// Blocks for a sync.
    pub(crate) fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        self.positions.report(group, topic, next).map_err(|error| {
            if is_full(&error) {
                return LogError::DiskFull { dir: self.settings.dir.clone() };
            }
            LogError::Retriable(format!("the position of group {group} was not stored: {error}"))
        })
    }

    /// Could every topic take a write? After a full disk it tries one, else readiness would stay false because
    /// no write comes in while it is false.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.held().lock.is_none() {
            return Err(LogError::Closed);
        }
        let topics: Vec<Arc<Topic>> =
            self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for topic in topics {
            let state = topic.state();
            state.check()?;
            let full = state.health == Health::Full;
            drop(state);
            if full {
                let probe = write_atomically(topic.disk.as_ref(), &topic.dir, "probe", &[0; PROBE_BYTES]);
                drop(topic.disk.remove(&topic.dir.join("probe")));
                drop(topic.disk.remove(&topic.dir.join("probe.tmp")));
                probe.map_err(|_| topic.disk_full())?;
            }
        }
        Ok(())
    }

    /// Serves what is queued, ends the threads, gives the directory free. Blocks; may be called twice.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        let mut held = self.held();
        for (topic, _) in &held.threads {
            topic.queue.close();
        }
        let mut outcome = Ok(());
        for (topic, thread) in held.threads.drain(..) {
            if thread.join().is_err() {
                outcome = Err(LogError::Fatal(format!("the commit thread of topic {} broke", topic.name)));
            }
            // A removal that is under way ends before others may take the directory.
            let _removing = topic.removing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut state = topic.state();
            if let Err(error @ LogError::Fatal(_)) = state.check() {
                outcome = Err(error);
            }
            state.health = Health::Closed;
            drop(state);
            topic.rounds.send_modify(|rounds| *rounds += 1);
        }
        held.lock = None;
        outcome
    }
}

/// False for topics half made, and for what others leave in folders: `lost+found`, `.DS_Store`.
fn may_be_topic(name: &str) -> bool {
    TopicSpec { name: name.to_owned(), partitions: 1 }.check().is_ok()
}

/// Blocks for file operations.
pub(crate) fn trim(topic: &Topic, partition: u32, keep_from: u64) -> Result<u64, LogError> {
    let mut state = topic.state();
    state.check_readable()?;
    let keep_from_now = &mut state.keep_from[partition as usize];
    *keep_from_now = keep_from.max(*keep_from_now);
    drop(state);
    topic
        .remove_old()
        .map_err(|error| LogError::Retriable(format!("topic {} could not be trimmed: {error}", topic.name)))?;
    Ok(topic.state().bounds(partition).earliest)
}
