//! What the daemon answers in each version of the API, compared with what dockerd was
//! recorded to answer, field by field. `cargo xtask record api-versions` records it.

use std::process::Command;

use api_shapes::{Purposes, Scene, Table, differences, record};
use base::file::{FileMode, replace};
use tests::layout::{self, Layer};
use tests::{Installation, Registry, run};

const SCENE: &str = include_str!("../conform/api-versions.toml");
const DOCKERD: &str = include_str!("../conform/api-versions.dockerd.txt");
const PURPOSES: &str = include_str!("../conform/api-versions.purposes.toml");

/// Starts a registry that has the scene's image, which is that of the recording.
fn registry(host: &Installation) -> Registry {
    let registry = Registry::start(host.scratch());
    let archive = std::fs::read(host.scratch().join("busybox.tar")).expect("the image's root");
    let folder = host.scratch().join("layout");
    let config = serde_json::json!({
        "Cmd": ["sh"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    });
    let layers = [Layer::packed(&archive, host.scratch())];
    layout::write_layout_with(&folder, "scene:1", &layers, &config);
    registry.push_layout(&folder, "scene:1");
    registry
}

#[test]
fn answers_have_the_fields_that_dockerd_gives_in_each_version() {
    let host = Installation::new();
    let _registry = registry(&host);
    host.ok(&["rmi", "busybox:1"]);
    let scene = Scene::parse(SCENE).expect("a scene");
    let folders =
        [host.instance.root(), host.instance.run()].map(|path| path.display().to_string());
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    let found = record(&host.instance.socket(), &scene, &folders)
        .unwrap_or_else(|error| panic!("{error:?}\n{}", host.log()));
    let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("api-versions.txt");
    replace(&kept, found.to_string().as_bytes(), FileMode::Private).expect("written");
    let model: Table = DOCKERD.parse().expect("a table");
    let purposes = Purposes::parse(PURPOSES).expect("differences on purpose");
    let wrong = purposes.judge(&differences(&model, &found));
    assert!(
        wrong.is_empty(),
        "{} differences from dockerd that have no reason (all of ours in {}):\n{}",
        wrong.len(),
        kept.display(),
        wrong.join("\n")
    );
    host.ok(&["rm", "-f", "plain", "rich", "over"]);
    host.finish();
}

#[test]
fn the_daemon_speaks_the_versions_that_dockerd_speaks() {
    let host = Installation::new();
    let said = run(Command::new("curl").args(["-s", "--unix-socket"]).args([
        host.instance.socket().as_os_str(),
        "http://localhost/version".as_ref(),
    ]));
    let version: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(
        (&version["ApiVersion"], &version["MinAPIVersion"]),
        (&"1.51".into(), &"1.24".into())
    );
    host.finish();
}
