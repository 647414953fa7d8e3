//! Tokens of WGSL and GLSL, as far as counting and rewriting need them. Never fails: what is no token is a `Punct`.

/// The language whose comments are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Block comments nest.
    Wgsl,
    /// Block comments end at the first `*/`.
    Glsl,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A word.
    Word,
    /// A number, with its suffix.
    Number,
    /// Operators and brackets; `->`, `==`, `<=`, `>=`, `!=`, `&&`, `||`, `++`, `--` and `op=` are one token, `<<` and `>>` are two.
    Punct,
}

/// A token: a piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'t> {
    /// What it is.
    pub kind: TokenKind,
    /// Its text.
    pub text: &'t str,
    /// Where it starts, in bytes.
    pub start: usize,
}

impl Token<'_> {
    /// Where it ends, in bytes.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The tokens of a text, without comments and white space.
pub struct Lexer<'t> {
    text: &'t str,
    at: usize,
    language: Language,
}

impl<'t> Lexer<'t> {
    /// Of a text.
    pub fn new(text: &'t str, language: Language) -> Self {
        Self { text, at: 0, language }
    }

    /// Skips white space and comments. An unclosed comment runs to the end.
    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            let rest = &rest[blank..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.at += self.block_comment_bytes(rest);
            } else {
                return;
            }
        }
    }

    /// The length of the block comment that `rest` begins with.
    fn block_comment_bytes(&self, rest: &str) -> usize {
        let bytes = rest.as_bytes();
        let (mut at, mut depth) = (2, 1);
        while at + 1 < bytes.len() {
            match (bytes[at], bytes[at + 1]) {
                (b'*', b'/') => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return at;
                    }
                }
                (b'/', b'*') if self.language == Language::Wgsl => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        rest.len()
    }
}

impl<'t> Iterator for Lexer<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        self.skip_blank();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let second = rest[first.len_utf8()..].chars().next();
        let (kind, bytes) = if is_word_start(first) {
            (TokenKind::Word, rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()))
        } else if first.is_ascii_digit() || (first == '.' && second.is_some_and(|c| c.is_ascii_digit())) {
            (TokenKind::Number, number_bytes(rest))
        } else {
            (TokenKind::Punct, punct_bytes(rest, first))
        };
        let token = Token { kind, text: &rest[..bytes], start: self.at };
        self.at += bytes;
        Some(token)
    }
}

/// True for a character that a word may begin with.
pub fn is_word_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

/// True for a character that a word may go on with.
pub fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of the number that `rest` begins with.
fn number_bytes(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let hex = bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X');
    let mut at = 0;
    while at < bytes.len() {
        let sign = matches!(bytes[at], b'+' | b'-')
            && at > 0
            && matches!((hex, bytes[at - 1]), (false, b'e' | b'E') | (true, b'p' | b'P'));
        if !(bytes[at].is_ascii_alphanumeric() || bytes[at] == b'.' || sign) {
            break;
        }
        at += 1;
    }
    at
}

/// The length of the operator or bracket that `rest` begins with.
fn punct_bytes(rest: &str, first: char) -> usize {
    const PAIRS: [&str; 17] =
        ["->", "==", "<=", ">=", "!=", "&&", "||", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="];
    if PAIRS.iter().any(|pair| rest.starts_with(pair)) { 2 } else { first.len_utf8() }
}
