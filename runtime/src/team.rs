//! Splitting work over threads so that no result depends on how many there are.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// The threads an executable computes with.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    /// None when one thread is enough: the caller's.
    pool: Option<Arc<ThreadPool>>,
    count: usize,
}

/// The pool of all executables that take as many threads as the machine offers.
static SHARED: Mutex<Option<Arc<ThreadPool>>> = Mutex::new(None);

impl Threads {
    /// So many threads, or as many as the machine offers.
    pub(crate) fn new(threads: Option<usize>) -> Result<Self, ThreadPoolBuildError> {
        let offered = std::thread::available_parallelism().map_or(1, NonZero::get);
        let count = threads.unwrap_or(offered).clamp(1, 1024);
        if count == 1 {
            return Ok(Self { pool: None, count });
        }
        let build = || {
            ThreadPoolBuilder::new()
                .num_threads(count)
                .thread_name(|index| format!("corer-runtime-{index}"))
                .build()
                .map(Arc::new)
        };
        if threads.is_some() {
            return Ok(Self {
                pool: Some(build()?),
                count,
            });
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match &*shared {
            Some(pool) => Arc::clone(pool),
            None => shared.insert(build()?).clone(),
        };
        Ok(Self {
            pool: Some(pool),
            count,
        })
    }

    /// The team work inside [`Self::install`] is split over.
    pub(crate) const fn team(&self) -> Team {
        Team::of(self.count)
    }

    /// Runs `work` on the pool and waits for it.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

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
    pub(crate) fn pieces<T: Send>(
        self,
        out: &mut [T],
        length: usize,
        job: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
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
