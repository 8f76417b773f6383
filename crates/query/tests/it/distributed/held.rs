//! A store that keeps a worker in the middle of a question for as long as a test wants.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use tokio::sync::watch;
use tributary_lake::{Lake, LakeSettings};
use tributary_query::QuerySettings;
use tributary_schemas::SystemClock;

use super::{TOKEN, Worker};
use crate::world::World;

/// A store whose files of rows are not read until it is told; that they are wanted is seen.
#[derive(Debug)]
pub(super) struct Held {
    inner: LocalFileSystem,
    pub(super) wanted: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Held {
    fn new() -> Arc<Self> {
        let (wanted, open) = (watch::channel(false).0, watch::channel(false).0);
        Arc::new(Self { inner: LocalFileSystem::new(), wanted, open })
    }

    async fn wait(&self, location: &Path) {
        let is_log = location.as_ref().contains("_delta_log");
        if location.as_ref().ends_with(".parquet") && !is_log && location.as_ref().contains("/events/") {
            self.wanted.send_replace(true);
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
        }
    }

    /// Returns once a worker has begun to read.
    pub(super) async fn is_wanted(&self) {
        let mut wanted = self.wanted.subscribe();
        let waiting = wanted.wait_for(|wanted| *wanted);
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("somebody reads").unwrap();
    }

    async fn lake(self: &Arc<Self>, world: &World) -> Lake {
        let settings = LakeSettings { url: world.lake.url().to_string(), fsync: false, ..LakeSettings::default() };
        Lake::with_store(settings, self.clone(), Arc::new(SystemClock)).await.unwrap()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Held {
    async fn put_opts(&self, to: &Path, bytes: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(to, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.wait(location).await;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.wait(location).await;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Three workers, of which the first so many do not read until they are told.
pub(super) async fn held(world: &World, count: usize) -> (Vec<Arc<Held>>, Vec<Worker>) {
    let (mut stores, mut workers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let store = Held::new();
        workers.push(Worker::start(store.lake(world).await, QuerySettings::default(), TOKEN).await);
        stores.push(store);
    }
    while workers.len() < 3 {
        workers.push(Worker::start(world.lake.clone(), QuerySettings::default(), TOKEN).await);
    }
    (stores, workers)
}
