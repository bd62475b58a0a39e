//! Users and groups of a container, from its own `etc/passwd` and `etc/group`.
//!
//! The files belong to the container, hence are hostile: they are opened below
//! a descriptor of its root with `openat2`, must be regular, and are read up
//! to a limit. The name service of the C library is never asked, since it
//! would load modules out of the image.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// More than any real file; what lies behind it is not read.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// A line of a passwd file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

/// Returns the user with `uid`, if the container's passwd file has one.
pub fn user_by_uid(root: BorrowedFd<'_>, uid: u32) -> Option<User> {
    let text = read(root, "etc/passwd")?;
    users(&text).find(|user| user.uid == uid)
}

/// Returns the user called `name`, if the container's passwd file has one.
pub fn user_by_name(root: BorrowedFd<'_>, name: &str) -> Option<User> {
    let text = read(root, "etc/passwd")?;
    users(&text).find(|user| user.name == name)
}

/// Returns the id of the group called `name`, if the container's group file
/// has one.
pub fn group_by_name(root: BorrowedFd<'_>, name: &str) -> Option<u32> {
    let text = read(root, "etc/group")?;
    text.lines().find_map(|line| parse_group(line, name))
}

/// Returns what HOME is for `uid`: the passwd file's answer, else `/`.
pub fn home_of(root: BorrowedFd<'_>, uid: u32) -> String {
    user_by_uid(root, uid)
        .map(|user| user.home)
        .filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned())
}

fn read(root: BorrowedFd<'_>, path: &str) -> Option<String> {
    // Non-blocking: a FIFO in its place must not hang us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(root, path, flags, Mode::empty(), resolve).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn users(text: &str) -> impl Iterator<Item = User> + '_ {
    text.lines().filter_map(parse_user)
}

fn parse_user(line: &str) -> Option<User> {
    let mut fields = line.trim_end().split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?;
    Some(User {
        name: name.to_owned(),
        uid,
        gid,
        home: home.to_owned(),
    })
}

fn parse_group(line: &str, wanted: &str) -> Option<u32> {
    let mut fields = line.trim_end().split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    (name == wanted).then_some(gid)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn lines_parse_and_broken_ones_are_skipped() {
        let text = "broken\n:x:0:0::/:\nroot:x:0:0:root:/root:/bin/sh\nbig:x:99999999999:0::/:\nweb:x:33:34:a:b\n";
        let all: Vec<_> = users(text)
            .map(|u| (u.name, u.uid, u.gid, u.home))
            .collect();
        let root = ("root".to_owned(), 0, 0, "/root".to_owned());
        let web = ("web".to_owned(), 33, 34, "b".to_owned());
        assert_eq!(all, [root, web]);
        assert_eq!(parse_group("wheel:x:10:a,b", "wheel"), Some(10));
        assert_eq!(parse_group("wheel:x:10:a,b", "whee"), None);
    }

    #[test]
    fn a_passwd_that_links_out_of_the_root_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/passwd")).unwrap();
        let handle = File::open(root.path()).unwrap();
        assert_eq!(user_by_uid(handle.as_fd(), 0), None);
        assert_eq!(home_of(handle.as_fd(), 0), "/");
    }

    #[test]
    fn a_fifo_in_place_of_passwd_does_not_hang() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let fifo = root.path().join("etc/passwd");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let handle = File::open(root.path()).unwrap();
        assert_eq!(user_by_uid(handle.as_fd(), 0), None);
    }
}
