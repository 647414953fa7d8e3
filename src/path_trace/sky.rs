//! Environment → packed radiance, and its alias table as the kernels read it.

use crate::scene::environment::Environment;
use rayon::prelude::*;
use std::f64::consts::PI;

/// An environment in the form that kernels read.
pub struct PackedSky {
    /// Names the content: two packed environments with one key are equal. `None`: nobody knows it by a name.
    pub key: Option<String>,
    /// Texels.
    pub width: u32,
    /// Texels.
    pub height: u32,
    /// See `pack_radiance`.
    pub texels: Vec<[u32; 2]>,
    /// (bits of the threshold, alias).
    pub alias: Vec<[u32; 2]>,
    /// Sum over texels of luminance × sinθ; 0 = black.
    pub weight_sum: f32,
    /// Sentences for the user about what was repaired.
    pub notes: Vec<String>,
}

impl PackedSky {
    /// Bytes of the arrays.
    pub fn bytes(&self) -> u64 {
        (size_of_val(self.texels.as_slice()) + size_of_val(self.alias.as_slice())) as u64
    }

    /// Flux through a disc of this radius that faces every direction, before any factor on the radiance: π r² ∫ L dω.
    pub fn power(&self, radius: f32) -> f64 {
        let texel_solid_angle = 2.0 * PI * PI / (f64::from(self.width) * f64::from(self.height));
        PI * f64::from(radius).powi(2) * f64::from(self.weight_sum) * texel_solid_angle
    }
}

/// Packs an environment.
pub fn pack(environment: &Environment) -> PackedSky {
    PackedSky {
        key: None,
        width: environment.width,
        height: environment.height,
        texels: environment.radiance.par_iter().map(|&rgb| pack_radiance(rgb)).collect(),
        alias: environment.alias.iter().map(|entry| [entry.threshold.to_bits(), entry.alias]).collect(),
        weight_sum: environment.weight_sum,
        notes: environment.notes.clone(),
    }
}

/// Three 16-bit mantissas, and the exponent field of the f32 that scales them: 1.5 · 10⁻⁵ of the largest channel, over the whole range of
/// f32. What is negative or not a number becomes 0.
pub fn pack_radiance(rgb: [f32; 3]) -> [u32; 2] {
    let rgb = rgb.map(|x| if x > 0.0 { x.min(f32::MAX) } else { 0.0 });
    let largest = rgb.iter().copied().fold(0.0, f32::max);
    if largest < 1.0e-30 {
        return [0, 1 << 16];
    }
    // 2^(exponent + 1) > largest, so that the largest mantissa is in [32768, 65536).
    let exponent = ((largest.to_bits() >> 23) as i32) - 127;
    let scale_exponent = exponent - 15;
    let scale = f64::from(scale_exponent).exp2();
    let mantissas = rgb.map(|x| (f64::from(x) / scale).round().min(65535.0) as u32);
    [mantissas[0] | mantissas[1] << 16, mantissas[2] | ((scale_exponent + 127).max(1) as u32) << 16]
}

/// The inverse of [`pack_radiance`], as the kernels have it.
#[cfg(test)]
fn unpack_radiance(words: [u32; 2]) -> [f32; 3] {
    let scale = f32::from_bits((words[1] >> 16) << 23);
    [words[0] & 0xffff, words[0] >> 16, words[1] & 0xffff].map(|mantissa| mantissa as f32 * scale)
}

#[cfg(test)]
mod tests {
    use super::{pack_radiance, unpack_radiance};

    #[test]
    fn radiance_keeps_its_digits() {
        for rgb in [[1.0, 1.0, 1.0], [0.001, 250.0, 3.0e7], [1.0e-20, 2.0e-20, 0.0], [0.0; 3], [65535.9, 1.0, 0.5]] {
            let largest = rgb.iter().copied().fold(0.0_f32, f32::max);
            for (before, after) in rgb.iter().zip(unpack_radiance(pack_radiance(rgb))) {
                assert!((before - after).abs() <= largest / 32768.0, "{before} came back as {after} in {rgb:?}");
            }
        }
        assert_eq!(unpack_radiance(pack_radiance([1.0; 3])), [1.0; 3]);
        assert_eq!(unpack_radiance(pack_radiance([f32::NAN, -1.0, f32::NEG_INFINITY])), [0.0; 3]);
    }
}
