//! The memory ledger: every buffer and texture on the device, by label, with its bytes. Any thread may read the total. And how much there may be.

use crate::gpu_process::protocol::AdapterReport;
use crate::limits;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that works may have on an adapter together. On a software adapter the device's memory is the system's.
pub(super) fn budget_bytes(adapter: &AdapterReport) -> u64 {
    let memory = if adapter.software { system_memory_bytes() } else { adapter.memory_bytes };
    match memory {
        Some(bytes) if adapter.software => bytes / 100 * limits::SOFTWARE_MEMORY_PERCENT,
        Some(bytes) => bytes / 100 * limits::GPU_MEMORY_PERCENT,
        None => limits::GPU_MEMORY_BYTES_UNKNOWN,
    }
}

/// Memory of this machine, or of the control group that this process may use, whichever is less; `None` where neither is known.
pub fn system_memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    // Version 2 of control groups, at the root that containers see. `max` is no number, and no bound.
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// Bytes on the device by label.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    entries: Arc<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    total_bytes: AtomicU64,
    bytes_by_label: Mutex<BTreeMap<String, u64>>,
}

impl MemoryLedger {
    /// Bytes of all buffers that exist.
    pub fn total_bytes(&self) -> u64 {
        self.entries.total_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all buffers that exist, by label.
    pub fn bytes_by_label(&self) -> BTreeMap<String, u64> {
        self.entries.bytes_by_label.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Enters a buffer; it leaves the ledger when the [`GpuBuffer`] is dropped.
    pub(super) fn enter(&self, buffer: wgpu::Buffer, label: &str) -> GpuBuffer {
        self.add(label, buffer.size());
        GpuBuffer { buffer, label: label.to_owned(), ledger: self.clone() }
    }

    /// Enters a texture of this many bytes; see [`Self::enter`].
    pub(super) fn enter_texture(&self, texture: wgpu::Texture, label: &str, bytes: u64) -> GpuTexture {
        self.add(label, bytes);
        GpuTexture { texture, label: label.to_owned(), bytes, ledger: self.clone() }
    }

    fn add(&self, label: &str, bytes: u64) {
        self.entries.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut by_label = self.entries.bytes_by_label.lock().unwrap_or_else(PoisonError::into_inner);
        *by_label.entry(label.to_owned()).or_default() += bytes;
    }

    fn leave(&self, label: &str, bytes: u64) {
        self.entries.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let mut by_label = self.entries.bytes_by_label.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(total) = by_label.get_mut(label) {
            *total -= bytes;
            if *total == 0 {
                by_label.remove(label);
            }
        }
    }
}

/// A buffer in the [`MemoryLedger`]. Dropping it frees its memory at once instead of with the last bind group.
#[derive(Debug)]
pub struct GpuBuffer {
    buffer: wgpu::Buffer,
    label: String,
    ledger: MemoryLedger,
}

impl std::ops::Deref for GpuBuffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.buffer.destroy();
        self.ledger.leave(&self.label, self.buffer.size());
    }
}

/// A texture in the [`MemoryLedger`]. Dropping it frees its memory at once instead of with the last bind group.
#[derive(Debug)]
pub struct GpuTexture {
    texture: wgpu::Texture,
    label: String,
    bytes: u64,
    ledger: MemoryLedger,
}

impl std::ops::Deref for GpuTexture {
    type Target = wgpu::Texture;

    fn deref(&self) -> &wgpu::Texture {
        &self.texture
    }
}

impl Drop for GpuTexture {
    fn drop(&mut self) {
        self.texture.destroy();
        self.ledger.leave(&self.label, self.bytes);
    }
}
