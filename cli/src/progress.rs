//! Progress on stderr: bars when someone is watching, nothing otherwise.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws one bar at a time, for whichever step runs.
pub(crate) struct Bars {
    step: &'static str,
    watched: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Bars for a step; none when `quiet` or when stderr is no terminal.
    pub(crate) fn new(step: &'static str, quiet: bool) -> Self {
        Self {
            step,
            watched: !quiet && stderr().is_terminal(),
            bar: Mutex::new(None),
        }
    }

    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        if self.watched {
            // A panic elsewhere must not hide behind a poisoned bar.
            act(&mut self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        }
    }
}

impl corer_proto::Progress for Bars {
    fn start(&self, total_bytes: u64) {
        self.with_bar(|slot| {
            let style = ProgressStyle::with_template(
                "{prefix:>12.cyan.bold} [{bar:32}] {binary_bytes}/{binary_total_bytes}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
            let bar =
                ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr_with_hz(10))
                    .with_style(style)
                    .with_prefix(self.step);
            bar.tick();
            *slot = Some(bar);
        });
    }

    fn advance(&self, bytes: u64) {
        self.with_bar(|slot| {
            if let Some(bar) = slot {
                bar.inc(bytes);
            }
        });
    }

    fn finish(&self) {
        self.with_bar(|slot| {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
        });
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // An error leaves the bar half drawn; its message should not stand behind it.
        corer_proto::Progress::finish(self);
    }
}
