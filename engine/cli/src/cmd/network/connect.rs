//! `engine network connect` and `disconnect`.

use clap::Args;
use engine_api::client::{Call, encode};
use engine_api::network::{
    EndpointIpamConfig, EndpointSettings, NetworkConnectBody, NetworkDisconnectBody,
};

use crate::context::Context;
use crate::error::CliError;
use crate::parse::label;

/// Lets a container join a network.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Give it a further name on the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Set an option of the driver
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    driver_opt: Vec<String>,
    /// Let the network with the highest priority have the default route
    #[arg(
        long,
        value_name = "PRIORITY",
        default_value_t,
        allow_negative_numbers = true
    )]
    gw_priority: i64,
    /// IPv4 address
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip: String,
    /// IPv6 address
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip6: String,
    /// Call another container by a name that only this one knows, NAME[:ALIAS]
    #[arg(long, value_name = "NAME")]
    link: Vec<String>,
    /// Link-local address
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Connect {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let path = format!("/networks/{}/connect", encode(&self.network));
        let call = Call::post(&path).json(&self.body())?;
        context.connect().await?.done(call).await?;
        Ok(())
    }

    fn body(&self) -> NetworkConnectBody {
        let some = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
        let ipam = EndpointIpamConfig {
            ipv4_address: self.ip.clone(),
            ipv6_address: self.ip6.clone(),
            link_local_ips: self.link_local_ip.clone(),
        };
        NetworkConnectBody {
            container: self.container.clone(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: Some(ipam).filter(|it| *it != EndpointIpamConfig::default()),
                links: some(&self.link),
                aliases: some(&self.alias),
                driver_opts: Some(label::to_map(&self.driver_opt)).filter(|map| !map.is_empty()),
                gw_priority: self.gw_priority,
                ..EndpointSettings::default()
            }),
        }
    }
}

/// Takes a container out of a network.
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// Also from a network that is gone
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Disconnect {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let path = format!("/networks/{}/disconnect", encode(&self.network));
        let body = NetworkDisconnectBody {
            container: self.container,
            force: self.force,
        };
        let call = Call::post(&path).json(&body)?;
        context.connect().await?.done(call).await?;
        Ok(())
    }
}
