//! Files that outlive a power loss: fsync of the bytes, rename, fsync of the folder. Blocking functions, no state.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

/// How often a move is tried again because the folder vanished between its making and the move: the deletion of the last
/// blob in a folder removes the folder.
const PUBLISH_TRIES_MAX: u32 = 16;

/// Makes a folder and those above it, and syncs every folder that got a new entry.
pub(crate) fn create_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dirs(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Removes everything in a folder, but not the folder.
pub(super) fn empty_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Fsyncs a file that somebody wrote, and returns its length and SHA-256. It counts as written now: what collects orphans goes by that.
pub(super) fn sync_and_hash(path: &Path) -> io::Result<(u64, String)> {
    // Windows flushes only through a handle that may write.
    let mut file = File::options().read(true).write(true).open(path)?;
    file.set_modified(SystemTime::now())?;
    file.sync_all()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex::encode(hasher.finalize()))),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Moves a synced file of `bytes` bytes to its place, making the folders, and syncs the folder. A file that is there already
/// is replaced: keys are content hashes or carry a fence, so that its bytes are the same.
pub(super) fn publish(from: &Path, to: &Path, bytes: u64) -> io::Result<()> {
    let dir = to.parent().ok_or_else(|| io::Error::other("a key has at least one folder"))?;
    let mut tries = 0;
    loop {
        create_dirs(dir)?;
        match fs::rename(from, to) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.exists() && tries < PUBLISH_TRIES_MAX => {
                tries += 1
            }
            // Windows refuses to replace a file that is being read. It has the same bytes, so it may stay.
            Err(_) if cfg!(windows) && to.metadata().is_ok_and(|there| there.len() == bytes) => {
                fs::remove_file(from)?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    sync_dir(dir)
}

/// Makes a folder's entries durable. Windows has no such call; NTFS journals its metadata.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
