//! The images that the tests name, made of busybox.

use anyhow::{Context as _, Result};

use crate::bench::daemons::{self, REGISTRY_PORT};
use crate::images;
use crate::process::Background;
use crate::workspace::write_file;

/// Each with its tag and command.
const IMAGES: [(&str, &str, &[&str]); 4] = [
    ("alpine", "3.10", &["/bin/sh"]),
    ("alpine", "latest", &["/bin/sh"]),
    ("busybox", "latest", &["sh"]),
    ("hello-world", "latest", &["echo", "Hello from Docker!"]),
];

/// Starts a registry that has them as Docker's own has them.
///
/// # Errors
/// Fails when one cannot be made or pushed.
pub(super) fn serve() -> Result<Background> {
    let work = daemons::folder("image")?;
    let root = work.join("root");
    images::busybox_root(&root)?;
    // As in the images of those names, the tests use both.
    std::fs::create_dir_all(root.join("var/opt")).context("make var/opt")?;
    let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib:/bin/sh\n";
    write_file(&root.join("etc/passwd"), users)?;
    let registry = images::start_registry(REGISTRY_PORT, &daemons::folder("registry")?)?;
    for (name, tag, command) in IMAGES {
        let layout = work.join(format!("{name}-{tag}"));
        images::write_layout(&layout, tag, std::slice::from_ref(&root), command)?;
        let reference = format!("localhost:{REGISTRY_PORT}/library/{name}:{tag}");
        images::push(&layout, tag, &reference)?;
    }
    Ok(registry)
}
