//! What goes into the store and comes out of it, besides jobs. No I/O.

use crate::job::*;
use std::collections::BTreeMap;

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
    /// Estimated GPU seconds of the whole job; brought into (0, `JOB_COST_SECONDS_MAX`]. It decides about the order only: what the job
    /// really used corrects it.
    pub cost_seconds: f64,
    /// Hash of what decides about the job's bytes: its content and the renderer's version. A job of the same client with the same
    /// hash may answer for this one (see [`Submitted`]); `None`, or a spec that does not want reuse: none does.
    pub content: Option<[u8; 32]>,
}

impl NewJob {
    /// A job without an idempotency key, of unknown cost, for which no other one answers.
    pub fn new(id: JobId, client: impl Into<String>, spec: JobSpec) -> Self {
        Self { id, client: client.into(), spec, idempotency: None, cost_seconds: 1.0, content: None }
    }
}

/// What became of an insert.
///
/// Where a job of the same client with the same content has succeeded and its outputs are still there, the new job has succeeded at
/// once with the same blobs ([`Job::cached`]). Where one is queued or running, the new job *follows* it ([`Job::follows`]): it is not
/// claimed, and succeeds together with it. Where the leader ends otherwise, its first follower becomes an ordinary queued job, which
/// leads the rest.
#[allow(clippy::large_enum_variant, reason = "one of them exists at a time, and a box would only be taken apart again")]
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

/// What a queued job that has never started may still change. `None`: it stays as it is.
#[derive(Debug, Clone, Default)]
pub struct JobPatch {
    /// Class in the queue. In another class the job goes behind what the client has there.
    pub priority: Option<Priority>,
    /// The deadline of its start, or `Some(None)` for none.
    pub start_before_ms: Option<Option<TimeMs>>,
    /// The deadline of its end, or `Some(None)` for none.
    pub finish_before_ms: Option<Option<TimeMs>>,
    /// Labels that come, change or go.
    pub labels: Option<LabelsPatch>,
}

/// More samples for a scene job that has succeeded.
#[derive(Debug, Clone)]
pub struct Extension {
    /// Samples per pixel, more than the job had.
    pub samples: u32,
    /// As in [`NewJob`], of what is to be done now.
    pub cost_seconds: f64,
    /// As in [`NewJob`], of the job as it is then.
    pub content: Option<[u8; 32]>,
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

/// What goes before a queued job, by the order as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ahead {
    /// Queued tasks that will be claimed before its first one.
    pub tasks: u64,
    /// Estimated GPU seconds of those tasks, and of what the running tasks of its class and better ones still need.
    pub gpu_seconds: f64,
}

/// Whether work is accepted and handed out. Survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueMode {
    /// Both.
    #[default]
    Open,
    /// Jobs are accepted and wait.
    Paused,
    /// Nothing is handed out, and submits are refused ([`StoreError::Draining`](super::StoreError::Draining)).
    Draining,
}

impl QueueMode {
    /// The word used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }

    /// The inverse of `as_str`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Paused, Self::Draining].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// How much waits and runs, of a class or of a client.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Queued jobs, those that follow another one included.
    pub jobs_queued: u64,
    /// Running jobs.
    pub jobs_running: u64,
    /// Tasks that can be claimed, or will be after the delay of a retry.
    pub tasks_queued: u64,
    /// Tasks that a worker holds.
    pub tasks_running: u64,
    /// Estimated GPU seconds of the queued tasks.
    pub gpu_seconds: f64,
}

/// The whole queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueOverview {
    /// See [`QueueMode`].
    pub mode: QueueMode,
    /// Every class, best first.
    pub classes: Vec<(Priority, Load)>,
    /// Clients that have something queued or running, those with most queued GPU seconds first; at most `QUEUE_CLIENTS_MAX`.
    pub clients: Vec<(String, Load)>,
}

/// A client's share and bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientLimits {
    /// Its share of GPU seconds relative to other clients; above 0, 1 for everybody who was never set.
    pub weight: f64,
    /// Tasks that it may have running at once; `None`: any number.
    pub tasks_running_max: Option<u32>,
    /// Jobs that it may have queued at once; `None`: any number.
    pub jobs_queued_max: Option<u64>,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { weight: 1.0, tasks_running_max: None, jobs_queued_max: None }
    }
}

/// What a worker wants to claim.
#[derive(Debug, Clone, Default)]
pub struct ClaimWant {
    /// Only tasks of a better class than this one: the worker is busy, and would put something aside for it.
    pub better_than: Option<Priority>,
    /// Assets (as in the job document, `sha256:…`) that are on the GPU already: within a small window, a job that starts with one of
    /// them is preferred.
    pub resident: Vec<String>,
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
    /// Put back without fault (drain, shutdown): the attempt does not count.
    Released,
    /// Put aside for a more urgent task: the attempt does not count, and a `Preempted` event tells of it.
    Preempted {
        /// Blob key of a checkpoint that is on disk; `None`: the last one that was recorded stands.
        checkpoint: Option<String>,
    },
}

/// What became of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpointed {
    /// It is the task's checkpoint now. The key of the one before it, whose blob nothing names any more.
    Recorded {
        /// See above.
        replaced: Option<String>,
    },
    /// Somebody else has the task: the new blob is wanted by nobody.
    Stale,
}

/// What became of an output of a task that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputRecorded {
    /// It can be downloaded. The keys of blobs that it replaces, which nothing names any more.
    Done {
        /// See above.
        replaced: Vec<String>,
    },
    /// Somebody else has the task: the new blob is wanted by nobody.
    Stale,
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
    /// The job as it is now (ended, running on with its other tasks, or queued again).
    Done(Job),
    /// The fence was old; nothing was changed.
    Stale,
}

/// A message of the outbox that is due. It says what was true when it was written, whatever became of its job since.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Names it; rises with every message, and never comes again.
    pub id: i64,
    /// The job that it is about.
    pub job: JobId,
    /// What happened.
    pub event: Event,
    /// The job's labels.
    pub labels: BTreeMap<String, String>,
    /// Where to.
    pub url: String,
    /// See [`Webhook::host`].
    pub host: String,
    /// Signs it.
    pub secret: Option<WebhookSecret>,
    /// Tries so far.
    pub attempt: u32,
    /// After this moment it is not tried again.
    pub give_up_ms: TimeMs,
}

/// What may be forgotten. `None`: nothing of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds after its end that a job is kept, with its events and outputs.
    pub jobs_age_ms: Option<i64>,
    /// Bytes that the outputs of all jobs may have together; beyond them, jobs that ended longest ago go first.
    pub outputs_bytes_max: Option<u64>,
    /// Milliseconds after the end of a job that its events are kept. The last one is kept as long as the job.
    pub events_age_ms: Option<i64>,
    /// Bytes that the checkpoints of ended jobs may have together; beyond them, those of jobs that ended longest ago go first.
    pub checkpoints_bytes_max: Option<u64>,
    /// Milliseconds that the id of a purged job is remembered.
    pub tombstones_age_ms: Option<i64>,
    /// Jobs that one call goes through at most.
    pub limit: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            jobs_age_ms: None,
            outputs_bytes_max: None,
            events_age_ms: None,
            checkpoints_bytes_max: None,
            tombstones_age_ms: None,
            limit: crate::limits::PURGE_JOBS_MAX,
        }
    }
}

/// What was forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Jobs that are gone.
    pub jobs: Vec<JobId>,
    /// Keys of blobs that nothing names any more, to be deleted by the caller.
    pub blobs: Vec<String>,
    /// Events that are gone, without those of purged jobs.
    pub events: u64,
    /// True: there is more to forget, and another call goes on with it.
    pub more: bool,
}
