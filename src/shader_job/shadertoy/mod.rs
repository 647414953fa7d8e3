//! The `shadertoy` dialect: refused for now.

use super::ShaderSource;
use super::error::{ShaderDiagnostic, ShaderErrors, Stage};
use super::program::Program;

/// What a shadertoy has beside its text.
#[derive(Debug, Clone, Default)]
pub struct Toy<'s> {
    /// Text in front of every pass.
    pub common: Option<&'s [u8]>,
}

/// Refuses.
pub fn compile(_request: &ShaderSource<'_>, _source: &str) -> Result<Program, ShaderErrors> {
    Err(ShaderDiagnostic::new(Stage::Parse, "GLSL cannot be compiled by this version of Kiln.").into())
}
