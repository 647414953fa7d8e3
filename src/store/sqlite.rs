//! The queue in one SQLite file: [`SqliteStore`].
//!
//! Changes go through one writer thread (see `writer`), which owns the only connection that writes and commits them in groups;
//! reads go through a small pool beside it, which WAL lets run at the same time. Durable means `synchronous=FULL`: a commit
//! returns after its fsync. One process owns the data folder at a time, by a lock on `kiln.lock` in it.
//!
//! It knows nothing of HTTP, of the GPU, or of what a job's spec says.

mod attempts;
mod ends;
mod open;
mod operations;
mod order;
mod outbox;
mod outcome;
mod read;
mod readers;
mod retention;
mod sql;
mod submit;
mod writer;

use crate::job::*;
use crate::store::*;
use async_trait::async_trait;
use readers::Readers;
use rusqlite::ErrorCode;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;
use tokio::sync::{Notify, broadcast};
use writer::{WhenFull, Writer};

/// Corrects the database's clock. A server leaves it alone; tests move it, to see leases run out and clocks go backwards
/// without waiting.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Moves the clock by this many milliseconds, into the past where they are negative.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Milliseconds since the epoch.
    fn wall_ms(&self) -> TimeMs {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis());
        TimeMs::try_from(now).unwrap_or(TimeMs::MAX).saturating_add(self.0.load(Ordering::SeqCst))
    }
}

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct SqliteOptions {
    /// See [`Clock`].
    pub clock: Clock,
    /// Bytes that the database file may grow to; `None`: as large as the disk. Beyond it, changes fail with [`StoreError::Full`].
    pub bytes_max: Option<u64>,
    /// Milliseconds that a change waits for another program that holds the file; `None`: a few seconds.
    pub busy_ms: Option<u64>,
    /// SQLite's layer over the operating system by its name; `None`: the usual one. Faults are injected there.
    pub vfs: Option<&'static str>,
}

/// See the module's text.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    clock: Clock,
}

impl SqliteStore {
    /// Opens the store in a data folder, and makes both where they are missing. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it, [`StoreError::Newer`] where a newer version wrote it,
    /// [`StoreError::ReadOnly`], [`StoreError::Full`], and [`StoreError::Corrupt`] where the file is no database.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(data_dir, SqliteOptions::default()).await
    }

    /// The same with options.
    pub async fn open_with(data_dir: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let clock = options.clock.clone();
        let data_dir = data_dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || open::open(&data_dir, options)).await;
        let (writer, readers) =
            opened.map_err(|error| StoreError::Other(format!("opening the store died: {error}")))??;
        Ok(Self { writer, readers, clock })
    }

    /// Commits what was asked for, then closes the file and releases the folder. Later calls fail. A store that is dropped
    /// instead does the same a little later.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn submit(&self, job: NewJob) -> Result<Submitted, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| submit::submit(tx, job)).await
    }

    async fn submitted_before(&self, job: NewJob) -> Result<Option<Submitted>, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| submit::before(tx, job)).await
    }

    async fn cancel(&self, id: JobId) -> Result<Option<Cancelled>, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::cancel(tx, id)).await
    }

    async fn retry(&self, id: JobId) -> Result<Option<Result<Job, Job>>, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::retry(tx, id)).await
    }

    async fn patch(&self, id: JobId, patch: JobPatch) -> Result<Option<Result<Job, Job>>, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::patch(tx, id, patch)).await
    }

    async fn extend(&self, id: JobId, extension: Extension) -> Result<Option<Result<Job, Job>>, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::extend(tx, id, extension)).await
    }

    async fn delete(&self, id: JobId) -> Result<Option<Result<Vec<String>, Job>>, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::delete(tx, id)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.readers.read(move |connection| read::job(connection, id)).await?.map(|(_, job)| job))
    }

    async fn job_and_blobs(&self, id: JobId) -> Result<Option<(Job, Vec<String>)>, StoreError> {
        self.readers.read(move |connection| read::job_and_blobs(connection, id)).await
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>, StoreError> {
        self.readers.read(move |connection| read::list(connection, &filter)).await
    }

    async fn position(&self, id: JobId) -> Result<u64, StoreError> {
        self.readers.read(move |connection| order::position(connection, id)).await
    }

    async fn ahead_of_new(&self, priority: Priority) -> Result<Ahead, StoreError> {
        self.readers.read(move |connection| order::ahead_of_new(connection, priority)).await
    }

    async fn ahead(&self, id: JobId) -> Result<Option<Ahead>, StoreError> {
        self.readers.read(move |connection| order::ahead(connection, id)).await
    }

    async fn standing(&self, id: JobId) -> Result<(Option<Ahead>, QueueMode), StoreError> {
        self.readers.read(move |connection| Ok((order::ahead(connection, id)?, order::mode(connection)?))).await
    }

    async fn ahead_of_all(&self, ids: &[JobId]) -> Result<Vec<Option<Ahead>>, StoreError> {
        let ids = ids.to_owned();
        self.readers.read(move |connection| order::ahead_of_all(connection, &ids)).await
    }

    async fn counts(&self) -> Result<(u64, u64), StoreError> {
        self.readers.read(read::counts).await
    }

    async fn queue(&self) -> Result<QueueOverview, StoreError> {
        self.readers.read(read::queue).await
    }

    async fn events(&self, id: JobId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.readers.read(move |connection| read::events(connection, id, after, limit)).await
    }

    async fn output_blob(&self, id: JobId, name: &str) -> Result<Option<(Output, String)>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |connection| read::output_blob(connection, id, &name)).await
    }

    async fn purged(&self, id: JobId) -> Result<bool, StoreError> {
        self.readers.read(move |connection| retention::purged(connection, id)).await
    }

    async fn claim(&self, worker: &str, lease_ms: i64, want: &ClaimWant) -> Result<Option<Claim>, StoreError> {
        let (worker, want) = (worker.to_owned(), want.clone());
        self.writer.write(WhenFull::Wait, move |tx| attempts::claim(tx, worker, lease_ms, want)).await
    }

    async fn heartbeat(&self, claim: &Claim, progress: Progress, lease_ms: i64) -> Result<LeaseState, StoreError> {
        let claim = claim.clone();
        self.writer.write(WhenFull::Wait, move |tx| attempts::heartbeat(tx, claim, progress, lease_ms)).await
    }

    async fn checkpoint(&self, claim: &Claim, key: &str, bytes: u64) -> Result<Checkpointed, StoreError> {
        let (claim, key) = (claim.clone(), key.to_owned());
        self.writer.write(WhenFull::Wait, move |tx| attempts::checkpoint(tx, claim, key, bytes)).await
    }

    async fn output(&self, claim: &Claim, index: u32, output: NewOutput) -> Result<OutputRecorded, StoreError> {
        let claim = claim.clone();
        self.writer.write(WhenFull::Wait, move |tx| attempts::early_output(tx, claim, index, output)).await
    }

    async fn commit(
        &self,
        claim: &Claim,
        end: AttemptEnd,
        progress: Option<Progress>,
    ) -> Result<Committed, StoreError> {
        let claim = claim.clone();
        self.writer.write(WhenFull::Wait, move |tx| attempts::commit(tx, claim, end, progress)).await
    }

    async fn rescue(&self, all: bool) -> Result<Vec<JobId>, StoreError> {
        self.writer.write(WhenFull::Wait, move |tx| attempts::rescue(tx, all)).await
    }

    async fn expire_due(&self) -> Result<Vec<JobId>, StoreError> {
        self.writer.write(WhenFull::Wait, operations::expire_due).await
    }

    async fn preempted(&self, claim: &Claim) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.writer.write(WhenFull::Refuse, move |tx| attempts::preempted(tx, claim)).await
    }

    async fn log(&self, id: JobId, message: String) -> Result<Event, StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::log(tx, id, message)).await
    }

    async fn queue_mode(&self) -> Result<QueueMode, StoreError> {
        self.readers.read(order::mode).await
    }

    async fn set_queue_mode(&self, mode: QueueMode) -> Result<(), StoreError> {
        self.writer.write(WhenFull::Refuse, move |tx| operations::set_queue_mode(tx, mode)).await
    }

    async fn set_client_limits(&self, client: &str, limits: ClientLimits) -> Result<(), StoreError> {
        let client = client.to_owned();
        self.writer.write(WhenFull::Refuse, move |tx| operations::set_client_limits(tx, client, limits)).await
    }

    async fn model(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.readers.read(move |connection| read::model(connection, &key)).await
    }

    async fn put_model(&self, key: &str, json: String) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.writer.write(WhenFull::Refuse, move |tx| operations::put_model(tx, key, json)).await
    }

    async fn answers(&self, new: &NewJob) -> Result<Vec<(String, u64)>, StoreError> {
        let new = new.clone();
        self.readers.read(move |connection| submit::answers(connection, &new)).await
    }

    async fn answers_no_more(&self, new: &NewJob) -> Result<(), StoreError> {
        let new = new.clone();
        self.writer.write(WhenFull::Refuse, move |tx| submit::answers_no_more(tx, new)).await
    }

    async fn put_asset(&self, sha256: &str, bytes: u64) -> Result<(), StoreError> {
        let sha256 = sha256.to_owned();
        self.writer.write(WhenFull::Refuse, move |tx| retention::put_asset(tx, sha256, bytes)).await
    }

    async fn asset(&self, sha256: &str) -> Result<Option<u64>, StoreError> {
        let sha256 = sha256.to_owned();
        self.readers.read(move |connection| read::asset(connection, &sha256)).await
    }

    async fn unreferenced_assets(&self, unused_ms: i64, limit: u32) -> Result<Vec<(String, u64)>, StoreError> {
        let now_ms = self.now_ms();
        self.readers.read(move |connection| retention::unreferenced_assets(connection, now_ms, unused_ms, limit)).await
    }

    async fn delete_asset(&self, sha256: &str, unused_ms: i64) -> Result<bool, StoreError> {
        let sha256 = sha256.to_owned();
        self.writer.write(WhenFull::Refuse, move |tx| retention::delete_asset(tx, sha256, unused_ms)).await
    }

    async fn blob_keys(&self) -> Result<Vec<String>, StoreError> {
        self.readers.read(retention::blob_keys).await
    }

    async fn unnamed(&self, keys: &[String]) -> Result<Vec<String>, StoreError> {
        let keys = keys.to_owned();
        self.readers.read(move |connection| retention::unnamed(connection, &keys)).await
    }

    async fn purge(&self, retention: &Retention) -> Result<Purged, StoreError> {
        let retention = *retention;
        self.writer.write(WhenFull::Refuse, move |tx| retention::purge(tx, retention)).await
    }

    async fn deliveries_due(&self, per_host: u32, without: &[String]) -> Result<Vec<Delivery>, StoreError> {
        let (now_ms, without) = (self.now_ms(), without.to_owned());
        let due = self.readers.read(move |connection| outbox::due(connection, now_ms, per_host, &without)).await?;
        let (deliveries, unreadable) = due;
        for id in unreadable {
            // Or it would be in the way of those behind it for ever.
            self.delivery_done(id).await?;
        }
        Ok(deliveries)
    }

    async fn delivery_done(&self, id: i64) -> Result<bool, StoreError> {
        self.writer.write(WhenFull::Wait, move |tx| outbox::done(tx, id)).await
    }

    async fn delivery_retry(&self, id: i64, run_at_ms: TimeMs) -> Result<bool, StoreError> {
        self.writer.write(WhenFull::Wait, move |tx| outbox::retry(tx, id, run_at_ms)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.readers.read(read::counts).await.map(drop)
    }

    fn now_ms(&self) -> TimeMs {
        self.clock.wall_ms()
    }

    fn subscribe(&self) -> broadcast::Receiver<(JobId, Event)> {
        self.writer.events.subscribe()
    }

    fn work_notify(&self) -> Arc<Notify> {
        self.writer.work.clone()
    }
}

/// What SQLite said, in the store's own words.
fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly("of the store".into()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(error.to_string()),
        Some(ErrorCode::DiskFull) => {
            StoreError::Full("the store cannot grow; free some space or delete finished jobs".into())
        }
        _ => StoreError::Other(error.to_string()),
    }
}

/// What is kept as JSON.
fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Other(error.to_string()))
}
