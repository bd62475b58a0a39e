//! Profiles in Docker's JSON format: an OCI profile whose rules have
//! conditions, `includes` and `excludes`, and whose architectures may be a map.

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
};
use serde::Deserialize;

use super::{ARCHITECTURE, Conditions, KernelVersion, Profile, Rule};
use crate::capability;

/// A larger text is no profile.
pub const PROFILE_LIMIT_BYTES: usize = 1 << 20;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("decoding seccomp profile failed")]
    Json(#[from] serde_json::Error),
    #[error("the seccomp profile is larger than {PROFILE_LIMIT_BYTES} bytes")]
    TooLarge,
    #[error("the seccomp profile has no default action")]
    NoDefaultAction,
    #[error("use either 'architectures' or 'archMap' in the seccomp profile, not both")]
    BothArchitectures,
    #[error("use either 'name' or 'names' in a rule of the seccomp profile, not both")]
    BothNames,
    #[error("a rule of the seccomp profile names no system call")]
    NoNames,
    #[error("the seccomp profile names an unknown capability {0:?}")]
    Capability(String),
    #[error("the seccomp profile names an invalid kernel version {0:?}")]
    Kernel(String),
    #[error("the seccomp profile notifies an agent, which is not supported")]
    Notify,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileFile {
    default_action: Option<LinuxSeccompAction>,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<ArchitectureFile>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    syscalls: Option<Vec<RuleFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureFile {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleFile {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<ConditionsFile>,
    excludes: Option<ConditionsFile>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ConditionsFile {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a profile; nothing if it is empty, which means no filter at all.
///
/// # Errors
/// When it is not a profile in Docker's format.
pub fn parse_profile(json: &str) -> Result<Option<Profile>, ProfileError> {
    if json.len() > PROFILE_LIMIT_BYTES {
        return Err(ProfileError::TooLarge);
    }
    let file: ProfileFile = serde_json::from_str(json)?;
    let rules = file.syscalls.unwrap_or_default();
    let Some(default_action) = file.default_action else {
        return match rules.is_empty() {
            true => Ok(None),
            false => Err(ProfileError::NoDefaultAction),
        };
    };
    let architectures = architectures(
        file.architectures.unwrap_or_default(),
        file.arch_map.unwrap_or_default(),
    )?;
    Ok(Some(Profile {
        default_action: supported(default_action)?,
        default_errno: file.default_errno_ret,
        architectures,
        flags: file.flags.unwrap_or_default(),
        rules: rules.into_iter().map(rule).collect::<Result<_, _>>()?,
    }))
}

fn supported(action: LinuxSeccompAction) -> Result<LinuxSeccompAction, ProfileError> {
    if action == LinuxSeccompAction::ScmpActNotify {
        return Err(ProfileError::Notify);
    }
    Ok(action)
}

fn architectures(
    listed: Vec<Arch>,
    mapped: Vec<ArchitectureFile>,
) -> Result<Vec<Arch>, ProfileError> {
    if mapped.is_empty() {
        return Ok(listed);
    }
    if !listed.is_empty() {
        return Err(ProfileError::BothArchitectures);
    }
    let native = match ARCHITECTURE {
        "amd64" => Arch::ScmpArchX86_64,
        _ => Arch::ScmpArchAarch64,
    };
    let mine = mapped
        .into_iter()
        .find(|entry| entry.architecture == native);
    Ok(mine.map_or_else(Vec::new, |entry| {
        let mut all = vec![entry.architecture];
        all.extend(entry.sub_architectures.unwrap_or_default());
        all
    }))
}

fn rule(file: RuleFile) -> Result<Rule, ProfileError> {
    let names = match (file.name, file.names.unwrap_or_default()) {
        (None, names) => names,
        (Some(name), names) if names.is_empty() => vec![name],
        (Some(_), _) => return Err(ProfileError::BothNames),
    };
    if names.is_empty() {
        return Err(ProfileError::NoNames);
    }
    Ok(Rule {
        names,
        action: supported(file.action)?,
        errno: file.errno_ret,
        arguments: file.args.unwrap_or_default(),
        includes: conditions(file.includes.unwrap_or_default())?,
        excludes: conditions(file.excludes.unwrap_or_default())?,
    })
}

fn conditions(file: ConditionsFile) -> Result<Conditions, ProfileError> {
    let capability = |name: String| -> Result<Capability, ProfileError> {
        capability::parse(&name).ok_or(ProfileError::Capability(name))
    };
    let kernel =
        |text: String| KernelVersion::from_release(&text).ok_or(ProfileError::Kernel(text));
    let capabilities = file.caps.unwrap_or_default();
    Ok(Conditions {
        capabilities: capabilities
            .into_iter()
            .map(capability)
            .collect::<Result<_, _>>()?,
        architectures: file.arches.unwrap_or_default(),
        kernel: file.min_kernel.map(kernel).transpose()?,
    })
}
