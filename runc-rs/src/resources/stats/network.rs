//! What went through the interfaces of a container.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use base::file::{PathContext as _, PathError};

use super::NetworkInterface;
use crate::proc::LiveProcess;
use crate::resources::files;

const LOOPBACK: &str = "lo";

/// Measures the interfaces of a container that has a network of its own; those
/// of the host are not its.
pub(super) fn measure(init: &LiveProcess) -> Result<Vec<NetworkInterface>, PathError> {
    let (own, theirs) = (
        std::path::Path::new("/proc/self/ns/net"),
        init.path("ns/net"),
    );
    let own = fs::metadata(own).at("look at", own)?;
    let theirs = match fs::metadata(&theirs) {
        // It has just ended.
        Err(_) => return Ok(Vec::new()),
        Ok(theirs) => theirs,
    };
    if (own.dev(), own.ino()) == (theirs.dev(), theirs.ino()) {
        return Ok(Vec::new());
    }
    let text = files::read_if_there(&init.path("net/dev"))?;
    Ok(parse(&text.unwrap_or_default()))
}

/// Reads the table: a name, eight numbers of what was received, eight of what
/// was sent.
pub(super) fn parse(table: &str) -> Vec<NetworkInterface> {
    let interfaces = table.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let numbers = numbers.split_ascii_whitespace();
        let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
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
        Some(NetworkInterface {
            name: name.trim().to_owned(),
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        })
    });
    interfaces
        .filter(|interface| interface.name != LOOPBACK)
        .collect()
}
