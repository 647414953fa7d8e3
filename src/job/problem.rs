//! What is wrong with a job document: every problem with its place, what was found, and what was expected.

use crate::limits::SPEC_PROBLEMS_MAX;
use std::fmt;

/// The class of a [`SpecProblem`]; the HTTP layer maps it to a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecProblemKind {
    /// It cannot be read as a job document: no JSON, an unknown or missing field, a value of the wrong type.
    Malformed,
    /// It can be read, but asks for something impossible or for something that this version does not support.
    Invalid,
    /// It asks for more than one of the bounds in [`crate::limits`] allows.
    Limit,
}

/// One thing that is wrong with a job document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// JSON pointer into the document (RFC 6901), `""` for the document as a whole; `?name` for a query option.
    pub pointer: String,
    /// A sentence that reads well alone: what was found, what was expected.
    pub message: String,
    /// See [`SpecProblemKind`].
    pub kind: SpecProblemKind,
}

/// Why a job document was refused: all problems that were found, at most [`SPEC_PROBLEMS_MAX`], never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// In the order they were found.
    pub problems: Vec<SpecProblem>,
}

impl SpecError {
    /// An error with one problem.
    pub fn new(kind: SpecProblemKind, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { problems: vec![SpecProblem { pointer: pointer.into(), message: message.into(), kind }] }
    }

    /// The class of the whole: `Malformed` if anything is, else `Invalid` if anything is, else `Limit`.
    pub fn kind(&self) -> SpecProblemKind {
        [SpecProblemKind::Malformed, SpecProblemKind::Invalid]
            .into_iter()
            .find(|kind| self.problems.iter().any(|problem| problem.kind == *kind))
            .unwrap_or(SpecProblemKind::Limit)
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let pointer = if problem.pointer.is_empty() { "the job document" } else { &problem.pointer };
            write!(f, "{separator}{pointer}: {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

/// Collects problems; at most one a place, because the second is usually a consequence of the first.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<SpecProblem>,
}

impl Problems {
    /// Adds a problem, unless its place already has one or there are enough of them.
    pub(super) fn add(&mut self, kind: SpecProblemKind, pointer: impl Into<String>, message: impl Into<String>) {
        let pointer = pointer.into();
        if self.list.len() < SPEC_PROBLEMS_MAX && !self.list.iter().any(|problem| problem.pointer == pointer) {
            self.list.push(SpecProblem { pointer, message: message.into(), kind });
        }
    }

    /// `value` if nothing was wrong.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, SpecError> {
        if self.list.is_empty() { Ok(value) } else { Err(SpecError { problems: self.list }) }
    }
}

/// `pointer/key`, with the key escaped as RFC 6901 says, and cut where it is absurdly long.
pub(super) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", cut(key).replace('~', "~0").replace('/', "~1"))
}

/// At most 64 characters of a text that came from outside, for messages.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// "; did you mean X?" where one of `known` is near, else "; known are A, B, C".
pub(super) fn hint(found: &str, known: &[&str]) -> String {
    match nearest(found, known) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// The known name nearest to `found` by edit distance, if it is near enough to be a slip of the fingers.
pub fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let found = cut(found).to_lowercase();
    let edits_max = (found.chars().count() / 3).max(2);
    known
        .iter()
        .map(|name| (strsim::osa_distance(&found, name), *name))
        .filter(|(edits, name)| *edits <= edits_max && *edits < name.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}
