//! The durable queue: [`JobStore`], the only module that knows SQL.
//!
//! Every call that changes something returns after the change is on disk. Every change of a job's state is one
//! compare-and-swap (invariant 4). SQLite is the first implementation, PostgreSQL will be the second; the conformance suite in
//! `tests/it/store` says what both must do.
//!
//! # The order of claims
//!
//! *Class first*: interactive, normal, batch. A lower class that has been passed over for `AGEING_NORMAL_MS` or `AGEING_BATCH_MS`
//! gets one task in before the better ones, at their priority, and then waits anew. *Inside a class*, start-time fair queueing over
//! clients (Goyal, Vin, Cheng 1996, "Start-time Fair Queueing", section 2): the client whose virtual time is least goes next, and a
//! task moves it on by its GPU seconds divided by the client's weight: the estimate when it is claimed, corrected to what it used
//! when it ends. A client that comes back from having nothing queued starts at the class's virtual time, so that idleness earns
//! nothing. *Inside a client*, first come, first served. Among the first `RESIDENT_WINDOW_TASKS` tasks one whose scene is on the GPU
//! already is preferred, at most `RESIDENT_PASSES_MAX` times over the same head.
//!
//! So the wait is bounded. A task with `k` tasks before it in its class waits for at most `k + 1` ageing periods and as many of the
//! longest tasks; `k` is bounded by its own client's queue and by what the others may use while its client uses as much.

mod types;

pub mod sqlite;

pub use types::*;

use crate::job::*;
use async_trait::async_trait;

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
    /// Another program holds a lock on the store for too long.
    #[error("the store is locked by another program (a backup?); try again once it is done")]
    Busy,
    /// `JOBS_QUEUED_MAX` reached.
    #[error("the queue is full: {0} jobs wait")]
    QueueFull(u64),
    /// [`ClientLimits::jobs_queued_max`] reached.
    #[error(
        "the client {client:?} has {queued} jobs in the queue, and may have {queued_max}; wait for some of them to end"
    )]
    Quota {
        /// Who.
        client: String,
        /// Its queued jobs.
        queued: u64,
        /// How many it may have.
        queued_max: u64,
    },
    /// See [`QueueMode::Draining`].
    #[error("the server is draining: it takes no more work")]
    Draining,
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
    // What clients do.

    /// Inserts a job with its tasks and its first event.
    async fn submit(&self, job: NewJob) -> Result<Submitted, StoreError>;
    /// What [`JobStore::submit`] would answer because the same request, or the same id or key, was here before; `None` where it would
    /// make a job. For callers that would refuse a new job, but not a repetition.
    async fn submitted_before(&self, job: NewJob) -> Result<Option<Submitted>, StoreError>;
    /// Blob keys and lengths of the outputs with which a finished job would answer for this one at once; empty where none would. Whoever
    /// submits makes sure first that those bytes are there.
    async fn answers(&self, job: &NewJob) -> Result<Vec<(String, u64)>, StoreError>;
    /// The finished jobs that would answer for this one do so no more: some of their bytes are lost.
    async fn answers_no_more(&self, job: &NewJob) -> Result<(), StoreError>;
    /// Asks for cancellation. `None`: no such job.
    async fn cancel(&self, id: JobId) -> Result<Option<Cancelled>, StoreError>;
    /// failed, cancelled or expired → queued, with the tasks that have not succeeded. `Err(job)` inside: it was in another state.
    async fn retry(&self, id: JobId) -> Result<Option<Result<Job, Job>>, StoreError>;
    /// Changes a job that is queued and has never started. `Err(job)` inside: it has, or has ended.
    async fn patch(&self, id: JobId, patch: JobPatch) -> Result<Option<Result<Job, Job>>, StoreError>;
    /// succeeded → queued with more samples; its outputs stay until new ones replace them, and its last checkpoint is where it goes
    /// on. `Err(job)` inside: it has not succeeded, is no scene, or has as many samples already.
    async fn extend(&self, id: JobId, extension: Extension) -> Result<Option<Result<Job, Job>>, StoreError>;
    /// Forgets an ended job, its events and outputs; returns the blob keys that nothing names any more.
    /// `Err(job)` inside: it has not ended.
    async fn delete(&self, id: JobId) -> Result<Option<Result<Vec<String>, Job>>, StoreError>;

    // What can be seen.

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError>;
    /// One job, with the blob keys of its outputs in their order.
    async fn job_and_blobs(&self, id: JobId) -> Result<Option<(Job, Vec<String>)>, StoreError>;
    /// Newest first.
    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>, StoreError>;
    /// How many tasks will be claimed before this one; 0 for the head of the queue and for anything not queued.
    async fn position(&self, id: JobId) -> Result<u64, StoreError>;
    /// What would go before a new job of this class, as for a client of whom nothing else is queued last.
    async fn ahead_of_new(&self, priority: Priority) -> Result<Ahead, StoreError>;
    /// What goes before a queued job, or before the job that it follows; `None` for anything not queued.
    async fn ahead(&self, id: JobId) -> Result<Option<Ahead>, StoreError>;
    /// The same, and whether anything is handed out at all, in one look.
    async fn standing(&self, id: JobId) -> Result<(Option<Ahead>, QueueMode), StoreError>;
    /// [`JobStore::ahead`] for a page of a list, each costing far less than one [`JobStore::ahead`]; in the order of `ids`.
    async fn ahead_of_all(&self, ids: &[JobId]) -> Result<Vec<Option<Ahead>>, StoreError>;
    /// Queued jobs, running jobs.
    async fn counts(&self) -> Result<(u64, u64), StoreError>;
    /// The queue by class and by client.
    async fn queue(&self) -> Result<QueueOverview, StoreError>;
    /// Stored events with `seq` > `after`, oldest first, at most `limit`.
    async fn events(&self, id: JobId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError>;
    /// The blob key of an output.
    async fn output_blob(&self, id: JobId, name: &str) -> Result<Option<(Output, String)>, StoreError>;
    /// True: there was such a job, and [`JobStore::purge`] has forgotten it.
    async fn purged(&self, id: JobId) -> Result<bool, StoreError>;

    // What workers do.

    /// Takes the best queued task whose `run_at` has come, for `lease_ms` milliseconds.
    async fn claim(&self, worker: &str, lease_ms: i64, want: &ClaimWant) -> Result<Option<Claim>, StoreError>;
    /// Renews a lease and stores progress. `progress.gpu_seconds` counts from the beginning of this attempt; the store adds up.
    async fn heartbeat(&self, claim: &Claim, progress: Progress, lease_ms: i64) -> Result<LeaseState, StoreError>;
    /// Records a checkpoint, whose blob is on disk, under the fence. It is named by [`JobStore::blob_keys`] until another one
    /// replaces it, or the task ends in another way than success.
    async fn checkpoint(&self, claim: &Claim, key: &str, bytes: u64) -> Result<Checkpointed, StoreError>;
    /// Records the output with this index of a task that goes on, whose blob is on disk, under the fence. The same output in the commit
    /// changes nothing.
    async fn output(&self, claim: &Claim, index: u32, output: NewOutput) -> Result<OutputRecorded, StoreError>;
    /// Ends an attempt: one transaction, compare-and-swap on (state, attempt, fence). A success commits the task's outputs at once; a
    /// job of several tasks succeeds with the last of them, and fails with the first that fails for good. `progress` as for
    /// [`JobStore::heartbeat`], where there is news since the last one.
    async fn commit(&self, claim: &Claim, end: AttemptEnd, progress: Option<Progress>)
    -> Result<Committed, StoreError>;
    /// Requeues tasks whose lease ran out; with `all`, every running task (a single node at its start). The jobs, each once.
    async fn rescue(&self, all: bool) -> Result<Vec<JobId>, StoreError>;
    /// Ends queued jobs whose `start_before` has passed.
    async fn expire_due(&self) -> Result<Vec<JobId>, StoreError>;
    /// Appends a `Preempted` event, if the claim still holds its task, which goes on.
    async fn preempted(&self, claim: &Claim) -> Result<(), StoreError>;
    /// Appends a `Log` event.
    async fn log(&self, id: JobId, message: String) -> Result<Event, StoreError>;

    // What operators do.

    /// See [`QueueMode`].
    async fn queue_mode(&self) -> Result<QueueMode, StoreError>;
    /// Changes it, durably.
    async fn set_queue_mode(&self, mode: QueueMode) -> Result<(), StoreError>;
    /// Sets a client's share and bounds, for what is submitted from now on. The client need not have been here before.
    async fn set_client_limits(&self, client: &str, limits: ClientLimits) -> Result<(), StoreError>;
    /// What was remembered under a key by [`JobStore::put_model`]: the state of a cost model, as JSON.
    async fn model(&self, key: &str) -> Result<Option<String>, StoreError>;
    /// Remembers it.
    async fn put_model(&self, key: &str, json: String) -> Result<(), StoreError>;

    // Assets, blobs and what is forgotten.

    /// Records an asset whose blob is on disk, and that it was used just now.
    async fn put_asset(&self, sha256: &str, bytes: u64) -> Result<(), StoreError>;
    /// Length of an asset.
    async fn asset(&self, sha256: &str) -> Result<Option<u64>, StoreError>;
    /// Assets that no job in the store reads and that were last uploaded more than `unused_ms` ago: SHA-256 and bytes, oldest first.
    async fn unreferenced_assets(&self, unused_ms: i64, limit: u32) -> Result<Vec<(String, u64)>, StoreError>;
    /// Forgets an asset if that is still true of it; then its blob may be deleted. False: it stays.
    async fn delete_asset(&self, sha256: &str, unused_ms: i64) -> Result<bool, StoreError>;
    /// Blob keys that rows name, for the collection of orphans.
    async fn blob_keys(&self) -> Result<Vec<String>, StoreError>;
    /// Those of these blob keys that no row names.
    async fn unnamed(&self, keys: &[String]) -> Result<Vec<String>, StoreError>;
    /// Forgets what is too old or too much, oldest first; never what is queued or running, what a webhook has still to be told of, or
    /// whose idempotency key was used less than `IDEMPOTENCY_KEEP_MS` before.
    async fn purge(&self, retention: &Retention) -> Result<Purged, StoreError>;

    // The outbox of webhooks, which is written in the transaction that writes the event.

    /// Messages that are due, oldest first: at most so many to one host, none to these hosts, and `WEBHOOK_DELIVERIES_MAX` at once.
    async fn deliveries_due(&self, per_host: u32, without: &[String]) -> Result<Vec<Delivery>, StoreError>;
    /// It was delivered, or given up: forgets it. False: it was forgotten already.
    async fn delivery_done(&self, id: i64) -> Result<bool, StoreError>;
    /// It was not delivered, and is to be tried again at this moment.
    async fn delivery_retry(&self, id: i64, run_at_ms: TimeMs) -> Result<bool, StoreError>;

    /// A cheap query that proves that the store answers, for `/readyz`.
    async fn ping(&self) -> Result<(), StoreError>;
    /// The store's clock, by which all its times are meant.
    fn now_ms(&self) -> TimeMs;
    /// Subscribes to every stored event of every job as it is committed. Lagging subscribers resume from the store.
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<(JobId, Event)>;
    /// Notified when something becomes claimable.
    fn work_notify(&self) -> std::sync::Arc<tokio::sync::Notify>;
}
