//! Lays out a weight file before a byte of it exists, and produces any piece of it on demand.
//!
//! Offsets follow from the byte lengths alone, so the model can be encoded first and the file filled in any order
//! by any number of threads.

use std::collections::HashMap;

use corer_mil::{WeightError, WeightSource};

use super::format::{BlobType, HEADER_LEN, RECORD_LEN, SENTINEL, VERSION, align, padding_bits};
use crate::pieces;

/// Bytes to be stored: a lazy weight or an inline value's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Weight(&'a dyn WeightSource),
    Bytes(&'a [u8]),
}

impl Source<'_> {
    pub(crate) fn byte_len(&self) -> u64 {
        match self {
            Self::Weight(weight) => weight.byte_len(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `out` from `offset` on; the range lies within the source.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        match self {
            Self::Weight(weight) => weight.read_at(offset, out),
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                match bytes.get(start..).and_then(|rest| rest.get(..out.len())) {
                    Some(slice) => out.copy_from_slice(slice),
                    None => out.fill(0),
                }
                Ok(())
            }
        }
    }

    /// Whether both are the very same object, so that comparing bytes is needless.
    fn same_object(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Weight(a), Self::Weight(b)) => std::ptr::addr_eq(*a, *b) && a.byte_len() > 0,
            _ => false,
        }
    }
}

/// One blob of the file to be.
#[derive(Debug)]
struct Segment<'a> {
    record_offset: u64,
    byte_len: u64,
    ty: BlobType,
    padding_bits: u64,
    source: Source<'a>,
    place: String,
    fingerprint: Option<Fingerprint>,
}

impl Segment<'_> {
    const fn data_offset(&self) -> u64 {
        self.record_offset + RECORD_LEN
    }

    const fn end(&self) -> u64 {
        self.data_offset() + self.byte_len
    }
}

/// A weight that could not be produced, and which.
#[derive(Debug)]
pub(crate) struct SourceFault {
    pub(crate) place: String,
    pub(crate) error: WeightError,
}

/// A weight file to be.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    threads: usize,
    segments: Vec<Segment<'a>>,
    by_size: HashMap<(BlobType, u64), Vec<usize>>,
    shared: u64,
}

impl<'a> Layout<'a> {
    /// An empty file; `threads` compare weights that may be alike.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            segments: Vec::new(),
            by_size: HashMap::new(),
            shared: 0,
        }
    }

    /// Finds a place for `count` elements of type `ty`, the place of an identical weight if there is one, and gives
    /// the offset of its record.
    pub(crate) fn place(
        &mut self,
        ty: BlobType,
        count: u64,
        source: Source<'a>,
        place: impl Fn() -> String,
    ) -> Result<u64, SourceFault> {
        let byte_len = source.byte_len();
        let fault = |error| SourceFault {
            place: place(),
            error,
        };
        let end = self.len();
        let candidates = self.by_size.entry((ty, byte_len)).or_default();
        // What functions share is known without reading a byte of it, or of what is merely as long.
        let mut known = candidates.iter().map(|index| &self.segments[*index]);
        if let Some(known) = known.find(|known| known.source.same_object(&source)) {
            self.shared += 1;
            return Ok(known.record_offset);
        }
        let mut fingerprint = None;
        for &index in candidates.iter() {
            let known = &mut self.segments[index];
            let same = {
                let mine = match fingerprint {
                    Some(mine) => mine,
                    None => *fingerprint.insert(Fingerprint::of(&source).map_err(fault)?),
                };
                let theirs = match known.fingerprint {
                    Some(theirs) => theirs,
                    None => {
                        let theirs = Fingerprint::of(&known.source).map_err(|error| SourceFault {
                            place: known.place.clone(),
                            error,
                        })?;
                        *known.fingerprint.insert(theirs)
                    }
                };
                mine == theirs && equal(&known.source, &source, self.threads).map_err(fault)?
            };
            if same {
                self.shared += 1;
                return Ok(known.record_offset);
            }
        }
        let too_large = || {
            fault(WeightError {
                place: "weight file".into(),
                reason: "would be longer than 2^64 bytes".into(),
            })
        };
        let record_offset = align(end).ok_or_else(too_large)?;
        record_offset
            .checked_add(RECORD_LEN)
            .and_then(|data| data.checked_add(byte_len))
            .and_then(align)
            .ok_or_else(too_large)?;
        let bits = ty.data_type().map_or(8, corer_mil::DataType::bits);
        candidates.push(self.segments.len());
        self.segments.push(Segment {
            record_offset,
            byte_len,
            ty,
            padding_bits: padding_bits(count, bits),
            source,
            place: place(),
            fingerprint,
        });
        Ok(record_offset)
    }

    /// Length of the file in bytes; a header alone when there is no weight.
    pub(crate) fn len(&self) -> u64 {
        self.segments.last().map_or(HEADER_LEN, Segment::end)
    }

    /// Weights the file holds.
    pub(crate) fn stored(&self) -> u64 {
        self.segments.len() as u64
    }

    /// Weights that found an identical one in place.
    pub(crate) const fn shared(&self) -> u64 {
        self.shared
    }

    /// Fills `out` with the file's bytes from `start` on. `start` is a multiple of 64 (so that no element is cut)
    /// and the range lies within the file.
    pub(crate) fn fill(&self, start: u64, out: &mut [u8]) -> Result<(), SourceFault> {
        let end = start + out.len() as u64;
        let mut piece = Piece {
            start,
            end,
            filled: start,
            out,
        };
        let mut header = [0; HEADER_LEN as usize];
        // More blobs than u32::MAX would need 2^38 bytes of records before this could be wrong.
        header[..4].copy_from_slice(
            &u32::try_from(self.segments.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        header[4..8].copy_from_slice(&VERSION.to_le_bytes());
        piece.put(0, &header);
        let first = self.segments.partition_point(|segment| segment.end() <= start);
        for segment in &self.segments[first..] {
            if segment.record_offset >= end {
                break;
            }
            piece.put(segment.record_offset, &record(segment));
            let offset = segment.data_offset();
            if let Some(out) = piece.window(offset, segment.byte_len) {
                segment
                    .source
                    .read_at(start.saturating_sub(offset), out)
                    .map_err(|error| SourceFault {
                        place: segment.place.clone(),
                        error,
                    })?;
            }
        }
        piece.zero_to(end);
        Ok(())
    }
}

/// A blob's record as it stands on disk.
fn record(segment: &Segment<'_>) -> [u8; RECORD_LEN as usize] {
    let mut record = [0; RECORD_LEN as usize];
    record[..4].copy_from_slice(&SENTINEL.to_le_bytes());
    record[4..8].copy_from_slice(&segment.ty.code().to_le_bytes());
    record[8..16].copy_from_slice(&segment.byte_len.to_le_bytes());
    record[16..24].copy_from_slice(&segment.data_offset().to_le_bytes());
    record[24..32].copy_from_slice(&segment.padding_bits.to_le_bytes());
    record
}

/// The part of the file being filled, in ascending order; gaps become zeros.
struct Piece<'b> {
    start: u64,
    end: u64,
    filled: u64,
    out: &'b mut [u8],
}

impl Piece<'_> {
    /// The part of `out` that falls into `len` bytes at `offset`; `None` when none does.
    fn window(&mut self, offset: u64, len: u64) -> Option<&mut [u8]> {
        let from = offset.max(self.start);
        let to = offset.saturating_add(len).min(self.end);
        if from >= to {
            return None;
        }
        self.zero_to(from);
        self.filled = to;
        let range = self.index(from)..self.index(to);
        Some(&mut self.out[range])
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let skip = self.start.saturating_sub(offset);
        if let Some(window) = self.window(offset, bytes.len() as u64) {
            let skip = usize::try_from(skip).unwrap_or(bytes.len());
            let len = window.len();
            window.copy_from_slice(&bytes[skip..skip + len]);
        }
    }

    fn zero_to(&mut self, offset: u64) {
        let range = self.index(self.filled)..self.index(offset.max(self.filled));
        self.out[range].fill(0);
        self.filled = self.filled.max(offset);
    }

    /// Position in `out` of a file offset; the piece is in memory, so it fits.
    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset - self.start).unwrap_or(usize::MAX)
    }
}

/// A few samples of a weight: equal weights have equal samples. Cheap, and nearly always enough to tell two apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fingerprint([u64; 4]);

/// Bytes per sample; a multiple of every element size.
const SAMPLE: u64 = 512;

impl Fingerprint {
    fn of(source: &Source<'_>) -> Result<Self, WeightError> {
        let len = source.byte_len();
        let mut hash = [0x9E37_79B9_7F4A_7C15u64; 4];
        let mut buffer = [0; SAMPLE as usize];
        let last = len.saturating_sub(SAMPLE).next_multiple_of(64).min(len);
        for (lane, hash) in hash.iter_mut().enumerate() {
            let start = (last / 3 * lane as u64) / 64 * 64;
            let start = if lane == 3 { last } else { start };
            let size = usize::try_from((len - start).min(SAMPLE)).unwrap_or_default();
            source.read_at(start, &mut buffer[..size])?;
            for byte in &buffer[..size] {
                // FNV-1a; nothing depends on it being hard to collide.
                *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
        Ok(Self(hash))
    }
}

/// Whether two sources of equal length hold the same bytes.
fn equal(a: &Source<'_>, b: &Source<'_>, threads: usize) -> Result<bool, WeightError> {
    // `None` stands for a difference.
    let compared = pieces::for_each(a.byte_len(), threads, |offset, left| {
        let mut right = vec![0; left.len()];
        a.read_at(offset, left).map_err(Some)?;
        b.read_at(offset, &mut right).map_err(Some)?;
        if *left == right { Ok(()) } else { Err(None) }
    });
    match compared {
        Ok(_) => Ok(true),
        Err(None) => Ok(false),
        Err(Some(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::read::BlobFile;
    use corer_mil::MemoryWeight;
    use std::sync::Arc;

    fn whole(layout: &Layout<'_>) -> Vec<u8> {
        let mut bytes = vec![0xAA; usize::try_from(layout.len()).unwrap()];
        layout.fill(0, &mut bytes).unwrap();
        bytes
    }

    fn place<'a>(layout: &mut Layout<'a>, ty: BlobType, count: u64, bytes: &'a [u8]) -> u64 {
        layout
            .place(ty, count, Source::Bytes(bytes), || "x".into())
            .unwrap()
    }

    #[test]
    fn the_worked_example_of_the_format() {
        let mut layout = Layout::new(2);
        assert_eq!(place(&mut layout, BlobType::Fp16, 10, &[7; 20]), 64);
        assert_eq!(place(&mut layout, BlobType::Int4, 3, &[1, 2]), 192);
        let bytes = whole(&layout);
        assert_eq!(bytes.len(), 258);
        assert_eq!(bytes[..8], [2, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[64..68], [0xEF, 0xBE, 0xAD, 0xDE]);
        assert_eq!(bytes[192 + 24], 4);
        assert_eq!(bytes[148..192], [0; 44]);
        assert_eq!(bytes[256..], [1, 2]);
    }

    #[test]
    fn pieces_of_any_size_make_the_same_file() {
        let first: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let weight = MemoryWeight(first.iter().rev().copied().collect());
        let mut layout = Layout::new(2);
        place(&mut layout, BlobType::UInt8, 1000, &first);
        layout
            .place(BlobType::Fp32, 250, Source::Weight(&weight), || "w".into())
            .unwrap();
        place(&mut layout, BlobType::UInt8, 0, &[]);
        place(&mut layout, BlobType::UInt8, 17, &[9; 17]);
        let expected = whole(&layout);
        for size in [64usize, 128, 192, 1024, 4096] {
            let mut bytes = vec![0xAA; expected.len()];
            for (index, piece) in bytes.chunks_mut(size).enumerate() {
                layout.fill((index * size) as u64, piece).unwrap();
            }
            assert_eq!(bytes, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn identical_weights_are_stored_once_and_others_not() {
        let zeros = vec![0u8; 5000];
        let mut near = zeros.clone();
        near[3100] = 1; // between the samples, so only the full comparison sees it
        let weight = MemoryWeight(zeros.clone());
        let mut layout = Layout::new(2);
        let first = place(&mut layout, BlobType::UInt8, 5000, &zeros);
        let other = place(&mut layout, BlobType::UInt8, 5000, &near);
        assert_ne!(first, other);
        let again = layout
            .place(BlobType::UInt8, 5000, Source::Weight(&weight), || "w".into())
            .unwrap();
        assert_eq!(again, first);
        assert_eq!(place(&mut layout, BlobType::UInt8, 5000, &near), other);
        let typed = place(&mut layout, BlobType::Int8, 5000, &zeros);
        assert!(typed != first && typed != other);
        assert_eq!((layout.stored(), layout.shared()), (3, 2));
    }

    /// A weight that can't be read.
    #[derive(Debug)]
    struct Unread(u64);

    impl WeightSource for Unread {
        fn byte_len(&self) -> u64 {
            self.0
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), WeightError> {
            Err(WeightError {
                place: "unread".into(),
                reason: "is not to be read".into(),
            })
        }
    }

    #[test]
    fn the_same_object_is_shared_unread_whatever_else_is_as_long() {
        let (first, second) = (Unread(64), Unread(128));
        let (f16, none) = (BlobType::Fp16, String::new);
        let mut layout = Layout::new(1);
        let mut put = |weight| layout.place(f16, 32, Source::Weight(weight), none);
        let (one, two) = (put(&first).expect("placed"), put(&second).expect("placed"));
        assert_eq!(put(&second).expect("shared"), two);
        assert_eq!(put(&first).expect("shared"), one);
        let other = Unread(64);
        assert!(put(&other).is_err(), "another object has to be compared");
        assert_eq!((layout.stored(), layout.shared()), (2, 2));
    }

    #[test]
    fn large_weights_are_compared_to_the_last_byte() {
        let one = vec![5u8; (3 << 20) + 7];
        let mut other = one.clone();
        let at = (2 << 20) + 600_001;
        other[at] = 6;
        for threads in [1, 3] {
            let (a, b, c) = (Source::Bytes(&one), Source::Bytes(&other), Source::Bytes(&one));
            assert!(equal(&a, &c, threads).unwrap());
            assert!(!equal(&a, &b, threads).unwrap());
        }
    }

    #[test]
    fn what_is_laid_out_reads_back() {
        let mut layout = Layout::new(2);
        let data: Vec<Vec<u8>> = (0..40usize).map(|n| vec![n as u8; n * 7]).collect();
        let offsets: Vec<u64> = data
            .iter()
            .map(|bytes| place(&mut layout, BlobType::Int8, bytes.len() as u64, bytes))
            .collect();
        let file = Arc::new(BlobFile::from_bytes("weight.bin", whole(&layout)).unwrap());
        assert_eq!(file.count(), 40);
        for (offset, expected) in offsets.iter().zip(&data) {
            let record = file.record(*offset).unwrap();
            assert_eq!(file.weight(&record).to_vec().unwrap(), *expected);
        }
        let walked: Vec<u64> = file.walk().map(|record| record.unwrap().offset).collect();
        assert_eq!(walked, offsets);
    }
}
