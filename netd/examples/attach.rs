//! Measures attach and detach in namespaces of its own: the controller alone,
//! without the event log, with one published port, among more and more
//! containers. Prints medians; nothing of the machine's network is touched.
//!
//! `cargo run --release --example attach [containers]`

use std::time::Instant;

use anyhow::Context as _;
use base::Steps;
use base::id::RunNumber;
use base::{ContainerId, Instance, NetworkId, RunId};
use netd::config::NetworkSection;
use netd::controller::Controller;
use netd::dns::Names;
use netd_api::{Attach, Dns, EndpointRequest, HostPorts, PortRequest, Protocol};
use nix::sched::CloneFlags;
use rustix::mount::{MountPropagationFlags, mount_change};

const ROUNDS: usize = 100;
const FIRST_PORT: u16 = 10_000;

fn main() -> anyhow::Result<()> {
    let most: usize = std::env::args()
        .nth(1)
        .map_or(Ok(500), |text| text.parse())?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let directory = tempfile::tempdir()?;
    let (root, run) = (directory.path().join("root"), directory.path().join("run"));
    std::fs::create_dir(&run)?;
    rustix::mount::mount(
        "tmpfs",
        &run,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )?;
    let instance = Instance::open(&root, &run, None)?;
    netd::namespace::prepare(&instance.run().join("netns"))?;
    netd::firewall::base::load(&instance.firewall_table(), "")?;
    let names = Names::default();
    let controller = Controller::new(
        instance.clone(),
        Steps::harmless(),
        NetworkSection::default(),
        names,
    )?;
    controller.reconcile()?;
    measure_all(&controller, &instance, most)?;
    netd::namespace::dissolve(&instance.run().join("netns"))?;
    rustix::mount::unmount(&run, rustix::mount::UnmountFlags::DETACH)?;
    Ok(())
}

fn measure_all(controller: &Controller, instance: &Instance, most: usize) -> anyhow::Result<()> {
    let networks = netd_api::query::networks(instance)?;
    let bridge = networks
        .into_iter()
        .find(|network| network.name == "bridge");
    let bridge = bridge.context("no default network")?.id;
    let mut standing = Vec::new();
    let mut port = FIRST_PORT;
    for target in [0, most / 5, most / 2, most] {
        while standing.len() < target {
            let request = request(&bridge, port);
            port += 1;
            controller.attach(&request)?;
            standing.push(request.run);
        }
        measure(controller, &bridge, standing.len())?;
    }
    for run in &standing {
        controller.detach(run)?;
    }
    Ok(())
}

fn measure(controller: &Controller, bridge: &NetworkId, standing: usize) -> anyhow::Result<()> {
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let request = request(bridge, FIRST_PORT - 1);
        let start = Instant::now();
        controller.attach(&request)?;
        attach.push(start.elapsed());
        let start = Instant::now();
        controller.detach(&request.run)?;
        detach.push(start.elapsed());
    }
    for (what, times) in [("attach", &mut attach), ("detach", &mut detach)] {
        times.sort();
        let (p50, p90) = (times[ROUNDS / 2], times[ROUNDS * 9 / 10]);
        println!("{what} among {standing:4} containers: p50 {p50:8.2?} p90 {p90:8.2?}");
    }
    Ok(())
}

fn request(network: &NetworkId, port: u16) -> Attach {
    let run = RunId::new(ContainerId::random(), RunNumber(1));
    Attach {
        user_namespace: None,
        container_name: run.container.short().to_owned(),
        hostname: run.container.short().to_owned(),
        run,
        endpoints: vec![EndpointRequest {
            network: network.clone(),
            aliases: Vec::new(),
            ipv4: None,
            ipv6: None,
            link_local: Vec::new(),
            mac: None,
            links: Vec::new(),
            gateway_priority: 0,
            interface: netd_api::InterfaceOptions::default(),
        }],
        ports: vec![PortRequest {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: None,
            host_ports: Some(HostPorts {
                first: port,
                last: port,
            }),
        }],
        dns: Dns::default(),
    }
}
