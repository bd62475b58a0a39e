//! `recvtty`: takes the terminals of containers and reads them. `--mode null`
//! takes as many as come and throws away what they say; `single` takes one and
//! copies it to and from the standard streams.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

use crate::arguments::Arguments;
use crate::descriptor;

/// # Errors
/// When the socket cannot be bound, or a single terminal not be read.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = Path::new(arguments.word(0)?);
    arguments.write_pid_file()?;
    match arguments.option("mode").unwrap_or("single") {
        "null" => discard_all(path),
        "single" => copy_one(path, arguments.option("no-stdin").is_none()),
        other => bail!("there is no mode {other:?}"),
    }
}

fn discard_all(path: &Path) -> Result<()> {
    let listener = descriptor::listen(path)?;
    loop {
        let (stream, _) = listener.accept().context("accept a connection")?;
        std::thread::spawn(move || match descriptor::receive(&stream) {
            Ok((_, terminal)) => drop(copy(&mut File::from(terminal), &mut io::sink())),
            // A runtime that fails hangs up; there may be nobody to be told.
            Err(error) => drop(writeln!(io::stderr(), "recvtty: {error:#}")),
        });
    }
}

fn copy_one(path: &Path, with_stdin: bool) -> Result<()> {
    let listener = descriptor::listen(path)?;
    let (stream, _) = listener.accept().context("accept a connection")?;
    drop(listener);
    let (_, terminal) = descriptor::receive(&stream)?;
    keep_newlines(&terminal)?;
    let mut terminal = File::from(terminal);
    let mut input = terminal.try_clone().context("duplicate the terminal")?;
    let typing =
        with_stdin.then(|| std::thread::spawn(move || copy(&mut io::stdin().lock(), &mut input)));
    copy(&mut terminal, &mut io::stdout().lock()).context("read the terminal")?;
    match typing.map(std::thread::JoinHandle::join) {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error).context("write to the terminal"),
        Some(Err(_)) => bail!("the thread of the input panicked"),
    }
}

/// Copies until the end; of a terminal that is an error of its own.
fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<()> {
    match io::copy(from, to) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map(drop),
    }
}

fn keep_newlines(terminal: &OwnedFd) -> Result<()> {
    let mut settings = tcgetattr(terminal).context("read the terminal's settings")?;
    settings.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(terminal, OptionalActions::Now, &settings).context("set up the terminal")
}
