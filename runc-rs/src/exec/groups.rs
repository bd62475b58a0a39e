//! Which control groups a later process enters: the container's, or groups
//! below those, as `--cgroup` says.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use base::file::read_bounded;

use crate::cgroup::{Cgroup, Directories, HYBRID, ROOT};
use crate::proc::LiveProcess;

/// Says what is wrong with `--cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("invalid --cgroup argument: {0} (empty controller)")]
    EmptyController(String),
    #[error("invalid --cgroup argument: {0} (controller given twice)")]
    Twice(String),
    #[error("invalid --cgroup argument: {0} (missing controller: before the path)")]
    MissingController(String),
    #[error("invalid --cgroup argument: {0} (cgroup v2 has no controllers to choose from)")]
    NoControllers(String),
    #[error("unknown controller {0}")]
    UnknownController(String),
    #[error("cgroup path {0} is not a sub cgroup path")]
    Outside(String),
}

/// The groups that are entered below the container's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubGroups {
    /// For every hierarchy, where no controller was named.
    all: Option<PathBuf>,
    /// By the controller.
    some: BTreeMap<String, PathBuf>,
}

impl SubGroups {
    /// Reads the values of `--cgroup`: `PATH`, or `CONTROLLER[,CONTROLLER]:PATH`
    /// for each.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub fn parse(values: &[String]) -> Result<Self, GroupError> {
        let mut groups = Self::default();
        for value in values {
            let Some((controllers, path)) = value.split_once(':') else {
                if values.len() > 1 {
                    return Err(GroupError::MissingController(value.clone()));
                }
                groups.all = Some(below(value)?);
                continue;
            };
            let path = below(path)?;
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(GroupError::EmptyController(value.clone()));
                }
                if groups
                    .some
                    .insert(controller.to_owned(), path.clone())
                    .is_some()
                {
                    return Err(GroupError::Twice(value.clone()));
                }
            }
        }
        Ok(groups)
    }

    /// Returns the `cgroup.procs` files to enter by.
    ///
    /// # Errors
    /// When a controller was named that the container is in no group of.
    pub fn entrances(&self, cgroup: &Cgroup) -> Result<Vec<PathBuf>, GroupError> {
        let procs = |group: &Path, path: &Path| group.join(path).join("cgroup.procs");
        let everywhere = self.all.clone().unwrap_or_default();
        match &cgroup.directories {
            Directories::Unified(group) => match self.some.keys().next() {
                Some(name) => Err(GroupError::NoControllers(name.clone())),
                None => Ok(vec![procs(group, &everywhere)]),
            },
            Directories::Split(groups) => {
                let known = |name: &&String| groups.contains_key(name.as_str());
                if let Some(unknown) = self.some.keys().find(|name| !known(name)) {
                    return Err(GroupError::UnknownController(unknown.clone()));
                }
                // Controllers that are mounted together have one directory.
                let mut paths: BTreeMap<&Path, &Path> = BTreeMap::new();
                for (name, group) in groups {
                    let path = match self.some.get(name) {
                        Some(path) => path,
                        None if paths.contains_key(group.as_path()) => continue,
                        // v2 beside v1 has no controllers: one path for all is not for it.
                        None if name == HYBRID => Path::new(""),
                        None => &everywhere,
                    };
                    paths.insert(group, path);
                }
                let entrances = paths.into_iter().map(|(group, path)| procs(group, path));
                Ok(entrances.collect())
            }
        }
    }
}

/// Returns the entrance of the group of v2 that init is in, if that is below the
/// container's `group`: as systemd does, it may have moved there.
pub(super) fn group_of_init(init: &LiveProcess, group: &Path) -> Option<PathBuf> {
    const LIMIT_BYTES: u64 = 1 << 20;
    let text = read_bounded(&init.path("cgroup"), LIMIT_BYTES).ok()?;
    let text = String::from_utf8(text).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let theirs = Path::new(ROOT).join(path);
    let is_below = theirs.starts_with(group) && theirs != group;
    is_below.then(|| theirs.join("cgroup.procs"))
}

/// Returns a path below a container's group, without a leading slash.
fn below(text: &str) -> Result<PathBuf, GroupError> {
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(GroupError::Outside(text.to_owned()));
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrances(values: &[&str], cgroup: &Cgroup) -> Result<Vec<String>, GroupError> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let paths = SubGroups::parse(&values)?.entrances(cgroup)?;
        Ok(paths
            .iter()
            .map(|path| path.display().to_string())
            .collect())
    }

    fn split() -> Cgroup {
        let groups =
            ["cpu", "memory", HYBRID].map(|name| (name.to_owned(), format!("/{name}/c").into()));
        Cgroup {
            path: "/c".into(),
            directories: Directories::Split(groups.into()),
            unit: None,
        }
    }

    #[test]
    fn one_of_two_controllers_that_are_mounted_together_decides() {
        let groups = ["cpu", "cpuacct"].map(|name| (name.to_owned(), "/both/c".into()));
        let together = Cgroup {
            path: "/c".into(),
            directories: Directories::Split(groups.into()),
            unit: None,
        };
        let expected = || Ok(vec!["/both/c/x/cgroup.procs".to_owned()]);
        assert_eq!(entrances(&["cpu:x"], &together), expected());
        assert_eq!(entrances(&["cpuacct:x"], &together), expected());
        assert_eq!(entrances(&["cpu,cpuacct:x"], &together), expected());
    }

    fn unified() -> Cgroup {
        Cgroup {
            path: "/c".into(),
            directories: Directories::Unified("/v2/c".into()),
            unit: None,
        }
    }

    #[test]
    fn groups_are_below_the_containers() {
        let all = |cpu: &str, memory: &str| {
            Ok(vec![
                format!("/cpu/c{cpu}/cgroup.procs"),
                format!("/memory/c{memory}/cgroup.procs"),
                format!("/{HYBRID}/c/cgroup.procs"),
            ])
        };
        assert_eq!(entrances(&[], &split()), all("", ""));
        assert_eq!(entrances(&["/"], &split()), all("", ""));
        assert_eq!(entrances(&["sub"], &split()), all("/sub", "/sub"));
        assert_eq!(entrances(&["memory:/a/b"], &split()), all("", "/a/b"));
        assert_eq!(entrances(&["cpu,memory:x"], &split()), all("/x", "/x"));
        let v2 = |path: &str| Ok(vec![format!("/v2/c{path}/cgroup.procs")]);
        assert_eq!(entrances(&["/sub"], &unified()), v2("/sub"));
    }

    #[test]
    fn what_cannot_be_entered_is_refused() {
        use GroupError as E;
        let text = |text: &str| text.to_owned();
        let cases = [
            (vec![".."], E::Outside(text(".."))),
            (vec!["a/../../b"], E::Outside(text("a/../../b"))),
            (vec!["what:/"], E::UnknownController(text("what"))),
            (vec![":x"], E::EmptyController(text(":x"))),
            (vec!["cpu:a", "cpu:b"], E::Twice(text("cpu:b"))),
            (vec!["cpu:a", "b"], E::MissingController(text("b"))),
        ];
        for (values, expected) in cases {
            assert_eq!(entrances(&values, &split()), Err(expected), "{values:?}");
        }
        let expected = Err(E::NoControllers(text("cpu")));
        assert_eq!(entrances(&["cpu:a"], &unified()), expected);
    }
}
