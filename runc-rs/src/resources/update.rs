//! What changing some limits of a container means for all of them. Pure.
//!
//! Zero in a request means "as it is", as with runc, where zero is no value of
//! its own. Device rules are never changed.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxResources,
    LinuxThrottleDevice, LinuxWeightDevice,
};

/// Returns the limits of a container, `recorded` so far, once `request` is in
/// force.
pub fn merged(recorded: &LinuxResources, request: &LinuxResources) -> LinuxResources {
    let mut merged = recorded.clone();
    if let Some(new) = request.memory() {
        let old = recorded.memory().unwrap_or_default();
        merged.set_memory(Some(merged_memory(old, *new)));
    }
    if let Some(new) = request.cpu() {
        let old = recorded.cpu().clone().unwrap_or_default();
        merged.set_cpu(Some(merged_cpu(old, new)));
    }
    if let Some(pids) = request.pids().filter(|pids| pids.limit() != 0) {
        merged.set_pids(Some(pids));
    }
    if let Some(new) = request.block_io() {
        let old = recorded.block_io().clone().unwrap_or_default();
        merged.set_block_io(Some(merged_block_io(old, new)));
    }
    if let Some(new) = request.hugepage_limits() {
        let mut limits = recorded.hugepage_limits().clone().unwrap_or_default();
        let is_same =
            |one: &LinuxHugepageLimit, two: &LinuxHugepageLimit| one.page_size() == two.page_size();
        replace_or_add(&mut limits, new, is_same);
        merged.set_hugepage_limits(Some(limits));
    }
    if let Some(new) = request.network() {
        let old = recorded.network().clone().unwrap_or_default();
        merged.set_network(Some(merged_network(old, new)));
    }
    merged.set_rdma(merged_map(recorded.rdma(), request.rdma()));
    merged.set_unified(merged_map(recorded.unified(), request.unified()));
    merged
}

/// Returns what to write for `request`: its own values and those they depend
/// on, which the kernel or a version's spelling has together with them.
pub fn completed(request: &LinuxResources, merged: &LinuxResources) -> LinuxResources {
    let mut completed = request.clone();
    completed.set_devices(None);
    if let (Some(new), Some(all)) = (request.memory(), merged.memory()) {
        let mut memory = *new;
        if is_set(new.limit()) || is_set(new.swap()) {
            memory.set_limit(all.limit()).set_swap(all.swap());
        }
        completed.set_memory(Some(memory));
    }
    if let (Some(new), Some(all)) = (request.cpu(), merged.cpu()) {
        let mut cpu = new.clone();
        if is_set(new.quota()) || new.period().is_some_and(|period| period != 0) {
            cpu.set_quota(all.quota()).set_period(all.period());
        }
        completed.set_cpu(Some(cpu));
    }
    completed
}

fn is_set(value: Option<i64>) -> bool {
    value.is_some_and(|value| value != 0)
}

/// Returns the new value, unless it is none or zero.
fn newer<T: Default + PartialEq>(new: Option<T>, old: Option<T>) -> Option<T> {
    new.filter(|new| *new != T::default()).or(old)
}

fn merged_memory(mut memory: LinuxMemory, new: LinuxMemory) -> LinuxMemory {
    memory.set_limit(newer(new.limit(), memory.limit()));
    memory.set_swap(newer(new.swap(), memory.swap()));
    // Memory without a limit frees swap too: a limit of the sum would hold it.
    if new.limit() == Some(-1) && !is_set(new.swap()) {
        memory.set_swap(Some(-1));
    }
    memory.set_reservation(newer(new.reservation(), memory.reservation()));
    memory.set_swappiness(new.swappiness().or(memory.swappiness()));
    memory.set_disable_oom_killer(new.disable_oom_killer().or(memory.disable_oom_killer()));
    memory.set_check_before_update(new.check_before_update().or(memory.check_before_update()));
    memory
}

fn merged_cpu(mut cpu: LinuxCpu, new: &LinuxCpu) -> LinuxCpu {
    cpu.set_shares(newer(new.shares(), cpu.shares()));
    cpu.set_quota(newer(new.quota(), cpu.quota()));
    cpu.set_period(newer(new.period(), cpu.period()));
    cpu.set_realtime_runtime(newer(new.realtime_runtime(), cpu.realtime_runtime()));
    cpu.set_realtime_period(newer(new.realtime_period(), cpu.realtime_period()));
    // Zero is a value of these two.
    cpu.set_burst(new.burst().or(cpu.burst()));
    cpu.set_idle(new.idle().or(cpu.idle()));
    cpu.set_cpus(newer(new.cpus().clone(), cpu.cpus().clone()));
    cpu.set_mems(newer(new.mems().clone(), cpu.mems().clone()));
    cpu
}

fn merged_block_io(mut block_io: LinuxBlockIo, new: &LinuxBlockIo) -> LinuxBlockIo {
    block_io.set_weight(newer(new.weight(), block_io.weight()));
    block_io.set_leaf_weight(newer(new.leaf_weight(), block_io.leaf_weight()));
    block_io.set_weight_device(merged_devices(
        block_io.weight_device(),
        new.weight_device(),
        |one: &LinuxWeightDevice| (one.major(), one.minor()),
    ));
    let device = |one: &LinuxThrottleDevice| (one.major(), one.minor());
    let merge = |old: &Option<Vec<_>>, new: &Option<Vec<_>>| merged_devices(old, new, device);
    let read_bps = merge(
        block_io.throttle_read_bps_device(),
        new.throttle_read_bps_device(),
    );
    let write_bps = merge(
        block_io.throttle_write_bps_device(),
        new.throttle_write_bps_device(),
    );
    let read_iops = merge(
        block_io.throttle_read_iops_device(),
        new.throttle_read_iops_device(),
    );
    let write_iops = merge(
        block_io.throttle_write_iops_device(),
        new.throttle_write_iops_device(),
    );
    block_io.set_throttle_read_bps_device(read_bps);
    block_io.set_throttle_write_bps_device(write_bps);
    block_io.set_throttle_read_iops_device(read_iops);
    block_io.set_throttle_write_iops_device(write_iops);
    block_io
}

fn merged_network(mut network: LinuxNetwork, new: &LinuxNetwork) -> LinuxNetwork {
    network.set_class_id(newer(new.class_id(), network.class_id()));
    if let Some(new) = new.priorities() {
        let mut priorities = network.priorities().clone().unwrap_or_default();
        replace_or_add(&mut priorities, new, |one, two| one.name() == two.name());
        network.set_priorities(Some(priorities));
    }
    network
}

fn merged_devices<T: Clone>(
    old: &Option<Vec<T>>,
    new: &Option<Vec<T>>,
    device: impl Fn(&T) -> (i64, i64),
) -> Option<Vec<T>> {
    let Some(new) = new else { return old.clone() };
    let mut all = old.clone().unwrap_or_default();
    replace_or_add(&mut all, new, |one, two| device(one) == device(two));
    Some(all)
}

fn replace_or_add<T: Clone>(all: &mut Vec<T>, new: &[T], is_same: impl Fn(&T, &T) -> bool) {
    for item in new {
        match all.iter_mut().find(|old| is_same(old, item)) {
            Some(old) => old.clone_from(item),
            None => all.push(item.clone()),
        }
    }
}

fn merged_map<T: Clone>(
    old: &Option<HashMap<String, T>>,
    new: &Option<HashMap<String, T>>,
) -> Option<HashMap<String, T>> {
    let Some(new) = new else { return old.clone() };
    let mut all = old.clone().unwrap_or_default();
    all.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
    Some(all)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;
    use serde_json::{Value, json};

    use super::{completed, merged};

    fn resources(value: Value) -> LinuxResources {
        serde_json::from_value(value).unwrap()
    }

    fn check(recorded: Value, request: Value, all: Value, written: Value) {
        let request = resources(request);
        let merged = merged(&resources(recorded), &request);
        assert_eq!(merged, resources(all), "merged, of {request:?}");
        let completed = completed(&request, &merged);
        assert_eq!(completed, resources(written), "written, of {request:?}");
    }

    #[test]
    fn a_request_brings_what_its_values_depend_on() {
        check(
            json!({"cpu": {"quota": 50000, "period": 100_000, "shares": 512}}),
            json!({"cpu": {"quota": 60000}}),
            json!({"cpu": {"quota": 60000, "period": 100_000, "shares": 512}}),
            json!({"cpu": {"quota": 60000, "period": 100_000}}),
        );
        check(
            json!({"memory": {"limit": 30, "swap": 50, "reservation": 20}}),
            json!({"memory": {"limit": 40}}),
            json!({"memory": {"limit": 40, "swap": 50, "reservation": 20}}),
            json!({"memory": {"limit": 40, "swap": 50}}),
        );
        check(
            json!({"memory": {"limit": 30, "swap": 50}}),
            json!({"memory": {"reservation": 10}}),
            json!({"memory": {"limit": 30, "swap": 50, "reservation": 10}}),
            json!({"memory": {"reservation": 10}}),
        );
    }

    #[test]
    fn memory_without_a_limit_frees_swap_too() {
        check(
            json!({"memory": {"limit": 30, "swap": 50}}),
            json!({"memory": {"limit": -1}}),
            json!({"memory": {"limit": -1, "swap": -1}}),
            json!({"memory": {"limit": -1, "swap": -1}}),
        );
    }

    #[test]
    fn zero_means_as_it_is_where_it_is_no_value() {
        check(
            json!({"memory": {"limit": 30}, "cpu": {"shares": 5, "burst": 7}, "pids": {"limit": 3}}),
            json!({"memory": {"limit": 0}, "cpu": {"shares": 0, "burst": 0}, "pids": {"limit": 0}}),
            json!({"memory": {"limit": 30}, "cpu": {"shares": 5, "burst": 0}, "pids": {"limit": 3}}),
            json!({"memory": {"limit": 0}, "cpu": {"shares": 0, "burst": 0}, "pids": {"limit": 0}}),
        );
    }

    #[test]
    fn lists_are_merged_by_what_they_are_about() {
        let rates = |rates: &[(i64, u64)]| -> Value {
            let rates = rates.iter();
            rates
                .map(|(minor, rate)| json!({"major": 8, "minor": minor, "rate": rate}))
                .collect()
        };
        check(
            json!({"blockIO": {"throttleReadBpsDevice": rates(&[(0, 1), (16, 2)])},
                   "unified": {"a.b": "1", "c.d": "2"}}),
            json!({"blockIO": {"throttleReadBpsDevice": rates(&[(16, 3), (32, 4)])},
                   "unified": {"c.d": "3"}}),
            json!({"blockIO": {"throttleReadBpsDevice": rates(&[(0, 1), (16, 3), (32, 4)])},
                   "unified": {"a.b": "1", "c.d": "3"}}),
            json!({"blockIO": {"throttleReadBpsDevice": rates(&[(16, 3), (32, 4)])},
                   "unified": {"c.d": "3"}}),
        );
    }

    #[test]
    fn device_rules_stay() {
        let rules = json!([{"allow": false, "access": "rwm"}]);
        check(
            json!({"devices": rules}),
            json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 1}}),
            json!({"devices": rules, "pids": {"limit": 1}}),
            json!({"pids": {"limit": 1}}),
        );
    }
}
