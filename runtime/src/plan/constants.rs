//! Constants: where they come from, their decoded elements, their packed forms.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use corer_mil::{Data, DataType, Immediate, Value, WeightError, WeightSource};

use super::emit::{Emit, Reason};
use crate::ane::flush_subnormals;
use crate::buffer::Buffer;
use crate::decode::{self, Recipe, Rows};
use crate::gemm::{Layout, Side, pack_into};
use crate::half_values::Rounding;
use crate::view::count;

/// Identifies a constant within one plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConstantId(usize);

/// Identifies a constant across the plans of one function: operation and result (or argument) in its body.
pub(crate) type Origin = (usize, usize);

/// Where a constant's elements come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Written in the program or its weight file.
    Value(Value),
    /// A result of a `constexpr_*` operation.
    Recipe(Recipe, usize),
}

/// A constant that may not be decoded yet.
#[derive(Debug)]
pub(crate) struct Constant {
    /// The value's name.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DataType,
    pub(crate) source: Source,
    pub(crate) origin: Origin,
    /// How many constant expressions it is made through.
    depth: usize,
}

/// All constants of a plan.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    list: Vec<Constant>,
}

/// Decoded and packed constants that some plan of the function still holds, so that another can share them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    decoded: Mutex<HashMap<Origin, Weak<Buffer>>>,
    packed: Mutex<HashMap<PackedKey, Weak<Buffer>>>,
}

/// The constant, the side it is packed for, and which matrix it is seen as.
type PackedKey = (Origin, Side, Layout);

/// More constant expressions than this inside one another occur in no package anyone writes.
const MAX_DEPTH: usize = 16;

fn find<K: std::hash::Hash + Eq>(map: &Mutex<HashMap<K, Weak<Buffer>>>, key: &K) -> Option<Arc<Buffer>> {
    map.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(key)
        .and_then(Weak::upgrade)
}

fn keep<K: std::hash::Hash + Eq>(map: &Mutex<HashMap<K, Weak<Buffer>>>, key: K, buffer: &Arc<Buffer>) {
    map.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key, Arc::downgrade(buffer));
}

impl Constants {
    /// Adds a constant.
    pub(crate) fn add(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        dtype: DataType,
        source: Source,
        origin: Origin,
    ) -> Result<ConstantId, Reason> {
        let depth = match &source {
            Source::Value(_) => 0,
            Source::Recipe(recipe, _) => {
                1 + recipe
                    .operands()
                    .map(|operand| self.get(operand).depth)
                    .max()
                    .unwrap_or_default()
            }
        };
        if depth > MAX_DEPTH {
            return Err(Reason::Unsupported(format!(
                "constant expressions nested more than {MAX_DEPTH} deep"
            )));
        }
        self.list.push(Constant {
            name: name.to_owned(),
            shape,
            dtype,
            source,
            origin,
            depth,
        });
        Ok(ConstantId(self.list.len() - 1))
    }

    /// A constant.
    pub(crate) fn get(&self, id: ConstantId) -> &Constant {
        &self.list[id.0]
    }

    /// The packed bytes of a constant that was written.
    pub(crate) fn bytes(&self, id: ConstantId) -> Result<Cow<'_, [u8]>, Reason> {
        let constant = self.get(id);
        let fail = |source: WeightError| Reason::Weight {
            value: constant.name.clone(),
            source,
        };
        let Source::Value(value) = &constant.source else {
            return Err(Reason::Invalid(format!(
                "`{}` must be written, not computed",
                constant.name
            )));
        };
        let bytes = match &value.data {
            Data::Immediate(Immediate::Bytes(bytes)) => Cow::Borrowed(bytes.as_slice()),
            Data::Weight(source) => match source.bytes() {
                Some(bytes) => Cow::Borrowed(bytes),
                None => Cow::Owned(source.to_vec().map_err(fail)?),
            },
            _ => {
                return Err(Reason::Invalid(format!(
                    "`{}` is no tensor of numbers",
                    constant.name
                )));
            }
        };
        let wanted = constant.dtype.packed_len(count(&constant.shape) as u64);
        if wanted != Some(bytes.len() as u64) {
            return Err(Reason::Invalid(format!(
                "`{}` holds {} bytes, its type takes {}",
                constant.name,
                bytes.len(),
                wanted.unwrap_or(u64::MAX)
            )));
        }
        Ok(bytes)
    }

    /// The source of a weight whose bytes lie in memory as they are.
    pub(crate) fn mapped(&self, id: ConstantId) -> Result<Option<Arc<dyn WeightSource>>, Reason> {
        // Checks that there are as many bytes as the type takes.
        match &self.get(id).source {
            Source::Value(Value {
                data: Data::Weight(source),
                ..
            }) if source.bytes().is_some() => {
                self.bytes(id)?;
                Ok(Some(Arc::clone(source)))
            }
            _ => Ok(None),
        }
    }

    /// A table's rows along its first axis, where they can be decoded one by one: fp16 and fp32 numbers, and compressed
    /// matrices; `None` where decoding the whole is all there is.
    pub(crate) fn rows(&self, id: ConstantId, emit: &mut Emit<'_>) -> Result<Option<Rows>, Reason> {
        let constant = self.get(id);
        match &constant.source {
            Source::Value(_) if matches!(constant.dtype, DataType::Fp16 | DataType::Fp32) => {
                let columns = count(constant.shape.get(1..).unwrap_or_default());
                let source = self.mapped(id)?;
                Ok(source.map(|source| Rows::plain(source, constant.dtype, columns)))
            }
            // The Neural Engine's reading of numbers is part of decoding.
            Source::Recipe(recipe, 0) if !matches!(emit.rounds(constant.dtype), Rounding::Ane(_)) => {
                recipe.rows(self, emit)
            }
            _ => Ok(None),
        }
    }

    /// The elements as words: f32 for floats, i32 for the rest.
    pub(crate) fn decode(&self, id: ConstantId, emit: &mut Emit<'_>) -> Result<Arc<Buffer>, Reason> {
        let constant = self.get(id);
        if let Some(buffer) = find(&emit.store.decoded, &constant.origin) {
            return Ok(buffer);
        }
        emit.take(count(&constant.shape))?;
        let mut buffer = match &constant.source {
            Source::Value(_) => {
                // Check the length before taking the memory it claims.
                let bytes = self.bytes(id)?;
                let mut buffer = Buffer::zeroed(count(&constant.shape))?;
                decode::words(emit.team, constant.dtype, &bytes, buffer.words_mut())
                    .map_err(|reason| Reason::Invalid(format!("`{}` {reason}", constant.name)))?;
                buffer
            }
            Source::Recipe(recipe, result) => recipe.decode(self, emit, *result)?,
        };
        if let Rounding::Ane(rounding) = emit.rounds(constant.dtype) {
            rounding.read(buffer.floats_mut());
        }
        let buffer = Arc::new(buffer);
        keep(&emit.store.decoded, constant.origin, &buffer);
        Ok(buffer)
    }

    /// Panels of a constant, seen as a matrix of the given layout.
    pub(crate) fn packed(
        &self,
        id: ConstantId,
        emit: &mut Emit<'_>,
        side: Side,
        layout: Layout,
    ) -> Result<Arc<Buffer>, Reason> {
        let key = (self.get(id).origin, side, layout);
        if let Some(buffer) = find(&emit.store.packed, &key) {
            return Ok(buffer);
        }
        let decoded = self.decode(id, emit)?;
        let words = layout.words(side);
        emit.take(words)?;
        let mut buffer = Buffer::zeroed(words)?;
        pack_into(emit.team, side, decoded.floats(), layout, buffer.floats_mut());
        if emit.accumulator(self.get(id).dtype).flush {
            flush_subnormals(buffer.floats_mut());
        }
        let buffer = Arc::new(buffer);
        keep(&emit.store.packed, key, &buffer);
        Ok(buffer)
    }
}
