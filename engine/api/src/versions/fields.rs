//! Paths of fields: `[].HostConfig.Annotations`, `[]` for every entry of a list, `*` for
//! every field of an object.

use serde_json::{Map, Value};

/// Calls `change` with every object that is to have the last field of a path.
pub(super) fn visit(
    path: &str,
    value: &mut Value,
    change: &mut dyn FnMut(&mut Map<String, Value>),
) {
    let Some((step, rest)) = split(path) else {
        if let Value::Object(object) = value {
            change(object);
        }
        return;
    };
    match (step, value) {
        ("[]", Value::Array(all)) => all.iter_mut().for_each(|one| visit(rest, one, change)),
        ("*", Value::Object(all)) => all.values_mut().for_each(|one| visit(rest, one, change)),
        (name, Value::Object(object)) => {
            if let Some(below) = object.get_mut(name) {
                visit(rest, below, change);
            }
        }
        _ => {}
    }
}

/// Makes the objects that a path of plain names goes through, where there are none.
pub(super) fn ensure(path: &str, value: &mut Value) {
    let (Some((step, rest)), Value::Object(object)) = (split(path), value) else {
        return;
    };
    let below = object.entry(step).or_insert(Value::Null);
    if below.is_null() {
        *below = Value::Object(Map::new());
    }
    ensure(rest, below);
}

/// Returns the last field of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Takes the first step off; none where the last is left.
fn split(path: &str) -> Option<(&str, &str)> {
    path.split_once('.')
}
