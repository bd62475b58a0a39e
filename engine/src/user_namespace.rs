//! Whose ids the root of a container in a user namespace has: `userns-remap` of
//! the configuration, and the host's files of subordinate ids.
//!
//! Nothing is made: the user and its ranges have to be there.

use std::path::{Path, PathBuf};

use base::file::read_bounded;
use base::{IdMappings, IdRange, PathError};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const SUBORDINATE_UIDS: &str = "/etc/subuid";
const SUBORDINATE_GIDS: &str = "/etc/subgid";
/// A file is read to this size.
const FILE_LIMIT_BYTES: u64 = 1 << 20;
/// What `default` stands for, as with Docker.
const DEFAULT_USER: &str = "dockremap";
/// What the kernel takes.
const RANGE_LIMIT: usize = 340;

/// Why there are no subordinate ids.
#[derive(Debug, thiserror::Error)]
pub enum RemapError {
    #[error("invalid --userns-remap argument: {0:?}: expected default, user[:group] or uid[:gid]")]
    Argument(String),
    #[error("cannot read who there is on the host")]
    Read(#[from] PathError),
    #[error("there is no {kind} {name:?}, which userns-remap names")]
    Unknown { kind: &'static str, name: String },
    #[error("{path:?} has no range for {name:?}: add a line {name}:100000:65536")]
    NoRange { path: PathBuf, name: String },
    #[error("{path:?} has a line for {name:?} that is no range of ids: {line:?}")]
    Range {
        path: PathBuf,
        name: String,
        line: String,
    },
}

/// Returns the mappings that `default`, `user[:group]` or `uid[:gid]` stands for.
///
/// # Errors
/// When somebody it names or a range is not there.
pub(crate) fn mappings(remap: &str) -> Result<IdMappings, RemapError> {
    let read = |path: &str| -> Result<String, PathError> {
        let content = read_bounded(Path::new(path), FILE_LIMIT_BYTES)?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    };
    let (user, group) = parse(remap)?;
    let passwd = entry(&read(PASSWD)?, user, "user")?;
    let group = entry(&read(GROUP)?, group, "group")?;
    Ok(IdMappings {
        uids: ranges(SUBORDINATE_UIDS, &read(SUBORDINATE_UIDS)?, &passwd)?,
        gids: ranges(SUBORDINATE_GIDS, &read(SUBORDINATE_GIDS)?, &group)?,
    })
}

/// Returns the user and the group; one name stands for both.
fn parse(remap: &str) -> Result<(&str, &str), RemapError> {
    let bad = || RemapError::Argument(remap.to_owned());
    let (user, group) = remap.split_once(':').unwrap_or((remap, remap));
    if user.is_empty() || group.is_empty() || group.contains(':') {
        return Err(bad());
    }
    let named = |name| match name {
        "default" => DEFAULT_USER,
        other => other,
    };
    Ok((named(user), named(group)))
}

/// A name and the number it stands for.
struct Entry {
    name: String,
    number: String,
}

/// Finds a name or a number in a passwd or group file.
fn entry(file: &str, wanted: &str, kind: &'static str) -> Result<Entry, RemapError> {
    let mut entries = file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (name == wanted || number == wanted).then(|| Entry {
            name: name.to_owned(),
            number: number.to_owned(),
        })
    });
    let unknown = || RemapError::Unknown {
        kind,
        name: wanted.to_owned(),
    };
    entries.next().ok_or_else(unknown)
}

/// Returns an owner's ranges, one after the other from root on.
fn ranges(path: &str, file: &str, owner: &Entry) -> Result<Vec<IdRange>, RemapError> {
    let mut all = Vec::new();
    let mut inside = 0_u32;
    for line in file.lines().map(str::trim) {
        let Some((name, range)) = line.split_once(':') else {
            continue;
        };
        if name != owner.name && name != owner.number {
            continue;
        }
        let numbers = range.split_once(':');
        let numbers = numbers.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let fits = |&(outside, size): &(u32, u32)| {
            let whole = size > 0 && outside > 0 && outside.checked_add(size).is_some();
            whole && inside.checked_add(size).is_some() && all.len() < RANGE_LIMIT
        };
        let (outside, size) = numbers.filter(fits).ok_or_else(|| RemapError::Range {
            path: path.into(),
            name: owner.name.clone(),
            line: line.to_owned(),
        })?;
        all.push(IdRange {
            inside,
            outside,
            size,
        });
        inside += size;
    }
    match all.is_empty() {
        true => Err(RemapError::NoRange {
            path: path.into(),
            name: owner.name.clone(),
        }),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Entry {
        Entry {
            name: "dockremap".to_owned(),
            number: "997".to_owned(),
        }
    }

    #[test]
    fn default_and_one_name_stand_for_both() {
        assert_eq!(parse("default").unwrap(), (DEFAULT_USER, DEFAULT_USER));
        assert_eq!(parse("a").unwrap(), ("a", "a"));
        assert_eq!(parse("1000:100").unwrap(), ("1000", "100"));
        for bad in ["", ":", "a:", ":a", "a:b:c"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0::/:/bin/sh\nbob:x:1000:100::/:/bin/sh\n";
        assert_eq!(entry(passwd, "bob", "user").unwrap().number, "1000");
        assert_eq!(entry(passwd, "1000", "user").unwrap().name, "bob");
        assert!(entry(passwd, "100", "user").is_err());
    }

    #[test]
    fn ranges_follow_one_another() {
        let file = "other:1:2\ndockremap:100000:65536\n997:300000:10\n";
        let found = ranges("/s", file, &owner()).unwrap();
        let numbers: Vec<_> = found
            .iter()
            .map(|r| (r.inside, r.outside, r.size))
            .collect();
        assert_eq!(numbers, [(0, 100_000, 65_536), (65_536, 300_000, 10)]);
    }

    #[test]
    fn bad_ranges_are_named() {
        for bad in ["", "x", "1", "1:0", "0:5", "-1:5", "4294967295:2", "1:2:3"] {
            let file = format!("dockremap:{bad}\n");
            let error = ranges("/s", &file, &owner()).unwrap_err();
            assert!(
                matches!(error, RemapError::Range { .. }),
                "{bad:?}: {error}"
            );
        }
        let none = ranges("/s", "bob:1:2\n", &owner()).unwrap_err();
        assert!(matches!(none, RemapError::NoRange { .. }));
    }
}
