//! Streams a weight's codes into the temporary file.

use corer_mil::DataType;
use rayon::prelude::*;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::{Codec, Deviation, Encoder};
use crate::dense::{Dense, PIECE, Piece, to_bytes};
use crate::error::QuantizeError;
use crate::grid::Grid;
use crate::mask::Mask;
use crate::pack::Packer;
use crate::spill::{Room, Spill};

/// Where compressed bytes go.
#[derive(Debug)]
pub(crate) struct Store {
    spill: Arc<Spill>,
    directory: std::path::PathBuf,
}

/// Pieces encoded at once where their codes must follow each other bit by bit.
const WAVE: usize = 16;

impl Store {
    pub(crate) fn new(directory: &Path) -> Result<Self, QuantizeError> {
        let fail = |source| QuantizeError::Spill {
            path: directory.to_owned(),
            source,
        };
        Ok(Self {
            spill: Spill::new(directory).map_err(fail)?,
            directory: directory.to_owned(),
        })
    }

    fn fail(&self, source: io::Error) -> QuantizeError {
        QuantizeError::Spill {
            path: self.directory.clone(),
            source,
        }
    }

    /// Stores bytes that are ready.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<Room, QuantizeError> {
        let room = self.spill.room(bytes.len() as u64);
        room.write(0, bytes).map_err(|error| self.fail(error))?;
        Ok(room)
    }

    /// Encodes what `mask` keeps and stores the codes, packed; a dense codec stores the numbers.
    pub(crate) fn codes(
        &self,
        dense: &Dense,
        grid: &Grid,
        codec: &Codec,
        mask: Option<&Mask>,
    ) -> Result<(Room, Deviation), QuantizeError> {
        let bits = match codec {
            Codec::Dense => dense.dtype.bits(),
            _ => codec.bits(),
        };
        let kept = mask.map_or(dense.len(), Mask::kept);
        let room = self.spill.room((kept as u64 * u64::from(bits)).div_ceil(8));
        let work = Work {
            dense,
            grid,
            codec,
            mask,
        };
        let deviations = if mask.is_some() && bits < 8 {
            self.in_order(&work, bits, &room)?
        } else {
            self.anywhere(&work, bits, &room)?
        };
        let total = deviations.into_iter().fold(Deviation::default(), Deviation::and);
        Ok((room, total))
    }

    /// Pieces whose codes fill whole bytes find their places by themselves.
    fn anywhere(&self, work: &Work<'_>, bits: u32, room: &Room) -> Result<Vec<Deviation>, QuantizeError> {
        work.pieces(0..work.count(), |start, encoded| {
            let before = work.mask.map_or(start, |mask| mask.before(start));
            let mut bytes = Vec::new();
            let codes = match work.codec {
                Codec::Dense => {
                    bytes = to_bytes(work.dense.dtype, &encoded.numbers);
                    &[]
                }
                _ => encoded.codes,
            };
            if bits < 8 {
                bytes.reserve(codes.len() * bits as usize / 8 + 1);
                let mut packer = Packer::new(bits);
                packer.push(codes, &mut bytes);
                packer.finish(&mut bytes);
            }
            let bytes = if bytes.is_empty() { codes } else { &bytes };
            room.write((before as u64 * u64::from(bits)) / 8, bytes)
                .map_err(|error| self.fail(error))?;
            Ok(encoded.deviation)
        })
    }

    /// Codes that straddle the pieces' borders are packed in one stream.
    fn in_order(&self, work: &Work<'_>, bits: u32, room: &Room) -> Result<Vec<Deviation>, QuantizeError> {
        let mut packer = Packer::new(bits);
        let (mut bytes, mut written) = (Vec::new(), 0);
        let mut deviations = Vec::new();
        for first in (0..work.count()).step_by(WAVE) {
            let wave = work.pieces(first..(first + WAVE).min(work.count()), |_, encoded| {
                Ok((encoded.codes.to_vec(), encoded.deviation))
            })?;
            bytes.clear();
            for (codes, deviation) in wave {
                packer.push(&codes, &mut bytes);
                deviations.push(deviation);
            }
            room.write(written, &bytes).map_err(|error| self.fail(error))?;
            written += bytes.len() as u64;
        }
        bytes.clear();
        packer.finish(&mut bytes);
        room.write(written, &bytes).map_err(|error| self.fail(error))?;
        Ok(deviations)
    }

    /// Stores a dense weight's numbers.
    pub(crate) fn numbers(&self, dtype: DataType, values: &[f32]) -> Result<Room, QuantizeError> {
        self.bytes(&to_bytes(dtype, values))
    }
}

/// One weight being encoded.
struct Work<'a> {
    dense: &'a Dense,
    grid: &'a Grid,
    codec: &'a Codec,
    mask: Option<&'a Mask>,
}

/// What came out of a piece: codes or numbers of what is kept, and how far all of it is off.
struct Encoded<'a> {
    codes: &'a [u8],
    numbers: Vec<f32>,
    deviation: Deviation,
}

impl Work<'_> {
    fn count(&self) -> usize {
        self.dense.len().div_ceil(PIECE)
    }

    /// Encodes pieces and hands each to `take`; gives what that gives, in order.
    fn pieces<T: Send>(
        &self,
        range: std::ops::Range<usize>,
        take: impl Fn(usize, Encoded<'_>) -> Result<T, QuantizeError> + Sync,
    ) -> Result<Vec<T>, QuantizeError> {
        let len = self.dense.len();
        range
            .into_par_iter()
            .map_init(
                || {
                    (
                        Piece::default(),
                        Encoder::new(self.codec, self.grid, self.dense.dtype),
                    )
                },
                |(piece, encoder), index| {
                    let start = index * PIECE;
                    self.dense.read(start..(start + PIECE).min(len), piece)?;
                    self.dense.check_finite(start, &piece.values)?;
                    encoder.encode(start, piece);
                    let mut numbers = Vec::new();
                    if let Some(mask) = self.mask {
                        let whole = matches!(self.codec, Codec::Dense);
                        numbers.resize(if whole { piece.values.len() } else { 0 }, 0.0);
                        let mut kept = 0;
                        // Written whether kept or not, and overwritten if not: which it is can't be foretold.
                        for offset in 0..piece.values.len() {
                            let keep = mask.keeps(start + offset);
                            if whole {
                                numbers[kept] = piece.values[offset];
                            } else {
                                encoder.codes[kept] = encoder.codes[offset];
                            }
                            kept += usize::from(keep);
                            let decoded = &mut encoder.decoded[offset];
                            *decoded = if keep { *decoded } else { 0.0 };
                        }
                        numbers.truncate(kept);
                        encoder.codes.truncate(kept);
                    }
                    let deviation = Deviation::measure(&piece.values, &encoder.decoded);
                    take(
                        start,
                        Encoded {
                            codes: &encoder.codes,
                            numbers,
                            deviation,
                        },
                    )
                },
            )
            .collect()
    }
}
