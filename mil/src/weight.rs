//! Weights that stay where they are until their bytes are asked for.

use std::fmt;

/// Why a weight's bytes could not be produced.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct WeightError {
    /// File and offset, or tensor name.
    pub place: String,
    /// What went wrong and what to do.
    pub reason: String,
}

/// Bytes of one tensor in packed little-endian storage, produced on demand.
///
/// A source may be a slice of a mapped file, or such a slice with a cast, a permutation or a scale still to be
/// applied. Reading is random access so that several threads can stream one weight in pieces.
pub trait WeightSource: fmt::Debug + Send + Sync {
    /// Length of the whole tensor in bytes.
    fn byte_len(&self) -> u64;

    /// Fills `out` with the bytes from `offset` on. `offset` and `out.len()` must be multiples of the element
    /// size and lie within [`Self::byte_len`].
    ///
    /// # Errors
    /// When the bytes behind the weight can't be read, or a value can't be represented in the target type.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError>;

    /// The bytes, if they already lie in memory as they are (a mapped blob).
    fn bytes(&self) -> Option<&[u8]> {
        None
    }

    /// All bytes in a new vector; for small weights and for tests.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn to_vec(&self) -> Result<Vec<u8>, WeightError> {
        if let Some(bytes) = self.bytes() {
            return Ok(bytes.to_vec());
        }
        let length = usize::try_from(self.byte_len()).map_err(|_| WeightError {
            place: "weight".into(),
            reason: "larger than this machine's address space".into(),
        })?;
        let mut out = vec![0; length];
        self.read_at(0, &mut out)?;
        Ok(out)
    }
}

/// A weight that lies in memory: small computed tables, tests.
#[derive(Clone)]
pub struct MemoryWeight(pub Vec<u8>);

impl fmt::Debug for MemoryWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryWeight({} bytes)", self.0.len())
    }
}

impl WeightSource for MemoryWeight {
    fn byte_len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let range = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(out.len())?;
            self.0.get(start..end)
        });
        let Some(bytes) = range else {
            return Err(WeightError {
                place: format!("in-memory weight of {} bytes", self.0.len()),
                reason: format!("{} bytes at offset {offset} lie outside it", out.len()),
            });
        };
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}
