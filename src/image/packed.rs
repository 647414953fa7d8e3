//! Pictures that come from the device as the bytes of their file's pixels: nothing is left to do but to compress them.

use super::encode::{HashingWriter, write_jpeg, write_webp};
use super::{EncodeError, Film, exr_file, media_type};
use crate::job::spec::{Format, OutputSpec};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// See the module's text.
#[derive(Debug, Clone, Copy)]
pub struct PackedPicture<'b> {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// RGB has 16 bits a channel, big-endian, instead of 8. Only for PNG.
    pub deep: bool,
    /// Rows from top to bottom: sRGB RGB, or for EXR linear RGBA as little-endian 32-bit floats.
    pub bytes: &'b [u8],
}

impl PackedPicture<'_> {
    /// Writes a still. Answers the file's length and SHA-256; it is complete, but not fsynced.
    ///
    /// # Errors
    /// [`EncodeError::Io`] or `Encoder`. What was begun of the file is removed.
    pub fn write(&self, output: &OutputSpec, path: &Path) -> Result<(u64, [u8; 32]), EncodeError> {
        let written = self.write_file(output, path);
        if written.is_err() {
            // The error says what happened; a file that cannot be removed either changes nothing about it.
            let _ = std::fs::remove_file(path);
        }
        written
    }

    /// The picture as an 8-bit PNG in memory.
    ///
    /// # Errors
    /// [`EncodeError::Encoder`].
    pub fn png(&self) -> Result<Vec<u8>, EncodeError> {
        let mut png = Vec::new();
        self.write_png(&mut png).map_err(png_error)?;
        Ok(png)
    }

    fn write_file(&self, output: &OutputSpec, path: &Path) -> Result<(u64, [u8; 32]), EncodeError> {
        let io_error = |source| EncodeError::Io { path: path.to_owned(), source };
        let file = File::create(path).map_err(io_error)?;
        if output.format == Format::Exr {
            return exr_file::write(&self.film(), true, None, file, path);
        }
        let mut writer = HashingWriter::new(BufWriter::new(file));
        let [width, height] = self.size;
        match output.format {
            Format::Png => self.write_png(&mut writer).map_err(|error| match error {
                png::EncodingError::IoError(source) => io_error(source),
                other => png_error(other),
            })?,
            Format::Jpeg => write_jpeg(self.bytes, width, height, output.quality, &mut writer)?,
            Format::Webp => write_webp(self.bytes, width, height, false, &mut writer)?,
            Format::Exr | Format::Apng | Format::Gif | Format::Mp4 => {
                let message = "it is no still, and one picture was given".to_owned();
                return Err(EncodeError::Encoder { media_type: media_type(output.format), message });
            }
        }
        writer.finish().map_err(io_error)
    }

    fn write_png(&self, to: impl Write) -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(to, self.size[0], self.size[1]);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(if self.deep { png::BitDepth::Sixteen } else { png::BitDepth::Eight });
        encoder.set_compression(png::Compression::Fast);
        encoder.set_source_srgb(png::SrgbRenderingIntent::RelativeColorimetric);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.bytes)?;
        writer.finish()
    }

    /// The floats of an EXR.
    fn film(&self) -> Film {
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let pixel = |bytes: &[u8]| [0, 4, 8, 12].map(|at| float(&bytes[at..at + 4]));
        Film {
            width: self.size[0],
            height: self.size[1],
            rgba: self.bytes.chunks_exact(16).map(pixel).collect(),
            samples: 1,
        }
    }
}

fn png_error(error: png::EncodingError) -> EncodeError {
    EncodeError::Encoder { media_type: media_type(Format::Png), message: error.to_string() }
}
