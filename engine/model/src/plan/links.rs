//! What a container that is linked to another on the default network is told of it:
//! Docker's legacy links.

use std::net::IpAddr;

use crate::container::ContainerConfig;

/// The other end of a link, as it is when the container starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedContainer {
    /// What the linking container calls it.
    pub alias: String,
    pub name: String,
    pub hostname: String,
    pub address: IpAddr,
    pub environment: Vec<String>,
    /// Exposed ports with their protocols, `(80, "tcp")`.
    pub ports: Vec<(u16, String)>,
}

impl LinkedContainer {
    /// Returns the names by which the linking container's hosts file has it.
    pub fn host_names(&self) -> Vec<String> {
        let mut names = vec![self.alias.clone(), self.hostname.clone()];
        if self.alias != self.name {
            names.push(self.name.clone());
        }
        names
    }

    /// Returns the variables that a container called `parent` gets.
    pub fn variables(&self, parent: &str) -> Vec<String> {
        let alias = self.alias.replace('-', "_").to_uppercase();
        let mut ports = self.ports.clone();
        ports.sort();
        let url = |port: u16, protocol: &str| format!("{protocol}://{}:{port}", self.address);
        let mut all = Vec::new();
        if let Some((port, protocol)) = ports.first() {
            all.push(format!("{alias}_PORT={}", url(*port, protocol)));
        }
        for (port, protocol) in &ports {
            let prefix = format!("{alias}_PORT_{port}_{}", protocol.to_uppercase());
            all.push(format!("{prefix}={}", url(*port, protocol)));
            all.push(format!("{prefix}_ADDR={}", self.address));
            all.push(format!("{prefix}_PORT={port}"));
            all.push(format!("{prefix}_PROTO={protocol}"));
        }
        all.push(format!("{alias}_NAME=/{parent}/{}", self.alias));
        let told = |entry: &&String| {
            let name = entry.split('=').next().unwrap_or_default();
            entry.contains('=') && !matches!(name, "HOME" | "PATH")
        };
        let environment = self.environment.iter().filter(told);
        all.extend(environment.map(|entry| format!("{alias}_ENV_{entry}")));
        all
    }
}

/// Returns the environment of a container's processes: what links tell, and over
/// that its own.
pub fn linked_environment(
    config: &ContainerConfig,
    parent: &str,
    linked: &[LinkedContainer],
) -> Vec<String> {
    let own = &config.process.environment;
    let name = |entry: &str| entry.split('=').next().map(str::to_owned);
    let is_own = |entry: &String| own.iter().any(|it| name(it) == name(entry));
    let told = linked.iter().flat_map(|it| it.variables(parent));
    let mut all: Vec<String> = told.filter(|entry| !is_own(entry)).collect();
    all.extend(own.iter().cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_container_is_told_as_docker_tells_it() {
        let linked = LinkedContainer {
            alias: "my-db".to_owned(),
            name: "postgres".to_owned(),
            hostname: "0123456789ab".to_owned(),
            address: IpAddr::from([172, 17, 0, 2]),
            environment: vec!["FOO=1".into(), "PATH=/bin".into(), "HOME=/".into()],
            ports: vec![(8080, "tcp".into()), (53, "udp".into())],
        };
        assert_eq!(linked.host_names(), ["my-db", "0123456789ab", "postgres"]);
        let expected = "MY_DB_PORT=udp://172.17.0.2:53
MY_DB_PORT_53_UDP=udp://172.17.0.2:53
MY_DB_PORT_53_UDP_ADDR=172.17.0.2
MY_DB_PORT_53_UDP_PORT=53
MY_DB_PORT_53_UDP_PROTO=udp
MY_DB_PORT_8080_TCP=tcp://172.17.0.2:8080
MY_DB_PORT_8080_TCP_ADDR=172.17.0.2
MY_DB_PORT_8080_TCP_PORT=8080
MY_DB_PORT_8080_TCP_PROTO=tcp
MY_DB_NAME=/web/my-db
MY_DB_ENV_FOO=1";
        assert_eq!(linked.variables("web").join("\n"), expected);
    }
}
