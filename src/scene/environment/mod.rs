//! The light around the scene: an equirectangular picture of radiance, with an alias table to draw directions from.
//!
//! The mapping, the same as in `shaders/lib/environment.wgsl`: for a unit direction d in world space,
//! u = 1/2 + atan2(d.x, −d.z) / 2π and v = acos(d.y) / π. Row 0 is +Y, the middle of the picture is −Z, +X is to the
//! right of it. Rotation and intensity of a job are applied by the renderer, not here.

mod presets;

use super::alias::{AliasCell, alias_table};
use super::emissive::luminance;
use super::error::SceneError;
use crate::job::spec::Preset;
use crate::limits;
use glam::{Vec2, Vec3};
use image::{ImageFormat, ImageReader, Limits};
use std::f32::consts::{PI, TAU};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Radiance from every direction.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Texels.
    pub width: u32,
    /// Texels.
    pub height: u32,
    /// Linear Rec. 709, rows from +Y to −Y; finite and in [0, `ENVIRONMENT_RADIANCE_MAX`].
    pub radiance: Vec<[f32; 3]>,
    /// One entry a texel: draws texel i with probability luminance(i) · sin θ(row of i) / `weight_sum`, where θ is the
    /// polar angle of the middle of the row. Where a direction then lies around the texel is `sky_sample`'s in
    /// `shaders/lib/sky.wgsl`, and so is its density. Empty where the environment is black.
    pub alias: Vec<AliasCell>,
    /// Sum over all texels of luminance · sin θ. 0 where the environment is black.
    pub weight_sum: f32,
    /// No light comes from anywhere.
    pub is_black: bool,
    /// Sentences about what was repaired.
    pub notes: Vec<String>,
}

/// Where a direction lies in the picture; see the module. `direction` need not be of unit length, but not zero.
pub fn uv_of_direction(direction: Vec3) -> Vec2 {
    let u = 0.5 + direction.x.atan2(-direction.z) / TAU;
    let v = direction.x.hypot(direction.z).atan2(direction.y) / PI;
    Vec2::new(if u >= 1.0 { 0.0 } else { u }, v.clamp(0.0, 1.0))
}

/// The inverse of [`uv_of_direction`].
pub fn direction_of_uv(uv: Vec2) -> Vec3 {
    let (sin_phi, cos_phi) = ((uv.x - 0.5) * TAU).sin_cos();
    let (sin_theta, cos_theta) = (uv.y * PI).sin_cos();
    Vec3::new(sin_theta * sin_phi, cos_theta, -sin_theta * cos_phi)
}

impl Environment {
    /// Builds the alias table over `radiance`, whose values must be finite and not negative.
    pub fn new(width: u32, height: u32, radiance: Vec<[f32; 3]>) -> Self {
        assert_eq!(radiance.len(), width as usize * height as usize, "one colour a texel");
        let weights: Vec<f32> = radiance
            .chunks_exact(width.max(1) as usize)
            .zip(0..height)
            .flat_map(|(row, y)| {
                let sin_theta = sin_theta_of_row(y, height);
                row.iter().map(move |&texel| luminance(Vec3::from_array(texel)) * sin_theta)
            })
            .collect();
        let (cells, weight_sum) = alias_table(&weights);
        let is_black = weight_sum <= 0.0;
        let alias = if is_black { Vec::new() } else { cells };
        Self { width, height, radiance, alias, weight_sum: weight_sum as f32, is_black, notes: Vec::new() }
    }
}

/// Sine of the polar angle of the middle of a row.
fn sin_theta_of_row(y: u32, height: u32) -> f32 {
    ((y as f32 + 0.5) / height as f32 * PI).sin()
}

/// A built-in environment. The same at every call.
pub fn preset(preset: Preset) -> Environment {
    match preset {
        Preset::White => presets::white(),
        Preset::Black => Environment::new(1, 1, vec![[0.0; 3]]),
        Preset::Studio => presets::studio(),
        Preset::Sky => presets::sky(),
    }
}

/// Reads an equirectangular Radiance HDR or OpenEXR picture; which of them it is is read from its content.
///
/// Radiance is taken as linear Rec. 709. What is not a number or negative becomes 0, what is above
/// `ENVIRONMENT_RADIANCE_MAX` is clamped; both are noted.
///
/// # Errors
/// `Invalid` for any other format or a broken file, `Limit` for one that is too large, `Io` where it cannot be read.
pub fn load(path: &Path) -> Result<Environment, SceneError> {
    let unreadable =
        |error: std::io::Error| SceneError::io("load", format!("The environment cannot be read: {error}."));
    let open = || File::open(path).map(BufReader::new).map_err(unreadable);
    let mut file = open()?;
    let head = file.fill_buf().map_err(unreadable)?;
    let format = if head.starts_with(b"#?") {
        ImageFormat::Hdr
    } else if head.starts_with(&[0x76, 0x2f, 0x31, 0x01]) {
        ImageFormat::OpenExr
    } else {
        return Err(SceneError::invalid(
            "load",
            "The environment is in a format that Kiln does not read; expected Radiance HDR (.hdr) or OpenEXR (.exr).",
        ));
    };
    let (width, height) = ImageReader::with_format(file, format).into_dimensions().map_err(broken)?;
    let texels = u64::from(width) * u64::from(height);
    if width.max(height) > limits::ENVIRONMENT_SIDE_TEXELS_MAX || texels > limits::ENVIRONMENT_TEXELS_MAX {
        return Err(SceneError::limit(
            "load",
            format!(
                "The environment has {width} × {height} texels; the limits are {} a side and {} in all.",
                limits::ENVIRONMENT_SIDE_TEXELS_MAX,
                limits::ENVIRONMENT_TEXELS_MAX
            ),
        ));
    }
    if texels == 0 {
        return Err(SceneError::invalid("load", "The environment has no texels."));
    }
    let mut reader = ImageReader::with_format(open()?, format);
    let mut bounds = Limits::default();
    bounds.max_alloc = Some(limits::ENVIRONMENT_TEXELS_MAX * 32);
    reader.limits(bounds);
    let picture = reader.decode().map_err(broken)?.into_rgb32f();
    let (width, height) = picture.dimensions();
    let mut radiance: Vec<[f32; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
    let (mut invalid, mut clamped) = (0_u64, 0_u64);
    for value in radiance.iter_mut().flatten() {
        if value.is_nan() || *value < 0.0 {
            *value = 0.0;
            invalid += 1;
        } else if *value > limits::ENVIRONMENT_RADIANCE_MAX {
            *value = limits::ENVIRONMENT_RADIANCE_MAX;
            clamped += 1;
        }
    }
    let mut environment = Environment::new(width, height, radiance);
    if invalid > 0 {
        environment
            .notes
            .push(format!("{invalid} values of the environment were negative or not a number and were set to 0."));
    }
    if clamped > 0 {
        environment.notes.push(format!(
            "{clamped} values of the environment were clamped to {:e}.",
            limits::ENVIRONMENT_RADIANCE_MAX
        ));
    }
    if u64::from(width) != 2 * u64::from(height) {
        environment.notes.push(format!("The environment has {width} × {height} texels; an equirectangular picture is twice as wide as high, so it is stretched."));
    }
    Ok(environment)
}

fn broken(error: image::ImageError) -> SceneError {
    match error {
        image::ImageError::IoError(error)
            if error.kind() != std::io::ErrorKind::UnexpectedEof && error.raw_os_error().is_some() =>
        {
            SceneError::io("load", format!("The environment cannot be read: {error}."))
        }
        error => SceneError::invalid("load", format!("The environment cannot be decoded: {error}.")),
    }
}

/// Fills a picture by a function of direction.
fn paint(width: u32, height: u32, radiance: impl Fn(Vec3) -> Vec3) -> Vec<[f32; 3]> {
    let mut texels = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        for x in 0..width {
            let uv = Vec2::new((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
            texels.push(radiance(direction_of_uv(uv)).to_array());
        }
    }
    texels
}

/// Irradiance that a picture gives to a surface facing `normal`.
fn irradiance(width: u32, height: u32, texels: &[[f32; 3]], normal: Vec3) -> Vec3 {
    let mut sum = Vec3::ZERO;
    for (index, texel) in texels.iter().enumerate() {
        let (x, y) = (index as u32 % width, index as u32 / width);
        let direction = direction_of_uv(Vec2::new((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32));
        let solid_angle = TAU / width as f32 * PI / height as f32 * sin_theta_of_row(y, height);
        sum += Vec3::from_array(*texel) * direction.dot(normal).max(0.0) * solid_angle;
    }
    sum
}
