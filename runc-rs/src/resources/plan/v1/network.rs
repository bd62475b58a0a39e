//! The `net_cls` and `net_prio` hierarchies, which only v1 has.

use oci_spec::runtime::LinuxNetwork;

use super::{ControlWrite, Controller, PlanError};

/// Returns the writes.
pub(super) fn plan(network: &LinuxNetwork) -> Result<Vec<ControlWrite>, PlanError> {
    let mut writes = Vec::new();
    // Zero is what a group has without being told.
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        writes.push(ControlWrite::new(
            Controller::NetCls,
            "net_cls.classid",
            class,
        ));
    }
    for priority in network.priorities().iter().flatten() {
        let name = priority.name();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(PlanError::Interface(name.clone()));
        }
        let value = format!("{name} {}", priority.priority());
        writes.push(ControlWrite::new(
            Controller::NetPrio,
            "net_prio.ifpriomap",
            value,
        ));
    }
    Ok(writes)
}
