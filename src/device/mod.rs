//! The device thread: the only thread that touches `wgpu::Device` and `Queue`, and the handle that everybody else holds.
//!
//! It runs [`SliceWork`] slice by slice. Between two slices it takes commands, looks at cancellation and picks the most urgent work.
//!
//! **Memory.** Every buffer is in the [`MemoryLedger`], and the device has a budget. Before a work's first slice the thread makes room for
//! what the work says it needs: first it drops buffers that were only kept for their content ([`GpuContext::resident`]), then it asks less
//! urgent works to leave ([`SliceWork::evict`]): those keep their state in host memory and go on by themselves when their turn comes.

mod adapter;
mod context;
mod fault;
mod kernels;
mod locals;
mod memory;
mod resident;
mod thread;

pub use adapter::{AdapterSelector, adapters};
pub use context::GpuContext;
pub use kernels::{Kernel, KernelKey, KernelSource, Kernels};
pub use memory::{GpuBuffer, GpuTexture, MemoryLedger, system_memory_bytes};
pub use resident::BufferGroup;
pub use thread::{DeviceHandle, DeviceThread, WorkId};

use crate::job::Priority;

/// What a slice came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SliceOutcome {
    /// Call again.
    More,
    /// It did nothing, since it waits for somebody else (an encoder that is behind): other work may go first, whatever its class. It is called
    /// again after theirs, or in a little while.
    Blocked,
    /// Finished: the work is dropped on the device thread, after its last callback.
    Done,
}

/// Work in slices. Created on another thread, moved to the device thread, run and dropped there.
pub trait SliceWork: Send {
    /// For logs and labels.
    fn label(&self) -> &str;
    /// Class; the lowest runs first at every slice boundary, FIFO within a class.
    fn priority(&self) -> Priority;
    /// Runs one bounded slice and returns when the GPU has finished it (two batches in flight at most). Never waits for anything else.
    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError>;
    /// Called at a slice boundary when somebody wants to see the work so far (see [`DeviceHandle::preview`]). False: there is nothing to see
    /// yet, and the next slice boundary asks again. A courtesy: where it fails, and the device goes on, so does the work.
    fn preview(&mut self, _gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        Ok(true)
    }
    /// True when it should be dropped without finishing.
    fn cancelled(&self) -> bool {
        false
    }
    /// Called once instead of further slices when it was cancelled or failed.
    fn abandon(&mut self, why: Abandoned);
    /// Bytes that the next slice will allocate on the device before it can work; 0 while the work has what it needs.
    fn bytes_wanted(&self, _gpu: &GpuContext<'_>) -> u64 {
        0
    }
    /// Called at a slice boundary when more urgent work needs the memory: keeps the state in host memory, frees every buffer, and goes on
    /// from there with its next slice, which [`Self::bytes_wanted`] announces. False where it cannot; then nothing has changed.
    fn evict(&mut self, _gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        Ok(false)
    }
    /// True when it should leave the device for good at the next slice boundary, with its state told to whoever started it.
    fn put_aside_wanted(&self) -> bool {
        false
    }
    /// Called once instead of further slices after [`Self::put_aside_wanted`]; the work is dropped afterwards.
    fn put_aside(&mut self, _gpu: &GpuContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    /// Called when work of a more urgent class takes the device from it, once each time.
    fn preempted(&mut self) {}
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
