//! Forgets what is too old or too much: jobs with their outputs and events, checkpoints, unused assets, and blobs that no row names.
//!
//! One tokio task a server. The store decides what may go, under its own rules (never what is queued or running, never what a kept job
//! reads or shares); this module says how long and how much, and deletes the blobs that the store has let go of. Row first, blob
//! second: a crash in between leaves an orphan, and orphans are collected here too.

use crate::blob::BlobStore;
use crate::limits::*;
use crate::store::{JobStore, Retention, StoreError};
use crate::telemetry;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long and how much is kept. `None`: for ever, or any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Milliseconds after its end that a job is kept, with its outputs.
    pub jobs_age_ms: Option<i64>,
    /// Milliseconds after the end of a job that its events are kept; the last one stays with the job.
    pub events_age_ms: Option<i64>,
    /// Milliseconds that an asset is kept after its upload, once no job in the store reads it.
    pub assets_age_ms: Option<i64>,
    /// Bytes of the outputs of all jobs together; beyond them the jobs that ended longest ago go.
    pub outputs_bytes_max: Option<u64>,
    /// Bytes of the checkpoints of ended jobs together, from which they can be extended.
    pub checkpoints_bytes_max: Option<u64>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let days = |days: u64| Some(i64::try_from(days * DAY_MS).expect("the defaults are a few days"));
        Self {
            jobs_age_ms: days(KEEP_JOBS_DAYS),
            events_age_ms: days(KEEP_EVENTS_DAYS),
            assets_age_ms: days(KEEP_ASSETS_DAYS),
            outputs_bytes_max: Some(KEEP_OUTPUTS_BYTES),
            checkpoints_bytes_max: Some(KEEP_CHECKPOINTS_BYTES),
        }
    }
}

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs that are gone.
    pub jobs: usize,
    /// Assets that are gone.
    pub assets: usize,
    /// Blobs of outputs and checkpoints that are gone.
    pub blobs: usize,
    /// Blobs that no row named.
    pub orphans: usize,
}

/// A round a minute, and one after orphans an hour, until `shutdown`.
pub async fn run(store: Arc<dyn JobStore>, blobs: BlobStore, config: RetentionConfig, shutdown: CancellationToken) {
    // The start has collected them just now.
    let mut orphans_collected = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(RETENTION_TICK_MS)) => {}
        }
        let orphans_due = orphans_collected.elapsed() >= Duration::from_millis(ORPHANS_TICK_MS);
        if orphans_due {
            orphans_collected = Instant::now();
        }
        let orphan_age = orphans_due.then_some(Duration::from_millis(ORPHAN_AGE_MS));
        // Rows go before their blobs, so that what a stop leaves of a round is collected at the next start.
        let swept = tokio::select! {
            () = shutdown.cancelled() => return,
            swept = sweep(store.as_ref(), &blobs, &config, orphan_age) => swept,
        };
        match swept {
            Ok(swept) if swept == Swept::default() => {}
            Ok(Swept { jobs, assets, blobs, orphans }) => {
                tracing::info!(jobs, assets, blobs, orphans, "forgot what was too old or too much")
            }
            Err(error) => {
                tracing::warn!(%error, "old jobs and files could not be forgotten; the next round tries again")
            }
        }
    }
}

/// One round. `orphans_age_min`: blobs that no row names and that are older than this go too.
pub async fn sweep(
    store: &dyn JobStore,
    blobs: &BlobStore,
    config: &RetentionConfig,
    orphans_age_min: Option<Duration>,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let retention = Retention {
        jobs_age_ms: config.jobs_age_ms,
        outputs_bytes_max: config.outputs_bytes_max,
        events_age_ms: config.events_age_ms,
        checkpoints_bytes_max: config.checkpoints_bytes_max,
        tombstones_age_ms: i64::try_from(TOMBSTONE_DAYS * DAY_MS).ok(),
        ..Retention::default()
    };
    loop {
        let purged = store.purge(&retention).await?;
        swept.jobs += purged.jobs.len();
        swept.blobs += delete(blobs, &purged.blobs).await;
        if !purged.more {
            break;
        }
    }
    if let Some(age_ms) = config.assets_age_ms {
        swept.assets = sweep_assets(store, blobs, age_ms).await?;
    }
    if let Some(age_min) = orphans_age_min {
        swept.orphans = sweep_orphans(store, blobs, age_min).await?;
    }
    metrics::counter!(telemetry::PURGED_JOBS).increment(swept.jobs as u64);
    metrics::counter!(telemetry::PURGED_BLOBS).increment((swept.blobs + swept.assets + swept.orphans) as u64);
    Ok(swept)
}

/// Deletes one by one, so that one blob that cannot be deleted does not keep the others.
async fn delete(blobs: &BlobStore, keys: &[String]) -> usize {
    let mut deleted = 0;
    for key in keys {
        match blobs.delete(std::slice::from_ref(key)).await {
            Ok(()) => deleted += 1,
            Err(error) => {
                tracing::warn!(key, %error, "a blob that nothing names could not be deleted; it stays as an orphan")
            }
        }
    }
    deleted
}

async fn sweep_assets(store: &dyn JobStore, blobs: &BlobStore, age_ms: i64) -> Result<usize, StoreError> {
    let mut swept = 0;
    loop {
        let unused = store.unreferenced_assets(age_ms, ASSETS_SWEPT_MAX).await?;
        let mut forgotten = 0;
        for (sha256, _) in &unused {
            // Nobody may upload the same file, or submit a job that names it, between the row and the blob.
            let Some(_gate) = blobs.forget_assets() else { continue };
            if store.delete_asset(sha256, age_ms).await? {
                forgotten += 1;
                delete(blobs, &[BlobStore::asset_key(sha256)]).await;
            }
        }
        swept += forgotten;
        if forgotten == 0 || unused.len() < ASSETS_SWEPT_MAX as usize {
            return Ok(swept);
        }
    }
}

async fn sweep_orphans(store: &dyn JobStore, blobs: &BlobStore, age_min: Duration) -> Result<usize, StoreError> {
    let named: HashSet<String> = store.blob_keys().await?.into_iter().collect();
    let mut orphans = 0;
    for prefix in ["outputs", "checkpoints"] {
        match blobs.delete_unreferenced(prefix, &named, age_min).await {
            Ok(deleted) => orphans += deleted.len(),
            Err(error) => {
                tracing::warn!(prefix, %error, "orphaned blobs could not be collected; the next start does it")
            }
        }
    }
    Ok(orphans + sweep_orphaned_assets(store, blobs, &named, age_min).await?)
}

/// An asset may be sent again under the same key while orphans are looked for, so each is looked at once more with nobody sending.
async fn sweep_orphaned_assets(
    store: &dyn JobStore,
    blobs: &BlobStore,
    named: &HashSet<String>,
    age_min: Duration,
) -> Result<usize, StoreError> {
    let candidates = match blobs.unreferenced("assets", named, age_min).await {
        Ok(candidates) => candidates,
        Err(error) => {
            tracing::warn!(%error, "orphaned assets could not be looked for; the next start does it");
            return Ok(0);
        }
    };
    let mut deleted = 0;
    for key in candidates {
        let Some(_gate) = blobs.forget_assets() else { continue };
        let named = match key.rsplit('/').next() {
            Some(sha256) => store.asset(sha256).await?.is_some(),
            None => false,
        };
        if !named {
            deleted += delete(blobs, std::slice::from_ref(&key)).await;
        }
    }
    Ok(deleted)
}
