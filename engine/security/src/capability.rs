//! Capabilities: their names and numbers, Docker's default set, and what
//! adding, dropping and `--privileged` make of it.

use oci_spec::runtime::Capability;

use crate::SecurityError;

/// All capabilities, each at the place that is its number in the kernel.
const BY_NUMBER: [Capability; 41] = {
    use Capability as C;
    [
        C::Chown,
        C::DacOverride,
        C::DacReadSearch,
        C::Fowner,
        C::Fsetid,
        C::Kill,
        C::Setgid,
        C::Setuid,
        C::Setpcap,
        C::LinuxImmutable,
        C::NetBindService,
        C::NetBroadcast,
        C::NetAdmin,
        C::NetRaw,
        C::IpcLock,
        C::IpcOwner,
        C::SysModule,
        C::SysRawio,
        C::SysChroot,
        C::SysPtrace,
        C::SysPacct,
        C::SysAdmin,
        C::SysBoot,
        C::SysNice,
        C::SysResource,
        C::SysTime,
        C::SysTtyConfig,
        C::Mknod,
        C::Lease,
        C::AuditWrite,
        C::AuditControl,
        C::Setfcap,
        C::MacOverride,
        C::MacAdmin,
        C::Syslog,
        C::WakeAlarm,
        C::BlockSuspend,
        C::AuditRead,
        C::Perfmon,
        C::Bpf,
        C::CheckpointRestore,
    ]
};

/// What a container has unless it asks for something else.
pub const DEFAULT: [Capability; 14] = {
    use Capability as C;
    [
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
    ]
};

/// Returns the capability of this name, in any case, with or without `CAP_`.
pub(crate) fn parse(name: &str) -> Option<Capability> {
    let upper = name.trim().to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).parse().ok()
}

/// Returns the capabilities whose bits are set in a mask of the kernel's.
pub(crate) fn from_mask(mask: u64) -> Vec<Capability> {
    let numbered = BY_NUMBER.iter().enumerate();
    numbered
        .filter(|(number, _)| mask >> number & 1 == 1)
        .map(|(_, capability)| *capability)
        .collect()
}

/// What was asked for on top of the default set.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) privileged: bool,
    pub(crate) add: &'a [String],
    pub(crate) drop: &'a [String],
}

/// Returns the capabilities of a container, out of those `available` here.
///
/// `ALL` among the added means all but the dropped; `ALL` among the dropped
/// means none but the added; else the default set without the dropped, with
/// the added. A privileged container has all, whatever it drops.
pub(crate) fn resolve(
    wish: &Wish<'_>,
    available: &[Capability],
) -> Result<Vec<Capability>, SecurityError> {
    let add = parse_all(wish.add, "CapAdd")?;
    let drop = parse_all(wish.drop, "CapDrop")?;
    let missing = add.listed.iter().find(|added| !available.contains(added));
    if let Some(missing) = missing {
        return Err(SecurityError::CapabilityUnavailable(missing.to_string()));
    }
    let keeps = |capability: &&Capability| !drop.listed.contains(capability);
    let available_default = || DEFAULT.iter().filter(|one| available.contains(one));
    let mut result: Vec<Capability> = match (wish.privileged, add.all, drop.all) {
        (true, _, _) => return Ok(available.to_vec()),
        (false, true, _) => return Ok(available.iter().filter(keeps).copied().collect()),
        (false, false, true) => Vec::new(),
        (false, false, false) => available_default().filter(keeps).copied().collect(),
    };
    for added in add.listed {
        if !result.contains(&added) {
            result.push(added);
        }
    }
    Ok(result)
}

/// A list of names, read.
struct Names {
    all: bool,
    listed: Vec<Capability>,
}

fn parse_all(names: &[String], list: &'static str) -> Result<Names, SecurityError> {
    let mut parsed = Names {
        all: false,
        listed: Vec::new(),
    };
    for name in names {
        let trimmed = name.trim();
        if trimmed.eq_ignore_ascii_case("ALL") || trimmed.eq_ignore_ascii_case("CAP_ALL") {
            parsed.all = true;
            continue;
        }
        let unknown = || SecurityError::UnknownCapability(list, with_prefix(trimmed));
        parsed.listed.push(parse(name).ok_or_else(unknown)?);
    }
    Ok(parsed)
}

fn with_prefix(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    match upper.starts_with("CAP_") {
        true => upper,
        false => format!("CAP_{upper}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(privileged: bool, add: &[&str], drop: &[&str], expected: &[&str]) {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let (add, drop) = (owned(add), owned(drop));
        let wish = Wish {
            privileged,
            add: &add,
            drop: &drop,
        };
        let mut resolved: Vec<String> = resolve(&wish, &BY_NUMBER)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        resolved.sort();
        let mut expected = owned(expected);
        expected.sort();
        assert_eq!(resolved, expected, "+{add:?} -{drop:?}");
    }

    const DEFAULT_NAMES: [&str; 14] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];

    #[test]
    fn sets_come_out_as_docker_makes_them() {
        let all = BY_NUMBER.map(|capability| capability.to_string());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let without = |set: &[&'static str], gone: &str| -> Vec<&'static str> {
            set.iter().copied().filter(|name| *name != gone).collect()
        };
        check(false, &[], &[], &DEFAULT_NAMES);
        check(
            false,
            &[],
            &["net_raw"],
            &without(&DEFAULT_NAMES, "NET_RAW"),
        );
        check(false, &["CAP_CHOWN"], &[], &DEFAULT_NAMES);
        check(false, &["NET_RAW"], &["NET_RAW"], &DEFAULT_NAMES);
        check(false, &[], &["ALL"], &[]);
        check(
            false,
            &["cap_net_admin", "Chown"],
            &["all"],
            &["CHOWN", "NET_ADMIN"],
        );
        check(false, &["ALL"], &[], &all);
        check(true, &[], &["ALL"], &all);
        let most: Vec<&str> = all.iter().copied().filter(|n| *n != "SYS_ADMIN").collect();
        check(false, &["ALL"], &["SYS_ADMIN"], &most);
    }

    #[test]
    fn unknown_and_unavailable_names_are_told_apart() {
        let add = ["SYS_RESOURCE".to_owned()];
        let wish = Wish {
            privileged: false,
            add: &add,
            drop: &[],
        };
        let error = resolve(&wish, &DEFAULT).unwrap_err().to_string();
        assert!(
            error.contains("not available in the current environment"),
            "{error}"
        );
        assert!(error.contains("CAP_SYS_RESOURCE"), "{error}");
        let bad = ["NET_ADMN".to_owned()];
        let wish = Wish {
            privileged: false,
            add: &[],
            drop: &bad,
        };
        let error = resolve(&wish, &BY_NUMBER).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid CapDrop: unknown capability: \"CAP_NET_ADMN\""
        );
    }

    #[test]
    fn numbers_are_the_kernel_s() {
        assert_eq!(from_mask(1 << 21), [Capability::SysAdmin]);
        assert_eq!(
            from_mask(1 << 40 | 1),
            [Capability::Chown, Capability::CheckpointRestore]
        );
        let default_mask = 0xa804_25fb_u64;
        let mut names: Vec<String> = from_mask(default_mask)
            .iter()
            .map(ToString::to_string)
            .collect();
        names.sort();
        assert_eq!(
            names, DEFAULT_NAMES,
            "as /proc/self/status in a docker container"
        );
    }
}
