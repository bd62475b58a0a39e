//! `VolumesFrom`: the volumes, binds and images of other containers.

use engine_model::{MountConfig, MountSource};

use crate::Engine;
use crate::error::{Result, invalid};

/// Adds what other containers have mounted, where nothing of `mounts` is; of
/// several that have something there the last counts, as in Docker.
///
/// # Errors
/// Not found for a container that is not there, invalid for a mode that is none.
pub(super) fn add(engine: &Engine, mounts: &mut Vec<MountConfig>, from: &[String]) -> Result<()> {
    let mut inherited: Vec<MountConfig> = Vec::new();
    for text in from {
        let (name, read_only) = parse(text)?;
        let other = engine.containers.find(name)?.config();
        for mount in other.mounts.iter().filter_map(|it| shared(it, read_only)) {
            inherited.retain(|known| known.destination != mount.destination);
            inherited.push(mount);
        }
    }
    let is_free = |mount: &MountConfig| {
        mounts
            .iter()
            .all(|own| own.destination != mount.destination)
    };
    inherited.retain(is_free);
    mounts.extend(inherited);
    Ok(())
}

/// `container[:mode]`, where labels for SELinux are taken and mean nothing here.
fn parse(text: &str) -> Result<(&str, bool)> {
    let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
    if name.is_empty() {
        return Err(invalid(format!(
            "invalid volumes-from specification: {text:?}"
        )));
    }
    let mut read_only = None;
    for part in mode.split(',') {
        match part {
            "ro" | "rw" if read_only.is_none() => read_only = Some(part == "ro"),
            "z" | "Z" | "nocopy" => {}
            _ => return Err(invalid(format!("invalid mode for volumes-from: {mode}"))),
        }
    }
    Ok((name, read_only == Some(true)))
}

/// Returns the mount as another container gets it; a tmpfs is nobody else's.
fn shared(mount: &MountConfig, read_only: bool) -> Option<MountConfig> {
    let source = match &mount.source {
        MountSource::Tmpfs { .. } => return None,
        MountSource::Volume {
            name,
            anonymous,
            subpath,
            ..
        } => MountSource::Volume {
            name: name.clone(),
            copy_up: false,
            anonymous: *anonymous,
            subpath: subpath.clone(),
        },
        other @ (MountSource::Bind { .. } | MountSource::Image { .. }) => other.clone(),
    };
    Some(MountConfig {
        destination: mount.destination.clone(),
        read_only: mount.read_only || read_only,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_mode_follows_the_name() {
        assert_eq!(parse("data").unwrap(), ("data", false));
        assert_eq!(parse("data:ro").unwrap(), ("data", true));
        assert_eq!(parse("data:rw,z").unwrap(), ("data", false));
        for wrong in [":ro", "data:", "data:ro,rw", "data:rx"] {
            parse(wrong).unwrap_err();
        }
    }
}
