//! Checkpoints as files: what a task has done so far, so that another attempt goes on from there.
//!
//! A file is: 8 bytes that name the format and its version; the *identity*, a SHA-256 over everything that decides on the work's bits (see
//! who makes it); the payload's length and the payload, whose form only its maker knows; and a SHA-256 of all of it. Whatever does not
//! fit is refused as a whole and said so: a checkpoint saves time, and is never worth a wrong picture.
//!
//! Plain functions of files. A file is written under another name first, and is not fsynced: whoever takes it over does that.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Names the format and its version. Another version has another one, and the old ones are refused.
const MAGIC: [u8; 8] = *b"KILNCKP1";
/// Bytes before the payload: magic, identity, length.
const HEAD_BYTES: usize = 8 + 32 + 8;

/// A state that can be gone on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// SHA-256 over everything that decides on the bits of the work: two works may go on from each other's states exactly where it is equal.
    pub identity: [u8; 32],
    /// The state, as its maker wrote it.
    pub payload: Vec<u8>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Not a checkpoint, or one of another version of Kiln.
    #[error("it is not a checkpoint of this version of Kiln")]
    Version,
    /// Its length is not what it says, or more than there may be.
    #[error("it has {found} bytes, expected {expected}")]
    Size {
        /// Bytes.
        found: u64,
        /// Bytes, in words.
        expected: String,
    },
    /// Its bytes are not those that were written.
    #[error("its checksum is wrong")]
    Checksum,
}

/// Writes a state to `path`, which appears there only when it is complete.
///
/// # Errors
/// The system's, after what was begun has been removed.
pub fn write(path: &Path, state: &SavedState) -> std::io::Result<()> {
    let unfinished = path.with_extension("part");
    let written = write_to(&unfinished, state).and_then(|()| std::fs::rename(&unfinished, path));
    if written.is_err() {
        // The error says what happened; a file that cannot be removed either changes nothing about it.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

fn write_to(path: &Path, state: &SavedState) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend(MAGIC);
    head.extend(state.identity);
    head.extend((state.payload.len() as u64).to_le_bytes());
    let sum = Sha256::new().chain_update(&head).chain_update(&state.payload).finalize();
    file.write_all(&head)?;
    file.write_all(&state.payload)?;
    file.write_all(&sum)
}

/// Reads a state whose payload has at most `payload_bytes_max` bytes.
///
/// # Errors
/// Why it cannot be used; see [`CheckpointError`].
pub fn read(path: &Path, payload_bytes_max: u64) -> Result<SavedState, CheckpointError> {
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    let frame = HEAD_BYTES as u64 + 32;
    if found > frame + payload_bytes_max {
        return Err(CheckpointError::Size { found, expected: format!("at most {}", frame + payload_bytes_max) });
    }
    let mut head = [0; HEAD_BYTES];
    if found < frame {
        return Err(CheckpointError::Size { found, expected: format!("at least {frame}") });
    }
    file.read_exact(&mut head)?;
    if head[..8] != MAGIC {
        return Err(CheckpointError::Version);
    }
    let identity = head[8..40].try_into().expect("32 bytes of 48");
    let bytes = u64::from_le_bytes(head[40..].try_into().expect("the last 8 bytes of 48"));
    if bytes != found - frame {
        return Err(CheckpointError::Size { found, expected: bytes.saturating_add(frame).to_string() });
    }
    let mut payload = vec![0; bytes as usize];
    file.read_exact(&mut payload)?;
    let mut sum = [0; 32];
    file.read_exact(&mut sum)?;
    let expected: [u8; 32] = Sha256::new().chain_update(head).chain_update(&payload).finalize().into();
    if sum != expected {
        return Err(CheckpointError::Checksum);
    }
    Ok(SavedState { identity, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SavedState {
        SavedState { identity: [7; 32], payload: (0..1000_u32).flat_map(u32::to_le_bytes).collect() }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        write(&path, &state()).unwrap();
        assert_eq!(read(&path, 4000).unwrap(), state());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        write(&path, &state()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut broken = whole.clone();
            broken[at] ^= 1 << (at % 8);
            std::fs::write(&path, &broken).unwrap();
            assert!(read(&path, 4000).is_err(), "a flipped bit of byte {at} was not noticed");
        }
        for bytes in (0..whole.len()).step_by(13) {
            std::fs::write(&path, &whole[..bytes]).unwrap();
            assert!(read(&path, 4000).is_err(), "a file cut to {bytes} bytes was taken");
        }
        let mut long = whole.clone();
        long.push(0);
        std::fs::write(&path, &long).unwrap();
        assert!(matches!(read(&path, 4000), Err(CheckpointError::Size { .. })));
        std::fs::write(&path, &whole).unwrap();
        assert!(matches!(read(&path, 3999), Err(CheckpointError::Size { .. })), "the bound was not kept");
        assert!(matches!(read(&folder.path().join("nowhere"), 4000), Err(CheckpointError::Io(_))));
    }
}
