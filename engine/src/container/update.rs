//! Changing limits and restart policy of a container that exists.

use std::sync::Arc;

use base::file::{FileMode, remove_if_there, replace};
use engine_api::host_config::HostConfig;
use engine_model::plan::changed_limits;
use engine_model::{ContainerConfig, Status};
use engine_shim_api::ControlRequest;

use super::create::{refuse, resources, restart_policy};
use super::{Container, Requested, shim};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, invalid};
use crate::event::CONTAINER_UPDATED;

/// Changes what `wanted` names; zero and empty mean as before, as with Docker.
///
/// # Errors
/// Invalid or conflict for what cannot be, and the runtime's own message; the
/// container is as before then.
pub async fn update(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    wanted: HostConfig,
) -> Result<()> {
    refuse::unsupported_host_options(&wanted)?;
    let _operation = container.operation.lock().await;
    let state = container.state();
    if matches!(state.status, Status::Removing | Status::Dead) {
        return Err(conflict(format!(
            "Container is marked for removal and cannot be \"update\". Container: {}",
            container.id
        )));
    }
    let (config, requested) = (container.config(), container.requested());
    let host = merge(&requested.host_config, &wanted)?;
    let new = ContainerConfig {
        resources: resources::convert(&host)?,
        restart: restart_policy(&host)?,
        ..ContainerConfig::clone(&config)
    };
    let limits = changed_limits(&config.resources, &new.resources).or_invalid()?;
    let new_requested = Requested {
        host_config: host,
        ..Requested::clone(&requested)
    };
    redefine(container, new, new_requested).await?;
    if let Some(limits) = limits.filter(|_| state.is_live()) {
        let content = serde_json::to_vec(&limits).or_internal()?;
        if let Err(failure) = limit_now(engine, container, content).await {
            redefine(
                container,
                ContainerConfig::clone(&config),
                Requested::clone(&requested),
            )
            .await?;
            return Err(failure);
        }
    }
    engine.bus.publish(
        CONTAINER_UPDATED,
        container.id.to_string(),
        &serde_json::json!({}),
    )?;
    Ok(())
}

async fn redefine(
    container: &Arc<Container>,
    config: ContainerConfig,
    requested: Requested,
) -> Result<()> {
    let container = container.clone();
    crate::blocking(move || container.redefine(config, requested)).await
}

/// Has the runtime limit the processes that run.
async fn limit_now(engine: &Engine, container: &Container, content: Vec<u8>) -> Result<()> {
    let run = container.run();
    let resources = engine.instance.shim(&run).join("resources.json");
    replace(&resources, &content, FileMode::Private).or_internal()?;
    let request = ControlRequest::Update {
        resources: resources.clone(),
    };
    let updated = shim::call(engine, &run, request).await;
    remove_if_there(&resources).or_internal()?;
    updated.map(drop)
}

/// Returns the configuration with what `wanted` changes.
fn merge(old: &HostConfig, wanted: &HostConfig) -> Result<HostConfig> {
    let mut host = old.clone();
    merge_memory(&mut host, wanted)?;
    merge_processors(&mut host, wanted)?;
    if wanted.pids_limit.is_some() {
        host.pids_limit = wanted.pids_limit;
    }
    if !wanted.restart_policy.name.is_empty() {
        if host.auto_remove && wanted.restart_policy.name != "no" {
            return Err(conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        host.restart_policy = wanted.restart_policy.clone();
    }
    Ok(host)
}

fn merge_memory(host: &mut HostConfig, wanted: &HostConfig) -> Result<()> {
    if wanted.memory != 0 {
        // What was said of swap, or followed from the memory, stays.
        let swap = resources::swap(host).unwrap_or(0);
        if wanted.memory_swap == 0 && swap > 0 && wanted.memory > swap {
            return Err(invalid(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ));
        }
        host.memory = wanted.memory;
        host.memory_swap = swap;
    }
    change(&mut host.memory_swap, wanted.memory_swap);
    change(&mut host.memory_reservation, wanted.memory_reservation);
    Ok(())
}

fn merge_processors(host: &mut HostConfig, wanted: &HostConfig) -> Result<()> {
    let had_bandwidth = host.cpu_period != 0 || host.cpu_quota != 0;
    if wanted.nano_cpus != 0 && had_bandwidth {
        return Err(conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period or Quota has already been set",
        ));
    }
    if host.nano_cpus != 0 && (wanted.cpu_period != 0 || wanted.cpu_quota != 0) {
        return Err(conflict(
            "Conflicting options: CPU Period or Quota cannot be updated as NanoCPUs has already been set",
        ));
    }
    change(&mut host.nano_cpus, wanted.nano_cpus);
    change(&mut host.cpu_period, wanted.cpu_period);
    change(&mut host.cpu_quota, wanted.cpu_quota);
    change(&mut host.blkio_weight, wanted.blkio_weight);
    change(&mut host.cpu_shares, wanted.cpu_shares);
    change(&mut host.cpu_realtime_period, wanted.cpu_realtime_period);
    change(&mut host.cpu_realtime_runtime, wanted.cpu_realtime_runtime);
    change(&mut host.cpuset_cpus, wanted.cpuset_cpus.clone());
    change(&mut host.cpuset_mems, wanted.cpuset_mems.clone());
    Ok(())
}

fn change<T: Default + PartialEq>(old: &mut T, wanted: T) {
    if wanted != T::default() {
        *old = wanted;
    }
}

#[cfg(test)]
mod tests {
    use engine_api::host_config::RestartPolicy;

    use super::*;

    fn merged(old: HostConfig, wanted: HostConfig) -> Result<HostConfig, String> {
        merge(&old, &wanted).map_err(|failure| failure.message)
    }

    #[test]
    fn what_is_not_named_stays() {
        let old = HostConfig {
            memory: 64 << 20,
            cpu_shares: 100,
            pids_limit: Some(9),
            restart_policy: RestartPolicy {
                name: "always".to_owned(),
                maximum_retry_count: 0,
            },
            ..HostConfig::default()
        };
        let wanted = HostConfig {
            cpu_shares: 200,
            cpuset_cpus: "0".to_owned(),
            ..HostConfig::default()
        };
        let host = merged(old.clone(), wanted).unwrap();
        assert_eq!((host.memory, host.cpu_shares), (64 << 20, 200));
        assert_eq!((host.cpuset_cpus.as_str(), host.pids_limit), ("0", Some(9)));
        assert_eq!(host.restart_policy, old.restart_policy);
    }

    #[test]
    fn memory_does_not_grow_beyond_what_it_and_swap_may_have() {
        let old = HostConfig {
            memory: 64 << 20,
            ..HostConfig::default()
        };
        let memory = |memory: i64, memory_swap: i64| HostConfig {
            memory,
            memory_swap,
            ..HostConfig::default()
        };
        let host = merged(old.clone(), memory(100 << 20, 0)).unwrap();
        assert_eq!((host.memory, host.memory_swap), (100 << 20, 128 << 20));
        let error = merged(old.clone(), memory(200 << 20, 0)).unwrap_err();
        assert!(error.contains("memoryswap"), "{error}");
        let host = merged(old, memory(200 << 20, -1)).unwrap();
        assert_eq!((host.memory, host.memory_swap), (200 << 20, -1));
    }

    #[test]
    fn one_way_to_limit_processors_excludes_the_other() {
        let nano = HostConfig {
            nano_cpus: 500_000_000,
            ..HostConfig::default()
        };
        let quota = HostConfig {
            cpu_quota: 50_000,
            ..HostConfig::default()
        };
        assert!(merged(nano.clone(), quota.clone()).is_err());
        assert!(merged(quota.clone(), nano.clone()).is_err());
        assert!(merged(quota.clone(), quota).is_ok());
        assert!(merged(nano.clone(), nano).is_ok());
    }

    #[test]
    fn what_is_removed_at_its_end_is_not_restarted() {
        let old = HostConfig {
            auto_remove: true,
            ..HostConfig::default()
        };
        let wanted = HostConfig {
            restart_policy: RestartPolicy {
                name: "always".to_owned(),
                maximum_retry_count: 0,
            },
            ..HostConfig::default()
        };
        assert!(merged(old, wanted).unwrap_err().contains("AutoRemove"));
    }
}
