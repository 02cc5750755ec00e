//! The lines of a text file, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::InputError;

/// The lines of a UTF-8 file that are not blank, trimmed, each with its number from 1.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// When it can't be opened.
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        let file = File::open(path).map_err(|source| InputError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
            number: 0,
            buffer: Vec::new(),
        })
    }

    /// What is wrong with the line given last.
    pub(super) fn wrong(&self, reason: String) -> InputError {
        InputError::Line {
            path: self.path.clone(),
            line: self.number,
            reason,
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, String), InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.buffer.clear();
            match self.reader.read_until(b'\n', &mut self.buffer) {
                Ok(0) => return None,
                Ok(_) => self.number += 1,
                Err(source) => {
                    let path = self.path.clone();
                    return Some(Err(InputError::Io { path, source }));
                }
            }
            let Ok(line) = std::str::from_utf8(&self.buffer) else {
                return Some(Err(self.wrong("is not UTF-8".into())));
            };
            // A byte order mark is no part of the first line.
            let line = match self.number {
                1 => line.strip_prefix('\u{feff}').unwrap_or(line),
                _ => line,
            };
            let line = line.trim();
            if !line.is_empty() {
                return Some(Ok((self.number, line.to_owned())));
            }
        }
    }
}
