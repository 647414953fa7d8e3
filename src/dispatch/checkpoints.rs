//! The checkpoint of one attempt's task: from a file of the GPU process to a blob, and from there to the task's row.
//!
//! The blob is on disk before the row names it, and the one before it is deleted after the row names it no more: at every moment the row names
//! a checkpoint that is there and whole, or none.

use crate::blob::BlobStore;
use crate::job::Claim;
use crate::limits::CHECKPOINT_BYTES_MAX;
use crate::store::{Checkpointed, JobStore};
use std::path::{Path, PathBuf};

/// See the module's text.
pub struct Checkpoints {
    /// Key of the blob that the row names now.
    current: Option<String>,
    /// How many this attempt has recorded.
    recorded: u32,
}

impl Checkpoints {
    /// Of a task that was claimed just now.
    pub fn of(claim: &Claim) -> Self {
        Self { current: claim.checkpoint.clone(), recorded: 0 }
    }

    /// Where the GPU process reads what an earlier attempt left. One that is named and not there is worth a warning, and no more.
    pub async fn file(&self, blobs: &BlobStore, claim: &Claim) -> Option<PathBuf> {
        let key = self.current.as_ref()?;
        let path = blobs.local_path(key)?;
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => Some(path),
            _ => {
                tracing::warn!(job.id = %claim.job, key, "a checkpoint is not there; the work begins again");
                None
            }
        }
    }

    /// Takes over a file that the GPU process has written into `folder`.
    pub async fn record(&mut self, claim: &Claim, path: &Path, folder: &Path, store: &dyn JobStore, blobs: &BlobStore) {
        // The GPU process is not trusted: a path elsewhere could name any file of the server's user.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.parent() != Some(folder) || !name.starts_with("checkpoint-") {
            tracing::warn!(job.id = %claim.job, "the GPU process named a checkpoint that is none of its files");
            return;
        }
        let key = format!("checkpoints/{}/{}-{}-{}", claim.job, claim.task, claim.fence, self.recorded);
        let bytes = match tokio::fs::symlink_metadata(path).await {
            Ok(metadata) if metadata.len() <= CHECKPOINT_BYTES_MAX => blobs.put_file(&key, path).await,
            Ok(metadata) => {
                tracing::warn!(job.id = %claim.job, bytes = metadata.len(), "a checkpoint is too large");
                return;
            }
            Err(error) => {
                tracing::warn!(job.id = %claim.job, %error, "a checkpoint is not there");
                return;
            }
        };
        let bytes = match bytes {
            Ok((bytes, _)) => bytes,
            Err(error) => {
                tracing::warn!(job.id = %claim.job, %error, "a checkpoint could not be stored");
                return;
            }
        };
        self.recorded += 1;
        let unnamed = match store.checkpoint(claim, &key, bytes).await {
            Ok(Checkpointed::Recorded { replaced }) => {
                tracing::debug!(job.id = %claim.job, bytes, "recorded a checkpoint");
                self.current = Some(key);
                replaced
            }
            Ok(Checkpointed::Stale) => Some(key),
            Err(error) => {
                // Nobody knows whether the row names it: it stays until the next start, which knows.
                tracing::warn!(job.id = %claim.job, %error, "a checkpoint could not be recorded");
                None
            }
        };
        delete(blobs, unnamed).await;
    }

    /// After the task has ended without success: its row names no checkpoint any more. That of a job which goes on in its place may.
    pub async fn forget(&mut self, store: &dyn JobStore, blobs: &BlobStore) {
        let Some(key) = self.current.take() else { return };
        // Without an answer it stays, and is collected with the orphans.
        let unnamed = store.unnamed(&[key]).await.unwrap_or_default();
        delete(blobs, unnamed.into_iter().next()).await;
    }
}

async fn delete(blobs: &BlobStore, key: Option<String>) {
    if let Some(key) = key
        && let Err(error) = blobs.delete(std::slice::from_ref(&key)).await
    {
        tracing::warn!(%error, key, "a checkpoint that nothing names could not be removed; the next start does it");
    }
}
