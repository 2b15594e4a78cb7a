//! Streams: data to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rankfold::observe::Observer;

use super::signals::Signals;

/// Progress and warnings on standard error; learns of signals.
pub(crate) struct Terminal {
    signals: Signals,
    quiet: bool,
    bar: Mutex<ProgressBar>,
}

impl Terminal {
    /// Progress is drawn only where standard error is a terminal.
    pub(crate) fn new(signals: Signals, quiet: bool) -> Self {
        Terminal { signals, quiet, bar: Mutex::new(ProgressBar::hidden()) }
    }

    fn draws(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    fn with_bar<T>(&self, act: impl FnOnce(&mut ProgressBar) -> T) -> T {
        // A poisoned lock only means that another thread failed while drawing.
        act(&mut self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Prints a line of progress above the bar, where progress is shown.
    #[cfg(feature = "train")]
    pub(crate) fn note(&self, line: &str) {
        if self.draws() {
            self.with_bar(|bar| bar.suspend(|| eprintln!("{line}")));
        }
    }

    /// Removes the progress bar.
    pub(crate) fn clear(&self) {
        self.with_bar(|bar| bar.finish_and_clear());
    }
}

impl Observer for Terminal {
    fn stage(&self, verb: &str, subject: &str, total: u64) {
        if !self.draws() {
            return;
        }
        self.with_bar(|bar| {
            bar.finish_and_clear();
            *bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {percent:>3} % {binary_bytes_per_sec}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(format!("{verb} {}", subject.escape_debug()));
            bar.enable_steady_tick(Duration::from_millis(200));
        });
    }

    fn advance(&self, units: u64) {
        if self.draws() {
            self.with_bar(|bar| bar.inc(units));
        }
    }

    fn warn(&self, message: &str) {
        if !self.quiet {
            self.with_bar(|bar| bar.suspend(|| eprintln!("warning: {message}")));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.signals.received().is_some()
    }
}

/// Writes `text` to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes `value` to standard output as one JSON document.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    // Through `Value`, whose objects sort their keys.
    let mut text = serde_json::to_string_pretty(&serde_json::to_value(value)?)?;
    text.push('\n');
    print(&text)?;
    Ok(())
}
