//! Arithmetic of `#workgroup_count` and `#dispatch_count`: up to three integer expressions in a row.
//!
//! The site reads this leniently: unknown characters are skipped, a division by zero is 0, and `-1 -2` is one expression.

use crate::limits::SHADER_DIRECTIVE_DEPTH_MAX;

/// One to three workgroup counts; the missing ones are 1.
pub fn workgroup_count(text: &str) -> Result<[u32; 3], String> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, depth: 0 };
    let mut counts = [1_i64; 3];
    let mut found = 0;
    while found < 3 {
        match parser.peek() {
            Token::End => break,
            Token::Close => parser.skip(),
            _ => {
                counts[found] = parser.expression(0)?;
                found += 1;
            }
        }
    }
    if found == 0 {
        return Err("Invalid `#workgroup_count`; expected `#workgroup_count ENTRY X Y Z`.".into());
    }
    let mut out = [0; 3];
    for (out, count) in out.iter_mut().zip(counts) {
        *out = u32::try_from(count)
            .ok()
            .filter(|&count| count > 0)
            .ok_or_else(|| format!("`#workgroup_count` of {counts:?}; every count must be above 0 and below 2³²."))?;
    }
    Ok(out)
}

/// The count of `#dispatch_count`: decimal or hexadecimal, with an optional `i` or `u` behind it; what follows the digits is ignored.
pub fn dispatch_count(text: &str) -> Result<u32, String> {
    let bad = || format!("Cannot read {text:?} as a number of dispatches; expected a whole number from 0.");
    let number = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (number, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    u32::from_str_radix(&digits[..end], radix).map_err(|_| bad())
}

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Number(i64),
    /// `<` and `>` stand for the shifts.
    Operator(u8),
    Open,
    Close,
    End,
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    /// The next token and where it ends.
    fn read(&self) -> (Token, usize) {
        let mut at = self.at;
        while let Some(&byte) = self.text.get(at) {
            let next = self.text.get(at + 1).copied();
            match byte {
                b'0'..=b'9' => {
                    let digits = self.text[at..].iter().take_while(|b| b.is_ascii_digit());
                    let mut value = 0_i64;
                    let mut end = at;
                    for digit in digits {
                        value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
                        end += 1;
                    }
                    return (Token::Number(value), end);
                }
                b'<' | b'>' if next == Some(byte) => return (Token::Operator(byte), at + 2),
                b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b'^' | b'~' => return (Token::Operator(byte), at + 1),
                b'(' => return (Token::Open, at + 1),
                b')' => return (Token::Close, at + 1),
                _ => at += 1,
            }
        }
        (Token::End, at)
    }

    fn peek(&self) -> Token {
        self.read().0
    }

    fn skip(&mut self) {
        self.at = self.read().1;
    }

    /// An expression of operators that bind at least as tightly as `tightness`.
    fn expression(&mut self, tightness: u8) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > SHADER_DIRECTIVE_DEPTH_MAX {
            return Err(format!("An expression nested more than {SHADER_DIRECTIVE_DEPTH_MAX} deep."));
        }
        let value = self.nested_expression(tightness);
        self.depth -= 1;
        value
    }

    fn nested_expression(&mut self, tightness: u8) -> Result<i64, String> {
        let token = self.peek();
        self.skip();
        let mut left = match token {
            Token::Number(value) => value,
            Token::Open => {
                let value = self.expression(0)?;
                if self.peek() == Token::Close {
                    self.skip();
                }
                value
            }
            Token::Operator(b'+') => self.expression(10)?,
            Token::Operator(b'-') => self.expression(10)?.saturating_neg(),
            Token::Operator(b'~') => !self.expression(10)?,
            _ => return Ok(0),
        };
        while let Token::Operator(operator) = self.peek() {
            let Some(binds) = tightness_of(operator).filter(|&binds| binds >= tightness) else { break };
            self.skip();
            let right = self.expression(binds + 1)?;
            left = apply(operator, left, right);
        }
        Ok(left)
    }
}

fn tightness_of(operator: u8) -> Option<u8> {
    Some(match operator {
        b'*' | b'/' | b'%' => 7,
        b'+' | b'-' => 6,
        b'<' | b'>' => 5,
        b'&' => 4,
        b'^' => 3,
        b'|' => 2,
        _ => return None,
    })
}

/// Arithmetic that saturates where the site's would lose precision, and 32-bit bit operations as in the site's language.
fn apply(operator: u8, left: i64, right: i64) -> i64 {
    let (l32, r32) = (left as i32, right as i32);
    match operator {
        b'+' => left.saturating_add(right),
        b'-' => left.saturating_sub(right),
        b'*' => left.saturating_mul(right),
        b'/' => left.checked_div(right).unwrap_or(0),
        b'%' => left.checked_rem(right).unwrap_or(0),
        b'<' => i64::from(l32.wrapping_shl(r32 as u32)),
        b'>' => i64::from(l32.wrapping_shr(r32 as u32)),
        b'&' => i64::from(l32 & r32),
        b'^' => i64::from(l32 ^ r32),
        _ => i64::from(l32 | r32),
    }
}
