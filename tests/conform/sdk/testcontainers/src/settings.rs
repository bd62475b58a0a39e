//! What a container is asked to be, and what it says that it is.

use anyhow::Result;
use serde_json::{Value, json};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::InspectContainerOptions;
use testcontainers::core::{CgroupnsMode, Host, IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::output::{done, say};
use crate::waiting::{busybox, staying};

pub(crate) async fn of_containers(docker: &Docker) -> Result<()> {
    let resting = || busybox().with_cmd(staying("true"));
    let requests: [(&str, ContainerRequest<GenericImage>); 13] = [
        ("set-nothing", resting()),
        ("set-environment", resting().with_env_var("A", "1").with_env_var("B", "two words")),
        ("set-labels", resting().with_labels([("a", "1"), ("b", "")]).with_hostname("front")),
        (
            "set-hosts",
            resting().with_host("far", Host::Addr([10, 1, 2, 3].into())).with_host("here", Host::HostGateway),
        ),
        (
            "set-mounts",
            resting()
                .with_mount(Mount::volume_mount("kept", "/kept"))
                .with_mount(Mount::bind_mount("/tmp", "/host"))
                .with_mount(Mount::tmpfs_mount("/scratch").with_size("1m").with_mode(0o700)),
        ),
        ("set-ports", resting().with_mapped_port(18091, 80.tcp()).with_mapped_port(0, 53.udp())),
        ("set-limits", resting().with_ulimit("nofile", 50, Some(60)).with_shm_size(1 << 20)),
        ("set-privileged", resting().with_privileged(true)),
        ("set-capabilities", resting().with_cap_drop("ALL").with_cap_add("NET_ADMIN")),
        ("set-namespaces", resting().with_cgroupns_mode(CgroupnsMode::Private).with_userns_mode("host")),
        ("set-read-only", resting().with_readonly_rootfs(true).with_security_opt("no-new-privileges")),
        ("set-user", resting().with_user("70:70").with_working_dir("/tmp")),
        (
            "set-memory",
            resting().with_host_config_modifier(|host| {
                host.memory = Some(64 << 20);
                host.pids_limit = Some(40);
            }),
        ),
    ];
    for (name, request) in requests {
        let Some(container) = say(name, request.start().await, done) else {
            continue;
        };
        let shown = shown(docker, container.id()).await?;
        println!("{name}-inspect {shown}");
        container.rm().await?;
    }
    exposed(docker).await
}

/// Its settings and mounts, and what it is called in its network.
async fn shown(docker: &Docker, id: &str) -> Result<Value, Error> {
    let found = docker.inspect_container(id, None::<InspectContainerOptions>).await?;
    let network = found.network_settings.unwrap_or_default();
    let mut mounts = found.mounts.unwrap_or_default();
    // dockerd has them in no order.
    mounts.sort_by(|one, other| one.destination.cmp(&other.destination));
    Ok(json!({
        "config": found.config, "host": found.host_config, "mounts": mounts,
        "ports": network.ports,
    }))
}

/// Ports that the image names are published at any.
async fn exposed(docker: &Docker) -> Result<()> {
    let image = busybox().with_exposed_port(80.tcp()).with_exposed_port(53.udp());
    let request = image.with_cmd(["httpd", "-f", "-p", "80", "-h", "/www"]);
    let container = request.start().await?;
    say("ports", container.ports().await, |ports| {
        json!([
            ports.map_to_host_port_ipv4(80.tcp()).is_some(),
            ports.map_to_host_port_ipv6(80.tcp()).is_some()
        ])
    });
    say("port", container.get_host_port_ipv4(53.udp()).await, |port| json!(*port >= 32768));
    say("port-not-exposed", container.get_host_port_ipv4(81).await, |port| json!(port));
    say("host", container.get_host().await, |host| json!(host.to_string()));
    say("address", container.get_bridge_ip_address().await, |address| json!(address.to_string()));
    println!("exposed-inspect {}", shown(docker, container.id()).await?);
    container.rm().await?;
    Ok(())
}
