//! The mounts of the OCI specification.

use std::path::PathBuf;

use oci_spec::runtime::{Mount, MountBuilder};

use super::spec::StartFacts;
use crate::container::{ContainerConfig, NamespaceMode, NetworkMode};
use crate::mount::{MountConfig, MountSource};

/// Where the content of one configured mount is on the host; in the order of
/// [`ContainerConfig::mounts`], `None` for a tmpfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedMount {
    pub host_path: Option<PathBuf>,
}

const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// Returns all mounts in the order they are made. A configured mount replaces
/// the default one at the same place.
pub(super) fn plan_mounts(config: &ContainerConfig, facts: &StartFacts) -> Vec<Mount> {
    let mut mounts = kernel_mounts(config, facts);
    mounts.extend(file_mounts(config, facts));
    let mut own: Vec<(usize, Mount)> = config
        .mounts
        .iter()
        .zip(&facts.mounts)
        .map(|(mount, resolved)| (depth(&mount.destination), configured(mount, resolved)))
        .collect();
    // A mount below another one must come after it.
    own.sort_by_key(|(depth, _)| *depth);
    mounts.retain(|default| {
        !own.iter()
            .any(|(_, mount)| mount.destination() == default.destination())
    });
    mounts.extend(own.into_iter().map(|(_, mount)| mount));
    mounts.extend(
        facts
            .init
            .as_ref()
            .map(|path| bind(path.clone(), INIT_PATH, &["ro"])),
    );
    mounts
}

/// Where the small init is seen inside the container.
pub(super) const INIT_PATH: &str = "/sbin/docker-init";

fn depth(destination: &str) -> usize {
    destination
        .split('/')
        .filter(|part| !part.is_empty())
        .count()
}

const STRICT: [&str; 3] = ["nosuid", "noexec", "nodev"];

fn kernel_mounts(config: &ContainerConfig, facts: &StartFacts) -> Vec<Mount> {
    let access = if facts.security.writable_kernel_files {
        "rw"
    } else {
        "ro"
    };
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let pts = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    ];
    let mut mounts = vec![
        mount("proc", "/proc", "proc", &STRICT),
        mount("tmpfs", "/dev", "tmpfs", &dev),
        mount("devpts", "/dev/pts", "devpts", &pts),
        sys_mount(config, access),
        mount(
            "cgroup",
            "/sys/fs/cgroup",
            "cgroup",
            &[&STRICT[..], &[access]].concat(),
        ),
    ];
    mounts.extend(ipc_mounts(config, facts));
    mounts
}

/// Message queues and shared memory belong to the IPC namespace: the host's,
/// another container's, or new ones.
fn ipc_mounts(config: &ContainerConfig, facts: &StartFacts) -> Vec<Mount> {
    let shared = [&["rbind"], &STRICT[..]].concat();
    if config.ipc_mode == NamespaceMode::Host {
        let of_host = |path: &str| bind(path.into(), path, &shared);
        return ["/dev/mqueue", "/dev/shm"].map(of_host).into();
    }
    let mut mounts = vec![mount("mqueue", "/dev/mqueue", "mqueue", &STRICT)];
    if let Some(path) = &facts.shared_memory {
        mounts.push(bind(path.clone(), "/dev/shm", &shared));
    } else if config.shared_memory {
        let bytes = config.resources.shm_size_bytes.unwrap_or(DEFAULT_SHM_BYTES);
        let size = format!("size={bytes}");
        let options = [&STRICT[..], &["mode=1777", &size]].concat();
        mounts.push(mount("shm", "/dev/shm", "tmpfs", &options));
    }
    mounts
}

/// A new sysfs shows the network namespace of whoever mounts it, which only an
/// owner of that namespace may do; with the host's the host's tree is bound.
fn sys_mount(config: &ContainerConfig, access: &str) -> Mount {
    if config.network == NetworkMode::Host {
        return bind(
            "/sys".into(),
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", access],
        );
    }
    mount(
        "sysfs",
        "/sys",
        "sysfs",
        &["nosuid", "noexec", "nodev", access],
    )
}

fn file_mounts(config: &ContainerConfig, facts: &StartFacts) -> Vec<Mount> {
    let files = [
        (&facts.resolv_conf, "/etc/resolv.conf"),
        (&facts.hostname_file, "/etc/hostname"),
        (&facts.hosts_file, "/etc/hosts"),
    ];
    let access = if config.read_only { "ro" } else { "rw" };
    let present = files
        .into_iter()
        .filter_map(|(path, to)| path.as_ref().map(|path| (path, to)));
    present
        .map(|(path, destination)| bind(path.clone(), destination, &["rbind", "rprivate", access]))
        .collect()
}

fn configured(config: &MountConfig, resolved: &ResolvedMount) -> Mount {
    let access = if config.read_only { "ro" } else { "rw" };
    let host_path = resolved.host_path.clone().unwrap_or_default();
    match &config.source {
        MountSource::Bind {
            propagation,
            recursive,
            ..
        } => {
            let kind = if *recursive { "rbind" } else { "bind" };
            bind(
                host_path,
                &config.destination,
                &[kind, propagation.as_str(), access],
            )
        }
        MountSource::Volume { .. } | MountSource::Image { .. } => bind(
            host_path,
            &config.destination,
            &["rbind", "rprivate", access],
        ),
        MountSource::Tmpfs {
            size_bytes,
            mode,
            options,
        } => {
            let mut all: Vec<String> = ["noexec", "nosuid", "nodev", access]
                .map(str::to_owned)
                .into();
            all.retain(|default| !options.contains(&default.replacen("no", "", 1)));
            all.extend(size_bytes.map(|bytes| format!("size={bytes}")));
            all.extend(mode.map(|mode| format!("mode={mode:o}")));
            all.extend(
                options
                    .iter()
                    .filter(|option| !all.contains(option))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            mount("tmpfs", &config.destination, "tmpfs", &all)
        }
    }
}

fn bind(source: PathBuf, destination: &str, options: &[&str]) -> Mount {
    let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    if !options
        .iter()
        .any(|option| option == "rbind" || option == "bind")
    {
        options.insert(0, "bind".into());
    }
    MountBuilder::default()
        .source(source)
        .destination(destination)
        .typ("bind")
        .options(options)
        .build()
        .expect("a mount with a destination is complete")
}

fn mount(source: &str, destination: &str, kind: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .source(source)
        .destination(destination)
        .typ(kind)
        .options(
            options
                .iter()
                .map(|option| (*option).to_owned())
                .collect::<Vec<_>>(),
        )
        .build()
        .expect("a mount with a destination is complete")
}
