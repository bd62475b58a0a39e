//! Mounts: `Binds` (`-v`), `Mounts` (`--mount`), `Tmpfs`, and the image's volumes.

use base::size::ByteSize;
use base::{Failure, VolumeName};
use engine_api::config::ContainerConfig as RequestedConfig;
use engine_api::host_config::HostConfig;
use engine_api::mount::Mount;
use engine_model::{MountConfig, MountSource, Propagation};

use super::image_mounts;
use crate::Engine;
use crate::error::{OrFail as _, Result, invalid};

/// Converts every kind of mount; a later kind does not replace an earlier one.
///
/// # Errors
/// Invalid for a specification Docker refuses too, or a destination twice.
pub(super) fn convert(
    engine: &Engine,
    config: &RequestedConfig,
    host: &HostConfig,
) -> Result<Vec<MountConfig>> {
    let mut mounts = Vec::new();
    for bind in host.binds.iter().flatten() {
        mounts.push(parse_bind(bind)?);
    }
    for mount in &host.mounts {
        let parsed = match mount.r#type.as_str() {
            image_mounts::TYPE => image_mounts::convert(engine, mount)?,
            _ => parse_mount(mount)?,
        };
        mounts.push(parsed);
    }
    for (destination, options) in &host.tmpfs {
        mounts.push(parse_tmpfs(destination, options)?);
    }
    super::unique(mounts.iter().map(|mount| mount.destination.as_str()))?;
    super::volumes_from::add(
        engine,
        &mut mounts,
        host.volumes_from.as_deref().unwrap_or_default(),
    )?;
    for destination in config
        .volumes
        .iter()
        .flatten()
        .map(|(destination, _)| destination)
    {
        let destination = clean(destination)?;
        if !mounts.iter().any(|mount| mount.destination == destination) {
            mounts.push(MountConfig {
                destination,
                read_only: false,
                source: anonymous(),
            });
        }
    }
    Ok(mounts)
}

fn anonymous() -> MountSource {
    MountSource::Volume {
        name: VolumeName::random(),
        copy_up: true,
        anonymous: true,
        subpath: None,
    }
}

/// An absolute path without dots and doubled slashes; resolving links is
/// left to whoever has the root filesystem.
pub(super) fn clean(path: &str) -> Result<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(invalid(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(invalid("invalid specification: destination can't be '/'"));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// `[source:]destination[:options]`.
fn parse_bind(text: &str) -> Result<MountConfig> {
    let bad = || invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [destination] => (None, destination, ""),
        [source, destination] => (Some(source), destination, ""),
        [source, destination, options] => (Some(source), destination, options),
        _ => return Err(bad()),
    };
    if source == Some("") || destination.is_empty() {
        return Err(bad());
    }
    let options = BindOptions::parse(text, options)?;
    let source = match source {
        None => anonymous(),
        Some(path) if path.starts_with('/') => MountSource::Bind {
            host_path: path.to_owned(),
            propagation: options.propagation,
            create: true,
            recursive: true,
        },
        Some(name) => MountSource::Volume {
            name: volume_name(name)?,
            copy_up: options.copy_up,
            anonymous: false,
            subpath: None,
        },
    };
    Ok(MountConfig {
        destination: clean(destination)?,
        read_only: options.read_only,
        source,
    })
}

fn volume_name(name: &str) -> Result<VolumeName> {
    name.parse().map_err(|_| {
        invalid(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ))
    })
}

struct BindOptions {
    read_only: bool,
    copy_up: bool,
    propagation: Propagation,
}

impl BindOptions {
    fn parse(whole: &str, options: &str) -> Result<Self> {
        let mut parsed = Self {
            read_only: false,
            copy_up: true,
            propagation: Propagation::default(),
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => parsed.read_only = true,
                "rw" => parsed.read_only = false,
                "nocopy" => parsed.copy_up = false,
                // Labels matter to SELinux only, which no kernel of ours enforces.
                "z" | "Z" => {}
                other => {
                    parsed.propagation = Propagation::from_option(other).ok_or_else(|| {
                        invalid(format!(
                            "invalid mode: {other} in volume specification '{whole}'"
                        ))
                    })?;
                }
            }
        }
        Ok(parsed)
    }
}

/// Refuses a mount of the long form, in Docker's words.
pub(super) fn bad(mount: &Mount, what: &str) -> Failure {
    let kind = &mount.r#type;
    invalid(format!("invalid mount config for type {kind:?}: {what}"))
}

/// Returns where a mount of the long form is seen.
pub(super) fn target(mount: &Mount) -> Result<String> {
    match mount.target.as_str() {
        "" => Err(bad(mount, "field Target must not be empty")),
        target => clean(target).map_err(|failure| bad(mount, &failure.message)),
    }
}

fn parse_mount(mount: &Mount) -> Result<MountConfig> {
    let destination = target(mount)?;
    if mount.image_options.is_some() {
        return Err(bad(mount, "field ImageOptions must not be specified"));
    }
    let source = match mount.r#type.as_str() {
        "bind" => bind_source(mount)?,
        "volume" => volume_source(mount)?,
        "tmpfs" if !mount.source.is_empty() => {
            return Err(bad(mount, "field Source must not be specified"));
        }
        "tmpfs" => tmpfs_source(mount),
        _ => return Err(bad(mount, "mount type unknown")),
    };
    Ok(MountConfig {
        destination,
        read_only: mount.read_only,
        source,
    })
}

fn bind_source(mount: &Mount) -> Result<MountSource> {
    if !mount.source.starts_with('/') {
        let source = &mount.source;
        let what = format!("invalid mount path: '{source}' mount path must be absolute");
        return Err(bad(mount, &what));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = match options.propagation.as_str() {
        "" => Propagation::default(),
        text => Propagation::from_option(text)
            .ok_or_else(|| bad(mount, &format!("invalid propagation mode: {text}")))?,
    };
    Ok(MountSource::Bind {
        host_path: mount.source.clone(),
        propagation,
        create: options.create_mountpoint,
        recursive: !options.non_recursive,
    })
}

fn volume_source(mount: &Mount) -> Result<MountSource> {
    let options = mount.volume_options.clone().unwrap_or_default();
    let is_anonymous = mount.source.is_empty();
    if is_anonymous && !options.subpath.is_empty() {
        return Err(bad(
            mount,
            "must not set Subpath when using anonymous volumes",
        ));
    }
    if !stays_below(&options.subpath) {
        return Err(bad(mount, NOT_BELOW));
    }
    let name = match is_anonymous {
        true => VolumeName::random(),
        false => volume_name(&mount.source)?,
    };
    // A folder of a volume that is there already is never filled.
    Ok(MountSource::Volume {
        name,
        copy_up: !options.no_copy && options.subpath.is_empty(),
        anonymous: is_anonymous,
        subpath: Some(options.subpath).filter(|subpath| !subpath.is_empty()),
    })
}

/// What is said of a part that would be elsewhere, also of an image.
pub(super) const NOT_BELOW: &str = "subpath must be a relative path within the volume";

/// Returns whether a path, read without its links, leads nowhere else.
pub(super) fn stays_below(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    !path.starts_with('/') && !path.contains('\0')
}

fn tmpfs_source(mount: &Mount) -> MountSource {
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let words = options
        .options
        .into_iter()
        .map(|pair| pair.join("="))
        .collect();
    MountSource::Tmpfs {
        size_bytes: u64::try_from(options.size_bytes)
            .ok()
            .filter(|size| *size > 0),
        mode: Some(options.mode).filter(|mode| *mode != 0),
        options: words,
    }
}

/// `--tmpfs /run:size=64m,mode=1777,exec`.
fn parse_tmpfs(destination: &str, text: &str) -> Result<MountConfig> {
    const WORDS: [&str; 18] = [
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "defaults",
        "rw",
    ];
    let (mut size_bytes, mut mode, mut read_only) = (None, None, false);
    let mut options = Vec::new();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        let bad = || invalid(format!("invalid tmpfs option {name:?}"));
        match option.split_once('=') {
            Some(("size", value)) => size_bytes = Some(value.parse::<ByteSize>().or_invalid()?.0),
            Some(("mode", value)) => mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad())?),
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks", _)) => options.push(option.to_owned()),
            Some(_) => return Err(bad()),
            None if option == "ro" => read_only = true,
            None if matches!(option, "defaults" | "rw") => {}
            None if WORDS.contains(&option) => options.push(option.to_owned()),
            None => return Err(bad()),
        }
    }
    let source = MountSource::Tmpfs {
        size_bytes,
        mode,
        options,
    };
    Ok(MountConfig {
        destination: clean(destination)?,
        read_only,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        let bind = parse_bind("/srv/x:/data/../www/:ro,rslave").unwrap();
        assert_eq!((bind.destination.as_str(), bind.read_only), ("/www", true));
        let MountSource::Bind {
            propagation,
            create,
            ..
        } = bind.source
        else {
            panic!("a path is a bind")
        };
        assert_eq!((propagation, create), (Propagation::Rslave, true));
        let volume = parse_bind("site:/www:nocopy").unwrap();
        assert!(matches!(
            volume.source,
            MountSource::Volume {
                copy_up: false,
                anonymous: false,
                ..
            }
        ));
        assert!(matches!(
            parse_bind("/data").unwrap().source,
            MountSource::Volume {
                anonymous: true,
                ..
            }
        ));
        for bad in [
            "",
            ":",
            "a:",
            ":/x",
            "site:www",
            "site:/",
            "../x:/y",
            "a:/b:c:d",
            "site:/www:nonsense",
        ] {
            assert!(parse_bind(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tmpfs_options_are_checked() {
        let mount = parse_tmpfs("/run", "size=64m,mode=1777,exec,uid=5").unwrap();
        let MountSource::Tmpfs {
            size_bytes,
            mode,
            options,
        } = mount.source
        else {
            panic!("a tmpfs")
        };
        assert_eq!((size_bytes, mode), (Some(64 << 20), Some(0o1777)));
        assert_eq!(options, ["exec", "uid=5"]);
        for bad in ["size=x", "mode=9", "lowerdir=/etc", "bind"] {
            assert!(parse_tmpfs("/run", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mounts_of_the_long_form_are_checked() {
        let mount = |kind: &str, source: &str, target: &str| Mount {
            r#type: kind.into(),
            source: source.into(),
            target: target.into(),
            ..Default::default()
        };
        assert!(matches!(
            parse_mount(&mount("bind", "/x", "/y")).unwrap().source,
            MountSource::Bind { create: false, .. }
        ));
        assert!(parse_mount(&mount("volume", "", "/y")).is_ok());
        for bad in [
            mount("bind", "x", "/y"),
            mount("volume", "v1", ""),
            mount("npipe", "x", "/y"),
            mount("tmpfs", "", "y"),
        ] {
            assert!(parse_mount(&bad).is_err(), "{bad:?}");
        }
    }
}
