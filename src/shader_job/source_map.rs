//! Where every line and column of the text that is compiled comes from: through macros, includes and preludes, back to the
//! user's own text.

use super::error::{ShaderDiagnostic, Stage};
use std::sync::Arc;

/// A piece of an output line that stands for another piece of the input line, in bytes from the start of each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// Where the replacement starts in the output line.
    pub out_start: u32,
    /// Its length there.
    pub out_bytes: u32,
    /// Where the replaced text starts in the input line.
    pub in_start: u32,
    /// Its length there.
    pub in_bytes: u32,
}

/// Where one line of the compiled text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LineOrigin {
    /// The user's line, from 1; 0 for a line that Kiln wrote (a prelude).
    pub line: u32,
    /// The included file and the line in it, from 1; the user's line is then the line of the `#include`.
    pub include: Option<(Arc<str>, u32)>,
    /// Replacements in this line, by rising `out_start`. Empty: columns are the same.
    pub edits: Vec<Edit>,
}

/// A place in the user's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The included file and the line in it.
    pub include: Option<(Arc<str>, u32)>,
}

/// The text that is compiled, and the way back to the user's text.
#[derive(Debug, Clone, Default)]
pub struct MappedText {
    /// What the parser sees.
    pub text: String,
    /// The user's own text.
    user: Arc<str>,
    /// One for each line of `text`.
    origins: Vec<LineOrigin>,
    /// Byte offset of each line's start in `text`.
    starts: Vec<u32>,
    /// Byte offset of each line's start in `user`.
    user_starts: Vec<u32>,
}

impl MappedText {
    /// An empty text that belongs to `user`.
    pub fn new(user: &str) -> Self {
        Self { user: user.into(), user_starts: line_starts(user), ..Self::default() }
    }

    /// `user` itself, line by line.
    pub fn verbatim(user: &str) -> Self {
        let mut mapped = Self::new(user);
        for (index, line) in user.split('\n').enumerate() {
            mapped.push(line, LineOrigin { line: index as u32 + 1, ..LineOrigin::default() });
        }
        mapped
    }

    /// Adds a line (without its line end).
    pub fn push(&mut self, line: &str, origin: LineOrigin) {
        self.starts.push(self.text.len() as u32);
        self.text.push_str(line);
        self.text.push('\n');
        self.origins.push(origin);
    }

    /// Adds lines that Kiln wrote.
    pub fn push_own(&mut self, text: &str) {
        for line in text.lines() {
            self.push(line, LineOrigin::default());
        }
    }

    /// Adds all lines of another text of the same user.
    pub fn append(&mut self, other: &Self) {
        for (line, origin) in other.text.split_terminator('\n').zip(&other.origins) {
            self.push(line, origin.clone());
        }
    }

    /// The same lines with another text: `text` must have as many lines, and columns must not have moved.
    pub fn with_text(mut self, text: String) -> Self {
        debug_assert_eq!(text.matches('\n').count(), self.text.matches('\n').count(), "lines must stay where they are");
        self.starts = line_starts(&text);
        self.text = text;
        self
    }

    /// The user's text.
    pub fn user_text(&self) -> &str {
        &self.user
    }

    /// A line of the user's text, from 1.
    pub fn user_line(&self, line: u32) -> Option<&str> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.user_starts.get(index)? as usize;
        let end = self.user_starts.get(index + 1).map_or(self.user.len(), |&next| next as usize);
        Some(self.user.get(start..end)?.trim_end_matches(['\n', '\r']))
    }

    /// The place of a byte of the compiled text; `None` for text that Kiln wrote.
    pub fn place(&self, offset: usize) -> Option<Place> {
        let offset = offset.min(self.text.len()) as u32;
        let index = self.starts.partition_point(|&start| start <= offset).checked_sub(1)?;
        let origin = self.origins.get(index)?;
        if origin.line == 0 {
            return None;
        }
        if origin.include.is_some() {
            return Some(Place { line: origin.line, column: 1, include: origin.include.clone() });
        }
        let mut byte = offset - self.starts[index];
        let edit = origin.edits.partition_point(|edit| edit.out_start <= byte).checked_sub(1).map(|i| origin.edits[i]);
        if let Some(edit) = edit {
            byte = match (byte - edit.out_start).checked_sub(edit.out_bytes) {
                None => edit.in_start,
                Some(behind) => edit.in_start + edit.in_bytes + behind,
            };
        }
        let line = self.user_line(origin.line).unwrap_or_default();
        let column = line.char_indices().take_while(|(at, _)| (*at as u32) < byte).count() as u32 + 1;
        Some(Place { line: origin.line, column, include: None })
    }

    /// A problem at a byte of the compiled text. Without a place in the user's text it says that it is in Kiln's own.
    pub fn problem(&self, stage: Stage, message: impl Into<String>, offset: Option<usize>) -> ShaderDiagnostic {
        self.problem_at(stage, message, offset.and_then(|offset| self.place(offset)))
    }

    /// A problem at a place of the user's text.
    pub fn problem_at(&self, stage: Stage, message: impl Into<String>, place: Option<Place>) -> ShaderDiagnostic {
        let mut problem = ShaderDiagnostic::new(stage, message);
        if let Some(place) = place {
            let line = self.user_line(place.line).unwrap_or_default();
            problem = problem.at(place.line, place.column, line);
            if let Some((path, included_line)) = place.include {
                problem.message = format!("{} (in line {included_line} of the include)", problem.message);
                problem.include = Some(path.to_string());
            }
        }
        problem
    }
}

/// Byte offsets of the starts of all lines.
fn line_starts(text: &str) -> Vec<u32> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at as u32 + 1)).collect()
}
