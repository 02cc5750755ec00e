//! Progress on stderr: bars when someone is watching, nothing otherwise.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether an interrupt has come; those who can stop half-way look at it.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Notes an interrupt; true when one had come before.
pub(crate) fn interrupt() -> bool {
    INTERRUPTED.swap(true, Ordering::Relaxed)
}

/// Draws one bar at a time, for whichever step runs.
pub(crate) struct Bars {
    watched: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Bars on stderr; none when `quiet` or when stderr is no terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            watched: !quiet && stderr().is_terminal(),
            bar: Mutex::new(None),
        }
    }

    fn begin(&self, step: &str, total: u64, counter: &str) {
        self.with_bar(|slot| {
            let line = match total {
                0 => "{prefix:>20.cyan.bold}".to_owned(),
                _ => format!("{{prefix:>20.cyan.bold}} [{{bar:32}}] {counter}"),
            };
            let style = ProgressStyle::with_template(&line).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10))
                .with_style(style.progress_chars("=> "))
                .with_prefix(step.to_owned());
            bar.tick();
            *slot = Some(bar);
        });
    }

    fn more(&self, done: u64) {
        self.with_bar(|slot| {
            if let Some(bar) = slot {
                bar.inc(done);
            }
        });
    }

    fn end(&self) {
        self.with_bar(|slot| {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
        });
    }

    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        if self.watched {
            // A panic elsewhere must not hide behind a poisoned bar.
            act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl corer_proto::Progress for Bars {
    fn start(&self, total_bytes: u64) {
        self.begin("writing", total_bytes, "{binary_bytes}/{binary_total_bytes}");
    }

    fn advance(&self, bytes: u64) {
        self.more(bytes);
    }

    fn finish(&self) {
        self.end();
    }
}

impl corer_quantizer::Progress for Bars {
    fn start(&self, step: &str, total: u64) {
        self.begin(step, total, "{percent}%");
    }

    fn advance(&self, done: u64) {
        self.more(done);
    }

    fn finish(&self) {
        self.end();
    }
}

impl corer_verifier::Progress for Bars {
    fn start(&self, step: &str, total: u64) {
        self.begin(step, total, "{pos}/{len}");
    }

    fn advance(&self, rows: u64) {
        self.more(rows);
    }

    fn finish(&self) {
        self.end();
    }

    fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

impl corer_publisher::Progress for Bars {
    fn start(&self, step: &str, total: u64) {
        self.begin(step, total, "{binary_bytes}/{binary_total_bytes}");
    }

    fn advance(&self, bytes: u64) {
        self.more(bytes);
    }

    fn finish(&self) {
        self.end();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // An error leaves the bar half drawn; its message should not stand behind it.
        self.end();
    }
}
