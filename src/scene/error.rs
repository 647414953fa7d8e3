//! What can be wrong with a scene file, and how it is told to the client.

use crate::job::{Failure, FailureDetail, FailureReason};

/// Who is to blame for a [`SceneError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneErrorKind {
    /// The file is broken, or asks for something that Kiln does not understand.
    Invalid,
    /// A bound of `limits.rs` was exceeded.
    Limit,
    /// This machine could not read the file. Worth another attempt.
    Io,
}

/// A scene that cannot be loaded. The message reads well alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SceneError {
    /// Who is to blame.
    pub kind: SceneErrorKind,
    /// What was found, what was expected, and what to do.
    pub message: String,
    /// JSON pointer (RFC 6901) into the glTF document, where there is a place to point at.
    pub pointer: Option<String>,
    /// `parse`, `validate`, `load` or `build`.
    pub stage: &'static str,
}

impl SceneError {
    /// The file is not what it should be.
    pub fn invalid(stage: &'static str, message: impl Into<String>) -> Self {
        Self { kind: SceneErrorKind::Invalid, message: message.into(), pointer: None, stage }
    }

    /// The file is more than Kiln takes.
    pub fn limit(stage: &'static str, message: impl Into<String>) -> Self {
        Self { kind: SceneErrorKind::Limit, message: message.into(), pointer: None, stage }
    }

    /// The machine failed, not the file.
    pub fn io(stage: &'static str, message: impl Into<String>) -> Self {
        Self { kind: SceneErrorKind::Io, message: message.into(), pointer: None, stage }
    }

    /// Adds the place, unless a more exact one is there already.
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer.get_or_insert_with(|| pointer.into());
        self
    }

    /// The failure of the job that this error causes.
    pub fn failure(&self) -> Failure {
        let reason = match self.kind {
            SceneErrorKind::Invalid => FailureReason::InvalidScene,
            SceneErrorKind::Limit => FailureReason::LimitExceeded,
            SceneErrorKind::Io => FailureReason::Internal,
        };
        let message = match &self.pointer {
            Some(pointer) => format!("{} (at {pointer})", self.message),
            None => self.message.clone(),
        };
        Failure {
            reason,
            message,
            details: vec![FailureDetail {
                stage: self.stage.to_owned(),
                message: self.message.clone(),
                pointer: self.pointer.clone(),
                ..FailureDetail::default()
            }],
        }
    }
}

/// Short for a [`Result`] with a [`SceneError`].
pub type SceneResult<T> = Result<T, SceneError>;
