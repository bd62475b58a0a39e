//! Options that contradict each other: refused, with Docker's sentences.

use engine_api::container::ContainerCreateBody;

use crate::error::{Result, invalid};

/// Refuses a request whose options cannot all hold. To be asked before the
/// request is completed from the image, whose own ports do not count.
///
/// # Errors
/// Invalid, naming the two options.
pub(super) fn check(body: &ContainerCreateBody) -> Result<()> {
    let found = with_utilities_of_host(body).or_else(|| with_network_of_container(body));
    match found {
        Some(what) => Err(invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

fn with_utilities_of_host(body: &ContainerCreateBody) -> Option<&'static str> {
    let conflicts = body.host_config.uts_mode == "host" && !body.config.hostname.is_empty();
    conflicts.then_some("hostname and the UTS mode")
}

/// A container in another's network has that one's names, servers and ports.
fn with_network_of_container(body: &ContainerCreateBody) -> Option<&'static str> {
    let (config, host) = (&body.config, &body.host_config);
    if !host.network_mode.starts_with("container:") {
        return None;
    }
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let conflicts = [
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (
            !host.dns.as_deref().unwrap_or_default().is_empty(),
            "dns and the network mode",
        ),
        (
            some(&host.extra_hosts),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            !config.mac_address.is_empty(),
            "mac-address and the network mode",
        ),
        (
            !host.port_bindings.is_empty() || host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (
            !config.exposed_ports.is_empty(),
            "port exposing and the container type network mode",
        ),
    ];
    let found = conflicts.into_iter().find(|(holds, _)| *holds);
    found.map(|(_, what)| what)
}

/// Says what of a request has no effect.
pub(super) fn warnings(body: &ContainerCreateBody) -> Vec<String> {
    let host = &body.host_config;
    let mut all = Vec::new();
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        all.push("Published ports are discarded when using host network mode".to_owned());
    }
    all
}
