//! Assets and outputs by key, over `object_store`: files by default.
//!
//! A blob is written to a spool file, fsynced, and moved to its key before any row names it (invariant 3). It knows
//! nothing of jobs. Keys: `assets/{sha256[..2]}/{sha256}` and `outputs/{the job's last two}/{job}.{fence}.{name}`: folders that
//! are there already, since each new one costs as much as a file, and each with few files.
//!
//! Listing and deleting go through `object_store`; writing does not, because a blob must be fsynced in the spool
//! and then moved, whoever wrote it: an upload of the front end, or the GPU process; nor does reading, which
//! it would do in pieces. All blocking work runs on tokio's blocking threads.

pub(crate) mod durable;
mod spool;
mod upload;

pub use spool::{SpoolFile, SpoolFolder};
pub use upload::Upload;

use crate::limits::{BLOB_CHUNK_BYTES, UPLOAD_BYTES_MAX};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::HashSet;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Why a blob was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No space left on the disk, or in the quota.
    #[error("the disk is full: {0}; free some space or move the data folder")]
    Full(String),
    /// An upload is longer than allowed.
    #[error("the file is longer than {bytes_max} bytes")]
    TooLarge {
        /// The bound that it broke.
        bytes_max: u64,
    },
    /// No blob has this key.
    #[error("there is no blob {0}")]
    NotFound(String),
    /// The hash of what came is not the one that was announced.
    #[error("the file's SHA-256 is {found}, expected {expected}; send it again")]
    HashMismatch {
        /// Lower-case hex.
        found: String,
        /// As announced.
        expected: String,
    },
    /// No key can look like this.
    #[error("{0:?} is no key of a blob")]
    InvalidKey(String),
    /// What should be moved to a key is a link, a folder or something else that is no plain file.
    #[error("{0} is no plain file")]
    NotAFile(String),
    /// The folder cannot be written.
    #[error("the folder {0} cannot be written; give kiln's user the right to, or choose another with --data")]
    ReadOnly(String),
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BlobError {
    fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(what),
            _ => Self::Io { what, source },
        }
    }
}

/// Blobs in a folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobStore {
    objects: Arc<LocalFileSystem>,
    /// Folder of the blobs; keys are paths under it.
    blobs_dir: Arc<Path>,
    spool_dir: Arc<Path>,
    idle_folders: spool::IdleFolders,
    /// See [`BlobStore::keep_assets`].
    assets_gate: Arc<RwLock<()>>,
}

impl BlobStore {
    /// Opens (and makes, where they are missing) `root/blobs` and `root/spool`, and empties the spool: what is in there was
    /// left behind by a crash, and no row names it. Blocks; call it before serving.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let blobs_dir = root.join("blobs");
        let spool_dir = root.join("spool");
        for dir in [&blobs_dir, &spool_dir] {
            durable::create_dirs(dir).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    BlobError::ReadOnly(root.display().to_string())
                }
                _ => BlobError::io(format!("making the folder {}", dir.display()), error),
            })?;
        }
        durable::empty_dir(&spool_dir).map_err(|error| BlobError::io("emptying the spool", error))?;
        let objects = LocalFileSystem::new_with_prefix(&blobs_dir)
            .map_err(|error| BlobError::io("opening the blobs", io::Error::other(error)))?
            // Folders of deleted outputs go away with their last file.
            .with_automatic_cleanup(true);
        Ok(Self {
            objects: Arc::new(objects),
            blobs_dir: blobs_dir.into(),
            spool_dir: spool_dir.into(),
            idle_folders: Arc::default(),
            assets_gate: Arc::default(),
        })
    }

    /// The key of an asset, by the SHA-256 of its bytes in lower-case hex.
    pub fn asset_key(sha256: &str) -> String {
        format!("assets/{}/{sha256}", sha256.get(..2).unwrap_or("__"))
    }

    /// The key of an output. The fence keeps a worker whose lease was taken away from writing over its successor's.
    pub fn output_key(job: impl std::fmt::Display, fence: i64, name: &str) -> String {
        let job = job.to_string();
        let folder = job.get(job.len().saturating_sub(2)..).unwrap_or("__");
        format!("outputs/{folder}/{job}.{fence}.{name}")
    }

    /// Where uploads and the GPU process's outputs are written first.
    pub fn spool_dir(&self) -> &Path {
        &self.spool_dir
    }

    /// A fresh name in the spool, which ends in `suffix`. The file is removed when the value is dropped, unless it was moved
    /// away by then.
    pub fn spool_file(&self, suffix: &str) -> SpoolFile {
        SpoolFile::new(&self.spool_dir, suffix)
    }

    /// An empty folder in the spool.
    pub async fn spool_folder(&self) -> Result<SpoolFolder, BlobError> {
        SpoolFolder::new(&self.spool_dir, &self.idle_folders).await
    }

    /// While this is held, no asset is forgotten: for the moments between an asset's blob and its row, and between a look at an
    /// asset and the row that names it.
    pub async fn keep_assets(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.assets_gate).read_owned().await
    }

    /// While this is held, an asset's row and blob can be removed as one. `None` while somebody needs the assets to stay: then
    /// there will be another time.
    pub fn forget_assets(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        Arc::clone(&self.assets_gate).try_write_owned().ok()
    }

    /// Begins an upload of at most [`UPLOAD_BYTES_MAX`] bytes.
    pub async fn upload(&self) -> Result<Upload, BlobError> {
        self.upload_at_most(UPLOAD_BYTES_MAX).await
    }

    /// Begins an upload of at most `bytes_max` bytes.
    pub async fn upload_at_most(&self, bytes_max: u64) -> Result<Upload, BlobError> {
        Upload::begin(self.clone(), bytes_max).await
    }

    /// Moves a finished spool file to a key, durably: when this returns, its bytes and its name are on disk. Returns its length
    /// and its SHA-256 in lower-case hex, both of the bytes that are there now. Doing it twice with equal bytes is fine.
    pub async fn put_file(&self, key: &str, spool_path: &Path) -> Result<(u64, String), BlobError> {
        let to = self.path(key)?;
        let (from, key) = (spool_path.to_owned(), key.to_owned());
        blocking(move || {
            let what = |doing: &str| format!("{doing} the blob {key}");
            // A link would let the process that wrote the spool file publish any file that this process can read.
            let metadata = from.symlink_metadata().map_err(|error| BlobError::io(what("reading"), error))?;
            if !metadata.is_file() {
                return Err(BlobError::NotAFile(from.display().to_string()));
            }
            let (bytes, sha256) =
                durable::sync_and_hash(&from).map_err(|error| BlobError::io(what("syncing"), error))?;
            durable::publish(&from, &to, bytes).map_err(|error| BlobError::io(what("moving"), error))?;
            Ok((bytes, sha256))
        })
        .await
    }

    /// The length of a blob, and its bytes, or those of them in `range`, which must lie within the blob.
    pub async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, BlobError>>), BlobError> {
        let (path, key) = (self.path(key)?, key.to_owned());
        // Opened, measured and, where it fits into one piece, read in one go: each visit to a blocking thread costs two switches of threads.
        let opened = blocking(move || {
            let error = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => BlobError::NotFound(key.clone()),
                _ => BlobError::io(format!("reading the blob {key}"), error),
            };
            let mut file = std::fs::File::open(&path).map_err(error)?;
            let metadata = file.metadata().map_err(error)?;
            if !metadata.is_file() {
                return Err(BlobError::NotFound(key));
            }
            let bytes = metadata.len();
            let range = range.unwrap_or(0..bytes);
            file.seek(io::SeekFrom::Start(range.start)).map_err(error)?;
            let mut part = None;
            if range.end - range.start <= BLOB_CHUNK_BYTES as u64 {
                let mut piece = vec![0; (range.end - range.start) as usize];
                file.read_exact(&mut piece).map_err(error)?;
                part = Some(Bytes::from(piece));
            }
            Ok((key, file, bytes, range, part))
        });
        let (key, file, bytes, range, part) = opened.await?;
        if let Some(part) = part {
            return Ok((bytes, futures::stream::once(async { Ok(part) }).boxed()));
        }
        let part = tokio::fs::File::from_std(file).take(range.end - range.start);
        let stream = tokio_util::io::ReaderStream::with_capacity(part, BLOB_CHUNK_BYTES);
        Ok((bytes, stream.map_err(move |error| BlobError::io(format!("reading the blob {key}"), error)).boxed()))
    }

    /// The whole of a small blob.
    pub async fn read_all(&self, key: &str) -> Result<Vec<u8>, BlobError> {
        let (bytes, mut stream) = self.read(key, None).await?;
        let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        while let Some(chunk) = stream.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// The length of a blob in bytes, `None` where there is none.
    pub async fn bytes(&self, key: &str) -> Result<Option<u64>, BlobError> {
        match self.objects.head(&parse(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(object_error(key, error)),
        }
    }

    /// Deletes blobs. One that is not there is as good as deleted.
    pub async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        for key in keys {
            match self.objects.delete(&parse(key)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(object_error(key, error)),
            }
        }
        Ok(())
    }

    /// All keys under a prefix of whole segments, such as `assets` or `checkpoints/{job}`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        let listed = self.objects.list(Some(&parse(prefix)?)).map_ok(|meta| meta.location.to_string());
        listed.try_collect().await.map_err(|error| object_error(prefix, error))
    }

    /// Deletes the blobs under a prefix that [`BlobStore::unreferenced`] finds, and returns their keys.
    pub async fn delete_unreferenced(
        &self,
        prefix: &str,
        keep: &HashSet<String>,
        age_min: Duration,
    ) -> Result<Vec<String>, BlobError> {
        let orphans = self.unreferenced(prefix, keep, age_min).await?;
        self.delete(&orphans).await?;
        Ok(orphans)
    }

    /// The blobs under a prefix that are not in `keep` and have been there for `age_min`.
    ///
    /// Blobs are written before the rows that name them, so that a blob without a row may just be waiting for its row: on a
    /// serving system `age_min` must be longer than that can take. Before serving, nothing waits, and it may be zero.
    pub async fn unreferenced(
        &self,
        prefix: &str,
        keep: &HashSet<String>,
        age_min: Duration,
    ) -> Result<Vec<String>, BlobError> {
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        let written_ms_max = now_ms.saturating_sub(i64::try_from(age_min.as_millis()).unwrap_or(i64::MAX));
        let mut orphans = Vec::new();
        let prefix_key = parse(prefix)?;
        let mut listed = self.objects.list(Some(&prefix_key));
        while let Some(meta) = listed.try_next().await.map_err(|error| object_error(prefix, error))? {
            let key = meta.location.to_string();
            if !keep.contains(&key) && meta.last_modified.timestamp_millis() <= written_ms_max {
                orphans.push(key);
            }
        }
        Ok(orphans)
    }

    /// Where a process on this machine can read a blob; `None` where blobs are no files, or the key is none.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.path(key).ok()
    }

    fn path(&self, key: &str) -> Result<PathBuf, BlobError> {
        // The checks of the parser (no `..`, no empty segments) are what keeps keys inside the folder.
        let parsed = parse(key)?;
        let known = self.objects.path_to_filesystem(&parsed).map_err(|_| BlobError::InvalidKey(key.to_owned()))?;
        debug_assert!(known.ends_with(key), "keys are paths under {}", self.blobs_dir.display());
        Ok(known)
    }
}

fn parse(key: &str) -> Result<Key, BlobError> {
    match Key::parse(key) {
        Ok(parsed) if !key.is_empty() => Ok(parsed),
        _ => Err(BlobError::InvalidKey(key.to_owned())),
    }
}

fn object_error(key: &str, error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound(key.to_owned()),
        other => BlobError::io(format!("reading the blob {key}"), io::Error::other(other)),
    }
}

/// Runs blocking work off tokio's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BlobError::io("a blocking thread died", io::Error::other(error))),
    }
}
