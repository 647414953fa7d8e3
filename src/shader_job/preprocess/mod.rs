//! The preprocessor of the `compute_toys` dialect, with the behaviour of the site's own engine, quirks included.
//!
//! It works line by line. Words are replaced by their defines once, also inside comments and inside the text of directives.
//! Directives inside a false branch still run: only text is dropped. Knows nothing of WGSL beyond string literals.

mod calc;
mod counts;
mod includes;

pub use includes::{Includes, built_in};

use super::error::{ShaderDiagnostic, ShaderErrors, Stage};
use super::lexer::is_word_start;
use super::source_map::{Edit, LineOrigin, MappedText, Place};
use crate::limits::*;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Characters of a string literal, at most (`STRING_MAX_LEN` in shaders).
pub const STRING_MAX_LEN: usize = 20;
/// Storage buffers that `#storage` may declare.
const STORAGE_MAX: usize = 2;

/// What the preprocessor is told from outside.
pub struct Settings<'s> {
    /// `SCREEN_WIDTH` and `SCREEN_HEIGHT`, in pixels.
    pub size: [u32; 2],
    /// Bytes of the result, at most.
    pub expanded_bytes_max: usize,
    /// Where `#include` looks.
    pub includes: Includes<'s>,
}

/// How often an entry point is dispatched, as its directive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchRule {
    /// `#dispatch_count ENTRY N`: this often in every frame.
    Count(u32),
    /// `#dispatch_once ENTRY`: in frame 0 only.
    Once,
}

/// A `#storage` buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageDirective {
    /// Its name in the shader.
    pub name: String,
    /// The user's line.
    pub line: u32,
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub struct Expanded {
    /// The text, without `enable` lines and directives.
    pub text: MappedText,
    /// The `enable` lines, which belong in front of everything.
    pub enables: MappedText,
    /// `#workgroup_count`, with the user's line.
    pub workgroup_counts: HashMap<String, ([u32; 3], u32)>,
    /// `#dispatch_count` and `#dispatch_once`, with the user's line.
    pub dispatch_rules: HashMap<String, (DispatchRule, u32)>,
    /// `#storage`, in order: binding 0, then binding 1.
    pub storage: Vec<StorageDirective>,
}

/// Preprocesses a whole text.
pub fn preprocess(source: &str, settings: &Settings<'_>) -> Result<Expanded, ShaderErrors> {
    let mut state = Preprocessor {
        settings,
        defines: HashMap::from([
            ("SCREEN_WIDTH".to_owned(), settings.size[0].to_string()),
            ("SCREEN_HEIGHT".to_owned(), settings.size[1].to_string()),
            ("STRING_MAX_LEN".to_owned(), STRING_MAX_LEN.to_string()),
        ]),
        branches: Vec::new(),
        strings: false,
        bytes: 0,
        out: Expanded { text: MappedText::new(source), enables: MappedText::new(source), ..Expanded::default() },
    };
    for (index, line) in source.split('\n').enumerate() {
        state.line(line, &At { line: index as u32 + 1, include: None, depth: 0 })?;
    }
    Ok(state.out)
}

/// Where the line that is being processed stands.
struct At {
    /// The user's line, from 1.
    line: u32,
    /// The include and the line in it.
    include: Option<(Arc<str>, u32)>,
    /// Includes around it.
    depth: usize,
}

struct Preprocessor<'s> {
    settings: &'s Settings<'s>,
    defines: HashMap<String, String>,
    branches: Vec<bool>,
    strings: bool,
    /// Bytes pushed, dropped lines counted too: they cost time as well.
    bytes: usize,
    out: Expanded,
}

/// What a step of the preprocessor says when it fails; the place is added by the caller.
type Step<T = ()> = Result<T, String>;

impl Preprocessor<'_> {
    /// One line, of the user's text or of an include.
    fn line(&mut self, original: &str, at: &At) -> Result<(), ShaderErrors> {
        let (line, edits) = self.replace(original);
        self.bytes += line.len() + 1;
        if self.bytes > self.settings.expanded_bytes_max {
            let message = format!(
                "The shader is longer than {} bytes after includes and macros.",
                self.settings.expanded_bytes_max
            );
            return Err(self.problem(Stage::Limit, message, at, 0).into());
        }
        let start = line.trim_start();
        let column = original.len() - original.trim_start().len();
        if starts_with_word(start, "enable") {
            let origin = self.origin(at, edits);
            self.out.enables.push(&strip_comments(&line), origin);
            return Ok(());
        }
        if start.starts_with('#') {
            let stripped = strip_comments(&line);
            let tokens: Vec<&str> = stripped.split_whitespace().collect();
            if tokens[0] == "#include" {
                return self.include(&tokens, at, column);
            }
            return self
                .directive(original, &tokens, at)
                .map_err(|message| self.problem(Stage::Preprocess, message, at, column).into());
        }
        let (line, edits) = if self.strings && line.contains('"') {
            // A literal changes the columns behind it; the edits of the words in the same line are given up for it.
            replace_strings(&line).map_err(|message| self.problem(Stage::Preprocess, message, at, column))?
        } else {
            (line, edits)
        };
        if self.branches.iter().all(|&taken| taken) {
            let origin = self.origin(at, edits);
            self.out.text.push(&line, origin);
        }
        Ok(())
    }

    fn origin(&self, at: &At, edits: Vec<Edit>) -> LineOrigin {
        LineOrigin { line: at.line, include: at.include.clone(), edits }
    }

    fn problem(&self, stage: Stage, message: String, at: &At, byte: usize) -> ShaderDiagnostic {
        let line = self.out.text.user_line(at.line).unwrap_or_default();
        let column = line.char_indices().take_while(|(i, _)| *i < byte).count() as u32 + 1;
        let column = if at.include.is_some() { 1 } else { column };
        self.out.text.problem_at(stage, message, Some(Place { line: at.line, column, include: at.include.clone() }))
    }

    /// Every word replaced by its define, once. A word begins at any letter, also behind a digit: `1e5` holds the word `e5`.
    fn replace<'l>(&self, line: &'l str) -> (Cow<'l, str>, Vec<Edit>) {
        let mut out = String::new();
        let mut edits = Vec::new();
        let (mut copied, mut at) = (0, 0);
        let bytes = line.as_bytes();
        while at < bytes.len() {
            if !(bytes[at].is_ascii_alphabetic() || bytes[at] == b'_') {
                at += 1;
                continue;
            }
            let length = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            if let Some(value) = self.defines.get(&line[at..at + length]) {
                out.push_str(&line[copied..at]);
                edits.push(Edit {
                    out_start: out.len() as u32,
                    out_bytes: value.len() as u32,
                    in_start: at as u32,
                    in_bytes: length as u32,
                });
                out.push_str(value);
                copied = at + length;
                if out.len() > self.settings.expanded_bytes_max {
                    break; // The caller refuses the line by its length.
                }
            }
            at += length;
        }
        if edits.is_empty() {
            return (Cow::Borrowed(line), edits);
        }
        out.push_str(&line[copied..]);
        (Cow::Owned(out), edits)
    }

    /// `#include "path"` or `#include <name>`: the file's lines, under the including line's number.
    fn include(&mut self, tokens: &[&str], at: &At, column: usize) -> Result<(), ShaderErrors> {
        let refuse = |this: &Self, stage, message| Err(this.problem(stage, message, at, column).into());
        let quoted = |open, close| {
            let (_, rest) = tokens.get(1)?.split_once(open)?;
            rest.rsplit_once(close).map(|(path, _)| path)
        };
        let (path, standard) = match (tokens.len(), quoted('"', '"'), quoted('<', '>')) {
            (2, Some(path), _) => (path.to_owned(), false),
            (2, None, Some(name)) => (format!("std/{name}"), true),
            _ => {
                let message = "Invalid `#include`; expected `#include \"path\"` or `#include <name>`.".to_owned();
                return refuse(self, Stage::Preprocess, message);
            }
        };
        self.strings |= standard && path == "std/string";
        if at.depth >= SHADER_INCLUDE_DEPTH_MAX {
            let message = format!("Includes are nested more than {SHADER_INCLUDE_DEPTH_MAX} deep, at {path:?}.");
            return refuse(self, Stage::Limit, message);
        }
        let Some(text) = (self.settings.includes)(&path) else {
            let known = includes::PATHS.join(", ");
            let message = format!("Cannot find the include {:?}; there are {known}.", cut(&path));
            return refuse(self, Stage::Preprocess, message);
        };
        let name: Arc<str> = path.into();
        for (index, line) in text.split('\n').enumerate() {
            let include = Some((at.include.as_ref().map_or(&name, |(outer, _)| outer).clone(), index as u32 + 1));
            self.line(line, &At { line: at.line, include, depth: at.depth + 1 })?;
        }
        Ok(())
    }

    /// Any directive but `#include`. `tokens` are of the line with its words replaced.
    fn directive(&mut self, original: &str, tokens: &[&str], at: &At) -> Step {
        // Names are read from the line as it was written, split at single spaces, as the site does.
        let written = strip_comments(original);
        let mut names = written.trim().split(' ').skip(1);
        match &tokens[0][1..] {
            "define" => self.define(&mut names),
            "calcdefine" => self.calcdefine(&mut names),
            "if" if tokens.len() < 2 => Err("Invalid `#if`; expected `#if EXPRESSION`.".into()),
            "if" => {
                let value = calc::evaluate(&tokens[1..].concat())?;
                self.branches.push(!matches!(value.as_str(), "" | "0" | "0.0"));
                Ok(())
            }
            directive @ ("ifdef" | "ifndef") => {
                let name =
                    names.next().ok_or_else(|| format!("Invalid `#{directive}`; expected `#{directive} NAME`."))?;
                self.branches.push(self.defines.contains_key(name) == (directive == "ifdef"));
                Ok(())
            }
            "else" => {
                let branch = self.branches.last_mut().ok_or("`#else` without `#if`, `#ifdef` or `#ifndef`.")?;
                *branch = !*branch;
                Ok(())
            }
            "endif" => {
                self.branches.pop().map(drop).ok_or_else(|| "`#endif` without `#if`, `#ifdef` or `#ifndef`.".into())
            }
            "workgroup_count" => {
                let entry =
                    tokens.get(1).ok_or("Invalid `#workgroup_count`; expected `#workgroup_count ENTRY X Y Z`.")?;
                let count = counts::workgroup_count(&tokens[2..].join(" "))?;
                self.out.workgroup_counts.insert((*entry).to_owned(), (count, at.line));
                Ok(())
            }
            "dispatch_count" => {
                let &[_, entry, count] = tokens else {
                    return Err("Invalid `#dispatch_count`; expected `#dispatch_count ENTRY N`.".into());
                };
                // The site stores `#dispatch_once` as a count of 0, so that a count of 0 means the same.
                let rule = match counts::dispatch_count(count)? {
                    0 => DispatchRule::Once,
                    count => DispatchRule::Count(count),
                };
                self.out.dispatch_rules.insert(entry.to_owned(), (rule, at.line));
                Ok(())
            }
            "dispatch_once" => {
                let &[_, entry] = tokens else {
                    return Err("Invalid `#dispatch_once`; expected `#dispatch_once ENTRY`.".into());
                };
                self.out.dispatch_rules.insert(entry.to_owned(), (DispatchRule::Once, at.line));
                Ok(())
            }
            "storage" => self.storage(tokens, at),
            other => Err(format!("Unknown directive `#{}`.", cut(other))),
        }
    }

    fn define<'n>(&mut self, names: &mut impl Iterator<Item = &'n str>) -> Step {
        let name = names.next().filter(|name| !name.is_empty());
        let name = name.ok_or("Invalid `#define`; expected `#define NAME VALUE`, with single spaces.")?;
        if self.defines.contains_key(name) {
            return Err(format!("Cannot redefine {}; `#calcdefine` may.", cut(name)));
        }
        let value = names.collect::<Vec<_>>().join(" ");
        let value = self.replace(&value).0.into_owned();
        self.set(name, value)
    }

    fn calcdefine<'n>(&mut self, names: &mut impl Iterator<Item = &'n str>) -> Step {
        let name = names.next().filter(|name| !name.is_empty());
        let name = name.ok_or("Invalid `#calcdefine`; expected `#calcdefine NAME EXPRESSION`, with single spaces.")?;
        let expression = names.collect::<String>();
        let value = calc::evaluate(&self.replace(&expression).0)?;
        self.set(name, value)
    }

    fn set(&mut self, name: &str, value: String) -> Step {
        if self.defines.len() >= SHADER_DEFINES_MAX {
            return Err(format!("More than {SHADER_DEFINES_MAX} macros."));
        }
        self.bytes += name.len() + value.len();
        if self.bytes > self.settings.expanded_bytes_max {
            return Err(format!("Macros of more than {} bytes.", self.settings.expanded_bytes_max));
        }
        self.defines.insert(name.to_owned(), value);
        Ok(())
    }

    fn storage(&mut self, tokens: &[&str], at: &At) -> Step {
        let name = tokens.get(1).filter(|_| tokens.len() > 2);
        let name = *name.ok_or("Invalid `#storage`; expected `#storage NAME TYPE`.")?;
        if self.out.storage.len() >= STORAGE_MAX {
            return Err(format!("At most {STORAGE_MAX} storage buffers are supported."));
        }
        if self.out.storage.iter().any(|storage| storage.name == name) {
            return Err(format!("The storage buffer {} is declared twice.", cut(name)));
        }
        let binding = self.out.storage.len();
        let line = format!("@group(0) @binding({binding}) var<storage, read_write> {name}: {};", tokens[2..].join(" "));
        self.out.storage.push(StorageDirective { name: name.to_owned(), line: at.line });
        // The whole declaration stands for the whole directive.
        let in_bytes = self.out.text.user_line(at.line).map_or(0, str::len) as u32;
        let edit = Edit { out_start: 0, out_bytes: line.len() as u32, in_start: 0, in_bytes };
        let origin = self.origin(at, vec![edit]);
        self.out.text.push(&line, origin);
        Ok(())
    }
}

/// At most 64 characters of a text, for messages.
fn cut(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| is_word_start(c) || c.is_ascii_digit()))
}

/// A line without `// …` and `/* … */`; a comment that is not closed in the line stays.
fn strip_comments(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('/') {
        let tail = &rest[at..];
        if tail.starts_with("//") {
            out.push_str(&rest[..at]);
            return out;
        }
        let comment = tail.strip_prefix("/*").and_then(|inner| inner.find("*/")).map(|end| end + 4);
        out.push_str(&rest[..at + usize::from(comment.is_none())]);
        rest = &tail[comment.unwrap_or(1)..];
    }
    out.push_str(rest);
    out
}

/// String literals replaced by `String(length, array<u32, 20>(codes…))`. What is no JSON string stays as it is.
fn replace_strings(line: &str) -> Step<(Cow<'_, str>, Vec<Edit>)> {
    let mut out = String::new();
    let mut edits = Vec::new();
    let mut at = 0;
    while let Some(open) = line[at..].find('"').map(|found| at + found) {
        let Some(close) = closing_quote(line, open) else { break };
        out.push_str(&line[at..open]);
        let literal = &line[open..=close];
        let start = out.len();
        match serde_json::from_str::<String>(literal) {
            Ok(text) => {
                let mut codes: Vec<u32> = text.chars().map(utf16_first).collect();
                let length = codes.len();
                if length > STRING_MAX_LEN {
                    return Err(format!(
                        "A string literal of {length} characters; at most {STRING_MAX_LEN} are allowed."
                    ));
                }
                codes.resize(STRING_MAX_LEN, 0);
                let codes: Vec<String> = codes.iter().map(|code| format!("0x{code:04x}")).collect();
                out.push_str(&format!("String({length}, array<u32,{STRING_MAX_LEN}>({}))", codes.join(", ")));
            }
            Err(_) => out.push_str(literal),
        }
        edits.push(Edit {
            out_start: start as u32,
            out_bytes: (out.len() - start) as u32,
            in_start: open as u32,
            in_bytes: (close + 1 - open) as u32,
        });
        at = close + 1;
    }
    out.push_str(&line[at..]);
    Ok((Cow::Owned(out), edits))
}

/// The index of the quote that closes the one at `open`, minding backslashes.
fn closing_quote(line: &str, open: usize) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The first UTF-16 unit of a character: what the site's `charCodeAt(0)` gives.
fn utf16_first(c: char) -> u32 {
    u32::from(c.encode_utf16(&mut [0; 2])[0])
}
