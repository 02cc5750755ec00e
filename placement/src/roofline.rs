//! The least time a chip's Neural Engine needs: the longer of computing and of reading the weights, taken to overlap
//! perfectly. No prediction of a latency; a bound that a measured one can be held against.

use serde::Serialize;

use crate::chip::{Chip, Rates};
use crate::work::Work;

/// The bound of one function on one chip by one set of figures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Bound {
    /// Id of the chip.
    pub chip: String,
    /// Whose figures.
    pub figures: Figures,
    /// Milliseconds for the arithmetic, where a rate is known.
    pub compute_ms: Option<f64>,
    /// Milliseconds for reading the weights, where a bandwidth is known.
    pub read_ms: Option<f64>,
    /// The longer of both; of the one that is known where the other isn't.
    pub bound_ms: Option<f64>,
    /// The same with the rate of products of matrices, where that was measured apart: what to expect if the system
    /// lowers the graph as such.
    pub as_products_ms: Option<f64>,
    /// What a call costs besides (rule L12).
    pub call_ms: Option<[f64; 2]>,
}

/// Whose figures a bound rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Figures {
    /// The maker's.
    Published,
    /// What others reached.
    Measured,
}

/// The bounds of that work on a chip, by each set of figures there is.
pub fn bounds(work: &Work, chip: &Chip) -> Vec<Bound> {
    let measured = chip.measured.as_ref().map(|rates| (Figures::Measured, rates));
    [(Figures::Published, &chip.spec)]
        .into_iter()
        .chain(measured)
        .map(|(figures, rates)| bound(work, chip, figures, rates))
        .collect()
}

fn bound(work: &Work, chip: &Chip, figures: Figures, rates: &Rates) -> Bound {
    let half = work.flops.saturating_sub(work.int8_flops) as f64;
    let int8 = work.int8_flops as f64;
    // 10¹² operations in a second are 10⁹ in a millisecond, 10⁹ bytes 10⁶.
    let compute = |fp16: Option<f64>| {
        let fp16 = fp16?;
        Some(half / (fp16 * 1e9) + int8 / (rates.int8_tflops.unwrap_or(fp16) * 1e9))
    };
    // What others measured includes that 8-bit weights are unfolded at load; the maker's figures know nothing of it.
    let bytes = match figures {
        Figures::Measured if chip.int8_folds => work.folded_weight_bytes,
        _ => work.weight_bytes,
    };
    let compute_ms = compute(rates.fp16_tflops);
    let read_ms = rates.gb_per_s.map(|rate| bytes as f64 / (rate * 1e6));
    let longer = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (known, other) => known.or(other),
    };
    Bound {
        chip: chip.id.clone(),
        figures,
        compute_ms,
        read_ms,
        bound_ms: longer(compute_ms, read_ms),
        as_products_ms: rates
            .gemm_tflops
            .and_then(|rate| longer(compute(Some(rate)), read_ms)),
        call_ms: chip.call_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of bounds for BERT-base at 128 tokens, worked out by hand from the published figures.
    #[test]
    fn bert_base_by_hand() {
        let fp16 = Work {
            flops: 22_347_251_712,
            weight_bytes: 170_108_928,
            folded_weight_bytes: 170_108_928,
            ..Work::default()
        };
        let int8 = Work {
            weight_bytes: 85_054_464,
            ..fp16
        };
        let w8a8 = Work {
            int8_flops: fp16.flops,
            ..int8
        };
        let found = |work: &Work, chip: &str, figures: usize| {
            let bounds = bounds(work, Chip::find(chip).expect("a chip"));
            let bound = &bounds[figures];
            let parts = [bound.compute_ms, bound.read_ms, bound.bound_ms];
            parts.map(|part| (part.expect("a figure") * 100.0).round() / 100.0)
        };
        assert_eq!(found(&fp16, "m1", 0), [2.03, 2.49, 2.49]);
        assert_eq!(found(&fp16, "m1", 1), [2.33, 3.34, 3.34]);
        assert_eq!(found(&fp16, "m4", 0), [1.18, 1.42, 1.42]);
        assert_eq!(found(&fp16, "m4", 1), [1.2, 2.54, 2.54]);
        assert_eq!(found(&int8, "m1", 0), [2.03, 1.25, 2.03]);
        assert_eq!(found(&int8, "m1", 1)[2], 3.34);
        assert_eq!(found(&int8, "m4", 0), [1.18, 0.71, 1.18]);
        assert_eq!(found(&int8, "m4", 1), [1.2, 1.27, 1.27]);
        assert_eq!(found(&w8a8, "m4", 0), [0.59, 0.71, 0.71]);
        assert_eq!(found(&w8a8, "m4", 1), [0.64, 1.27, 1.27]);
        let products = bounds(&fp16, Chip::find("m4").expect("a chip"))[1].as_products_ms;
        assert!((products.expect("a figure") - 4.14).abs() < 0.005);
    }

    #[test]
    fn what_nobody_published_is_absent() {
        let work = Work {
            flops: 1_000_000,
            weight_bytes: 1_000_000,
            ..Work::default()
        };
        let published = &bounds(&work, Chip::find("a17-pro").expect("a chip"))[0];
        assert_eq!(published.read_ms, None);
        assert_eq!(published.bound_ms, published.compute_ms);
        let m5 = bounds(&work, Chip::find("m5").expect("a chip"));
        assert_eq!(m5[0].compute_ms, None);
        assert!(m5[1].as_products_ms.is_some());
    }
}
