//! The class of service that a container is of (runtime-spec 1.3,
//! `linux.intelRdt`): the plan, and how it is made, entered and left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::file::PathContext as _;
use oci_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};

use super::{RdtError, Resource, files, group};
use crate::cgroup::write_control;

/// What a container wants of the resource director.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Class {
    name: String,
    /// Whether the specification names it.
    is_named: bool,
    /// Whether it is named by the container, and ends with it: not where it was
    /// there before.
    is_own: bool,
    /// Lines for its `schemata`, as they are written.
    lines: Vec<String>,
    /// Whether the processor's monitoring has to be there.
    is_monitored: bool,
    /// The container's monitoring group, and whether that was there before.
    monitor: Option<String>,
    keeps_monitor: bool,
}

impl Class {
    /// Returns the class of the container `id`.
    ///
    /// # Errors
    /// When its name, or a line of its schemata, cannot be one.
    pub fn plan(wanted: &LinuxIntelRdt, id: &str) -> Result<Self, RdtError> {
        let named = wanted.clos_id().clone().filter(|name| !name.is_empty());
        let is_own = named.is_none();
        let name = named.unwrap_or_else(|| id.to_owned());
        // Neither may be a path.
        group(Path::new(""), &name)?;
        let lines = lines(wanted);
        if let Some(line) = lines.iter().find(|line| !line.contains(':')) {
            return Err(RdtError::Line(line.clone()));
        }
        let before = [wanted.enable_cmt(), wanted.enable_mbm()];
        Ok(Self {
            name,
            is_named: !is_own,
            is_own,
            lines,
            is_monitored: before.contains(&&Some(true)),
            monitor: wanted
                .enable_monitoring()
                .unwrap_or_default()
                .then(|| id.to_owned()),
            keeps_monitor: false,
        })
    }

    /// Notes what is there already, which is somebody else's to remove.
    #[must_use]
    pub fn beside(mut self, root: &Path) -> Self {
        self.is_own &= !self.directory(root).exists();
        let monitor = self.monitor_group(root);
        self.keeps_monitor = monitor.is_some_and(|group| group.exists());
        self
    }

    fn directory(&self, root: &Path) -> PathBuf {
        match self.name.as_str() {
            "/" => root.to_owned(),
            name => root.join(name),
        }
    }

    /// Makes the class, unless it is somebody else's, and puts a process into it.
    ///
    /// # Errors
    /// When the processor or the kernel has no such thing, when a class that is
    /// there has other schemata, or the kernel refuses something.
    pub fn enter(&self, root: &Path, pid: i32) -> Result<(), RdtError> {
        if !root.join("info").is_dir() {
            return Err(RdtError::NotMounted);
        }
        if (self.is_monitored || self.monitor.is_some()) && !root.join("info/L3_MON").is_dir() {
            return Err(RdtError::NoMonitoring);
        }
        let class = self.directory(root);
        if self.is_named && self.lines.is_empty() && !class.is_dir() {
            return Err(RdtError::NoClass(self.name.clone()));
        }
        match fs::create_dir(&class) {
            Ok(()) => self.set(&class).inspect_err(|_| {
                // A class that does not share as it should would stand in the way.
                fs::remove_dir(&class).ok();
            })?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.compare(&class)?,
            Err(error) => Err(error).at("create", &class)?,
        }
        self.join(root, pid)?;
        if let Some(monitor) = self.monitor_group(root) {
            make_directory(&monitor)?;
            add(&monitor, pid)?;
        }
        Ok(())
    }

    /// Puts a later process into the class.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn join(&self, root: &Path, pid: i32) -> Result<(), RdtError> {
        add(&self.directory(root), pid)?;
        match self.monitor_group(root).filter(|group| group.is_dir()) {
            Some(monitor) => add(&monitor, pid),
            None => Ok(()),
        }
    }

    /// Removes what is the container's alone.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn remove(&self, root: &Path) -> Result<(), RdtError> {
        let own = self.is_own.then(|| self.directory(root));
        let monitor = self.monitor_group(root).filter(|_| !self.keeps_monitor);
        for group in monitor.into_iter().chain(own) {
            match fs::remove_dir(&group) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).at("remove", &group)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn monitor_group(&self, root: &Path) -> Option<PathBuf> {
        let groups = self.directory(root).join("mon_groups");
        self.monitor.as_ref().map(|name| groups.join(name))
    }

    fn set(&self, class: &Path) -> Result<(), RdtError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        Ok(write_control(&class.join("schemata"), &text)?)
    }

    /// Ensures that a class which is there shares as this container wants it.
    fn compare(&self, class: &Path) -> Result<(), RdtError> {
        let there = files::read_if_there(&class.join("schemata"))?.unwrap_or_default();
        let there: Vec<_> = there.lines().flat_map(shares).collect();
        let differs = |line: &&String| !shares(line).iter().all(|share| there.contains(share));
        match self.lines.iter().find(differs) {
            Some(line) => Err(RdtError::Differs {
                class: self.name.clone(),
                line: line.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Returns the lines of schemata: those of two resources, then all others.
fn lines(wanted: &LinuxIntelRdt) -> Vec<String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let bandwidth = given(wanted.mem_bw_schema());
    let cache = given(wanted.l3_cache_schema()).unwrap_or_default();
    let is_bandwidth =
        |line: &&str| !line.starts_with(Resource::MemoryBandwidth.prefix()) || bandwidth.is_none();
    let cache = cache.lines().filter(is_bandwidth).map(str::to_owned);
    // These come last, and count.
    let all = wanted.schemata().clone().unwrap_or_default();
    cache.chain(bandwidth.clone()).chain(all).collect()
}

/// The shares of a line, one a domain, as the kernel could spell them too:
/// `L3:0=0ff;1=f` is `L3`, `0`, `ff` and `L3`, `1`, `f`.
fn shares(line: &str) -> Vec<(String, String, String)> {
    let Some((resource, domains)) = line.split_once(':') else {
        return Vec::new();
    };
    let resource = resource.trim();
    let trimmed = |text: &str| {
        let digits = text.trim().trim_start_matches('0').to_ascii_lowercase();
        if digits.is_empty() {
            "0".into()
        } else {
            digits
        }
    };
    let share = |domain: &str| {
        let (domain, value) = domain.split_once('=')?;
        Some((resource.to_owned(), trimmed(domain), trimmed(value)))
    };
    domains.split(';').filter_map(share).collect()
}

fn make_directory(path: &Path) -> Result<(), RdtError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).at("create", path)?;
        }
        _ => {}
    }
    Ok(())
}

fn add(group: &Path, pid: i32) -> Result<(), RdtError> {
    Ok(write_control(&group.join("tasks"), &pid.to_string())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(wanted: serde_json::Value) -> Result<Class, RdtError> {
        Class::plan(&serde_json::from_value(wanted).unwrap(), "c1")
    }

    /// A directory that looks like resctrl with every resource.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("info/L3_MON")).unwrap();
        root
    }

    /// A class as the kernel makes it, files and all.
    fn make(root: &Path, name: &str, schemata: &str) -> PathBuf {
        let class = root.join(name);
        fs::create_dir_all(class.join("mon_groups/c1")).unwrap();
        for (file, text) in [
            ("schemata", schemata),
            ("tasks", ""),
            ("mon_groups/c1/tasks", ""),
        ] {
            let mode = base::file::FileMode::Public;
            base::file::replace(&class.join(file), text.as_bytes(), mode).unwrap();
        }
        class
    }

    #[test]
    fn lines_come_from_both_schemas_and_then_from_schemata() {
        let lines = |wanted| class(wanted).unwrap().lines;
        let all = json!({"schemata": ["L2:0=f", "MB:0=20"], "l3CacheSchema": "L3:0=ff"});
        assert_eq!(lines(all), ["L3:0=ff", "L2:0=f", "MB:0=20"]);
        let both = json!({"l3CacheSchema": "L3:0=ff\nMB:0=10", "memBwSchema": "MB:0=20"});
        assert_eq!(lines(both), ["L3:0=ff", "MB:0=20"]);
        let one = json!({"l3CacheSchema": "L3:0=ff\nMB:0=10"});
        assert_eq!(lines(one), ["L3:0=ff", "MB:0=10"]);
        assert_eq!(lines(json!({"l3CacheSchema": "  "})), [""; 0]);
    }

    #[test]
    fn what_cannot_be_a_class_is_refused() {
        for name in ["..", "a/b", "."] {
            let error = class(json!({"closID": name})).unwrap_err();
            assert!(matches!(error, RdtError::Name(_)), "{error}");
        }
        let error = class(json!({"schemata": ["nonsense"]})).unwrap_err();
        assert!(matches!(error, RdtError::Line(_)), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let own = class(json!({})).unwrap();
        let error = own.enter(empty.path(), 7).unwrap_err();
        assert!(matches!(error, RdtError::NotMounted), "{error}");
        let named = class(json!({"closID": "gold"})).unwrap();
        let error = named.enter(root().path(), 7).unwrap_err();
        assert!(matches!(error, RdtError::NoClass(_)), "{error}");
    }

    #[test]
    fn monitoring_that_the_processor_lacks_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("info")).unwrap();
        // As oci-spec spells them.
        for flag in ["enableMonitoring", "enableCmt", "enableMbm"] {
            let error = class(json!({flag: true})).unwrap().enter(root.path(), 7);
            assert!(matches!(error, Err(RdtError::NoMonitoring)), "{flag}");
        }
    }

    #[test]
    fn a_class_that_is_there_must_share_alike() {
        let root = root();
        let gold = make(
            root.path(),
            "gold",
            "    L3:0=0ff;1=00f\n    MB:0= 20;1= 70\n",
        );
        let wants = |lines: &[&str]| class(json!({"closID": "gold", "schemata": lines})).unwrap();
        wants(&["L3:0=ff;1=f", "MB:1=70"])
            .enter(root.path(), 7)
            .unwrap();
        assert_eq!(fs::read_to_string(gold.join("tasks")).unwrap(), "7");
        let error = wants(&["L3:0=f"]).enter(root.path(), 8).unwrap_err();
        assert!(matches!(error, RdtError::Differs { .. }), "{error}");
        assert_eq!(fs::read_to_string(gold.join("tasks")).unwrap(), "7");
    }

    #[test]
    fn a_monitored_process_is_in_both_groups() {
        let root = root();
        let gold = make(root.path(), "gold", "");
        let class = class(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        class.enter(root.path(), 7).unwrap();
        class.join(root.path(), 8).unwrap();
        for file in ["tasks", "mon_groups/c1/tasks"] {
            assert_eq!(fs::read_to_string(gold.join(file)).unwrap(), "8", "{file}");
        }
    }

    #[test]
    fn what_was_there_before_stays() {
        let root = root();
        for name in ["c1", "gold/mon_groups/c1"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let own = class(json!({})).unwrap().beside(root.path());
        own.remove(root.path()).unwrap();
        assert!(root.path().join("c1").is_dir());
        let gold = json!({"closID": "gold", "enableMonitoring": true});
        let gold = class(gold).unwrap().beside(root.path());
        gold.remove(root.path()).unwrap();
        assert!(root.path().join("gold/mon_groups/c1").is_dir());
        let everybody = class(json!({"closID": "/"})).unwrap().beside(root.path());
        everybody.remove(root.path()).unwrap();
        assert!(root.path().is_dir());
    }

    #[test]
    fn only_what_is_the_containers_goes() {
        let root = root();
        let own = class(json!({})).unwrap();
        fs::create_dir(root.path().join("c1")).unwrap();
        own.remove(root.path()).unwrap();
        assert!(!root.path().join("c1").exists());
        own.remove(root.path()).unwrap();
        let gold = root.path().join("gold");
        fs::create_dir_all(gold.join("mon_groups/c1")).unwrap();
        let named = class(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        named.remove(root.path()).unwrap();
        assert!(!gold.join("mon_groups/c1").exists() && gold.is_dir());
    }
}
