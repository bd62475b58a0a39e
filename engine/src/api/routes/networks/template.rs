//! Networks that are there for others to take their configuration from, and those
//! that do.

use base::{Failure, FailureKind, NetworkId};
use engine_api::network::NetworkCreateBody;
use ipnet::IpNet;
use netd_api::{CreateNetwork, NetworkDriver, PoolRequest, Template};

use super::driver;
use crate::Engine;
use crate::container::network::find;
use crate::error::{Result, not_found};

/// Returns the name of the network whose configuration is asked for.
pub(super) fn name_in(body: &NetworkCreateBody) -> Option<String> {
    let name = body.config_from.as_ref().map(|from| from.network.clone());
    name.filter(|name| !name.is_empty())
}

/// Makes a template of a request: its subnets are kept, and nothing is made.
pub(super) fn made_of(request: CreateNetwork) -> CreateNetwork {
    let template = Template {
        ipv4: !request.without_ipv4,
        ipv6: request.ipv6.is_some(),
    };
    let pools = [Some(request.ipv4), request.ipv6].into_iter().flatten();
    let pools = pools.filter(|pool| pool.subnet.is_some());
    CreateNetwork {
        driver: NetworkDriver::Null,
        template: Some(template),
        unused: pools.chain(request.unused).collect(),
        ipv4: PoolRequest::default(),
        ipv6: None,
        without_ipv4: false,
        ..request
    }
}

/// Returns a request that has the configuration of the template `name`.
///
/// # Errors
/// When there is none, or the request has a configuration of its own.
pub(super) fn follow(
    engine: &Engine,
    name: &str,
    body: NetworkCreateBody,
) -> Result<CreateNetwork> {
    refuse_own(&body)?;
    let missing = || not_found(format!("configuration network {name:?} does not exist"));
    let source = find(&engine.instance, name).map_err(|_| missing())?;
    let template = source.template.ok_or_else(missing)?;
    let of = |is_ipv4: bool| {
        let mut pools = source.unused.iter();
        let is_its = |pool: &&PoolRequest| is_of(pool.subnet, is_ipv4);
        pools.find(is_its).cloned().unwrap_or_default()
    };
    Ok(CreateNetwork {
        id: NetworkId::random(),
        driver: driver(&body)?,
        name: body.name,
        ipv4: if template.ipv4 {
            of(true)
        } else {
            PoolRequest::default()
        },
        without_ipv4: !template.ipv4,
        ipv6: template.ipv6.then(|| of(false)),
        unused: Vec::new(),
        internal: body.internal,
        labels: source.labels,
        options: source.options,
        attachable: body.attachable,
        template: None,
        config_from: Some(source.name),
        ipam_options: source.ipam_options,
    })
}

fn is_of(subnet: Option<IpNet>, is_ipv4: bool) -> bool {
    subnet.is_some_and(|subnet| matches!(subnet, IpNet::V4(_)) == is_ipv4)
}

/// The sentences are those of Docker's server.
fn refuse_own(body: &NetworkCreateBody) -> Result<()> {
    let forbidden = |why| Err(Failure::new(FailureKind::Forbidden, why));
    if body.config_only {
        return forbidden("a configuration network cannot depend on another configuration network");
    }
    let ipam = body.ipam.as_ref();
    let has_subnets = ipam.is_some_and(|ipam| {
        let options = ipam.options.as_ref();
        !ipam.config.is_empty() || options.is_some_and(|options| !options.is_empty())
    });
    let has_families = body.enable_ipv6 == Some(true) || body.enable_ipv4 == Some(false);
    if has_subnets || has_families || !body.labels.is_empty() {
        return forbidden(
            "user specified configurations are not supported if the network depends on a configuration network",
        );
    }
    if !body.options.is_empty() {
        return forbidden(
            "network driver options are not supported if the network depends on a configuration network",
        );
    }
    Ok(())
}
