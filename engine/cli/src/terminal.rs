//! The user's terminal: raw mode, and how large it is.

use std::fs::File;
use std::io;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub height: u16,
    pub width: u16,
}

/// Returns whether `file` is a terminal.
pub(crate) fn is_terminal(file: &File) -> bool {
    std::io::IsTerminal::is_terminal(file)
}

/// Returns the size of the terminal `file`, `None` if it is none or does not know.
pub(crate) fn size(file: &File) -> Option<Size> {
    let size = tcgetwinsize(file).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(Size {
        height: size.ws_row,
        width: size.ws_col,
    })
}

/// A terminal that does not show what is typed; dropping it brings the old mode back.
#[derive(Debug)]
pub(crate) struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    /// Turns the echo of the terminal `file` off.
    ///
    /// # Errors
    /// When it is no terminal.
    pub(crate) fn enter(file: &File) -> io::Result<Self> {
        let terminal = file.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Drain, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        tcsetattr(&self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

/// A terminal that passes every key on; dropping it brings the old mode back.
#[derive(Debug)]
pub(crate) struct RawMode {
    terminal: File,
    before: Termios,
}

impl RawMode {
    /// Puts the terminal `file` into raw mode.
    ///
    /// # Errors
    /// When it is no terminal.
    pub(crate) fn enter(file: &File) -> io::Result<Self> {
        let terminal = file.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        tcsetattr(&self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}
