//! How long verification takes, told to whoever draws bars.

/// Told how many input rows are done.
pub trait Progress: Sync {
    /// A step begins that handles `total` input rows; 0 when it can't be counted.
    fn start(&self, step: &str, total: u64) {
        let _ = (step, total);
    }

    /// Another `rows` are done.
    fn advance(&self, rows: u64) {
        let _ = rows;
    }

    /// The step is done.
    fn finish(&self) {}

    /// Whether someone wants it to stop. What was found until then is reported, as a part.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Reports to nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
