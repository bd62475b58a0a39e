//! The file of `--pid-file`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base::file::{FileMode, PathContext as _, PathError, replace};
use rustix::fs::OFlags;

/// Writes a process id to `path`: a reader sees all of it or none. What is there and
/// no file, `/dev/null` say, is written to and not replaced.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(path: &Path, pid: i32) -> Result<(), PathError> {
    let text = pid.to_string();
    let written = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => write_into(path, &text),
        _ => replace(path, text.as_bytes(), FileMode::Public).map_err(|error| error.source),
    };
    written.at("write the pid file", path)
}

fn write_into(path: &Path, text: &str) -> io::Result<()> {
    // A FIFO that nobody reads must not be waited for.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let flags = flags.bits().cast_signed();
    let mut file = options.write(true).custom_flags(flags).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_fifo_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (file, fifo) = (folder.path().join("file"), folder.path().join("fifo"));
        replace(&file, b"something longer", FileMode::Public).unwrap();
        write(&file, 42).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "42");

        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let unread = write(&fifo, 42).unwrap_err();
        assert_eq!(unread.source.raw_os_error(), Some(libc::ENXIO));
        let both = OpenOptions::new().read(true).write(true).open(&fifo);
        let reader = both.unwrap();
        write(&fifo, 42).unwrap();
        let mut read = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut read), Ok(2));
        assert_eq!(&read[..2], b"42");
    }

    #[test]
    fn an_error_names_the_file_that_was_asked_for() {
        let error = write(Path::new("/nowhere/pid"), 42).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"cannot write the pid file "/nowhere/pid""#
        );
    }
}
