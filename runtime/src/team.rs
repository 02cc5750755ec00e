//! Splitting work over threads so that no result depends on how many there are.

use rayon::prelude::*;

/// The threads a computation may use: those of the rayon pool it runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Team {
    threads: usize,
}

impl Team {
    /// One thread: the caller's.
    pub(crate) const ALONE: Self = Self { threads: 1 };

    /// Threads of the current rayon pool.
    pub(crate) const fn of(threads: usize) -> Self {
        Self { threads }
    }

    /// How many threads there are.
    pub(crate) const fn threads(self) -> usize {
        self.threads
    }

    /// Calls `job` once for each number below `jobs`, in any order.
    pub(crate) fn each(self, jobs: usize, job: impl Fn(usize) + Sync + Send) {
        if self.threads <= 1 || jobs <= 1 {
            (0..jobs).for_each(job);
        } else {
            (0..jobs).into_par_iter().with_max_len(1).for_each(job);
        }
    }

    /// Cuts `out` into pieces of `length` (the last may be shorter) and calls `job` for each with its number.
    pub(crate) fn pieces<T: Send>(self, out: &mut [T], length: usize, job: impl Fn(usize, &mut [T]) + Sync + Send) {
        let length = length.max(1);
        if self.threads <= 1 || out.len() <= length {
            out.chunks_mut(length)
                .enumerate()
                .for_each(|(index, piece)| job(index, piece));
        } else {
            out.par_chunks_mut(length)
                .enumerate()
                .with_max_len(1)
                .for_each(|(index, piece)| job(index, piece));
        }
    }
}
