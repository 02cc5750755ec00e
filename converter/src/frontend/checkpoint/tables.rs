//! Tables that depend on positions alone, and so are computed once, at conversion.
//!
//! Where the reference computes an index through a logarithm, so does this in f32, operation by operation: one
//! ulp decides which bucket a distance falls into.

/// A score that no softmax gives weight to; see the lowering of padding masks.
const NEVER: f32 = -1e4;

/// Cosines and sines of rotary positions, each (S, width/2): position times base^(−2j/width).
///
/// Su et al., "RoFormer" (2021), in the form with halves (GPT-NeoX), as Hugging Face computes it.
pub(super) fn rotary_angles(tokens: u64, width: u64, base: f64) -> (Vec<f32>, Vec<f32>) {
    #[allow(clippy::cast_precision_loss)] // positions and widths are far below 2^24
    let angles = (0..tokens).flat_map(|position| {
        (0..width / 2).map(move |index| {
            let exponent = (2 * index) as f32 / width as f32;
            #[allow(clippy::cast_possible_truncation)] // the reference holds frequencies in f32
            let frequency = base.powf(f64::from(exponent)).recip() as f32;
            f64::from(position as f32 * frequency)
        })
    });
    #[allow(clippy::cast_possible_truncation)] // rounded to what weights are held in
    angles
        .map(|angle| (angle.cos() as f32, angle.sin() as f32))
        .unzip()
}

/// Scores (1, 1, S, S) that keep each token to `reach` neighbours either side.
pub(super) fn window(tokens: u64, reach: u64) -> Vec<f32> {
    (0..tokens)
        .flat_map(|query| (0..tokens).map(move |key| if query.abs_diff(key) <= reach { 0.0 } else { NEVER }))
        .collect()
}

/// Buckets of `key − query` as T5 and MPNet have them: half of them for each direction, half of those for one
/// distance each, the rest growing logarithmically to `most`.
pub(super) fn t5_bucket(relative: i64, buckets: i64, most: i64) -> i64 {
    let half = buckets / 2;
    let exact = half / 2;
    let distance = relative.abs();
    let side = if relative > 0 { half } else { 0 };
    if distance < exact {
        return side + distance;
    }
    #[allow(clippy::cast_precision_loss)] // small numbers
    let (distance, start, most, left) = (
        distance as f32,
        exact as f32,
        most as f64 / exact as f64,
        (half - exact) as f32,
    );
    #[allow(clippy::cast_possible_truncation)] // as the reference truncates, and rounds its divisor to f32
    let further = ((distance / start).ln() / most.ln() as f32 * left) as i64;
    side + (exact + further).min(half - 1)
}

/// Buckets of `query − key` as DeBERTa has them: one for each distance up to half of `buckets`, then growing
/// logarithmically so that `most` takes the last. The sign is kept.
pub(super) fn deberta_bucket(relative: i64, buckets: i64, most: i64) -> i64 {
    let middle = buckets / 2;
    let distance = relative.abs();
    if distance <= middle {
        return relative;
    }
    #[allow(clippy::cast_precision_loss)] // small numbers
    let (distance, start, end) = (distance as f32, middle as f32, (most - 1) as f64 / middle as f64);
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // as the reference does
    let log = ((distance / start).ln() / (end as f32).ln() * (middle - 1) as f32).ceil() as i64;
    relative.signum() * (log + middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MPNetEncoder.relative_position_bucket` of transformers 4.53.3 with 32 buckets, over key − query.
    #[test]
    fn t5_buckets_are_those_of_the_reference() {
        let expected = [
            (-200, 15),
            (-64, 14),
            (-33, 12),
            (-32, 12),
            (-17, 10),
            (-16, 10),
            (-8, 8),
            (-7, 7),
            (0, 0),
            (1, 17),
            (7, 23),
            (8, 24),
            (11, 24),
            (12, 25),
            (31, 27),
            (32, 28),
            (127, 31),
        ];
        for (relative, bucket) in expected {
            assert_eq!(t5_bucket(relative, 32, 128), bucket, "{relative}");
        }
    }

    /// `make_log_bucket_position` of transformers 4.53.3 with 256 buckets and 512 positions.
    #[test]
    fn deberta_buckets_are_those_of_the_reference() {
        let expected = [
            (0, 0),
            (1, 1),
            (-127, -127),
            (128, 128),
            (129, 129),
            (-130, -130),
            (200, 169),
            (-511, -255),
            (511, 255),
        ];
        for (relative, bucket) in expected {
            assert_eq!(deberta_bucket(relative, 256, 512), bucket, "{relative}");
        }
    }

    #[test]
    fn a_window_has_two_sides() {
        let window = window(4, 1);
        assert_eq!(&window[..4], [0.0, 0.0, NEVER, NEVER]);
        assert_eq!(&window[8..12], [NEVER, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn positions_turn_each_pair_at_its_own_speed() {
        let (cos, sin) = rotary_angles(3, 4, 100.0);
        assert_eq!(cos.len(), 6);
        assert_eq!((cos[0], sin[0]), (1.0, 0.0));
        assert!((cos[4] - 2f32.cos()).abs() < 1e-6 && (sin[5] - 0.2f32.sin()).abs() < 1e-6);
    }
}
