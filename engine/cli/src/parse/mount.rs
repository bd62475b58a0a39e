//! `--mount type=…,source=…,target=…` and `--tmpfs PATH[:OPTIONS]`.

use engine_api::mount::{
    BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions,
};

use super::{ParseError, csv, label, refuse, size};

/// Reads a `--mount` value.
pub(crate) fn parse(text: &str) -> Result<Mount, ParseError> {
    let mut mount = Mount {
        r#type: "volume".to_owned(),
        ..Mount::default()
    };
    for field in csv::fields(text)? {
        apply(&mut mount, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

/// Splits a `--tmpfs` value into path and options.
pub(crate) fn parse_tmpfs(text: &str) -> Result<(String, String), ParseError> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    match path.starts_with('/') {
        true => Ok((path.to_owned(), options.to_owned())),
        false => refuse(format!("invalid tmpfs {text:?}: the path must be absolute")),
    }
}

fn apply(mount: &mut Mount, field: &str) -> Result<(), ParseError> {
    let (key, value) = csv::key_value(field);
    let Some(value) = value else {
        return apply_flag(mount, &key, field, "true");
    };
    match key.as_str() {
        "type" => mount.r#type = value.to_lowercase(),
        "source" | "src" => mount.source = value.to_owned(),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = propagation(value)?,
        "bind-recursive" => apply_recursive(bind(mount), value)?,
        "volume-subpath" => volume(mount).subpath = value.to_owned(),
        "image-subpath" => image(mount).subpath = value.to_owned(),
        "volume-label" => {
            volume(mount)
                .labels
                .extend(label::to_map([&label::parse(value)?]));
        }
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-opt" => {
            driver(mount)
                .options
                .extend(label::to_map([&label::parse_option(value)?]));
        }
        "tmpfs-size" => tmpfs(mount).size_bytes = size::parse(value)?,
        "tmpfs-mode" => tmpfs(mount).mode = mode(value)?,
        _ => return apply_flag(mount, &key, field, value),
    }
    Ok(())
}

/// Applies a key whose value is a boolean, and may be left out.
fn apply_flag(mount: &mut Mount, key: &str, field: &str, value: &str) -> Result<(), ParseError> {
    let on = match value {
        "true" | "1" => true,
        "false" | "0" => false,
        _ if !is_flag(key) => return refuse(format!("unexpected key '{key}' in '{field}'")),
        _ => return refuse(format!("invalid value for {key}: {value}")),
    };
    match key {
        "readonly" | "ro" => mount.read_only = on,
        "bind-nonrecursive" => bind(mount).non_recursive = on,
        "bind-create-src" => bind(mount).create_mountpoint = on,
        "volume-nocopy" => volume(mount).no_copy = on,
        "type" | "source" | "src" | "target" | "dst" | "destination" => {
            return refuse(format!("invalid field '{field}' must be a key=value pair"));
        }
        _ => return refuse(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn is_flag(key: &str) -> bool {
    matches!(
        key,
        "readonly" | "ro" | "bind-nonrecursive" | "bind-create-src" | "volume-nocopy"
    )
}

fn apply_recursive(options: &mut BindOptions, value: &str) -> Result<(), ParseError> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => return refuse(format!("invalid value for bind-recursive: {value}")),
    }
    Ok(())
}

fn propagation(value: &str) -> Result<String, ParseError> {
    match value {
        "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => Ok(value.to_owned()),
        _ => refuse(format!("invalid value for bind-propagation: {value}")),
    }
}

fn mode(value: &str) -> Result<u32, ParseError> {
    match u32::from_str_radix(value, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => refuse(format!("invalid value for tmpfs-mode: {value}")),
    }
}

fn check(mount: &Mount) -> Result<(), ParseError> {
    let kind = mount.r#type.as_str();
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image") {
        return refuse(format!(
            "invalid mount type '{kind}': expected bind, volume, tmpfs or image"
        ));
    }
    if mount.target.is_empty() {
        return refuse("target is required");
    }
    if !mount.target.starts_with('/') {
        return refuse(format!(
            "invalid mount path: '{}' must be absolute",
            mount.target
        ));
    }
    if kind == "bind" && !mount.source.starts_with('/') {
        return refuse(format!(
            "invalid bind source '{}': must be an absolute path",
            mount.source
        ));
    }
    if kind == "tmpfs" && !mount.source.is_empty() {
        return refuse("source must not be specified for a tmpfs");
    }
    check_kind_options(mount, kind)
}

/// Refuses options that belong to another type of mount.
fn check_kind_options(mount: &Mount, kind: &str) -> Result<(), ParseError> {
    let given = [
        ("bind", mount.bind_options.is_some()),
        ("volume", mount.volume_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
        ("image", mount.image_options.is_some()),
    ];
    match given
        .iter()
        .find(|(name, is_given)| *is_given && *name != kind)
    {
        Some((name, _)) => refuse(format!(
            "cannot mix '{name}-*' options with mount type '{kind}'"
        )),
        None => Ok(()),
    }
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn image(mount: &mut Mount) -> &mut ImageOptions {
    mount.image_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mount = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        serde_json::to_string(&mount).unwrap()
    }

    #[test]
    fn mounts_are_sent_as_docker_sends_them() {
        assert_eq!(
            json("type=bind,src=/tmp,dst=/x,readonly,bind-propagation=rslave"),
            r#"{"Type":"bind","Source":"/tmp","Target":"/x","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}}"#
        );
        assert_eq!(
            json(
                "type=volume,src=v,dst=/y,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=o=x"
            ),
            r#"{"Type":"volume","Source":"v","Target":"/y","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"},"DriverConfig":{"Name":"local","Options":{"o":"x"}}}}"#
        );
        assert_eq!(
            json("type=tmpfs,dst=/z,tmpfs-size=1m,tmpfs-mode=1770"),
            r#"{"Type":"tmpfs","Target":"/z","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}"#
        );
        assert_eq!(
            json("type=image,source=busybox:1,target=/i"),
            r#"{"Type":"image","Source":"busybox:1","Target":"/i"}"#
        );
        assert_eq!(
            json("type=image,src=busybox,dst=/i,image-subpath=bin"),
            r#"{"Type":"image","Source":"busybox","Target":"/i","ImageOptions":{"Subpath":"bin"}}"#
        );
        assert_eq!(json("dst=/y"), r#"{"Type":"volume","Target":"/y"}"#);
    }

    #[test]
    fn what_is_wrong_with_a_mount_is_said() {
        let cases = [
            ("type=bind,src=/a", "target is required"),
            ("bogus=1", "unexpected key 'bogus' in 'bogus=1'"),
            ("bogus=x", "unexpected key 'bogus' in 'bogus=x'"),
            (
                "type=bind,src=rel,dst=/x",
                "invalid bind source 'rel': must be an absolute path",
            ),
            (
                "type=npipe,dst=/x",
                "invalid mount type 'npipe': expected bind, volume, tmpfs or image",
            ),
            ("dst=/x,readonly=maybe", "invalid value for readonly: maybe"),
            (
                "dst=/x,source",
                "invalid field 'source' must be a key=value pair",
            ),
            (
                "dst=/x,tmpfs-size=1m",
                "cannot mix 'tmpfs-*' options with mount type 'volume'",
            ),
            (
                "src=v,dst=/x,image-subpath=a",
                "cannot mix 'image-*' options with mount type 'volume'",
            ),
            (
                "type=image,src=i,dst=/x,volume-subpath=a",
                "cannot mix 'volume-*' options with mount type 'image'",
            ),
            ("type=image,src=i", "target is required"),
            (
                "type=image,src=i,dst=/x,image-foo=1",
                "unexpected key 'image-foo' in 'image-foo=1'",
            ),
            (
                "type=tmpfs,dst=/x,src=/a",
                "source must not be specified for a tmpfs",
            ),
            (
                "type=tmpfs,dst=/x,tmpfs-mode=9",
                "invalid value for tmpfs-mode: 9",
            ),
            ("dst=x", "invalid mount path: 'x' must be absolute"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn a_tmpfs_has_a_path_and_options() {
        assert_eq!(
            parse_tmpfs("/t:size=1m"),
            Ok(("/t".into(), "size=1m".into()))
        );
        assert_eq!(parse_tmpfs("/t"), Ok(("/t".into(), String::new())));
        assert!(parse_tmpfs("t").is_err());
    }
}
