//! JSON configuration files: small, read whole, errors with the key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::error::{Place, SourceError, shortened};
use super::file::SourceFile;

/// Largest configuration file read. The index of a model in a thousand shards takes a few megabytes.
const MOST_BYTES: u64 = 64 << 20;

/// Parses a file.
///
/// # Errors
/// When it can't be read, is too large, or is not JSON of that form.
pub(super) fn read<T: DeserializeOwned>(file: &SourceFile) -> Result<T, SourceError> {
    let bytes = file.read_vec(0, file.len(), MOST_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| SourceError::malformed(file.path(), Place::Whole, format!("is not valid: {error}")))
}

/// Parses the JSON document an archive's entry holds; what is wrong with it is said with the way to it.
///
/// # Errors
/// When it is not JSON, or not of that form.
pub(crate) fn parse_entry<T: DeserializeOwned>(
    file: &Path,
    entry: &str,
    text: &[u8],
) -> Result<T, SourceError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let fail = |path: String, error: serde_json::Error| {
        let place = match path.as_str() {
            // Nowhere yet, or in the middle of a member's name.
            "" | "." | "?" => Place::Entry {
                name: entry.into(),
                offset: None,
            },
            _ => Place::Member {
                entry: entry.into(),
                path,
            },
        };
        SourceError::malformed(
            file,
            place,
            format!("is not valid: {}", shortened(&error.to_string())),
        )
    };
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        fail(path, error.into_inner())
    })?;
    json.end().map_err(|error| fail(String::new(), error))?;
    Ok(value)
}

/// `Infinity`, `-Infinity` and `NaN`, which Python writes outside of strings though JSON has no such words, put in
/// quotes.
pub(crate) fn quote_non_finite(text: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut quoted = Vec::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'-' | b'I' | b'N' if !in_string => {
                if let Some(word) = WORDS.into_iter().find(|word| text[at..].starts_with(word)) {
                    quoted.extend_from_slice(&text[copied..at]);
                    quoted.push(b'"');
                    quoted.extend_from_slice(word);
                    quoted.push(b'"');
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    quoted.extend_from_slice(&text[copied..]);
    Cow::Owned(quoted)
}

/// A JSON object of one file, asked key by key.
pub(super) struct Settings {
    pub(super) file: Arc<SourceFile>,
    map: Map<String, Value>,
}

impl Settings {
    /// Parses a file that must hold an object.
    ///
    /// # Errors
    /// As [`read`], and when it holds something else.
    pub(super) fn read(file: Arc<SourceFile>) -> Result<Self, SourceError> {
        let map = read(&file)?;
        Ok(Self { file, map })
    }

    /// The value of a key; `None` when it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A flag; `default` when it is absent.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, SourceError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.malformed(key, "must be true or false", value)),
        }
    }

    /// Keys that start so and are set to true.
    pub(super) fn enabled<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let on = move |(key, value): (&'a String, &Value)| {
            (key.starts_with(prefix) && value.as_bool() == Some(true)).then_some(key.as_str())
        };
        self.map.iter().filter_map(on)
    }

    /// A text; `default` when it is absent.
    pub(super) fn text<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, SourceError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_str()
                .ok_or_else(|| self.malformed(key, "must be a string", value)),
        }
    }

    /// A positive whole number below 2³¹; `None` when it is absent.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, SourceError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(number @ 1..=0x7fff_ffff) => Ok(Some(number)),
            _ => Err(self.malformed(key, "must be a positive whole number", value)),
        }
    }

    /// A positive whole number under the first of several names a key has had.
    pub(super) fn required_number(&self, keys: &[&str]) -> Result<u64, SourceError> {
        for key in keys {
            if let Some(number) = self.number(key)? {
                return Ok(number);
            }
        }
        let place = Place::Key(keys.first().copied().unwrap_or_default().into());
        Err(SourceError::malformed(self.file.path(), place, "is missing"))
    }

    /// An error about a key.
    pub(super) fn malformed(&self, key: &str, rule: &str, value: &Value) -> SourceError {
        let reason = format!("{rule}, is {}", shortened(&value.to_string()));
        SourceError::malformed(self.file.path(), Place::Key(key.into()), reason)
    }

    /// An error about a key that asks for something corer does not convert.
    pub(super) fn unsupported(&self, key: &str, reason: impl Into<String>) -> SourceError {
        SourceError::unsupported(self.file.path(), Place::Key(key.into()), reason)
    }
}

/// A JSON object in which no key may come twice.
#[derive(Debug)]
pub(crate) struct UniqueMap<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    let name = shortened(&key);
                    if entries.insert(key, value).is_some() {
                        return Err(A::Error::custom(format_args!("`{name}` is given twice")));
                    }
                }
                Ok(UniqueMap(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_python_writes_for_what_json_lacks() {
        let quoted = |text: &str| String::from_utf8(quote_non_finite(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(
            quoted(r#"[-Infinity,Infinity, NaN,-1]"#),
            r#"["-Infinity","Infinity", "NaN",-1]"#
        );
        for kept in [r#"{"NaN \" Infinity":"-Infinity"}"#, r#"["\\",1]"#, "", "\"\\"] {
            assert_eq!(quoted(kept), kept);
        }
    }
}
