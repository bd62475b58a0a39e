//! Network devices that go from the runtime's network namespace into the
//! container's, with their addresses (runtime-spec 1.3, `linux.netDevices`).

mod route;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use base::file::{PathContext as _, PathError};
use oci_spec::runtime::LinuxNetDevice;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use self::route::Route;

/// `IFNAMSIZ` without the end of the text.
const NAME_LIMIT_BYTES: usize = 15;
/// For which the kernel puts the first number that is free.
const NUMBER: &str = "%d";

/// Says which device was not moved.
#[derive(Debug, thiserror::Error)]
pub enum NetDeviceError {
    #[error("linux.netDevices: {0:?} is not a name of a network device")]
    Name(String),
    #[error("linux.netDevices: two devices are to be called {0:?}")]
    SameName(String),
    #[error("unable to move network devices without a private network namespace")]
    NoNamespace,
    #[error("network device {name:?}: cannot {action}")]
    Kernel {
        name: String,
        action: &'static str,
        source: io::Error,
    },
    #[error("cannot enter the container's network namespace")]
    Enter(#[source] io::Error),
    #[error(transparent)]
    File(#[from] PathError),
}

/// A device, as it is called here and there, there perhaps by a template: `eth%d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub to: String,
    pub from: String,
}

impl Move {
    fn is_to_template(&self) -> bool {
        self.to.contains(NUMBER)
    }
}

/// Returns the moves that a specification wants, in the order of their names.
///
/// # Errors
/// When one is no name, or is wanted twice.
pub fn plan<'a>(
    devices: impl IntoIterator<Item = (&'a String, &'a LinuxNetDevice)>,
) -> Result<Vec<Move>, NetDeviceError> {
    let mut moves = Vec::new();
    for (from, device) in devices {
        let to = device.name().clone().filter(|name| !name.is_empty());
        let to = to.unwrap_or_else(|| from.clone());
        // The kernel takes one number.
        for (name, plain) in [(from, from.clone()), (&to, to.replacen(NUMBER, "", 1))] {
            if !is_name(name) || plain.contains('%') {
                return Err(NetDeviceError::Name(name.clone()));
            }
        }
        let from = from.clone();
        moves.push(Move { to, from });
    }
    // Templates last, so that they take no number of a name that is wanted.
    moves.sort_by_key(|one| (one.is_to_template(), one.to.clone(), one.from.clone()));
    let is_double = |pair: &&[Move]| pair[0].to == pair[1].to && !pair[0].is_to_template();
    match moves.windows(2).find(is_double) {
        Some(pair) => Err(NetDeviceError::SameName(pair[0].to.clone())),
        None => Ok(moves),
    }
}

/// What the kernel takes as a name (`dev_valid_name`).
fn is_name(name: &str) -> bool {
    let is_odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
    (1..=NAME_LIMIT_BYTES).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.bytes().any(is_odd)
}

/// Moves devices into the network namespace of a process.
///
/// # Errors
/// Which device could not be moved; those before it are moved then, and go
/// where the kernel puts them when that namespace ends.
pub fn perform(moves: &[Move], pid: i32) -> Result<(), NetDeviceError> {
    if moves.is_empty() {
        return Ok(());
    }
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let namespace = File::open(&path).at("open", &path)?;
    // A thread of its own, since it stays in the other namespace.
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| move_all(moves, namespace.as_fd()));
        moved.join().expect("moving devices does not panic")
    })
}

fn move_all(moves: &[Move], namespace: BorrowedFd<'_>) -> Result<(), NetDeviceError> {
    let mut here = Route::open().map_err(NetDeviceError::Enter)?;
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .map_err(|error| NetDeviceError::Enter(error.into()))?;
    let mut there = Route::open().map_err(NetDeviceError::Enter)?;
    for device in moves {
        move_one(device, &mut here, &mut there, namespace)?;
    }
    Ok(())
}

fn move_one(
    device: &Move,
    here: &mut Route,
    there: &mut Route,
    namespace: BorrowedFd<'_>,
) -> Result<(), NetDeviceError> {
    let failed = |action| {
        move |source| NetDeviceError::Kernel {
            name: device.from.clone(),
            action,
            source,
        }
    };
    let index = here.index(&device.from).map_err(failed("find it"))?;
    let addresses = here
        .addresses(index)
        .map_err(failed("list its addresses"))?;
    let known = match device.is_to_template() {
        true => there.indexes().map_err(failed("list the container's"))?,
        false => Vec::new(),
    };
    here.move_link(index, namespace, &device.to)
        .map_err(failed("move it into the container"))?;
    let index = match device.is_to_template() {
        true => there.new_index(&known),
        false => there.index(&device.to),
    }
    .map_err(failed("find it in the container"))?;
    for address in addresses {
        there
            .add_address(index, &address)
            .map_err(failed("give it back an address"))?;
    }
    there.set_up(index).map_err(failed("set it up"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    fn planned(devices: serde_json::Value) -> Result<Vec<Move>, String> {
        let devices: HashMap<String, LinuxNetDevice> = serde_json::from_value(devices).unwrap();
        plan(&devices).map_err(|error| error.to_string())
    }

    #[test]
    fn devices_keep_their_names_or_get_others() {
        let moves = planned(json!({"b": {"name": "eth0"}, "a": {}, "c": {"name": ""}})).unwrap();
        let pairs: Vec<_> = moves.iter().map(|one| (&*one.from, &*one.to)).collect();
        assert_eq!(pairs, [("a", "a"), ("c", "c"), ("b", "eth0")]);
    }

    #[test]
    fn several_devices_may_have_one_template() {
        let moves = json!({"b": {"name": "eth%d"}, "a": {"name": "eth%d"}, "c": {"name": "eth0"}});
        let moves = planned(moves).unwrap();
        let pairs: Vec<_> = moves.iter().map(|one| (&*one.from, &*one.to)).collect();
        assert_eq!(pairs, [("c", "eth0"), ("a", "eth%d"), ("b", "eth%d")]);
    }

    #[test]
    fn names_that_the_kernel_does_not_take_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "eth%d%d",
            "eth%s",
            "a:b",
            "a b",
            "longer-than-15-b",
        ] {
            let error = planned(json!({name: {"name": "ok"}})).unwrap_err();
            assert!(
                error.contains(&format!("{name:?} is not a name")),
                "{error}"
            );
        }
        let error = planned(json!({"eth%d": {"name": "ok"}})).unwrap_err();
        assert!(error.contains("is not a name"), "{error}");
        let error = planned(json!({"a": {"name": "x"}, "b": {"name": "x"}})).unwrap_err();
        assert!(error.contains("two devices"), "{error}");
    }
}
