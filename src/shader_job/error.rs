//! What is wrong with a shader: every problem with its stage and its place in the user's own text.

use crate::job::{Failure, FailureDetail, FailureReason};
use crate::limits::{SHADER_MESSAGE_BYTES_MAX, SHADER_PROBLEMS_MAX, SHADER_QUOTED_LINE_BYTES_MAX};
use std::fmt;

/// The step that found a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Macros, includes and directives.
    Preprocess,
    /// The text is no program of its language.
    Parse,
    /// It is a program, but not a valid one, or its bindings are not understood.
    Validate,
    /// It asks for more than one of the bounds in [`crate::limits`] allows.
    Limit,
    /// The adapter's own compiler refused it.
    Compile,
    /// It failed while it ran.
    Run,
}

impl Stage {
    /// The word that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Parse => "parse",
            Self::Validate => "validate",
            Self::Limit => "limit",
            Self::Compile => "compile",
            Self::Run => "run",
        }
    }
}

/// One problem of a shader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShaderDiagnostic {
    /// The step that found it.
    pub stage: Stage,
    /// A sentence that reads well alone: what was found, what was expected, what to do. At most [`SHADER_MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// Line in the user's text, from 1; `None` where the problem has no line (a limit of the whole).
    pub line: Option<u32>,
    /// Column in that line, in characters, from 1.
    pub column: Option<u32>,
    /// The line itself, at most [`SHADER_QUOTED_LINE_BYTES_MAX`] bytes of it.
    pub source_line: Option<String>,
    /// The included file that the problem is in; `line` is then the line of its `#include`.
    pub include: Option<String>,
}

impl ShaderDiagnostic {
    /// A problem of the whole text. A message that quotes too much of it is cut.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(cut(&message, SHADER_MESSAGE_BYTES_MAX).len());
        Self { stage, message, line: None, column: None, source_line: None, include: None }
    }

    /// The same problem, with its place. `column` counts characters, from 1; `source_line` is cut if it is long.
    pub fn at(mut self, line: u32, column: u32, source_line: &str) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self.source_line = Some(quoted(source_line).to_owned());
        self
    }
}

impl fmt::Display for ShaderDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: {}", self.message),
            (Some(line), None) => write!(f, "line {line}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

/// All problems that were found in a shader: never none, at most [`SHADER_PROBLEMS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShaderErrors(Vec<ShaderDiagnostic>);

impl ShaderErrors {
    /// Of a list of problems.
    ///
    /// # Panics
    /// If the list is empty: an error without a problem is a fault of Kiln.
    pub fn new(mut problems: Vec<ShaderDiagnostic>) -> Self {
        assert!(!problems.is_empty(), "an error has a problem");
        problems.truncate(SHADER_PROBLEMS_MAX);
        Self(problems)
    }

    /// The problems, in the order they were found.
    pub fn problems(&self) -> &[ShaderDiagnostic] {
        &self.0
    }

    /// The first problem.
    pub fn first(&self) -> &ShaderDiagnostic {
        &self.0[0]
    }
}

impl From<ShaderDiagnostic> for ShaderErrors {
    fn from(problem: ShaderDiagnostic) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for ShaderErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ShaderErrors {}

impl From<ShaderErrors> for Failure {
    fn from(errors: ShaderErrors) -> Self {
        let limit = errors.0.iter().all(|problem| problem.stage == Stage::Limit);
        let first = errors.first();
        let message = match errors.0.len() {
            1 => format!("The shader was refused: {first}"),
            count => format!("The shader was refused for {count} reasons; the first: {first}"),
        };
        let details = errors.0.into_iter().map(FailureDetail::from).collect();
        let reason = if limit { FailureReason::LimitExceeded } else { FailureReason::ShaderError };
        Self { reason, message, details }
    }
}

impl From<ShaderDiagnostic> for FailureDetail {
    fn from(problem: ShaderDiagnostic) -> Self {
        Self {
            stage: problem.stage.as_str().to_owned(),
            message: problem.message,
            pointer: None,
            line: problem.line,
            column: problem.column,
            source_line: problem.source_line,
            include: problem.include,
        }
    }
}

/// The start of a line, cut at a character boundary, without its line end.
pub(super) fn quoted(line: &str) -> &str {
    cut(line.trim_end(), SHADER_QUOTED_LINE_BYTES_MAX)
}

/// The start of a text, at most `bytes_max` of it, cut at a character boundary.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
