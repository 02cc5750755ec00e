//! One source for equal weights, however many functions use them.

use std::collections::HashMap;
use std::sync::Arc;

use corer_mil::{DataType, WeightSource};

use crate::source::{LazyTensor, Overflow};

/// Weights written so far, by the name they have in the source.
///
/// Whoever writes the package sees that two functions share a source and neither compares nor reads it again.
#[derive(Debug, Default)]
pub struct Weights {
    known: HashMap<String, Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    tensor: LazyTensor,
    dtype: DataType,
    overflow: Overflow,
    source: Arc<dyn WeightSource>,
}

impl Weights {
    /// The tensor as a weight; the same one as before when it reads the same elements in the same way.
    pub(super) fn source(
        &mut self,
        tensor: LazyTensor,
        dtype: DataType,
        overflow: Overflow,
    ) -> Arc<dyn WeightSource> {
        let known = self.known.entry(tensor.name().to_owned()).or_default();
        let same = |known: &&Known| {
            known.dtype == dtype && known.overflow == overflow && known.tensor.reads_as(&tensor)
        };
        if let Some(known) = known.iter().find(same) {
            return known.source.clone();
        }
        let source = tensor.clone().into_source(dtype, overflow);
        known.push(Known {
            tensor,
            dtype,
            overflow,
            source: source.clone(),
        });
        source
    }

    /// The tensor behind a weight handed out before, as an f32 weight; `None` for weights that came from elsewhere.
    pub(super) fn in_f32(
        &mut self,
        source: &Arc<dyn WeightSource>,
        overflow: Overflow,
    ) -> Option<Arc<dyn WeightSource>> {
        let mut all = self.known.values().flatten();
        let known = all.find(|known| Arc::ptr_eq(&known.source, source))?;
        Some(self.source(known.tensor.clone(), DataType::Fp32, overflow))
    }
}
