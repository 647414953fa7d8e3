//! The arithmetic of `#if` in GLSL: whole numbers and C's operators; a name that is no macro is 0.

use super::preprocess::Placed;
use crate::limits::SHADER_DIRECTIVE_DEPTH_MAX;
use crate::shader_job::lexer::TokenKind;

/// True if the value is not 0.
pub fn evaluate(list: &[Placed]) -> Result<bool, String> {
    let mut parser = Parser { list, at: 0, depth: 0 };
    let value = parser.expression(0)?;
    if parser.at < list.len() {
        return Err(format!("Unexpected `{}` in `#if`.", list[parser.at].text));
    }
    Ok(value != 0)
}

struct Parser<'t> {
    list: &'t [Placed],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn text(&self) -> &str {
        self.list.get(self.at).map_or("", |token| &token.text)
    }

    /// The operator here, how tightly it binds, and how many tokens it is: shifts are two.
    fn operator(&self) -> Option<(&'static str, u8, usize)> {
        let next = self.list.get(self.at + 1).filter(|token| !token.spaced).map_or("", |token| &*token.text);
        Some(match self.text() {
            "||" => ("||", 1, 1),
            "&&" => ("&&", 2, 1),
            "|" => ("|", 3, 1),
            "^" => ("^", 4, 1),
            "&" => ("&", 5, 1),
            "==" => ("==", 6, 1),
            "!=" => ("!=", 6, 1),
            "<" if next == "<" => ("<<", 8, 2),
            ">" if next == ">" => (">>", 8, 2),
            "<" => ("<", 7, 1),
            ">" => (">", 7, 1),
            "<=" => ("<=", 7, 1),
            ">=" => (">=", 7, 1),
            "+" => ("+", 9, 1),
            "-" => ("-", 9, 1),
            "*" => ("*", 10, 1),
            "/" => ("/", 10, 1),
            "%" => ("%", 10, 1),
            _ => return None,
        })
    }

    fn expression(&mut self, tightness: u8) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > SHADER_DIRECTIVE_DEPTH_MAX {
            return Err(format!("An `#if` nested more than {SHADER_DIRECTIVE_DEPTH_MAX} deep."));
        }
        let mut left = self.operand()?;
        while let Some((operator, binds, tokens)) = self.operator().filter(|(_, binds, _)| *binds > tightness) {
            self.at += tokens;
            let right = self.expression(binds)?;
            let shift = u32::try_from(right).unwrap_or(u32::MAX);
            left = match operator {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                "|" => left | right,
                "^" => left ^ right,
                "&" => left & right,
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<" => i64::from(left < right),
                ">" => i64::from(left > right),
                "<=" => i64::from(left <= right),
                ">=" => i64::from(left >= right),
                "<<" => left.checked_shl(shift).unwrap_or(0),
                ">>" => left.checked_shr(shift).unwrap_or(0),
                "+" => left.wrapping_add(right),
                "-" => left.wrapping_sub(right),
                "*" => left.wrapping_mul(right),
                "/" => left.checked_div(right).ok_or("A division by zero in `#if`.")?,
                _ => left.checked_rem(right).ok_or("A division by zero in `#if`.")?,
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<i64, String> {
        let Some(token) = self.list.get(self.at) else { return Err("`#if` ends where a number was expected.".into()) };
        self.at += 1;
        match (token.kind, &*token.text) {
            (TokenKind::Number, text) => {
                let digits = text.trim_end_matches(['u', 'U']);
                let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
                let value = hex.map_or_else(|| digits.parse(), |hex| i64::from_str_radix(hex, 16));
                value.map_err(|_| format!("`{text}` in `#if` is no whole number."))
            }
            (TokenKind::Word, _) => Ok(0),
            (_, "!") => Ok(i64::from(self.unary()? == 0)),
            (_, "-") => Ok(self.unary()?.wrapping_neg()),
            (_, "+") => self.unary(),
            (_, "~") => Ok(!self.unary()?),
            (_, "(") => {
                let value = self.expression(0)?;
                if self.text() != ")" {
                    return Err("`(` without `)` in `#if`.".into());
                }
                self.at += 1;
                Ok(value)
            }
            (_, text) => Err(format!("Unexpected `{text}` in `#if`.")),
        }
    }

    /// An operand behind a sign, bounded like an expression.
    fn unary(&mut self) -> Result<i64, String> {
        self.expression(10)
    }
}
