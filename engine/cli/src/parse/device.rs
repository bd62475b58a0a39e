//! Devices, `/dev/fuse[:/dev/x][:rwm]`.

use engine_api::host_config::DeviceMapping;

use super::{ParseError, refuse};

/// Reads a device.
pub(crate) fn parse(text: &str) -> Result<DeviceMapping, ParseError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, permissions) = match *parts.as_slice() {
        [host] => (host, host, "rwm"),
        [host, mode] if is_permissions(mode) => (host, host, mode),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, mode] if is_permissions(mode) => (host, inside, mode),
        _ => return refuse(format!("invalid device specification: {text}")),
    };
    if !host.starts_with('/') || !inside.starts_with('/') {
        return refuse(format!(
            "invalid device specification: {text}: paths must be absolute"
        ));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: permissions.to_owned(),
    })
}

/// Returns whether `text` is a choice of `r`, `w` and `m`, each at most once.
fn is_permissions(text: &str) -> bool {
    let once = |letter: char| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && "rwm".chars().all(once)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_as_docker_reads_them() {
        let read = |text| {
            let device = parse(text).unwrap();
            (device.path_in_container, device.cgroup_permissions)
        };
        assert_eq!(read("/dev/a"), ("/dev/a".into(), "rwm".into()));
        assert_eq!(read("/dev/a:r"), ("/dev/a".into(), "r".into()));
        assert_eq!(read("/dev/a:/dev/b"), ("/dev/b".into(), "rwm".into()));
        assert_eq!(read("/dev/a:/dev/b:mr"), ("/dev/b".into(), "mr".into()));
        for bad in [
            "",
            "dev",
            "/dev/a:/dev/b:x",
            "/dev/a:/dev/b:rr",
            "/a:/b:r:w",
            "/dev/a:",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
