//! Keeps what this process inherited from reaching the daemon it starts: a
//! pipe of somebody's script must not stay open for as long as the daemon runs.

use std::os::fd::RawFd;

use base::PathError;
use base::file::PathContext as _;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

const DESCRIPTORS: &str = "/proc/self/fd";

/// Marks every descriptor but the three standard ones close-on-exec.
///
/// # Errors
/// When procfs is not mounted.
pub(super) fn close_on_exec() -> Result<(), PathError> {
    for entry in std::fs::read_dir(DESCRIPTORS).at("list", DESCRIPTORS)? {
        let name = entry.at("list", DESCRIPTORS)?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            match fcntl(number, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
                // The descriptor of the listing itself is closed by now.
                Ok(_) | Err(Errno::EBADF) => {}
                Err(error) => return Err(error).at("mark", DESCRIPTORS),
            }
        }
    }
    Ok(())
}
