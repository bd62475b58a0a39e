//! Reads the forms the kernel's measures have. Pure; a line that has another
//! form is left out, since kernels add lines.

use std::collections::BTreeMap;

use super::{BlkioEntry, Pressure, PressureShares, RdmaEntry};

/// Returns a number; `max` is the highest there is.
pub(super) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or_default(),
    }
}

/// Returns the numbers of lines `key number`.
pub(super) fn keyed(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    });
    pairs.collect()
}

/// Returns the members of a list such as `0-2,7`.
pub(super) fn list(text: &str) -> Vec<u16> {
    let mut members = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            members.extend(first..=last);
        }
    }
    members
}

/// Returns what `8:0 Read 17` and `8:0 17` say, without the totals.
pub(super) fn blkio(text: &str) -> Vec<BlkioEntry> {
    let entries = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    });
    entries.collect()
}

/// Returns what the lines `8:0 rbytes=1 wbytes=2` of v2 say of the two keys,
/// in v1's words.
pub(super) fn io(text: &str, read: &str, write: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((major, minor)) = device else {
            continue;
        };
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            let op = match key {
                key if key == read => "Read",
                key if key == write => "Write",
                _ => continue,
            };
            if let (Ok(major), Ok(minor), Ok(value)) = (major.parse(), minor.parse(), value.parse())
            {
                let op = op.to_owned();
                entries.push(BlkioEntry {
                    major,
                    minor,
                    op,
                    value,
                });
            }
        }
    }
    entries
}

/// Returns the pressure in lines such as `some avg10=0.00 ... total=0`.
pub(super) fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let shares = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            set_share(shares, key, value);
        }
    }
    pressure
}

fn set_share(shares: &mut PressureShares, key: &str, value: &str) {
    let share = value.parse().unwrap_or_default();
    match key {
        "avg10" => shares.avg10 = share,
        "avg60" => shares.avg60 = share,
        "avg300" => shares.avg300 = share,
        "total" => shares.total = value.parse().unwrap_or_default(),
        _ => {}
    }
}

/// Returns the lines `device hca_handle=1 hca_object=max`.
pub(super) fn rdma(text: &str) -> Vec<RdmaEntry> {
    let entries = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let mut entry = RdmaEntry {
            device: words.next()?.to_owned(),
            ..RdmaEntry::default()
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = match value {
                "max" => u32::MAX,
                value => value.parse().ok()?,
            };
            match key {
                "hca_handle" => entry.hca_handles = value,
                "hca_object" => entry.hca_objects = value,
                _ => {}
            }
        }
        Some(entry)
    });
    entries.collect()
}

/// Returns a page size as control files spell it, of the name of a directory
/// such as `hugepages-2048kB`.
pub(super) fn page_size(directory: &str) -> Option<String> {
    let kilobytes = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    let kilobytes: u64 = kilobytes.parse().ok()?;
    Some(match kilobytes {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    })
}
