//! `config.json`, checked as it is read: whatever a family asks for is there and possible, or an error names the key.

use serde_json::{Map, Value};

use crate::error::ConvertError;
use crate::graph::Op;

/// More layers than any published encoder by far; a larger count is a broken file.
const MOST_LAYERS: u64 = 1024;

/// A configuration and the file it came from, which is named in errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config<'a> {
    map: &'a Map<String, Value>,
    file: &'a str,
}

/// Non-linearities configurations name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

impl Activation {
    /// The spellings of Hugging Face's `ACT2FN`.
    const NAMES: &[(&str, Self)] = &[
        ("gelu", Self::Gelu),
        ("gelu_new", Self::GeluTanh),
        ("gelu_pytorch_tanh", Self::GeluTanh),
        ("gelu_fast", Self::GeluTanh),
        ("relu", Self::Relu),
        ("silu", Self::Silu),
        ("swish", Self::Silu),
        ("tanh", Self::Tanh),
    ];

    /// Its operation.
    pub(super) const fn op(self) -> Op {
        match self {
            Self::Gelu => Op::Gelu { tanh: false },
            Self::GeluTanh => Op::Gelu { tanh: true },
            Self::Relu => Op::Relu,
            Self::Silu => Op::Silu,
            Self::Tanh => Op::Tanh,
        }
    }
}

impl<'a> Config<'a> {
    /// The configuration in `value`, from `file`.
    ///
    /// # Errors
    /// When it is not an object.
    pub(super) fn new(value: &'a Value, file: &'a str) -> Result<Self, ConvertError> {
        match value.as_object() {
            Some(map) => Ok(Self { map, file }),
            None => Err(ConvertError::Config {
                file: file.into(),
                key: String::new(),
                reason: "is not a JSON object".into(),
            }),
        }
    }

    pub(super) const fn file(&self) -> &'a str {
        self.file
    }

    /// A value as it is; `null` is as good as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there and says `null`.
    pub(super) fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// An error about a key.
    pub(super) fn fault(&self, key: &str, reason: impl Into<String>) -> ConvertError {
        ConvertError::Config {
            file: self.file.into(),
            key: key.into(),
            reason: reason.into(),
        }
    }

    /// The first of some spellings that is there; the first of all when none is.
    pub(super) fn spelling(&self, keys: &[&'static str]) -> &'static str {
        let found = keys.iter().find(|key| self.get(key).is_some());
        found.or(keys.first()).copied().unwrap_or_default()
    }

    /// A positive whole number.
    pub(super) fn number(&self, key: &str) -> Result<u64, ConvertError> {
        match self.get(key) {
            None => Err(self.fault(key, "is missing")),
            Some(value) => match value.as_u64() {
                Some(number @ 1..=0x7fff_ffff) => Ok(number),
                _ => Err(self.fault(key, format!("must be a positive whole number, is {value}"))),
            },
        }
    }

    /// A whole number of any sign, `default` when absent.
    pub(super) fn integer_or(&self, key: &str, default: i64) -> Result<i64, ConvertError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_i64() {
                Some(number @ -0x7fff_ffff..=0x7fff_ffff) => Ok(number),
                _ => Err(self.fault(key, format!("must be a whole number, is {value}"))),
            },
        }
    }

    /// A number of things there may be none of, `default` when absent.
    pub(super) fn count_or(&self, key: &str, default: u64) -> Result<u64, ConvertError> {
        let signed = i64::try_from(default).unwrap_or(i64::MAX);
        let number = self.integer_or(key, signed)?;
        u64::try_from(number).map_err(|_| self.fault(key, format!("must not be negative, is {number}")))
    }

    /// A number above zero, `default` when absent.
    pub(super) fn positive_or(&self, key: &str, default: f64) -> Result<f64, ConvertError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(number) if number > 0.0 && number.is_finite() => Ok(number),
                _ => Err(self.fault(key, format!("must be a number above 0, is {value}"))),
            },
        }
    }

    /// What a layer norm adds to the variance, `default` when absent.
    pub(super) fn epsilon_or(&self, key: &str, default: f64) -> Result<f64, ConvertError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(epsilon) if (0.0..1.0).contains(&epsilon) => Ok(epsilon),
                _ => Err(self.fault(key, format!("must be in 0..1, is {value}"))),
            },
        }
    }

    /// A truth value, `default` when absent.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ConvertError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.fault(key, format!("must be true or false, is {value}"))),
        }
    }

    /// A text, `default` when absent.
    pub(super) fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str, ConvertError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_str()
                .ok_or_else(|| self.fault(key, format!("must be a string, is {value}"))),
        }
    }

    /// A non-linearity, `default` when absent.
    pub(super) fn activation_or(&self, key: &str, default: &'a str) -> Result<Activation, ConvertError> {
        let name = self.text_or(key, default)?;
        match Activation::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, activation)) => Ok(*activation),
            None => {
                let names: Vec<_> = Activation::NAMES.iter().map(|(name, _)| *name).collect();
                Err(self.fault(
                    key,
                    format!("`{name}` is not supported; supported: {}", names.join(", ")),
                ))
            }
        }
    }

    /// The number of layers.
    pub(super) fn layers(&self, key: &str) -> Result<u64, ConvertError> {
        match self.number(key)? {
            layers @ ..=MOST_LAYERS => Ok(layers),
            layers => Err(self.fault(key, format!("{layers} is more than {MOST_LAYERS}"))),
        }
    }

    /// Channels and the number of heads they divide into.
    pub(super) fn width_and_heads(&self, width: &str, heads: &str) -> Result<(u64, u64), ConvertError> {
        let (channels, count) = (self.number(width)?, self.number(heads)?);
        if channels % count != 0 {
            return Err(self.fault(
                width,
                format!("{channels} does not divide into {count} attention heads ({heads})"),
            ));
        }
        Ok((channels, count))
    }

    /// Refuses decoders, and position embeddings other than a table of absolute ones.
    pub(super) fn refuse_other_than_bert(&self) -> Result<(), ConvertError> {
        let positions = self.text_or("position_embedding_type", "absolute")?;
        if positions != "absolute" {
            return Err(self.fault(
                "position_embedding_type",
                format!("`{positions}` is not supported, only `absolute`"),
            ));
        }
        for key in ["is_decoder", "add_cross_attention"] {
            self.expect(key, false, "only encoders are converted")?;
        }
        Ok(())
    }

    /// Refuses a truth value other than `wanted`, which is also what is meant when it is absent.
    pub(super) fn expect(&self, key: &str, wanted: bool, reason: &str) -> Result<(), ConvertError> {
        match self.flag_or(key, wanted)? {
            found if found == wanted => Ok(()),
            found => Err(self.fault(key, format!("is {found}: {reason}"))),
        }
    }

    /// Refuses a key that says anything at all.
    pub(super) fn expect_absent(&self, key: &str, reason: &str) -> Result<(), ConvertError> {
        match self.get(key) {
            None => Ok(()),
            Some(value) => Err(self.fault(key, format!("is {value}: {reason}"))),
        }
    }

    /// `id2label` in the order of its numbers; empty when absent.
    pub(super) fn labels(&self) -> Result<Vec<String>, ConvertError> {
        let fail = |reason: String| self.fault("id2label", reason);
        let Some(table) = self.get("id2label").and_then(Value::as_object) else {
            return Ok(Vec::new());
        };
        let mut labels = vec![None; table.len()];
        for (number, label) in table {
            let label = label
                .as_str()
                .ok_or_else(|| fail(format!("label of `{number}` is not a string")))?;
            let slot = number
                .parse::<usize>()
                .ok()
                .and_then(|index| labels.get_mut(index));
            *slot.ok_or_else(|| fail(format!("`{number}` is not a number below {}", table.len())))? =
                Some(label.to_owned());
        }
        // Every key parsed to its own slot, unless two spell the same number ("1" and "01").
        labels
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| fail("a number is given twice".into()))
    }

    /// Classes a classifier tells apart; two, Hugging Face's default, when the configuration names none.
    pub(super) fn classes(&self) -> Result<u64, ConvertError> {
        let labels = self.labels()?;
        Ok(if labels.is_empty() { 2 } else { labels.len() as u64 })
    }
}
