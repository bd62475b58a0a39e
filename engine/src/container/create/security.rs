//! Security options.

use base::{Failure, FailureKind};
use engine_api::host_config::HostConfig;
use engine_model::SecurityProfile;
use engine_model::container::{DeviceConfig, SecurityConfig};
use engine_security::SecurityError;

use crate::error::Result;

/// Converts the options as given; [`profile`] gives them their meaning.
///
/// # Errors
/// Never in practice.
pub(super) fn convert(host: &HostConfig) -> Result<SecurityConfig> {
    let mut options = host.security_opt.clone().unwrap_or_default();
    // Docker's command line writes `systempaths=unconfined` as two empty lists.
    let is_unconfined = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(Vec::is_empty);
    if is_unconfined(&host.masked_paths) && is_unconfined(&host.readonly_paths) {
        options.push("systempaths=unconfined".to_owned());
    }
    let device = |device: &engine_api::host_config::DeviceMapping| DeviceConfig {
        host_path: device.path_on_host.clone(),
        container_path: device.path_in_container.clone(),
        permissions: device.cgroup_permissions.clone(),
    };
    Ok(SecurityConfig {
        privileged: host.privileged,
        capabilities_add: host.cap_add.clone().unwrap_or_default(),
        capabilities_drop: host.cap_drop.clone().unwrap_or_default(),
        options,
        devices: host.devices.iter().flatten().map(device).collect(),
        device_rules: host.device_cgroup_rules.clone().unwrap_or_default(),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
    })
}

/// Checks everything but which devices are there: a start may find more.
///
/// # Errors
/// Invalid for an unknown capability, option or profile.
pub(super) fn check(config: &SecurityConfig) -> Result<()> {
    use engine_security::SecurityError as E;
    match engine_security::profile(config) {
        Err(E::NoDevice(_) | E::Device { .. } | E::NotADevice(_)) => {
            without_devices(config).map(drop)
        }
        other => other.map(drop).map_err(refused),
    }
}

/// Returns what a container with these options may do, its devices left aside.
///
/// # Errors
/// Invalid for an unknown capability, option or profile.
fn without_devices(config: &SecurityConfig) -> Result<SecurityProfile> {
    let devices = Vec::new();
    profile(&SecurityConfig {
        devices,
        ..config.clone()
    })
}

/// Returns what a container with these options may do.
///
/// # Errors
/// Invalid for an unknown capability, option, profile or device.
pub fn profile(config: &SecurityConfig) -> Result<SecurityProfile> {
    engine_security::profile(config).map_err(refused)
}

fn refused(error: SecurityError) -> Failure {
    let kind = match error {
        // Docker's server blames itself for this one.
        SecurityError::InvalidOption(_) => FailureKind::Internal,
        _ => FailureKind::Invalid,
    };
    Failure::from_error(kind, &error)
}
