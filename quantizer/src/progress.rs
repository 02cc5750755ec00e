//! Telling someone how far the work is.

/// Hears about steps of long work. Calls come from any thread.
pub trait Progress: Sync {
    /// A step begins; `total` units are to be done, 0 when not known.
    fn start(&self, step: &str, total: u64);
    /// So many units more are done.
    fn advance(&self, done: u64);
    /// The step is over.
    fn finish(&self);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
}
