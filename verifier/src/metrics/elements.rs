//! Errors of single elements, summed as they come.

use super::histogram::{Bin, Steps, bins};

/// Bits of an f32 kept for the histogram: the exponent and four bits of the fraction, sixteen bins an octave.
const BIN_SHIFT: u32 = 31 - 12;
const BINS: usize = 1 << 12;

/// What a slice of elements added.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct SliceErrors {
    /// Index and size of the largest error; `None` when nothing could be compared.
    pub(super) largest: Option<(usize, f32)>,
    /// Root mean square of the reference.
    pub(super) reference_rms: f64,
}

/// Running sums over pairs of reference and package values.
#[derive(Clone, Debug)]
pub struct ElementErrors {
    count: u64,
    max_abs: f32,
    sum_abs: f64,
    sum_square: f64,
    sum_abs_reference: f64,
    sum_square_reference: f64,
    peak: f32,
    histogram: Vec<u64>,
    steps: Steps,
}

impl ElementErrors {
    /// Nothing added yet; `resolution` is one step of the package's number format, relative to a number's size.
    pub fn new(resolution: f32) -> Self {
        Self {
            count: 0,
            max_abs: 0.0,
            sum_abs: 0.0,
            sum_square: 0.0,
            sum_abs_reference: 0.0,
            sum_square_reference: 0.0,
            peak: 0.0,
            histogram: vec![0; BINS],
            steps: Steps::new(resolution),
        }
    }

    /// Adds pairs. A pair with a value that is not finite is left out: it is counted elsewhere, and one NaN would
    /// hide every other error.
    pub(crate) fn add(&mut self, reference: &[f32], package: &[f32]) -> SliceErrors {
        let mut largest: Option<(usize, f32)> = None;
        let (mut count, mut square_reference) = (0u64, 0.0f64);
        for (index, (r, p)) in reference.iter().zip(package).enumerate() {
            if !(r.is_finite() && p.is_finite()) {
                continue;
            }
            // The difference of two f32 is exact in f64 unless they are far apart, where it hardly matters.
            let error = (f64::from(*p) - f64::from(*r)).abs();
            #[allow(clippy::cast_possible_truncation)] // reported in f32; sums keep the f64
            let short = error as f32;
            count += 1;
            self.sum_abs += error;
            self.sum_square += error * error;
            let r = f64::from(*r);
            self.sum_abs_reference += r.abs();
            square_reference += r * r;
            #[allow(clippy::cast_possible_truncation)] // it was an f32 before
            let magnitude = r.abs() as f32;
            self.peak = self.peak.max(magnitude);
            self.histogram[((short.to_bits() >> BIN_SHIFT) as usize).min(BINS - 1)] += 1;
            self.steps.add(r, error);
            if largest.is_none_or(|(_, most)| short > most) {
                largest = Some((index, short));
            }
        }
        self.count += count;
        self.sum_square_reference += square_reference;
        if let Some((_, error)) = largest {
            self.max_abs = self.max_abs.max(error);
        }
        #[allow(clippy::cast_precision_loss)] // counts of elements
        let reference_rms = (square_reference / count.max(1) as f64).sqrt();
        SliceErrors {
            largest,
            reference_rms,
        }
    }

    /// Number of pairs added.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Largest |p − r|.
    pub const fn max_abs(&self) -> f32 {
        self.max_abs
    }

    /// Mean |p − r|; 0 when nothing was added.
    pub fn mean_abs(&self) -> f64 {
        self.sum_abs / self.counted()
    }

    /// A bound on the `quantile` (0 to 1) of |p − r| from above, at most 1/16 too high.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count between 0 and the number of pairs
    pub fn quantile_abs(&self, quantile: f64) -> f32 {
        let wanted = (quantile * self.counted()).ceil() as u64;
        let mut seen = 0;
        for (bin, count) in self.histogram.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                let upper = f32::from_bits((u32::try_from(bin).unwrap_or(0) + 1) << BIN_SHIFT);
                // The lowest bin holds exact zeros and what is too small to tell from them.
                return if bin == 0 { 0.0 } else { upper.min(self.max_abs) };
            }
        }
        self.max_abs
    }

    /// |p − r| by powers of two. Errors below f32's normal numbers count as none.
    pub fn error_bins(&self) -> Vec<Bin> {
        let octaves: Vec<u64> = self
            .histogram
            .chunks(BINS >> 8)
            .map(|bins| bins.iter().sum())
            .collect();
        bins(octaves[0], 1 - 127, &octaves[1..])
    }

    /// |p − r| in steps of the package's number format, by powers of two.
    pub fn step_bins(&self) -> Vec<Bin> {
        self.steps.bins()
    }

    /// Largest |r|.
    pub const fn peak(&self) -> f32 {
        self.peak
    }

    /// Σ|p − r| / Σ|r|: 0 when exact, infinite when an all-zero reference is missed.
    pub fn relative(&self) -> f64 {
        if self.sum_abs == 0.0 {
            0.0
        } else {
            self.sum_abs / self.sum_abs_reference
        }
    }

    /// 10·log₁₀(peak² / mse) in decibels: +∞ when exact, −∞ when an all-zero reference is missed.
    pub fn psnr(&self) -> f64 {
        decibels(f64::from(self.peak).powi(2), self.sum_square / self.counted())
    }

    /// 10·log₁₀(Σr² / Σ(p − r)²) in decibels; infinities as for [`Self::psnr`].
    pub fn sqnr(&self) -> f64 {
        decibels(self.sum_square_reference, self.sum_square)
    }

    #[allow(clippy::cast_precision_loss)] // counts of elements
    fn counted(&self) -> f64 {
        self.count.max(1) as f64
    }
}

fn decibels(signal: f64, noise: f64) -> f64 {
    if noise == 0.0 {
        f64::INFINITY
    } else {
        10.0 * (signal / noise).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reference: &[f32], package: &[f32]) -> ElementErrors {
        let mut errors = ElementErrors::new(1.0 / 1024.0);
        errors.add(reference, package);
        errors
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn by_hand() {
        // Errors 0, 0.5, 0, 0.5: Σ = 1, Σ² = 0.5, mse = 0.125; Σ|r| = 10, Σr² = 30, peak = 4.
        let errors = of(&[1.0, -2.0, 3.0, 4.0], &[1.0, -1.5, 3.0, 3.5]);
        assert_eq!(errors.count(), 4);
        assert_eq!(errors.max_abs(), 0.5);
        close(errors.mean_abs(), 0.25);
        close(errors.relative(), 0.1);
        close(errors.psnr(), 10.0 * (16.0f64 / 0.125).log10());
        close(errors.sqnr(), 10.0 * (30.0f64 / 0.5).log10());
    }

    #[test]
    fn does_not_depend_on_how_elements_are_sliced() {
        let (reference, package) = ([1.0, -2.0, 3.0, 4.0], [1.5, -2.0, 2.0, 4.0]);
        let whole = of(&reference, &package);
        let mut parts = ElementErrors::new(1.0 / 1024.0);
        for at in 0..4 {
            parts.add(&reference[at..=at], &package[at..=at]);
        }
        close(whole.psnr(), parts.psnr());
        close(whole.sqnr(), parts.sqnr());
        close(whole.mean_abs(), parts.mean_abs());
    }

    #[test]
    fn exact_is_infinite_and_nothing_from_nothing_too() {
        assert_eq!(of(&[1.0, 2.0], &[1.0, 2.0]).psnr(), f64::INFINITY);
        assert_eq!(of(&[0.0], &[0.0]).sqnr(), f64::INFINITY);
        assert_eq!(of(&[0.0], &[1.0]).psnr(), f64::NEG_INFINITY);
        assert_eq!(of(&[0.0], &[1.0]).relative(), f64::INFINITY);
        assert_eq!(of(&[0.0], &[0.0]).relative(), 0.0);
    }

    #[test]
    fn what_is_not_finite_hides_nothing() {
        let errors = of(&[1.0, f32::INFINITY, 2.0], &[f32::NAN, 1.0, 2.25]);
        assert_eq!((errors.count(), errors.max_abs()), (1, 0.25));
        assert!(errors.psnr().is_finite());
    }

    #[test]
    fn bins_are_octaves() {
        let errors = of(&[0.0; 6], &[0.0, 0.25, 0.3, 0.5, -1.0, 1.9]);
        let found: Vec<_> = errors
            .error_bins()
            .iter()
            .map(|bin| (bin.exponent, bin.count))
            .collect();
        assert_eq!(found, [(None, 1), (Some(-2), 2), (Some(-1), 1), (Some(0), 2)]);
        let counted: u64 = errors.step_bins().iter().map(|bin| bin.count).sum();
        assert_eq!(counted, errors.count());
        assert_eq!(of(&[], &[]).error_bins(), []);
    }

    #[test]
    fn quantiles_are_bounds_from_above_within_a_sixteenth() {
        let package: Vec<f32> = (1..=1000u16).map(|step| f32::from(step) * 1e-3).collect();
        let errors = of(&[0.0; 1000], &package);
        let p99 = errors.quantile_abs(0.99);
        assert!((0.99..=0.99 * (1.0 + 1.0 / 16.0)).contains(&p99), "{p99}");
        assert_eq!(of(&[1.0; 8], &[1.0; 8]).quantile_abs(0.99), 0.0);
        assert_eq!(of(&[], &[]).quantile_abs(0.99), 0.0);
        // 1 in 100 is wrong: the 99th percentile is not the maximum.
        let mut package = [0.0f32; 100];
        package[50] = 5.0;
        assert_eq!(of(&[0.0; 100], &package).quantile_abs(0.99), 0.0);
        assert_eq!(of(&[0.0; 100], &package).quantile_abs(1.0), 5.0);
    }
}
