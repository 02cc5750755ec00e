//! Cuts text into words, strings and marks, and knows where each stands.

use super::ParseError;

/// One piece of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// An identifier, keyword or number: letters, digits and `_ @ . + -`, not starting with a mark.
    Word(String),
    /// A string, unescaped.
    Text(String),
    /// One of `( ) [ ] { } < > , ; = : ?`, or `->` as `>` after `-`.
    Mark(char),
    /// `->`.
    Arrow,
    /// The end of the text.
    End,
}

impl Token {
    /// How the token is named in a message.
    pub(super) fn describe(&self) -> String {
        const LONGEST: usize = 40;
        let shortened = |text: &str| match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        match self {
            Self::Word(word) => format!("`{}`", shortened(word)),
            Self::Text(text) => format!("the string {}", super::print::quoted(&shortened(text))),
            Self::Mark(mark) => format!("`{mark}`"),
            Self::Arrow => "`->`".into(),
            Self::End => "the end of the text".into(),
        }
    }
}

/// Reads tokens one at a time.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            line: 1,
            column: 1,
        }
    }

    /// Where the next character stands.
    pub(super) const fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(next)
    }

    fn skip_space(&mut self) -> Result<(), ParseError> {
        while let Some(next) = self.rest.peek() {
            if next.is_whitespace() {
                self.bump();
            } else if *next == '/' {
                let place = self.place();
                self.bump();
                if self.bump() != Some('/') {
                    return Err(error(place, "a comment starts with `//`"));
                }
                while self.rest.peek().is_some_and(|next| *next != '\n') {
                    self.bump();
                }
            } else {
                break;
            }
        }
        Ok(())
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token, (usize, usize)), ParseError> {
        self.skip_space()?;
        let place = self.place();
        let Some(first) = self.bump() else {
            return Ok((Token::End, place));
        };
        let token = match first {
            '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '=' | ':' | '?' => Token::Mark(first),
            '"' => Token::Text(self.string(place)?),
            '-' if self.rest.peek() == Some(&'>') => {
                self.bump();
                Token::Arrow
            }
            first if is_word(first) => {
                let mut word = String::from(first);
                while let Some(next) = self.rest.peek().copied().filter(|next| is_word(*next)) {
                    // A sign belongs to a number's exponent only: `x->` is not a word.
                    let exponent = word.ends_with(['e', 'E'])
                        && word.starts_with(|first: char| first.is_ascii_digit() || first == '-');
                    if matches!(next, '-' | '+') && !exponent {
                        break;
                    }
                    word.push(next);
                    self.bump();
                }
                Token::Word(word)
            }
            other => {
                return Err(error(
                    place,
                    format!("`{}` has no meaning here", other.escape_debug()),
                ));
            }
        };
        Ok((token, place))
    }

    /// The rest of a string after its opening quote.
    fn string(&mut self, start: (usize, usize)) -> Result<String, ParseError> {
        let mut text = String::new();
        loop {
            let place = self.place();
            match self.bump() {
                None => return Err(error(start, "the string has no end")),
                Some('"') => return Ok(text),
                Some('\\') => match self.bump() {
                    Some(plain @ ('"' | '\\')) => text.push(plain),
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('u') => text.push(
                        self.unicode()
                            .ok_or_else(|| error(place, "no `\\u{..}` character"))?,
                    ),
                    _ => return Err(error(place, "only \\\" \\\\ \\n \\r \\t \\u{..} are escapes")),
                },
                Some(plain) => text.push(plain),
            }
        }
    }

    /// `{1f600}` after `\u`.
    fn unicode(&mut self) -> Option<char> {
        if self.bump()? != '{' {
            return None;
        }
        let mut code = 0u32;
        let mut digits = 0;
        loop {
            match self.bump()? {
                '}' if digits > 0 => return char::from_u32(code),
                digit if digits < 6 => {
                    code = code * 16 + digit.to_digit(16)?;
                    digits += 1;
                }
                _ => return None,
            }
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '@' | '.' | '-' | '+')
}

/// An error at a place.
pub(super) fn error(place: (usize, usize), message: impl Into<String>) -> ParseError {
    ParseError {
        line: place.0,
        column: place.1,
        message: message.into(),
    }
}
