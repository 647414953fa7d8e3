//! From scene-linear radiance to display values: exposure, tone map, sRGB. Pure functions.

use crate::job::spec::ToneMap;

/// Fresnel reflection at normal incidence of an ior of 1.5: what Neutral takes off again (`F90` in its specification).
const NEUTRAL_F90: f32 = 0.04;
/// Where Neutral begins to compress highlights.
const NEUTRAL_KS: f32 = 0.8 - NEUTRAL_F90;
/// How fast Neutral desaturates them.
const NEUTRAL_KD: f32 = 0.15;

/// Scene-linear Rec. 709 radiance → display-linear Rec. 709 in [0, 1]. `exposure_scale` is 2^(exposure in stops). Negative
/// input counts as 0; input must be finite.
pub fn tone_map(rgb: [f32; 3], curve: ToneMap, exposure_scale: f32) -> [f32; 3] {
    // A product that overflows stays a number: the curve's limit is reached long before.
    let exposed = rgb.map(|c| (c * exposure_scale).clamp(0.0, f32::MAX.sqrt()));
    match curve {
        ToneMap::Neutral => neutral(exposed),
        ToneMap::Linear => exposed.map(|c| c.min(1.0)),
    }
}

/// Khronos PBR Neutral: keeps base colours as they are, compresses and desaturates highlights only. Non-negative input.
///
/// Source: Khronos Group 2024, "Khronos PBR Neutral Tone Mapper", section "PBR Neutral Specification"; names are those of its equations. (Some
/// copies of its sample code desaturate towards 1 instead of p_n. The specification says p_n.)
fn neutral([r, g, b]: [f32; 3]) -> [f32; 3] {
    let x = r.min(g).min(b);
    let f = if x <= 2.0 * NEUTRAL_F90 { x - x * x / (4.0 * NEUTRAL_F90) } else { NEUTRAL_F90 };
    let c = [r - f, g - f, b - f];
    let p = c[0].max(c[1]).max(c[2]);
    if p <= NEUTRAL_KS {
        return c;
    }
    let p_n = 1.0 - (1.0 - NEUTRAL_KS).powi(2) / (p + 1.0 - 2.0 * NEUTRAL_KS);
    let g = 1.0 / (NEUTRAL_KD * (p - p_n) + 1.0);
    c.map(|c| (c * (p_n / p) * g + p_n * (1.0 - g)).clamp(0.0, 1.0))
}

/// Display-linear [0, 1] → sRGB-encoded [0, 1]. Source: IEC 61966-2-1:1999.
pub fn srgb_from_linear(linear: f32) -> f32 {
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// sRGB-encoded [0, 1] → display-linear [0, 1]. The inverse of [`srgb_from_linear`].
pub fn linear_from_srgb(encoded: f32) -> f32 {
    if encoded <= 0.040_45 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
}

/// [0, 1] → 0..=255, rounded to the nearest.
pub fn unorm8(value: f32) -> u8 {
    (value * 255.0 + 0.5) as u8
}

/// [0, 1] → 0..=65535, rounded to the nearest.
pub fn unorm16(value: f32) -> u16 {
    (value * 65_535.0 + 0.5) as u16
}
