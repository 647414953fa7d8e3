//! What can be wrong with a scene file, and how it is told to the client.

use crate::job::{Failure, FailureDetail, FailureReason};
use crate::limits::SCENE_MESSAGE_BYTES_MAX;

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
    fn new(kind: SceneErrorKind, stage: &'static str, message: String) -> Self {
        Self { kind, message: cut(message), pointer: None, stage }
    }

    /// The file is not what it should be.
    pub fn invalid(stage: &'static str, message: impl Into<String>) -> Self {
        Self::new(SceneErrorKind::Invalid, stage, message.into())
    }

    /// The file is more than Kiln takes.
    pub fn limit(stage: &'static str, message: impl Into<String>) -> Self {
        Self::new(SceneErrorKind::Limit, stage, message.into())
    }

    /// The machine failed, not the file.
    pub fn io(stage: &'static str, message: impl Into<String>) -> Self {
        Self::new(SceneErrorKind::Io, stage, message.into())
    }

    /// Adds the place, unless a more exact one is there already.
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer.get_or_insert_with(|| cut(pointer.into()));
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

/// A message may quote names of the file, which may be megabytes long.
fn cut(mut text: String) -> String {
    if text.len() > SCENE_MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SCENE_MESSAGE_BYTES_MAX));
        text.push('…');
    }
    text
}

/// Short for a [`Result`] with a [`SceneError`].
pub type SceneResult<T> = Result<T, SceneError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_megabyte_does_not_come_back_in_the_message() {
        let name = "ä".repeat(500_000);
        let error = SceneError::invalid("load", format!("the node {name:?} is broken")).at(format!("/nodes/{name}"));
        let failure = error.failure();
        assert!(failure.message.starts_with("the node \"ä"));
        assert!(failure.message.len() < 2 * SCENE_MESSAGE_BYTES_MAX + 100, "{}", failure.message.len());
        assert!(failure.details[0].message.len() < SCENE_MESSAGE_BYTES_MAX + 10);
    }
}
