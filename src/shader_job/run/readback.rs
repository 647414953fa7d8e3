//! The ring of buffers through which frames come back to the host while the device works on the next ones. Device thread only.

use crate::device::{DeviceError, GpuBuffer, GpuContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const PENDING: u8 = 0;
const MAPPED: u8 = 1;
const REFUSED: u8 = 2;

/// One buffer of the ring.
pub struct Slot {
    buffer: GpuBuffer,
    state: Arc<AtomicU8>,
}

impl Slot {
    /// Where the device copies to, before [`Self::map`].
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Asks for the bytes; to be called after the copy was submitted.
    pub fn map(&self) {
        self.state.store(PENDING, Ordering::Relaxed);
        let state = Arc::clone(&self.state);
        self.buffer.map_async(wgpu::MapMode::Read, .., move |mapped| {
            state.store(if mapped.is_ok() { MAPPED } else { REFUSED }, Ordering::Release);
        });
    }

    /// Lends the bytes, once the submission was waited for, and gives the buffer back to the device.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] where they did not come.
    pub fn take<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T, DeviceError> {
        if self.state.load(Ordering::Acquire) != MAPPED {
            return Err(DeviceError::Lost("readback did not complete with its submission".to_owned()));
        }
        let view =
            self.buffer.get_mapped_range(..).map_err(|error| DeviceError::Lost(format!("readback failed: {error}")))?;
        let result = read(&view);
        drop(view);
        self.buffer.unmap();
        Ok(result)
    }
}

/// See the module's text.
pub struct Ring {
    free: Vec<Slot>,
}

impl Ring {
    /// `slots` buffers of `bytes` each.
    ///
    /// # Errors
    /// See [`GpuContext::buffer`].
    pub fn new(gpu: &GpuContext<'_>, slots: usize, bytes: u64) -> Result<Self, DeviceError> {
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let slot = |_| Ok(Slot { buffer: gpu.buffer("shader readback", bytes, usage)?, state: Arc::default() });
        Ok(Self { free: (0..slots).map(slot).collect::<Result<_, DeviceError>>()? })
    }

    /// A buffer that nothing is on its way to.
    pub fn take(&mut self) -> Option<Slot> {
        self.free.pop()
    }

    /// Gives a buffer back whose bytes were taken.
    pub fn give_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }
}
