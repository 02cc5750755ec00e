//! Looks parameters up under the names checkpoints use for them, and keeps account of what is missing or left.

use std::collections::BTreeSet;

use crate::error::TensorMismatch;
use crate::source::{LazyTensor, TensorSet};

/// Old names of layer-norm parameters, from the TensorFlow conversion of the first BERT releases.
const OLD_SUFFIXES: [(&str, &str); 2] = [(".weight", ".gamma"), (".bias", ".beta")];

/// The tensors of one checkpoint as a frontend asks for them.
///
/// A missing tensor gives a placeholder of the right shape, so that building goes on and everything missing is
/// told at once; [`Parameters::finish`] then refuses the graph.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    tensors: &'a TensorSet,
    prefix: String,
    used: BTreeSet<String>,
    mismatch: TensorMismatch,
}

impl<'a> Parameters<'a> {
    /// Parameters of an encoder whose names may stand behind a prefix (`bert.`), found by `landmark`, a tensor
    /// every such encoder has.
    pub(crate) fn new(tensors: &'a TensorSet, place: String, landmark: &str) -> Self {
        let prefix = tensors
            .names()
            .filter_map(|name| name.strip_suffix(landmark))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .min_by_key(|prefix| prefix.len())
            .unwrap_or_default()
            .to_owned();
        let mismatch = TensorMismatch {
            place,
            ..TensorMismatch::default()
        };
        Self {
            tensors,
            prefix,
            used: BTreeSet::new(),
            mismatch,
        }
    }

    /// Whether the encoder has a tensor of this name.
    pub(crate) fn has_encoder(&self, name: &str) -> bool {
        self.find(&format!("{}{name}", self.prefix)).is_some()
    }

    /// Whether there is a tensor of exactly this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A tensor of the encoder.
    pub(crate) fn encoder(&mut self, name: &str, shape: &[u64]) -> LazyTensor {
        let full = format!("{}{name}", self.prefix);
        self.take(&full, shape)
    }

    /// A tensor outside the encoder (a head's).
    pub(crate) fn head(&mut self, name: &str, shape: &[u64]) -> LazyTensor {
        self.take(name, shape)
    }

    /// Whether everything asked for so far was there; only then are values worth computing with.
    pub(crate) fn fit(&self) -> bool {
        self.mismatch.is_empty()
    }

    /// Marks tensors that exist but say nothing (buffers), so that they don't count as left over.
    pub(crate) fn ignore(&mut self, suffix: &str) {
        self.used.extend(
            self.tensors
                .names()
                .filter(|name| name.ends_with(suffix))
                .map(str::to_owned),
        );
    }

    /// Ends the account: names nothing used, or everything that does not match. Left-over layers of the encoder
    /// (`layers` is how their names start) count as a mismatch: a configuration that names fewer layers than there
    /// are describes another model.
    ///
    /// # Errors
    /// The mismatch.
    pub(crate) fn finish(mut self, layers: &str) -> Result<Vec<String>, TensorMismatch> {
        let extra: Vec<String> = self
            .tensors
            .names()
            .filter(|name| !self.used.contains(*name))
            .map(str::to_owned)
            .collect();
        let layers = format!("{}{layers}", self.prefix);
        if self.mismatch.is_empty() && !extra.iter().any(|name| name.starts_with(&layers)) {
            return Ok(extra);
        }
        self.mismatch.extra = extra;
        Err(self.mismatch)
    }

    fn take(&mut self, name: &str, shape: &[u64]) -> LazyTensor {
        let Some(found) = self.find(name) else {
            let near = self
                .tensors
                .nearest(name)
                .into_iter()
                .map(str::to_owned)
                .collect();
            self.mismatch.missing.push((name.into(), shape.to_vec(), near));
            return LazyTensor::placeholder(name, shape);
        };
        self.used.insert(found.clone());
        match self.tensors.get(&found) {
            Some(slice) if slice.shape() == shape => LazyTensor::new(slice.clone()),
            other => {
                let has = other.map(|slice| slice.shape().to_vec()).unwrap_or_default();
                self.mismatch.misshapen.push((found, shape.to_vec(), has));
                LazyTensor::placeholder(name, shape)
            }
        }
    }

    fn find(&self, name: &str) -> Option<String> {
        if self.tensors.get(name).is_some() {
            return Some(name.to_owned());
        }
        OLD_SUFFIXES.iter().find_map(|(new, old)| {
            let old_name = format!("{}{old}", name.strip_suffix(new)?);
            self.tensors.get(&old_name).is_some().then_some(old_name)
        })
    }
}
