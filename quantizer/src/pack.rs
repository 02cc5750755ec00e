//! Codes of 1 to 8 bits as Core ML packs them: one stream, least significant bit first, codes straddling bytes.

/// Appends codes to a stream.
#[derive(Debug)]
pub(crate) struct Packer {
    bits: u32,
    pending: u32,
    filled: u32,
}

impl Packer {
    /// A stream of `bits`-wide codes.
    pub(crate) const fn new(bits: u32) -> Self {
        Self {
            bits,
            pending: 0,
            filled: 0,
        }
    }

    /// Appends the lower bits of each code to `out`; what fills no whole byte is kept for the next call.
    pub(crate) fn push(&mut self, codes: &[u8], out: &mut Vec<u8>) {
        if self.bits == 8 {
            out.extend_from_slice(codes);
            return;
        }
        if self.bits == 4 && self.filled == 0 {
            let (pairs, rest) = codes.as_chunks::<2>();
            out.extend(pairs.iter().map(|[low, high]| low & 15 | high << 4));
            return self.push_each(rest, out);
        }
        if self.bits == 6 && self.filled == 0 {
            let (fours, rest) = codes.as_chunks::<4>();
            out.extend(fours.iter().flat_map(|codes| {
                let [a, b, c, d] = codes.map(|code| u32::from(code & 63));
                let [low, middle, high, _] = (a | b << 6 | c << 12 | d << 18).to_le_bytes();
                [low, middle, high]
            }));
            return self.push_each(rest, out);
        }
        self.push_each(codes, out);
    }

    fn push_each(&mut self, codes: &[u8], out: &mut Vec<u8>) {
        let mask = (1 << self.bits) - 1;
        for code in codes {
            self.pending |= (u32::from(*code) & mask) << self.filled;
            self.filled += self.bits;
            while self.filled >= 8 {
                out.push(self.pending as u8);
                self.pending >>= 8;
                self.filled -= 8;
            }
        }
    }

    /// The last byte, padded with zero bits, if one is pending.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        if self.filled > 0 {
            out.push(self.pending as u8);
        }
    }
}

/// All of `codes`, packed.
pub(crate) fn pack(codes: &[u8], bits: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity((codes.len() * bits as usize).div_ceil(8));
    let mut packer = Packer::new(bits);
    packer.push(codes, &mut out);
    packer.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the format is defined: bit b of code i is bit i·n + b of the stream.
    fn unpack(bytes: &[u8], bits: usize, count: usize) -> Vec<u8> {
        (0..count)
            .map(|i| {
                (0..bits)
                    .map(|b| {
                        let at = i * bits + b;
                        (bytes[at / 8] >> (at % 8) & 1) << b
                    })
                    .sum()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(
            codes in prop::collection::vec(any::<u8>(), 0..200),
            bits in prop::sample::select(&[1u32, 2, 3, 4, 6, 8]),
            cuts in prop::collection::vec(0usize..200, 0..5),
        ) {
            let expected: Vec<u8> = codes.iter().map(|code| (u32::from(*code) & ((1 << bits) - 1)) as u8).collect();
            let packed = pack(&codes, bits);
            prop_assert_eq!(packed.len(), (codes.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack(&packed, bits as usize, codes.len()), expected);
            let used = codes.len() * bits as usize % 8;
            if used > 0 {
                prop_assert_eq!(packed.last().unwrap() >> used, 0);
            }
            // In parts of any length it is the same stream.
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= codes.len()).collect();
            cuts.extend([0, codes.len()]);
            cuts.sort_unstable();
            let (mut packer, mut out) = (Packer::new(bits), Vec::new());
            for cut in cuts.windows(2) {
                packer.push(&codes[cut[0]..cut[1]], &mut out);
            }
            packer.finish(&mut out);
            prop_assert_eq!(out, packed);
        }
    }
}
