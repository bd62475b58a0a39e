//! hosts, hostname and resolv.conf of a container.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::PathContext as _;
use engine_model::ContainerConfig;
use engine_model::container::{DnsConfig, ExtraHost, NetworkMode};
use engine_model::plan::{LinkedContainer, hosts_file, resolv_conf};
use netd_api::{Attached, Endpoint};

use crate::Engine;
use crate::container::{Container, files};
use crate::error::{OrFail as _, Result, conflict};

/// A chain of containers that each share the next one's network ends sooner.
const SHARING_LIMIT: usize = 64;

/// Where they lie.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SmallFiles {
    pub(super) hosts: PathBuf,
    pub(super) hostname: PathBuf,
    pub(super) resolv_conf: PathBuf,
}

impl SmallFiles {
    /// Lets the root of a user namespace write them.
    fn give_to(&self, (uid, gid): (u32, u32)) -> Result<()> {
        for path in [&self.hosts, &self.hostname, &self.resolv_conf] {
            std::os::unix::fs::lchown(path, Some(uid), Some(gid))
                .at("give to another owner", path)
                .or_internal()?;
        }
        Ok(())
    }

    fn of(directory: &Path) -> Self {
        Self {
            hosts: directory.join("hosts"),
            hostname: directory.join("hostname"),
            resolv_conf: directory.join("resolv.conf"),
        }
    }
}

/// Returns the files a container gets: those of the owner of its network, or
/// its own, written now.
///
/// # Errors
/// When the owner does not run, an extra host has no address, or a file cannot
/// be written.
pub(super) fn provide(
    engine: &Engine,
    container: &Container,
    attached: Option<&Attached>,
    links: &[LinkedContainer],
) -> Result<SmallFiles> {
    if let NetworkMode::Container(_) = container.config().network {
        let owner = owner_of_network(engine, container)?;
        return Ok(SmallFiles::of(owner.directory()));
    }
    let files = SmallFiles::of(container.directory());
    write(&container.config(), &files, attached, links)?;
    if let Some(mappings) = &container.config().user_namespace {
        files.give_to(mappings.root())?;
    }
    Ok(files)
}

/// Follows containers that share a network to the one whose it is.
fn owner_of_network(engine: &Engine, container: &Container) -> Result<Arc<Container>> {
    let mut network = container.config().network.clone();
    for _ in 0..SHARING_LIMIT {
        let NetworkMode::Container(id) = network else {
            break;
        };
        let other = super::spec::live(engine, &id)?;
        let NetworkMode::Container(_) = other.config().network else {
            return Ok(other);
        };
        network = other.config().network.clone();
    }
    Err(conflict("too many containers share one network in a row"))
}

/// They are bind-mounted, hence rewritten in place.
fn write(
    config: &ContainerConfig,
    paths: &SmallFiles,
    attached: Option<&Attached>,
    links: &[LinkedContainer],
) -> Result<()> {
    let mut hosts = hosts(config, attached)?;
    for link in links {
        hosts = with_host(&hosts, link.address, &link.host_names());
    }
    files::write_in_place(&paths.hosts, &hosts)?;
    files::write_in_place(&paths.hostname, &format!("{}\n", config.hostname))?;
    files::write_in_place(&paths.resolv_conf, &resolver(config, attached)?)
}

/// Lets the files of a container that runs follow its networks; what its
/// processes have written into them stays.
///
/// # Errors
/// When an extra host has no address any more, or a file cannot be written.
pub(in crate::container) fn follow(
    container: &Container,
    before: Option<&Attached>,
    after: &Attached,
) -> Result<()> {
    let config = &container.config();
    let paths = SmallFiles::of(container.directory());
    let hosts = [hosts(config, before)?, hosts(config, Some(after))?];
    let resolver = [resolver(config, before)?, resolver(config, Some(after))?];
    for (path, [old, new]) in [(&paths.hosts, hosts), (&paths.resolv_conf, resolver)] {
        let current = files::host_file(path)?;
        files::write_in_place(path, &with_lines_changed(&current, &old, &new))?;
    }
    Ok(())
}

/// Lets a container that runs find another, by all of `names`, at an address.
///
/// # Errors
/// When its hosts file cannot be written.
pub(in crate::container) fn move_host(
    container: &Container,
    address: IpAddr,
    names: &[String],
) -> Result<()> {
    let path = SmallFiles::of(container.directory()).hosts;
    let current = files::host_file(&path)?;
    files::write_in_place(&path, &with_host(&current, address, names))
}

/// Returns a hosts file in which exactly these names stand for `address`.
fn with_host(current: &str, address: IpAddr, names: &[String]) -> String {
    let is_theirs = |line: &&str| line.split_whitespace().skip(1).eq(names);
    let others = current.lines().filter(|line| !is_theirs(line));
    let own = format!("{address}\t{}", names.join(" "));
    let lines = others.map(str::to_owned).chain([own]);
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns `current` with the lines that `old` has and `new` has not replaced by
/// those that only `new` has.
fn with_lines_changed(current: &str, old: &str, new: &str) -> String {
    let has = |text: &str, line: &str| text.lines().any(|known| known == line);
    let kept = current
        .lines()
        .filter(|line| has(new, line) || !has(old, line));
    let added = new
        .lines()
        .filter(|line| !has(old, line) && !has(current, line));
    kept.chain(added).map(|line| format!("{line}\n")).collect()
}

fn hosts(config: &ContainerConfig, attached: Option<&Attached>) -> Result<String> {
    let own: Vec<(IpAddr, Vec<String>)> = attached
        .iter()
        .flat_map(|attached| &attached.endpoints)
        .flat_map(Endpoint::addresses)
        .map(|address| (address, host_names(config)))
        .collect();
    let endpoints = attached.iter().flat_map(|attached| &attached.endpoints);
    let gateways: Vec<IpAddr> = endpoints.flat_map(Endpoint::gateways).collect();
    let ipv4 = gateways.iter().find(|gateway| gateway.is_ipv4());
    let gateway = ipv4.or(gateways.first()).copied();
    let extra = extra_hosts(config, gateway)?;
    if config.network == NetworkMode::Host && extra.is_empty() {
        return files::host_file(Path::new("/etc/hosts"));
    }
    Ok(hosts_file(&own, &extra))
}

fn resolver(config: &ContainerConfig, attached: Option<&Attached>) -> Result<String> {
    match attached {
        Some(attached) => Ok(resolv_conf(&DnsConfig {
            servers: attached.resolver.servers.clone(),
            search: attached.resolver.search.clone(),
            options: attached.resolver.options.clone(),
        })),
        None if config.dns.servers.is_empty() => files::host_file(Path::new("/etc/resolv.conf")),
        None => Ok(resolv_conf(&config.dns)),
    }
}

fn host_names(config: &ContainerConfig) -> Vec<String> {
    let mut names = vec![config.hostname.clone()];
    if !config.domainname.is_empty() {
        names.insert(0, format!("{}.{}", config.hostname, config.domainname));
    }
    names
}

fn extra_hosts(config: &ContainerConfig, gateway: Option<IpAddr>) -> Result<Vec<(String, IpAddr)>> {
    let address = |host: &ExtraHost| {
        let found = host.address.or(gateway);
        let missing = || {
            conflict(format!(
                "cannot resolve host-gateway for {}: no network has a gateway",
                host.name
            ))
        };
        Ok((host.name.clone(), found.ok_or_else(missing)?))
    };
    config.extra_hosts.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::{with_host, with_lines_changed};

    #[test]
    fn a_linked_container_that_moves_is_found_where_it_is() {
        let names = ["db".to_owned(), "0123".to_owned()];
        let before = "127.0.0.1\tlocalhost\n172.17.0.9\tdb 0123\n";
        let after = with_host(before, [172, 17, 0, 2].into(), &names);
        assert_eq!(after, "127.0.0.1\tlocalhost\n172.17.0.2\tdb 0123\n");
    }

    #[test]
    fn what_processes_wrote_into_a_file_stays() {
        let old = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n";
        let new = "127.0.0.1\tlocalhost\n10.1.0.7\tweb\n";
        let current = format!("{old}9.9.9.9\tquad\n");
        let changed = with_lines_changed(&current, old, new);
        assert_eq!(
            changed,
            "127.0.0.1\tlocalhost\n9.9.9.9\tquad\n10.1.0.7\tweb\n"
        );
        assert_eq!(with_lines_changed(&changed, new, new), changed);
    }
}
