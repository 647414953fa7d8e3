//! The CPU side of shader jobs: text to validated, fuel-limited modules.

mod compile;
mod fuel;
mod gpu_run;
mod hostile;
mod includes;
mod preprocess;
mod shadertoy;

use kiln::shader_job::{Dialect, Program, ShaderErrors, ShaderSource, Stage, compile};

/// A picture of 64 × 48 pixels.
pub const SIZE: [u32; 2] = [64, 48];

/// Compiles a text with nothing but defaults.
pub fn compiled(dialect: Dialect, source: &str) -> Result<Program, ShaderErrors> {
    compile(&ShaderSource::new(dialect, source.as_bytes(), SIZE))
}

/// The program of a text that must compile.
#[track_caller]
pub fn program(dialect: Dialect, source: &str) -> Program {
    compiled(dialect, source).unwrap_or_else(|errors| panic!("this shader must compile, but: {errors}\n{source}"))
}

/// The first problem of a text that must be refused: its stage, its line and its message.
#[track_caller]
pub fn refusal(dialect: Dialect, source: &str) -> (Stage, Option<u32>, String) {
    match compiled(dialect, source) {
        Ok(_) => panic!("this shader must be refused:\n{source}"),
        Err(errors) => {
            let first = errors.first();
            (first.stage, first.line, first.message.clone())
        }
    }
}
