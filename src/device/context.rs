//! What work may do with the device, with every fault typed.

use super::locals::Locals;
use super::resident::Residents;
use super::{BufferGroup, DeviceError, GpuBuffer, GpuTexture, Kernel, KernelSource, Kernels, MemoryLedger, fault};
use crate::gpu_process::protocol::AdapterReport;
use crate::limits;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the device thread lends to work that runs on it, for the time of one call.
pub struct GpuContext<'a> {
    /// The device.
    pub device: &'a wgpu::Device,
    /// Its queue.
    pub queue: &'a wgpu::Queue,
    /// Its adapter.
    pub adapter: &'a AdapterReport,
    /// Its limits.
    pub limits: &'a wgpu::Limits,
    /// The time one slice should take.
    pub slice_budget: Duration,
    /// Bytes on the device.
    pub memory: &'a MemoryLedger,
    /// Compiled kernels.
    pub kernels: &'a Kernels,
    /// Buffers kept for their content.
    pub(super) residents: &'a Residents,
    /// See [`GpuContext::local`].
    pub(super) locals: &'a Locals,
    /// The device thread's sign of life.
    pub(super) pulse: &'a Pulse,
}

impl GpuContext<'_> {
    /// Shows life. Call it in long host-side work (packing a large scene, say), or the supervisor takes it for a hang.
    pub fn alive(&self) {
        self.pulse.beat();
    }

    /// Buffers whose content is named by `key`: the ones that are on the device already, or else those that `make` makes, which then stay
    /// there for whoever asks next, as long as there is memory. Without a key they are made anew, and go with their last holder.
    ///
    /// The key must determine every byte, and nobody may write to the buffers afterwards.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn resident(
        &self,
        key: Option<&str>,
        make: impl FnOnce() -> Result<Vec<GpuBuffer>, DeviceError>,
    ) -> Result<BufferGroup, DeviceError> {
        self.residents.get(key, make)
    }

    /// True where [`Self::resident`] would find the content; it counts as used, and is not dropped to make room for the work that asks.
    pub fn is_resident(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.residents.touch(key))
    }

    /// Creates a zeroed buffer that the ledger knows.
    ///
    /// # Errors
    /// [`DeviceError::Limit`] when it exceeds what the adapter allows, [`DeviceError::OutOfMemory`] when it exceeds what it has.
    pub fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<GpuBuffer, DeviceError> {
        // A binding may not be empty, and copies go by four bytes.
        let bytes = bytes.max(16).next_multiple_of(16);
        if bytes > self.limits.max_buffer_size {
            return Err(DeviceError::Limit(format!(
                "buffer `{label}` needs {bytes} bytes, and this adapter allows {} in one buffer",
                self.limits.max_buffer_size
            )));
        }
        if usage.contains(wgpu::BufferUsages::STORAGE) && bytes > self.limits.max_storage_buffer_binding_size {
            return Err(DeviceError::Limit(format!(
                "buffer `{label}` needs {bytes} bytes, and this adapter binds at most {} at once",
                self.limits.max_storage_buffer_binding_size
            )));
        }
        let out_of_memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        let refused = pollster::block_on(validation.pop());
        let full = pollster::block_on(out_of_memory.pop());
        match full.or(refused) {
            Some(wgpu::Error::OutOfMemory { .. }) => {
                Err(DeviceError::OutOfMemory(format!("buffer `{label}` of {bytes} bytes could not be allocated")))
            }
            Some(error) => Err(fault::from_wgpu(error)),
            None => Ok(self.memory.enter(buffer, label)),
        }
    }

    /// Lends the value of this type that lives as long as the device: pipelines, layouts, samplers. `body` may not ask for the same type
    /// again.
    pub fn local<T: Default + 'static, R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        self.locals.with(body)
    }

    /// Creates a zeroed texture that the ledger knows; wgpu zeroes what is read before it was written.
    ///
    /// # Errors
    /// [`DeviceError::Limit`] when it exceeds what the adapter allows, [`DeviceError::OutOfMemory`] when it exceeds what it has.
    pub fn texture(&self, descriptor: &wgpu::TextureDescriptor<'_>) -> Result<GpuTexture, DeviceError> {
        let (label, size) = (descriptor.label.unwrap_or("texture"), descriptor.size);
        let side_max = self.limits.max_texture_dimension_2d;
        if size.width.max(size.height) > side_max {
            return Err(DeviceError::Limit(format!(
                "texture `{label}` has {} × {} texels, and this adapter allows {side_max} a side",
                size.width, size.height
            )));
        }
        let texel_bytes = u64::from(descriptor.format.block_copy_size(None).unwrap_or(16));
        let level = |level: u32| {
            let (width, height) = (u64::from((size.width >> level).max(1)), u64::from((size.height >> level).max(1)));
            width * height * u64::from(size.depth_or_array_layers) * texel_bytes
        };
        let bytes = (0..descriptor.mip_level_count).map(level).sum();
        let out_of_memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let texture = self.device.create_texture(descriptor);
        let refused = pollster::block_on(validation.pop());
        let full = pollster::block_on(out_of_memory.pop());
        match full.or(refused) {
            Some(wgpu::Error::OutOfMemory { .. }) => {
                Err(DeviceError::OutOfMemory(format!("texture `{label}` of {bytes} bytes could not be allocated")))
            }
            Some(error) => Err(fault::from_wgpu(error)),
            None => Ok(self.memory.enter_texture(texture, label, bytes)),
        }
    }

    /// Runs `body` and answers what was refused in it as a sentence, instead of as a fault of the work: for what a stranger wrote. Refused is
    /// also what wgpu's compiler stops at with a panic, and what the driver's ends with a fault of its own.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`], which is nobody's text.
    pub fn refusable<T>(&self, body: impl FnOnce() -> T) -> Result<Result<T, String>, DeviceError> {
        let scopes = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
            .map(|filter| self.device.push_error_scope(filter));
        // What it was making is dropped with the unwinding; wgpu's locks are free then, and not poisoned.
        let value = catch_unwind(AssertUnwindSafe(body));
        let [full, internal, refused] = scopes;
        let refused = pollster::block_on(refused.pop());
        let internal = pollster::block_on(internal.pop());
        let full = pollster::block_on(full.pop());
        let sentence = |error: wgpu::Error| match fault::from_wgpu(error) {
            DeviceError::Validation(text) => text,
            other => other.to_string(),
        };
        match (full, internal.or(refused), value) {
            (Some(full), ..) => Err(fault::from_wgpu(full)),
            (None, Some(refused), _) => Ok(Err(sentence(refused))),
            (None, None, Err(panic)) => Ok(Err(fault::panic_text(panic.as_ref()))),
            (None, None, Ok(value)) => Ok(Ok(value)),
        }
    }

    /// Creates a storage buffer with these contents. An empty slice gives a small zeroed buffer, since a binding may not be empty.
    ///
    /// # Errors
    /// As [`GpuContext::buffer`].
    pub fn storage<T: bytemuck::NoUninit>(&self, label: &str, contents: &[T]) -> Result<GpuBuffer, DeviceError> {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let least = size_of::<T>().max(16) as u64;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffer = self.buffer(label, (bytes.len() as u64).max(least), usage)?;
        self.upload(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    /// Writes `bytes` at `offset`, large ones in pieces, so that the staging memory stays small and the thread keeps showing life.
    ///
    /// # Errors
    /// As [`GpuContext::wait`].
    pub fn upload(&self, buffer: &GpuBuffer, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        const PIECE_BYTES: usize = 16 << 20;
        for (i, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            self.write(buffer, offset + (i * PIECE_BYTES) as u64, piece);
            if bytes.len() > PIECE_BYTES / 4 {
                let index = self.queue.submit([]);
                self.wait(index)?;
            }
        }
        Ok(())
    }

    /// Queues a write. `bytes` may have any length: a tail shorter than a word is padded with zeros.
    pub fn write(&self, buffer: &GpuBuffer, offset: u64, bytes: &[u8]) {
        let whole = bytes.len() / 4 * 4;
        if whole > 0 {
            self.queue.write_buffer(buffer, offset, &bytes[..whole]);
        }
        if whole < bytes.len() {
            let mut tail = [0; 4];
            tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue.write_buffer(buffer, offset + whole as u64, &tail);
        }
    }

    /// Compiles a variant of a kernel, or finds it compiled. `constants` are override constants by `@id`.
    ///
    /// # Errors
    /// [`DeviceError::Validation`] when wgpu refuses the WGSL.
    pub fn kernel(&self, source: KernelSource, constants: &[(u16, u32)]) -> Result<Arc<Kernel>, DeviceError> {
        self.alive();
        let kernel = self.kernels.get(self.device, source, constants);
        self.alive();
        kernel
    }

    /// Waits until the GPU has finished a submission.
    ///
    /// # Errors
    /// [`DeviceError::Timeout`] after [`limits::DEVICE_HANG_MS`].
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), DeviceError> {
        let poll = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(Duration::from_millis(limits::DEVICE_HANG_MS)),
        };
        let polled = self.device.poll(poll);
        match polled {
            Ok(_) => {
                self.alive();
                Ok(())
            }
            Err(wgpu::PollError::Timeout) => Err(DeviceError::Timeout(limits::DEVICE_HANG_MS)),
            Err(error) => Err(DeviceError::Validation(error.to_string())),
        }
    }

    /// Copies the start of a buffer to the host.
    ///
    /// # Errors
    /// As [`GpuContext::buffer`] and [`GpuContext::wait`].
    pub fn read<T: bytemuck::AnyBitPattern>(&self, buffer: &GpuBuffer, count: usize) -> Result<Vec<T>, DeviceError> {
        let bytes = (count * size_of::<T>()) as u64;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let readback = self.buffer("readback", bytes, usage)?;
        let mut encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
        encoder.copy_buffer_to_buffer(buffer, 0, &readback, 0, bytes);
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let slice = readback.slice(..bytes);
        slice.map_async(wgpu::MapMode::Read, move |result| {
            // The receiver outlives the wait below; when that timed out, nobody is interested any more.
            let _ = sender.try_send(result);
        });
        self.wait(submission)?;
        match receiver.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(DeviceError::Lost(format!("readback failed: {error}"))),
            Err(_) => return Err(DeviceError::Lost("readback did not complete with its submission".to_owned())),
        }
        let view = slice.get_mapped_range().map_err(|error| DeviceError::Lost(format!("readback failed: {error}")))?;
        let values = view.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
        drop(view);
        readback.unmap();
        Ok(values)
    }
}

/// When the device thread last showed life, readable from any thread.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    /// Milliseconds from `start`, plus one; 0 while idle.
    last_beat: AtomicU64,
}

impl Pulse {
    pub fn new() -> Self {
        Self { start: Instant::now(), last_beat: AtomicU64::new(0) }
    }

    pub fn beat(&self) {
        self.last_beat.store(self.now_ms() + 1, Ordering::Relaxed);
    }

    pub fn idle(&self) {
        self.last_beat.store(0, Ordering::Relaxed);
    }

    /// Milliseconds since the last beat; 0 while idle.
    pub fn silent_ms(&self) -> u64 {
        match self.last_beat.load(Ordering::Relaxed) {
            0 => 0,
            beat => (self.now_ms() + 1).saturating_sub(beat),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
