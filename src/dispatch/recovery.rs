//! What a single node does at its start, before it accepts anything: puts back what was running when it died, and removes blobs
//! that no row names, which a death between blob and row leaves behind.

use crate::blob::{BlobError, BlobStore};
use crate::store::{JobStore, StoreError};
use std::collections::HashSet;
use std::time::Duration;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Jobs that were running, and are queued (or, out of attempts, failed) now.
    pub jobs: usize,
    /// Blobs that were removed.
    pub orphan_blobs: usize,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// See the module's text. Nothing else may use the store or the blobs yet.
pub async fn recover(store: &dyn JobStore, blobs: &BlobStore) -> Result<Recovered, RecoverError> {
    let jobs = store.rescue(true).await?.len();
    let orphan_blobs = recover_blobs(store, blobs).await?;
    let recovered = Recovered { jobs, orphan_blobs };
    if recovered.jobs + recovered.orphan_blobs > 0 {
        tracing::info!(jobs, recovered.orphan_blobs, "recovered from the last run");
    }
    Ok(recovered)
}

/// Removes blobs that no row names, of any age; says how many there were. Nothing else may write blobs meanwhile.
///
/// # Errors
/// Those of the store and of the blobs.
pub async fn recover_blobs(store: &dyn JobStore, blobs: &BlobStore) -> Result<usize, RecoverError> {
    let named: HashSet<String> = store.blob_keys().await?.into_iter().collect();
    let mut orphan_blobs = 0;
    for prefix in ["outputs", "assets", "checkpoints"] {
        // Of any age: nothing is being written yet whose row is still to come.
        orphan_blobs += blobs.delete_unreferenced(prefix, &named, Duration::ZERO).await?.len();
    }
    Ok(orphan_blobs)
}
