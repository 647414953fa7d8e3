//! The device thread: the only thread that touches `wgpu::Device` and `Queue`, and the handle that everybody else holds.
//!
//! It runs [`SliceWork`] slice by slice. Between two slices it takes commands, looks at cancellation and picks the most urgent work.

mod adapter;
mod context;
mod fault;
mod kernels;
mod memory;
mod thread;

pub use adapter::{AdapterSelector, adapters};
pub use context::GpuContext;
pub use kernels::{Kernel, KernelKey, KernelSource, Kernels};
pub use memory::{GpuBuffer, MemoryLedger};
pub use thread::{DeviceHandle, DeviceThread, WorkId};

use crate::job::Priority;

/// What a slice came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SliceOutcome {
    /// Call again.
    More,
    /// Finished: the work is dropped on the device thread, after its last callback.
    Done,
}

/// Work in slices. Created on another thread, moved to the device thread, run and dropped there.
pub trait SliceWork: Send {
    /// For logs and labels.
    fn label(&self) -> &str;
    /// Class; the lowest runs first at every slice boundary, FIFO within a class.
    fn priority(&self) -> Priority;
    /// Runs one bounded slice and returns when the GPU has finished it (two submissions in flight at most).
    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError>;
    /// Called at a slice boundary when somebody wants to see the work so far (see [`DeviceHandle::preview`]).
    fn preview(&mut self, gpu: &GpuContext<'_>) -> Result<(), DeviceError>;
    /// True when it should be dropped without finishing.
    fn cancelled(&self) -> bool;
    /// Called once instead of further slices when it was cancelled or failed.
    fn abandon(&mut self, why: Abandoned);
}

/// Why work was dropped.
#[derive(Debug, Clone)]
pub enum Abandoned {
    /// `SliceWork::cancelled` said so.
    Cancelled,
    /// The device failed.
    Failed(DeviceError),
}

/// Faults of the GPU.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// No adapter.
    #[error("no GPU adapter was found: {0}")]
    NoAdapter(String),
    /// Out of device memory.
    #[error("the GPU ran out of memory: {0}")]
    OutOfMemory(String),
    /// More than this adapter can ever bind; another attempt would end the same.
    #[error("the job is too large for this GPU: {0}")]
    Limit(String),
    /// Device lost.
    #[error("the driver lost the GPU device: {0}")]
    Lost(String),
    /// It did not answer.
    #[error("the GPU did not finish within {0} ms")]
    Timeout(u64),
    /// A mistake of ours that wgpu's validation found.
    #[error("the GPU refused the work: {0}")]
    Validation(String),
    /// The device thread has ended, or the work itself panicked on it.
    #[error("the work on the device thread stopped: {0}")]
    Stopped(String),
}
