//! The user's bytes: which of GLB, glTF JSON and ZIP they are, and the files inside.
//!
//! The kind is read from the content, never from a name. Nothing is unpacked to disk, and no URI leaves the archive.

use super::error::{SceneError, SceneResult};
use crate::limits;
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Base64 as it is found in the wild: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// A glTF file and what came with it.
pub(super) struct Container {
    /// The JSON part.
    pub(super) json: Vec<u8>,
    /// The BIN chunk of a GLB.
    pub(super) bin: Option<Vec<u8>>,
    /// The archive, if it was one.
    archive: Option<Archive>,
}

struct Archive {
    zip: zip::ZipArchive<BufReader<File>>,
    /// Normalised path of each file → its index in the archive.
    names: HashMap<String, usize>,
    /// Folder of the glTF file in the archive: empty, or with a slash at its end.
    folder: String,
    /// What may still be unpacked.
    bytes_left: u64,
}

impl Container {
    /// Opens `path` and finds the glTF document in it.
    pub(super) fn open(path: &Path) -> SceneResult<Self> {
        let failed =
            |error: std::io::Error| SceneError::io("parse", format!("The scene file cannot be read: {error}."));
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > limits::UPLOAD_BYTES_MAX {
            return Err(SceneError::limit(
                "parse",
                format!("The scene file has {length} bytes; the limit is {}.", limits::UPLOAD_BYTES_MAX),
            ));
        }
        let mut head = [0_u8; 4];
        let read = read_up_to(&mut file, &mut head).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        if head[..read].starts_with(b"PK") {
            return Archive::open(file);
        }
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(limits::UPLOAD_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Self::from_bytes(bytes)
    }

    /// A GLB or a glTF JSON document, without a folder around it.
    fn from_bytes(bytes: Vec<u8>) -> SceneResult<Self> {
        if bytes.starts_with(b"glTF") {
            let (json, bin) = split_glb(&bytes)?;
            return Ok(Self { json: json.to_vec(), bin: bin.map(<[u8]>::to_vec), archive: None });
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(_) => {
                let head: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                return Err(SceneError::invalid(
                    "parse",
                    format!(
                        "The file is not a scene: it begins with the bytes {}; expected a GLB (\"glTF\"), glTF JSON (\"{{\") or a ZIP (\"PK\") that holds one.",
                        head.join(" ")
                    ),
                ));
            }
            None => {
                return Err(SceneError::invalid(
                    "parse",
                    "The scene file is empty; expected a GLB, glTF JSON or a ZIP that holds one.",
                ));
            }
        }
        check_json_length(text.len() as u64)?;
        Ok(Self { json: text.to_vec(), bin: None, archive: None })
    }

    /// The bytes that a URI of the document names: a data URI, or a file of the archive.
    pub(super) fn resolve(&mut self, uri: &str) -> SceneResult<Vec<u8>> {
        if let Some(rest) = strip_prefix_ignore_case(uri, "data:") {
            return decode_data_uri(rest);
        }
        let Some(archive) = &mut self.archive else {
            return Err(SceneError::invalid(
                "load",
                format!(
                    "The file \"{}\" is missing: a single .gltf or .glb can only hold data URIs and its own binary chunk; send a ZIP with the .gltf and its files.",
                    shorten(uri)
                ),
            ));
        };
        let path = archive.folder.clone() + &relative_path(uri)?;
        let path = normalise(&path).ok_or_else(|| escape(uri))?;
        archive.read(&path, limits::ZIP_UNPACKED_BYTES_MAX)
    }
}

impl Archive {
    fn open(file: File) -> SceneResult<Container> {
        let zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| {
            SceneError::invalid(
                "parse",
                format!("The file begins like a ZIP archive but cannot be read as one: {error}."),
            )
        })?;
        if zip.len() > limits::ZIP_ENTRIES_MAX {
            return Err(SceneError::limit(
                "parse",
                format!("The ZIP archive holds {} files; the limit is {}.", zip.len(), limits::ZIP_ENTRIES_MAX),
            ));
        }
        let mut names = HashMap::new();
        let mut documents = Vec::new();
        for index in 0..zip.len() {
            // A name that is not text can never be named by a URI, so it is passed over.
            let Some(Ok(name)) = zip.name_for_index(index) else { continue };
            if name.ends_with('/') {
                continue;
            }
            let Some(name) = normalise(&name.replace('\\', "/")) else { continue };
            let lower = name.to_ascii_lowercase();
            let hidden =
                name.starts_with("__MACOSX/") || name.rsplit('/').next().is_some_and(|file| file.starts_with('.'));
            if (lower.ends_with(".gltf") || lower.ends_with(".glb")) && !hidden {
                documents.push(name.clone());
            }
            names.insert(name, index);
        }
        documents.sort();
        let document = match documents.as_slice() {
            [one] => one.clone(),
            [] => {
                return Err(SceneError::invalid(
                    "parse",
                    "The ZIP archive holds no .gltf or .glb file; expected exactly one.",
                ));
            }
            many => {
                return Err(SceneError::invalid(
                    "parse",
                    format!(
                        "The ZIP archive holds {} glTF files ({}); expected exactly one.",
                        many.len(),
                        many.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ")
                    ),
                ));
            }
        };
        let folder = document.rfind('/').map_or(String::new(), |slash| document[..=slash].to_owned());
        let mut archive = Self { zip, names, folder, bytes_left: limits::ZIP_UNPACKED_BYTES_MAX };
        let bytes = archive.read(&document, limits::UPLOAD_BYTES_MAX)?;
        let mut container = Container::from_bytes(bytes)?;
        container.archive = Some(archive);
        Ok(container)
    }

    /// Unpacks one file. The header's size is only a hint: what really comes out is counted.
    fn read(&mut self, path: &str, bytes_max: u64) -> SceneResult<Vec<u8>> {
        let index = *self.names.get(path).ok_or_else(|| {
            SceneError::invalid("load", format!("The file \"{}\" is not in the ZIP archive.", shorten(path)))
        })?;
        let broken = |error: &dyn std::fmt::Display| {
            SceneError::invalid(
                "load",
                format!("The file \"{}\" cannot be unpacked from the ZIP archive: {error}.", shorten(path)),
            )
        };
        let allowed = self.bytes_left.min(bytes_max);
        let file = self.zip.by_index(index).map_err(|error| broken(&error))?;
        let mut bytes = Vec::with_capacity(file.size().min(allowed).min(16 << 20) as usize);
        file.take(allowed + 1).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        if bytes.len() as u64 > allowed {
            return Err(SceneError::limit(
                "load",
                format!(
                    "The ZIP archive unpacks to more than {} bytes; \"{}\" is one file too many.",
                    limits::ZIP_UNPACKED_BYTES_MAX,
                    shorten(path)
                ),
            ));
        }
        self.bytes_left -= bytes.len() as u64;
        Ok(bytes)
    }
}

/// glTF 2.0, 4.4: header, JSON chunk, optional BIN chunk, unknown chunks ignored. Answers (JSON, BIN).
pub(super) fn split_glb(bytes: &[u8]) -> SceneResult<(&[u8], Option<&[u8]>)> {
    let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let truncated = |what: &str| SceneError::invalid("parse", format!("The GLB file is truncated: {what}."));
    let version = word(4).ok_or_else(|| truncated("it ends inside its 12-byte header"))?;
    let length = word(8).ok_or_else(|| truncated("it ends inside its 12-byte header"))? as usize;
    if version != 2 {
        return Err(SceneError::invalid("parse", format!("The GLB file has container version {version}; expected 2.")));
    }
    if length > bytes.len() {
        return Err(truncated(&format!("its header promises {length} bytes, and {} are there", bytes.len())));
    }
    let (mut json, mut bin, mut at, mut chunk) = (None, None, 12, 0);
    while at < length {
        let (Some(size), Some(kind)) = (word(at), word(at + 4)) else {
            return Err(truncated(&format!("chunk {chunk} ends inside its 8-byte header")));
        };
        let start = at + 8;
        let end = start.checked_add(size as usize).filter(|&end| end <= length).ok_or_else(|| {
            truncated(&format!("chunk {chunk} promises {size} bytes, and {} are left", length.saturating_sub(start)))
        })?;
        match (chunk, kind) {
            (0, 0x4E4F_534A) => json = Some(&bytes[start..end]),
            (0, _) => {
                return Err(SceneError::invalid(
                    "parse",
                    "The first chunk of the GLB file is not its JSON; expected the type \"JSON\".",
                ));
            }
            (1, 0x004E_4942) => bin = Some(&bytes[start..end]),
            _ => {}
        }
        at = end;
        chunk += 1;
    }
    let json = json.ok_or_else(|| truncated("it has no JSON chunk"))?;
    check_json_length(json.len() as u64)?;
    Ok((json, bin))
}

fn check_json_length(bytes: u64) -> SceneResult<()> {
    if bytes > limits::GLTF_JSON_BYTES_MAX {
        return Err(SceneError::limit(
            "parse",
            format!("The glTF document has {bytes} bytes of JSON; the limit is {}.", limits::GLTF_JSON_BYTES_MAX),
        ));
    }
    Ok(())
}

/// RFC 2397, after `data:`.
fn decode_data_uri(rest: &str) -> SceneResult<Vec<u8>> {
    let (header, data) = rest.split_once(',').ok_or_else(|| {
        SceneError::invalid("load", "A data URI has no comma; expected \"data:<type>;base64,<data>\".")
    })?;
    if header.to_ascii_lowercase().ends_with(";base64") {
        // Percent-encoding is legal in a data URI, though nobody writes it there: only decode when it is.
        let data = if data.contains('%') { Cow::Owned(percent_decode(data)) } else { Cow::Borrowed(data.as_bytes()) };
        return BASE64
            .decode(data.as_ref())
            .map_err(|error| SceneError::invalid("load", format!("The base64 of a data URI is broken: {error}.")));
    }
    Ok(percent_decode(data))
}

/// The path of a relative URI, decoded, with a check that it is one.
pub(super) fn relative_path(uri: &str) -> SceneResult<String> {
    let scheme = uri.split(['/', '?', '#']).next().is_some_and(|head| head.contains(':'));
    if scheme || uri.starts_with('/') || uri.starts_with('\\') {
        return Err(SceneError::invalid(
            "load",
            format!("The URI \"{}\" is not relative; expected a data URI or a file beside the .gltf.", shorten(uri)),
        ));
    }
    String::from_utf8(percent_decode(uri))
        .map(|path| path.replace('\\', "/"))
        .map_err(|_| SceneError::invalid("load", format!("The URI \"{}\" is not UTF-8 once decoded.", shorten(uri))))
}

/// Removes `.` and `..`. `None` where the path climbs out of its root, or names nothing.
pub(super) fn normalise(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ if part.contains('\0') => return None,
            _ => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The error for a URI that leaves its folder.
pub(super) fn escape(uri: &str) -> SceneError {
    SceneError::invalid(
        "load",
        format!("The URI \"{}\" leaves the folder of the scene; expected a file in it or below it.", shorten(uri)),
    )
}

/// RFC 3986, 2.1. A percent sign that is not followed by two hex digits stands for itself.
fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |byte: Option<&u8>| byte.and_then(|&b| (b as char).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// A URI as it is shown in messages.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(77).chain("...".chars()).collect() }
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
