//! How long publishing takes, told to whoever draws bars.

/// Told how many bytes are done.
pub trait Progress: Sync {
    /// A step begins that handles `total` bytes.
    fn start(&self, step: &str, total: u64) {
        let _ = (step, total);
    }

    /// Another `bytes` are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// The step is done.
    fn finish(&self) {}
}

/// Reports to nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
