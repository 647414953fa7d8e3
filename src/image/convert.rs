//! From one display format to another, for clients that ask for the picture as a type it was not rendered as.

use super::EncodeError;
use super::color::{linear_from_srgb, srgb_from_linear, unorm8};
use super::encode::{media_type, over_white, write_jpeg, write_webp};
use crate::job::spec::Format;
use crate::limits;
use std::io::Cursor;

/// Converts a finished picture between `image/png`, `image/jpeg` and `image/webp`. `quality` (1 to 100) is for JPEG. A picture that
/// has the type already comes back as it is. Towards JPEG a transparent picture is laid over white, in linear light; 16 bits become 8 on every way.
///
/// # Errors
/// [`EncodeError::Unsupported`] for other types (EXR is scene-linear: the tone map belongs to the job), `Decode` for broken bytes, `Encoder`.
pub fn convert(bytes: &[u8], from: &str, to: Format, quality: u8) -> Result<Vec<u8>, EncodeError> {
    let unsupported = || EncodeError::Unsupported { from: from.to_owned(), to: media_type(to) };
    let source = match from {
        _ if from == media_type(to) => return Ok(bytes.to_vec()),
        "image/png" => image::ImageFormat::Png,
        "image/jpeg" => image::ImageFormat::Jpeg,
        "image/webp" => image::ImageFormat::WebP,
        _ => return Err(unsupported()),
    };
    if !matches!(to, Format::Png | Format::Jpeg | Format::Webp) {
        return Err(unsupported());
    }

    let mut reader = image::ImageReader::with_format(Cursor::new(bytes), source);
    let mut bounds = image::Limits::default();
    bounds.max_image_width = Some(limits::IMAGE_SIDE_PIXELS_MAX);
    bounds.max_image_height = Some(limits::IMAGE_SIDE_PIXELS_MAX);
    // 16-bit RGBA, and what the decoder needs beside it.
    bounds.max_alloc = Some(limits::IMAGE_PIXELS_MAX * 8 * 2);
    reader.limits(bounds);
    let picture = reader
        .decode()
        .map_err(|error| EncodeError::Decode { media_type: from.to_owned(), message: error.to_string() })?;

    let (width, height) = (picture.width(), picture.height());
    let alpha = picture.color().has_alpha();
    let mut converted = Vec::new();
    match to {
        Format::Jpeg => {
            let rgb = if alpha { flatten(&picture.into_rgba8()) } else { picture.into_rgb8().into_raw() };
            write_jpeg(&rgb, width, height, quality, &mut converted)?;
        }
        Format::Webp => {
            let pixels = if alpha { picture.into_rgba8().into_raw() } else { picture.into_rgb8().into_raw() };
            write_webp(&pixels, width, height, alpha, &mut converted)?;
        }
        Format::Png => {
            let color = if alpha { png::ColorType::Rgba } else { png::ColorType::Rgb };
            let pixels = if alpha { picture.into_rgba8().into_raw() } else { picture.into_rgb8().into_raw() };
            write_png(&pixels, width, height, color, &mut converted)
                .map_err(|error| EncodeError::Encoder { media_type: media_type(to), message: error.to_string() })?;
        }
        Format::Exr | Format::Apng | Format::Gif | Format::Mp4 => unreachable!("refused above"),
    }
    Ok(converted)
}

fn write_png(
    pixels: &[u8],
    width: u32,
    height: u32,
    color: png::ColorType,
    to: &mut Vec<u8>,
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(to, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_source_srgb(png::SrgbRenderingIntent::RelativeColorimetric);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()
}

/// Over white, in linear light.
fn flatten(picture: &image::RgbaImage) -> Vec<u8> {
    let linear: Vec<f32> = (0..=255u8).map(|byte| linear_from_srgb(f32::from(byte) / 255.0)).collect();
    picture
        .pixels()
        .flat_map(|&image::Rgba([r, g, b, a])| {
            let alpha = f32::from(a) / 255.0;
            [r, g, b]
                .map(|c| if a == 255 { c } else { unorm8(srgb_from_linear(over_white(linear[usize::from(c)], alpha))) })
        })
        .collect()
}
