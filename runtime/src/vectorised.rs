//! Running plain loops with the widest vector instructions this machine has.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, compiled once for each set of vector instructions, so that its loops become vector code.
///
/// `work` must be marked `#[inline(always)]` and must write to something it borrows: only a closure that is called
/// through `FnMut` itself is inlined where the instructions are enabled. (Called through `FnOnce`, a closure of
/// another kind goes by a shim that is not, and every fused multiply-add in it becomes a function call.)
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
