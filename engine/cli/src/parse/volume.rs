//! `-v`: an anonymous volume, a named one, or a directory of the host.

use std::path::{Component, Path, PathBuf};

use super::{ParseError, refuse};

/// What one `-v` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A new volume without a name, at this path.
    Anonymous(String),
    /// A named volume or a path of the host, at a path, with a mode.
    Bind {
        source: String,
        target: String,
        mode: Option<String>,
    },
}

/// Reads a `-v` value.
pub(crate) fn parse(text: &str) -> Result<Volume, ParseError> {
    let parts: Vec<&str> = text.split(':').collect();
    let volume = match *parts.as_slice() {
        [target] => Volume::Anonymous(target.to_owned()),
        [source, target] => Volume::Bind {
            source: source.to_owned(),
            target: target.to_owned(),
            mode: None,
        },
        [source, target, mode] => Volume::Bind {
            source: source.to_owned(),
            target: target.to_owned(),
            mode: Some(mode.to_owned()),
        },
        _ => return refuse(format!("invalid volume specification: '{text}'")),
    };
    check(text, &volume)?;
    Ok(volume)
}

fn check(text: &str, volume: &Volume) -> Result<(), ParseError> {
    let (source, target) = match volume {
        Volume::Anonymous(target) => (None, target),
        Volume::Bind { source, target, .. } => (Some(source), target),
    };
    if source.is_some_and(String::is_empty) {
        return refuse(format!(
            "invalid volume specification: '{text}': empty source"
        ));
    }
    if !target.starts_with('/') {
        return refuse(format!(
            "invalid volume specification: '{text}': the path in the container must be absolute"
        ));
    }
    if Path::new(target)
        .components()
        .all(|part| part == Component::RootDir)
    {
        return refuse(format!(
            "invalid volume specification: '{text}': the destination can't be '/'"
        ));
    }
    Ok(())
}

/// Returns the `Binds` entry; a source relative to `directory` is made absolute.
pub(crate) fn to_bind(source: &str, target: &str, mode: Option<&str>, directory: &Path) -> String {
    let source = match source.starts_with('.') {
        true => normalize(&directory.join(source)).display().to_string(),
        false => source.to_owned(),
    };
    match mode {
        Some(mode) => format!("{source}:{target}:{mode}"),
        None => format!("{source}:{target}"),
    }
}

/// Removes `.` and `..` by text, as a shell's user means them.
fn normalize(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_read_as_docker_reads_them() {
        assert_eq!(parse("/data"), Ok(Volume::Anonymous("/data".into())));
        let bind = |source: &str, target: &str, mode: Option<&str>| Volume::Bind {
            source: source.into(),
            target: target.into(),
            mode: mode.map(str::to_owned),
        };
        assert_eq!(parse("site:/www"), Ok(bind("site", "/www", None)));
        assert_eq!(parse("/a:/b:ro,z"), Ok(bind("/a", "/b", Some("ro,z"))));
        for bad in ["", "data", "a:b", "/a:/b:ro:x", ":/b", "/a:/", "/"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_relative_source_is_relative_to_the_client() {
        let at = Path::new("/home/u");
        assert_eq!(to_bind("./a/../b", "/b", None, at), "/home/u/b:/b");
        assert_eq!(to_bind("..", "/b", Some("ro"), at), "/home:/b:ro");
        assert_eq!(to_bind("name", "/b", None, at), "name:/b");
    }
}
