//! Texts to compress for, as inputs of a package's function.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_mil::{DataType, Program};
use corer_quantizer::CalibrationRow;
use corer_verifier::InputError;
use corer_verifier::inputs::{InputRow, TextTokenizer};

use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Texts, the tokenizer they go through, the function they are for.
#[derive(clap::Args)]
pub(super) struct Texts {
    /// Compress for what these texts do in the model: a UTF-8 file, one per line, a tab before a second sentence
    #[arg(long, value_name = "FILE", help_heading = CALIBRATION)]
    calibrate: Option<PathBuf>,

    /// The tokenizer.json for the texts, or a directory with one
    #[arg(long, value_name = "PATH", help_heading = CALIBRATION)]
    tokenizer: Option<PathBuf>,
}

const CALIBRATION: &str = "Calibration";

/// Inputs for one function.
pub(super) struct Rows {
    pub(super) function: String,
    pub(super) rows: Vec<CalibrationRow>,
}

impl Texts {
    /// The tokenizer.json named.
    pub(super) fn tokenizer(&self) -> Option<PathBuf> {
        self.tokenizer.as_deref().map(within)
    }

    /// Refuses a tokenizer that nothing would use.
    ///
    /// # Errors
    /// When one is named without texts for it.
    pub(super) fn refuse_idle_tokenizer(&self, users: &str) -> Result<(), Failure> {
        match (&self.tokenizer, &self.calibrate) {
            (Some(_), None) => Err(Failure::new(
                Exit::Usage,
                format!("--tokenizer is only of use with {users}"),
            )),
            _ => Ok(()),
        }
    }

    /// The texts as inputs; `None` when there are none. `source` has the tokenizer unless another is named.
    ///
    /// # Errors
    /// When a file can't be read, the texts are not UTF-8 or none, or the function takes other inputs than token ids.
    pub(super) fn rows(&self, program: &Program, source: Option<&Path>) -> Result<Option<Rows>, Failure> {
        let Some(texts) = &self.calibrate else {
            return Ok(None);
        };
        let tokenizer = self.tokenizer().or_else(|| source.map(within)).ok_or_else(|| {
            Failure::new(Exit::Usage, "--calibrate needs the model's tokenizer")
                .hint("name its tokenizer.json, or the checkpoint directory, with --tokenizer")
        })?;
        // The longest one sees most of each text; the others share its weights.
        let (function, shape) = program
            .functions
            .iter()
            .filter_map(|(name, function)| {
                let ids = function.inputs.iter().find(|input| input.name == "input_ids")?;
                let shape = ids
                    .ty
                    .as_tensor()
                    .filter(|ty| ty.dtype == DataType::Int32)?
                    .known_shape()?;
                let [batch, length] = shape[..] else { return None };
                Some((
                    name,
                    (usize::try_from(batch).ok()?, usize::try_from(length).ok()?),
                ))
            })
            .max_by_key(|(_, (batch, length))| (*length, std::cmp::Reverse(*batch)))
            .ok_or_else(|| {
                let message =
                    "calibration needs an input `input_ids` of type int32 and a fixed shape [batch, tokens]";
                Failure::new(Exit::Usage, message)
            })?;
        let names: Vec<&str> = program.functions[function]
            .inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect();
        if let Some(other) = names.iter().find(|name| !KNOWN.contains(name)) {
            let message = format!(
                "calibration knows no values for the input `{other}`, only for {}",
                KNOWN.join(", ")
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let (batch, length) = shape;
        let read = TextTokenizer::open(&tokenizer, 0).and_then(|mut tokenizer| {
            let nothing = tokenizer.row("", length)?;
            let mut set = tokenizer.rows(Some(texts), length)?;
            // A text of spaces that are no ASCII ones, say, is special tokens alone.
            set.rows.retain(|row| {
                row.attention_mask.contains(&1)
                    && (&row.input_ids, &row.attention_mask) != (&nothing.input_ids, &nothing.attention_mask)
            });
            Ok(set)
        });
        let set = read.map_err(|error| {
            let exit = match &error {
                InputError::Tokenizer { .. } | InputError::NoTokenizer { .. } => Exit::Source,
                _ => Exit::Usage,
            };
            Failure::new(exit, error)
        })?;
        if set.rows.is_empty() {
            let message = format!("none of the texts in {} has a token", texts.display());
            return Err(Failure::new(Exit::Usage, message)
                .hint("the tokenizer must be the model's own; each line is a text"));
        }
        let rows = set
            .rows
            .chunks(batch.max(1))
            .map(|rows| row(rows, batch, length, &names));
        Ok(Some(Rows {
            function: function.clone(),
            rows: rows.collect::<Result<_, _>>()?,
        }))
    }
}

/// The tokenizer of a directory, or the file itself.
fn within(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("tokenizer.json")
    } else {
        path.to_owned()
    }
}

const KNOWN: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// One run's inputs; missing texts of the last run are all padding.
fn row(rows: &[InputRow], batch: usize, length: usize, names: &[&str]) -> Result<CalibrationRow, Failure> {
    let column = |values: fn(&InputRow) -> &[i32]| {
        let mut all: Vec<i32> = rows.iter().flat_map(|row| values(row).iter().copied()).collect();
        all.resize(batch * length, 0);
        all
    };
    let mask = column(|row| &row.attention_mask);
    let columns = [
        column(|row| &row.input_ids),
        mask.clone(),
        column(|row| &row.token_type_ids),
    ];
    let mut inputs = BTreeMap::new();
    for (name, values) in KNOWN.iter().zip(columns).filter(|(name, _)| names.contains(name)) {
        let tensor = corer_quantizer::Tensor::i32([batch, length], values)
            .map_err(|error| Failure::new(Exit::Unexpected, error))?;
        inputs.insert((*name).to_owned(), tensor);
    }
    Ok(CalibrationRow {
        inputs,
        tokens: mask.iter().map(|mask| *mask != 0).collect(),
    })
}
