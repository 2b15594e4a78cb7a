//! Ctrl-C and termination: noted here, acted upon between blocks of work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

/// The first signal that asked the program to end, if any.
#[derive(Debug, Clone)]
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Starts to listen. A second signal of the same kind ends the program at once.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            let again = Arc::new(AtomicBool::new(false));
            // In this order: the first signal finds `again` unset, sets it, and is noted.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            flag::register(signal, again)?;
            flag::register_usize(signal, Arc::clone(&received), number)?;
        }
        // Heard and left at that, so that a limit on the size of files makes `write` fail and does not kill.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        rankfold::format::truncation::survive()?;
        Ok(Signals(received))
    }

    /// Number of the signal that was received.
    pub(crate) fn received(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            number => u8::try_from(number).ok(),
        }
    }
}
