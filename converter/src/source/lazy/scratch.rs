//! Small buffers each thread keeps for converting, so that reading a tensor allocates nothing that grows with it.

use std::cell::RefCell;

/// Elements a buffer holds at most: 64 KiB, which stays in the second-level cache beside its results.
pub(super) const CAPACITY: usize = 1 << 14;

thread_local! {
    /// Buffers not in use; more than one when a rearrangement reads another.
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Lends a buffer of `len` elements (at most [`CAPACITY`]) with unspecified contents.
pub(super) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    debug_assert!(len <= CAPACITY);
    let mut buffer = FREE
        .with(|free| free.borrow_mut().pop())
        .unwrap_or_else(|| vec![0.0; CAPACITY]);
    let result = work(&mut buffer[..len]);
    FREE.with(|free| free.borrow_mut().push(buffer));
    result
}
