//! From numbers to codes and back, once the parameters are known.

use corer_mil::DataType;
use half::f16;

use crate::dense::Piece;
use crate::grid::Grid;
use crate::linear::{Step, bounds};
use crate::sample::{KEYS, at_key, key};
use crate::scheme::Linear;
use crate::vectorised::{ROUND, vectorised};

/// The parameters of all cells of a weight.
#[derive(Clone, Debug)]
pub(crate) enum Codec {
    /// Numbers as they are.
    Dense,
    /// One step per cell.
    Linear { linear: Linear, steps: Vec<Step> },
    /// `entries` ascending numbers per cell.
    Palette { entries: usize, tables: Vec<f32> },
}

/// Cells longer than this are worth a table of all numbers fp16 has.
const WORTH_A_TABLE: usize = 1 << 11;
/// Most such tables kept at a time, 64 KiB each.
const TABLES: usize = 128;

impl Codec {
    /// Width of a code.
    pub(crate) fn bits(&self) -> u32 {
        match self {
            Self::Dense => 16,
            Self::Linear { linear, .. } => linear.bits,
            Self::Palette { entries, .. } => entries.ilog2(),
        }
    }

    /// The code of one number, and what it decodes to before the last rounding.
    #[inline]
    pub(crate) fn code(&self, cell: usize, value: f32) -> (u8, f32) {
        match self {
            Self::Dense => (0, value),
            Self::Linear { linear, steps } => {
                let step = steps[cell];
                let (inverse, low, high) = bounds(step, *linear);
                let code = ((value * inverse).max(low).min(high) + ROUND) - ROUND;
                ((code as i32 + step.zero) as u8, code * step.scale)
            }
            Self::Palette { entries, tables } => {
                let table = &tables[cell * entries..][..*entries];
                let code = nearest(table, value);
                (code, table[usize::from(code)])
            }
        }
    }
}

impl Codec {
    /// What a code decodes to before the last rounding; a dense codec has none.
    #[inline]
    pub(crate) fn decode(&self, cell: usize, code: u8) -> f32 {
        match self {
            Self::Dense => 0.0,
            Self::Linear { linear, steps } => {
                let step = steps[cell];
                let code = if linear.signed {
                    i32::from(code as i8)
                } else {
                    i32::from(code)
                };
                (code - step.zero) as f32 * step.scale
            }
            Self::Palette { entries, tables } => tables[cell * entries + usize::from(code)],
        }
    }
}

/// The nearest entry of an ascending table; the lower of two.
#[inline]
fn nearest(table: &[f32], value: f32) -> u8 {
    let above = table.partition_point(|entry| *entry < value);
    if above == 0 {
        return 0;
    }
    if above == table.len() {
        // The first of equal last entries.
        return table.partition_point(|entry| *entry < table[above - 1]) as u8;
    }
    let (low, high) = (f64::from(table[above - 1]), f64::from(table[above]));
    let low_is_near = f64::from(value) - low <= high - f64::from(value);
    if low_is_near {
        table[..above].partition_point(|entry| *entry < table[above - 1]) as u8
    } else {
        above as u8
    }
}

/// Encodes pieces of one weight; remembers what helps with the next piece.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    codec: &'a Codec,
    grid: &'a Grid,
    dtype: DataType,
    /// Codes of every fp16 number, for some cells.
    tables: Vec<(usize, Box<[u8]>)>,
    pub(crate) codes: Vec<u8>,
    pub(crate) decoded: Vec<f32>,
}

impl<'a> Encoder<'a> {
    pub(crate) const fn new(codec: &'a Codec, grid: &'a Grid, dtype: DataType) -> Self {
        Self {
            codec,
            grid,
            dtype,
            tables: Vec::new(),
            codes: Vec::new(),
            decoded: Vec::new(),
        }
    }

    /// Fills [`Self::codes`] and [`Self::decoded`] for a piece that starts at element `start`.
    pub(crate) fn encode(&mut self, start: usize, piece: &Piece) {
        let len = piece.values.len();
        self.codes.resize(len, 0);
        self.decoded.resize(len, 0.0);
        match self.codec {
            Codec::Dense => self.decoded.copy_from_slice(&piece.values),
            Codec::Linear { linear, steps } => {
                let (grid, dtype) = (self.grid, self.dtype);
                let (codes, decoded) = (&mut self.codes, &mut self.decoded);
                vectorised(
                    #[inline(always)]
                    || {
                        grid.stretches(
                            start..start + len,
                            #[inline(always)]
                            |stretch, cell| {
                                let step = steps[cell];
                                let (inverse, low, high) = bounds(step, *linear);
                                let values = &piece.values[stretch.clone()];
                                let codes = &mut codes[stretch.clone()];
                                let decoded = &mut decoded[stretch];
                                for ((value, code), decoded) in values.iter().zip(codes).zip(decoded) {
                                    let rounded = (value * inverse).max(low).min(high) + ROUND;
                                    *code = (rounded.to_bits() as u8).wrapping_add(step.zero as u8);
                                    *decoded = (rounded - ROUND) * step.scale;
                                }
                            },
                        );
                    },
                );
                round_all(dtype, decoded);
            }
            Codec::Palette { entries, tables } => {
                let by_table = self.dtype == DataType::Fp16 && self.grid.cell_len() >= WORTH_A_TABLE;
                let (grid, codec) = (self.grid, self.codec);
                grid.stretches(start..start + len, |stretch, cell| {
                    let table = &tables[cell * entries..][..*entries];
                    if by_table {
                        let all = look_up(&mut self.tables, cell, table);
                        for offset in stretch {
                            let code = all[usize::from(key(piece.halves[offset]))];
                            self.codes[offset] = code;
                            self.decoded[offset] = table[usize::from(code)];
                        }
                    } else {
                        for offset in stretch {
                            (self.codes[offset], self.decoded[offset]) =
                                codec.code(cell, piece.values[offset]);
                        }
                    }
                });
            }
        }
    }
}

/// The codes of every fp16 number for a cell, made unless they are remembered.
fn look_up<'t>(tables: &'t mut Vec<(usize, Box<[u8]>)>, cell: usize, table: &[f32]) -> &'t [u8] {
    let slot = cell % TABLES;
    if tables.len() <= slot {
        tables.resize_with(slot + 1, || (usize::MAX, Box::default()));
    }
    let (owner, all) = &mut tables[slot];
    if *owner != cell {
        *owner = cell;
        if all.is_empty() {
            *all = vec![0; KEYS].into_boxed_slice();
        }
        fill(all, table);
    }
    all
}

/// Gives each number its nearest entry: borders between entries, then stretches.
fn fill(all: &mut [u8], table: &[f32]) {
    let mut from = 0;
    for code in 1..table.len() {
        let (low, high) = (table[code - 1], table[code]);
        if low == high {
            continue;
        }
        let middle = f64::midpoint(f64::from(low), f64::from(high));
        // The first number past the middle.
        let guess = usize::from(key(f16::from_f64(middle).to_bits()));
        let mut border = guess.saturating_sub(2);
        while border < KEYS && f64::from(at_key(border as u16)) <= middle {
            border += 1;
        }
        // A lower entry keeps its first code where entries repeat.
        let owner = table.partition_point(|entry| *entry < low);
        all[from.min(border)..border].fill(owner as u8);
        from = from.max(border);
    }
    let last = table[table.len() - 1];
    all[from..].fill(table.partition_point(|entry| *entry < last) as u8);
}

/// Rounds decoded numbers as the type stores them.
fn round_all(dtype: DataType, values: &mut [f32]) {
    use half::slice::HalfFloatSliceExt;
    if dtype != DataType::Fp16 {
        return;
    }
    let mut halves = [f16::ZERO; 1024];
    for part in values.chunks_mut(1024) {
        let halves = &mut halves[..part.len()];
        halves.convert_from_f32_slice(part);
        halves.convert_to_f32_slice(part);
    }
}

/// How far decoded numbers are off.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Deviation {
    /// Sum of squared errors.
    pub(crate) noise: f64,
    /// Sum of squares.
    pub(crate) signal: f64,
    /// Largest error.
    pub(crate) largest: f32,
}

impl Deviation {
    /// Measures `decoded` against `values`.
    pub(crate) fn measure(values: &[f32], decoded: &[f32]) -> Self {
        let mut total = Self::default();
        vectorised(
            #[inline(always)]
            || {
                let mut sum = Self::default();
                for (values, decoded) in values.chunks(1024).zip(decoded.chunks(1024)) {
                    let (mut noise, mut signal, mut largest) = ([0f32; 16], [0f32; 16], [0f32; 16]);
                    let ((whole, rest), (decoded, decoded_rest)) =
                        (values.as_chunks::<16>(), decoded.as_chunks::<16>());
                    for (value, decoded) in whole.iter().zip(decoded) {
                        for lane in 0..16 {
                            let off = value[lane] - decoded[lane];
                            noise[lane] += off * off;
                            signal[lane] += value[lane] * value[lane];
                            largest[lane] = largest[lane].max(off.abs());
                        }
                    }
                    for (lane, (value, decoded)) in rest.iter().zip(decoded_rest).enumerate() {
                        let off = value - decoded;
                        noise[lane] += off * off;
                        signal[lane] += value * value;
                        largest[lane] = largest[lane].max(off.abs());
                    }
                    sum.noise += noise.iter().map(|lane| f64::from(*lane)).sum::<f64>();
                    sum.signal += signal.iter().map(|lane| f64::from(*lane)).sum::<f64>();
                    sum.largest = largest.iter().fold(sum.largest, |a, b| a.max(*b));
                }
                total = sum;
            },
        );
        total
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            noise: self.noise + other.noise,
            signal: self.signal + other.signal,
            largest: self.largest.max(other.largest),
        }
    }
}
