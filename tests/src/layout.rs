//! Images written field by field, so that they can be wrong in every way: the
//! entries of a layer, and an OCI layout that names whatever bytes it is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::Digest;
use base::file::{FileMode, replace};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const BLOCK_BYTES: usize = 512;
/// An archive ends with two empty blocks.
const END_BYTES: usize = 2 * BLOCK_BYTES;
/// What a bomb's blob repeats.
const BOMB_PIECE_BYTES: usize = 16 << 20;

/// An entry of a layer; its name and link are not looked at.
#[derive(Debug, Clone)]
pub struct Entry {
    name: String,
    kind: u8,
    link: String,
    data: Vec<u8>,
}

impl Entry {
    pub fn file(name: &str, data: &str) -> Self {
        Self::new(name, b'0', "", data)
    }

    pub fn symlink(name: &str, target: &str) -> Self {
        Self::new(name, b'2', target, "")
    }

    pub fn hard_link(name: &str, target: &str) -> Self {
        Self::new(name, b'1', target, "")
    }

    fn new(name: &str, kind: u8, link: &str, data: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            link: link.to_owned(),
            data: data.as_bytes().to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header(self.data.len()).to_vec();
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }

    /// Returns the header of a file with `size` bytes, in the ustar format.
    fn header(&self, size: usize) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        assert!(self.name.len() <= 100 && self.link.len() <= 100, "{self:?}");
        put(0, self.name.as_bytes());
        put(100, b"0000644\x000000000\x000000000\0");
        put(124, format!("{size:011o}\x0014000000000").as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// A layer as it lies in a registry, and what the configuration calls it.
#[derive(Debug, Clone)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub diff_id: Digest,
}

impl Layer {
    /// Returns a layer of these entries, not compressed.
    pub fn of(entries: &[Entry]) -> Self {
        let bytes: Vec<Vec<u8>> = entries.iter().map(Entry::bytes).collect();
        let mut archive = bytes.concat();
        archive.resize(archive.len() + END_BYTES, 0);
        Self::plain(archive)
    }

    /// Returns the layer of an archive, not compressed.
    pub fn plain(archive: Vec<u8>) -> Self {
        let diff_id = Digest::of(&archive);
        Self {
            blob: archive,
            diff_id,
        }
    }

    /// Returns the layer of an archive, compressed with the help of `directory`.
    pub fn packed(archive: &[u8], directory: &Path) -> Self {
        Self {
            blob: gzip(archive, directory),
            diff_id: Digest::of(archive),
        }
    }

    /// Returns a layer of one file of zeros, in `pieces` of 16 MiB, each of which
    /// compresses to a thousandth; what it is called stays open.
    pub fn bomb(pieces: usize, directory: &Path) -> Self {
        let entry = Entry::file("zeros", "");
        let header = entry.header(pieces * BOMB_PIECE_BYTES);
        let mut blob = gzip(&header, directory);
        blob.extend(gzip(&vec![0; BOMB_PIECE_BYTES], directory).repeat(pieces));
        blob.extend(gzip(&[0; END_BYTES], directory));
        Self {
            blob,
            diff_id: Digest::of(b"never reached"),
        }
    }

    fn media_type(&self) -> &'static str {
        match self.blob.starts_with(GZIP_MAGIC) {
            true => GZIP,
            false => PLAIN,
        }
    }
}

/// Returns `bytes` as gzip packs them.
pub fn gzip(bytes: &[u8], directory: &Path) -> Vec<u8> {
    let file = directory.join("to-pack");
    replace(&file, bytes, FileMode::Private).expect("written");
    let said = crate::run(Command::new("gzip").args(["-nf1"]).arg(&file));
    assert_eq!(said.code, 0, "{said:?}");
    fs::read(file.with_extension("gz")).expect("gzip made it")
}

/// Writes an OCI layout of one image called `name` to `directory`, which is made.
pub fn write_layout(directory: &Path, name: &str, layers: &[Layer]) {
    write_layout_with(directory, name, layers, &json!({"Cmd": ["sh"]}));
}

/// As `write_layout`, with what containers of the image run.
pub fn write_layout_with(directory: &Path, name: &str, layers: &[Layer], config: &Value) {
    fs::create_dir_all(directory.join("blobs/sha256")).expect("made");
    let blob = |media_type: &str, bytes: &[u8]| -> Value {
        let digest = Digest::of(bytes);
        put(&directory.join("blobs/sha256").join(digest.hex()), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let layers = layers
        .iter()
        .map(|layer| blob(layer.media_type(), &layer.blob));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "layers": layers.collect::<Vec<_>>(),
        "config": blob(CONFIG, config.to_string().as_bytes()),
    });
    let mut manifest = blob(MANIFEST, manifest.to_string().as_bytes());
    manifest["annotations"] = json!({"io.containerd.image.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    put(&directory.join("index.json"), index.to_string().as_bytes());
    put(
        &directory.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    );
}

/// Packs a layout for `engine load`; returns the archive beside it.
pub fn archive_of(layout: &Path) -> PathBuf {
    let archive = layout.with_extension("tar");
    let mut tar = Command::new("tar");
    let said = crate::run(tar.arg("-C").arg(layout).arg("-cf").arg(&archive).arg("."));
    assert_eq!(said.code, 0, "{said:?}");
    archive
}

fn put(path: &Path, bytes: &[u8]) {
    replace(path, bytes, FileMode::Public).expect("written");
}

/// Returns the host's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
