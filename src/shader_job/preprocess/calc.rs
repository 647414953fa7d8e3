//! Arithmetic of `#calcdefine` and `#if`.
//!
//! An expression without floating-point numbers and functions is exact integer arithmetic, whose division truncates; any other is
//! in double precision, and its result is written with a point. `^` is a power, `&&` and `||` give one of their operands, and there
//! are no comparisons: all as on the site.

use crate::limits::SHADER_DIRECTIVE_DEPTH_MAX;

/// The value as text; an empty expression is empty text.
pub fn evaluate(expression: &str) -> Result<String, String> {
    let text: String = expression.chars().filter(|c| !c.is_whitespace()).collect();
    if text.is_empty() {
        return Ok(String::new());
    }
    let tokens = tokenize(&text)?;
    let floats = tokens.iter().any(|token| match token {
        Token::Float(_) => true,
        Token::Word(word) => !INTEGER_FUNCTIONS.contains(&word.as_str()),
        _ => false,
    });
    let bits = tokens.iter().any(|token| matches!(token, Token::Operator("^" | "&&" | "||" | "<<" | ">>")));
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, integers: !floats || bits };
    let value = parser.expression(0)?;
    match parser.tokens.get(parser.at) {
        None => value.into_text(),
        Some(token) => Err(format!("Unexpected {} in the expression {:?}.", token.shown(), super::cut(expression))),
    }
}

const INTEGER_FUNCTIONS: [&str; 5] = ["select", "abs", "min", "max", "sign"];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Integer(i128),
    Float(f64),
    Word(String),
    Operator(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Integer(value) => format!("`{value}`"),
            Self::Float(value) => format!("`{value}`"),
            Self::Word(word) => format!("`{}`", super::cut(word)),
            Self::Operator(operator) => format!("`{operator}`"),
        }
    }
}

fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    const OPERATORS: [&str; 13] = ["&&", "||", "<<", ">>", "**", "^", "+", "-", "*", "/", "%", "(", ")"];
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let bytes = if first.is_ascii_digit() || first == '.' {
            let (token, bytes) = number(rest)?;
            tokens.push(token);
            bytes
        } else if first.is_ascii_alphabetic() || first == '_' {
            let bytes = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..bytes].to_owned()));
            bytes
        } else if first == ',' {
            tokens.push(Token::Operator(","));
            1
        } else if let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) {
            tokens.push(Token::Operator(if operator == "**" { "^" } else { operator }));
            operator.len()
        } else {
            return Err(format!("Unsupported symbol {first:?} in the expression {:?}.", super::cut(text)));
        };
        rest = &rest[bytes..];
    }
    Ok(tokens)
}

/// A number at the start of `rest`, with its length.
fn number(rest: &str) -> Result<(Token, usize), String> {
    let bad = |end: usize| format!("Cannot read the number {:?}.", super::cut(&rest[..end]));
    let suffix = |end: usize| usize::from(matches!(rest.as_bytes().get(end), Some(b'i' | b'u')));
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let digits = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = i128::from_str_radix(&hex[..digits], 16).map_err(|_| bad(2 + digits))?;
        return Ok((Token::Integer(value), 2 + digits + suffix(2 + digits)));
    }
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut float = false;
    if bytes.get(end) == Some(&b'.') {
        float = true;
        end += 1;
        end += digits(end);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(end + 1 + sign..).map_or(0, |_| digits((end + 1 + sign).min(bytes.len())));
        if exponent > 0 {
            float = true;
            end += 1 + sign + exponent;
        }
    }
    if float {
        return Ok((Token::Float(rest[..end].parse().map_err(|_| bad(end))?), end));
    }
    Ok((Token::Integer(rest[..end].parse().map_err(|_| bad(end))?), end + suffix(end)))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Integer(i128),
    Float(f64),
}

impl Value {
    fn float(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn truth(self) -> bool {
        self.float() != 0.0
    }

    fn into_text(self) -> Result<String, String> {
        match self {
            Self::Integer(value) => Ok(value.to_string()),
            Self::Float(value) if !value.is_finite() => {
                Err(format!("The expression's value is {value}, which is no number."))
            }
            Self::Float(value) => {
                let size = value.abs();
                let text = if size != 0.0 && !(1e-6..1e21).contains(&size) {
                    format!("{value:e}")
                } else {
                    format!("{value}")
                };
                let whole = text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
                Ok(if whole { format!("{text}.0") } else { text })
            }
        }
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
    integers: bool,
}

impl Parser<'_> {
    fn operator(&self) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some(Token::Operator(operator)) => Some(operator),
            _ => None,
        }
    }

    fn expect(&mut self, operator: &str) -> Result<(), String> {
        if self.operator() == Some(operator) {
            self.at += 1;
            return Ok(());
        }
        let found = self.tokens.get(self.at).map_or("the end".to_owned(), Token::shown);
        Err(format!("Found {found} in an expression, expected `{operator}`."))
    }

    /// Operators that bind at least as tightly as `tightness`; `^` binds to the right.
    fn expression(&mut self, tightness: u8) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > SHADER_DIRECTIVE_DEPTH_MAX {
            return Err(format!("An expression nested more than {SHADER_DIRECTIVE_DEPTH_MAX} deep."));
        }
        let mut left = self.operand()?;
        while let Some(operator) = self.operator() {
            let binds = match operator {
                "||" => 1,
                "&&" => 2,
                "<<" | ">>" => 3,
                "+" | "-" => 4,
                "*" | "/" | "%" => 5,
                "^" => 6,
                _ => break,
            };
            if binds < tightness {
                break;
            }
            self.at += 1;
            let right = self.expression(if operator == "^" { binds } else { binds + 1 })?;
            left = self.apply(operator, left, right)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Value, String> {
        let token = self.tokens.get(self.at).ok_or("An expression ends where a number was expected.")?;
        self.at += 1;
        match token {
            Token::Integer(value) if self.integers => Ok(Value::Integer(*value)),
            Token::Integer(value) => Ok(Value::Float(*value as f64)),
            Token::Float(value) => Ok(Value::Float(*value)),
            Token::Operator("(") => {
                let value = self.expression(0)?;
                self.expect(")")?;
                Ok(value)
            }
            Token::Operator("+") => self.expression(6),
            Token::Operator("-") => match self.expression(6)? {
                Value::Integer(value) => Ok(Value::Integer(-value)),
                Value::Float(value) => Ok(Value::Float(-value)),
            },
            Token::Word(word) => self.call(word),
            other => Err(format!("Found {} in an expression, expected a number.", other.shown())),
        }
    }

    fn call(&mut self, name: &str) -> Result<Value, String> {
        if self.operator() != Some("(") {
            return Err(format!("Unsupported symbols {:?} in an expression.", super::cut(name)));
        }
        self.at += 1;
        let mut values = Vec::new();
        loop {
            values.push(self.expression(0)?);
            if self.operator() != Some(",") {
                break;
            }
            self.at += 1;
        }
        self.expect(")")?;
        function(name, &values, self.integers)
    }

    fn apply(&self, operator: &str, left: Value, right: Value) -> Result<Value, String> {
        if let (Value::Integer(l), Value::Integer(r)) = (left, right) {
            let too_large = || format!("The result of `{operator}` in an expression is too large, or has no value.");
            let small = || u32::try_from(r).map_err(|_| too_large());
            let value = match operator {
                "+" => l.checked_add(r),
                "-" => l.checked_sub(r),
                "*" => l.checked_mul(r),
                "/" => l.checked_div(r),
                "%" => l.checked_rem(r),
                "^" => l.checked_pow(small()?),
                "<<" => {
                    1_i128.checked_shl(small()?).filter(|factor| *factor > 0).and_then(|factor| l.checked_mul(factor))
                }
                ">>" => Some(l >> small()?.min(127)),
                "&&" => Some(if l != 0 { r } else { l }),
                _ => Some(if l != 0 { l } else { r }),
            };
            return value.map(Value::Integer).ok_or_else(too_large);
        }
        let (l, r) = (left.float(), right.float());
        Ok(Value::Float(match operator {
            "+" => l + r,
            "-" => l - r,
            "*" => l * r,
            "/" => l / r,
            "%" => l % r,
            "^" => l.powf(r),
            "&&" => return Ok(if left.truth() { right } else { left }),
            "||" => return Ok(if left.truth() { left } else { right }),
            _ => return Err(format!("`{operator}` in an expression needs whole numbers.")),
        }))
    }
}

/// A function of the site, by name.
fn function(name: &str, values: &[Value], integers: bool) -> Result<Value, String> {
    let x = values[0].float();
    let argument = |index: usize| values.get(index).map(|value| value.float());
    let need = |count: usize| {
        if values.len() == count {
            return Ok(());
        }
        Err(format!("{}() takes {count} arguments, not {}.", super::cut(name), values.len()))
    };
    let one = |value: f64| need(1).map(|()| value);
    let float = match name {
        "abs" => one(x.abs()),
        "sign" => one(if x == 0.0 { 0.0 } else { x.signum() }),
        "min" => need(2).map(|()| x.min(argument(1).unwrap_or(x))),
        "max" => need(2).map(|()| x.max(argument(1).unwrap_or(x))),
        "select" => {
            need(3)?;
            return Ok(if values[2].truth() { values[1] } else { values[0] });
        }
        "sin" => one(x.sin()),
        "cos" => one(x.cos()),
        "tan" => one(x.tan()),
        "asin" => one(x.asin()),
        "acos" => one(x.acos()),
        "atan" => one(x.atan()),
        "sinh" => one(x.sinh()),
        "cosh" => one(x.cosh()),
        "tanh" => one(x.tanh()),
        "asinh" => one(x.asinh()),
        "acosh" => one(x.acosh()),
        "atanh" => one(x.atanh()),
        "atan2" => need(2).map(|()| x.atan2(argument(1).unwrap_or(1.0))),
        // The site rounds halves up, also below zero.
        "round" => one((x + 0.5).floor()),
        "floor" => one(x.floor()),
        "ceil" => one(x.ceil()),
        "fract" => one(x - x.floor()),
        "sqrt" => one(x.sqrt()),
        "pow" => need(2).map(|()| x.powf(argument(1).unwrap_or(1.0))),
        "log" => one(x.ln()),
        "log2" => one(x.log2()),
        "exp" => one(x.exp()),
        "exp2" => one(x.exp2()),
        "radians" => one(x.to_radians()),
        "degrees" => one(x.to_degrees()),
        "step" => need(2).map(|()| if argument(1).unwrap_or(x) < x { 0.0 } else { 1.0 }),
        "clamp" | "mix" | "smoothstep" => {
            need(3)?;
            let (y, z) = (argument(1).unwrap_or(x), argument(2).unwrap_or(x));
            Ok(match name {
                "clamp" => x.max(y).min(z),
                "mix" => x * (1.0 - z) + y * z,
                _ => {
                    let t = ((z - x) / (y - x)).clamp(0.0, 1.0);
                    t * t * (3.0 - 2.0 * t)
                }
            })
        }
        _ => Err(format!("Unknown function {}() in an expression.", super::cut(name))),
    }?;
    let whole = integers && INTEGER_FUNCTIONS.contains(&name) && float.fract() == 0.0 && float.abs() < 9e15;
    Ok(if whole { Value::Integer(float as i128) } else { Value::Float(float) })
}
