//! Whether the host's mounts share what a bind with propagation asks them to.

use std::path::{Path, PathBuf};

use base::PathContext as _;
use engine_model::Propagation;

use crate::error::{OrFail as _, Result, invalid};

const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The host's mounts, read when the first bind asks for them.
#[derive(Debug, Default)]
pub(super) struct Table {
    mounts: Option<Vec<HostMount>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HostMount {
    point: PathBuf,
    is_shared: bool,
    is_slave: bool,
}

impl Table {
    /// Checks that the mount below `source`, which has no symbolic links, shares
    /// as `propagation` needs it.
    ///
    /// # Errors
    /// Invalid, with Docker's sentence, where it does not.
    pub(super) fn check(&mut self, source: &Path, propagation: Propagation) -> Result<()> {
        let needs_shared = match propagation {
            Propagation::Private | Propagation::Rprivate => return Ok(()),
            Propagation::Shared | Propagation::Rshared => true,
            Propagation::Slave | Propagation::Rslave => false,
        };
        let Some(mount) = below(self.mounts()?, source) else {
            return Err(invalid(format!(
                "could not find source mount of {}",
                source.display()
            )));
        };
        if mount.is_shared || (mount.is_slave && !needs_shared) {
            return Ok(());
        }
        Err(invalid(format!(
            "path {} is mounted on {} but it is not a {} mount",
            source.display(),
            mount.point.display(),
            if needs_shared {
                "shared"
            } else {
                "shared or slave"
            }
        )))
    }

    fn mounts(&mut self) -> Result<&[HostMount]> {
        if self.mounts.is_none() {
            // The table is as long as the host's; it is the kernel's, hence trusted.
            let text = std::fs::read_to_string(MOUNT_TABLE);
            self.mounts = Some(parse(&text.at("read", MOUNT_TABLE).or_internal()?));
        }
        Ok(self.mounts.as_deref().unwrap_or_default())
    }
}

/// Returns the mount that a path lies on: of the nearest, the newest.
fn below<'a>(mounts: &'a [HostMount], path: &Path) -> Option<&'a HostMount> {
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    holding.max_by_key(|mount| mount.point.components().count())
}

fn parse(text: &str) -> Vec<HostMount> {
    let parse = |line: &str| {
        let mut fields = line.split(' ');
        let point = unescape(fields.nth(4)?);
        let tags = fields.skip(1).take_while(|field| *field != "-");
        let tags: Vec<&str> = tags.collect();
        let has = |start: &str| tags.iter().any(|tag| tag.starts_with(start));
        Some(HostMount {
            point: point.into(),
            is_shared: has("shared:"),
            is_slave: has("master:"),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Undoes the kernel's `\\ooo` for space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let known = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    known.iter().fold(field.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mounts = parse(
            "1 0 8:1 / / rw - ext4 /dev/a rw\n\
             2 1 8:2 / /srv rw shared:1 - ext4 /dev/b rw\n\
             3 2 8:3 / /srv/a\\040b rw master:1 - ext4 /dev/c rw\n\
             4 2 8:3 / /srv/over rw shared:4 - ext4 /dev/c rw\n\
             5 4 8:3 / /srv/over rw - ext4 /dev/d rw\n",
        );
        Table {
            mounts: Some(mounts),
        }
    }

    fn refused(path: &str, propagation: Propagation) -> Option<String> {
        let checked = table().check(Path::new(path), propagation);
        checked.err().map(|failure| failure.message)
    }

    #[test]
    fn what_the_host_shares_may_be_shared() {
        use Propagation as P;
        for (path, propagation) in [
            ("/x", P::Rprivate),
            ("/srv", P::Rshared),
            ("/srv/x", P::Slave),
            ("/srv/a b/c", P::Rslave),
        ] {
            assert_eq!(refused(path, propagation), None, "{path}");
        }
    }

    #[test]
    fn what_it_does_not_is_refused_in_dockers_words() {
        use Propagation as P;
        assert_eq!(
            refused("/x/y", P::Rslave).as_deref(),
            Some("path /x/y is mounted on / but it is not a shared or slave mount")
        );
        assert_eq!(
            refused("/srv/a b", P::Shared).as_deref(),
            Some("path /srv/a b is mounted on /srv/a b but it is not a shared mount")
        );
        // The upper one of two at one place is the one that is seen.
        assert!(refused("/srv/over/x", P::Rshared).is_some());
        // A name that only begins so lies elsewhere.
        assert!(refused("/srvx", P::Rshared).is_some());
    }
}
