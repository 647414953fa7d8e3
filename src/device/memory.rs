//! The memory ledger: every buffer on the device, by label, with its bytes. Any thread may read the total.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
        let bytes = buffer.size();
        self.entries.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut by_label = self.entries.bytes_by_label.lock().unwrap_or_else(PoisonError::into_inner);
        *by_label.entry(label.to_owned()).or_default() += bytes;
        drop(by_label);
        GpuBuffer { buffer, label: label.to_owned(), ledger: self.clone() }
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

impl GpuBuffer {
    /// For the ledger and for debuggers.
    pub fn label(&self) -> &str {
        &self.label
    }
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
