//! Whether a container gets a user namespace: as configured, opted out of with
//! `--userns host`, or forced by whoever created it.

use base::IdMappings;
use engine_api::host_config::HostConfig;

use crate::Engine;
use crate::container::Requested;
use crate::error::{OrFail as _, Result, invalid};

/// What the creator of a container may choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum UserNamespaceDemand {
    /// `userns-remap` of the configuration, unless the request says `host`.
    #[default]
    AsConfigured,
    /// Always one, with the ranges of `default` where nothing is configured.
    Forced,
}

impl UserNamespaceDemand {
    /// Who has containers of its own has them in user namespaces.
    fn of_owner(owner: Option<&str>) -> Self {
        match owner {
            Some(_) => Self::Forced,
            None => Self::AsConfigured,
        }
    }
}

/// Returns the mappings of a container's user namespace; `None` for the host's.
///
/// # Errors
/// Invalid, with Docker's sentences, for what does not go with one.
pub(super) fn decide(
    engine: &Engine,
    requested: &Requested,
    owner: Option<&str>,
) -> Result<Option<IdMappings>> {
    let (host, demand) = (&requested.host_config, UserNamespaceDemand::of_owner(owner));
    let Some(remap) = remap(&engine.config.userns_remap, &host.userns_mode, demand)? else {
        return Ok(None);
    };
    conflicts(host).map_or(Ok(()), |what| Err(invalid(what)))?;
    crate::user_namespace::mappings(remap)
        .map(Some)
        .or_invalid()
}

/// Returns whose subordinate ids are taken; `None` for the host's own ids.
fn remap<'a>(
    configured: &'a str,
    mode: &str,
    demand: UserNamespaceDemand,
) -> Result<Option<&'a str>> {
    use UserNamespaceDemand as D;
    match (mode, demand, configured) {
        ("host", D::AsConfigured, _) | ("", D::AsConfigured, "") => Ok(None),
        ("host", D::Forced, _) => Err(invalid("--userns host is not for this client")),
        ("", D::Forced, "") => Ok(Some("default")),
        ("", D::AsConfigured | D::Forced, configured) => Ok(Some(configured)),
        (mode, _, _) => Err(invalid(format!("invalid userns mode: {mode}"))),
    }
}

fn conflicts(host: &HostConfig) -> Option<&'static str> {
    let all = [
        (
            host.privileged,
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            host.network_mode == "host",
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            host.pid_mode == "host",
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ];
    let found = all.into_iter().find(|(holds, _)| *holds);
    found.map(|(_, what)| what)
}

/// Refuses to share a namespace between containers whose ids differ: to share
/// one they must share the user namespace that it belongs to.
///
/// # Errors
/// Invalid, naming the namespace.
pub(super) fn check_shared(engine: &Engine, config: &engine_model::ContainerConfig) -> Result<()> {
    use engine_model::container::{NamespaceMode, NetworkMode};
    let network = match &config.network {
        NetworkMode::Container(id) => Some(id),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Networks(_) => None,
    };
    let other = |mode| match mode {
        NamespaceMode::Container(id) => Some(id),
        NamespaceMode::Host | NamespaceMode::Private => None,
    };
    let shared = [
        ("network", network.cloned()),
        ("PID", other(config.pid_mode.clone())),
        ("IPC", other(config.ipc_mode.clone())),
    ];
    for (kind, id) in shared {
        let owner = id.and_then(|id| engine.containers.by_id(&id));
        let differs = owner.is_some_and(|o| o.config().user_namespace != config.user_namespace);
        if differs {
            return Err(invalid(format!(
                "cannot share the {kind} namespace of a container in another user namespace"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::UserNamespaceDemand::{AsConfigured, Forced};
    use super::*;

    #[test]
    fn a_user_namespace_is_had_as_configured_or_forced() {
        assert_eq!(remap("", "", AsConfigured).unwrap(), None);
        assert_eq!(remap("bob", "", AsConfigured).unwrap(), Some("bob"));
        assert_eq!(remap("bob", "host", AsConfigured).unwrap(), None);
        assert_eq!(remap("", "", Forced).unwrap(), Some("default"));
        assert_eq!(remap("bob", "", Forced).unwrap(), Some("bob"));
        assert!(remap("bob", "host", Forced).is_err());
        assert!(remap("", "private", AsConfigured).is_err());
    }

    #[test]
    fn what_shares_the_host_does_not_go_with_one() {
        let plain = HostConfig::default();
        assert_eq!(conflicts(&plain), None);
        let privileged = HostConfig {
            privileged: true,
            ..HostConfig::default()
        };
        assert!(conflicts(&privileged).is_some_and(|text| text.starts_with("privileged mode")));
    }
}
