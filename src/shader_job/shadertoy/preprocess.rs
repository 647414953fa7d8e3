//! The preprocessor of GLSL ES, with a bound on what macros may expand to, and with the place of every token.
//!
//! Naga's own would do, but it has no bound: forty macros that each name the one before twice are 2⁴⁰ tokens.

use super::condition;
use crate::limits::*;
use crate::shader_job::lexer::{Language, Lexer, TokenKind};
use crate::shader_job::{ShaderDiagnostic, Stage, source_map::MappedText};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// A token and where it stands, or where the macro that it comes from was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its text.
    pub text: Rc<str>,
    /// What it is.
    pub kind: TokenKind,
    /// There was white space before it.
    pub spaced: bool,
    /// Byte offset in the user's text; `None` for what Kiln wrote.
    pub offset: Option<usize>,
}

impl Placed {
    /// A token of Kiln's.
    pub fn own(text: &str) -> Self {
        let kind = Lexer::new(text, Language::Glsl).next().map_or(TokenKind::Punct, |token| token.kind);
        Self { text: text.into(), kind, spaced: true, offset: None }
    }

    /// Another text at the same place.
    pub fn replaced(&self, text: &str) -> Self {
        Self { text: text.into(), spaced: true, ..self.clone() }
    }
}

#[derive(Clone)]
struct Macro {
    /// Names of the arguments; `None` for a macro without parentheses.
    arguments: Option<Rc<[Rc<str>]>>,
    body: Rc<[Placed]>,
}

/// Something in the queue of tokens to expand.
enum Item {
    Token(Placed),
    /// The expansion of this macro ends here: from here on its name may be expanded again.
    End(Rc<str>),
}

/// Expands a whole text, which `user` has verbatim. Problems have their place in it.
pub fn preprocess(user: &MappedText) -> Result<Vec<Placed>, ShaderDiagnostic> {
    let clean = without_comments(user.user_text());
    let mut state = Preprocessor {
        user,
        macros: HashMap::new(),
        branches: Vec::new(),
        pending: Vec::new(),
        out: Vec::new(),
        work: 0,
        depth: 0,
    };
    for (name, value) in [("GL_ES", "1"), ("__VERSION__", "300"), ("HW_PERFORMANCE", "1")] {
        state.macros.insert(name.into(), Macro { arguments: None, body: Rc::new([Placed::own(value)]) });
    }
    let mut lines = clean.split_inclusive('\n');
    let mut offset = 0;
    while let Some(line) = lines.next() {
        if !line.trim_start().starts_with('#') {
            if state.taken() {
                state.pending.extend(tokens(line, offset));
            }
            offset += line.len();
            continue;
        }
        let mut directive = line.to_owned();
        let start = offset;
        offset += line.len();
        while directive.trim_end().ends_with('\\') {
            let Some(next) = lines.next() else { break };
            let joined = directive.trim_end().len() - 1;
            let padding = directive.len() - joined;
            directive.truncate(joined);
            directive.push_str(&" ".repeat(padding));
            directive.push_str(next);
            offset += next.len();
        }
        state.flush()?;
        state.directive(&directive, start)?;
    }
    state.flush()?;
    Ok(state.out)
}

/// The text with every comment blanked; all offsets stay.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let tail = &rest[at..];
        let comment = if tail.starts_with("//") {
            tail.find('\n').unwrap_or(tail.len())
        } else if let Some(inner) = tail.strip_prefix("/*") {
            inner.find("*/").map_or(tail.len(), |end| end + 4)
        } else {
            out.push_str(&rest[..=at]);
            rest = &tail[1..];
            continue;
        };
        out.push_str(&rest[..at]);
        out.extend(tail[..comment].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        rest = &tail[comment..];
    }
    out.push_str(rest);
    out
}

/// The tokens of a piece of the text.
fn tokens(text: &str, offset: usize) -> Vec<Placed> {
    let mut end = None;
    Lexer::new(text, Language::Glsl)
        .map(|token| {
            let spaced = end != Some(token.start);
            end = Some(token.end());
            Placed { text: token.text.into(), kind: token.kind, spaced, offset: Some(offset + token.start) }
        })
        .collect()
}

struct Preprocessor<'t> {
    user: &'t MappedText,
    macros: HashMap<Rc<str>, Macro>,
    /// For every open `#if`: this branch is taken, and one of its branches was.
    branches: Vec<(bool, bool)>,
    /// Tokens between two directives.
    pending: Vec<Placed>,
    out: Vec<Placed>,
    /// Tokens handled so far.
    work: usize,
    /// Macro calls around the arguments that are being expanded.
    depth: usize,
}

impl Preprocessor<'_> {
    fn taken(&self) -> bool {
        self.branches.iter().all(|(taken, _)| *taken)
    }

    fn flush(&mut self) -> Result<(), ShaderDiagnostic> {
        let pending = std::mem::take(&mut self.pending);
        let expanded = self.expand(pending)?;
        self.out.extend(expanded);
        Ok(())
    }

    fn directive(&mut self, text: &str, start: usize) -> Result<(), ShaderDiagnostic> {
        let hash = text.find('#').unwrap_or(0);
        let at = Some(start + hash);
        let list = tokens(&text[hash + 1..], start + hash + 1);
        let word = list.first().map_or("", |token| &token.text).to_owned();
        let rest = list.get(1..).unwrap_or_default();
        let named = || {
            let name = rest.first().filter(|token| token.kind == TokenKind::Word);
            name.ok_or_else(|| self.user.problem(Stage::Preprocess, format!("`#{word}` without a name."), at))
        };
        match word.as_str() {
            "if" => {
                let value = self.taken() && self.condition(rest.to_vec(), at)?;
                self.branches.push((value, value));
            }
            "ifdef" | "ifndef" => {
                let value = self.macros.contains_key(&named()?.text) == (word == "ifdef");
                self.branches.push((value, value));
            }
            "elif" | "else" => {
                let Some((_, done)) = self.branches.pop() else {
                    return Err(self.user.problem(Stage::Preprocess, format!("`#{word}` without `#if`."), at));
                };
                let value = !done && (word == "else" || (self.taken() && self.condition(rest.to_vec(), at)?));
                self.branches.push((value, done || value));
            }
            "endif" => {
                if self.branches.pop().is_none() {
                    return Err(self.user.problem(Stage::Preprocess, "`#endif` without `#if`.", at));
                }
            }
            _ if !self.taken() => {}
            "define" => {
                let name = named()?.clone();
                self.define(&name, &rest[1..])?;
            }
            "undef" => {
                let name = named()?.text.clone();
                self.macros.remove(&name);
            }
            "error" => {
                let what = rest.iter().map(|token| &*token.text).collect::<Vec<_>>().join(" ");
                return Err(self.user.problem(Stage::Preprocess, format!("`#error` {what}"), at));
            }
            // The version is Kiln's, and no extension or pragma changes what a shadertoy means.
            "" | "version" | "extension" | "pragma" | "line" => {}
            _ => return Err(self.user.problem(Stage::Preprocess, format!("Unknown directive `#{word}`."), at)),
        }
        Ok(())
    }

    fn define(&mut self, name: &Placed, rest: &[Placed]) -> Result<(), ShaderDiagnostic> {
        if self.macros.len() >= SHADER_DEFINES_MAX {
            return Err(self.user.problem(
                Stage::Limit,
                format!("More than {SHADER_DEFINES_MAX} macros."),
                name.offset,
            ));
        }
        let pasted = rest.windows(2).find(|pair| &*pair[0].text == "#" && &*pair[1].text == "#");
        if let Some(pair) = pasted {
            return Err(self.user.problem(Stage::Preprocess, "`##` is not supported.", pair[0].offset));
        }
        let called = rest.first().is_some_and(|token| &*token.text == "(" && !token.spaced);
        let (arguments, body) = if called {
            let close = rest.iter().position(|token| &*token.text == ")");
            let close =
                close.ok_or_else(|| self.user.problem(Stage::Preprocess, "`#define` without `)`.", name.offset))?;
            let names = rest[1..close].iter().filter(|token| &*token.text != ",");
            (Some(names.map(|token| token.text.clone()).collect()), &rest[close + 1..])
        } else {
            (None, rest)
        };
        self.macros.insert(name.text.clone(), Macro { arguments, body: body.into() });
        Ok(())
    }

    /// Counts work, so that nothing expands forever.
    fn spend(&mut self, tokens: usize, offset: Option<usize>) -> Result<(), ShaderDiagnostic> {
        self.work += tokens;
        if self.work <= 4 * SHADER_TOKENS_MAX {
            return Ok(());
        }
        let what = format!("Macros expand to more than {SHADER_TOKENS_MAX} tokens.");
        Err(self.user.problem(Stage::Limit, what, offset))
    }

    /// Replaces macros until none is left; a macro is not expanded inside of itself.
    fn expand(&mut self, list: Vec<Placed>) -> Result<Vec<Placed>, ShaderDiagnostic> {
        let mut queue: VecDeque<Item> = list.into_iter().map(Item::Token).collect();
        let mut active: Vec<Rc<str>> = Vec::new();
        let mut out = Vec::new();
        while let Some(item) = queue.pop_front() {
            let token = match item {
                Item::Token(token) => token,
                Item::End(name) => {
                    active.retain(|other| *other != name);
                    continue;
                }
            };
            self.spend(1, token.offset)?;
            let found = self.macros.get(&token.text).filter(|_| !active.contains(&token.text)).cloned();
            let Some(found) = found else {
                out.push(token);
                continue;
            };
            let arguments = match &found.arguments {
                None => Vec::new(),
                Some(names) => match self.arguments(&mut queue, &mut active, &token)? {
                    None => {
                        out.push(token);
                        continue;
                    }
                    Some(values) if values.len() == names.len() => values,
                    Some(values) if names.is_empty() && values.iter().all(Vec::is_empty) => Vec::new(),
                    Some(values) => {
                        let what =
                            format!("The macro {} takes {} arguments, not {}.", token.text, names.len(), values.len());
                        return Err(self.user.problem(Stage::Preprocess, what, token.offset));
                    }
                },
            };
            let mut body: Vec<Item> = Vec::new();
            for part in found.body.iter() {
                let names = found.arguments.as_deref().unwrap_or_default();
                match names.iter().position(|name| *name == part.text) {
                    Some(index) => body.extend(arguments[index].iter().cloned().map(|mut value| {
                        value.spaced = true;
                        Item::Token(value)
                    })),
                    None => body.push(Item::Token(Placed { offset: token.offset, ..part.clone() })),
                }
                self.spend(1 + body.len() / 1024, token.offset)?;
            }
            self.spend(body.len(), token.offset)?;
            if let Some(Item::Token(first)) = body.first_mut() {
                first.spaced = true;
            }
            // What follows must not grow together with the last token of the body.
            if let Some(Item::Token(next)) = queue.front_mut() {
                next.spaced = true;
            }
            queue.push_front(Item::End(token.text.clone()));
            active.push(token.text);
            body.into_iter().rev().for_each(|item| queue.push_front(item));
        }
        Ok(out)
    }

    /// The arguments of a macro call, expanded; `None` if there is no call here.
    fn arguments(
        &mut self,
        queue: &mut VecDeque<Item>,
        active: &mut Vec<Rc<str>>,
        name: &Placed,
    ) -> Result<Option<Vec<Vec<Placed>>>, ShaderDiagnostic> {
        let next = queue.iter().find_map(|item| match item {
            Item::Token(token) => Some(&*token.text),
            Item::End(_) => None,
        });
        if next != Some("(") {
            return Ok(None);
        }
        let mut depth = 0_usize;
        let mut values = vec![Vec::new()];
        while let Some(item) = queue.pop_front() {
            let token = match item {
                Item::Token(token) => token,
                Item::End(other) => {
                    active.retain(|name| *name != other);
                    continue;
                }
            };
            self.spend(1, name.offset)?;
            match &*token.text {
                "(" | "[" if depth == 0 => {
                    depth = 1;
                    continue;
                }
                "(" | "[" => depth += 1,
                ")" | "]" => {
                    depth -= 1;
                    if depth == 0 {
                        // An argument is expanded on its own, with what is active here.
                        let hidden: Vec<(Rc<str>, Macro)> =
                            active.iter().filter_map(|name| self.macros.remove_entry(name)).collect();
                        let expanded = self.expand_arguments(values, name);
                        self.macros.extend(hidden);
                        return expanded.map(Some);
                    }
                }
                "," if depth == 1 => {
                    values.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            values.last_mut().expect("there is at least one argument").push(token);
        }
        let what = format!("The call of the macro {} has no `)`.", name.text);
        Err(self.user.problem(Stage::Preprocess, what, name.offset))
    }

    /// Calls inside of arguments recurse, to a bounded depth.
    fn expand_arguments(
        &mut self,
        values: Vec<Vec<Placed>>,
        name: &Placed,
    ) -> Result<Vec<Vec<Placed>>, ShaderDiagnostic> {
        if self.depth >= SHADER_DIRECTIVE_DEPTH_MAX {
            let what = format!("Macro calls are nested more than {SHADER_DIRECTIVE_DEPTH_MAX} deep.");
            return Err(self.user.problem(Stage::Limit, what, name.offset));
        }
        self.depth += 1;
        let expanded = values.into_iter().map(|value| self.expand(value)).collect();
        self.depth -= 1;
        expanded
    }

    /// The value of `#if`.
    fn condition(&mut self, mut list: Vec<Placed>, at: Option<usize>) -> Result<bool, ShaderDiagnostic> {
        // `defined` is answered before macros are expanded.
        let mut index = 0;
        while index < list.len() {
            if &*list[index].text == "defined" {
                let open = list.get(index + 1).is_some_and(|token| &*token.text == "(");
                let name = list.get(index + 1 + usize::from(open)).map(|token| token.text.clone()).unwrap_or_default();
                let end = (index + 2 + 2 * usize::from(open)).min(list.len());
                let value = if self.macros.contains_key(&name) { "1" } else { "0" };
                // A number, not the word that it replaces: a word would count as 0.
                let value = Placed { kind: TokenKind::Number, ..list[index].replaced(value) };
                list.splice(index..end, [value]);
            }
            index += 1;
        }
        let list = self.expand(list)?;
        condition::evaluate(&list).map_err(|what| self.user.problem(Stage::Preprocess, what, at))
    }
}
