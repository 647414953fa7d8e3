//! Pictures of channels: decoded, turned where the dialect counts rows from below, and reduced to mipmaps. Loader threads only.

use crate::job::shader::ColorSpace;
use crate::limits::{CHANNEL_TEXELS_SIDE_BY_SIDE_MAX, IMAGE_PIXELS_MAX, TEXTURE_SIDE_TEXELS_MAX};
use image::{ImageFormat, ImageReader, Limits};
use rayon::prelude::*;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A picture with its mipmaps, as the device takes it.
#[derive(Debug, Clone)]
pub struct ChannelPicture {
    /// Width and height of level 0, in texels.
    pub size: [u32; 2],
    /// How its bytes are read.
    pub format: ChannelFormat,
    /// Bytes of each level, the largest first; rows without gaps.
    pub levels: Vec<Vec<u8>>,
}

/// How a channel's bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelFormat {
    /// Four bytes through the sRGB curve.
    Rgba8Srgb,
    /// Four bytes as they are.
    Rgba8,
    /// Four half floats.
    Rgba16Float,
}

impl ChannelFormat {
    /// Bytes of a texel.
    pub fn texel_bytes(self) -> u32 {
        match self {
            Self::Rgba8Srgb | Self::Rgba8 => 4,
            Self::Rgba16Float => 8,
        }
    }
}

/// Reads a picture. `bottom_up`: row 0 of the texture is the lowest row.
///
/// While it is read and reduced, a picture takes several times its own memory, so that large ones are read one after the other.
///
/// # Errors
/// A sentence that says what is wrong with the picture.
pub fn load(path: &Path, color_space: ColorSpace, bottom_up: bool) -> Result<ChannelPicture, String> {
    static LARGE: Mutex<()> = Mutex::new(());
    let large = texels(path)? > CHANNEL_TEXELS_SIDE_BY_SIDE_MAX;
    // It guards nothing that a panic could leave half written.
    let _one_at_a_time = large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let mut picture = decode(path)?;
    if bottom_up {
        picture = picture.flipv();
    }
    let size = [picture.width(), picture.height()];
    if size.contains(&0) {
        return Err("the picture has no texels".to_owned());
    }
    let float = matches!(picture.color(), image::ColorType::Rgb32F | image::ColorType::Rgba32F);
    let format = match (float, color_space) {
        (true, _) => ChannelFormat::Rgba16Float,
        (false, ColorSpace::Linear) => ChannelFormat::Rgba8,
        (false, _) => ChannelFormat::Rgba8Srgb,
    };
    let levels = if float { mipmaps_float(&picture.into_rgba32f()) } else { mipmaps8(&picture.into_rgba8(), format) };
    Ok(ChannelPicture { size, format, levels })
}

/// The texels of a picture, by its head.
///
/// # Errors
/// As [`load`].
pub fn texels(path: &Path) -> Result<u64, String> {
    let (width, height) =
        open(path)?.into_dimensions().map_err(|error| format!("the picture cannot be decoded: {error}"))?;
    Ok(u64::from(width) * u64::from(height))
}

fn open(path: &Path) -> Result<ImageReader<BufReader<std::fs::File>>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("the picture cannot be read: {}", error.kind()))?;
    let reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|error| format!("the picture cannot be read: {}", error.kind()))?;
    let known = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Hdr, ImageFormat::OpenExr];
    if !reader.format().is_some_and(|format| known.contains(&format)) {
        return Err("the picture is in a format that Kiln does not read; expected PNG, JPEG, WebP, HDR or EXR".into());
    }
    Ok(reader)
}

fn decode(path: &Path) -> Result<image::DynamicImage, String> {
    let mut reader = open(path)?;
    let mut bounds = Limits::default();
    bounds.max_image_width = Some(TEXTURE_SIDE_TEXELS_MAX);
    bounds.max_image_height = Some(TEXTURE_SIDE_TEXELS_MAX);
    bounds.max_alloc = Some(IMAGE_PIXELS_MAX * 16);
    reader.limits(bounds);
    reader.decode().map_err(|error| format!("the picture cannot be decoded: {error}"))
}

/// Each level is the mean of two by two texels of the one before, in linear light.
fn reduce(from: &[[f32; 4]], size: [u32; 2]) -> (Vec<[f32; 4]>, [u32; 2]) {
    let half = size.map(|side| (side / 2).max(1));
    let (width, height) = (size[0] as usize, size[1] as usize);
    let rows = (0..half[1] as usize).into_par_iter().flat_map_iter(|y| {
        (0..half[0] as usize).map(move |x| {
            let xs = [(2 * x).min(width - 1), (2 * x + 1).min(width - 1)];
            let ys = [(2 * y).min(height - 1), (2 * y + 1).min(height - 1)];
            let mut sum = [0.0; 4];
            for (y, x) in ys.into_iter().flat_map(|y| xs.map(|x| (y, x))) {
                let texel = from[y * width + x];
                sum = std::array::from_fn(|channel| sum[channel] + texel[channel]);
            }
            sum.map(|channel| channel * 0.25)
        })
    });
    (rows.collect(), half)
}

/// All levels of a picture, written by `write`.
fn levels(
    mut texels: Vec<[f32; 4]>,
    mut size: [u32; 2],
    first: Vec<u8>,
    write: impl Fn(&[[f32; 4]]) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let mut levels = vec![first];
    while size != [1, 1] {
        (texels, size) = reduce(&texels, size);
        levels.push(write(&texels));
    }
    levels
}

fn mipmaps8(picture: &image::RgbaImage, format: ChannelFormat) -> Vec<Vec<u8>> {
    let srgb = format == ChannelFormat::Rgba8Srgb;
    let linear: Vec<f32> = (0..=255_u16)
        .map(|byte| {
            let value = f32::from(byte) / 255.0;
            if srgb { crate::image::linear_from_srgb(value) } else { value }
        })
        .collect();
    let texels = picture
        .pixels()
        .map(|pixel| {
            let [r, g, b, a] = pixel.0;
            let color = [r, g, b].map(|byte| linear[usize::from(byte)]);
            [color[0], color[1], color[2], f32::from(a) / 255.0]
        })
        .collect();
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    let write = |texels: &[[f32; 4]]| {
        let pixel = |&[r, g, b, a]: &[f32; 4]| {
            let color = [r, g, b].map(|value| if srgb { crate::image::srgb_from_linear(value) } else { value });
            [byte(color[0]), byte(color[1]), byte(color[2]), byte(a)]
        };
        texels.iter().flat_map(pixel).collect()
    };
    levels(texels, [picture.width(), picture.height()], picture.as_raw().clone(), write)
}

fn mipmaps_float(picture: &image::Rgba32FImage) -> Vec<Vec<u8>> {
    // What a half float cannot hold would be infinite, and poison every level above it.
    let finite = |value: f32| if value.is_nan() { 0.0 } else { value.clamp(-65504.0, 65504.0) };
    let texels: Vec<[f32; 4]> = picture.pixels().map(|pixel| pixel.0.map(finite)).collect();
    let write = |texels: &[[f32; 4]]| -> Vec<u8> {
        let half = |value: &f32| half::f16::from_f32(*value).to_le_bytes();
        texels.as_flattened().iter().flat_map(half).collect()
    };
    let first = write(&texels);
    levels(texels, [picture.width(), picture.height()], first, write)
}
