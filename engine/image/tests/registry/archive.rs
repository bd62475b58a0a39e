//! Images out of archives and into them, also with skopeo's as the other side.

use std::path::Path;
use std::process::Command;

use base::Digest;
use engine_image::{Force, Image, ImageStore, ImageUse, ImportRequest, LoadError, Removed};

use crate::common::{Built, Content, Server, gzip, names, noise, pull, tar_of};

fn store() -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    (directory, store)
}

pub(crate) fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .output();
    let output = output.expect("skopeo is needed: apt-get install skopeo");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "skopeo {arguments:?}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

fn assert_clean(directory: &Path, store: &ImageStore) {
    store.wait_for_removals();
    assert!(names(&directory.join("ingest")).is_empty());
    assert!(names(&directory.join("trash")).is_empty());
    assert!(
        !names(&directory.join("layers"))
            .iter()
            .any(|name| name.starts_with('.'))
    );
}

/// An image of three layers with two names, as saved by its store.
struct Saved {
    built: Built,
    image: Image,
    name: String,
    archive: Vec<u8>,
}

async fn saved() -> Saved {
    let mut content = Content::default();
    let layers = [
        tar_of(&[("a", &noise(5000, 1))]),
        tar_of(&[("b", b"x")]),
        tar_of(&[("a", b"again")]),
    ];
    let built = content.image("1", &layers, gzip);
    let server = Server::registry(content);
    let (_directory, source) = store();
    let name = server.reference("app:1");
    pull(&source, &name).await.unwrap();
    let image = source.tag(&name, "example.com/other:2").unwrap();
    let mut archive = Vec::new();
    let names = [name.clone(), "example.com/other".to_owned()];
    source.save(&names, &mut archive).unwrap();
    Saved {
        built,
        image,
        name,
        archive,
    }
}

#[tokio::test]
async fn what_is_saved_loads_as_the_same_image() {
    let saved = saved().await;
    let packed = zstd::stream::encode_all(saved.archive.as_slice(), 1).unwrap();
    for archive in [saved.archive.clone(), gzip(&saved.archive), packed] {
        let (directory, target) = store();
        let loaded = target.load(archive.as_slice(), None).unwrap();
        assert_eq!(loaded.len(), 1);
        let (image, before) = (&loaded[0].image, &saved.image);
        assert_eq!((image.id, image.manifest), (before.id, before.manifest));
        assert_eq!(image.repo_tags, before.repo_tags);
        assert_eq!(image.layers, before.layers);
        assert_eq!(loaded[0].names.len(), 2);
        let top = target.layer_path(&saved.built.diff_ids[2]);
        assert_eq!(std::fs::read(top.join("a")).unwrap(), b"again");
        assert_clean(directory.path(), &target);
    }
}

#[tokio::test]
async fn skopeo_reads_what_is_saved_and_what_skopeo_writes_is_loaded() {
    let saved = saved().await;
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name).display().to_string();
    let file = work.path().join("saved.tar");
    base::file::replace(&file, &saved.archive, base::file::FileMode::Private).unwrap();
    let docker = format!("docker-archive:{}:{}", path("saved.tar"), saved.name);
    let config = skopeo(&["inspect", "--raw", "--config", &docker]);
    assert_eq!(Digest::of(config.trim_end().as_bytes()), saved.built.id);
    skopeo(&["copy", "-q", &docker, &format!("oci:{}:x", path("oci"))]);
    for (kind, tag) in [
        ("oci-archive", "localhost/copy:3"),
        ("docker-archive", "busy/box:4"),
    ] {
        let target = format!("{kind}:{}:{tag}", path(kind));
        skopeo(&["copy", "-q", &docker, &target]);
        let (directory, store) = store();
        let loaded = store
            .load(std::fs::File::open(path(kind)).unwrap(), None)
            .unwrap();
        assert_eq!(loaded[0].names, [tag]);
        let diff_ids: Vec<Digest> = loaded[0].image.diff_ids().collect();
        assert_eq!(diff_ids, saved.built.diff_ids, "{tag}");
        assert_eq!(store.resolve(tag).unwrap().id, loaded[0].image.id);
        assert_clean(directory.path(), &store);
        drop(store);
        assert_eq!(ImageStore::open(directory.path()).unwrap().list().len(), 1);
    }
}

fn docker_archive(layer: &[u8], diff_id: &str, extra: &[(&str, &[u8])]) -> Vec<u8> {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let manifest = br#"[{"Config":"c.json","RepoTags":["app:1"],"Layers":["x/layer.tar"]}]"#;
    let mut files: Vec<(&str, &[u8])> = vec![("c.json", config.as_bytes()), ("x/layer.tar", layer)];
    files.extend(extra);
    files.push(("manifest.json", manifest));
    tar_of(&files)
}

#[test]
fn archives_that_lie_leave_nothing_behind() {
    let layer = tar_of(&[("f", b"x")]);
    let right = Digest::of(&layer).to_string();
    let wrong = Digest::of(b"?").to_string();
    let escape = tar_of(&[("../../f", b"x")]);
    let good = docker_archive(&layer, &right, &[]);
    let cases: [(&str, Vec<u8>); 8] = [
        ("empty", Vec::new()),
        ("no images", tar_of(&[("hello", b"x")])),
        ("cut", good[..good.len() - 1800].to_vec()),
        ("wrong layer", docker_archive(&layer, &wrong, &[])),
        (
            "escape",
            docker_archive(&escape, &Digest::of(&escape).to_string(), &[]),
        ),
        ("no digest", docker_archive(&layer, "../../etc", &[])),
        (
            "missing file",
            tar_of(&[(
                "manifest.json",
                br#"[{"Config":"c.json","RepoTags":null,"Layers":[]}]"#,
            )]),
        ),
        ("no json", tar_of(&[("manifest.json", b"[{")])),
    ];
    for (what, archive) in cases {
        let (directory, store) = store();
        let error = store.load(archive.as_slice(), None).unwrap_err();
        assert!(store.list().is_empty(), "{what}");
        let text = base::failure::chain(&error);
        assert!(!text.is_empty() && text.len() < 400, "{what}: {text}");
        assert_clean(directory.path(), &store);
    }
    let (_directory, store) = store();
    let other = "linux/s390x".parse().unwrap();
    let said = store.load(good.as_slice(), Some(&other)).unwrap_err();
    assert_eq!(said.to_string(), "the archive has no image for linux/s390x");
    assert!(store.list().is_empty());
    assert!(matches!(
        store.load(&b""[..], None),
        Err(LoadError::NoImages)
    ));
    assert_eq!(
        store.load(good.as_slice(), None).unwrap()[0].names,
        ["app:1"]
    );
}

#[test]
fn a_root_file_system_is_imported_with_changes() {
    let (directory, store) = store();
    let archive = tar_of(&[("bin/", b""), ("bin/sh", b"#!")]);
    let request = ImportRequest {
        reference: Some("imported".parse().unwrap()),
        message: "from a test".to_owned(),
        changes: vec![r#"CMD ["/bin/sh"]"#.to_owned(), "ENV A=b".to_owned()],
        platform: None,
    };
    let image = store.import(gzip(&archive).as_slice(), &request).unwrap();
    assert_eq!(image.repo_tags, ["imported:latest"]);
    assert_eq!(image.diff_ids().collect::<Vec<_>>(), [Digest::of(&archive)]);
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.cmd().as_ref().unwrap(), &["/bin/sh"]);
    assert_eq!(config.env().as_ref().unwrap(), &["A=b"]);
    assert!(image.created.is_some());
    assert_clean(directory.path(), &store);
    let wrong = ImportRequest {
        changes: vec!["RUN x".to_owned()],
        ..request.clone()
    };
    store.import(archive.as_slice(), &wrong).unwrap_err();
    store.import(&archive[..700], &request).unwrap_err();
    assert_eq!(store.list().len(), 1);
    assert_clean(directory.path(), &store);
    let removed = store
        .remove("imported", Force::No, &|_| ImageUse::Unused)
        .unwrap();
    assert_eq!(removed[0], Removed::Untagged("imported:latest".to_owned()));
    store.wait_for_removals();
    assert!(names(&directory.path().join("blobs/sha256")).is_empty());
}
