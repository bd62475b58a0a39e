//! Limits of block devices in the runtime's form.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDevice,
    LinuxWeightDeviceBuilder,
};

use super::spec::{SpecError, build};
use crate::resources::BlockIo;

/// Major and minor numbers of block devices by the paths of their nodes.
pub type BlockDevices = BTreeMap<String, (u32, u32)>;

/// Returns the limits, `None` where there is none.
///
/// # Errors
/// When a device is not among `devices`.
pub(super) fn block_io(
    limits: &BlockIo,
    devices: &BlockDevices,
) -> Result<Option<LinuxBlockIo>, SpecError> {
    if *limits == BlockIo::default() {
        return Ok(None);
    }
    let throttled = |list: &[(String, u64)]| -> Result<_, SpecError> {
        let each = list
            .iter()
            .map(|(path, rate)| throttle(numbers(devices, path)?, *rate));
        Ok(some(each.collect::<Result<Vec<_>, _>>()?))
    };
    let weights = limits
        .device_weights
        .iter()
        .map(|(path, weight)| weigh(numbers(devices, path)?, *weight));
    let mut all = LinuxBlockIo::default();
    all.set_weight(limits.weight);
    all.set_weight_device(some(weights.collect::<Result<Vec<_>, _>>()?));
    all.set_throttle_read_bps_device(throttled(&limits.read_bytes_per_second)?);
    all.set_throttle_write_bps_device(throttled(&limits.write_bytes_per_second)?);
    all.set_throttle_read_iops_device(throttled(&limits.read_operations_per_second)?);
    all.set_throttle_write_iops_device(throttled(&limits.write_operations_per_second)?);
    Ok(Some(all))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn numbers(devices: &BlockDevices, path: &str) -> Result<(i64, i64), SpecError> {
    let found = devices.get(path);
    let (major, minor) = found.ok_or_else(|| SpecError::BlockDevice(path.to_owned()))?;
    Ok((i64::from(*major), i64::from(*minor)))
}

fn throttle((major, minor): (i64, i64), rate: u64) -> Result<LinuxThrottleDevice, SpecError> {
    let device = LinuxThrottleDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .rate(rate);
    build("limit of a block device", device.build())
}

fn weigh((major, minor): (i64, i64), weight: u16) -> Result<LinuxWeightDevice, SpecError> {
    let device = LinuxWeightDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .weight(weight);
    build("weight of a block device", device.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_their_numbers() {
        let limits = BlockIo {
            weight: Some(300),
            read_bytes_per_second: vec![("/dev/sda".to_owned(), 1 << 20)],
            ..BlockIo::default()
        };
        let devices = BlockDevices::from([("/dev/sda".to_owned(), (8, 0))]);
        let planned = block_io(&limits, &devices).unwrap();
        assert_eq!(
            serde_json::to_value(planned).unwrap(),
            serde_json::json!({
                "weight": 300,
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1 << 20}],
            })
        );
        block_io(&limits, &BlockDevices::new()).unwrap_err();
        assert_eq!(block_io(&BlockIo::default(), &devices).unwrap(), None);
    }
}
