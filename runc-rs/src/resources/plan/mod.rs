//! What to write into which control file for the limits of a specification.
//!
//! Pure: what a plan depends on of the groups themselves comes in as
//! [`Existing`]. The order of the writes matters and is part of the plan. What
//! the specification says and a version of control groups cannot do (realtime
//! scheduling, swappiness and network classes on v2) is left out, as with runc.

mod error;
mod memory;
mod v1;
mod v2;

use std::borrow::Cow;
use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxPids, LinuxResources};

pub use error::PlanError;
pub(crate) use v1::cpuset::{CpusetValues, inherited};
pub(crate) use v1::devices::plan as plan_v1_devices;
pub(crate) use v1::is_joined;

/// A controller; on v1 also the name of its hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Blkio,
    Cpu,
    Cpuset,
    Devices,
    Hugetlb,
    Io,
    Memory,
    NetCls,
    NetPrio,
    Pids,
    Rdma,
    /// Whichever the file's name begins with: of v2's free-form values.
    Unified,
}

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlWrite {
    pub controller: Controller,
    /// A name, never a path.
    pub file: Cow<'static, str>,
    pub value: String,
    pub if_missing: IfMissing,
    pub if_invalid: IfInvalid,
}

/// What it means that a control file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    Fail,
    /// Without the file there is nothing to limit.
    Skip,
}

/// What it means that the kernel calls a value invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfInvalid {
    Fail,
    /// It may only contradict the old value of a later write: try again after.
    Retry,
}

/// The version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What the groups are like before anything is written, as far as a plan
/// depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// The memory limit of v1, which memory and swap together may not fall below.
    pub memory_limit_bytes: Option<u64>,
    pub memory_usage_bytes: Option<u64>,
    pub weight_file: WeightFile,
    /// The controllers a group of v2 has.
    pub controllers: BTreeSet<String>,
}

/// Which file takes the weight of block I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFile {
    /// The one of the controller itself.
    Common,
    /// The one of the BFQ scheduler.
    Bfq,
    /// As before, of a kernel that has no weights for single devices there.
    BfqWithoutDevices,
}

impl Controller {
    /// Returns the kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blkio => "blkio",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Hugetlb => "hugetlb",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Pids => "pids",
            Self::Rdma => "rdma",
            Self::Unified => "unified",
        }
    }
}

impl ControlWrite {
    fn new(
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Self {
        Self {
            controller,
            file: file.into(),
            value: value.to_string(),
            if_missing: IfMissing::Fail,
            if_invalid: IfInvalid::Fail,
        }
    }

    /// Returns this write, which a missing file makes needless.
    fn or_skip(self) -> Self {
        let if_missing = IfMissing::Skip;
        Self { if_missing, ..self }
    }

    /// Returns this write, to be tried again after all others.
    fn or_retry(self) -> Self {
        let if_invalid = IfInvalid::Retry;
        Self { if_invalid, ..self }
    }
}

impl Default for Existing {
    /// Returns what a new group is like.
    fn default() -> Self {
        Self {
            memory_limit_bytes: None,
            memory_usage_bytes: None,
            weight_file: WeightFile::Common,
            controllers: BTreeSet::new(),
        }
    }
}

/// Returns the writes that put `resources` into force, devices excepted.
///
/// # Errors
/// When a value is out of range, contradicts another, or is none of this
/// version's.
pub fn plan(
    version: Version,
    resources: &LinuxResources,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    match version {
        Version::V1 => v1::plan(resources, existing),
        Version::V2 => v2::plan(resources, existing),
    }
}

/// Returns the writes for the limits of RDMA devices, which both versions
/// spell the same.
fn plan_rdma(resources: &LinuxResources) -> Result<Vec<ControlWrite>, PlanError> {
    let mut limits: Vec<_> = resources.rdma().iter().flatten().collect();
    limits.sort_by_key(|(device, _)| device.as_str());
    let mut writes = Vec::new();
    for (device, limit) in limits {
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(PlanError::RdmaDevice(device.clone()));
        }
        let mut value = device.clone();
        if let Some(handles) = limit.hca_handles() {
            value += &format!(" hca_handle={handles}");
        }
        if let Some(objects) = limit.hca_objects() {
            value += &format!(" hca_object={objects}");
        }
        if value.len() > device.len() {
            writes.push(ControlWrite::new(Controller::Rdma, "rdma.max", value));
        }
    }
    Ok(writes)
}

/// Returns the write for the number of processes, which both versions spell
/// the same. Zero means unset, as with runc 1.3.
fn plan_pids(pids: &LinuxPids) -> Result<Option<ControlWrite>, PlanError> {
    let value = match pids.limit() {
        0 => return Ok(None),
        -1 => "max".to_owned(),
        limit if limit < 0 => return Err(PlanError::Pids(limit)),
        limit => limit.to_string(),
    };
    Ok(Some(ControlWrite::new(Controller::Pids, "pids.max", value)))
}

/// Returns whether the group is to get only what no other wants.
fn idle(cpu: &LinuxCpu) -> Result<Option<i64>, PlanError> {
    match cpu.idle() {
        Some(idle) if !matches!(idle, 0 | 1) => Err(PlanError::Idle(idle)),
        idle => Ok(idle),
    }
}

/// Returns the limit, or `None` for no limit.
fn hugetlb_limit(limit: &LinuxHugepageLimit) -> Result<Option<i64>, PlanError> {
    match limit.limit() {
        -1 => Ok(None),
        limit if limit < 0 => Err(PlanError::HugePages(limit)),
        limit => Ok(Some(limit)),
    }
}

/// Returns the names of a huge page size's files, limit and reservation.
fn hugetlb_files(page_size: &str, suffix: &str) -> Result<[String; 2], PlanError> {
    let digits = page_size.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let unit = &page_size[digits.len()..];
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !whole || !matches!(unit, "KB" | "MB" | "GB") {
        return Err(PlanError::PageSize(page_size.to_owned()));
    }
    Ok(["", ".rsvd"].map(|kind| format!("hugetlb.{page_size}{kind}.{suffix}")))
}

#[cfg(test)]
mod tests;
