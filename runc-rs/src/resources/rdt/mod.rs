//! Intel's resource director: the shares of cache and memory bandwidth of a
//! container, in the `resctrl` file system.

mod class;

use std::path::{Path, PathBuf};

use base::file::PathError;
use serde::Serialize;

pub use class::Class;

use super::files;
use crate::cgroup::write_control;

/// Where it is mounted, if it is.
pub const ROOT: &str = "/sys/fs/resctrl";

/// Which resource a schema shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    L3Cache,
    MemoryBandwidth,
}

/// Says why a schema was not set.
#[derive(Debug, thiserror::Error)]
pub enum RdtError {
    #[error("Intel RDT/CAT: l3 cache schema is not enabled")]
    NoL3Cache,
    #[error("Intel RDT/MBA: memory bandwidth schema is not enabled")]
    NoMemoryBandwidth,
    #[error("updating a non-existent Intel RDT configuration is not supported")]
    NoConfiguration,
    #[error("linux.intelRdt: there is no resctrl at {ROOT}")]
    NotMounted,
    #[error("linux.intelRdt: the processor or the kernel does not monitor")]
    NoMonitoring,
    #[error("linux.intelRdt: there is no class of service {0:?}, and nothing to make it of")]
    NoClass(String),
    #[error("linux.intelRdt: the class of service {class:?} is there and does not share {line:?}")]
    Differs { class: String, line: String },
    #[error("linux.intelRdt: {0:?} is not a line of schemata")]
    Line(String),
    #[error("{0:?} is not a name of a class of service")]
    Name(String),
    #[error(transparent)]
    File(#[from] PathError),
}

/// The measures and schemas as `events` prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RdtStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<L3CacheInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<MemoryBandwidthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schemata: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct L3CacheInfo {
    cbm_mask: String,
    min_cbm_bits: u64,
    num_closids: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct MemoryBandwidthInfo {
    bandwidth_gran: u64,
    delay_linear: u64,
    min_bandwidth: u64,
    num_closids: u64,
}

impl Resource {
    fn prefix(self) -> &'static str {
        match self {
            Self::L3Cache => "L3",
            Self::MemoryBandwidth => "MB",
        }
    }

    fn missing(self) -> RdtError {
        match self {
            Self::L3Cache => RdtError::NoL3Cache,
            Self::MemoryBandwidth => RdtError::NoMemoryBandwidth,
        }
    }
}

/// Returns the group of a class of service below `root`.
///
/// # Errors
/// When the name is a path.
pub fn group(root: &Path, class: &str) -> Result<PathBuf, RdtError> {
    // The class of everybody who is in no other.
    if class == "/" {
        return Ok(root.to_owned());
    }
    if class.is_empty() || class.contains('/') || class == "." || class == ".." {
        return Err(RdtError::Name(class.to_owned()));
    }
    Ok(root.join(class))
}

/// Returns an error if the processor or the kernel does not share `resource`.
///
/// # Errors
/// Which one is missing.
pub fn ensure_enabled(root: &Path, resource: Resource) -> Result<(), RdtError> {
    match root.join("info").join(resource.prefix()).is_dir() {
        true => Ok(()),
        false => Err(resource.missing()),
    }
}

/// Sets one schema of a group.
///
/// # Errors
/// When the kernel refuses it.
pub fn set_schema(group: &Path, schema: &str) -> Result<(), RdtError> {
    Ok(write_control(
        &group.join("schemata"),
        &format!("{schema}\n"),
    )?)
}

/// Measures a group below `root`; nothing where there is none.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn measure(root: &Path, group: &Path) -> Result<RdtStats, PathError> {
    let Some(text) = files::read_if_there(&group.join("schemata"))? else {
        return Ok(RdtStats::default());
    };
    let root_text = files::read_if_there(&root.join("schemata"))?.unwrap_or_default();
    let line = |text: &str, resource: Resource| {
        let mut lines = text.lines().map(str::trim);
        let prefix = format!("{}:", resource.prefix());
        let line = lines.find(|line| line.starts_with(&prefix));
        line.map(str::to_owned)
    };
    let info = |resource: Resource| {
        let directory = root.join("info").join(resource.prefix());
        directory.is_dir().then_some(directory)
    };
    let mut stats = RdtStats {
        schemata: text.lines().map(|line| line.trim().to_owned()).collect(),
        ..RdtStats::default()
    };
    if let Some(directory) = info(Resource::L3Cache) {
        stats.l3_cache_info = Some(L3CacheInfo {
            cbm_mask: files::read_if_there(&directory.join("cbm_mask"))?.unwrap_or_default(),
            min_cbm_bits: number(&directory, "min_cbm_bits")?,
            num_closids: number(&directory, "num_closids")?,
        });
        stats.l3_cache_schema_root = line(&root_text, Resource::L3Cache);
        stats.l3_cache_schema = line(&text, Resource::L3Cache);
    }
    if let Some(directory) = info(Resource::MemoryBandwidth) {
        stats.mem_bw_info = Some(MemoryBandwidthInfo {
            bandwidth_gran: number(&directory, "bandwidth_gran")?,
            delay_linear: number(&directory, "delay_linear")?,
            min_bandwidth: number(&directory, "min_bandwidth")?,
            num_closids: number(&directory, "num_closids")?,
        });
        stats.mem_bw_schema_root = line(&root_text, Resource::MemoryBandwidth);
        stats.mem_bw_schema = line(&text, Resource::MemoryBandwidth);
    }
    Ok(stats)
}

fn number(directory: &Path, file: &str) -> Result<u64, PathError> {
    let text = files::read_if_there(&directory.join(file))?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_measured_where_there_is_one() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let group = group(root, "gold").unwrap();
        let empty = measure(root, &group).unwrap();
        assert_eq!(serde_json::to_value(&empty).unwrap(), json!({}));
        for directory in [&group, &root.join("info/L3")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let texts = [
            ("schemata", "    L3:0=fffff\n"),
            ("gold/schemata", "    L3:0=ff\n"),
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "2\n"),
            ("info/L3/num_closids", "16\n"),
        ];
        for (file, text) in texts {
            let mode = base::file::FileMode::Public;
            base::file::replace(&root.join(file), text.as_bytes(), mode).unwrap();
        }
        let stats = serde_json::to_value(measure(root, &group).unwrap()).unwrap();
        let expected = json!({
            "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 2, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fffff",
            "l3_cache_schema": "L3:0=ff",
            "schemata": ["L3:0=ff"],
        });
        assert_eq!(stats, expected);
        ensure_enabled(root, Resource::L3Cache).unwrap();
        ensure_enabled(root, Resource::MemoryBandwidth).unwrap_err();
    }

    #[test]
    fn a_class_is_a_name() {
        for bad in ["", ".", "..", "a/b", "//"] {
            assert!(group(Path::new(ROOT), bad).is_err(), "{bad:?}");
        }
    }
}
