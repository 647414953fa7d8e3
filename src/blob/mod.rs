//! Assets and outputs by key, over `object_store`: files by default.
//!
//! A blob is written to a spool file, fsynced, and moved to its key before any row names it (invariant 3). It knows
//! nothing of jobs. Keys: `assets/{sha256[..2]}/{sha256}` and `outputs/{job}/{fence}/{name}`.
//!
//! Contract (the implementation lives below):
//! - `BlobStore::open(root: &Path) -> Result<BlobStore, BlobError>`: creates `root/blobs` and `root/spool`, empties the spool.
//! - `spool_dir() -> &Path`: where uploads and the GPU process's outputs are written first.
//! - `upload() -> Result<Upload, BlobError>`; `Upload::write(&mut self, Bytes)`, `Upload::bytes()`, `Upload::finish_as_asset(self) -> (sha256, bytes)`
//!   (fsync, rename, fsync of the folder; a dropped upload removes its file). Memory: constant, whatever the length.
//! - `put_file(key, spool_path) -> (bytes, sha256)`: moves a finished spool file to a key, durably.
//! - `read(key, range) -> (object size, Stream<Bytes>)`; `delete(keys)`; `list(prefix) -> keys`.
//! - `local_path(key) -> Option<PathBuf>`: where the GPU process can read it (files only; else the dispatcher downloads it to the spool).
