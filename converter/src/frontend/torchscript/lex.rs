//! Text to tokens: names, numbers, strings, symbols, and the line ends and indents that mean something.

use super::syntax::Span;

/// A token and where it starts.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// What a token is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum TokenKind {
    Name(String),
    /// Digits without point or exponent.
    Int(u64),
    Float(f64),
    Str(String),
    Symbol(&'static str),
    /// End of a line outside brackets.
    Newline,
    Indent,
    Dedent,
    End,
}

/// Why a text is not TorchScript, and where.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SyntaxError {
    pub(super) span: Span,
    pub(super) reason: String,
}

/// Longest first, so that `**` is not read as two stars.
const SYMBOLS: [&str; 37] = [
    "...", "**=", "//=", "->", "**", "//", "==", "!=", "<=", ">=", "<<", ">>", "+=", "-=", "*=", "/=", "(",
    ")", "[", "]", "{", "}", ",", ":", ".", "=", "+", "-", "*", "/", "%", "<", ">", "@", "&", "|", "^",
];

/// Deepest indentation; code nests classes, methods and, where it was scripted, blocks.
const DEEPEST_INDENT: usize = 100;

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
    /// Open brackets; inside them line ends mean nothing.
    brackets: usize,
    indents: Vec<usize>,
    tokens: Vec<Token>,
}

/// Splits a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        column: 1,
        brackets: 0,
        indents: vec![0],
        tokens: Vec::new(),
    };
    while !lexer.rest.is_empty() {
        lexer.line()?;
    }
    lexer.end_line();
    while lexer.indents.len() > 1 {
        lexer.indents.pop();
        lexer.push(TokenKind::Dedent);
    }
    lexer.push(TokenKind::End);
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn span(&self) -> Span {
        Span {
            line: self.line,
            column: self.column,
        }
    }

    fn push(&mut self, kind: TokenKind) {
        let span = self.span();
        self.tokens.push(Token { kind, span });
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            span: self.span(),
            reason: reason.into(),
        })
    }

    /// Takes `bytes` bytes, which end on a character.
    fn skip(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        let columns = taken.chars().count();
        self.column = self
            .column
            .saturating_add(u32::try_from(columns).unwrap_or(u32::MAX));
        self.rest = rest;
    }

    fn next_line(&mut self) {
        self.rest = &self.rest[1..];
        self.line = self.line.saturating_add(1);
        self.column = 1;
    }

    /// Ends a line that said something.
    fn end_line(&mut self) {
        let open = self.tokens.last().is_some_and(|token| {
            !matches!(
                token.kind,
                TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent
            )
        });
        if open {
            self.push(TokenKind::Newline);
        }
    }

    /// One line, or what remains of one inside brackets.
    fn line(&mut self) -> Result<(), SyntaxError> {
        let indent = self.rest.len() - self.rest.trim_start_matches(' ').len();
        self.skip(indent);
        let blank = matches!(self.rest.bytes().next(), None | Some(b'\n' | b'\r' | b'#'));
        if self.brackets == 0 && !blank {
            self.indent(indent)?;
        }
        loop {
            match self.rest.bytes().next() {
                None => return Ok(()),
                Some(b'\n') => {
                    if self.brackets == 0 {
                        self.end_line();
                    }
                    self.next_line();
                    return Ok(());
                }
                Some(b' ' | b'\t' | b'\r') => self.skip(1),
                Some(b'#') => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.skip(end);
                }
                Some(b'\\') if self.rest[1..].starts_with('\n') => {
                    self.skip(1);
                    self.next_line();
                }
                Some(b'"' | b'\'') => self.string()?,
                Some(b'0'..=b'9') => self.number()?,
                Some(b'.') if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.name(),
                Some(_) => self.symbol()?,
            }
        }
    }

    fn indent(&mut self, indent: usize) -> Result<(), SyntaxError> {
        let current = self.indents.last().copied().unwrap_or(0);
        if indent > current {
            if self.indents.len() > DEEPEST_INDENT {
                return self.fail("the code is nested too deeply");
            }
            self.indents.push(indent);
            self.push(TokenKind::Indent);
        }
        while self.indents.last().is_some_and(|open| indent < *open) {
            self.indents.pop();
            self.push(TokenKind::Dedent);
        }
        if self.indents.last() != Some(&indent) {
            return self.fail("a line is indented like none before it");
        }
        Ok(())
    }

    fn name(&mut self) {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        self.push(TokenKind::Name(name));
        self.skip(end);
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| {
            from + bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut end = digits(0);
        let mut whole = true;
        if bytes.get(end) == Some(&b'.') {
            whole = false;
            end = digits(end + 1);
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let after = digits((end + 1 + sign).min(bytes.len()));
            if after > end + 1 + sign {
                whole = false;
                end = after;
            }
        }
        let text = &self.rest[..end];
        let kind = if whole {
            match text.parse() {
                Ok(value) => TokenKind::Int(value),
                Err(_) => return self.fail(format!("{text} does not fit 64 bits")),
            }
        } else {
            match text.parse() {
                Ok(value) => TokenKind::Float(value),
                Err(_) => return self.fail("is not a number"),
            }
        };
        self.push(kind);
        self.skip(end);
        Ok(())
    }

    fn string(&mut self) -> Result<(), SyntaxError> {
        let start = self.span();
        let quote = self.rest.chars().next().unwrap_or('"');
        self.skip(1);
        let mut value = String::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return self.fail("the text ends inside a string");
            };
            match c {
                '\n' => return self.fail("the line ends inside a string"),
                '\\' => self.escape(&mut value)?,
                _ => {
                    self.skip(c.len_utf8());
                    if c == quote {
                        break;
                    }
                    value.push(c);
                }
            }
        }
        self.tokens.push(Token {
            kind: TokenKind::Str(value),
            span: start,
        });
        Ok(())
    }

    /// The escapes `c10::printQuotedString` writes, and Python's hexadecimal one.
    fn escape(&mut self, value: &mut String) -> Result<(), SyntaxError> {
        let rest = self.rest.as_bytes();
        let (c, taken) = match rest.get(1) {
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'r') => ('\r', 2),
            Some(b'a') => ('\u{7}', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'v') => ('\u{b}', 2),
            Some(c @ (b'\\' | b'"' | b'\'' | b'?')) => (char::from(*c), 2),
            Some(b'x') => {
                let digits = rest.get(2..4).and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => (char::from(byte), 4),
                    None => return self.fail("\\x is not followed by two digits"),
                }
            }
            Some(b'0'..=b'7') => {
                let count = rest[1..]
                    .iter()
                    .take(3)
                    .take_while(|byte| matches!(byte, b'0'..=b'7'))
                    .count();
                let code = rest[1..=count]
                    .iter()
                    .fold(0u32, |code, digit| code * 8 + u32::from(digit - b'0'));
                (char::from_u32(code & 0xff).unwrap_or('\u{fffd}'), 1 + count)
            }
            _ => return self.fail("an escape that is not known"),
        };
        value.push(c);
        self.skip(taken);
        Ok(())
    }

    fn symbol(&mut self) -> Result<(), SyntaxError> {
        let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest.starts_with(**symbol)) else {
            let c = self.rest.chars().next().unwrap_or(' ');
            return self.fail(format!("{c:?} has no place in TorchScript code"));
        };
        match *symbol {
            "(" | "[" | "{" => self.brackets += 1,
            ")" | "]" | "}" => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        self.push(TokenKind::Symbol(symbol));
        self.skip(symbol.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect()
    }

    #[test]
    fn numbers_keep_their_kind_and_strings_their_characters() {
        assert_eq!(
            kinds("1 1. 1.5e-05 9223372036854775807 .5 2e3"),
            [
                TokenKind::Int(1),
                TokenKind::Float(1.0),
                TokenKind::Float(1.5e-5),
                TokenKind::Int(9_223_372_036_854_775_807),
                TokenKind::Float(0.5),
                TokenKind::Float(2000.0),
                TokenKind::Newline,
                TokenKind::End,
            ]
        );
        assert_eq!(
            kinds(r#""a\"b\\\n\101é""#)[0],
            TokenKind::Str("a\"b\\\nAé".into())
        );
    }

    #[test]
    fn line_ends_count_outside_brackets_only() {
        let tokens = kinds("def f(a,\n      b):\n  x\n\n# nothing\n  y\nz");
        let indents = tokens.iter().filter(|kind| **kind == TokenKind::Indent).count();
        let lines = tokens.iter().filter(|kind| **kind == TokenKind::Newline).count();
        assert_eq!((indents, lines), (1, 4));
    }

    #[test]
    fn what_is_no_token_is_told_with_its_place() {
        let error = tokens("a = $").unwrap_err();
        assert_eq!((error.span.line, error.span.column), (1, 5));
        for text in ["\"open", "'a\nb'", "  a\n b", "99999999999999999999", "\"\\q\""] {
            assert!(tokens(text).is_err(), "{text}");
        }
    }
}
