//! A finished 8- or 16-bit picture in another format. Pure, slow: runs on the blocking pool only.

use crate::job::spec::Format;
use ::image::{DynamicImage, ImageEncoder, ImageError, ImageFormat, codecs};

/// Decodes `bytes` and encodes them as `to`: PNG keeps its bit depth, JPEG puts transparent pixels on white and takes `quality` (1 to
/// 100), WebP is lossless with 8 bits. EXR has no display colours and is neither read nor written here.
pub fn convert(bytes: &[u8], from: Format, to: Format, quality: u8) -> Result<Vec<u8>, ImageError> {
    let unsupported = |format: Format| {
        let hint = ::image::error::ImageFormatHint::Name(format!("{format:?}"));
        ImageError::Unsupported(::image::error::UnsupportedError::from_format_and_kind(
            hint.clone(),
            ::image::error::UnsupportedErrorKind::Format(hint),
        ))
    };
    let from_format = match from {
        Format::Png => ImageFormat::Png,
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Webp => ImageFormat::WebP,
        Format::Exr => return Err(unsupported(from)),
    };
    let picture = ::image::load_from_memory_with_format(bytes, from_format)?;
    let (width, height) = (picture.width(), picture.height());
    let mut out = Vec::new();
    match to {
        Format::Png => {
            let encoder = codecs::png::PngEncoder::new(&mut out);
            picture.write_with_encoder(encoder)?;
        }
        Format::Jpeg => {
            let pixels = on_white(&picture);
            let encoder = codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality);
            encoder.write_image(&pixels, width, height, ::image::ExtendedColorType::Rgb8)?;
        }
        Format::Webp => {
            let encoder = codecs::webp::WebPEncoder::new_lossless(&mut out);
            encoder.write_image(&picture.to_rgba8(), width, height, ::image::ExtendedColorType::Rgba8)?;
        }
        Format::Exr => return Err(unsupported(to)),
    }
    Ok(out)
}

/// Pixels over white, in display space as browsers do it.
fn on_white(picture: &DynamicImage) -> Vec<u8> {
    let over = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    picture.to_rgba8().pixels().flat_map(|pixel| [0, 1, 2].map(|channel| over(pixel[channel], pixel[3]))).collect()
}
