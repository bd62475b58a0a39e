//! `engine port`.

use clap::Args;
use engine_api::client::Call;
use engine_api::host_config::{PortBinding, PortMap};
use engine_api::inspect::ContainerInspect;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Lists published ports.
#[derive(Debug, Args)]
pub(crate) struct Port {
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Show only where this port of the container is bound
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl Port {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::get(&container_path(&self.container, "/json"));
        let container: ContainerInspect = context.connect().await?.json(call).await?;
        let ports = &container.network_settings.ports;
        let text = match &self.port {
            None => all(ports),
            Some(port) => one(ports, port).ok_or_else(|| {
                let name = &self.container;
                CliError::Usage(format!("no public port '{port}' published for {name}"))
            })?,
        };
        context.print(&text)
    }
}

fn all(ports: &PortMap) -> String {
    let bindings = |(port, bindings): (&String, &Option<Vec<PortBinding>>)| {
        let bindings = bindings.iter().flatten();
        bindings
            .map(|binding| format!("{port} -> {}\n", address(binding)))
            .collect::<String>()
    };
    ports.iter().map(bindings).collect()
}

fn one(ports: &PortMap, port: &str) -> Option<String> {
    let port = match port.contains('/') {
        true => port.to_lowercase(),
        false => format!("{port}/tcp"),
    };
    let bindings = ports.get(&port)?.as_ref()?;
    Some(
        bindings
            .iter()
            .map(|binding| address(binding) + "\n")
            .collect(),
    )
}

fn address(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_or_looked_up() {
        let bound = |ip: &str| PortBinding {
            host_ip: ip.to_owned(),
            host_port: "8080".to_owned(),
        };
        let ports = PortMap::from([
            (
                "80/tcp".to_owned(),
                Some(vec![bound("0.0.0.0"), bound("::")]),
            ),
            ("90/udp".to_owned(), None),
        ]);
        assert_eq!(all(&ports), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
        assert_eq!(one(&ports, "80").unwrap(), "0.0.0.0:8080\n[::]:8080\n");
        assert_eq!((one(&ports, "90/udp"), one(&ports, "81")), (None, None));
    }
}
