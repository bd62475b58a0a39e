//! Names of units, as `cgroupsPath` gives them. Pure.

use std::path::{Path, PathBuf};

const SLICE: &str = ".slice";
const SCOPE: &str = ".scope";

/// Says what is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
         got {0:?} instead"
    )]
    Form(String),
    #[error("invalid slice name: {0}")]
    Slice(String),
    #[error("invalid unit name: {0:?}")]
    Unit(String),
}

/// A unit's name and the slice that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slice: String,
    pub(super) unit: String,
}

impl Place {
    /// Returns where `wanted` (`slice:prefix:name`) says, or a scope of the
    /// container's id in `slice`.
    pub(super) fn new(wanted: Option<&str>, id: &str, slice: &str) -> Result<Self, NameError> {
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        let Some(wanted) = wanted else {
            return Self::checked(slice, format!("runc-{id}{SCOPE}"));
        };
        let parts: Vec<&str> = wanted.split(':').collect();
        let [parent, prefix, name] = parts[..] else {
            return Err(NameError::Form(wanted.to_owned()));
        };
        let parent = if parent.is_empty() { slice } else { parent };
        let unit = match (name.ends_with(SLICE), prefix) {
            (true, _) => name.to_owned(),
            (false, "") => format!("{name}{SCOPE}"),
            (false, prefix) => format!("{prefix}-{name}{SCOPE}"),
        };
        Self::checked(parent, unit)
    }

    fn checked(slice: &str, unit: String) -> Result<Self, NameError> {
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if unit.len() > 255 || !unit.bytes().all(is_usual) {
            return Err(NameError::Unit(unit));
        }
        Ok(Self {
            slice: slice.to_owned(),
            unit,
        })
    }

    /// Returns its control group, below the manager's.
    pub(super) fn group(&self) -> Result<PathBuf, NameError> {
        Ok(expanded(&self.slice)?.join(&self.unit))
    }
}

/// Returns whether a unit is a slice, which has no processes of its own to
/// begin with.
pub(super) fn is_slice(unit: &str) -> bool {
    unit.ends_with(SLICE)
}

/// Returns the group of a slice: that of `a-b.slice` is `a.slice/a-b.slice`
/// (systemd.slice(5)).
fn expanded(slice: &str) -> Result<PathBuf, NameError> {
    let invalid = || NameError::Slice(slice.to_owned());
    let name = slice.strip_suffix(SLICE).ok_or_else(invalid)?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    if name.is_empty() || name.contains('/') {
        return Err(invalid());
    }
    let mut path = PathBuf::new();
    let mut begun = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        if !begun.is_empty() {
            begun.push('-');
        }
        begun.push_str(part);
        path.push(Path::new(&format!("{begun}{SLICE}")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(wanted: &str) -> Result<String, NameError> {
        let place = Place::new(Some(wanted), "c1", "system.slice")?;
        Ok(place.group()?.display().to_string())
    }

    #[test]
    fn paths_name_slices_and_units() {
        let check = |wanted: &str, expected: &str| {
            assert_eq!(group(wanted).as_deref(), Ok(expected), "{wanted}");
        };
        check("", "system.slice/runc-c1.scope");
        check("machine.slice:p:n", "machine.slice/p-n.scope");
        check(":p:n", "system.slice/p-n.scope");
        check("a-b-c.slice::n", "a.slice/a-b.slice/a-b-c.slice/n.scope");
        check("-.slice:p:n", "p-n.scope");
        check("a.slice:p:a-pod.slice", "a.slice/a-pod.slice");
    }

    #[test]
    fn what_is_no_such_path_is_refused() {
        for wanted in ["/a/b", "a.slice:b", "a:b:c:d"] {
            assert_eq!(group(wanted), Err(NameError::Form(wanted.to_owned())));
        }
        for slice in [
            "a",
            ".slice",
            "a--b.slice",
            "-a.slice",
            "a-.slice",
            "a/b.slice",
        ] {
            let expected = Err(NameError::Slice(slice.to_owned()));
            assert_eq!(group(&format!("{slice}:p:n")), expected, "{slice}");
        }
        assert!(matches!(group("a.slice:p:../x"), Err(NameError::Unit(_))));
    }
}
