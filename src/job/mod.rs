//! What a job is: its states and their legal transitions, its tasks, progress, events, failures. No I/O.
//!
//! Everything else in the crate speaks in these types; this module knows nothing of the rest.

mod fields;
mod options;
mod parse;
mod parse_shader;
mod problem;
mod query;
pub mod shader;
pub mod sidecar;
pub mod spec;
mod tasks;
mod validate;
mod validate_shader;

pub use options::{
    LabelsPatch, OptionsPatch, SpecOptions, Webhook, WebhookEvent, WebhookSecret, parse_timestamp, timestamp,
};
pub use parse::AttachedFiles;
pub use problem::{SpecError, SpecProblem, SpecProblemKind, nearest};
pub use query::{
    LABEL_PREFIX, OPTIONS, OptionKinds, OptionValue, PARAM_PREFIX, SpecOption, document_from_options, option_of,
};
pub use shader::ShaderSpec;
pub use spec::{JobSpec, SceneSpec};
pub use tasks::{TaskKind, TaskPlan};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A job's id: UUID v7 when Kiln makes it, any UUID when a client brings its own.
pub type JobId = uuid::Uuid;

/// Milliseconds since the Unix epoch, by the store's clock.
pub type TimeMs = i64;

/// A job's state, and a task's. See `JobState::may_become` for the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker. Survives a crash as it is.
    Queued,
    /// Leased by a worker. After a crash of that worker it is queued again, or failed if attempts are used up.
    Running,
    /// Ended: every output is on disk and its hash is right.
    Succeeded,
    /// Ended: `error` says why.
    Failed,
    /// Ended on a client's wish.
    Cancelled,
    /// Ended because `start_before` passed while it was queued.
    Expired,
}

impl JobState {
    /// True for the four states that a job ends in.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The legal transitions.
    pub fn may_become(self, next: Self) -> bool {
        use JobState::*;
        matches!(
            (self, next),
            // A queued job succeeds at once where another one with the same content answers for it.
            (Queued, Running | Succeeded | Cancelled | Expired | Failed)
                | (Running, Queued | Succeeded | Failed | Cancelled)
                // A retry; a success becomes queued again where more samples are asked for.
                | (Succeeded | Failed | Cancelled | Expired, Queued)
        )
    }

    /// The word used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The inverse of `as_str`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Expired]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A job's class in the queue. `Interactive` sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody is looking at a screen.
    Interactive,
    /// The default.
    #[default]
    Normal,
    /// Whenever there is time.
    Batch,
}

/// Why a job failed. The first three are its own fault and are never retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The scene file is broken, or asks for something unknown.
    InvalidScene,
    /// The shader does not compile, or is not allowed.
    ShaderError,
    /// A named bound was exceeded.
    LimitExceeded,
    /// The GPU or the process ran out of memory.
    OutOfMemory,
    /// The GPU did not answer in time.
    GpuTimeout,
    /// The driver lost the device.
    DeviceLost,
    /// The GPU process died, or its lease ran out.
    WorkerLost,
    /// The job killed its GPU process too often.
    Quarantined,
    /// A fault of Kiln.
    Internal,
}

/// What the dispatcher does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The job's own fault: fail it now.
    Fail,
    /// A fault of the machine: try again while attempts are left.
    Retry,
}

impl FailureReason {
    /// See [`Disposition`].
    pub fn disposition(self) -> Disposition {
        match self {
            Self::InvalidScene | Self::ShaderError | Self::LimitExceeded | Self::Quarantined => Disposition::Fail,
            Self::OutOfMemory | Self::GpuTimeout | Self::DeviceLost | Self::WorkerLost | Self::Internal => {
                Disposition::Retry
            }
        }
    }
}

/// One thing that is wrong, with its place in the user's own text or file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailureDetail {
    /// `parse`, `validate`, `load`, `build`, `render`, `encode`, …
    pub stage: String,
    /// A sentence: what was found, what was expected.
    pub message: String,
    /// JSON pointer into the glTF file, for scenes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// From 1, for shaders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// From 1, for shaders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The line itself, for shaders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_line: Option<String>,
    /// The included file that it is in, for shaders; `line` is then the line of its `#include`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
}

/// A failure as clients see it (`error` of a job).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class of the failure.
    pub reason: FailureReason,
    /// A sentence that reads well alone.
    pub message: String,
    /// The places, where there are any.
    #[serde(default)]
    pub details: Vec<FailureDetail>,
}

/// What a running task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading and building the scene.
    #[default]
    Loading,
    /// On the device.
    Rendering,
    /// Removing noise.
    Denoising,
    /// Tone mapping and compressing.
    Encoding,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// See [`Phase`].
    pub phase: Phase,
    /// [0, 1] over the whole job.
    pub fraction: f32,
    /// Samples per pixel finished.
    pub samples_done: u32,
    /// Samples per pixel asked for.
    pub samples_total: u32,
    /// Frames finished.
    pub frames_done: u32,
    /// Frames asked for.
    pub frames_total: u32,
    /// Seconds of device time used.
    pub gpu_seconds: f64,
}

/// A finished file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// File name within the job, e.g. `image.png`.
    pub name: String,
    /// MIME type.
    pub media_type: String,
    /// Length.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// A job as the store holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// See [`JobId`].
    pub id: JobId,
    /// Who asked (`"local"` where there are no keys).
    pub client: String,
    /// What was asked for.
    pub spec: JobSpec,
    /// Class in the queue.
    pub priority: Priority,
    /// See [`JobState`].
    pub state: JobState,
    /// Attempts begun, of the task that needed most; 0 before the first.
    pub attempt: u32,
    /// A client asked for cancellation, and the GPU is not free of it yet.
    pub cancel_requested: bool,
    /// When it was accepted.
    pub created_ms: TimeMs,
    /// When the last attempt began.
    pub started_ms: Option<TimeMs>,
    /// Set exactly in terminal states.
    pub ended_ms: Option<TimeMs>,
    /// The client's own labels.
    pub labels: BTreeMap<String, String>,
    /// The last progress that was stored.
    pub progress: Progress,
    /// Outputs, in the order they were made.
    pub outputs: Vec<Output>,
    /// Set exactly in state `failed`.
    pub error: Option<Failure>,
    /// The renderer's report on a finished job: extensions, triangles, rays, NaN count, adapter, driver.
    pub report: Option<serde_json::Value>,
    /// Its outputs are those of another job with the same content, which was not rendered again.
    pub cached: bool,
    /// The queued or running job with the same content that it waits for.
    pub follows: Option<JobId>,
    /// How many of its tasks have succeeded.
    pub tasks: TaskCounts,
}

/// The tasks of a job, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// At least 1.
    pub total: u32,
    /// Their outputs can be downloaded.
    pub succeeded: u32,
}

/// A task that a worker holds: what it needs to run it, and what it must show to commit it.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// Who asked for it.
    pub client: String,
    /// Index of the task in the job; 0 for a still.
    pub task: u32,
    /// The first frame that it makes, as the job document counts them; 0 for a still.
    pub first_frame: u32,
    /// The last one, itself included.
    pub last_frame: u32,
    /// See [`TaskKind`].
    pub kind: TaskKind,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// Rises with every claim of a task of the job, so that it names this attempt within the job. A commit with another fence is
    /// refused.
    pub fence: i64,
    /// What to render.
    pub spec: JobSpec,
    /// The class that it runs as: the job's, or a better one that ageing lifts it to, so that it is not put aside at once for what
    /// it was let in before.
    pub priority: Priority,
    /// GPU processes that died while they held this task.
    pub deaths: u32,
    /// Blob key of the checkpoint that an earlier attempt left.
    pub checkpoint: Option<String>,
}

impl Claim {
    /// What the task is.
    pub fn plan(&self) -> TaskPlan {
        TaskPlan { first_frame: self.first_frame, last_frame: self.last_frame, kind: self.kind }
    }
}

/// When a job is expected to start and end, and what it will take. Times by the store's clock; p50 is as likely early as late, nine
/// of ten jobs are done by their p90.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Seconds on the GPU.
    pub gpu_seconds_p50: f64,
    /// Seconds on the GPU.
    pub gpu_seconds_p90: f64,
    /// Of a running job: when it did start.
    pub start_p50_ms: TimeMs,
    /// See above.
    pub start_p90_ms: TimeMs,
    /// The end of everything: the outputs can be downloaded.
    pub end_p50_ms: TimeMs,
    /// See above.
    pub end_p90_ms: TimeMs,
}

/// Something that happened to a job. `seq` rises by one per job and survives restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// From 1. Events that are not stored (progress, preview) carry the `seq` of the last stored one.
    pub seq: i64,
    /// When.
    pub time_ms: TimeMs,
    /// What.
    pub kind: EventKind,
}

/// What happened. The serialised tag is the SSE event name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum EventKind {
    /// Accepted, or put back in the queue.
    Queued {
        /// How many tasks go before it; counted up to `EVENT_POSITION_MAX`.
        position: u64,
    },
    /// Not stored: its place in the queue, or its expected end, is another one now. Clients see it as `queued` too.
    Waiting {
        /// How many tasks go before it.
        position: u64,
        /// `None` while nobody can say: the queue is held, or there is no GPU.
        estimate: Option<Estimate>,
    },
    /// A worker began an attempt.
    Started {
        /// From 1.
        attempt: u32,
    },
    /// Not stored; at most 4 a second reach a client.
    Progress(Progress),
    /// Not stored: a preview can be fetched that is worth looking at again, with twice the samples of the one before.
    Preview {
        /// Samples per pixel, or frames, in it.
        samples: u32,
    },
    /// A line for the user.
    Log {
        /// The line.
        message: String,
    },
    /// A file is finished.
    Output(Output),
    /// Put aside for a more urgent task.
    Preempted,
    /// The attempt was lost to a fault of the machine.
    Retrying {
        /// Why the last attempt failed.
        reason: FailureReason,
        /// The attempt that comes next.
        attempt: u32,
    },
    /// Cancellation was asked for.
    Cancelling,
    /// The job has ended.
    Ended {
        /// The terminal state.
        state: JobState,
        /// Set in state `failed`.
        reason: Option<FailureReason>,
    },
}

impl EventKind {
    /// The SSE event name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } | Self::Waiting { .. } => "queued",
            Self::Started { .. } => "started",
            Self::Progress(_) => "progress",
            Self::Preview { .. } => "preview",
            Self::Log { .. } => "log",
            Self::Output(_) => "output",
            Self::Preempted => "preempted",
            Self::Retrying { .. } => "retrying",
            Self::Cancelling => "cancelling",
            Self::Ended { .. } => "ended",
        }
    }

    /// False for events that only live subscribers see.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Progress(_) | Self::Preview { .. })
    }
}
