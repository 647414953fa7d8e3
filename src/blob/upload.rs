//! A file that streams in: to the spool and through SHA-256, with one buffer of memory whatever its length.

use super::spool::SpoolFile;
use super::{BlobError, BlobStore, blocking, durable};
use crate::limits::BLOB_CHUNK_BYTES;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;

/// An upload under way. Dropping it removes what came so far.
#[derive(Debug)]
pub struct Upload {
    store: BlobStore,
    /// `None` only while a piece is being written, and after that failed.
    sink: Option<Sink>,
    buffer: BytesMut,
    bytes: u64,
    bytes_max: u64,
    /// Last, so that the file is closed before it is removed.
    spool: SpoolFile,
}

/// What goes to the blocking thread and comes back with every piece.
#[derive(Debug)]
struct Sink {
    file: File,
    hasher: Sha256,
}

impl Sink {
    fn write(&mut self, piece: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(piece);
        self.file.write_all(piece).map_err(|error| BlobError::io("writing an upload", error))
    }
}

impl Upload {
    pub(super) async fn begin(store: BlobStore, bytes_max: u64) -> Result<Self, BlobError> {
        let spool = store.spool_file(".upload");
        let path = spool.path().to_owned();
        let open = move || File::create_new(path).map_err(|error| BlobError::io("beginning an upload", error));
        let sink = Some(Sink { file: blocking(open).await?, hasher: Sha256::new() });
        Ok(Self { store, sink, buffer: BytesMut::new(), bytes: 0, bytes_max, spool })
    }

    /// Appends a piece. After an error the upload cannot go on; drop it.
    pub async fn write(&mut self, mut piece: Bytes) -> Result<(), BlobError> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.bytes_max {
            self.sink = None;
            return Err(BlobError::TooLarge { bytes_max: self.bytes_max });
        }
        while !piece.is_empty() {
            let room = BLOB_CHUNK_BYTES - self.buffer.len();
            let part = piece.split_to(room.min(piece.len()));
            self.buffer.extend_from_slice(&part);
            if self.buffer.len() == BLOB_CHUNK_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file durable under the key of its hash, and returns the SHA-256 in lower-case hex and the length.
    pub async fn finish_as_asset(self) -> Result<(String, u64), BlobError> {
        self.finish(None).await
    }

    /// The same for a file whose hash was announced; another one is refused and nothing is kept.
    pub async fn finish_as_asset_expecting(self, sha256: &str) -> Result<(String, u64), BlobError> {
        self.finish(Some(sha256.to_owned())).await
    }

    async fn finish(mut self, expected: Option<String>) -> Result<(String, u64), BlobError> {
        self.flush().await?;
        let Sink { file, hasher } = self.sink.take().ok_or_else(broken)?;
        let found = hex::encode(hasher.finalize());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(BlobError::HashMismatch { found, expected });
        }
        let to = self.store.path(&BlobStore::asset_key(&found))?;
        let bytes = self.bytes;
        // The guard goes along: if the caller hangs up now, the file must be there until the thread is done with it.
        let spool = self.spool;
        blocking(move || {
            let error = |error| BlobError::io("finishing an upload", error);
            file.sync_all().map_err(error)?;
            drop(file);
            durable::publish(spool.path(), &to, bytes).map_err(error)
        })
        .await?;
        Ok((found, bytes))
    }

    /// Brings what was written so far to the disk, so that a full one shows now.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn flush(&mut self) -> Result<(), BlobError> {
        let mut sink = self.sink.take().ok_or_else(broken)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            (sink, buffer) = blocking(move || {
                sink.write(&buffer)?;
                Ok((sink, buffer))
            })
            .await?;
            buffer.clear();
        }
        self.buffer = buffer;
        self.sink = Some(sink);
        Ok(())
    }
}

fn broken() -> BlobError {
    BlobError::io("writing an upload", std::io::Error::other("it failed before"))
}
