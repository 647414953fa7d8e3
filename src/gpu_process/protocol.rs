//! What the front end and the GPU process say to each other over the child's stdin and stdout.
//!
//! Frames: u32 little-endian length, then postcard, at most `PIPE_FRAME_BYTES_MAX`. Pictures never travel in frames: they are files
//! in the spool folder. Specs travel as JSON, since postcard cannot carry untagged enums.

use crate::job::{Failure, JobId, Output, Priority, Progress, TaskKind, TaskPlan};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Names an attempt of a task on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The job.
    pub job: JobId,
    /// See `Claim::fence`.
    pub fence: i64,
}

/// Front end → GPU process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Start working on a task. The process loads it while another one is on the device.
    Run(RunTask),
    /// Stop; answered by `Reply::Ended` when the GPU is free of it.
    Cancel(TaskKey),
    /// Write a picture of the film as it is now to this path (PNG); answered by `Reply::Preview` or, when it is too early, not at all.
    Preview {
        /// Which task.
        task: TaskKey,
        /// Where to.
        path: PathBuf,
    },
    /// Leave the device at the next slice boundary and end, with a checkpoint of what is done (`Reply::Checkpoint`, before
    /// `Reply::Ended`). What has left the device already is finished instead.
    PutAside(TaskKey),
    /// Finish nothing more; exit.
    Shutdown,
}

/// See [`Command::Run`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunTask {
    /// Which.
    pub task: TaskKey,
    /// Whose it is: nothing that is kept of a task may serve another client's.
    pub client: String,
    /// `JobSpec` as JSON.
    pub spec_json: String,
    /// Asset reference (`sha256:…`) → local file.
    pub assets: Vec<(String, PathBuf)>,
    /// Existing folder for this attempt's outputs.
    pub output_dir: PathBuf,
    /// Class: the device thread prefers the lower one at every slice boundary.
    pub priority: Priority,
    /// Which frames of the job, and what to do with them.
    pub plan: TaskPlan,
    /// The frames that an assembling task puts together, in their order.
    pub frames: Vec<PathBuf>,
    /// Where an earlier attempt stopped.
    pub checkpoint: Option<PathBuf>,
    /// Milliseconds of work on the device between two checkpoints; 0 for none, neither then nor at the end.
    pub checkpoint_ms: u64,
}

impl RunTask {
    /// A task of a still, without an earlier attempt and without checkpoints.
    pub fn still(task: TaskKey, spec_json: String, assets: Vec<(String, PathBuf)>, output_dir: PathBuf) -> Self {
        Self {
            task,
            client: "local".to_owned(),
            spec_json,
            assets,
            output_dir,
            priority: Priority::default(),
            plan: TaskPlan { first_frame: 0, last_frame: 0, kind: TaskKind::Frames },
            frames: Vec::new(),
            checkpoint: None,
            checkpoint_ms: 0,
        }
    }
}

/// GPU process → front end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// The device is open and has rendered the canary right. First message after start.
    Ready {
        /// What it is.
        adapter: AdapterReport,
        /// Seconds that the canary took, the compilation of its kernels included.
        canary_seconds: f64,
    },
    /// The process has grown too large, or holds what only its end gives back, and wants to be replaced by a fresh one. Once.
    Recycle {
        /// A sentence for the operator.
        why: String,
    },
    /// The process cannot work at all (no adapter, say). Last message before exit.
    Fatal {
        /// A sentence for the operator.
        message: String,
    },
    /// Every `HEARTBEAT_MS`.
    Heartbeat {
        /// Milliseconds since the device thread last showed life; 0 when it idles.
        device_silent_ms: u64,
        /// Device seconds used since start.
        gpu_seconds: f64,
        /// Bytes on the device by the ledger.
        gpu_bytes: u64,
        /// Bytes of the process that are in memory; 0 where the system does not say.
        process_bytes: u64,
    },
    /// At most 4 a second a task.
    Progress {
        /// Which.
        task: TaskKey,
        /// How far.
        progress: Progress,
    },
    /// The device is done with this task and could take another (encoding may go on).
    DeviceFree {
        /// Which.
        task: TaskKey,
    },
    /// A file of a task that goes on is written (not yet fsynced) in `output_dir`. A courtesy: [`TaskEnd::Succeeded`] names it again.
    Output {
        /// Which.
        task: TaskKey,
        /// Its place among the task's outputs, from 0.
        index: u32,
        /// The file.
        output: Output,
    },
    /// A line for the user.
    Log {
        /// Which.
        task: TaskKey,
        /// The line.
        message: String,
    },
    /// Answer to `Command::Preview`: the file is complete.
    Preview {
        /// Which.
        task: TaskKey,
        /// Where.
        path: PathBuf,
        /// Samples per pixel in it.
        samples: u32,
    },
    /// A state to go on from is written, as a file that is the front end's from now on.
    Checkpoint {
        /// Which.
        task: TaskKey,
        /// Where.
        path: PathBuf,
    },
    /// Work of a more urgent class took the device from it; it goes on by itself.
    Preempted {
        /// Which.
        task: TaskKey,
    },
    /// What stays in the process for the next task that uses it has changed.
    Resident {
        /// Asset references, the most recently used first.
        assets: Vec<String>,
    },
    /// Answer to `Command::Shutdown`. Last message before exit.
    Leaving,
    /// The last message about a task.
    Ended {
        /// Which.
        task: TaskKey,
        /// How.
        result: TaskEnd,
    },
}

/// How a task ended in the GPU process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TaskEnd {
    /// Files are written (not yet fsynced) in `output_dir` under their names.
    Succeeded {
        /// In order.
        outputs: Vec<Output>,
        /// `Job::report` as JSON.
        report_json: String,
    },
    /// After `Command::Cancel`.
    Cancelled,
    /// After `Command::PutAside`.
    PutAside,
    /// Typed.
    Failed(#[serde(with = "as_json")] Failure),
}

/// For types whose fields are left out when they are absent, which JSON can carry and postcard cannot.
mod as_json {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

    pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let json = String::deserialize(deserializer)?;
        serde_json::from_str(&json).map_err(serde::de::Error::custom)
    }
}

/// What the adapter is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AdapterReport {
    /// E.g. `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// `cpu`, `integrated`, `discrete`, `virtual`, `other`.
    pub device_type: String,
    /// True for llvmpipe, WARP and their like.
    pub software: bool,
    /// `max_storage_buffer_binding_size`.
    pub storage_binding_bytes_max: u64,
    /// `max_buffer_size`.
    pub buffer_bytes_max: u64,
    /// Bytes of its own memory, where the driver says; for a software adapter none.
    pub memory_bytes: Option<u64>,
    /// Bytes that all work may have on it together; 0 while it is not open.
    pub budget_bytes: u64,
    /// What shader jobs may count on.
    pub compute: ComputeReport,
}

/// What an adapter offers to compute shaders that clients wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ComputeReport {
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations of one workgroup.
    pub workgroup_invocations: u32,
    /// Invocations of one workgroup along each axis.
    pub workgroup_size: [u32; 3],
    /// Texels along one side of a texture.
    pub texture_side_texels: u32,
    /// It has subgroup operations.
    pub subgroups: bool,
    /// It has 16-bit floats.
    pub shader_f16: bool,
    /// It filters textures of 32-bit floats.
    pub float32_filterable: bool,
}
