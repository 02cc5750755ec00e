//! A result that several threads fill at once, each its own rectangles: the one place where exclusive access is
//! promised instead of proven.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// Memory lent for writing by several threads.
#[derive(Debug)]
pub(crate) struct Tiles<'a> {
    start: *mut f32,
    length: usize,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: `Tiles` stands for a `&mut [f32]`, which may be sent; access from several threads goes through
// `segment`, whose callers promise that segments in use at one time don't overlap.
unsafe impl Send for Tiles<'_> {}
// SAFETY: as above.
unsafe impl Sync for Tiles<'_> {}

impl<'a> Tiles<'a> {
    /// Lends all of `memory`.
    pub(crate) fn new(memory: &'a mut [f32]) -> Self {
        Self {
            start: memory.as_mut_ptr(),
            length: memory.len(),
            lent: PhantomData,
        }
    }

    /// `length` words from `start` on.
    ///
    /// # Safety
    /// No other segment that is in use at the same time may overlap this one.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // the point of this type
    pub(crate) unsafe fn segment(&self, start: usize, length: usize) -> &mut [f32] {
        assert!(
            start <= self.length && length <= self.length - start,
            "segment outside the result"
        );
        // SAFETY: in bounds as asserted; the memory is borrowed mutably for 'a by `new`, and not aliased by the
        // caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
