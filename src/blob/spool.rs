//! What is being written: files and folders of the spool, which are moved to their keys or removed.

use super::{BlobError, blocking};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Folders that are kept to be used again.
const FOLDERS_IDLE_MAX: usize = 16;

/// A name in the spool that cleans up after itself.
#[derive(Debug)]
pub struct SpoolFile {
    path: PathBuf,
}

impl SpoolFile {
    pub(super) fn new(spool_dir: &Path, suffix: &str) -> Self {
        Self { path: spool_dir.join(format!("{}{suffix}", uuid::Uuid::now_v7())) }
    }

    /// Where it is; nothing is there until somebody writes it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // It is gone already when it was moved to its key. What cannot be removed now goes at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Folders that wait to be used again, if they are empty then: to make one and to remove it costs more than all else that a small picture
/// needs of the file system.
pub(super) type IdleFolders = Arc<Mutex<Vec<PathBuf>>>;

/// An empty folder in the spool. What is left in it when it is not [closed](SpoolFolder::close) goes at the next start.
#[derive(Debug)]
pub struct SpoolFolder {
    path: PathBuf,
    idle: IdleFolders,
}

impl SpoolFolder {
    pub(super) async fn new(spool_dir: &Path, idle: &IdleFolders) -> Result<Self, BlobError> {
        let (idle, path) = (Arc::clone(idle), spool_dir.join(format!("{}.folder", uuid::Uuid::now_v7())));
        blocking(move || {
            let next = || idle.lock().expect("nothing panics while it holds the lock").pop();
            while let Some(path) = next() {
                if is_empty(&path) {
                    return Ok(Self { path, idle });
                }
                // Something came late. What cannot be removed now goes at the next start.
                let _ = std::fs::remove_dir_all(&path);
            }
            std::fs::create_dir(&path).map_err(|error| BlobError::io("making a folder", error))?;
            Ok(Self { path, idle })
        })
        .await
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and what is in it. With `again` it may be used again instead, if it is empty then: only where what may still be written
    /// into it has names that no later user's files have.
    pub async fn close(self, again: bool) -> Result<(), BlobError> {
        if again {
            let mut idle = self.idle.lock().expect("nothing panics while it holds the lock");
            if idle.len() < FOLDERS_IDLE_MAX {
                idle.push(self.path);
                return Ok(());
            }
        }
        blocking(move || std::fs::remove_dir_all(&self.path).map_err(|error| BlobError::io("removing a folder", error)))
            .await
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
