//! The kernel's files that a container must not see, or not write.

/// Hidden: they tell about the host, its hardware or its keys.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Hidden too: they give away what neighbours compute, by power and heat.
const POWER: &str = "/sys/devices/virtual/powercap";

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Returns what to hide on a host whose processors report their heat at `thermal`.
pub(crate) fn masked(thermal: &[String]) -> Vec<String> {
    let fixed = MASKED.iter().chain([&POWER]).map(|path| (*path).to_owned());
    fixed.chain(thermal.iter().cloned()).collect()
}

/// Returns what to make read-only.
pub(crate) fn read_only() -> Vec<String> {
    READ_ONLY.map(str::to_owned).to_vec()
}
