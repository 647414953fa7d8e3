//! APNG (PNG, Third Edition, W3C 2025, section 11.3.6): each frame is what PNG would make of it, in chunks of other names.

use super::AnimationSettings;
use crate::image::EncodeError;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Where the chunk `acTL` begins: after the signature, `IHDR` and `sRGB`.
const ACTL_AT: u64 = 8 + 25 + 13;

/// The compressed bytes of one frame: the IDAT chunks of a PNG of it.
pub(super) fn compress(settings: &AnimationSettings, pixels: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut still = Vec::with_capacity(pixels.len() / 2);
    let write = |still: &mut Vec<u8>| -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(still, settings.size[0], settings.size[1]);
        encoder.set_color(if settings.alpha { png::ColorType::Rgba } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(pixels)?;
        writer.finish()
    };
    write(&mut still).map_err(|error| settings.error(error))?;
    let mut data = Vec::with_capacity(still.len());
    let mut rest = &still[SIGNATURE.len()..];
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((body, tail)) = tail.split_at_checked(length + 4) else { break };
        if &head[4..] == b"IDAT" {
            data.extend_from_slice(&body[..length]);
        }
        rest = tail;
    }
    Ok(data)
}

pub(super) struct ApngWriter {
    file: BufWriter<File>,
    frames: u32,
    /// Of the chunks `fcTL` and `fdAT` together.
    sequence: u32,
}

impl ApngWriter {
    pub(super) fn new(file: BufWriter<File>, settings: &AnimationSettings) -> std::io::Result<Self> {
        let mut this = Self { file, frames: 0, sequence: 0 };
        this.file.write_all(&SIGNATURE)?;
        let mut header = Vec::with_capacity(13);
        header.extend(settings.size[0].to_be_bytes());
        header.extend(settings.size[1].to_be_bytes());
        // 8 bits, RGB or RGBA, and the only methods that there are.
        header.extend([8, if settings.alpha { 6 } else { 2 }, 0, 0, 0]);
        this.chunk(b"IHDR", &header)?;
        // Relative colorimetric.
        this.chunk(b"sRGB", &[1])?;
        this.write_control()?;
        Ok(this)
    }

    /// The number of frames, which is known at the end only, and that it plays forever.
    fn write_control(&mut self) -> std::io::Result<()> {
        let mut control = self.frames.to_be_bytes().to_vec();
        control.extend(0_u32.to_be_bytes());
        self.chunk(b"acTL", &control)
    }

    pub(super) fn push(&mut self, data: &[u8], settings: &AnimationSettings) -> std::io::Result<()> {
        let (numerator, denominator) = delay(settings.frame_rate);
        let mut control = self.next_sequence().to_vec();
        control.extend(settings.size[0].to_be_bytes());
        control.extend(settings.size[1].to_be_bytes());
        control.extend([0; 8]);
        control.extend(numerator.to_be_bytes());
        control.extend(denominator.to_be_bytes());
        // Nothing is disposed of, and every frame replaces the one before.
        control.extend([0, 0]);
        self.chunk(b"fcTL", &control)?;
        if self.frames == 0 {
            self.chunk(b"IDAT", data)?;
        } else {
            let sequence = self.next_sequence();
            self.chunk_of_parts(b"fdAT", &[&sequence, data])?;
        }
        self.frames += 1;
        Ok(())
    }

    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        self.chunk(b"IEND", &[])?;
        self.file.seek(SeekFrom::Start(ACTL_AT))?;
        self.write_control()?;
        self.file.flush()
    }

    fn next_sequence(&mut self) -> [u8; 4] {
        let number = self.sequence;
        self.sequence += 1;
        number.to_be_bytes()
    }

    fn chunk(&mut self, name: &[u8; 4], data: &[u8]) -> std::io::Result<()> {
        self.chunk_of_parts(name, &[data])
    }

    fn chunk_of_parts(&mut self, name: &[u8; 4], parts: &[&[u8]]) -> std::io::Result<()> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).ok().filter(|length| *length <= i32::MAX as u32);
        let length = length.ok_or_else(|| {
            std::io::Error::new(ErrorKind::FileTooLarge, "a frame of 2 GiB does not fit in a PNG chunk")
        })?;
        let mut crc = Crc::new();
        self.file.write_all(&length.to_be_bytes())?;
        for part in std::iter::once(&name[..]).chain(parts.iter().copied()) {
            crc.update(part);
            self.file.write_all(part)?;
        }
        self.file.write_all(&crc.finish().to_be_bytes())
    }
}

/// Seconds of a frame as a fraction of two 16-bit numbers.
fn delay(frame_rate: f64) -> (u16, u16) {
    for numerator in [1000, 100, 10, 1_u16] {
        let denominator = (frame_rate * f64::from(numerator)).round();
        if (1.0..=f64::from(u16::MAX)).contains(&denominator) {
            return (numerator, denominator as u16);
        }
    }
    // Slower than a frame in a thousand seconds, or faster than 65,535 a second.
    if frame_rate < 1.0 { (u16::MAX, 1) } else { (1, u16::MAX) }
}

/// CRC-32 of PNG (annex D), by a table.
struct Crc(u32);

impl Crc {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = TABLE[usize::from(self.0 as u8 ^ byte)] ^ (self.0 >> 8);
        }
    }

    fn finish(self) -> u32 {
        !self.0
    }
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_crc_is_right() {
        let mut crc = Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
    }

    #[test]
    fn delays_are_the_nearest_fractions() {
        assert_eq!(delay(60.0), (1000, 60_000));
        assert_eq!(delay(59.94), (1000, 59_940));
        assert_eq!(delay(0.5), (1000, 500));
        assert_eq!(delay(10_000.0), (1, 10_000));
        assert_eq!(delay(120.0), (100, 12_000));
    }
}
