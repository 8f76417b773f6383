//! A store that fails before a put, after it, or answers "failed" and lets the put land later: the three
//! ways in which a commit's outcome is unknown to its writer.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::task::JoinSet;
use tributary_lake::{Advice, CompactOptions, Compacted, Lake, LakeError, LakeSettings};
use tributary_schemas::{SystemClock, Table};

use crate::compact::everything;
use crate::positions::advance;
use crate::rows::rows;
use crate::{assert_each_offset_once, settings};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Nothing happens, an error is answered.
    Before,
    /// It happens, an error is answered.
    After,
    /// It happens later; an error is answered now.
    Late,
    /// It happens when the test says so; an error is answered now.
    Held,
    /// It happens, the answer takes its time.
    Slow,
    /// Nothing happens for want of room.
    Full,
}

/// Decides per call, from a seed: the same seed draws the same faults in the same order of calls.
#[derive(Debug)]
struct Faulty {
    inner: LocalFileSystem,
    on: AtomicBool,
    drawn: AtomicU64,
    seed: u64,
    /// Of a hundred reads, so many fail.
    reads_failing: AtomicU64,
    /// If set, this befalls every put of a commit and nothing befalls anything else.
    every_commit: Mutex<Option<Fault>>,
    /// If set, there is room for so many more files of rows, and nothing befalls anything else.
    room_files: Mutex<Option<u32>>,
    /// If set, commits of tables whose path holds this do not happen, and nothing befalls anything else.
    fail_commits_of: Mutex<Option<&'static str>>,
    late: Mutex<JoinSet<()>>,
    held: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
}

impl Faulty {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalFileSystem::new(),
            on: AtomicBool::new(false),
            drawn: AtomicU64::new(0),
            seed,
            reads_failing: AtomicU64::new(10),
            every_commit: Mutex::new(None),
            room_files: Mutex::new(None),
            fail_commits_of: Mutex::new(None),
            late: Mutex::default(),
            held: Mutex::default(),
        })
    }

    fn draw(&self) -> u64 {
        // SplitMix64, so that neighbouring counters have nothing in common.
        let mut bits = (self.seed << 32)
            .wrapping_add(self.drawn.fetch_add(1, Ordering::SeqCst))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % 100
    }

    fn put_fault(&self, location: &Path) -> Fault {
        if !self.on.load(Ordering::SeqCst) {
            return Fault::None;
        }
        if let Some(table) = *self.fail_commits_of.lock().unwrap() {
            let is_commit = location.as_ref().ends_with(".json") && location.as_ref().contains(table);
            return if is_commit { Fault::Before } else { Fault::None };
        }
        if let Some(fault) = *self.every_commit.lock().unwrap() {
            return if location.as_ref().ends_with(".json") { fault } else { Fault::None };
        }
        if let Some(room) = &mut *self.room_files.lock().unwrap() {
            if !location.as_ref().ends_with(".parquet") || location.as_ref().contains("_delta_log") {
                return Fault::None;
            }
            let left = room.checked_sub(1);
            *room = left.unwrap_or(0);
            return if left.is_some() { Fault::None } else { Fault::Full };
        }
        match self.draw() {
            0..12 => Fault::Before,
            12..24 => Fault::After,
            24..36 => Fault::Late,
            36..50 => Fault::Slow,
            _ => Fault::None,
        }
    }

    /// Lets the puts that were held back happen, in their order.
    async fn land_held(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        assert!(!held.is_empty(), "a put was held back");
        for (location, payload, options) in held {
            let _ = self.inner.put_opts(&location, payload, options).await;
        }
    }

    /// Waits for puts that were answered before they happened.
    async fn settle(&self) {
        self.on.store(false, Ordering::SeqCst);
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.join_all().await;
    }
}

fn injected() -> Error {
    Error::Generic { store: "faulty", source: "the answer was lost".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.put_fault(location) {
            Fault::None => self.inner.put_opts(location, payload, options).await,
            Fault::Before => Err(injected()),
            Fault::Full => {
                let source = Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
                Err(Error::Generic { store: "faulty", source })
            }
            Fault::After => {
                let _ = self.inner.put_opts(location, payload, options).await;
                Err(injected())
            }
            Fault::Late => {
                let (inner, location, delay) =
                    (self.inner.clone(), location.clone(), Duration::from_millis(1 + self.draw() / 2));
                self.late.lock().unwrap().spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = inner.put_opts(&location, payload, options).await;
                });
                Err(injected())
            }
            Fault::Held => {
                self.held.lock().unwrap().push((location.clone(), payload, options));
                Err(injected())
            }
            Fault::Slow => {
                let result = self.inner.put_opts(location, payload, options).await;
                tokio::time::sleep(Duration::from_millis(self.draw() / 10)).await;
                result
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mixed = self.every_commit.lock().unwrap().is_none()
            && self.room_files.lock().unwrap().is_none()
            && self.fail_commits_of.lock().unwrap().is_none();
        if mixed && self.on.load(Ordering::SeqCst) && self.draw() < self.reads_failing.load(Ordering::SeqCst) {
            return Err(injected());
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

fn faulty_settings(folder: &tempfile::TempDir) -> LakeSettings {
    let url = url::Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
    LakeSettings { url: url.into(), checkpoint_interval_commits: 10, storage_tries_max: 6, ..settings(folder) }
}

async fn open(folder: &tempfile::TempDir, store: &Arc<Faulty>) -> Lake {
    Lake::with_store(faulty_settings(folder), store.clone(), Arc::new(SystemClock)).await.unwrap()
}

/// Writes one position to its end through all faults; after any error it does what the advice says.
pub(crate) async fn own(lake: Lake, app_id: String, step: i64, end: i64) -> u32 {
    let mut settled = 0;
    let mut writer = None;
    loop {
        let mut owned = match writer.take() {
            Some(writer) => writer,
            None => match lake.writer(Table::Events).await {
                Ok(writer) => writer,
                Err(_) => continue,
            },
        };
        let expected = owned.snapshot().txn(&app_id);
        let from = expected.unwrap_or(0);
        if end <= from {
            return settled;
        }
        let to = (from + step).min(end);
        let batch = rows(Table::Events, from..to, 2);
        match owned.append(vec![batch], &[advance(&app_id, expected, to)]).await {
            Ok(committed) => {
                settled += u32::from(committed.settled);
                writer = Some(owned);
            }
            // The writer may not have seen all; keep it in half of the cases, as a caller that retries would.
            Err(error) => match error.advice() {
                Advice::Fenced => writer = Some(owned),
                Advice::Retry if from % 2 == 0 => writer = Some(owned),
                Advice::Retry => {}
                Advice::FixInput | Advice::Stop => panic!("{error}"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_range_is_written_once_through_lost_answers_and_late_puts() {
    let mut settled = 0;
    for seed in 1..=6 {
        let folder = tempfile::tempdir().unwrap();
        let store = Faulty::new(seed);
        let mut tasks = JoinSet::new();
        let lakes = [open(&folder, &store).await, open(&folder, &store).await, open(&folder, &store).await];
        store.on.store(true, Ordering::SeqCst);
        for (lake, step) in lakes.into_iter().zip([7, 9, 16]) {
            tasks.spawn(own(lake, "p".to_owned(), step, 400));
        }
        settled += tasks.join_all().await.into_iter().sum::<u32>();
        store.settle().await;
        let lake = open(&folder, &store).await;
        assert_eq!(lake.snapshot(Table::Events).await.unwrap().txn("p"), Some(400), "seed {seed}");
        assert_each_offset_once(&lake, Table::Events, 400).await;
    }
    assert!(10 < settled, "the faults did leave outcomes open: {settled}");
}

/// Compacts until it is told to end; a day that could not be done is left for the next round.
pub(crate) async fn compact(lake: Lake, mut ended: tokio::sync::watch::Receiver<bool>) -> Compacted {
    let mut done = Compacted::default();
    for round in 0.. {
        let options = CompactOptions { everything: round % 2 == 0, ..everything() };
        match lake.compact(Table::Events, &options).await {
            Ok(one) => done.add(one),
            Err(error) => assert_eq!(error.advice(), Advice::Retry, "{error}"),
        }
        if *ended.borrow_and_update() {
            break;
        }
    }
    done
}

/// Three owners of one position, two compactors, and in every second round a retention that takes half of the rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_compactors_and_retention_through_lost_answers_neither_lose_nor_double_a_row() {
    let rounds = std::env::var("TRIBUTARY_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse::<u64>().ok()).unwrap_or(4);
    // Rows lie on the days 20,000 and 20,001; the first of them is too old by this.
    let days = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400 - 20_001;
    let mut compacted = Compacted::default();
    let mut dropped = 0;
    for seed in 101..=100 + rounds {
        let folder = tempfile::tempdir().unwrap();
        let store = Faulty::new(seed);
        // What a read meets after the store's own client has tried ten times. The first removal of rows redefines the table,
        // which has everybody read its whole log: were one read in ten to fail, of sixty hardly ever would all go through,
        // and the log grows meanwhile.
        store.reads_failing.store(1, Ordering::SeqCst);
        let mut lakes = Vec::new();
        for _ in 0..6 {
            lakes.push(open(&folder, &store).await);
        }
        store.on.store(true, Ordering::SeqCst);
        let (ended, watch) = tokio::sync::watch::channel(false);
        let mut compactors = JoinSet::new();
        for lake in lakes.drain(..2) {
            compactors.spawn(compact(lake, watch.clone()));
        }
        let (dropper, drops) = (lakes.pop().unwrap(), seed % 2 == 0);
        let dropping = tokio::spawn(async move {
            let mut rows = 0;
            while drops && !*watch.borrow() {
                match dropper.drop_old(Table::Events, days, &BTreeSet::new(), None).await {
                    Ok(done) => rows += done.rows,
                    Err(error) => assert_eq!(error.advice(), Advice::Retry, "{error}"),
                }
                tokio::task::yield_now().await;
            }
            rows
        });
        let mut owners = JoinSet::new();
        for (lake, step) in lakes.into_iter().zip([5, 8, 13]) {
            owners.spawn(own(lake, "p".to_owned(), step, 240));
        }
        owners.join_all().await;
        ended.send_replace(true);
        for done in compactors.join_all().await {
            compacted.add(done);
        }
        dropped += dropping.await.unwrap();
        store.settle().await;
        let lake = open(&folder, &store).await;
        if drops {
            lake.drop_old(Table::Events, days, &BTreeSet::new(), None).await.unwrap();
        }
        let snapshot = lake.snapshot(Table::Events).await.unwrap();
        assert_eq!(snapshot.txn("p"), Some(240), "seed {seed}");
        let expected: Vec<i64> = (0..240).filter(|offset| !drops || offset % 2 == 1).collect();
        assert_eq!(crate::sorted_column(&snapshot, "log_offset").await, expected, "seed {seed}");
        let found = lake.verify("events-topic").await.unwrap();
        assert!(found.is_sound(), "seed {seed}: {:?} {:?}", found.tables, found.faults);
    }
    eprintln!("{rounds} rounds: {dropped} rows dropped on the way; {compacted:?}");
    assert!(0 < compacted.commits);
}

/// The duplicates were written down, and then the commit that takes them away did not come about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_that_breaks_off_between_its_two_commits_writes_a_duplicate_down_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let first = rows(Table::Events, 0..3, 1);
    // The same three again, as the log's next three records.
    let again =
        crate::compact::with_column(&first, "log_offset", Arc::new(arrow::array::Int64Array::from(vec![3, 4, 5])));
    for batch in [first, again] {
        writer.append(vec![batch], &[]).await.unwrap();
    }
    *store.fail_commits_of.lock().unwrap() = Some("events/");
    for _ in 0..3 {
        store.on.store(true, Ordering::SeqCst);
        let error = lake.compact(Table::Events, &everything()).await.unwrap_err();
        assert_eq!(error.advice(), Advice::Retry, "{error}");
        assert_eq!(lake.snapshot(Table::DeadLetters).await.unwrap().version(), 1);
        store.on.store(false, Ordering::SeqCst);
    }
    assert_eq!(lake.compact(Table::Events, &everything()).await.unwrap().duplicates, 3);
    assert_each_offset_once(&lake, Table::Events, 3).await;
    let dead = crate::sorted_column(&lake.snapshot(Table::DeadLetters).await.unwrap(), "log_offset").await;
    assert_eq!(dead, [3, 4, 5]);
    assert!(lake.verify("events-topic").await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_settled_by_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    *store.every_commit.lock().unwrap() = Some(Fault::After);
    store.on.store(true, Ordering::SeqCst);
    let committed = writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap();
    assert_eq!((committed.version, committed.rows, committed.settled), (1, 5, true));
    // Without rows there is no file to know a commit by; its mark does.
    let committed = writer.append(vec![], &[advance("p", Some(5), 6)]).await.unwrap();
    assert_eq!((committed.version, committed.settled), (2, true));
    assert_each_offset_once(&lake, Table::Events, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_no_commits_ends_in_an_error_and_the_same_append_may_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    *store.every_commit.lock().unwrap() = Some(Fault::Before);
    store.on.store(true, Ordering::SeqCst);
    let append = || (vec![rows(Table::Events, 0..5, 1)], [advance("p", None, 5)]);
    let (batches, moves) = append();
    let error = writer.append(batches, &moves).await.unwrap_err();
    assert!(matches!(error, LakeError::Log { .. }) && error.advice() == Advice::Retry, "{error}");
    store.settle().await;
    let (batches, moves) = append();
    assert!(!writer.append(batches, &moves).await.unwrap().settled);
    assert_each_offset_once(&lake, Table::Events, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_lands_after_its_writer_gave_up_fences_the_second_try() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let first_try = LakeSettings { storage_tries_max: 1, ..faulty_settings(&folder) };
    let hasty = Lake::with_store(first_try, store.clone(), Arc::new(SystemClock)).await.unwrap();
    let mut writer = hasty.writer(Table::Events).await.unwrap();
    *store.every_commit.lock().unwrap() = Some(Fault::Late);
    store.on.store(true, Ordering::SeqCst);
    let error = writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Retry, "{error}");
    store.settle().await;
    let error = writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Fenced, "{error}");
    assert_eq!(writer.snapshot().txn("p"), Some(5));
    assert_each_offset_once(&lake, Table::Events, 5).await;
}

/// A writer whose commit is under way when it dies: answered with an error now, landing only after `land`.
async fn dies_with_a_commit_under_way(folder: &tempfile::TempDir, store: &Arc<Faulty>) {
    let once = LakeSettings { storage_tries_max: 1, ..faulty_settings(folder) };
    let lake = Lake::with_store(once, store.clone(), Arc::new(SystemClock)).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    *store.every_commit.lock().unwrap() = Some(Fault::Held);
    store.on.store(true, Ordering::SeqCst);
    let error = writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Retry, "{error}");
    store.on.store(false, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_lands_after_the_successor_has_read_the_table_fences_the_successor() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    dies_with_a_commit_under_way(&folder, &store).await;
    let lake = open(&folder, &store).await;
    let mut successor = lake.writer(Table::Events).await.unwrap();
    assert_eq!(successor.snapshot().txn("p"), None, "read before the put landed");
    store.land_held().await;
    let error = successor.append(vec![rows(Table::Events, 0..9, 2)], &[advance("p", None, 9)]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Fenced, "{error}");
    // It goes on from what it now sees, and each row is there once.
    let expected = successor.snapshot().txn("p");
    assert_eq!(expected, Some(5));
    successor.append(vec![rows(Table::Events, 5..9, 2)], &[advance("p", expected, 9)]).await.unwrap();
    assert_each_offset_once(&lake, Table::Events, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_lands_after_the_successor_has_committed_comes_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    dies_with_a_commit_under_way(&folder, &store).await;
    let lake = open(&folder, &store).await;
    let mut successor = lake.writer(Table::Events).await.unwrap();
    let committed = successor.append(vec![rows(Table::Events, 0..9, 2)], &[advance("p", None, 9)]).await.unwrap();
    assert_eq!((committed.version, committed.settled), (1, false));
    store.land_held().await;
    successor.append(vec![], &[advance("p", Some(9), 10)]).await.unwrap();
    assert_eq!(lake.snapshot(Table::Events).await.unwrap().txn("p"), Some(10));
    assert_each_offset_once(&lake, Table::Events, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_finds_its_own_put_that_landed_while_it_was_trying_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    // The first try is held and lands before the second, which then meets it under its own name.
    *store.every_commit.lock().unwrap() = Some(Fault::Late);
    store.on.store(true, Ordering::SeqCst);
    let committed = writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap();
    assert_eq!((committed.version, committed.settled), (1, true));
    store.settle().await;
    assert_each_offset_once(&lake, Table::Events, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_at_once_and_the_append_goes_through_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    *store.every_commit.lock().unwrap() = Some(Fault::Full);
    store.on.store(true, Ordering::SeqCst);
    let error = writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap_err();
    assert!(matches!(error, LakeError::DiskFull { .. }) && error.advice() == Advice::Retry, "{error}");
    store.settle().await;
    writer.append(vec![rows(Table::Events, 0..5, 1)], &[advance("p", None, 5)]).await.unwrap();
    assert_each_offset_once(&lake, Table::Events, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_half_way_takes_back_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(0);
    let lake = open(&folder, &store).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    *store.room_files.lock().unwrap() = Some(3);
    store.on.store(true, Ordering::SeqCst);
    // Eight days are eight files.
    let error = writer.append(vec![rows(Table::Events, 0..40, 8)], &[advance("p", None, 40)]).await.unwrap_err();
    assert!(matches!(error, LakeError::DiskFull { .. }), "{error}");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("events"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name() != "_delta_log")
        .flat_map(|day| std::fs::read_dir(day.path()).unwrap())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    store.settle().await;
    writer.append(vec![rows(Table::Events, 0..40, 8)], &[advance("p", None, 40)]).await.unwrap();
    assert_each_offset_once(&lake, Table::Events, 40).await;
}
