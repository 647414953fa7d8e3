//! Writes a film as a file of one of the display formats, hashing the bytes on their way.

use super::color::{linear_from_srgb, srgb_from_linear, tone_map, unorm8, unorm16};
use super::{EncodeError, Film, exr_file};
use crate::job::Output;
use crate::job::spec::{Background, Format, OutputSpec, ToneMap};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Rows that are tone mapped in parallel before they go to the compressor.
const ROWS_PER_BAND: usize = 64;

/// The name of a job's picture.
pub fn file_name(format: Format) -> &'static str {
    match format {
        Format::Png => "image.png",
        Format::Jpeg => "image.jpg",
        Format::Webp => "image.webp",
        Format::Exr => "image.exr",
        Format::Apng => "animation.png",
        Format::Gif => "animation.gif",
        Format::Mp4 => "animation.mp4",
    }
}

/// MIME type of a format.
pub fn media_type(format: Format) -> &'static str {
    match format {
        Format::Png => "image/png",
        Format::Jpeg => "image/jpeg",
        Format::Webp => "image/webp",
        Format::Exr => "image/x-exr",
        Format::Apng => "image/apng",
        Format::Gif => "image/gif",
        Format::Mp4 => "video/mp4",
    }
}

/// Writes `film` into the existing folder `dir`, under [`file_name`], and says what was written. The file is complete, but not fsynced.
///
/// - PNG: sRGB, 8 or 16 bits; RGB, or RGBA with straight alpha where the background is transparent. A colour lies behind
///   the picture as it is: neither exposure nor curve touch it.
/// - WebP: lossless, 8 bits, sRGB; as PNG otherwise.
/// - JPEG: sRGB; a transparent picture is laid over white, in linear light.
/// - EXR: 32-bit float, scene-linear Rec. 709, alpha premultiplied (1 unless transparent); neither tone map nor exposure apply.
///
/// `exposure_ev` is in stops. PNG is compressed band by band; JPEG and WebP hold the picture once more, with 8 bits a channel.
///
/// # Errors
/// [`EncodeError::NotFinite`], `Io` or `Encoder`. What was begun of the file is removed.
///
/// # Panics
/// If the film's length does not fit its size.
pub fn encode(
    film: &Film,
    output: &OutputSpec,
    tone_map: ToneMap,
    exposure_ev: f32,
    background: Background,
    dir: &Path,
) -> Result<Output, EncodeError> {
    encode_as(film, output, tone_map, exposure_ev, background, &dir.join(file_name(output.format)))
}

/// As [`encode`], into the file `path`, whose name is the output's.
///
/// # Errors
/// As [`encode`].
///
/// # Panics
/// As [`encode`].
pub fn encode_as(
    film: &Film,
    output: &OutputSpec,
    tone_map: ToneMap,
    exposure_ev: f32,
    background: Background,
    path: &Path,
) -> Result<Output, EncodeError> {
    film.check_finite()?;
    let written = write_file(film, output, &Display::new(tone_map, exposure_ev, background), path);
    if written.is_err() {
        // The error says what happened; a file that cannot be removed either changes nothing about it.
        let _ = std::fs::remove_file(path);
    }
    let (bytes, sha256) = written?;
    Ok(Output {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        media_type: media_type(output.format).to_owned(),
        bytes,
        sha256: hex::encode(sha256),
    })
}

/// The film so far as an 8-bit PNG in memory; see [`encode`].
pub fn preview_png(
    film: &Film,
    tone_map: ToneMap,
    exposure_ev: f32,
    background: Background,
) -> Result<Vec<u8>, EncodeError> {
    film.check_finite()?;
    let mut png = Vec::new();
    write_png(film, 8, &Display::new(tone_map, exposure_ev, background), &mut png).map_err(png_error)?;
    Ok(png)
}

fn write_file(
    film: &Film,
    output: &OutputSpec,
    display: &Display,
    path: &Path,
) -> Result<(u64, [u8; 32]), EncodeError> {
    let io_error = |source| EncodeError::Io { path: path.to_owned(), source };
    let file = File::create(path).map_err(io_error)?;
    if output.format == Format::Exr {
        return exr_file::write(film, display.transparent, display.behind, file, path);
    }
    let mut writer = HashingWriter::new(BufWriter::new(file));
    match output.format {
        Format::Png => {
            write_png(film, output.bit_depth, display, &mut writer).map_err(|error| match error {
                png::EncodingError::IoError(source) => io_error(source),
                other => png_error(other),
            })?;
        }
        Format::Jpeg => {
            let rgb = display.rgb8_over_white(film);
            write_jpeg(&rgb, film.width, film.height, output.quality, &mut writer)?;
        }
        Format::Webp => {
            let pixels = display.pixels8(film);
            write_webp(&pixels, film.width, film.height, display.transparent, &mut writer)?;
        }
        Format::Exr => unreachable!("returned above"),
        Format::Apng | Format::Gif | Format::Mp4 => {
            let message =
                "it holds several frames, and one picture was given; encode the frames as a still format".to_owned();
            return Err(EncodeError::Encoder { media_type: media_type(output.format), message });
        }
    }
    writer.finish().map_err(io_error)
}

fn png_error(error: png::EncodingError) -> EncodeError {
    EncodeError::Encoder { media_type: media_type(Format::Png), message: error.to_string() }
}

/// PNG with an sRGB chunk.
fn write_png(film: &Film, bit_depth: u8, display: &Display, to: impl Write) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(to, film.width, film.height);
    encoder.set_color(if display.transparent { png::ColorType::Rgba } else { png::ColorType::Rgb });
    encoder.set_depth(if bit_depth == 16 { png::BitDepth::Sixteen } else { png::BitDepth::Eight });
    encoder.set_compression(png::Compression::Fast);
    encoder.set_source_srgb(png::SrgbRenderingIntent::RelativeColorimetric);
    let mut writer = encoder.write_header()?;
    let mut stream = writer.stream_writer()?;
    for band in film.rgba.chunks(film.width as usize * ROWS_PER_BAND) {
        let bytes = if bit_depth == 16 { display.bytes16(band) } else { display.bytes8(band) };
        stream.write_all(&bytes)?;
    }
    stream.finish()?;
    writer.finish()
}

/// Baseline JPEG without chroma subsampling from quality 90 up (the crate's rule), from sRGB-encoded RGB.
pub(super) fn write_jpeg(rgb: &[u8], width: u32, height: u32, quality: u8, to: impl Write) -> Result<(), EncodeError> {
    let error = |message| EncodeError::Encoder { media_type: media_type(Format::Jpeg), message };
    let io = |source| EncodeError::Io { path: file_name(Format::Jpeg).into(), source };
    let side =
        |pixels: u32| u16::try_from(pixels).map_err(|_| error(format!("{pixels} pixels wide or high; at most 65535")));
    jpeg_encoder::Encoder::new(to, quality.clamp(1, 100))
        .encode(rgb, side(width)?, side(height)?, jpeg_encoder::ColorType::Rgb)
        .map_err(|cause| match cause {
            jpeg_encoder::EncodingError::IoError(source) => io(source),
            cause => error(cause.to_string()),
        })
}

/// Lossless WebP from sRGB-encoded RGB, or RGBA if `alpha`.
pub(super) fn write_webp(
    pixels: &[u8],
    width: u32,
    height: u32,
    alpha: bool,
    to: impl Write,
) -> Result<(), EncodeError> {
    let color = if alpha { image_webp::ColorType::Rgba8 } else { image_webp::ColorType::Rgb8 };
    image_webp::WebPEncoder::new(to).encode(pixels, width, height, color).map_err(|cause| match cause {
        image_webp::EncodingError::IoError(source) => EncodeError::Io { path: file_name(Format::Webp).into(), source },
        cause => EncodeError::Encoder { media_type: media_type(Format::Webp), message: cause.to_string() },
    })
}

/// How film becomes display values.
struct Display {
    tone_map: ToneMap,
    exposure_scale: f32,
    /// Straight alpha is written.
    transparent: bool,
    /// Display-linear colour behind what is not covered. It is a colour of the page, so neither exposure nor curve touch it.
    behind: Option<[f32; 3]>,
}

impl Display {
    fn new(tone_map: ToneMap, exposure_ev: f32, background: Background) -> Self {
        let behind = match background {
            Background::Color(srgb) => Some(srgb.map(|channel| linear_from_srgb(f32::from(channel) / 255.0))),
            Background::Environment | Background::Transparent => None,
        };
        let transparent = background == Background::Transparent;
        Self { tone_map, exposure_scale: exposure_ev.exp2(), transparent, behind }
    }

    /// Display-linear colour, not premultiplied, and alpha; both in [0, 1]. Alpha is 1 unless transparent.
    fn linear(&self, [r, g, b, a]: [f32; 4]) -> ([f32; 3], f32) {
        if !self.transparent && self.behind.is_none() {
            return (tone_map([r, g, b], self.tone_map, self.exposure_scale), 1.0);
        }
        let alpha = a.clamp(0.0, 1.0);
        let behind = self.behind.unwrap_or_default();
        if alpha == 0.0 {
            return (behind, if self.transparent { 0.0 } else { 1.0 });
        }
        // The curve is for the surface's own colour, so coverage is taken out before it, as straight alpha wants anyway.
        let surface = tone_map([r / alpha, g / alpha, b / alpha], self.tone_map, self.exposure_scale);
        if self.transparent {
            return (surface, alpha);
        }
        ([0, 1, 2].map(|channel| behind[channel] + (surface[channel] - behind[channel]) * alpha), 1.0)
    }

    /// sRGB-encoded samples of a band, through `quantize`.
    fn samples<T: Send + Default + Clone>(&self, band: &[[f32; 4]], quantize: impl Fn(f32) -> T + Sync) -> Vec<T> {
        let channels = if self.transparent { 4 } else { 3 };
        let mut samples = vec![T::default(); band.len() * channels];
        samples.par_chunks_exact_mut(channels).zip(band).with_min_len(1024).for_each(|(to, &pixel)| {
            let (rgb, alpha) = self.linear(pixel);
            for (to, linear) in to.iter_mut().zip(rgb) {
                *to = quantize(srgb_from_linear(linear));
            }
            if let [_, _, _, to] = to {
                *to = quantize(alpha);
            }
        });
        samples
    }

    fn bytes8(&self, band: &[[f32; 4]]) -> Vec<u8> {
        self.samples(band, unorm8)
    }

    /// Big-endian, as PNG wants.
    fn bytes16(&self, band: &[[f32; 4]]) -> Vec<u8> {
        self.samples(band, |value| unorm16(value).to_be_bytes()).into_flattened()
    }

    fn pixels8(&self, film: &Film) -> Vec<u8> {
        self.bytes8(&film.rgba)
    }

    fn rgb8_over_white(&self, film: &Film) -> Vec<u8> {
        let mut rgb = vec![0; film.rgba.len() * 3];
        rgb.par_chunks_exact_mut(3).zip(&film.rgba).with_min_len(1024).for_each(|(to, &pixel)| {
            let (linear, alpha) = self.linear(pixel);
            for (to, linear) in to.iter_mut().zip(linear) {
                *to = unorm8(srgb_from_linear(over_white(linear, alpha)));
            }
        });
        rgb
    }
}

/// Straight-alpha colour over white, in linear light.
pub(super) fn over_white(linear: f32, alpha: f32) -> f32 {
    linear * alpha + (1.0 - alpha)
}

/// Counts and hashes what goes into the file.
pub(super) struct HashingWriter {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl HashingWriter {
    pub(super) fn new(file: BufWriter<File>) -> Self {
        Self { file, hash: Sha256::new(), bytes: 0 }
    }

    /// Length and SHA-256 of what was written.
    pub(super) fn finish(mut self) -> std::io::Result<(u64, [u8; 32])> {
        self.file.flush()?;
        Ok((self.bytes, self.hash.finalize().into()))
    }
}

impl Write for HashingWriter {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
