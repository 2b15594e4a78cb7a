//! How a long computation tells what it has done, and learns that it should stop.

use crate::error::{Error, Result};

/// Receives progress and answers whether to go on. Called from several threads.
pub trait Observer: Sync {
    /// A stage begins: what it does ("factorize", "write"), on what, and how many units (bytes) it has.
    fn stage(&self, _verb: &str, _subject: &str, _total: u64) {}

    /// `units` more of the present stage are done.
    fn advance(&self, _units: u64) {}

    /// Something the user should know that stops nothing.
    fn warn(&self, _message: &str) {}

    /// A stretch begins that does not keep every core busy: what else there is to do can be done beside it.
    fn leaves_cores_idle(&self) {}

    /// Whether the caller wants the computation to end.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Turns a wish to end into an error; to be called between blocks of work.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Interrupted`] once [`Observer::is_cancelled`] says so.
    fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

/// Hears nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
