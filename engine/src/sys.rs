//! The system calls of the engine that no crate has a safe function for.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Groups a process can be in, as the kernel limits them (`NGROUPS_MAX`).
const GROUPS_LIMIT: usize = 65_536;

/// Returns the further groups of the process at the other end of a unix socket,
/// as they were when it connected.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> std::io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; GROUPS_LIMIT];
    let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at
    // most `length` bytes to the buffer, which has that many, and every value is
    // a valid group.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<libc::gid_t>());
    Ok(groups)
}

/// Returns how much memory the other end of a unix socket has yet to read, in bytes; 0
/// when it has read everything.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> std::io::Result<usize> {
    let mut queued: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(usize::try_from(queued).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_read_is_not_unread() {
        use std::io::{Read as _, Write as _};
        let (mut here, mut there) = UnixStream::pair().unwrap();
        assert_eq!(unread(here.as_fd()).unwrap(), 0);
        here.write_all(b"head").unwrap();
        assert!(unread(here.as_fd()).unwrap() > 0);
        there.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unread(here.as_fd()).unwrap(), 0);
    }

    #[test]
    fn the_groups_of_a_peer_are_its_own() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(here.as_fd()).unwrap();
        let mut own: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
    }
}
