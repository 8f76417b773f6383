//! A local file system that keeps its word: what was put is on the device.
//!
//! In:      puts, whole or in parts.
//! Out:     the file, visible at once and only whole; then success.
//! Promise: the bytes are flushed before the name appears, and the folder is flushed before the put
//!          returns. `PutMode::Create` is atomic: of any number of creators one succeeds.
//! Not here: reading, listing, deleting: `LocalFileSystem` does them.
//!
//! `LocalFileSystem` links names atomically but flushes nothing. After a power loss a commit could then be
//! an empty file, and the table unreadable for ever; or a commit whose position let the log be trimmed
//! could be gone, and with it the rows. A flush costs a few milliseconds at most; an append needs some six.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

#[derive(Debug, Clone)]
pub(crate) struct DurableStore {
    files: LocalFileSystem,
}

impl DurableStore {
    pub(crate) fn new(files: LocalFileSystem) -> Self {
        Self { files }
    }

    async fn put_whole(&self, location: &Path, payload: PutPayload, create: bool) -> Result<PutResult> {
        let target = self.files.path_to_filesystem(location)?;
        let location = location.to_string();
        let written = tokio::task::spawn_blocking(move || put_durably(&target, &payload, create));
        match written.await.map_err(|source| Error::JoinError { source })? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(source) => Err(put_error(location, source)),
        }
    }
}

fn put_error(path: String, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: Box::new(source) },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: Box::new(source) },
        _ => Error::Generic { store: "local disk", source: Box::new(source) },
    }
}

fn put_durably(target: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    if create && target.try_exists()? {
        // Only spares the flush: `hard_link` below is what decides.
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = target.parent().ok_or(ErrorKind::InvalidInput)?;
    make_folder(folder)?;
    let (file, staged) = stage(target)?;
    let put = write_and_name(file, &staged, target, payload, create);
    if put.is_err() || create {
        // A left-over is hidden from listings and harms nobody.
        let _ = std::fs::remove_file(&staged);
    }
    put?;
    flush_folder(folder)?;
    // Another writer may have made `folder` a moment ago and not yet flushed its name.
    folder.parent().map_or(Ok(()), flush_folder)
}

fn write_and_name(
    mut file: File,
    staged: &FilePath,
    target: &FilePath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    for bytes in payload.iter() {
        file.write_all(bytes)?;
    }
    file.sync_all()?;
    drop(file);
    if create { std::fs::hard_link(staged, target) } else { std::fs::rename(staged, target) }
}

/// A new file beside the target. `LocalFileSystem` hides names that end in `#` and digits.
fn stage(target: &FilePath) -> io::Result<(File, PathBuf)> {
    for number in 1_u64.. {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let staged = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&staged) {
            Ok(file) => return Ok((file, staged)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn make_folder(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().ok_or(ErrorKind::InvalidInput)?;
    make_folder(parent)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    flush_folder(parent)
}

#[cfg(unix)]
fn flush_folder(folder: &FilePath) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        // Above the lake's own folder there may be some we can pass through but not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn flush_folder(_: &FilePath) -> io::Result<()> {
    Ok(()) // A folder cannot be opened as a file there; names are flushed with the file system's own journal.
}

impl fmt::Display for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "durable {}", self.files)
    }
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Create => self.put_whole(location, payload, true).await,
            PutMode::Overwrite => self.put_whole(location, payload, false).await,
            PutMode::Update(_) => self.files.put_opts(location, payload, options).await,
        }
    }

    /// Parts are gathered and put as one. Only checkpoints and objects of state come in parts, and these were in memory a
    /// moment ago anyway.
    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(GatheredUpload { store: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct GatheredUpload {
    store: DurableStore,
    location: Path,
    parts: Vec<bytes::Bytes>,
}

#[async_trait]
impl MultipartUpload for GatheredUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        self.parts.extend(payload);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload = std::mem::take(&mut self.parts).into_iter().collect();
        self.store.put_whole(&self.location, payload, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;

    use super::*;

    fn store(folder: &tempfile::TempDir) -> DurableStore {
        DurableStore::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())
    }

    #[tokio::test]
    async fn of_many_creators_of_one_name_one_succeeds_and_its_bytes_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let target = Path::from("a/b/00.json");
        let put = |number: u8| {
            let (store, target) = (store.clone(), target.clone());
            async move { store.put_opts(&target, vec![number; 100].into(), PutMode::Create.into()).await }
        };
        let results = futures::future::join_all((0..16).map(put)).await;
        let won: Vec<usize> = (0..16).filter(|number| results[*number].is_ok()).collect();
        assert_eq!(won.len(), 1);
        for result in results {
            assert!(matches!(result, Ok(_) | Err(Error::AlreadyExists { .. })), "{result:?}");
        }
        let read = store.get(&target).await.unwrap().bytes().await.unwrap();
        assert_eq!(read.as_ref(), vec![won[0] as u8; 100]);
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1, "staged files are hidden or gone");
        assert_eq!(std::fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn parts_become_one_file_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let target = Path::from("big");
        let mut upload = store.put_multipart(&target).await.unwrap();
        upload.put_part(vec![1; 3].into()).await.unwrap();
        upload.put_part(vec![2; 2].into()).await.unwrap();
        assert!(store.head(&target).await.is_err(), "nothing is seen before it is whole");
        upload.complete().await.unwrap();
        assert_eq!(store.get(&target).await.unwrap().bytes().await.unwrap().as_ref(), [1, 1, 1, 2, 2]);
    }
}
