//! Counts that must be small before a parser sees the text. Naga's parser and lowering recurse over expressions and `else if`
//! ladders, and are quadratic in some places: a text that passes here cannot overflow the parse stack or take long.

use super::error::{ShaderDiagnostic, Stage};
use super::lexer::{Language, Lexer, Token, TokenKind};
use super::source_map::MappedText;
use crate::limits::*;

/// One open bracket.
#[derive(Default)]
struct Level {
    /// Operators since the last separator at this level, with those of the brackets inside.
    operators: usize,
    /// The most operators between two separators.
    operators_max: usize,
    /// Entries of this list.
    entries: usize,
    /// `else if` branches of the ladder at this level.
    ladder: usize,
    /// Control words since the last statement ended at this level: `if (a) if (b) …` nests without a bracket in GLSL.
    controls: usize,
}

/// Checks all counts. Bounded work: one pass over at most `SHADER_TOKENS_MAX` tokens.
pub fn check(mapped: &MappedText, language: Language) -> Result<(), ShaderDiagnostic> {
    let refuse = |token: &Token<'_>, what: String| Err(mapped.problem(Stage::Limit, what, Some(token.start)));
    let mut levels = vec![Level::default()];
    let mut braces = 0_usize;
    let (mut ladders, mut controls) = (0_usize, 0_usize);
    let (mut functions, mut declarations, mut cases) = (0_usize, 0_usize, 0_usize);
    let mut previous = "";
    for (count, token) in Lexer::new(&mapped.text, language).enumerate() {
        if count >= SHADER_TOKENS_MAX {
            return refuse(&token, format!("The shader has more than {SHADER_TOKENS_MAX} tokens."));
        }
        if token.kind == TokenKind::Word && token.text.len() > SHADER_IDENTIFIER_BYTES_MAX {
            let bytes = token.text.len();
            return refuse(
                &token,
                format!("A name of {bytes} bytes; at most {SHADER_IDENTIFIER_BYTES_MAX} are allowed."),
            );
        }
        let depth = levels.len();
        let level = levels.last_mut().expect("the outermost level is never closed");
        if matches!(token.text, "if" | "else" | "for" | "while" | "do" | "switch") {
            level.controls += 1;
            controls += 1;
        }
        match token.text {
            "(" | "[" | "{" => {
                if token.text == "{" {
                    functions += usize::from(braces == 0);
                    braces += 1;
                } else {
                    level.operators += 1;
                }
                levels.push(Level::default());
                if functions > SHADER_FUNCTIONS_MAX {
                    let what = format!("More than {SHADER_FUNCTIONS_MAX} functions and structs.");
                    return refuse(&token, what);
                }
            }
            ")" | "]" | "}" if depth > 1 => {
                let closed = levels.pop().expect("there are at least two levels");
                ladders -= closed.ladder;
                controls -= closed.controls;
                let level = levels.last_mut().expect("there was a level below");
                if token.text == "}" {
                    braces = braces.saturating_sub(1);
                    level.operators = 0;
                    controls -= std::mem::take(&mut level.controls);
                    declarations += usize::from(levels.len() == 1);
                } else {
                    level.operators += closed.operators.max(closed.operators_max);
                }
            }
            ";" => {
                declarations += usize::from(depth == 1);
                controls -= std::mem::take(&mut level.controls);
                separate(level);
            }
            "," => {
                level.entries += 1;
                if level.entries >= SHADER_LIST_ENTRIES_MAX {
                    return refuse(&token, format!("A list of more than {SHADER_LIST_ENTRIES_MAX} entries."));
                }
                separate(level);
            }
            "if" if previous == "else" => {
                level.ladder += 1;
                ladders += 1;
                if level.ladder > SHADER_ELSE_IF_MAX {
                    let what = format!("A ladder of more than {SHADER_ELSE_IF_MAX} `else if`; use a switch.");
                    return refuse(&token, what);
                }
            }
            "if" => {
                ladders -= level.ladder;
                level.ladder = 0;
            }
            "case" => {
                cases += 1;
                if cases > SHADER_SWITCH_CASES_MAX {
                    return refuse(&token, format!("More than {SHADER_SWITCH_CASES_MAX} cases in switches."));
                }
            }
            _ if token.kind == TokenKind::Punct => level.operators += 1,
            _ => {}
        }
        if levels.len() + ladders + controls > SHADER_NESTING_MAX {
            let what = format!("Brackets and branches are nested more than {SHADER_NESTING_MAX} deep.");
            return refuse(&token, what);
        }
        if declarations > SHADER_DECLARATIONS_MAX {
            return refuse(&token, format!("More than {SHADER_DECLARATIONS_MAX} declarations."));
        }
        let level = levels.last().expect("the outermost level is never closed");
        if level.operators > SHADER_EXPRESSION_DEPTH_MAX {
            let what = format!(
                "An expression with more than {SHADER_EXPRESSION_DEPTH_MAX} operators in a row; split it into several."
            );
            return refuse(&token, what);
        }
        previous = token.text;
    }
    Ok(())
}

/// A separator at this level: the next operator begins another expression.
fn separate(level: &mut Level) {
    level.operators_max = level.operators_max.max(level.operators);
    level.operators = 0;
}
