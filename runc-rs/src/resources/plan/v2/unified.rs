//! Values that name their file themselves: whatever v2 has and the
//! specification has no field for, such as `misc.max` and `memory.high`.

use std::collections::HashMap;

use super::{ControlWrite, Controller, Existing, PlanError};

/// What the files of control groups as such begin with.
const CORE: &str = "cgroup";

/// Returns the writes, one for each line of a value: the kernel takes one line
/// at a time.
///
/// # Errors
/// When a key is a path, or names a controller the group does not have.
pub(super) fn plan(
    values: &HashMap<String, String>,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    // The kernel refuses the weight of an idle group.
    let is_idle = values.get("cpu.idle").is_some_and(|idle| idle == "1");
    let is_left_out = |file: &str| is_idle && file == "cpu.weight";
    let mut values: Vec<_> = values
        .iter()
        .filter(|(file, _)| !is_left_out(file))
        .collect();
    values.sort();
    let mut writes = Vec::new();
    for (key, value) in values {
        check_key(key, existing)?;
        let lines = value.lines();
        writes.extend(lines.map(|line| ControlWrite::new(Controller::Unified, key.clone(), line)));
    }
    Ok(writes)
}

fn check_key(key: &str, existing: &Existing) -> Result<(), PlanError> {
    if key.contains('/') {
        return Err(PlanError::UnifiedSlash(key.to_owned()));
    }
    let Some((controller, _)) = key.split_once('.') else {
        return Err(PlanError::UnifiedForm(key.to_owned()));
    };
    if controller != CORE && !existing.controllers.contains(controller) {
        return Err(PlanError::UnifiedController {
            key: key.to_owned(),
            controller: controller.to_owned(),
        });
    }
    Ok(())
}
