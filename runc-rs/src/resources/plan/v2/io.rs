//! The io controller of v2. It has no weights for leaves.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{ControlWrite, Controller, Existing, PlanError};
use crate::resources::plan::WeightFile;

/// The range of weights in a specification, which is v1's.
const WEIGHT_MIN: u16 = 10;
const WEIGHT_MAX: u16 = 1000;

/// Returns the writes. A weight of zero means unset, a rate of zero no limit.
pub(super) fn plan(
    block_io: &LinuxBlockIo,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    let mut writes = plan_weights(block_io, existing.weight_file)?;
    let throttles = [
        ("rbps", block_io.throttle_read_bps_device()),
        ("wbps", block_io.throttle_write_bps_device()),
        ("riops", block_io.throttle_read_iops_device()),
        ("wiops", block_io.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        let devices = devices.iter().flatten();
        writes.extend(devices.map(|device| throttle(key, device)));
    }
    Ok(writes)
}

fn plan_weights(
    block_io: &LinuxBlockIo,
    weight_file: WeightFile,
) -> Result<Vec<ControlWrite>, PlanError> {
    let file = match weight_file {
        WeightFile::Common => "io.weight",
        WeightFile::Bfq | WeightFile::BfqWithoutDevices => "io.bfq.weight",
    };
    let converted = |weight| match weight_file {
        WeightFile::Common => common_weight(weight),
        WeightFile::Bfq | WeightFile::BfqWithoutDevices => Ok(u64::from(weight)),
    };
    let mut writes = Vec::new();
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        writes.push(write(file, converted(weight)?.to_string()));
    }
    if weight_file == WeightFile::BfqWithoutDevices {
        return Ok(writes);
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let weight = converted(weight)?;
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            writes.push(write(file, value));
        }
    }
    Ok(writes)
}

/// Converts a weight of v1 (10 to 1000) to one of v2 (1 to 10000), linearly.
fn common_weight(weight: u16) -> Result<u64, PlanError> {
    if !(WEIGHT_MIN..=WEIGHT_MAX).contains(&weight) {
        return Err(PlanError::BlockWeight(weight));
    }
    Ok(1 + u64::from(weight - WEIGHT_MIN) * 9999 / 990)
}

fn throttle(key: &str, device: &LinuxThrottleDevice) -> ControlWrite {
    let rate = match device.rate() {
        0 => "max".to_owned(),
        rate => rate.to_string(),
    };
    let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
    write("io.max", value)
}

fn write(file: &'static str, value: String) -> ControlWrite {
    ControlWrite::new(Controller::Io, file, value)
}
