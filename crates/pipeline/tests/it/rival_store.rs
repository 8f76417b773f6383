//! One worker's view of a store that all share: requests fail before or after they happen, happen later than they are
//! answered, or take their time; and the worker can be put to sleep in the middle of anything, as by SIGSTOP.

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::Seeded;

#[derive(Debug)]
pub(crate) struct RivalStore {
    disk: Arc<InMemory>,
    random: Mutex<u64>,
    sleeps: watch::Sender<bool>,
    late: Mutex<JoinSet<()>>,
    pub(crate) told: Told,
}

/// How often each thing befell a put.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) before: AtomicU32,
    pub(crate) after: AtomicU32,
    pub(crate) late: AtomicU32,
    pub(crate) slow: AtomicU32,
}

impl RivalStore {
    pub(crate) fn new(disk: Arc<InMemory>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            disk,
            random: Mutex::new(seed),
            sleeps: watch::Sender::new(false),
            late: Mutex::default(),
            told: Told::default(),
        })
    }

    pub(crate) fn sleep(&self, sleeps: bool) {
        self.sleeps.send_replace(sleeps);
    }

    /// Waits for puts that were answered before they happened.
    pub(crate) async fn settle(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.join_all().await;
    }

    fn draw(&self, bound: u64) -> u64 {
        let mut state = self.random.lock().unwrap();
        let mut random = Seeded(*state);
        let drawn = random.below(bound);
        *state = random.0;
        drawn
    }

    async fn awake(&self) {
        let mut sleeps = self.sleeps.subscribe();
        sleeps.wait_for(|sleeps| !sleeps).await.unwrap();
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "RivalStore", source: "the answer was lost".into() }
}

impl std::fmt::Display for RivalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RivalStore")
    }
}

#[async_trait::async_trait]
impl ObjectStore for RivalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.awake().await;
        let counted = |count: &AtomicU32| count.fetch_add(1, Ordering::Relaxed);
        let put = match self.draw(100) {
            0..8 => {
                counted(&self.told.before);
                Err(lost())
            }
            8..16 => {
                counted(&self.told.after);
                drop(self.disk.put_opts(location, payload, options).await);
                Err(lost())
            }
            16..24 => {
                counted(&self.told.late);
                let (disk, location) = (self.disk.clone(), location.clone());
                let delay = Duration::from_millis(self.draw(120));
                self.late.lock().unwrap().spawn(async move {
                    tokio::time::sleep(delay).await;
                    drop(disk.put_opts(&location, payload, options).await);
                });
                Err(lost())
            }
            24..36 => {
                counted(&self.told.slow);
                tokio::time::sleep(Duration::from_millis(self.draw(20))).await;
                self.disk.put_opts(location, payload, options).await
            }
            _ => self.disk.put_opts(location, payload, options).await,
        };
        // Asleep between what happened and the answer.
        self.awake().await;
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.disk.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.awake().await;
        // A start reads hundreds of files, and a real client asks again for each: what is left is rare.
        if self.draw(1_000) < 3 { Err(lost()) } else { self.disk.get_opts(location, options).await }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.disk.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.disk.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.disk.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.disk.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.disk.rename_opts(from, to, options).await
    }
}
