//! What procfs says of the host, and of the interfaces of a process.

use std::collections::BTreeMap;

use engine_api::stats::NetworkStats;

/// `/proc/stat` counts in ticks of a hundredth of a second.
const TICK_NANOSECONDS: u64 = 10_000_000;
/// Of the times of `/proc/stat` those before guests', which are in them.
const TIMES: usize = 7;

/// Returns the nanoseconds that all processors have spent, on whatever, and how many
/// there are.
pub(super) fn processors() -> (u64, u32) {
    parse_processors(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_processors(text: &str) -> (u64, u32) {
    let sum = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .into_iter()
        .flat_map(str::split_whitespace)
        .take(TIMES)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .fold(0, u64::saturating_add);
    let is_processor = |line: &&str| {
        let rest = line.strip_prefix("cpu");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let count = text.lines().filter(is_processor).count();
    (
        sum.saturating_mul(TICK_NANOSECONDS),
        u32::try_from(count).unwrap_or(u32::MAX),
    )
}

/// Returns the host's memory.
pub(super) fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Returns what went over the interfaces that a process sees, but the loopback.
pub(super) fn interfaces(pid: u32) -> BTreeMap<String, NetworkStats> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines().filter_map(parse_interface).collect()
}

fn parse_interface(line: &str) -> Option<(String, NetworkStats)> {
    let (name, rest) = line.split_once(':')?;
    let name = name.trim();
    let numbers: Vec<u64> = rest
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    // Eight columns each, of which bytes, packets, errors and drops come first.
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..,
    ] = numbers[..]
    else {
        return None;
    };
    let stats = NetworkStats {
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    };
    (name != "lo").then(|| (name.to_owned(), stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_time_is_not_counted_twice() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n";
        assert_eq!(parse_processors(text), (280_000_000, 2));
    }

    #[test]
    fn interfaces_are_read_but_the_loopback() {
        let text = "Inter-|   Receive\n face |bytes    packets\n    \
            lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
            eth0:1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n";
        let found: BTreeMap<_, _> = text.lines().filter_map(parse_interface).collect();
        assert_eq!(found.len(), 1);
        let eth0 = &found["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped), (1000, 2));
        assert_eq!((eth0.tx_bytes, eth0.tx_dropped), (2000, 4));
    }
}
