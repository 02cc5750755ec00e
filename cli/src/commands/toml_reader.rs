//! A TOML document read key by key, every mistake with its place.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::exit_codes::Exit;
use crate::failure::Failure;

type Key<'t> = toml::Spanned<std::borrow::Cow<'t, str>>;

/// Text, and where it stands.
pub(super) type Placed = (String, Range<usize>);

/// A mistake in a TOML file.
#[derive(Debug)]
pub(super) struct Mistake {
    place: String,
    message: String,
    line: String,
    number: usize,
    /// Where the marked characters begin and how many there are.
    mark: (usize, usize),
    /// What to do about it, if that is known.
    pub(super) hint: Option<String>,
}

impl Mistake {
    /// The failure of whoever gave the file.
    pub(super) fn into_failure(mut self) -> Failure {
        let hint = self.hint.take();
        let failure = Failure::new(Exit::Usage, self);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number.to_string();
        let (before, marked) = self.mark;
        writeln!(f, "{}: {}", self.place, self.message)?;
        writeln!(f, "  {number} | {}", self.line)?;
        write!(
            f,
            "  {:width$} | {}{}",
            "",
            " ".repeat(before),
            "^".repeat(marked.max(1)),
            width = number.len()
        )
    }
}

impl std::error::Error for Mistake {}

/// The file a table stands in.
#[derive(Clone, Copy)]
pub(super) struct Source<'t> {
    pub(super) path: &'t Path,
    pub(super) text: &'t str,
}

impl<'t> Source<'t> {
    /// The whole document.
    pub(super) fn parse(self) -> Result<DeTable<'t>, Mistake> {
        DeTable::parse(self.text)
            .map(toml::Spanned::into_inner)
            .map_err(|error| self.mistake(error.span().unwrap_or_default(), error.message().trim_end()))
    }

    /// A mistake at some bytes of the text.
    pub(super) fn mistake(self, span: Range<usize>, message: impl Into<String>) -> Mistake {
        let start = span.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let end = span.end.min(line_start + line.len()).max(start);
        let count = |range: Range<usize>| self.text.get(range).map_or(0, |text| text.chars().count());
        let number = self.text[..start].matches('\n').count() + 1;
        let before = count(line_start..start);
        Mistake {
            place: format!("{}:{number}:{}", self.path.display(), before + 1),
            message: message.into(),
            // A tab would move the mark.
            line: line.replace('\t', " "),
            number,
            mark: (before, count(start..end)),
            hint: None,
        }
    }
}

/// One table of the document.
pub(super) struct Section<'a, 't> {
    source: Source<'t>,
    table: &'a DeTable<'t>,
    name: &'static str,
}

impl<'a, 't> Section<'a, 't> {
    /// A table that may have `known` keys only.
    pub(super) fn new(
        source: Source<'t>,
        table: &'a DeTable<'t>,
        name: &'static str,
        known: &[&str],
    ) -> Result<Self, Mistake> {
        for key in table.keys() {
            let text = key.get_ref().as_ref();
            if !known.contains(&text) {
                let inside = if name.is_empty() {
                    String::new()
                } else {
                    format!(" in [{name}]")
                };
                let mut mistake = source.mistake(
                    key.span(),
                    format!("unknown key `{}`{inside}", text.escape_debug()),
                );
                mistake.hint = Some(suggestion(text, known));
                return Err(mistake);
            }
        }
        Ok(Self { source, table, name })
    }

    fn get(&self, key: &str) -> Option<(&'a Key<'t>, &'a toml::Spanned<DeValue<'t>>)> {
        self.table.iter().find(|(name, _)| name.get_ref() == key)
    }

    /// A value of a kind, with where it stands.
    fn value<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl FnOnce(&'a DeValue<'t>) -> Option<T>,
    ) -> Result<Option<(T, Range<usize>)>, Mistake> {
        let Some((_, value)) = self.get(key) else {
            return Ok(None);
        };
        match read(value.get_ref()) {
            Some(found) => Ok(Some((found, value.span()))),
            None => {
                let found = value.get_ref().type_str();
                Err(self
                    .source
                    .mistake(value.span(), format!("`{key}` must be {kind}, this is a {found}")))
            }
        }
    }

    /// Text, read by `parse`.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        known: &[&str],
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Mistake> {
        let Some((text, span)) = self.value(key, "a string", |value| value.as_str())? else {
            return Ok(None);
        };
        parse(text).map(Some).map_err(|reason| {
            let mut mistake = self.source.mistake(span, format!("`{key}`: {reason}"));
            if !known.is_empty() {
                mistake.hint = Some(suggestion(text, known));
            }
            mistake
        })
    }

    /// Text that must be there.
    pub(super) fn required(&self, key: &str) -> Result<String, Mistake> {
        if let Some(text) = self.parsed(key, &[], |text| match text {
            "" => Err("is empty".to_owned()),
            text => Ok(text.to_owned()),
        })? {
            return Ok(text);
        }
        let inside = if self.name.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", self.name)
        };
        let end = self.source.text.trim_end().len();
        Err(self
            .source
            .mistake(end..end, format!("`{key}` is missing{inside}")))
    }

    /// A number, whole or not.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Mistake> {
        let read = |value: &DeValue<'_>| {
            let text = match value {
                DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
                DeValue::Float(number) => number.as_str(),
                _ => return None,
            };
            text.parse().ok().filter(|number: &f64| number.is_finite())
        };
        Ok(self.value(key, "a number", read)?.map(|(number, _)| number))
    }

    /// Whether something holds.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Mistake> {
        Ok(self
            .value(key, "true or false", DeValue::as_bool)?
            .map(|(flag, _)| flag))
    }

    /// Sizes: a number, a list of numbers, or text such as `"1..512"`; as text.
    pub(super) fn sizes<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Mistake> {
        let read = |value: &DeValue<'_>| match value {
            DeValue::Integer(number) => Some(number.as_str().to_owned()),
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Array(values) => {
                let numbers: Option<Vec<_>> = values
                    .iter()
                    .map(|value| Some(value.get_ref().as_integer()?.as_str()))
                    .collect();
                Some(numbers?.join(","))
            }
            _ => None,
        };
        let Some((text, span)) = self.value(
            key,
            "a number, a list of numbers, or a range such as \"1..512\"",
            read,
        )?
        else {
            return Ok(None);
        };
        parse(&text)
            .map(Some)
            .map_err(|reason| self.source.mistake(span, format!("`{key}`: {reason}")))
    }

    /// A list of texts, each with where it stands.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<Placed>>, Mistake> {
        let Some((values, _)) = self.value(key, "a list of strings", DeValue::as_array)? else {
            return Ok(None);
        };
        let mut texts = Vec::new();
        for value in values.iter() {
            let Some(text) = value.get_ref().as_str() else {
                return Err(self
                    .source
                    .mistake(value.span(), format!("`{key}` holds strings only")));
            };
            texts.push((text.to_owned(), value.span()));
        }
        Ok(Some(texts))
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &str) -> Result<Option<&'a DeTable<'t>>, Mistake> {
        Ok(self
            .value(key, "a table", DeValue::as_table)?
            .map(|(table, _)| table))
    }
}

/// What may have been meant.
pub(super) fn suggestion(text: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&text.replace('_', "-"), name), *name))
        .filter(|(edits, name)| *edits <= name.len().max(3) / 3)
        .min();
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("there is {}", known.join(", ")),
    }
}
