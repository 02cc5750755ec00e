//! Running plain loops with the widest vector instructions this machine has.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, compiled once for each set of vector instructions.
///
/// `work` must be `#[inline(always)]` and write to something it borrows, else the compiler reaches it through a shim
/// that knows nothing of the instructions.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnMut() -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Work(work))
}

/// Adding and taking away 1.5 · 2²³ rounds to the nearest integer, ties to even, and leaves that integer's low bits in
/// the sum's: a vector instruction each, for numbers below 2²².
pub(crate) const ROUND: f32 = 12_582_912.0;
