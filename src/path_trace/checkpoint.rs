//! A render's state between two batches, and what it belongs to.
//!
//! The film's sums and what is in them are all the state that there is: pixels are a function of (scene, settings, seed,
//! sample index), and the sums grow in the order of samples. So a render that goes on from them ends with the same bits, whatever interrupted it.

use super::layout;
use super::passes::Done;
use super::{KERNELS, PackedScene, PackedSky};
use crate::gpu_process::checkpoint::SavedState;
use crate::gpu_process::protocol::AdapterReport;
use bytemuck::Zeroable;
use sha2::{Digest, Sha256};

/// Words of [`layout::Counters`] that outlive a batch: NaN count, rays from the camera, from surfaces, to lights.
pub(super) const TOTALS_WORDS: usize = 7;
/// Bytes before the sums.
const HEAD_BYTES: usize = 3 * 4 + 8 + 8 + 4 * TOTALS_WORDS + 4;

/// See the module's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RenderState {
    /// What is in the sums.
    pub done: Done,
    /// Slices so far.
    pub slices: u64,
    /// Seconds of slices so far.
    pub gpu_seconds: f64,
    /// From [`layout::Counters`].
    pub totals: [u32; TOTALS_WORDS],
    /// One a place of the work order.
    pub sums: Vec<[f32; 4]>,
}

impl RenderState {
    /// As the payload of a checkpoint, little-endian.
    pub fn save(&self, identity: [u8; 32]) -> SavedState {
        let mut payload = Vec::with_capacity(HEAD_BYTES + 16 * self.sums.len());
        let Done { samples, pass_samples, pass_places } = self.done;
        [samples, pass_samples, pass_places].iter().for_each(|word| payload.extend(word.to_le_bytes()));
        payload.extend(self.slices.to_le_bytes());
        payload.extend(self.gpu_seconds.to_le_bytes());
        self.totals.iter().for_each(|word| payload.extend(word.to_le_bytes()));
        payload.extend((self.sums.len() as u32).to_le_bytes());
        self.sums.iter().flatten().for_each(|channel| payload.extend(channel.to_le_bytes()));
        SavedState { identity, payload }
    }

    /// The inverse; `Err` says what does not fit a render with this identity and of this size: places of the work order, samples,
    /// paths that there is room for.
    pub fn restore(
        saved: &SavedState,
        identity: [u8; 32],
        order_count: u32,
        samples: u32,
        pool_paths: u32,
    ) -> Result<Self, &'static str> {
        if saved.identity != identity {
            return Err("it belongs to another scene, other settings, another version of Kiln or another adapter");
        }
        let payload = &saved.payload;
        if payload.len() != HEAD_BYTES + 16 * order_count as usize {
            return Err("it has another size");
        }
        let (head, sums) = payload.split_at(HEAD_BYTES);
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let state = Self {
            done: Done { samples: word(0), pass_samples: word(4), pass_places: word(8) },
            slices: long(12),
            gpu_seconds: f64::from_bits(long(20)),
            totals: std::array::from_fn(|i| word(28 + 4 * i)),
            sums: sums
                .chunks_exact(16)
                .map(|sum| std::array::from_fn(|i| f32::from_le_bytes(sum[4 * i..4 * i + 4].try_into().expect("four"))))
                .collect(),
        };
        let sound = word(HEAD_BYTES - 4) == order_count
            && state.done.is_sound(order_count, samples, pool_paths)
            && state.gpu_seconds.is_finite()
            && state.gpu_seconds >= 0.0
            && state.sums.iter().flatten().all(|channel| channel.is_finite());
        if sound { Ok(state) } else { Err("its numbers make no sense") }
    }
}

/// What decides on the bits of a film, but for the number of samples: the version of Kiln, its kernels, the adapter and its driver, the
/// scene, the environment, and all that kernels are told. `None` where the scene or the environment has no name: nobody could tell it from another.
pub(super) fn identity(
    scene: &PackedScene,
    sky: &PackedSky,
    params: &layout::Params,
    adapter: &AdapterReport,
) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(env!("CARGO_PKG_VERSION").as_bytes());
    KERNELS.iter().for_each(|kernel| field(kernel.wgsl.as_bytes()));
    for text in [&adapter.name, &adapter.backend, &adapter.driver] {
        field(text.as_bytes());
    }
    field(scene.key.as_ref()?.as_bytes());
    field(sky.key.as_ref()?.as_bytes());
    // What changes from batch to batch is no part of it.
    let zero = layout::Params::zeroed();
    field(bytemuck::bytes_of(&layout::Params {
        tile_stride: zero.tile_stride,
        first_turn: zero.first_turn,
        first_sample: zero.first_sample,
        batch_samples: zero.batch_samples,
        slot_count: zero.slot_count,
        film_first: zero.film_first,
        film_tiles: zero.film_tiles,
        ..*params
    }));
    Some(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_as_it_was_and_only_where_it_fits() {
        let sums: Vec<[f32; 4]> = (0..64).map(|i| [i as f32, -0.5, 1.0e30, 1.0]).collect();
        let done = Done { samples: 1, pass_samples: 1, pass_places: 36 };
        let state = RenderState { done, slices: 3, gpu_seconds: 1.5, totals: [1, 2, 3, 4, 5, 6, 7], sums };
        let saved = state.save([1; 32]);
        assert_eq!(RenderState::restore(&saved, [1; 32], 64, 2, 64).unwrap(), state);
        assert!(RenderState::restore(&saved, [2; 32], 64, 2, 64).is_err(), "another identity");
        assert!(RenderState::restore(&saved, [1; 32], 128, 2, 64).is_err(), "another size");
        assert!(RenderState::restore(&saved, [1; 32], 64, 1, 64).is_err(), "more samples than there are");
        let broken = RenderState { sums: vec![[f32::NAN; 4]; 64], ..state };
        assert!(RenderState::restore(&broken.save([1; 32]), [1; 32], 64, 2, 64).is_err(), "not a number");
    }
}
