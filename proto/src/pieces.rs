//! Works on a file piece by piece with several threads and little memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes per piece. Part of the digest's definition (see [`crate::package_digest`]), so it can't change; a piece
/// fits a core's second-level cache, where it is produced, hashed and handed to the system in one go.
pub(crate) const PIECE: usize = 1 << 20;

/// How many pieces `len` bytes make.
pub(crate) fn count(len: u64) -> usize {
    usize::try_from(len.div_ceil(PIECE as u64)).unwrap_or(usize::MAX)
}

/// Threads to use when asked for `wanted`.
pub(crate) fn threads(wanted: Option<usize>) -> usize {
    wanted
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1)
}

/// Calls `work` with each piece's offset and a buffer of its length, and gathers the results in order.
///
/// # Errors
/// The error of the first piece (in file order) that fails, whatever the number of threads.
pub(crate) fn for_each<T: Send, E: Send>(
    len: u64,
    threads: usize,
    work: impl Fn(u64, &mut [u8]) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let pieces = count(len);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    // Pieces are handed out in order and each is finished once begun, so the first to fail is always among these.
    let failed: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let worker = || {
        let mut done = Vec::new();
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(PIECE).min(PIECE)];
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= pieces {
                break;
            }
            let offset = index as u64 * PIECE as u64;
            let size = usize::try_from(len - offset).unwrap_or(PIECE).min(PIECE);
            match work(offset, &mut buffer[..size]) {
                Ok(result) => done.push((index, result)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                        *failed = Some((index, error));
                    }
                }
            }
        }
        done
    };
    let mut results = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(pieces))
            // Where the system gives no more threads, those there are do the work.
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, worker).ok())
            .collect();
        let mut results = worker();
        for helper in helpers {
            match helper.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    if let Some((_, error)) = failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        return Err(error);
    }
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_failure_wins() {
        let len = 37 * PIECE as u64 + 5;
        for threads in [1, 2, 8] {
            let sizes = for_each(len, threads, |offset, piece| Ok::<_, ()>((offset, piece.len()))).unwrap();
            assert_eq!(sizes.len(), 38);
            assert!(
                sizes
                    .iter()
                    .enumerate()
                    .all(|(index, (offset, _))| *offset == (index * PIECE) as u64)
            );
            assert_eq!(sizes[37].1, 5);
            let error = for_each(len, threads, |offset, _| {
                if offset >= 9 * PIECE as u64 {
                    Err(offset)
                } else {
                    Ok(())
                }
            });
            assert_eq!(error, Err(9 * PIECE as u64));
        }
        assert_eq!(for_each(0, 2, |_, _| Ok::<_, ()>(())), Ok(vec![]));
    }
}
