//! Integer and boolean tensors, read whole: position ids and the like, never weights.

use super::LazyTensor;
use super::convert::read_raw;
use crate::source::dtype::StoredType;
use crate::source::error::SourceError;

/// Elements read at most.
const MOST: u64 = 1 << 24;

impl LazyTensor {
    /// All values of a tensor of integers, or of truth values as 0 and 1.
    ///
    /// # Errors
    /// When it holds something else, more than 2²⁴ elements, or can't be read.
    pub fn read_i64(&self) -> Result<Vec<i64>, SourceError> {
        if self.count() > MOST {
            let reason = format!("{} integers are too many to hold in memory", self.count());
            return Err(SourceError::view(self.name(), reason));
        }
        let mut values = Vec::with_capacity(self.count() as usize);
        let mut bytes = [0u8; 8];
        // One by one is slow, and plenty for what is integer in a model.
        for position in 0..self.count() {
            let Some((slice, element)) = self.locate(position) else {
                return Err(SourceError::view(self.name(), "is missing"));
            };
            let size = slice.dtype().size() as usize;
            let raw = &mut bytes[..size];
            read_raw(slice, element, raw)?;
            let word = raw
                .iter()
                .rev()
                .fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            values.push(match slice.dtype() {
                StoredType::Bool => i64::from(word != 0),
                StoredType::U8 | StoredType::U16 | StoredType::U32 => word.cast_signed(),
                StoredType::I8 => i64::from(word as u8 as i8),
                StoredType::I16 => i64::from(word as u16 as i16),
                StoredType::I32 => i64::from(word as u32 as i32),
                StoredType::I64 => word.cast_signed(),
                other => {
                    let reason = format!("{other} elements are not integers");
                    return Err(SourceError::view(self.name(), reason));
                }
            });
        }
        Ok(values)
    }
}
