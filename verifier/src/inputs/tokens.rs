//! Seeded token ids: every length, rare ids, repeated ids, rubbish under the padding.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{InputRow, InputSet};

/// What the ids of a row are drawn from; rows take turns.
#[derive(Clone, Copy)]
enum Draw {
    /// Any id.
    Uniform,
    /// Small ids often, large ones seldom, as in text: uniform in the logarithm.
    Frequent,
    /// The last sixteenth of the vocabulary.
    Rare,
    /// One id over and over.
    Repeated,
}

const DRAWS: [Draw; 4] = [Draw::Uniform, Draw::Frequent, Draw::Rare, Draw::Repeated];

/// `rows` rows of `length` positions with ids below `vocabulary` and types below `token_types`.
///
/// Lengths run evenly from 1 token to all of them, so that with at least `length` rows every length occurs. Every
/// third row with two or more tokens has a second segment when there are two token types. Every fifth row is padded
/// on the left. Padding holds `pad` in half of the rows and random ids in the others: what lies under the mask must
/// not matter. The stream is ChaCha8, so a seed means the same rows everywhere.
pub fn seeded(
    seed: u64,
    rows: usize,
    length: usize,
    vocabulary: usize,
    token_types: usize,
    pad: usize,
) -> InputSet {
    let mut random = Random::new(seed, 0);
    let vocabulary = vocabulary.max(1);
    let rows = (0..rows).map(|index| {
        let span = length.saturating_sub(1);
        let tokens = 1 + if rows > 1 { index * span / (rows - 1) } else { span };
        let tokens = tokens.min(length);
        let start = if index % 5 == 4 { length - tokens } else { 0 };
        let draw = DRAWS[index % DRAWS.len()];
        let repeated = random.below(vocabulary);
        let second = if index % 3 == 2 && tokens > 1 && token_types > 1 {
            start + 1 + random.below(tokens - 1)
        } else {
            length
        };
        let rubbish = index % 2 == 1;
        let mut row = InputRow {
            input_ids: Vec::with_capacity(length),
            attention_mask: Vec::with_capacity(length),
            token_type_ids: Vec::with_capacity(length),
            extra: BTreeMap::new(),
            excerpt: None,
        };
        for position in 0..length {
            let is_token = (start..start + tokens).contains(&position);
            let id = match (is_token, rubbish) {
                (true, _) => random.id(draw, vocabulary, repeated),
                (false, true) => random.below(vocabulary),
                (false, false) => pad.min(vocabulary - 1),
            };
            row.input_ids.push(i32::try_from(id).unwrap_or(0));
            row.attention_mask.push(i32::from(is_token));
            row.token_type_ids.push(i32::from(is_token && position >= second));
        }
        row
    });
    InputSet {
        length,
        rows: rows.collect(),
        origin: format!("token ids from seed {seed}"),
        truncated: 0,
    }
}

/// The numbers of one seed.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// The numbers of a seed that belong to one purpose; equal seeds and purposes give equal numbers.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(purpose);
        Self(random)
    }

    /// One of the 2²⁴ numbers from −1 to 1 that lie 2⁻²³ apart, 1 left out.
    #[allow(clippy::cast_precision_loss)] // 24 bits
    pub(super) fn centred(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0
    }

    /// A number below `bound`, which is at least 1; biased by less than 2⁻³² for any vocabulary.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.0.next_u64()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    fn id(&mut self, draw: Draw, vocabulary: usize, repeated: usize) -> usize {
        match draw {
            Draw::Uniform => self.below(vocabulary),
            Draw::Frequent => {
                // Uniform over octaves, then uniform inside one: integers only, so no libm decides a token.
                let octave = self.below(vocabulary.ilog2() as usize + 1);
                let first = 1usize << octave;
                (first - 1 + self.below(first)).min(vocabulary - 1)
            }
            Draw::Rare => vocabulary - 1 - self.below(vocabulary.div_ceil(16)),
            Draw::Repeated => repeated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_occurs_when_there_are_rows_enough() {
        let set = seeded(0, 64, 64, 515, 2, 0);
        let lengths: std::collections::BTreeSet<usize> = set.rows.iter().map(InputRow::tokens).collect();
        assert_eq!(lengths, (1..=64).collect());
        let few = seeded(0, 7, 64, 515, 2, 0);
        let lengths: Vec<usize> = few.rows.iter().map(InputRow::tokens).collect();
        assert_eq!(lengths, [1, 11, 22, 32, 43, 53, 64]);
        assert_eq!(seeded(0, 1, 64, 515, 2, 0).rows[0].tokens(), 64);
    }

    #[test]
    fn rows_vary_as_promised_and_stay_inside_the_vocabulary() {
        let set = seeded(3, 40, 128, 30522, 2, 0);
        for (index, row) in set.rows.iter().enumerate() {
            assert_eq!(
                [
                    row.input_ids.len(),
                    row.attention_mask.len(),
                    row.token_type_ids.len()
                ],
                [128; 3]
            );
            assert!(row.input_ids.iter().all(|id| (0..30522).contains(id)));
            let ids = || {
                row.input_ids
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| row.is_token(*at))
                    .map(|(_, id)| *id)
            };
            match index % 4 {
                2 => assert!(ids().all(|id| id >= 30522 - 1908)),
                3 => assert!(ids().all(|id| Some(id) == ids().next())),
                _ => {}
            }
            if index % 3 == 2 {
                assert!(row.token_type_ids.contains(&1));
            }
            if index % 5 == 4 && row.tokens() < 128 {
                assert_eq!(row.attention_mask[0], 0);
            }
        }
        let padding = |row: &InputRow| -> Vec<i32> {
            (0..128)
                .filter(|at| !row.is_token(*at))
                .map(|at| row.input_ids[at])
                .collect()
        };
        assert!(padding(&set.rows[0]).iter().all(|id| *id == 0));
        assert!(padding(&set.rows[1]).iter().any(|id| *id != 0));
    }

    #[test]
    fn a_seed_means_the_same_rows_everywhere() {
        let set = seeded(7, 3, 8, 515, 2, 0);
        assert_eq!(set, seeded(7, 3, 8, 515, 2, 0));
        assert_ne!(set.rows, seeded(8, 3, 8, 515, 2, 0).rows);
    }

    #[test]
    fn one_token_vocabularies_and_one_position_work() {
        let set = seeded(0, 9, 1, 1, 1, 5);
        assert!(
            set.rows
                .iter()
                .all(|row| row.input_ids == [0] && row.tokens() == 1 && row.token_type_ids == [0])
        );
    }
}
