//! What is made in `/dev`.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use super::mounts::has_foreign_dev;
use super::{Planner, in_container, lexical};
use crate::rootfs::RootfsError;
use crate::rootfs::steps::{Link, Node, NodeKind, NodeWay, Step};

const EVERYBODY: u32 = 0o666;
const MODE_BITS: u32 = 0o7777;
/// The highest numbers of a device.
const MAJOR_LIMIT: u32 = (1 << 12) - 1;
const MINOR_LIMIT: u32 = (1 << 20) - 1;

/// What every container has: name, major and minor number.
const DEFAULT_NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

impl Planner<'_> {
    pub(super) fn add_devices(&mut self) -> Result<(), RootfsError> {
        if has_foreign_dev(self) {
            return Ok(());
        }
        let spec = self.spec;
        let devices = spec
            .linux()
            .iter()
            .filter_map(|linux| Linux::devices(linux).as_ref());
        let mut taken = Vec::new();
        for device in devices.flatten() {
            // The multiplexer is the container's own, whatever is asked.
            if lexical(device.path()) == Path::new("/dev/ptmx") {
                continue;
            }
            taken.push(lexical(device.path()));
            let node = self.node(device)?;
            self.steps.push(Step::Node(node));
        }
        let defaults = DEFAULT_NODES.iter();
        for (path, major, minor) in defaults.filter(|node| !taken.contains(&PathBuf::from(node.0)))
        {
            let node = self.default_node(path, *major, *minor);
            self.steps.push(Step::Node(node));
        }
        self.steps.push(Step::Multiplexer);
        let core = self.facts.has_kcore.then_some(("core", "/proc/kcore"));
        let links = LINKS.into_iter().chain(core).map(|(name, target)| {
            Step::Link(Link {
                directory: PathBuf::from("/dev"),
                name: name.to_owned(),
                target: target.to_owned(),
            })
        });
        self.steps.extend(links);
        Ok(())
    }

    fn default_node(&self, path: &str, major: u32, minor: u32) -> Node {
        Node {
            path: PathBuf::from(path),
            kind: NodeKind::Character,
            major,
            minor,
            mode: EVERYBODY,
            uid: 0,
            gid: 0,
            way: self.way(NodeKind::Character),
        }
    }

    fn way(&self, kind: NodeKind) -> NodeWay {
        match self.is_in_user_namespace() && kind != NodeKind::Pipe {
            true => NodeWay::Bind,
            false => NodeWay::Make,
        }
    }

    fn node(&self, device: &LinuxDevice) -> Result<Node, RootfsError> {
        let impossible = || RootfsError::DeviceNumber(device.path().clone());
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Character,
            LinuxDeviceType::B => NodeKind::Block,
            LinuxDeviceType::P => NodeKind::Pipe,
            LinuxDeviceType::A => return Err(RootfsError::DeviceType(device.path().clone())),
        };
        let number = |number: i64, limit: u32| {
            let number = u32::try_from(number).ok().filter(|number| *number <= limit);
            // A pipe's numbers mean nothing.
            number
                .or((kind == NodeKind::Pipe).then_some(0))
                .ok_or_else(impossible)
        };
        Ok(Node {
            path: in_container(device.path()),
            kind,
            major: number(device.major(), MAJOR_LIMIT)?,
            minor: number(device.minor(), MINOR_LIMIT)?,
            // Some write the file type as well, which the kind says already.
            mode: device.file_mode().unwrap_or(EVERYBODY) & MODE_BITS,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            way: self.way(kind),
        })
    }
}
