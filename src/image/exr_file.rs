//! OpenEXR: 32-bit float, scene-linear, premultiplied.

use super::{EncodeError, Film, encode::media_type};
use crate::job::spec::Format;
use exr::prelude::{Encoding, Image, Layer, LayerAttributes, SpecificChannels, Vec2, WritableImage as _};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Writes the film and returns length and hash. The file is hashed after it is written, since its table of offsets, near the beginning,
/// is written last.
pub(super) fn write(
    film: &Film,
    transparent: bool,
    behind: Option<[f32; 3]>,
    file: File,
    path: &Path,
) -> Result<(u64, [u8; 32]), EncodeError> {
    let width = film.width as usize;
    let channels = SpecificChannels::rgba(|at: Vec2<usize>| {
        let [r, g, b, a] = film.rgba[at.y() * width + at.x()];
        let [br, bg, bb] = behind.map_or([0.0; 3], |behind| behind.map(|channel| channel * (1.0 - a.clamp(0.0, 1.0))));
        (r + br, g + bg, b + bb, if transparent { a } else { 1.0 })
    });
    let attributes = LayerAttributes { software_name: Some("Kiln".into()), ..LayerAttributes::default() };
    // Lossless, 16 rows a block, in order of rows: the same bytes however many threads compress.
    let layer = Layer::new((width, film.height as usize), attributes, Encoding::SMALL_LOSSLESS, channels);
    let io_error = |source| EncodeError::Io { path: path.to_owned(), source };
    Image::from_layer(layer).write().to_unbuffered(file).map_err(|error| match error {
        exr::error::Error::Io(source) => io_error(source),
        other => EncodeError::Encoder { media_type: media_type(Format::Exr), message: other.to_string() },
    })?;
    hash_file(path).map_err(io_error)
}

fn hash_file(path: &Path) -> std::io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hash.finalize().into()));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}
