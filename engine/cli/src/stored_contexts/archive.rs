//! A context as one file, to be carried to another host: a tar archive of `meta.json`
//! and `tls/docker/<file>`, which `docker context import` takes too.

use std::io::Read as _;
use std::path::{Component, Path};

use serde_json::{Value, json};

use super::{ContextsError, Draft};

/// A file in it is no larger, and neither are all together.
pub(crate) const LIMIT_BYTES: u64 = 10 << 20;
/// Some files of certificates are all there is.
const LIMIT_ENTRIES: usize = 64;

/// Returns the archive of a context, under a name.
///
/// # Errors
/// When its certificates are larger than memory allows.
pub(crate) fn pack(name: &str, draft: &Draft) -> Result<Vec<u8>, ContextsError> {
    let mut content = draft.content.clone();
    content["Name"] = json!(name);
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, "meta.json", content.to_string().as_bytes())?;
    for (file, bytes) in draft.tls.iter().flatten() {
        add(&mut builder, &format!("tls/docker/{file}"), bytes)?;
    }
    builder.into_inner().map_err(refuse)
}

fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) -> Result<(), ContextsError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(bytes.len() as u64);
    builder
        .append_data(&mut header, name, bytes)
        .map_err(refuse)
}

fn refuse(reason: impl ToString) -> ContextsError {
    ContextsError::Archive(reason.to_string())
}

/// Reads the archive of a context.
///
/// # Errors
/// When it is none, or has what a context has not.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Draft, ContextsError> {
    let mut archive = tar::Archive::new(bytes);
    let mut meta = None;
    let mut files = Vec::new();
    for (index, entry) in archive.entries().map_err(refuse)?.enumerate() {
        let mut entry = entry.map_err(refuse)?;
        if index == LIMIT_ENTRIES {
            return Err(refuse("it has too many files"));
        }
        if entry.header().entry_type().is_dir() {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(refuse("it has what is neither a file nor a directory"));
        }
        let path = entry.path().map_err(refuse)?.into_owned();
        let mut content = Vec::new();
        let limited = &mut entry.by_ref().take(LIMIT_BYTES);
        limited.read_to_end(&mut content).map_err(refuse)?;
        match place(&path)? {
            Place::Meta => meta = Some(content),
            Place::Tls(file) => files.push((file, content)),
        }
    }
    let meta = meta.ok_or_else(|| refuse("it has no meta.json"))?;
    Ok(Draft {
        content: content(&meta)?,
        tls: Some(files),
    })
}

/// What a file of the archive is.
enum Place {
    Meta,
    /// A certificate, by the name of its file.
    Tls(String),
}

fn place(path: &Path) -> Result<Place, ContextsError> {
    let unknown = || refuse(format!("unexpected file {path:?}"));
    let parts: Vec<&str> = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(unknown)?;
    match parts.as_slice() {
        ["meta.json"] => Ok(Place::Meta),
        ["tls", "docker", file] => Ok(Place::Tls((*file).to_owned())),
        _ => Err(unknown()),
    }
}

/// Reads `meta.json`, which says where the daemon is.
fn content(bytes: &[u8]) -> Result<Value, ContextsError> {
    let content: Value = serde_json::from_slice(bytes).map_err(refuse)?;
    match content["Endpoints"]["docker"]["Host"].as_str() {
        Some(_) if content["Metadata"].is_object() => Ok(content),
        _ => Err(refuse("its meta.json is not that of a context")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let mut draft = Draft::new();
        draft.describe("far away");
        draft.set_host("tcp://far.example:2376");
        draft.tls = Some(vec![("ca.pem".to_owned(), b"authority".to_vec())]);
        draft
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let packed = pack("far", &draft()).unwrap();
        let again = unpack(&packed).unwrap();
        assert_eq!(again.content["Name"], "far");
        assert_eq!(again.content["Metadata"]["Description"], "far away");
        assert_eq!(again.tls, draft().tls);
    }

    fn refused(name: &str, kind: tar::EntryType, meta: &str) -> String {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
        if !meta.is_empty() {
            add(&mut builder, "meta.json", meta.as_bytes()).unwrap();
        }
        unpack(&builder.into_inner().unwrap())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn nothing_leaves_its_place() {
        let file = tar::EntryType::Regular;
        for name in [
            "../meta.json",
            "/meta.json",
            "tls/docker/../../x",
            "tls/x",
            "other",
        ] {
            let said = refused(name, file, "");
            assert!(said.contains("unexpected file"), "{name}: {said}");
        }
        let said = refused("meta.json", tar::EntryType::Symlink, "");
        assert!(said.contains("neither a file"), "{said}");
        let said = refused("tls/docker/ca.pem", file, "");
        assert!(said.contains("no meta.json"), "{said}");
        let said = refused("tls/docker/ca.pem", file, "{}");
        assert!(said.contains("not that of a context"), "{said}");
        let said = unpack(b"no archive").unwrap_err().to_string();
        assert!(said.contains("not the archive of a context"), "{said}");
    }
}
