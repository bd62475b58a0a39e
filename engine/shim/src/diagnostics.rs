//! What the shim has to say about itself: `shim.log`, bounded.
//!
//! It is for what nobody else is told: an append that is retried, a runtime
//! command of its own that failed. Answers to requests do not come here.

use std::fmt::Display;
use std::io::Write as _;

use base::Timestamp;

/// No more is written in the life of a shim.
const LIMIT_BYTES: usize = 64 * 1024;

/// Writes to standard error, which is `shim.log` once the shim is ready.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    written: usize,
}

impl Diagnostics {
    /// Writes one line; past the limit it writes nothing.
    pub(crate) fn report(&mut self, message: impl Display) {
        let line = format!("{} {message}\n", Timestamp::now());
        self.written += line.len();
        if self.written <= LIMIT_BYTES {
            // There is nobody left to tell that this failed.
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
    }
}
