//! The built-in environments, painted at start-up instead of stored: a few kilobytes of code instead of megabytes of data.

use super::{Environment, irradiance, paint};
use crate::scene::emissive::luminance;
use glam::{Vec2, Vec3};
use std::f32::consts::{FRAC_PI_2, PI};

/// Radiance 1 everywhere. Some rows, so that the alias table follows sin θ.
pub(super) fn white() -> Environment {
    Environment::new(64, 32, vec![[1.0; 3]; 64 * 32])
}

/// The unit direction at an azimuth (degrees around +Y, 0 towards +Z) and an elevation (degrees above the horizon).
fn toward(azimuth_deg: f32, elevation_deg: f32) -> Vec3 {
    let (azimuth, elevation) = (azimuth_deg.to_radians(), elevation_deg.to_radians());
    Vec3::new(azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos())
}

/// 0 below `low`, 1 above `high`, smooth between.
fn smooth(low: f32, high: f32, value: f32) -> f32 {
    let s = ((value - low) / (high - low)).clamp(0.0, 1.0);
    s * s * (3.0 - 2.0 * s)
}

/// Scales a picture so that an upward white surface has radiance 0.9.
fn expose(width: u32, height: u32, texels: &mut [[f32; 3]]) {
    let scale = 0.9 * PI / luminance(irradiance(width, height, texels, Vec3::Y));
    texels.iter_mut().flatten().for_each(|value| *value *= scale);
}

/// A rectangle of light that faces the middle of the room.
struct SoftBox {
    center: Vec3,
    /// Tangents of the half angles, horizontal and vertical.
    half: [f32; 2],
    radiance: Vec3,
}

impl SoftBox {
    /// 1 inside, 0 outside, with rounded corners and an edge that falls off as cloth does.
    fn coverage(&self, direction: Vec3) -> f32 {
        let depth = direction.dot(self.center);
        if depth <= 0.0 {
            return 0.0;
        }
        let helper = if self.center.y.abs() > 0.99 { Vec3::Z } else { Vec3::Y };
        let right = helper.cross(self.center).normalize();
        let up = self.center.cross(right);
        let x = (direction.dot(right) / depth / self.half[0]).abs();
        let y = (direction.dot(up) / depth / self.half[1]).abs();
        // A superellipse: nearly a rectangle, without its corners.
        let radius = (x.powi(8) + y.powi(8)).powf(0.125);
        let edge = 1.0 - smooth(0.86, 1.0, radius);
        // Brighter in the middle, where the lamp is.
        edge * (1.0 - 0.35 * (radius * radius).min(1.0))
    }
}

/// Soft boxes in a grey room: key from the front left, a wide fill from the right, two rims from behind, a soft ceiling.
/// Scaled so that an upward white surface has radiance 0.9.
pub(super) fn studio() -> Environment {
    let (width, height) = (1024, 512);
    let boxes = [
        SoftBox { center: toward(-42.0, 42.0), half: [0.42, 0.42], radiance: Vec3::new(13.0, 12.6, 12.0) },
        SoftBox { center: toward(88.0, 18.0), half: [0.75, 0.6], radiance: Vec3::new(2.2, 2.35, 2.5) },
        SoftBox { center: toward(158.0, 34.0), half: [0.16, 0.6], radiance: Vec3::new(9.0, 9.2, 9.6) },
        SoftBox { center: toward(-140.0, 28.0), half: [0.16, 0.55], radiance: Vec3::new(6.5, 6.3, 6.0) },
        SoftBox { center: Vec3::Y, half: [0.4, 0.4], radiance: Vec3::new(4.0, 4.0, 4.0) },
    ];
    let mut texels = paint(width, height, |direction| {
        // Walls between a dark floor and a lighter ceiling, without an edge where they meet.
        let wall = 0.22 + 0.16 * smooth(-0.15, 0.9, direction.y) - 0.13 * smooth(0.02, -0.7, direction.y);
        let mut radiance = Vec3::new(1.0, 1.0, 1.015) * wall;
        for light in &boxes {
            let coverage = light.coverage(direction);
            radiance = radiance * (1.0 - coverage) + light.radiance * coverage;
        }
        radiance
    });
    expose(width, height, &mut texels);
    Environment::new(width, height, texels)
}

/// Turbidity of the sky preset: clear, with a little haze.
const TURBIDITY: f32 = 2.6;
/// Angular radius of the sun, radians. The real one has 0.0047; a wider disc of the same power makes shadows a little
/// softer and is resolved by the picture's texels.
const SUN_RADIUS: f32 = 0.012;

/// Clear sky with a sun 38° high at the front left, over a ground of albedo 0.15.
///
/// Sky: Preetham, Shirley & Smits 1999, "A Practical Analytic Model for Daylight", appendix A.2. The sun is a disc that
/// gives four times the sky's irradiance to a horizontal surface, which is what a clear day does. Scaled so that an
/// upward white surface has radiance 0.9.
pub(super) fn sky() -> Environment {
    let (width, height) = (1024, 512);
    let sun = toward(-38.0, 38.0);
    let model = Preetham::new(FRAC_PI_2 - 38.0_f32.to_radians());
    let mut texels = paint(width, height, |direction| {
        if direction.y <= 0.0 {
            return Vec3::ZERO;
        }
        model.radiance(direction, sun)
    });
    let sky = luminance(irradiance(width, height, &texels, Vec3::Y));
    let disc = paint(width, height, |direction| {
        // Anti-aliased over about a texel, as the disc is a few texels wide.
        let angle = direction.cross(sun).length().atan2(direction.dot(sun));
        Vec3::new(1.0, 0.93, 0.82) * (1.0 - smooth(SUN_RADIUS - 0.003, SUN_RADIUS + 0.003, angle))
    });
    let sun_scale = 4.0 * sky / luminance(irradiance(width, height, &disc, Vec3::Y));
    for (texel, disc) in texels.iter_mut().zip(&disc) {
        (0..3).for_each(|channel| texel[channel] += disc[channel] * sun_scale);
    }
    expose(width, height, &mut texels);
    let up = irradiance(width, height, &texels, Vec3::Y);
    let ground = up * (0.15 / PI) * Vec3::new(1.0, 0.96, 0.88);
    let horizon: Vec<Vec3> = texels[(height as usize / 2 - 1) * width as usize..][..width as usize]
        .iter()
        .map(|texel| Vec3::from_array(*texel))
        .collect();
    for y in height / 2..height {
        // Haze hides the line between ground and sky.
        let below = ((y as f32 + 0.5) / height as f32 - 0.5) * PI;
        let haze = (-below / 0.03).exp();
        for x in 0..width {
            texels[(y * width + x) as usize] = (ground * (1.0 - haze) + horizon[x as usize] * haze).to_array();
        }
    }
    Environment::new(width, height, texels)
}

/// The model of Preetham et al.: chromaticity and luminance, each a Perez function relative to the zenith.
struct Preetham {
    /// Polar angle of the sun, radians.
    sun_theta: f32,
    /// Coefficients A to E for Y, x and y.
    perez: [[f32; 5]; 3],
    /// Y, x, y at the zenith.
    zenith: Vec3,
}

impl Preetham {
    fn new(sun_theta: f32) -> Self {
        let t = TURBIDITY;
        let perez = [
            [
                0.1787 * t - 1.4630,
                -0.3554 * t + 0.4275,
                -0.0227 * t + 5.3251,
                0.1206 * t - 2.5771,
                -0.0670 * t + 0.3703,
            ],
            [
                -0.0193 * t - 0.2592,
                -0.0665 * t + 0.0008,
                -0.0004 * t + 0.2125,
                -0.0641 * t - 0.8989,
                -0.0033 * t + 0.0452,
            ],
            [
                -0.0167 * t - 0.2608,
                -0.0950 * t + 0.0092,
                -0.0079 * t + 0.2102,
                -0.0441 * t - 1.6537,
                -0.0109 * t + 0.0529,
            ],
        ];
        let chi = (4.0 / 9.0 - t / 120.0) * (PI - 2.0 * sun_theta);
        let luminance = (4.0453 * t - 4.9710) * chi.tan() - 0.2155 * t + 2.4192;
        let chromaticity = |rows: [[f32; 4]; 3]| {
            let powers = [sun_theta.powi(3), sun_theta.powi(2), sun_theta, 1.0];
            let row = |row: [f32; 4]| row.iter().zip(&powers).map(|(a, b)| a * b).sum::<f32>();
            t * t * row(rows[0]) + t * row(rows[1]) + row(rows[2])
        };
        let x = chromaticity([
            [0.00166, -0.00375, 0.00209, 0.0],
            [-0.02903, 0.06377, -0.03202, 0.00394],
            [0.11693, -0.21196, 0.06052, 0.25886],
        ]);
        let y = chromaticity([
            [0.00275, -0.00610, 0.00317, 0.0],
            [-0.04214, 0.08970, -0.04153, 0.00516],
            [0.15346, -0.26756, 0.06670, 0.26688],
        ]);
        Self { sun_theta, perez, zenith: Vec3::new(luminance, x, y) }
    }

    /// Perez et al. 1993: relative value at polar angle θ and angle γ from the sun.
    fn perez([a, b, c, d, e]: [f32; 5], cos_theta: f32, gamma: f32) -> f32 {
        (1.0 + a * (b / cos_theta).exp()) * (1.0 + c * (d * gamma).exp() + e * gamma.cos().powi(2))
    }

    /// Linear Rec. 709, in kcd/m² before the preset's scaling.
    fn radiance(&self, direction: Vec3, sun: Vec3) -> Vec3 {
        let cos_theta = direction.y.max(0.01);
        let gamma = direction.cross(sun).length().atan2(direction.dot(sun));
        let value = |index: usize| {
            let coefficients = self.perez[index];
            self.zenith[index] * Self::perez(coefficients, cos_theta, gamma)
                / Self::perez(coefficients, 1.0, self.sun_theta)
        };
        let (luminance, chromaticity) = (value(0).max(0.0), Vec2::new(value(1), value(2)));
        let xyz = Vec3::new(chromaticity.x, chromaticity.y, 1.0 - chromaticity.x - chromaticity.y)
            * (luminance / chromaticity.y);
        // XYZ to linear Rec. 709 (IEC 61966-2-1).
        let rgb = Vec3::new(
            xyz.dot(Vec3::new(3.2406, -1.5372, -0.4986)),
            xyz.dot(Vec3::new(-0.9689, 1.8758, 0.0415)),
            xyz.dot(Vec3::new(0.0557, -0.2040, 1.0570)),
        );
        rgb.max(Vec3::ZERO)
    }
}
