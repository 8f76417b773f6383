//! A store that fails at a chosen write: before it, or after it landed but before anyone is told; for good or for a while.

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(crate) struct PowerCut {
    disk: Arc<InMemory>,
    writes_left: AtomicI64,
    /// So many writes fail before the store is back.
    failures: i64,
    lands: bool,
    /// Cancelled at the moment of the cut: the test drops the job then.
    pub(crate) cut: CancellationToken,
}

impl PowerCut {
    /// `disk` outlives the cut. `lands`: the fatal write reaches the disk.
    pub(crate) fn after(disk: Arc<InMemory>, writes: i64, lands: bool) -> Self {
        Self { disk, writes_left: AtomicI64::new(writes), failures: i64::MAX, lands, cut: CancellationToken::new() }
    }

    /// Back after so many failures.
    pub(crate) fn outage(disk: Arc<InMemory>, writes: i64, failures: i64, lands: bool) -> Self {
        Self { failures, ..Self::after(disk, writes, lands) }
    }

    pub(crate) fn never(disk: Arc<InMemory>) -> Self {
        Self::after(disk, i64::MAX, false)
    }

    /// Fails once the power is gone. It must not wait for ever: the Delta kernel writes checkpoints from a
    /// thread that blocks, and a blocked test could not drop the job.
    async fn write<T>(&self, act: impl Future<Output = Result<T>>) -> Result<T> {
        let left = self.writes_left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 || left <= -self.failures {
            return act.await;
        }
        if left == 0 && self.lands {
            // Whether it succeeded nobody will ever hear.
            drop(act.await);
        }
        self.cut.cancel();
        Err(object_store::Error::Generic { store: "PowerCut", source: "the power is gone".into() })
    }
}

impl std::fmt::Display for PowerCut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PowerCut")
    }
}

#[async_trait::async_trait]
impl ObjectStore for PowerCut {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.write(self.disk.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.write(self.disk.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.disk.get_opts(location, options).await
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
        self.write(self.disk.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.write(self.disk.rename_opts(from, to, options)).await
    }
}
