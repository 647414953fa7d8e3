//! The scene file of `kiln render`: what it takes to make one readable file of FILE, and its name as an asset.

use crate::job::spec::AssetRef;
use crate::scene::{SceneError, pack};
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A folder that is removed when this is dropped.
pub(super) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// A new folder in `parent`, with a name that nothing else has.
    pub(super) fn new(parent: &Path) -> std::io::Result<Self> {
        let path = parent.join(format!(".kiln-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)?;
        Ok(Self(std::path::absolute(path)?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // A leftover is ugly but harmless, and there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One file that the loader can read: `file` itself, stdin's bytes, or a `.gltf` with everything that it names packed in.
pub(super) fn scene_file(file: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    if file.as_os_str() == "-" {
        let path = work.join("stdin");
        let mut copy = std::fs::File::create(&path).context("stdin cannot be kept in a file")?;
        std::io::copy(&mut std::io::stdin().lock(), &mut copy).context("stdin cannot be read")?;
        copy.flush()?;
        return Ok(path);
    }
    let metadata = std::fs::metadata(file).with_context(|| format!("{} cannot be read", file.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a file; expected a .glb, .gltf or .zip file, or - for stdin", file.display());
    }
    let is_gltf = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gltf"));
    match pack::needs_packing(file) {
        Ok(true) => packed(file, work),
        Err(error) if is_gltf => Err(wrong(file, &error)),
        // What it is instead, if anything, is said by the loader.
        Ok(false) | Err(_) => Ok(std::path::absolute(file)?),
    }
}

fn packed(file: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    let path = work.join("scene.zip");
    let archive = std::fs::File::create(&path).context("the packed scene cannot be written")?;
    pack::pack_gltf(file, archive).map_err(|error| wrong(file, &error))?;
    Ok(path)
}

fn wrong(file: &Path, error: &SceneError) -> anyhow::Error {
    let place = error.pointer.as_ref().map(|pointer| format!(" (at {pointer})")).unwrap_or_default();
    anyhow::anyhow!("{}: {error}{place}", file.display())
}

/// A file's name by its content, as in the service.
pub(super) fn asset_ref(path: &Path) -> anyhow::Result<AssetRef> {
    let mut file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk).with_context(|| format!("{} cannot be read", path.display()))? {
            0 => return Ok(AssetRef(format!("sha256:{}", hex::encode(hash.finalize())))),
            bytes => hash.update(&chunk[..bytes]),
        }
    }
}
