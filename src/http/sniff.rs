//! What a file is by its first bytes, so that a wrong or truncated upload is refused at the door. Pure functions.
//!
//! Only what the first bytes prove is checked here; the loader in the GPU process reads the rest.

/// Bytes of a file's start that the checks look at.
pub const HEAD_BYTES: usize = 64;

/// The three shapes in which a scene can be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneFormat {
    /// glTF 2.0 section 4, "GLB File Format".
    Glb,
    /// A `.gltf` with data URIs.
    GltfJson,
    /// A `.gltf` or `.glb` with its files.
    Zip,
}

impl SceneFormat {
    /// Of a media type.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "model/gltf-binary" => Some(Self::Glb),
            "model/gltf+json" => Some(Self::GltfJson),
            "application/zip" | "application/x-zip-compressed" => Some(Self::Zip),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Glb => "a GLB file (it begins with \"glTF\")",
            Self::GltfJson => "a glTF file as JSON (it begins with \"{\")",
            Self::Zip => "a ZIP archive (it begins with \"PK\")",
        }
    }

    fn of_head(head: &[u8]) -> Option<Self> {
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        match head {
            _ if head.starts_with(b"glTF") => Some(Self::Glb),
            // An archive without files has only its end record, and is a ZIP all the same.
            _ if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") => Some(Self::Zip),
            _ if text.starts_with(b"{") => Some(Self::GltfJson),
            _ => None,
        }
    }
}

/// Checks the start of a scene file. `expected`: what the client says that it is, if it does.
pub fn check_scene(head: &[u8], expected: Option<SceneFormat>) -> Result<SceneFormat, String> {
    let found = SceneFormat::of_head(head);
    match (found, expected) {
        (Some(found), Some(expected)) if found != expected => {
            return Err(format!("Found {}, expected {} as the content type says.", found.name(), expected.name()));
        }
        (None, Some(expected)) => return Err(format!("Found {}, expected {}.", shown(head), expected.name())),
        (None, None) => {
            return Err(format!(
                "Found {}, expected {}, {} or {}.",
                shown(head),
                SceneFormat::Glb.name(),
                SceneFormat::GltfJson.name(),
                SceneFormat::Zip.name()
            ));
        }
        _ => {}
    }
    let found = found.expect("the cases without a format returned above");
    if found == SceneFormat::Glb
        && let Some(version) = word(head, 4)
        && version != 2
    {
        return Err(format!("Found GLB version {version}, expected version 2."));
    }
    Ok(found)
}

/// Checks the length of a scene file once it is known. The head of a GLB says how long it is.
pub fn check_scene_length(head: &[u8], bytes: u64) -> Result<(), String> {
    if !head.starts_with(b"glTF") {
        return Ok(());
    }
    match word(head, 8) {
        None => Err(format!("The GLB file is truncated: found {bytes} bytes, expected a header of 12.")),
        Some(length) if u64::from(length) > bytes => {
            Err(format!("The GLB file is truncated: its header says {length} bytes, but only {bytes} arrived."))
        }
        Some(_) => Ok(()),
    }
}

/// Checks the start of an environment picture: Radiance HDR or OpenEXR.
pub fn check_environment(head: &[u8]) -> Result<(), String> {
    if head.starts_with(b"#?") || head.starts_with(&[0x76, 0x2f, 0x31, 0x01]) {
        return Ok(());
    }
    Err(format!(
        "Found {}, expected a Radiance HDR picture (it begins with \"#?\") or an OpenEXR picture.",
        shown(head)
    ))
}

/// Checks the start of a shader's channel: PNG, JPEG, WebP, Radiance HDR or OpenEXR.
pub fn check_picture(head: &[u8]) -> Result<(), String> {
    let webp = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP");
    if head.starts_with(b"\x89PNG\r\n\x1a\n") || head.starts_with(&[0xff, 0xd8, 0xff]) || webp {
        return Ok(());
    }
    check_environment(head)
        .map_err(|_| format!("Found {}, expected a PNG, JPEG, WebP, Radiance HDR or OpenEXR picture.", shown(head)))
}

/// The little-endian word at a byte offset.
fn word(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?))
}

/// The first bytes as text where they are text (up to the end of the line), else as hex.
fn shown(head: &[u8]) -> String {
    let start = &head[..head.len().min(12)];
    let letters = start.iter().take_while(|byte| byte.is_ascii_graphic() || **byte == b' ').count();
    if start.is_empty() {
        "an empty file".to_owned()
    } else if letters >= start.len().min(4) {
        format!("a file that begins with \"{}\"", String::from_utf8_lossy(&start[..letters]))
    } else {
        format!("a file that begins with the bytes {}", hex::encode(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glb(version: u32, length: u32) -> Vec<u8> {
        [b"glTF".as_slice(), &version.to_le_bytes(), &length.to_le_bytes()].concat()
    }

    #[test]
    fn formats_are_told_apart_by_their_first_bytes() {
        assert_eq!(check_scene(&glb(2, 12), None), Ok(SceneFormat::Glb));
        assert_eq!(check_scene(b"\xef\xbb\xbf \n{\"asset\"", None), Ok(SceneFormat::GltfJson));
        assert_eq!(check_scene(b"PK\x03\x04rest", Some(SceneFormat::Zip)), Ok(SceneFormat::Zip));
        for head in [b"".as_slice(), b"solid cube", b"\x00\x01\x02", b"gl"] {
            assert!(check_scene(head, None).is_err());
        }
        assert!(check_scene(b"PK\x03\x04", Some(SceneFormat::Glb)).unwrap_err().contains("expected a GLB file"));
        assert!(check_scene(&glb(1, 12), None).unwrap_err().contains("version 1"));
    }

    #[test]
    fn a_glb_shorter_than_its_header_says_is_truncated() {
        assert_eq!(check_scene_length(&glb(2, 12), 12), Ok(()));
        assert!(check_scene_length(&glb(2, 1000), 999).unwrap_err().contains("999"));
        assert!(check_scene_length(b"glTF", 4).is_err());
        assert_eq!(check_scene_length(b"{}", 2), Ok(()));
    }
}
