//! Pulls from Debian's `docker-registry`, with images that skopeo pushed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::file::{FileMode, replace};
use engine_image::{
    Credential, Force, ImageStore, ImageUse, PullError, PullStatus, RegistryAccess, RegistryError,
};

use crate::archive::skopeo;
use crate::common::{pull, pull_with};

/// A registry of its own on a free port, ended when dropped.
struct Registry {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Registry {
    /// Starts the registry with further lines of configuration for its `http` part.
    fn start(http: &str, auth: &str, scheme: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let address = format!("localhost:{}", free.port());
        let storage = directory.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}\nhttp:\n  addr: 127.0.0.1:{}\n{http}\n",
            storage.display(),
            free.port(),
        );
        let path = directory.path().join("config.yml");
        replace(&path, config.as_bytes(), FileMode::Private).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed: apt-get install docker-registry");
        let registry = Self {
            child,
            address,
            directory,
        };
        registry.wait(scheme);
        registry
    }

    fn wait(&self, scheme: &str) {
        let limit = Instant::now() + Duration::from_secs(20);
        let url = format!("{scheme}://{}/v2/", self.address);
        loop {
            let curl = Command::new("curl")
                .args(["-sk", "-o", "/dev/null", &url])
                .status();
            if curl
                .expect("curl is needed: apt-get install curl")
                .success()
            {
                return;
            }
            assert!(Instant::now() < limit, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn push(&self, layout: &Path, name: &str, extra: &[&str]) -> String {
        let reference = format!("{}/{name}", self.address);
        let source = format!("oci:{}:x", layout.display());
        let target = format!("docker://{reference}");
        let arguments = [
            &["copy", "-q", "--dest-tls-verify=false"],
            extra,
            &[&source, &target],
        ]
        .concat();
        skopeo(&arguments);
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes a layout with an image of busybox and a layer over it.
fn busybox_layout(work: &Path) -> std::path::PathBuf {
    let root = work.join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("apt-get install busybox-static");
    for applet in ["sh", "ls", "httpd"] {
        fs::hard_link(root.join("bin/busybox"), root.join("bin").join(applet)).unwrap();
    }
    let archive = work.join("root.tar");
    let tar = Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .arg(".")
        .status();
    assert!(tar.unwrap().success());
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let request = engine_image::ImportRequest {
        reference: Some("busybox:x".parse().unwrap()),
        changes: vec![r#"CMD ["/bin/sh"]"#.to_owned()],
        ..Default::default()
    };
    store
        .import(fs::File::open(&archive).unwrap(), &request)
        .unwrap();
    let saved = work.join("saved.tar");
    store
        .save(&["busybox:x".to_owned()], fs::File::create(&saved).unwrap())
        .unwrap();
    let layout = work.join("layout");
    let source = format!("docker-archive:{}", saved.display());
    skopeo(&[
        "copy",
        "-q",
        &source,
        &format!("oci:{}:x", layout.display()),
    ]);
    layout
}

#[tokio::test]
async fn busybox_comes_back_from_a_real_registry() {
    let work = tempfile::tempdir().unwrap();
    let layout = busybox_layout(work.path());
    let registry = Registry::start("", "", "http");
    let oci = registry.push(&layout, "oci/busybox:1", &[]);
    let docker = registry.push(&layout, "docker/busybox:1", &["--format=v2s2"]);
    let zstd = registry.push(
        &layout,
        "zstd/busybox:1",
        &["--dest-compress-format=zstd", "--dest-compress"],
    );
    for reference in [oci, docker, zstd] {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        let pulled = pull(&store, &reference).await.unwrap();
        let layer = store.layer_path(&pulled.image.layers[0].diff_id);
        let ours = layer.join("bin/sh").metadata().unwrap();
        assert_eq!(ours.nlink(), 4, "hard links stay hard links");
        let run = Command::new(layer.join("bin/busybox"))
            .args(["echo", "works"])
            .output()
            .unwrap();
        assert_eq!(run.stdout, b"works\n");
        assert_eq!(
            pull(&store, &reference).await.unwrap().status,
            PullStatus::UpToDate
        );
        let name = reference.rsplit_once(':').unwrap().0;
        let by_digest = format!("{name}@{}", pulled.digest);
        assert_eq!(
            pull(&store, &by_digest).await.unwrap().image.id,
            pulled.image.id
        );
        let gone = pull(&store, &format!("{name}:none")).await.unwrap_err();
        assert!(matches!(gone, PullError::NotFound { .. }), "{gone}");
        store
            .remove(&pulled.image.id.hex()[..12], Force::No, &|_| {
                ImageUse::Unused
            })
            .unwrap();
        store.wait_for_removals();
        assert!(!layer.exists());
    }
}

/// Makes a certificate for localhost; returns the registry's setting for it.
fn make_certificate(work: &Path) -> String {
    let (key, certificate) = (work.join("key.pem"), work.join("cert.pem"));
    let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost";
    let openssl = Command::new("openssl")
        .args(request.split(' '))
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is needed: apt-get install openssl");
    assert!(openssl.status.success());
    let (key, certificate) = (key.display(), certificate.display());
    format!("  tls: {{certificate: {certificate}, key: {key}}}")
}

#[tokio::test]
async fn tls_and_passwords_of_a_real_registry() {
    let work = tempfile::tempdir().unwrap();
    let layout = busybox_layout(work.path());
    let http = make_certificate(work.path());
    // bcrypt of "pass".
    let users = work.path().join("users");
    let hash = "user:$2b$05$HDZYxvlTvuL/u3YmPhkdDeRn.NuhaoBvPTafQKt6SfYiPK7sPydLK\n";
    replace(&users, hash.as_bytes(), FileMode::Private).unwrap();
    let auth = format!(
        "auth: {{htpasswd: {{realm: x, path: {}}}}}",
        users.display()
    );
    let registry = Registry::start(&http, &auth, "https");
    let reference = registry.push(&layout, "app:1", &["--dest-creds=user:pass"]);
    let store = ImageStore::open(&registry.directory.path().join("images")).unwrap();
    let denied = pull(&store, &reference).await.unwrap_err();
    assert!(
        matches!(
            denied,
            PullError::Registry(RegistryError::NoCredentials { .. })
        ),
        "{denied}"
    );
    let credential = Credential::Basic {
        username: "user".into(),
        password: "pass".into(),
    };
    let access = RegistryAccess {
        credential: Some(credential),
        ..RegistryAccess::default()
    };
    pull_with(&store, &reference, access.clone()).await.unwrap();
    push_back(&registry, &store, access).await;
}

/// Pushes what was pulled, and an image made here, to a registry with TLS and a password.
async fn push_back(registry: &Registry, store: &ImageStore, access: RegistryAccess) {
    let (from, to) = ("app:1", "other/name:2");
    let name = |rest: &str| format!("{}/{rest}", registry.address);
    store.tag(&name(from), &name(to)).unwrap();
    let archive = registry.directory.path().join("small.tar");
    let content = registry.directory.path().join("content");
    replace(&content, b"text", FileMode::Public).unwrap();
    let tar = Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(registry.directory.path())
        .arg("content")
        .status();
    assert!(tar.unwrap().success());
    let request = engine_image::ImportRequest {
        reference: Some(name("made:1").parse().unwrap()),
        ..Default::default()
    };
    let archive = fs::File::open(&archive).unwrap();
    let made = store.import(archive, &request).unwrap();
    for rest in [to, "made:1"] {
        let request = engine_image::PushRequest {
            reference: name(rest).parse().unwrap(),
            access: access.clone(),
            second: Duration::from_secs(1),
        };
        let quiet = std::sync::Arc::new(engine_image::NoPushProgress);
        let push = store.push(&request, quiet).await.unwrap();
        let pushed = push.push(0).await.unwrap();
        let inspected = engine_image::inspect(&request.reference, &access).await;
        let inspected = inspected.unwrap().descriptor;
        assert_eq!(
            (inspected.digest, inspected.size),
            (pushed.digest, pushed.size)
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let other = ImageStore::open(directory.path()).unwrap();
    let back = pull_with(&other, &name("made:1"), access).await.unwrap();
    assert_eq!(back.image.id, made.id);
    skopeo(&[
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--src-creds=user:pass",
        &format!("docker://{}", name("made:1")),
        &format!("dir:{}", directory.path().join("copy").display()),
    ]);
}
