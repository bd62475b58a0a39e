//! An engine under test whose images come from a registry on loopback, a mirror of
//! Docker's: those that outside suites name, made of busybox.

use anyhow::{Context as _, Result};

use crate::bench::Who;
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

/// The engine and its registry; dropping it ends them.
#[derive(Debug)]
pub(super) struct Stand {
    who: Who,
    engine: Background,
    registry: Background,
}

impl Stand {
    /// Starts both.
    ///
    /// # Errors
    /// Fails when an image cannot be made or pushed, or one of them does not answer.
    pub(super) fn start(who: Who) -> Result<Self> {
        let registry = serve()?;
        let mirror = format!("http://localhost:{REGISTRY_PORT}");
        let engine = match who {
            Who::Ours => {
                let config = format!("[mirrors]\n\"docker.io\" = [\"{mirror}\"]\n");
                daemons::start_engine_with(&config)?
            }
            _ => daemons::start_docker_with(&[&format!("--registry-mirror={mirror}")])?,
        };
        Ok(Self {
            who,
            engine,
            registry,
        })
    }

    /// Ends both, and the containers that are left.
    ///
    /// # Errors
    /// Fails when one cannot be ended.
    pub(super) fn stop(self) -> Result<()> {
        if self.who == Who::Ours {
            daemons::command(Who::Ours)
                .args(["daemon", "stop", "--containers"])
                .read()?;
        }
        self.engine.stop()?;
        self.registry.stop()
    }
}

/// Starts a registry that has the images as Docker's own has them.
fn serve() -> Result<Background> {
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
