//! WebP animations (RFC 9649, section 2.7): lossless stills in a container.

use super::AnimationSettings;
use crate::image::EncodeError;
use crate::image::encode::write_webp;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};

/// Bytes before the first chunk of a simple file: `RIFF`, length, `WEBP`.
const RIFF_BYTES: usize = 12;
/// Milliseconds of a frame, in 24 bits.
const DURATION_MAX: u64 = (1 << 24) - 1;

/// The chunk `VP8L` of a still of this frame.
pub(super) fn compress(settings: &AnimationSettings, pixels: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut still = Vec::with_capacity(pixels.len() / 2);
    write_webp(pixels, settings.size[0], settings.size[1], settings.alpha, &mut still)?;
    // A file of several chunks says so by its first one; the encoder writes that form for metadata, which there is none of.
    if still.get(RIFF_BYTES..RIFF_BYTES + 4) != Some(b"VP8L") {
        return Err(settings.error("the still encoder wrote something else than one lossless chunk"));
    }
    Ok(still.split_off(RIFF_BYTES))
}

pub(super) struct WebpWriter {
    file: BufWriter<File>,
    bytes: u64,
}

impl WebpWriter {
    pub(super) fn new(file: BufWriter<File>, settings: &AnimationSettings) -> std::io::Result<Self> {
        let mut this = Self { file, bytes: 0 };
        this.write(b"RIFF\0\0\0\0WEBP")?;
        let mut head = vec![0; 4];
        // Animation; alpha.
        head[0] = 0b10 | if settings.alpha { 0b1_0000 } else { 0 };
        head.extend(u24(settings.size[0] - 1));
        head.extend(u24(settings.size[1] - 1));
        this.chunk(b"VP8X", &[&head])?;
        // Transparent black behind, played forever.
        this.chunk(b"ANIM", &[&[0; 6]])?;
        Ok(this)
    }

    pub(super) fn push(&mut self, vp8l: &[u8], settings: &AnimationSettings, index: u64) -> std::io::Result<()> {
        let mut head = vec![0; 6];
        head.extend(u24(settings.size[0] - 1));
        head.extend(u24(settings.size[1] - 1));
        head.extend(u24(settings.lasts(index, 1000.0).clamp(1, DURATION_MAX) as u32));
        // Every frame replaces the one before; nothing is disposed of.
        head.push(0b10);
        // The chunk's own head, a byte to make it even, and what the length of the file does not count.
        checked_length(self.bytes + (8 + head.len() + vp8l.len() + 1) as u64 - 8)?;
        self.chunk(b"ANMF", &[&head, vp8l])
    }

    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        let bytes = checked_length(self.bytes - 8)?;
        self.file.seek(SeekFrom::Start(4))?;
        self.file.write_all(&bytes.to_le_bytes())?;
        self.file.flush()
    }

    fn chunk(&mut self, name: &[u8; 4], parts: &[&[u8]]) -> std::io::Result<()> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        self.write(name)?;
        self.write(&(length as u32).to_le_bytes())?;
        for part in parts {
            self.write(part)?;
        }
        if length % 2 == 1 { self.write(&[0]) } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// The length that a file says of itself.
fn checked_length(bytes: u64) -> std::io::Result<u32> {
    let message = "a WebP file cannot have more than 4 GiB; choose another format";
    u32::try_from(bytes).map_err(|_| std::io::Error::new(ErrorKind::FileTooLarge, message))
}

/// The low 24 bits, little-endian.
fn u24(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::spec::Format;

    #[test]
    fn a_frame_that_does_not_fit_any_more_is_refused_before_it_is_written() {
        let settings =
            AnimationSettings { format: Format::Webp, size: [16, 16], frame_rate: 10.0, alpha: false, quality: 90 };
        let mut writer = WebpWriter::new(BufWriter::new(tempfile::tempfile().unwrap()), &settings).unwrap();
        writer.push(&[0; 100], &settings, 0).unwrap();
        // As if that many bytes had been written: the last frame that fits, and the first that does not.
        let frame_bytes = 8 + 16 + 100;
        writer.bytes = (1 << 32) + 8 - 1 - frame_bytes - 1;
        writer.push(&[0; 100], &settings, 1).unwrap();
        let before = writer.bytes;
        let refused = writer.push(&[0; 100], &settings, 2).unwrap_err();
        assert_eq!((refused.kind(), writer.bytes), (ErrorKind::FileTooLarge, before));
        writer.finish().unwrap();
    }
}
