//! Known answers to texts: one label per line.

use std::path::{Path, PathBuf};

use super::lines::Lines;
use crate::error::InputError;

/// The labels of a file, in the order of the texts they belong to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Labels {
    /// The file.
    pub path: PathBuf,
    /// Line number and label of every line that is not blank.
    pub lines: Vec<(usize, String)>,
}

impl Labels {
    /// Reads a UTF-8 file with one label per line; blank lines are skipped, as they are among texts.
    ///
    /// # Errors
    /// When it can't be read, is not UTF-8, or holds no label.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let lines: Vec<(usize, String)> = Lines::open(path)?.collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err(InputError::Request(format!("{}: no labels", path.display())));
        }
        Ok(Self {
            path: path.to_owned(),
            lines,
        })
    }

    /// The labels as indices of classes: their names, or numbers from 0.
    ///
    /// # Errors
    /// At the first that is neither.
    pub(crate) fn classes(&self, names: Option<&[String]>, count: usize) -> Result<Vec<usize>, InputError> {
        let class = |label: &str| {
            let named = names.and_then(|names| names.iter().position(|name| name == label));
            named.or_else(|| label.parse().ok().filter(|index| *index < count))
        };
        let wanted = || match names {
            Some(names) if names.len() <= 20 => {
                format!("one of {}, or a number below {count}", names.join(", "))
            }
            _ => format!("a class or a number below {count}"),
        };
        self.each(|label| class(label).ok_or_else(|| format!("label `{label}` must be {}", wanted())))
    }

    /// The labels as numbers.
    ///
    /// # Errors
    /// At the first that is none.
    pub(crate) fn numbers(&self) -> Result<Vec<f64>, InputError> {
        self.each(|label| match label.parse() {
            Ok(number) if f64::is_finite(number) => Ok(number),
            _ => Err(format!("label `{label}` must be a number")),
        })
    }

    fn each<T>(&self, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, InputError> {
        let read = |(line, label): &(usize, String)| {
            read(label).map_err(|reason| InputError::Line {
                path: self.path.clone(),
                line: *line,
                reason,
            })
        };
        self.lines.iter().map(read).collect()
    }
}
