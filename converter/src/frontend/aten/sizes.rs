//! Rows and tokens: what a program says of them, held against what is asked for.

use corer_mil::Dim;

use crate::error::ConvertError;
use crate::shapes::{InputShape, Sizes};

use super::program::{Input, Program, Size};

/// What a program's inputs say of rows and of tokens per row; nothing, when it is a trace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Declared {
    batch: Option<Size>,
    tokens: Option<Size>,
}

impl Program {
    /// Rows and tokens as the token ids have them: the first input of two dimensions that holds integers.
    pub fn declared_sizes(&self) -> Declared {
        let ids = |input: &&Input| {
            let integers = input.dtype.is_none_or(|dtype| dtype.is_integer());
            integers && input.shape.as_ref().is_some_and(|shape| shape.len() == 2)
        };
        let shape = self.inputs.iter().find(ids).and_then(|input| input.shape.clone());
        match shape.as_deref() {
            Some([batch, tokens]) => Declared {
                batch: Some(batch.clone()),
                tokens: Some(tokens.clone()),
            },
            _ => Declared::default(),
        }
    }

    /// Every input's shape for the sizes given, as far as the program says it.
    ///
    /// # Errors
    /// When an input has a varying size that is neither the rows nor the tokens.
    pub fn input_dims(&self, shape: InputShape) -> Result<Vec<Option<Vec<Dim>>>, ConvertError> {
        let declared = self.declared_sizes();
        let dim = |input: &Input, size: &Size| match size {
            Size::Fixed(size) => Ok(Dim::Known(*size)),
            size if declared.batch.as_ref().is_some_and(|batch| same(batch, size)) => Ok(shape.batch_dim()),
            size if declared.tokens.as_ref().is_some_and(|tokens| same(tokens, size)) => {
                Ok(shape.tokens_dim())
            }
            Size::Symbol { name, .. } => Err(ConvertError::Import {
                place: format!("input `{}`", input.name),
                reason: format!(
                    "has a varying size `{name}` of its own; only the rows and the tokens of the token ids may vary, \
                     fix the others when exporting"
                ),
            }),
        };
        let dims = |input: &Input| {
            let shape = input.shape.as_ref()?;
            Some(
                shape
                    .iter()
                    .map(|size| dim(input, size))
                    .collect::<Result<Vec<_>, _>>(),
            )
        };
        self.inputs.iter().map(|input| dims(input).transpose()).collect()
    }
}

/// Whether two sizes are the same symbol.
fn same(a: &Size, b: &Size) -> bool {
    matches!((a, b), (Size::Symbol { name: a, .. }, Size::Symbol { name: b, .. }) if a == b)
}

impl Declared {
    /// Rows to convert for: what is asked for, else what the program was made with, else one.
    ///
    /// # Errors
    /// When the program is not good for what is asked.
    pub fn batch(&self, asked: Option<&Sizes>) -> Result<Sizes, ConvertError> {
        resolve("--batch-size", self.batch.as_ref(), asked, 1)
    }

    /// Tokens per row to convert for: what is asked for, else what the program was made with, else 128.
    ///
    /// # Errors
    /// When the program is not good for what is asked.
    pub fn tokens(&self, asked: Option<&Sizes>) -> Result<Sizes, ConvertError> {
        resolve("--sequence-length", self.tokens.as_ref(), asked, 128)
    }
}

fn resolve(
    flag: &'static str,
    declared: Option<&Size>,
    asked: Option<&Sizes>,
    usual: u64,
) -> Result<Sizes, ConvertError> {
    let refuse = |reason: String| Err(ConvertError::Request { flag, reason });
    match (declared, asked) {
        (None, asked) => Ok(asked.cloned().unwrap_or_else(|| usual.into())),
        (Some(Size::Fixed(size)), None) => Ok((*size).into()),
        (Some(Size::Fixed(size)), Some(asked)) if *asked == Sizes::from(*size) => Ok(asked.clone()),
        (Some(Size::Fixed(size)), Some(asked)) => refuse(format!(
            "{asked} is asked for, the model was exported for {size} alone; export it again with a torch.export.Dim \
             there (dynamic_shapes=…) to convert it for other sizes"
        )),
        (Some(Size::Symbol { min, max, .. }), None) => {
            let most = max.unwrap_or(u64::MAX);
            Ok(usual.clamp((*min).max(1), most.max(1)).into())
        }
        (Some(Size::Symbol { name, min, max }), Some(asked)) => {
            let extent = asked.extent();
            match max {
                None if asked.is_range() => refuse(format!(
                    "{asked} is asked for, but nothing bounds `{name}` in the export, so nothing says the model is \
                     good for all of them; export it again with torch.export.Dim(…, min={}, max={})",
                    extent.least, extent.most
                )),
                Some(max) if extent.most > *max => refuse(format!(
                    "{asked} is asked for, the model was exported for {min} to {max}; export it again with a larger \
                     max in its torch.export.Dim"
                )),
                _ if extent.least < *min => refuse(format!(
                    "{asked} is asked for, the model was exported for {min} and more; export it again with a smaller \
                     min in its torch.export.Dim"
                )),
                _ => Ok(asked.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(min: u64, max: Option<u64>) -> Size {
        Size::Symbol {
            name: "s0".into(),
            min,
            max,
        }
    }

    #[test]
    fn what_is_asked_must_be_what_was_exported() {
        let tokens = |declared: Option<Size>, asked: Option<&str>| {
            let declared = Declared {
                batch: None,
                tokens: declared,
            };
            let asked = asked.map(|text| text.parse::<Sizes>().unwrap());
            declared
                .tokens(asked.as_ref())
                .map(|sizes| sizes.to_string())
                .map_err(|error| error.to_string())
        };
        let fixed = Some(Size::Fixed(32));
        assert_eq!(tokens(None, None).unwrap(), "128");
        assert_eq!(tokens(None, Some("7")).unwrap(), "7");
        assert_eq!(tokens(fixed.clone(), None).unwrap(), "32");
        assert_eq!(tokens(fixed.clone(), Some("32")).unwrap(), "32");
        assert!(tokens(fixed, Some("16,32")).unwrap_err().contains("for 32 alone"));
        let bounded = Some(symbol(2, Some(64)));
        assert_eq!(tokens(bounded.clone(), None).unwrap(), "64");
        assert_eq!(tokens(bounded.clone(), Some("2..64")).unwrap(), "2..64");
        assert_eq!(tokens(bounded.clone(), Some("8,16")).unwrap(), "8,16");
        assert!(
            tokens(bounded.clone(), Some("65"))
                .unwrap_err()
                .contains("larger max")
        );
        assert!(tokens(bounded, Some("1..8")).unwrap_err().contains("smaller min"));
        let open = Some(symbol(0, None));
        assert_eq!(tokens(open.clone(), None).unwrap(), "128");
        assert_eq!(tokens(open.clone(), Some("512")).unwrap(), "512");
        assert_eq!(tokens(open.clone(), Some("32,512")).unwrap(), "32,512");
        assert!(tokens(open, Some("1..512")).unwrap_err().contains("max=512"));
    }
}
