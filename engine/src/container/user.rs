//! Looking up a user in a root filesystem.
//!
//! The image is hostile: its passwd and group files are opened below the root
//! by descriptor, must be regular, and are read to a bound.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use base::PathContext as _;
use engine_archive::root::Root;
use engine_model::plan::ResolvedUser;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::error::{OrFail as _, Result, invalid};

/// A passwd or group file is read to this size.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Resolves `user[:group]`, names or numbers, and further groups.
///
/// # Errors
/// Invalid, with Docker's sentence, for a name the root filesystem does not know.
pub fn resolve(rootfs: &Path, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let root = rustix::fs::open(
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", rootfs)
    .or_internal()?;
    let passwd = read_in_root(&root, "etc/passwd");
    let group = read_in_root(&root, "etc/group");
    lookup(&passwd, &group, user, groups)
}

/// Returns the ids of `user[:group]` in a root that is open.
///
/// # Errors
/// A message, for a name that it does not know.
pub fn ids_in(root: &Root, user: &str) -> Result<(u32, u32), String> {
    let read = |path: &str| {
        let file = root.open_path(
            path.as_ref(),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        );
        file.map(read_regular).unwrap_or_default()
    };
    let (passwd, group) = (read("etc/passwd"), read("etc/group"));
    let found = lookup(&passwd, &group, user, &[]).map_err(|failure| failure.message)?;
    Ok((found.uid, found.gid))
}

/// A file that is missing, or is not a regular file, names nobody.
fn read_in_root(root: &OwnedFd, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(file) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) else {
        return String::new();
    };
    read_regular(file)
}

fn read_regular(file: OwnedFd) -> String {
    let is_regular =
        rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let mut content = Vec::new();
    if !is_regular
        || File::from(file)
            .take(FILE_LIMIT_BYTES)
            .read_to_end(&mut content)
            .is_err()
    {
        return String::new();
    }
    String::from_utf8_lossy(&content).into_owned()
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        Some(PasswdEntry {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home,
        })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields[..] else {
            return None;
        };
        Some((name, gid.parse().ok()?, members))
    })
}

/// Numbers an id may have; the kernel reserves the highest.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= i32::MAX as u32)
}

fn lookup(passwd: &str, group: &str, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    refuse_high(user)?;
    let user = if user.is_empty() { "0" } else { user };
    let by_name = passwd_entries(passwd).find(|entry| entry.name == user);
    let entry =
        by_name.or_else(|| passwd_entries(passwd).find(|entry| Some(entry.uid) == number(user)));
    let uid = match (&entry, number(user)) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let gid = if wanted_group.is_empty() {
        entry.as_ref().map_or(0, |entry| entry.gid)
    } else {
        group_id(group, wanted_group)?
    };
    let mut additional_gids = Vec::new();
    // Memberships count only where the user did not choose a group.
    if let (Some(entry), true) = (&entry, wanted_group.is_empty()) {
        let is_member = |members: &str| members.split(',').any(|member| member == entry.name);
        additional_gids.extend(
            group_entries(group)
                .filter(|(_, _, m)| is_member(m))
                .map(|(_, gid, _)| gid),
        );
    }
    for name in groups {
        additional_gids.push(group_id(group, name)?);
    }
    additional_gids.insert(0, gid);
    let mut seen = std::collections::HashSet::new();
    additional_gids.retain(|gid| seen.insert(*gid));
    let home = entry.map_or(String::new(), |entry| entry.home.to_owned());
    Ok(ResolvedUser {
        uid,
        gid,
        additional_gids,
        home,
    })
}

/// A number that no id can be is told apart from a name that nobody has.
fn refuse_high(text: &str) -> Result<()> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && number(text).is_none() {
        return Err(invalid("uids and gids must be in range 0-2147483647"));
    }
    Ok(())
}

fn group_id(group: &str, wanted: &str) -> Result<u32> {
    refuse_high(wanted)?;
    let by_name = group_entries(group)
        .find(|(name, _, _)| *name == wanted)
        .map(|(_, gid, _)| gid);
    by_name.or_else(|| number(wanted)).ok_or_else(|| {
        invalid(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:44:web:/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwww:x:44:\nlogs:x:50:other,web\n";

    fn check(user: &str, groups: &[&str]) -> Result<(u32, u32, Vec<u32>, String)> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).into()).collect();
        lookup(PASSWD, GROUP, user, &groups)
            .map(|user| (user.uid, user.gid, user.additional_gids, user.home))
    }

    #[test]
    fn names_and_numbers_are_found() {
        let ok =
            |uid, gid, more: &[u32], home: &str| Ok((uid, gid, more.to_vec(), home.to_owned()));
        assert_eq!(check("", &[]), ok(0, 0, &[0], "/root"));
        assert_eq!(check("web", &[]), ok(33, 44, &[44, 50], "/srv"));
        assert_eq!(check("33", &[]), ok(33, 44, &[44, 50], "/srv"));
        assert_eq!(check("web:logs", &[]), ok(33, 50, &[50], "/srv"));
        assert_eq!(check("1000", &["logs", "7"]), ok(1000, 0, &[0, 50, 7], ""));
        assert_eq!(check("1000:1001", &[]), ok(1000, 1001, &[1001], ""));
    }

    #[test]
    fn unknown_names_and_numbers_out_of_range_are_refused() {
        for user in ["nobody", "web:nogroup", "4294967295", "-1"] {
            assert!(check(user, &[]).is_err(), "{user}");
        }
        assert!(check("", &["nogroup"]).is_err());
    }

    #[test]
    fn a_passwd_file_that_points_outside_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/passwd")).unwrap();
        assert!(
            resolve(root.path(), "root", &[]).is_err(),
            "the host's passwd file has root"
        );
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path().join("etc/group"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(
            resolve(root.path(), "0:root", &[]).is_err(),
            "a fifo must not block"
        );
    }
}
