//! A process for what a test does to itself: namespaces, roots, filters.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sched::{CloneFlags, unshare};
use runc_rs::sys::{Fork, exit_now, fork};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

/// Where ids of user namespaces made here begin on the host.
pub(crate) const HOST_ID: u32 = 100_000;
pub(crate) const IDS: u32 = 65_536;

/// Runs `work` in a child and returns what it returned; its panics become the
/// caller's.
#[track_caller]
pub(crate) fn in_child(work: impl FnOnce() -> String) -> String {
    let (read, write) = rustix::pipe::pipe().unwrap();
    match fork().unwrap() {
        Fork::Child => {
            drop(read);
            end(write, work)
        }
        Fork::Parent(child) => {
            drop(write);
            outcome(read, child)
        }
    }
}

/// The same in a new user namespace, as its root.
#[track_caller]
pub(crate) fn in_user_namespace(work: impl FnOnce() -> String) -> String {
    in_user_namespace_of(|| (), work, |_| ())
}

/// The same; `before` runs in the child, still as root of the host, `beside` in
/// the caller, with the child's pidfd, once its namespace is complete.
#[track_caller]
pub(crate) fn in_user_namespace_of(
    before: impl FnOnce(),
    work: impl FnOnce() -> String,
    beside: impl FnOnce(OwnedFd) + Send,
) -> String {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (ready, is_ready) = rustix::pipe::pipe().unwrap();
    let (mapped, is_mapped) = rustix::pipe::pipe().unwrap();
    let child = match fork().unwrap() {
        Fork::Child => {
            drop((read, ready, is_mapped));
            end(write, || {
                before();
                unshare(CloneFlags::CLONE_NEWUSER).unwrap();
                drop(is_ready);
                wait(mapped);
                become_root();
                work()
            })
        }
        Fork::Parent(child) => child,
    };
    drop((write, is_ready, mapped));
    wait(ready);
    map(child, &format!("0 {HOST_ID} {IDS}"));
    let pidfd = pidfd_open(child, PidfdFlags::empty()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| beside(pidfd));
        drop(is_mapped);
        outcome(read, child)
    })
}

/// Returns a user namespace with these mappings, lines of `uid_map`.
pub(crate) fn user_namespace(map_text: &str) -> OwnedFd {
    let (ready, is_ready) = rustix::pipe::pipe().unwrap();
    let (over, is_over) = rustix::pipe::pipe().unwrap();
    let child = match fork().unwrap() {
        Fork::Child => {
            unshare(CloneFlags::CLONE_NEWUSER).unwrap();
            drop((is_ready, is_over));
            wait(over);
            exit_now(0)
        }
        Fork::Parent(child) => child,
    };
    drop((is_ready, over));
    wait(ready);
    map(child, map_text);
    let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
    let namespace = File::open(path).unwrap();
    drop(is_over);
    waitpid(Some(child), WaitOptions::empty()).unwrap();
    namespace.into()
}

fn become_root() {
    let (gid, uid) = (rustix::process::Gid::ROOT, rustix::process::Uid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    rustix::thread::set_thread_groups(&[]).unwrap();
}

fn map(child: Pid, text: &str) {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", child.as_raw_nonzero());
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// Waits until the other side of a pipe is closed.
fn wait(pipe: OwnedFd) {
    File::from(pipe).read_to_end(&mut Vec::new()).unwrap();
}

fn end(pipe: OwnedFd, work: impl FnOnce() -> String) -> ! {
    let done = catch_unwind(AssertUnwindSafe(work));
    let text = match done {
        Ok(text) => format!("+{text}"),
        Err(panic) => {
            let owned = panic.downcast_ref::<String>().cloned();
            let text = owned.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            format!("-{}", text.unwrap_or_default())
        }
    };
    let written = File::from(pipe).write_all(text.as_bytes());
    exit_now(i32::from(written.is_err()))
}

#[track_caller]
fn outcome(pipe: OwnedFd, child: Pid) -> String {
    let mut text = String::new();
    File::from(pipe).read_to_string(&mut text).unwrap();
    waitpid(Some(child), WaitOptions::empty()).unwrap();
    match text.split_at_checked(1) {
        Some(("+", text)) => text.to_owned(),
        Some((_, text)) => panic!("in the child: {text}"),
        None => panic!("the child ended without a word"),
    }
}

/// Sends a descriptor over a socket.
pub(crate) fn send(socket: &std::os::unix::net::UnixStream, descriptor: &OwnedFd) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let data = [std::io::IoSlice::new(b"x")];
    sendmsg(socket, &data, &mut control, SendFlags::empty()).unwrap();
}
