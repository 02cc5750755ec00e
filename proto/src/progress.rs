//! How long operations report progress; bars belong to the command line.

/// Told how many bytes are done. Calls may come from several threads.
pub trait Progress: Sync {
    /// Work on `total_bytes` begins.
    fn start(&self, total_bytes: u64) {
        let _ = total_bytes;
    }

    /// Another `bytes` are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// The work is done.
    fn finish(&self) {}
}

/// Reports to nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
