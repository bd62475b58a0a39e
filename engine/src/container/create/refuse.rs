//! Options that are not built: each is refused by its name, never ignored.

use engine_api::container::ContainerCreateBody;
use engine_api::host_config::HostConfig;

use crate::error::{Result, invalid, unsupported};

/// Refuses a request that asks for something the engine does not do.
///
/// # Errors
/// Unsupported, naming the option.
pub(super) fn unsupported_options(body: &ContainerCreateBody) -> Result<()> {
    unsupported_host_options(&body.host_config)
}

/// The same of the host's half.
///
/// # Errors
/// Unsupported, naming the option.
pub(in crate::container) fn unsupported_host_options(host: &HostConfig) -> Result<()> {
    if !matches!(host.isolation.as_str(), "" | "default") {
        let isolation = &host.isolation;
        return Err(invalid(format!(
            "invalid isolation ({isolation}): linux only supports 'default'"
        )));
    }
    let asked = options(host).into_iter().find(|(_, is_asked)| *is_asked);
    match asked {
        Some((option, _)) => Err(unsupported(format!("{option} is not supported"))),
        None => Ok(()),
    }
}

/// What is not built, and whether it is asked for.
fn options(host: &HostConfig) -> [(&'static str, bool); 6] {
    [
        ("--storage-opt", !host.storage_opt.is_empty()),
        (
            "--kernel-memory",
            host.kernel_memory != 0 || host.kernel_memory_tcp != 0,
        ),
        ("--cpu-count", host.cpu_count != 0),
        ("--cpu-percent", host.cpu_percent != 0),
        ("--io-maxiops", host.io_maximum_iops != 0),
        ("--io-maxbandwidth", host.io_maximum_bandwidth != 0),
    ]
}
