//! The state between two frames as bytes: everything that the next frame depends on.

use super::input::ShaderInput;
use crate::gpu_process::checkpoint::SavedState;
use crate::gpu_process::protocol::AdapterReport;
use sha2::{Digest, Sha256};

/// What a run is between two frames.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedState {
    /// The frame that is simulated next, warm-up counted.
    pub frame: u32,
    /// Frames that were emitted before it.
    pub frames_emitted: u32,
    /// Seconds of slices so far.
    pub gpu_seconds: f64,
    /// Contents of buffers and textures, in the order of `Live::save`.
    pub parts: Vec<Vec<u8>>,
}

/// Bytes before the parts: frame, emitted frames, seconds, number of parts.
const HEAD_BYTES: usize = 20;

impl SimulatedState {
    /// As a checkpoint of this job on this adapter.
    pub fn save(&self, input: &ShaderInput, adapter: &AdapterReport) -> SavedState {
        let bytes = self.parts.iter().map(|part| 8 + part.len()).sum::<usize>();
        let mut payload = Vec::with_capacity(HEAD_BYTES + bytes);
        payload.extend(self.frame.to_le_bytes());
        payload.extend(self.frames_emitted.to_le_bytes());
        payload.extend(self.gpu_seconds.to_le_bytes());
        payload.extend((self.parts.len() as u32).to_le_bytes());
        for part in &self.parts {
            payload.extend((part.len() as u64).to_le_bytes());
            payload.extend(part);
        }
        SavedState { identity: identity(input, adapter), payload }
    }

    /// The inverse of [`Self::save`].
    ///
    /// # Errors
    /// Why the checkpoint does not fit, as the end of a sentence.
    pub fn of_saved(saved: &SavedState, input: &ShaderInput, adapter: &AdapterReport) -> Result<Self, &'static str> {
        if saved.identity != identity(input, adapter) {
            return Err("it is of another job, adapter or version of Kiln");
        }
        let mut rest = saved.payload.as_slice();
        let state =
            Self::read(&mut rest).filter(|_| rest.is_empty()).ok_or("its contents are not what they should be")?;
        if state.frame > input.spec.frames_simulated() || !state.gpu_seconds.is_finite() {
            return Err("it is beyond the end of the job");
        }
        Ok(state)
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let word = |rest: &mut &[u8]| rest.split_off(..4)?.try_into().ok().map(u32::from_le_bytes);
        let frame = word(rest)?;
        let frames_emitted = word(rest)?;
        let gpu_seconds = f64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?);
        let count = word(rest)?;
        let mut parts = Vec::new();
        for _ in 0..count {
            let bytes = u64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?);
            parts.push(rest.split_off(..usize::try_from(bytes).ok()?)?.to_vec());
        }
        Some(Self { frame, frames_emitted, gpu_seconds, parts })
    }
}

/// SHA-256 over everything that decides on the bits of a state: the job's content (its outputs too, since a state says what was emitted), the
/// channels by their hashes in it, the adapter, its driver, and Kiln itself.
fn identity(input: &ShaderInput, adapter: &AdapterReport) -> [u8; 32] {
    let spec = serde_json::to_string(&input.spec).expect("a spec has string keys only and finite numbers");
    let program = hex::encode(input.key.content);
    let machine = [&adapter.name, &adapter.backend, &adapter.driver].map(String::as_str).join("\n");
    Sha256::digest(format!("{spec}\n{program}\n{machine}\n{}", env!("CARGO_PKG_VERSION"))).into()
}
