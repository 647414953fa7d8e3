//! Frames on a pipe: a u32 little-endian length, then that many bytes of postcard, at most `PIPE_FRAME_BYTES_MAX`.
//!
//! The child reads and writes them from plain threads, the supervisor from tokio tasks; both go through [`encode`] and [`decode`].
//! Nothing here trusts the other side: every malformed frame is a typed error, and no length makes it allocate more than the bound.

use crate::limits::PIPE_FRAME_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a frame could not be read or written. The pipe cannot be used any more after any of these.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the pipe between two frames: its orderly end.
    #[error("the other side closed the pipe")]
    Closed,
    /// The other side closed the pipe inside a frame.
    #[error("the pipe ended inside a frame: {found} of {expected} bytes came")]
    Truncated {
        /// Bytes that came.
        found: usize,
        /// Bytes announced.
        expected: usize,
    },
    /// Longer than the bound, or announced so.
    #[error("a frame of {bytes} bytes is longer than the {PIPE_FRAME_BYTES_MAX} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a message of this protocol.
    #[error("a frame of {bytes} bytes is not a message of this protocol: {message}")]
    Malformed {
        /// Its length.
        bytes: usize,
        /// What postcard says.
        message: String,
    },
    /// The pipe itself failed.
    #[error("the pipe failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A message as the bytes that go on the pipe, length included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0u8; 4])
        .map_err(|error| FrameError::Malformed { bytes: 0, message: error.to_string() })?;
    let bytes = frame.len() - 4;
    if bytes > PIPE_FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    frame[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
    Ok(frame)
}

/// The inverse of [`encode`], for the bytes behind the length. Bytes left over are an error too.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let malformed = |message: String| FrameError::Malformed { bytes: body.len(), message };
    let (message, rest) = postcard::take_from_bytes(body).map_err(|error| malformed(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(malformed(format!("{} bytes are left over", rest.len()))) }
}

/// Writes one message and flushes it.
pub fn write<T: Serialize>(pipe: &mut impl Write, message: &T) -> Result<(), FrameError> {
    pipe.write_all(&encode(message)?)?;
    Ok(pipe.flush()?)
}

/// Reads one message; blocks until it is there.
pub fn read<T: DeserializeOwned>(pipe: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0u8; 4];
    let mut found = 0;
    while found < length.len() {
        match pipe.read(&mut length[found..]) {
            Ok(0) if found == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(FrameError::Truncated { found, expected: length.len() }),
            Ok(n) => found += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let bytes = checked_length(length)?;
    let mut body = Vec::new();
    let found = pipe.by_ref().take(bytes as u64).read_to_end(&mut body)?;
    if found < bytes {
        return Err(FrameError::Truncated { found, expected: bytes });
    }
    decode(&body)
}

/// As [`read`], on a tokio task. Not cancel safe: after a dropped call the pipe is inside a frame.
pub async fn read_async<T: DeserializeOwned>(pipe: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let mut length = [0u8; 4];
    let mut found = 0;
    while found < length.len() {
        match pipe.read(&mut length[found..]).await? {
            0 if found == 0 => return Err(FrameError::Closed),
            0 => return Err(FrameError::Truncated { found, expected: length.len() }),
            n => found += n,
        }
    }
    let bytes = checked_length(length)?;
    let mut body = Vec::new();
    let found = pipe.take(bytes as u64).read_to_end(&mut body).await?;
    if found < bytes {
        return Err(FrameError::Truncated { found, expected: bytes });
    }
    decode(&body)
}

fn checked_length(length: [u8; 4]) -> Result<usize, FrameError> {
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes > PIPE_FRAME_BYTES_MAX { Err(FrameError::TooLong { bytes }) } else { Ok(bytes) }
}
