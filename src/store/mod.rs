//! The durable queue: [`JobStore`], the only module that knows SQL.
//!
//! Every call that changes something returns after the change is on disk. Every change of a job's state is one
//! compare-and-swap (invariant 4). SQLite is the first implementation, PostgreSQL will be the second.

use crate::job::*;
use async_trait::async_trait;

pub mod sqlite;

/// A new job, ready to be inserted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Who asks.
    pub client: String,
    /// What for.
    pub spec: JobSpec,
    /// `Idempotency-Key`, with the hash of the request that came with it.
    pub idempotency: Option<(String, [u8; 32])>,
}

/// What became of an insert.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// It is new and on disk.
    Created(Job),
    /// The same id (or idempotency key) with the same request is there already.
    Existing(Job),
    /// The same id or key is there with another request.
    Conflict(JobId),
}

/// What became of a cancel.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// It was queued, and is cancelled now.
    Now(Job),
    /// It runs; `cancel_requested` is set. The worker learns of it with its next heartbeat or at once through the hub.
    Requested(Job),
    /// It had ended already (which includes `cancelled`).
    AlreadyEnded(Job),
}

/// Filter of a list.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Only this client's jobs.
    pub client: Option<String>,
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only this kind (`scene`).
    pub kind: Option<String>,
    /// Only jobs that carry this label with this value.
    pub label: Option<(String, String)>,
    /// Only jobs before this one in (created, id) order, newest first.
    pub before: Option<(TimeMs, JobId)>,
    /// At most this many.
    pub limit: u32,
}

/// An output that is ready to be committed: its blob is already written and fsynced.
#[derive(Debug, Clone)]
pub struct NewOutput {
    /// As clients see it.
    pub output: Output,
    /// Key in the blob store.
    pub blob: String,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum AttemptEnd {
    /// With these outputs and this report.
    Succeeded {
        /// In order.
        outputs: Vec<NewOutput>,
        /// See [`Job::report`].
        report: serde_json::Value,
    },
    /// The GPU is free of it after a cancel.
    Cancelled,
    /// With a failure. The store retries or fails the job by `FailureReason::disposition`, `ATTEMPTS_MAX` and
    /// `GPU_PROCESS_DEATHS_MAX` (a `WorkerLost` counts as a death).
    Failed(Failure),
    /// Put back without fault (drain, shutdown, preemption): the attempt does not count.
    Released,
}

/// What a heartbeat brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Go on.
    Held,
    /// Stop, then commit `AttemptEnd::Cancelled`.
    CancelRequested,
    /// Somebody else has it: stop, commit nothing.
    Lost,
}

/// What a commit did.
#[allow(clippy::large_enum_variant, reason = "one of them exists at a time, and a box would only be taken apart again")]
#[derive(Debug, Clone)]
pub enum Committed {
    /// The job as it is now (ended, or queued again).
    Done(Job),
    /// The fence was old; nothing was changed.
    Stale,
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data folder open.
    #[error("the data folder {0} is in use by another kiln server")]
    InUse(String),
    /// Its schema is from a newer version.
    #[error(
        "the store was written by a newer version of kiln (schema {found}, this version knows {known}); use that version"
    )]
    Newer {
        /// In the store.
        found: i64,
        /// In this binary.
        known: i64,
    },
    /// No space left.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The data folder cannot be written.
    #[error("the data folder {0} cannot be written; give kiln's user the right to, or choose another with --data")]
    ReadOnly(String),
    /// There is no such job.
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// Too many operations wait.
    #[error("the store is overloaded: {0} operations wait")]
    Overloaded(usize),
    /// `JOBS_QUEUED_MAX` reached.
    #[error("the queue is full: {0} jobs wait")]
    QueueFull(u64),
    /// A row that cannot be read.
    #[error("a row in the store cannot be read: {0}")]
    Corrupt(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Other(String),
}

/// The durable queue. All methods are safe to call twice.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Inserts a job with its one task (queued) and its first event.
    async fn submit(&self, job: NewJob) -> Result<Submitted, StoreError>;
    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError>;
    /// Newest first.
    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>, StoreError>;
    /// How many tasks will be claimed before this one; 0 for the head of the queue and for anything not queued.
    async fn position(&self, id: JobId) -> Result<u64, StoreError>;
    /// Queued jobs, running jobs.
    async fn counts(&self) -> Result<(u64, u64), StoreError>;
    /// Asks for cancellation. `None`: no such job.
    async fn cancel(&self, id: JobId) -> Result<Option<Cancelled>, StoreError>;
    /// failed, cancelled or expired → queued. `Err(job)` inside: it was in another state.
    async fn retry(&self, id: JobId) -> Result<Option<Result<Job, Job>>, StoreError>;
    /// Forgets an ended job, its events and outputs; returns the blob keys that nothing names any more.
    /// `Err(job)` inside: it has not ended.
    async fn delete(&self, id: JobId) -> Result<Option<Result<Vec<String>, Job>>, StoreError>;
    /// Takes the best queued task whose `run_at` has come, for `lease_ms` milliseconds.
    async fn claim(&self, worker: &str, lease_ms: i64) -> Result<Option<Claim>, StoreError>;
    /// Renews a lease and stores progress.
    async fn heartbeat(&self, claim: &Claim, progress: Progress, lease_ms: i64) -> Result<LeaseState, StoreError>;
    /// Ends an attempt: one transaction, compare-and-swap on (state, attempt, fence).
    async fn commit(&self, claim: &Claim, end: AttemptEnd) -> Result<Committed, StoreError>;
    /// Requeues tasks whose lease ran out; with `all`, every running task (a single node at its start).
    async fn rescue(&self, all: bool) -> Result<Vec<JobId>, StoreError>;
    /// Appends a `Log` event.
    async fn log(&self, id: JobId, message: String) -> Result<Event, StoreError>;
    /// Stored events with `seq` > `after`, oldest first, at most `limit`.
    async fn events(&self, id: JobId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError>;
    /// The blob key of an output.
    async fn output_blob(&self, id: JobId, name: &str) -> Result<Option<(Output, String)>, StoreError>;
    /// Records an asset whose blob is on disk.
    async fn put_asset(&self, sha256: &str, bytes: u64) -> Result<(), StoreError>;
    /// Length of an asset.
    async fn asset(&self, sha256: &str) -> Result<Option<u64>, StoreError>;
    /// Blob keys that rows name, for the collection of orphans.
    async fn blob_keys(&self) -> Result<Vec<String>, StoreError>;
    /// A cheap query that proves that the store answers, for `/readyz`.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Subscribes to every stored event of every job as it is committed. Lagging subscribers resume from the store.
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<(JobId, Event)>;
    /// Notified when something becomes claimable.
    fn work_notify(&self) -> std::sync::Arc<tokio::sync::Notify>;
}
