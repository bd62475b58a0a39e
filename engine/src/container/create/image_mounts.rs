//! Images that a container sees beside its own (`--mount type=image`).
//!
//! What a name means is decided here, for good: a start mounts the layers that the
//! image had, whatever the name means by then.

use engine_api::mount::Mount;
use engine_model::{MountConfig, MountSource};

use super::mounts::{NOT_BELOW, bad, stays_below, target};
use crate::Engine;
use crate::error::{Result, invalid};

/// What a request calls such a mount.
pub(super) const TYPE: &str = "image";
/// Layers of a container's own image and of those it mounts, each by mount: all are
/// named in the request to mount them, which is one event.
const LAYERS_LIMIT: usize = 500;

/// Converts a mount of an image.
///
/// # Errors
/// Invalid, in Docker's words, or not found for an image that is not here.
pub(super) fn convert(engine: &Engine, mount: &Mount) -> Result<MountConfig> {
    let destination = target(mount)?;
    let subpath = check(mount)?;
    let image = crate::image::resolve(engine, &mount.source)?;
    Ok(MountConfig {
        destination,
        // Asked for or not.
        read_only: true,
        source: MountSource::Image {
            reference: mount.source.clone(),
            id: image.id,
            layers: image.layers.iter().map(|layer| layer.diff_id).collect(),
            subpath,
        },
    })
}

/// Returns the part that is asked for, if it is not the whole.
fn check(mount: &Mount) -> Result<Option<String>> {
    let others = [
        ("BindOptions", mount.bind_options.is_some()),
        ("VolumeOptions", mount.volume_options.is_some()),
        ("TmpfsOptions", mount.tmpfs_options.is_some()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, is_given)| *is_given) {
        return Err(invalid(format!(
            "{name} must not be specified on mount type \"{TYPE}\""
        )));
    }
    if mount.source.is_empty() {
        return Err(bad(mount, "field Source must not be empty"));
    }
    let options = mount.image_options.as_ref();
    let subpath = options.map_or("", |options| options.subpath.as_str());
    if !stays_below(subpath) {
        return Err(bad(mount, NOT_BELOW));
    }
    Ok(normal(subpath))
}

/// Returns a path that stays below without dots, as Docker reads it: before links
/// are looked at.
fn normal(subpath: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in subpath.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Refuses more layers than a start can ask for.
///
/// # Errors
/// Invalid, with the number.
pub(super) fn check_layers(own: usize, mounts: &[MountConfig]) -> Result<()> {
    let of_image = |mount: &MountConfig| match &mount.source {
        MountSource::Image { layers, .. } => layers.len(),
        MountSource::Bind { .. } | MountSource::Volume { .. } | MountSource::Tmpfs { .. } => 0,
    };
    let mounted: usize = mounts.iter().map(of_image).sum();
    if mounted > 0 && own + mounted > LAYERS_LIMIT {
        let all = own + mounted;
        return Err(invalid(format!(
            "the images of this container have {all} layers in all: at most {LAYERS_LIMIT} are supported with mounts of images"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use engine_api::mount::{BindOptions, ImageOptions, TmpfsOptions, VolumeOptions};

    use super::*;

    fn mount(source: &str, subpath: &str) -> Mount {
        Mount {
            r#type: TYPE.into(),
            source: source.into(),
            target: "/x".into(),
            image_options: Some(ImageOptions {
                subpath: subpath.into(),
            }),
            ..Mount::default()
        }
    }

    #[test]
    fn a_part_is_read_as_docker_reads_it() {
        for (subpath, expected) in [
            ("", None),
            (".", None),
            ("./", None),
            ("a/..", None),
            ("a/b/", Some("a/b")),
            ("a/../b//./c", Some("b/c")),
        ] {
            let read = check(&mount("busybox", subpath)).unwrap();
            assert_eq!(read.as_deref(), expected, "{subpath:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_mount_is_said_in_dockers_words() {
        let said = |mount: &Mount| check(mount).unwrap_err().message;
        for outside in ["..", "../x", "a/../../b", "/a", "/"] {
            assert_eq!(
                said(&mount("busybox", outside)),
                "invalid mount config for type \"image\": subpath must be a relative path within the volume",
                "{outside}"
            );
        }
        assert_eq!(
            said(&mount("", "")),
            "invalid mount config for type \"image\": field Source must not be empty"
        );
        let mut others = [
            mount("busybox", ""),
            mount("busybox", ""),
            mount("busybox", ""),
        ];
        others[0].bind_options = Some(BindOptions::default());
        others[1].volume_options = Some(VolumeOptions::default());
        others[2].tmpfs_options = Some(TmpfsOptions::default());
        for (mount, name) in others.iter().zip(["Bind", "Volume", "Tmpfs"]) {
            let expected = format!("{name}Options must not be specified on mount type \"image\"");
            assert_eq!(said(mount), expected);
        }
    }

    #[test]
    fn a_start_does_not_ask_for_more_than_fits_into_an_event() {
        let digest = base::Digest::of(b"layer");
        let image = |layers: usize| MountConfig {
            destination: "/x".into(),
            read_only: true,
            source: MountSource::Image {
                reference: "busybox".into(),
                id: digest,
                layers: vec![digest; layers],
                subpath: None,
            },
        };
        check_layers(100, &[image(200), image(200)]).unwrap();
        let refused = check_layers(100, &[image(200), image(201)]).unwrap_err();
        assert!(refused.message.contains("501 layers"), "{refused}");
        check_layers(LAYERS_LIMIT + 1, &[]).unwrap();
    }
}
