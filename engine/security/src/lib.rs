//! From a user's security options to the terms of the OCI specification.
//!
//! The engine calls [`profile`] at creation, to refuse bad options, and at each
//! start and exec, for the result.
#![forbid(unsafe_code)]

use engine_model::SecurityProfile;
use engine_model::container::SecurityConfig;

/// Why options cannot be given a meaning.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {}

/// Returns what a container with these options may do.
///
/// # Errors
/// For an unknown capability, option, profile or device.
pub fn profile(_config: &SecurityConfig) -> Result<SecurityProfile, SecurityError> {
    use oci_spec::runtime::Capability as C;
    let capabilities = vec![
        C::Chown,
        C::DacOverride,
        C::Fsetid,
        C::Fowner,
        C::Mknod,
        C::NetRaw,
        C::Setgid,
        C::Setuid,
        C::Setfcap,
        C::Setpcap,
        C::NetBindService,
        C::SysChroot,
        C::Kill,
        C::AuditWrite,
    ];
    Ok(SecurityProfile {
        capabilities,
        ..SecurityProfile::default()
    })
}
