//! A .gltf on the user's disk → one ZIP with everything that it names, to be sent as one upload.

use super::container::{escape, normalise, relative_path};
use super::document::Document;
use super::error::{SceneError, SceneResult};
use crate::limits;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;

/// Name of the document in the ZIP.
const DOCUMENT: &str = "scene.gltf";

/// Writes a ZIP of the .gltf at `path`, with its buffers and images, to `out`. Data URIs stay where they are. A GLB, a
/// ZIP and a .gltf without files need no packing: see [`needs_packing`].
///
/// # Errors
/// `Invalid` where a URI leaves the folder of the .gltf, is not relative, or names a file that is not there; `Limit`
/// for more than [`limits::ZIP_UNPACKED_BYTES_MAX`] bytes or [`limits::ZIP_ENTRIES_MAX`] files; `Io` otherwise.
pub fn pack_gltf(path: &Path, out: impl Write + Seek) -> Result<(), SceneError> {
    let files = files_named(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let failed = |error: &dyn std::fmt::Display| {
        SceneError::io("load", format!("The ZIP of the scene cannot be written: {error}."))
    };
    let mut zip = zip::ZipWriter::new(out);
    // Buffers and pictures barely shrink, and the upload is usually local: stored, not deflated.
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
    let mut bytes_left = limits::ZIP_UNPACKED_BYTES_MAX;
    let mut add = |name: &str, source: &Path, pointer: &str| {
        let missing = |error: std::io::Error| {
            SceneError::invalid(
                "load",
                format!("The file \"{}\" of the scene cannot be read: {error}.", source.display()),
            )
            .at(pointer)
        };
        let mut file = File::open(source).map_err(missing)?;
        let bytes = file.metadata().map_err(missing)?.len();
        bytes_left = bytes_left.checked_sub(bytes).ok_or_else(|| {
            SceneError::limit(
                "load",
                format!("The scene and its files have more than {} bytes.", limits::ZIP_UNPACKED_BYTES_MAX),
            )
        })?;
        zip.start_file(name, options).map_err(|error| failed(&error))?;
        std::io::copy(&mut file, &mut zip).map(|_| ()).map_err(|error| failed(&error))
    };
    if let Some(pointer) = files.get(DOCUMENT) {
        return Err(SceneError::invalid("load", format!("The scene names the file \"{DOCUMENT}\"; rename that file."))
            .at(pointer.clone()));
    }
    add(DOCUMENT, path, "")?;
    for (file, pointer) in &files {
        add(file, &folder.join(file), pointer)?;
    }
    zip.finish().map(|_| ()).map_err(|error| failed(&error))
}

/// True for a .gltf that names files beside it; false for a GLB, a ZIP, and a .gltf that holds all its data.
///
/// # Errors
/// As [`pack_gltf`].
pub fn needs_packing(path: &Path) -> Result<bool, SceneError> {
    let mut head = [0_u8; 4];
    let read = File::open(path)
        .and_then(|mut file| std::io::Read::read(&mut file, &mut head))
        .map_err(|error| SceneError::io("load", format!("The scene file cannot be read: {error}.")))?;
    let head = &head[..read];
    if head.starts_with(b"glTF") || head.starts_with(b"PK") {
        return Ok(false);
    }
    Ok(!files_named(path)?.is_empty())
}

/// The relative paths, normalised and sorted, of the files that a .gltf names, each with the place that names it.
fn files_named(path: &Path) -> SceneResult<BTreeMap<String, String>> {
    let unreadable = |error: std::io::Error| SceneError::io("load", format!("The scene file cannot be read: {error}."));
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > limits::GLTF_JSON_BYTES_MAX {
        return Err(SceneError::limit(
            "load",
            format!("The .gltf has {bytes} bytes; the limit is {}.", limits::GLTF_JSON_BYTES_MAX),
        ));
    }
    let json = std::fs::read(path).map_err(unreadable)?;
    let document = Document::parse(json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&json))?;
    let buffers =
        document.buffers.iter().enumerate().map(|(index, buffer)| (format!("/buffers/{index}/uri"), &buffer.uri));
    let images = document.images.iter().enumerate().map(|(index, image)| (format!("/images/{index}/uri"), &image.uri));
    let mut files = BTreeMap::new();
    for (pointer, uri) in buffers.chain(images) {
        let Some(uri) =
            uri.as_deref().filter(|uri| !uri.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("data:")))
        else {
            continue;
        };
        let relative = relative_path(uri).map_err(|error| error.at(pointer.clone()))?;
        let file = normalise(&relative).ok_or_else(|| escape(uri).at(pointer.clone()))?;
        files.entry(file).or_insert(pointer);
    }
    if files.len() >= limits::ZIP_ENTRIES_MAX {
        return Err(SceneError::limit(
            "load",
            format!("The scene names {} files; the limit is {}.", files.len(), limits::ZIP_ENTRIES_MAX),
        ));
    }
    Ok(files)
}
