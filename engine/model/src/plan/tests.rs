//! Golden checks of the planned specification, without root and without a host.

use std::net::IpAddr;

use base::{ContainerId, Digest, Timestamp};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::*;
use crate::container::*;
use crate::mount::{MountConfig, MountSource, Propagation};
use crate::resources::{Resources, Ulimit};
use crate::restart::RestartPolicy;
use crate::security::SecurityProfile;
use crate::signal::Signal;

fn config() -> ContainerConfig {
    ContainerConfig {
        user_namespace: None,
        id: ContainerId::random(),
        created: Timestamp::EPOCH,
        image: "busybox".into(),
        image_id: Digest::of(b"image"),
        layers: vec![Digest::of(b"layer")],
        process: ProcessConfig {
            arguments: vec!["sh".into()],
            environment: vec!["A=1".into()],
            working_directory: String::new(),
            user: String::new(),
            additional_groups: Vec::new(),
            terminal: false,
            console_size: None,
            stdin: StdinConfig::Closed,
            init: false,
        },
        hostname: "web".into(),
        domainname: String::new(),
        annotations: Default::default(),
        cgroup_parent: None,
        labels: Default::default(),
        mounts: Vec::new(),
        read_only: false,
        resources: Resources::default(),
        security: SecurityConfig::default(),
        network: NetworkMode::Networks(Vec::new()),
        ports: Vec::new(),
        dns: DnsConfig::default(),
        extra_hosts: Vec::new(),
        links: Vec::new(),
        pid_mode: NamespaceMode::Private,
        ipc_mode: NamespaceMode::Private,
        shared_memory: true,
        uts_mode: NamespaceMode::Private,
        cgroupns_mode: NamespaceMode::Private,
        sysctls: Default::default(),
        restart: RestartPolicy::No,
        auto_remove: false,
        health: None,
        stop_signal: Signal::TERM,
        stop_timeout_seconds: 10,
        log: LogDriver::None,
        runtime: None,
    }
}

fn facts() -> StartFacts {
    StartFacts {
        user_namespace: None,
        rootfs: "/run/engine/mnt/x.1".into(),
        mounts: Vec::new(),
        network_namespace: Some("/run/engine/netns/x.1".into()),
        pid_namespace: None,
        ipc_namespace: None,
        shared_memory: None,
        user: ResolvedUser {
            home: "/root".into(),
            ..Default::default()
        },
        cgroup: "/engine/x".into(),
        hosts_file: Some("/c/hosts".into()),
        hostname_file: Some("/c/hostname".into()),
        resolv_conf: Some("/c/resolv.conf".into()),
        security: SecurityProfile::default(),
        init: None,
        name: "x".into(),
        block_devices: Default::default(),
        links: Vec::new(),
    }
}

fn namespace_kinds(spec: &Spec) -> Vec<LinuxNamespaceType> {
    let namespaces = spec
        .linux()
        .as_ref()
        .unwrap()
        .namespaces()
        .as_ref()
        .unwrap();
    namespaces.iter().map(|namespace| namespace.typ()).collect()
}

fn mount_options(spec: &Spec, destination: &str) -> Vec<String> {
    let found = spec
        .mounts()
        .as_ref()
        .unwrap()
        .iter()
        .filter(|m| m.destination() == std::path::Path::new(destination));
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{destination} is mounted once");
    found[0].options().clone().unwrap_or_default()
}

#[test]
fn the_environment_gets_dockers_defaults_and_no_more() {
    let spec = plan_spec(&config(), &facts()).unwrap();
    let env = spec.process().as_ref().unwrap().env().clone().unwrap();
    assert_eq!(env[0], "A=1");
    assert!(env.contains(&"HOME=/root".to_owned()));
    assert!(!env.iter().any(|entry| entry.starts_with("TERM=")));
    let mut own = config();
    own.process.environment = vec!["PATH=/bin".into(), "HOME=/x".into()];
    own.process.terminal = true;
    let spec = plan_spec(&own, &facts()).unwrap();
    assert_eq!(
        spec.process().as_ref().unwrap().env().clone().unwrap(),
        ["PATH=/bin", "HOME=/x", "TERM=xterm"]
    );
}

#[test]
fn namespaces_are_private_unless_asked_otherwise() {
    use LinuxNamespaceType as T;
    let spec = plan_spec(&config(), &facts()).unwrap();
    assert_eq!(
        namespace_kinds(&spec),
        [T::Mount, T::Uts, T::Ipc, T::Pid, T::Cgroup, T::Network]
    );
    let mut host = config();
    host.network = NetworkMode::Host;
    host.pid_mode = NamespaceMode::Host;
    host.uts_mode = NamespaceMode::Host;
    let spec = plan_spec(&host, &facts()).unwrap();
    assert_eq!(namespace_kinds(&spec), [T::Mount, T::Ipc, T::Cgroup]);
    assert_eq!(spec.hostname(), &None);
}

fn tmpfs(destination: &str, options: &[&str]) -> MountConfig {
    MountConfig {
        destination: destination.into(),
        read_only: false,
        source: MountSource::Tmpfs {
            size_bytes: Some(1024),
            mode: Some(0o1777),
            options: options.iter().map(|o| (*o).into()).collect(),
        },
    }
}

fn bind(host_path: &str, destination: &str) -> MountConfig {
    MountConfig {
        destination: destination.into(),
        read_only: true,
        source: MountSource::Bind {
            host_path: host_path.into(),
            propagation: Propagation::Rslave,
            create: false,
            recursive: true,
        },
    }
}

#[test]
fn an_image_is_bound_read_only_and_its_programs_may_run() {
    let mut config = config();
    config.mounts = vec![MountConfig {
        destination: "/tools".into(),
        read_only: true,
        source: MountSource::Image {
            reference: "tools:1".into(),
            id: base::Digest::of(b"image"),
            layers: vec![base::Digest::of(b"layer")],
            subpath: None,
        },
    }];
    let mut facts = facts();
    let host_path = Some("/run/mnt/parts/x.image0".into());
    facts.mounts = vec![ResolvedMount { host_path }];
    let spec = plan_spec(&config, &facts).unwrap();
    let mounts = spec.mounts().as_ref().unwrap();
    let mount = mounts.last().unwrap();
    assert_eq!(mount.destination().to_str(), Some("/tools"));
    let source = mount.source().as_ref().and_then(|source| source.to_str());
    assert_eq!(source, Some("/run/mnt/parts/x.image0"));
    let options = mount.options().as_deref().unwrap();
    assert_eq!(options, ["rbind", "rprivate", "ro"]);
}

#[test]
fn a_configured_mount_replaces_the_default_one_and_parents_come_first() {
    let mut config = config();
    let cache = tmpfs("/data/cache", &["exec"]);
    config.mounts = vec![cache, bind("/srv", "/data"), tmpfs("/dev/shm", &[])];
    let mut facts = facts();
    let resolved = |path: Option<&str>| ResolvedMount {
        host_path: path.map(Into::into),
    };
    facts.mounts = vec![resolved(None), resolved(Some("/srv")), resolved(None)];
    let spec = plan_spec(&config, &facts).unwrap();
    assert_eq!(mount_options(&spec, "/data"), ["rbind", "rslave", "ro"]);
    let expected = ["nosuid", "nodev", "rw", "size=1024", "mode=1777", "exec"];
    assert_eq!(mount_options(&spec, "/data/cache"), expected);
    assert!(mount_options(&spec, "/dev/shm").contains(&"size=1024".to_owned()));
    let mounts = spec.mounts().as_ref().unwrap();
    let at = |path: &str| {
        let is_there =
            |mount: &oci_spec::runtime::Mount| mount.destination() == std::path::Path::new(path);
        mounts.iter().position(is_there).unwrap()
    };
    assert!(at("/data") < at("/data/cache"));
}

#[test]
fn a_user_other_than_root_has_bounds_but_no_rights() {
    let mut facts = facts();
    facts.user.uid = 1000;
    facts.security.capabilities = vec![oci_spec::runtime::Capability::Chown];
    let spec = plan_spec(&config(), &facts).unwrap();
    let capabilities = spec
        .process()
        .as_ref()
        .unwrap()
        .capabilities()
        .clone()
        .unwrap();
    assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
    assert_eq!(capabilities.effective().as_ref().unwrap().len(), 0);
}

#[test]
fn limits_reach_the_specification() {
    let mut config = config();
    config.resources = Resources {
        memory_bytes: Some(64 << 20),
        nano_cpus: Some(1_500_000_000),
        pids: Some(9),
        ulimits: vec![Ulimit {
            name: "nofile".into(),
            soft: 5,
            hard: 6,
        }],
        ..Resources::default()
    };
    let spec = plan_spec(&config, &facts()).unwrap();
    let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
    assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
    assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(150_000));
    assert_eq!(resources.pids().as_ref().unwrap().limit(), 9);
    let limits = spec.process().as_ref().unwrap().rlimits().clone().unwrap();
    assert_eq!(
        (limits.len(), limits[0].soft(), limits[0].hard()),
        (1, 5, 6)
    );
    config.resources.ulimits[0].name = "nonsense".into();
    assert!(
        matches!(plan_spec(&config, &facts()), Err(SpecError::Ulimit(name)) if name == "nonsense")
    );
}

#[test]
fn small_files_have_the_usual_form() {
    let address: IpAddr = "172.17.0.2".parse().unwrap();
    let hosts = hosts_file(
        &[(address, vec!["web".into(), "alias".into()])],
        &[("db".into(), "10.0.0.1".parse().unwrap())],
    );
    assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"));
    assert!(
        hosts.ends_with("10.0.0.1\tdb\n172.17.0.2\tweb alias\n"),
        "{hosts}"
    );
    let dns = DnsConfig {
        servers: vec![address],
        search: vec!["a.b".into()],
        options: vec!["ndots:0".into()],
    };
    assert_eq!(
        resolv_conf(&dns),
        "nameserver 172.17.0.2\nsearch a.b\noptions ndots:0\n"
    );
}
