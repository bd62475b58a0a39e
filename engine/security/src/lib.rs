//! From a user's security options to the terms of the OCI specification.
//!
//! The engine calls [`profile`] at creation, to refuse bad options, and at each
//! start and exec, for the result. What the host offers is gathered first
//! ([`HostFacts`]); what follows is a pure function of it and the options. This
//! crate decides and enforces nothing.
#![forbid(unsafe_code)]

pub mod access;
pub mod capability;
mod device;
mod host;
mod option;
mod paths;
pub mod seccomp;

use base::PathError;
use engine_model::SecurityProfile;
use engine_model::container::SecurityConfig;
use oci_spec::runtime::{Capability, LinuxSeccomp};

pub use device::{DeviceKind, HostDevice};
pub use host::{APPARMOR_DEFAULT, AppArmor, HostFacts};

use option::{SeccompChoice, SecurityOptions};
use seccomp::{Circumstances, ProfileError, default_profile, parse_profile};

/// Why options cannot be given a meaning.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("cannot find out what the host offers")]
    Host(#[from] PathError),
    #[error("invalid {0}: unknown capability: {1:?}")]
    UnknownCapability(&'static str, String),
    #[error(
        "capability not supported by your kernel or not available in the current environment: \"CAP_{0}\""
    )]
    CapabilityUnavailable(String),
    #[error("invalid --security-opt 2: {0:?}")]
    InvalidOption(String),
    #[error("SELinux labels are not supported: {0:?}")]
    Label(String),
    #[error("AppArmor is not supported by the kernel, but profile {0:?} was asked for")]
    NoAppArmor(String),
    #[error(transparent)]
    Seccomp(#[from] ProfileError),
    #[error("cannot build the seccomp profile")]
    BuildSeccomp(#[from] oci_spec::OciSpecError),
    #[error("invalid device cgroup rule format: '{0}'")]
    DeviceRule(String),
    #[error("invalid device permissions {0:?}: expected a subset of rwm")]
    DevicePermissions(String),
    #[error("error gathering device information while adding custom device {path:?}")]
    Device { path: String, source: PathError },
    #[error(
        "error gathering device information while adding custom device {0:?}: no such file or directory"
    )]
    NoDevice(String),
    #[error(
        "error gathering device information while adding custom device {0:?}: not a device node"
    )]
    NotADevice(String),
}

/// Returns what a container with these options may do on this host.
///
/// # Errors
/// For an unknown capability, option, profile or device.
pub fn profile(config: &SecurityConfig) -> Result<SecurityProfile, SecurityError> {
    profile_on(&HostFacts::gather()?, config)
}

/// Returns what `profile` returns, on a host whose facts are known already.
///
/// # Errors
/// As `profile`.
pub fn profile_on(
    host: &HostFacts,
    config: &SecurityConfig,
) -> Result<SecurityProfile, SecurityError> {
    let mut devices = Vec::new();
    if config.privileged {
        devices.extend(host::all_devices()?);
    }
    devices.extend(host::devices(&config.devices)?);
    plan(host, config, &devices)
}

/// The kernel's files that are closed to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClosedPaths {
    pub masked: Vec<String>,
    pub read_only: Vec<String>,
}

/// Returns which of the kernel's files a container with these options does not see, or
/// not write: a part of its profile, without the work for the rest.
///
/// # Errors
/// For an invalid option.
pub fn closed_paths(config: &SecurityConfig) -> Result<ClosedPaths, SecurityError> {
    let options = option::parse(&config.options)?;
    Ok(close(config, &options, &host::thermal_paths()))
}

/// Decides everything, from facts alone.
fn plan(
    host: &HostFacts,
    config: &SecurityConfig,
    devices: &[HostDevice],
) -> Result<SecurityProfile, SecurityError> {
    let options = option::parse(&config.options)?;
    let wish = capability::Wish {
        privileged: config.privileged,
        add: &config.capabilities_add,
        drop: &config.capabilities_drop,
    };
    let capabilities = capability::resolve(&wish, &host.capabilities)?;
    let closed = close(config, &options, &host.thermal_paths);
    Ok(SecurityProfile {
        seccomp: seccomp_of(host, config, &options, &capabilities)?,
        apparmor_profile: apparmor_of(host, config, &options)?,
        device_rules: device_rules(config, devices)?,
        devices: devices.iter().map(device::node).collect(),
        masked_paths: closed.masked,
        readonly_paths: closed.read_only,
        no_new_privileges: options.no_new_privileges,
        writable_kernel_files: config.privileged,
        capabilities,
    })
}

fn close(config: &SecurityConfig, options: &SecurityOptions, thermal: &[String]) -> ClosedPaths {
    if config.privileged || options.unconfined_paths {
        return ClosedPaths::default();
    }
    let or = |wanted: &Option<Vec<String>>, default: Vec<String>| wanted.clone().unwrap_or(default);
    ClosedPaths {
        masked: or(&config.masked_paths, paths::masked(thermal)),
        read_only: or(&config.readonly_paths, paths::read_only()),
    }
}

fn seccomp_of(
    host: &HostFacts,
    config: &SecurityConfig,
    options: &SecurityOptions,
    capabilities: &[Capability],
) -> Result<Option<LinuxSeccomp>, SecurityError> {
    let profile = match &options.seccomp {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Default if config.privileged => None,
        SeccompChoice::Default | SeccompChoice::Builtin => Some(default_profile()),
        SeccompChoice::Profile(json) => parse_profile(json)?,
    };
    let circumstances = Circumstances {
        capabilities,
        kernel: host.kernel,
    };
    match profile {
        Some(profile) => Ok(Some(profile.resolve(&circumstances)?)),
        None => Ok(None),
    }
}

/// A container is confined by the default profile where that is loaded. On a
/// kernel without AppArmor asking for the default is no error, since every
/// compose file may; any other name is.
fn apparmor_of(
    host: &HostFacts,
    config: &SecurityConfig,
    options: &SecurityOptions,
) -> Result<Option<String>, SecurityError> {
    let wanted = options.apparmor.as_deref();
    match (host.apparmor, wanted) {
        (AppArmor::Absent, None | Some("unconfined" | APPARMOR_DEFAULT)) => Ok(None),
        (AppArmor::Absent, Some(name)) => Err(SecurityError::NoAppArmor(name.to_owned())),
        (_, Some(name)) => Ok(Some(name.to_owned())),
        (_, None) if config.privileged => Ok(Some("unconfined".to_owned())),
        (AppArmor::WithDefault, None) => Ok(Some(APPARMOR_DEFAULT.to_owned())),
        (AppArmor::WithoutDefault, None) => Ok(None),
    }
}

fn device_rules(
    config: &SecurityConfig,
    devices: &[HostDevice],
) -> Result<Vec<oci_spec::runtime::LinuxDeviceCgroup>, SecurityError> {
    let own = config.device_rules.iter();
    let own: Vec<_> = own
        .map(|text| device::parse_rule(text))
        .collect::<Result<_, _>>()?;
    if config.privileged {
        return Ok(device::allow_everything());
    }
    let mut rules = device::default_rules();
    rules.extend(devices.iter().map(device::allow));
    rules.extend(own);
    Ok(rules)
}

#[cfg(test)]
mod tests;
