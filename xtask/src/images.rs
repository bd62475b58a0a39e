//! Makes real images from real files: an OCI layout, pushed to a registry.
//!
//! Nothing here is a fixture: layers are tar files of folders, packed by tar and
//! gzip, and the registry is Debian's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::process::{Background, Cmd};
use crate::workspace::write_file;

const PACK_LIMIT: Duration = Duration::from_secs(600);
const PUSH_LIMIT: Duration = Duration::from_secs(600);
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Makes a root filesystem of busybox in a work folder, packs it as `web.tar`
/// there and returns where that is.
///
/// # Errors
/// Fails when it cannot be made or packed.
pub(crate) fn busybox_archive(work: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    if root.exists() {
        std::fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    }
    busybox_root(&root)?;
    let archive = work.join("web.tar");
    Cmd::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&root)
        .arg(".")
        .read()?;
    Ok(archive)
}

/// Makes a small root filesystem of busybox alone.
///
/// # Errors
/// Fails when busybox-static is not installed or a file cannot be made.
pub(crate) fn busybox_root(folder: &Path) -> Result<()> {
    let bin = folder.join("bin");
    for made in [
        "bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "www",
    ] {
        let path = folder.join(made);
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    }
    std::fs::copy("/bin/busybox", bin.join("busybox")).context("copy busybox")?;
    for applet in Cmd::new("/bin/busybox").arg("--list").read()?.lines() {
        if applet != "busybox" {
            std::os::unix::fs::symlink("busybox", bin.join(applet))
                .with_context(|| format!("link {applet}"))?;
        }
    }
    write_file(
        &folder.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/www:/bin/sh\n",
    )?;
    write_file(&folder.join("etc/group"), "root:x:0:\nwww:x:33:\n")?;
    write_file(&folder.join("www/index.html"), "it works\n")
}

/// Packs each folder as one layer and writes an OCI layout of them.
///
/// # Errors
/// Fails when a tool fails or a file cannot be written.
pub(crate) fn write_layout(
    layout: &Path,
    tag: &str,
    layers: &[PathBuf],
    command: &[&str],
) -> Result<()> {
    let mut diff_ids = Vec::new();
    let mut descriptors = Vec::new();
    for (index, folder) in layers.iter().enumerate() {
        let tar = layout.join(format!("layer-{index}.tar"));
        std::fs::create_dir_all(layout.join("blobs/sha256")).context("create an OCI layout")?;
        pack(folder, &tar)?;
        diff_ids.push(format!("sha256:{}", digest(&tar)?));
        Cmd::new("gzip")
            .arg("--force")
            .arg(&tar)
            .timeout(PACK_LIMIT)
            .read()?;
        let packed = layout.join(format!("layer-{index}.tar.gz"));
        descriptors.push(add_blob(
            layout,
            &packed,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        )?);
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": Timestamp::now().to_string(),
        "config": {"Cmd": command, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = add_json(layout, &config, "application/vnd.oci.image.config.v1+json")?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": descriptors});
    let mut manifest = add_json(layout, &manifest, kind)?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    write_file(
        &layout.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
    )?;
    write_file(
        &layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

/// Copies an image of a layout to `HOST:PORT/NAME:TAG`.
///
/// # Errors
/// Fails when skopeo does.
pub(crate) fn push(layout: &Path, tag: &str, reference: &str) -> Result<()> {
    Cmd::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:{tag}", layout.display()))
        .arg(format!("docker://{reference}"))
        .timeout(PUSH_LIMIT)
        .read()
        .map(|_| ())
}

/// Starts Debian's registry on a loopback port, with its data in a folder.
///
/// # Errors
/// Fails when it does not answer in time.
pub(crate) fn start_registry(port: u16, folder: &Path) -> Result<Background> {
    let config = folder.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
         delete: {{enabled: true}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
        folder.join("data").display()
    );
    write_file(&config, text)?;
    let mut registry = Cmd::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .env("OTEL_TRACES_EXPORTER", "none")
        .background(&folder.join("log"))?;
    let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    registry.wait_until(READY_LIMIT, answers)?;
    Ok(registry)
}

fn pack(folder: &Path, tar: &Path) -> Result<()> {
    Cmd::new("tar")
        .args([
            "--create",
            "--sort=name",
            "--numeric-owner",
            "--xattrs",
            "--format=pax",
            "--mtime=@0",
        ])
        .arg("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(folder)
        .arg(".")
        .timeout(PACK_LIMIT)
        .read()
        .map(|_| ())
}

fn digest(file: &Path) -> Result<String> {
    let shown = Cmd::new("sha256sum").arg(file).timeout(PACK_LIMIT).read()?;
    let digest = shown
        .split(' ')
        .next()
        .context("sha256sum printed nothing")?;
    Ok(digest.trim_start_matches('\\').to_owned())
}

fn add_json(layout: &Path, value: &serde_json::Value, kind: &str) -> Result<serde_json::Value> {
    let file = layout.join("blob.json");
    write_file(&file, value.to_string())?;
    add_blob(layout, &file, kind)
}

/// Moves a file below blobs/ and returns its descriptor.
fn add_blob(layout: &Path, file: &Path, kind: &str) -> Result<serde_json::Value> {
    let digest = digest(file)?;
    let size = std::fs::metadata(file)
        .with_context(|| format!("stat {}", file.display()))?
        .len();
    let blob = layout.join("blobs/sha256").join(&digest);
    std::fs::rename(file, &blob).with_context(|| format!("move a blob to {}", blob.display()))?;
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size}))
}
