//! Film → tone map → PNG, JPEG, WebP, EXR; frames → animations ([`animation`]). Runs on encoder threads. Knows nothing of jobs' life cycle or HTTP.
//!
//! The same film and settings always give the same bytes. Nothing that is not a number is ever written: it is counted
//! and reported as [`EncodeError::NotFinite`].

pub mod animation;
mod color;
mod convert;
mod encode;
mod exr_file;
mod packed;

pub use color::{linear_from_srgb, srgb_from_linear, tone_map};
pub use convert::convert;
pub use encode::{encode, encode_as, file_name, media_type, preview_png};

pub use packed::PackedPicture;

use crate::job::FailureReason;
use std::path::PathBuf;

/// Linear radiance and coverage, one entry a pixel, rows from top to bottom.
#[derive(Debug, Clone, PartialEq)]
pub struct Film {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Mean over samples: scene-linear Rec. 709 radiance, premultiplied by coverage, and coverage (alpha) in [0, 1].
    pub rgba: Vec<[f32; 4]>,
    /// Samples per pixel in it.
    pub samples: u32,
}

/// Why a picture could not be written or converted.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The renderer made something that is not a number. A fault of Kiln.
    #[error(
        "the film holds {pixels} pixels that are infinite or not a number, the first at x {x}, y {y}; all must be finite, so no picture was \
         written"
    )]
    NotFinite {
        /// How many pixels have at least one such channel.
        pixels: u64,
        /// Column of the first one, from 0.
        x: u32,
        /// Row of the first one, from 0 at the top.
        y: u32,
    },
    /// The disk said no.
    #[error("the picture could not be written to {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The format's encoder said no.
    #[error("the picture could not be encoded as {media_type}: {message}")]
    Encoder {
        /// The format.
        media_type: &'static str,
        /// What the encoder said.
        message: String,
    },
    /// The files together have more bytes than one job may write.
    #[error("the files have more than {} GiB, which is the most that one job may write; ask for fewer frames, a smaller picture or another format", bytes_max >> 30)]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The bytes to convert are not what they should be.
    #[error("the stored picture could not be read as {media_type}: {message}")]
    Decode {
        /// What it should be.
        media_type: String,
        /// What the decoder said.
        message: String,
    },
    /// There is no way from the one format to the other.
    #[error(
        "a picture of type {from} cannot be converted to {to}; image/png, image/jpeg and image/webp convert into each other"
    )]
    Unsupported {
        /// The type there is.
        from: String,
        /// The type that was asked for.
        to: &'static str,
    },
}

impl EncodeError {
    /// The class of failure that this is for a job. What a format has no room for has none in the next attempt either.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Encoder { .. } | Self::TooLarge { .. } => FailureReason::LimitExceeded,
            Self::NotFinite { .. } | Self::Io { .. } | Self::Decode { .. } | Self::Unsupported { .. } => {
                FailureReason::Internal
            }
        }
    }
}

impl Film {
    /// Errs if any channel of any pixel is infinite or not a number.
    pub fn check_finite(&self) -> Result<(), EncodeError> {
        let is_bad = |pixel: &[f32; 4]| !pixel.iter().all(|channel| channel.is_finite());
        let Some(first) = self.rgba.iter().position(is_bad) else { return Ok(()) };
        let pixels = self.rgba[first..].iter().filter(|pixel| is_bad(pixel)).count() as u64;
        let width = self.width as usize;
        Err(EncodeError::NotFinite { pixels, x: (first % width) as u32, y: (first / width) as u32 })
    }
}
