//! Shader jobs: from a stranger's text to a [`Program`] that is safe to run.
//!
//! The chain, in order: byte cap and UTF-8 → the dialect's preprocessor, with caps on expansion → counts of tokens
//! ([`token_caps`]) → parse and validate on a big stack ([`front`]) → bindings by dialect ([`compute_toys`], [`kiln`],
//! [`shadertoy`]) → bounds ([`static_caps`]) → loop fuel ([`fuel`]) → validate again. Whatever goes wrong is a
//! [`ShaderDiagnostic`] in the user's own text.
//!
//! Runs on a loader thread of the GPU process, since a parser that reads a stranger's text belongs there. Only [`run`], which takes a
//! program to the device, knows devices and jobs; nothing here knows HTTP.

pub mod compute_toys;
mod error;
pub mod front;
pub mod fuel;
pub mod kiln;
pub mod lexer;
pub mod preprocess;
mod program;
mod reflect;
pub mod run;
pub mod shadertoy;
pub mod source_map;
pub mod static_caps;
pub mod token_caps;
mod uniforms;

pub use error::{ShaderDiagnostic, ShaderErrors, Stage};
pub use program::{
    Allowed, Binding, BindingKind, Buffer, Dispatch, Filter, FuelReport, LoopPlace, Output, OutputColor, PassTextures,
    Program, Requires, SamplerKind, StorageBuffer, StorageTarget, TexelFormat, TextureSource, Unit,
};
pub use uniforms::{FrameInputs, FrameValue, Mouse, UniformBlock};

use crate::limits::*;
use std::collections::BTreeMap;

/// The language and conventions of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Plain WGSL, bindings by name.
    #[default]
    Kiln,
    /// compute.toys, unmodified.
    ComputeToys,
    /// GLSL with `mainImage`.
    Shadertoy,
}

/// A shader and everything that decides what it becomes.
#[derive(Debug, Clone)]
pub struct ShaderSource<'s> {
    /// See [`Dialect`].
    pub dialect: Dialect,
    /// The text, at most [`SHADER_SOURCE_BYTES_MAX`] bytes; the picture's pass in a shadertoy.
    pub source: &'s [u8],
    /// Width and height of the picture, in pixels, from 1.
    pub size: [u32; 2],
    /// `compute_toys`: pass textures in 32-bit floats (the site's `float32Enabled`).
    pub float32: bool,
    /// `compute_toys`: the members of `custom`, in order.
    pub sliders: Vec<(String, f32)>,
    /// `kiln`: members of `params` by name.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// `kiln`: bytes of storage buffers that end in an array without a length, by name. Others get one element a pixel.
    pub storage_bytes: BTreeMap<String, u64>,
    /// `kiln`: how entry points are dispatched, by name. Others cover the picture once a frame.
    pub dispatches: BTreeMap<String, DispatchRequest>,
    /// Width and height of the job's channels, in texels; `None` where there is none.
    pub channels: Vec<Option<[u32; 2]>>,
    /// `shadertoy`: the buffers, the common text, and what the channels of the picture's pass show.
    pub toy: shadertoy::Toy<'s>,
    /// What the job and the machine allow.
    pub allowed: Allowed,
}

/// How an entry point of the `kiln` dialect is dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DispatchRequest {
    /// Workgroups; those that cover the picture where it is not set.
    pub workgroups: Option<[u32; 3]>,
    /// How often in a frame; once where it is not set.
    pub count: Option<u32>,
    /// In frame 0 only.
    pub once: bool,
}

impl<'s> ShaderSource<'s> {
    /// A text with nothing but defaults.
    pub fn new(dialect: Dialect, source: &'s [u8], size: [u32; 2]) -> Self {
        Self {
            dialect,
            source,
            size,
            float32: false,
            sliders: Vec::new(),
            params: serde_json::Map::new(),
            storage_bytes: BTreeMap::new(),
            dispatches: BTreeMap::new(),
            channels: Vec::new(),
            toy: shadertoy::Toy::default(),
            allowed: Allowed::default(),
        }
    }
}

/// Compiles a shader job. Bounded work for any input; never panics, never overflows the stack.
///
/// # Errors
/// Everything that is wrong with the text, as far as it could be read.
pub fn compile(request: &ShaderSource<'_>) -> Result<Program, ShaderErrors> {
    check_size(request.size)?;
    let source = text(request.source)?;
    on_big_stack(|| match request.dialect {
        Dialect::Kiln => kiln::compile(request, source),
        Dialect::ComputeToys => compute_toys::compile(request, source),
        Dialect::Shadertoy => shadertoy::compile(request, source),
    })
}

pub use front::on_big_stack;

fn check_size(size: [u32; 2]) -> Result<(), ShaderErrors> {
    let pixels = u64::from(size[0]) * u64::from(size[1]);
    let side = size.iter().all(|side| (1..=IMAGE_SIDE_PIXELS_MAX).contains(side));
    if side && pixels <= IMAGE_PIXELS_MAX {
        return Ok(());
    }
    let what = format!(
        "A picture of {} × {} pixels; sides of 1 to {IMAGE_SIDE_PIXELS_MAX} and at most {IMAGE_PIXELS_MAX} pixels are allowed.",
        size[0], size[1]
    );
    Err(ShaderDiagnostic::new(Stage::Limit, what).into())
}

/// The text of some bytes: not too long, UTF-8, without a byte order mark.
///
/// # Errors
/// Where it is not.
pub fn text(bytes: &[u8]) -> Result<&str, ShaderErrors> {
    if bytes.len() > SHADER_SOURCE_BYTES_MAX {
        let what = format!("The shader has {} bytes; at most {SHADER_SOURCE_BYTES_MAX} are allowed.", bytes.len());
        return Err(ShaderDiagnostic::new(Stage::Limit, what).into());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let line_start = valid.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1;
        let before = String::from_utf8_lossy(&valid[line_start..]);
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let what = format!("Byte 0x{byte:02x} is not UTF-8; save the shader as UTF-8.");
        let column = before.chars().count() as u32 + 1;
        ShaderErrors::from(ShaderDiagnostic::new(Stage::Preprocess, what).at(line, column, &before))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}
