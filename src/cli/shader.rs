//! The shader of `kiln render`: its text, the files beside it, and its errors as people like to read them.

use super::input;
use super::render::Stop;
use crate::job::{AttachedFiles, Failure, FailureDetail};
use crate::limits::SHADER_SOURCE_BYTES_MAX;
use anyhow::Context;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Flags that only shaders have.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ShaderArgs {
    /// A picture for the shader's channel0, channel1, …, in this order: .png, .jpg, .webp, .hdr or .exr
    #[arg(long = "channel", value_name = "FILE", help_heading = "Shader options")]
    channels: Vec<PathBuf>,
    /// A param of the shader (may be given several times)
    #[arg(long = "param", value_name = "NAME=VALUE", help_heading = "Shader options")]
    params: Vec<String>,
    /// The JSON that compute.toys keeps beside a shader (uniforms, textures, float32Enabled)
    #[arg(long, value_name = "FILE", help_heading = "Shader options")]
    sidecar: Option<PathBuf>,
}

impl ShaderArgs {
    /// The first flag that was given, if any.
    pub(super) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--channel", !self.channels.is_empty()),
            ("--param", !self.params.is_empty()),
            ("--sidecar", self.sidecar.is_some()),
        ];
        flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// True where compute.toys' own JSON came along.
    pub(super) fn has_sidecar(&self) -> bool {
        self.sidecar.is_some()
    }

    /// The params as options.
    pub(super) fn options(&self) -> Result<Vec<(String, String)>, Stop> {
        let split = |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok((format!("{}{name}", crate::job::PARAM_PREFIX), value.to_owned()))
            }
            _ => Err(Stop::Usage(format!("--param: found {text:?}, expected NAME=VALUE"))),
        };
        self.params.iter().map(split).collect()
    }
}

/// The dialect that a file's extension stands for; `None` where the file is no shader.
pub(super) fn dialect_of(file: &Path) -> Option<&'static str> {
    let extension = file.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "wgsl" => Some("kiln"),
        "glsl" | "frag" => Some("shadertoy"),
        _ => None,
    }
}

/// The text of FILE, and the files that the flags name.
pub(super) fn attached(
    file: &Path,
    args: &ShaderArgs,
    assets: &mut Vec<(String, PathBuf)>,
) -> Result<AttachedFiles, Stop> {
    let mut files = AttachedFiles::of_shader(text(file)?);
    for path in &args.channels {
        let asset = input::asset_ref(path)?;
        assets.push((asset.0.clone(), std::path::absolute(path).context("the current folder is gone")?));
        files.channels.push(Some(asset));
    }
    if let Some(path) = &args.sidecar {
        let json = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let value = serde_json::from_slice(&json)
            .map_err(|error| Stop::Usage(format!("--sidecar: {} is not JSON: {error}", path.display())))?;
        files.sidecar = Some(value);
    }
    Ok(files)
}

fn text(file: &Path) -> Result<String, Stop> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that what is too long is seen to be.
    let bound = SHADER_SOURCE_BYTES_MAX as u64 + 1;
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(bound).read_to_end(&mut bytes).context("stdin cannot be read")?;
    } else {
        let open = std::fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
        open.take(bound).read_to_end(&mut bytes).with_context(|| format!("{} cannot be read", file.display()))?;
    }
    let name = file.display();
    match crate::shader_job::text(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(errors) => Err(Stop::Failed(in_file(Failure::from(errors), &name.to_string()))),
    }
}

/// The same failure, whose message names the file.
fn in_file(mut failure: Failure, name: &str) -> Failure {
    failure.message = format!("{name}: {}", failure.message);
    failure
}

/// A place in the shader's text, with its line and a caret below the column.
pub(super) fn placed(detail: &FailureDetail) -> Option<String> {
    let line = detail.line?;
    let mut text = match (detail.column, &detail.include) {
        (Some(column), None) => format!("line {line}, column {column}: {}", detail.message),
        (None, None) => format!("line {line}: {}", detail.message),
        (_, Some(include)) => format!("line {line}, in <{include}>: {}", detail.message),
    };
    if let Some(source_line) = &detail.source_line {
        let number = line.to_string();
        text.push_str(&format!("\n  {number} | {source_line}"));
        if let Some(column) = detail.column {
            // Tabs stay tabs, so that the caret stands where the eye looks for it.
            let before: String = source_line
                .chars()
                .take(column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            text.push_str(&format!("\n  {} | {before}^", " ".repeat(number.len())));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_stands_below_its_column() {
        let detail = FailureDetail {
            stage: "parse".into(),
            message: "expected ';'".into(),
            line: Some(12),
            column: Some(6),
            source_line: Some("\tlet x".into()),
            ..FailureDetail::default()
        };
        let text = placed(&detail).unwrap();
        assert_eq!(text, "line 12, column 6: expected ';'\n  12 | \tlet x\n     | \t    ^");
        assert_eq!(placed(&FailureDetail::default()), None);
    }
}
