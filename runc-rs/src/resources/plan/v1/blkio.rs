//! The blkio hierarchy of v1.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{ControlWrite, Controller, Existing};
use crate::resources::plan::WeightFile;

/// Returns the writes. Zero means unset, as with runc.
pub(super) fn plan(block_io: &LinuxBlockIo, existing: &Existing) -> Vec<ControlWrite> {
    let (weight_file, device_file) = match existing.weight_file {
        WeightFile::Common => ("blkio.weight", "blkio.weight_device"),
        WeightFile::Bfq | WeightFile::BfqWithoutDevices => {
            ("blkio.bfq.weight", "blkio.bfq.weight_device")
        }
    };
    let mut writes = Vec::new();
    let weights = [
        (weight_file, block_io.weight()),
        ("blkio.leaf_weight", block_io.leaf_weight()),
    ];
    for (file, weight) in weights {
        writes.extend(set(weight).map(|weight| write(file, weight)));
    }
    for device in block_io.weight_device().iter().flatten() {
        writes.extend(device_weights(device, device_file));
    }
    let throttles = [
        ("read_bps", block_io.throttle_read_bps_device()),
        ("write_bps", block_io.throttle_write_bps_device()),
        ("read_iops", block_io.throttle_read_iops_device()),
        ("write_iops", block_io.throttle_write_iops_device()),
    ];
    for (kind, devices) in throttles {
        let devices = devices.iter().flatten();
        writes.extend(devices.map(|device| throttle(kind, device)));
    }
    writes
}

fn device_weights(
    device: &LinuxWeightDevice,
    file: &'static str,
) -> impl Iterator<Item = ControlWrite> {
    let (major, minor) = (device.major(), device.minor());
    let files = [
        (file, device.weight()),
        ("blkio.leaf_weight_device", device.leaf_weight()),
    ];
    let files = files
        .into_iter()
        .filter_map(|(file, weight)| Some((file, set(weight)?)));
    files.map(move |(file, weight)| write(file, format!("{major}:{minor} {weight}")))
}

fn throttle(kind: &str, device: &LinuxThrottleDevice) -> ControlWrite {
    let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
    let file = format!("blkio.throttle.{kind}_device");
    ControlWrite::new(Controller::Blkio, file, value)
}

fn set(weight: Option<u16>) -> Option<u16> {
    weight.filter(|weight| *weight != 0)
}

fn write(file: &'static str, value: impl ToString) -> ControlWrite {
    ControlWrite::new(Controller::Blkio, file, value)
}
