//! GIF89a. Every frame has a palette of its own: the exact colours where there are 256 at most, else the ones that a Kohonen network
//! learns from the frame (Anthony Dekker, 1994, "Kohonen neural networks for optimal colour quantization").

use super::{AnimationSettings, file_name};
use crate::image::EncodeError;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Pixels that the network learns from, about: all of a small picture, every tenth of a large one (the author's own choice).
const LEARNT_PIXELS: u64 = 100_000;
/// Every pixel is looked at, or at most every tenth.
const SAMPLING_MAX: u64 = 10;
/// Hundredths of a second: browsers play shorter frames at a tenth of a second.
const DELAY_MIN: u64 = 2;

pub(super) fn compress(settings: &AnimationSettings, mut pixels: Vec<u8>) -> gif::Frame<'static> {
    // At most `ANIMATION_PIXELS_MAX`, and the writer refuses sides beyond 16 bits.
    let (width, height) = (settings.size[0] as u16, settings.size[1] as u16);
    let sampling = (u64::from(width) * u64::from(height) / LEARNT_PIXELS).clamp(1, SAMPLING_MAX) as i32;
    let mut frame = if settings.alpha {
        gif::Frame::from_rgba_speed(width, height, &mut pixels, sampling)
    } else {
        gif::Frame::from_rgb_speed(width, height, &pixels, sampling)
    };
    frame.dispose = if settings.alpha { gif::DisposalMethod::Background } else { gif::DisposalMethod::Keep };
    frame.make_lzw_pre_encoded();
    frame
}

pub(super) struct GifWriter {
    /// Taken by [`Self::finish`].
    encoder: Option<gif::Encoder<BufWriter<File>>>,
}

impl GifWriter {
    pub(super) fn new(file: BufWriter<File>, settings: &AnimationSettings) -> Result<Self, EncodeError> {
        let side = |side: u32| {
            u16::try_from(side).map_err(|_| settings.error(format!("{side} pixels wide or high; at most 65535")))
        };
        let (width, height) = (side(settings.size[0])?, side(settings.size[1])?);
        let mut encoder = gif::Encoder::new(file, width, height, &[]).map_err(|error| settings.error(error))?;
        encoder.set_repeat(gif::Repeat::Infinite).map_err(|error| settings.error(error))?;
        Ok(Self { encoder: Some(encoder) })
    }

    pub(super) fn push(
        &mut self,
        mut frame: gif::Frame<'static>,
        settings: &AnimationSettings,
        index: u64,
    ) -> Result<(), EncodeError> {
        frame.delay = settings.lasts(index, 100.0).clamp(DELAY_MIN, u64::from(u16::MAX)) as u16;
        let encoder = self.encoder.as_mut().ok_or_else(|| settings.error("the file is finished"))?;
        encoder.write_lzw_pre_encoded_frame(&frame).map_err(|error| match error {
            gif::EncodingError::Io(source) => EncodeError::Io { path: file_name(settings.format).into(), source },
            error => settings.error(error),
        })
    }

    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        // Writes the trailer, which would else be written where it is dropped, and nobody would hear of a full disk.
        let mut file = encoder.into_inner().map_err(std::io::Error::other)?;
        file.flush()
    }
}
