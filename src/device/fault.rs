//! Turns every way in which wgpu reports a mistake or a loss into a typed [`DeviceError`], so that none of them panics.

use super::DeviceError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first fault that nobody has taken yet. The driver's callbacks write it, the device thread reads it after each slice.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    first: Arc<Mutex<Option<DeviceError>>>,
}

impl Faults {
    /// Listens to errors outside of any error scope, and to the loss of the device.
    pub fn install(device: &wgpu::Device) -> Self {
        let faults = Self::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.raise(from_wgpu(error))));
        let lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                lost.raise(DeviceError::Lost(message));
            }
        });
        faults
    }

    /// Remembers a fault. A loss outranks what it caused.
    pub fn raise(&self, fault: DeviceError) {
        let mut first = self.lock();
        if first.is_none() || matches!(fault, DeviceError::Lost(_)) {
            *first = Some(fault);
        }
    }

    /// Takes the fault, if there was one. The loss of the device is kept: it never gets better.
    pub fn take(&self) -> Option<DeviceError> {
        let mut first = self.lock();
        match &*first {
            Some(DeviceError::Lost(_)) => first.clone(),
            _ => first.take(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<DeviceError>> {
        // The value is a plain option: a panic while it was locked cannot have left it half written.
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sorts a wgpu error into our kinds.
pub(super) fn from_wgpu(error: wgpu::Error) -> DeviceError {
    match error {
        wgpu::Error::OutOfMemory { source } => DeviceError::OutOfMemory(chain(source.as_ref())),
        wgpu::Error::Validation { source, .. } => DeviceError::Validation(chain(source.as_ref())),
        wgpu::Error::Internal { source, .. } => DeviceError::Validation(chain(source.as_ref())),
    }
}

/// The whole chain of causes: wgpu keeps the interesting part in the last one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The sentence for a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
}
