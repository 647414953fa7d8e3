//! Animations, frame by frame into a file: APNG, GIF, WebP and MP4 (AV1). Memory is bounded by a few frames, whatever their number.
//!
//! Two steps, so that frames can be compressed side by side and still be written in their order: [`Compressor::compress`] is a pure
//! function of one frame that any thread may call, [`AnimationWriter::push`] takes what it gave, in order. For one thread,
//! [`AnimationWriter::push_frame`] does both.
//!
//! The same frames and settings give the same bytes, on any number of threads.

mod apng;
mod gif;
mod mp4;
mod webp;

use super::{EncodeError, media_type};
use crate::job::spec::Format;
use crate::limits::OUTPUT_BYTES_MAX;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// What an animation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnimationSettings {
    /// [`Format::Apng`], `Gif`, `Webp` or `Mp4`.
    pub format: Format,
    /// Width and height of every frame, in pixels; at least 16 each for MP4.
    pub size: [u32; 2],
    /// Frames a second, above 0. GIF knows hundredths of a second and no shorter frame than two of them, which is what browsers play.
    pub frame_rate: f64,
    /// Frames have four bytes a pixel, straight alpha, instead of three. MP4 lays them over white; GIF knows on and off.
    pub alpha: bool,
    /// Quality of MP4, 1 to 100.
    pub quality: u8,
}

impl AnimationSettings {
    /// Bytes of one frame as it is pushed: sRGB, rows from top to bottom.
    pub fn frame_bytes(&self) -> usize {
        self.size[0] as usize * self.size[1] as usize * if self.alpha { 4 } else { 3 }
    }

    /// When frame `index` begins, in units of which there are `units` a second. Rounded, so that errors do not add up.
    fn begins(&self, index: u64, units: f64) -> u64 {
        (index as f64 * units / self.frame_rate).round() as u64
    }

    /// How long frame `index` is shown.
    fn lasts(&self, index: u64, units: f64) -> u64 {
        self.begins(index + 1, units) - self.begins(index, units)
    }

    fn error(&self, message: impl ToString) -> EncodeError {
        EncodeError::Encoder { media_type: media_type(self.format), message: message.to_string() }
    }
}

/// The name of a job's animation.
pub fn file_name(format: Format) -> &'static str {
    match format {
        Format::Webp => "animation.webp",
        other => super::file_name(other),
    }
}

/// A frame on its way into a file.
pub struct CompressedFrame(Compressed);

enum Compressed {
    /// Of an APNG: the bytes of its IDAT chunks.
    Deflated(Vec<u8>),
    /// Of a GIF: palette and LZW codes.
    Gif(Box<::gif::Frame<'static>>),
    /// Of a WebP: its VP8L chunk, head included.
    Vp8l(Vec<u8>),
    /// Of an MP4: planes Y, U, V; the video encoder needs them in their order.
    Planes([Vec<u8>; 3]),
}

/// Compresses single frames. Clones share nothing.
#[derive(Debug, Clone, Copy)]
pub struct Compressor(AnimationSettings);

impl Compressor {
    /// Compresses one frame of [`AnimationSettings::frame_bytes`] bytes.
    ///
    /// # Errors
    /// [`EncodeError::Encoder`].
    pub fn compress(&self, pixels: Vec<u8>) -> Result<CompressedFrame, EncodeError> {
        let settings = &self.0;
        if pixels.len() != settings.frame_bytes() {
            let message = format!("a frame of {} bytes was given, expected {}", pixels.len(), settings.frame_bytes());
            return Err(settings.error(message));
        }
        Ok(CompressedFrame(match settings.format {
            Format::Apng => Compressed::Deflated(apng::compress(settings, &pixels)?),
            Format::Gif => Compressed::Gif(Box::new(gif::compress(settings, pixels))),
            Format::Webp => Compressed::Vp8l(webp::compress(settings, &pixels)?),
            Format::Mp4 => Compressed::Planes(mp4::planes(settings, &pixels)),
            Format::Png | Format::Jpeg | Format::Exr => return Err(settings.error("it is no animation")),
        }))
    }
}

enum Writer {
    Apng(apng::ApngWriter),
    Gif(gif::GifWriter),
    Webp(webp::WebpWriter),
    Mp4(Box<mp4::Mp4Writer>),
}

/// Writes an animation. Dropped before [`Self::finish`], it removes what it has begun.
pub struct AnimationWriter {
    settings: AnimationSettings,
    path: PathBuf,
    frames: u64,
    /// Of all compressed frames so far.
    bytes: u64,
    writer: Option<Writer>,
}

impl AnimationWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// [`EncodeError::Io`], or `Encoder` where the format has no such animation.
    pub fn create(path: &Path, settings: AnimationSettings) -> Result<Self, EncodeError> {
        let io = |source| EncodeError::Io { path: path.to_owned(), source };
        let mut this = Self { settings, path: path.to_owned(), frames: 0, bytes: 0, writer: None };
        let file = BufWriter::new(File::create(path).map_err(io)?);
        this.writer = Some(match settings.format {
            Format::Apng => Writer::Apng(apng::ApngWriter::new(file, &settings).map_err(io)?),
            Format::Gif => Writer::Gif(gif::GifWriter::new(file, &settings)?),
            Format::Webp => Writer::Webp(webp::WebpWriter::new(file, &settings).map_err(io)?),
            Format::Mp4 => Writer::Mp4(Box::new(mp4::Mp4Writer::new(file, path, &settings)?)),
            Format::Png | Format::Jpeg | Format::Exr => return Err(settings.error("it is no animation")),
        });
        Ok(this)
    }

    /// What compresses frames for this file.
    pub fn compressor(&self) -> Compressor {
        Compressor(self.settings)
    }

    /// Adds the next frame.
    ///
    /// # Errors
    /// [`EncodeError::Io`], `Encoder`, or `TooLarge` beyond [`OUTPUT_BYTES_MAX`]; the file is of no use afterwards.
    pub fn push(&mut self, frame: CompressedFrame) -> Result<(), EncodeError> {
        let index = self.frames;
        self.frames += 1;
        let settings = &self.settings;
        let io = |source: std::io::Error| match source.kind() {
            ErrorKind::FileTooLarge => settings.error(source),
            _ => EncodeError::Io { path: self.path.clone(), source },
        };
        let writer = self.writer.as_mut().expect("it is there until `finish`, which takes all of this");
        self.bytes += match (writer, frame.0) {
            (Writer::Apng(writer), Compressed::Deflated(data)) => {
                writer.push(&data, settings).map_err(io)?;
                data.len() as u64
            }
            (Writer::Gif(writer), Compressed::Gif(frame)) => {
                let bytes = frame.buffer.len() as u64;
                writer.push(*frame, settings, index)?;
                bytes
            }
            (Writer::Webp(writer), Compressed::Vp8l(chunk)) => {
                writer.push(&chunk, settings, index).map_err(io)?;
                chunk.len() as u64
            }
            (Writer::Mp4(writer), Compressed::Planes(planes)) => writer.push(&planes)?,
            _ => return Err(settings.error("the frame was compressed for another format")),
        };
        if self.bytes > OUTPUT_BYTES_MAX {
            return Err(EncodeError::TooLarge { bytes_max: OUTPUT_BYTES_MAX });
        }
        Ok(())
    }

    /// Compresses and adds the next frame.
    ///
    /// # Errors
    /// Those of [`Compressor::compress`] and [`Self::push`].
    pub fn push_frame(&mut self, pixels: Vec<u8>) -> Result<(), EncodeError> {
        let frame = self.compressor().compress(pixels)?;
        self.push(frame)
    }

    /// Ends the file and answers its length and SHA-256. It is complete, but not fsynced.
    ///
    /// # Errors
    /// [`EncodeError::Io`] or `Encoder`, also where there was no frame.
    pub fn finish(mut self) -> Result<(u64, [u8; 32]), EncodeError> {
        if self.frames == 0 {
            return Err(self.settings.error("there is no frame in it"));
        }
        let io = |source| EncodeError::Io { path: self.path.clone(), source };
        match self.writer.as_mut().expect("it is there until here") {
            Writer::Apng(writer) => writer.finish().map_err(io)?,
            Writer::Gif(writer) => writer.finish().map_err(io)?,
            Writer::Webp(writer) => writer.finish().map_err(io)?,
            Writer::Mp4(writer) => writer.finish()?,
        }
        let measured = hash_of(&self.path).map_err(io)?;
        self.writer = None;
        Ok(measured)
    }
}

impl Drop for AnimationWriter {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Nobody asked for half a file; one that cannot be removed lies in a folder that goes with its task.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Formats write their heads last, so that the file is hashed when it is complete.
fn hash_of(path: &Path) -> std::io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((bytes, hash.finalize().into())),
            read => {
                hash.update(&chunk[..read]);
                bytes += read as u64;
            }
        }
    }
}
