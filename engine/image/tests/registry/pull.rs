//! Pulls from a registry in this process that fails where it is told to.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{
    Built, Content, Reply, Server, answer, gzip, names, noise, pull, pull_with, range, tar_of,
};
use base::Digest;
use engine_image::{
    Credential, Force, ImageStore, ImageUse, LayerStep, Limits, PlatformError, Progress, PullError,
    PullEvent, PullRequest, PullStatus, RegistryAccess, RegistryError, Removed,
};

fn two_layers() -> Vec<Vec<u8>> {
    vec![
        tar_of(&[("etc/", b""), ("etc/base", b"lower"), ("etc/old", b"x")]),
        tar_of(&[("etc/", b""), ("etc/base", b"upper"), ("etc/.wh.old", b"")]),
    ]
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn zstd_pack(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> ImageStore {
        ImageStore::open(self.directory.path()).unwrap()
    }

    fn names(&self, part: &str) -> Vec<String> {
        names(&self.directory.path().join(part))
    }

    /// Asserts that a failed pull shows nothing.
    fn assert_nothing_visible(&self, store: &ImageStore) {
        assert!(store.list().is_empty());
        store.wait_for_removals();
        assert!(
            !self.names("layers").iter().any(|n| n.starts_with('.')),
            "{:?}",
            self.names("layers")
        );
        assert!(self.names("trash").is_empty());
    }
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_in_every_packing() {
    for (name, pack) in [
        ("gzip", gzip as fn(&[u8]) -> Vec<u8>),
        ("zstd", zstd_pack),
        ("plain", plain),
    ] {
        let mut content = Content::default();
        let built = content.image("1", &two_layers(), pack);
        let server = Server::registry(content);
        let place = Place::new();
        let store = place.open();
        let pulled = pull(&store, &server.reference("app:1")).await.unwrap();
        assert_eq!(
            (pulled.image.id, pulled.digest),
            (built.id, built.manifest),
            "{name}"
        );
        assert_eq!(pulled.status, PullStatus::Newer);
        assert_eq!(pulled.image.repo_tags, [server.reference("app:1")]);
        assert_eq!(pulled.image.diff_ids().collect::<Vec<_>>(), built.diff_ids);
        let upper = store.layer_path(&built.diff_ids[1]);
        assert_eq!(
            std::fs::read_to_string(upper.join("etc/base")).unwrap(),
            "upper"
        );
        let again = pull(&store, &server.reference("app:1")).await.unwrap();
        assert_eq!(again.status, PullStatus::UpToDate);
        let by_digest = server.reference(&format!("other@{}", built.manifest));
        let pulled = pull(&store, &by_digest).await.unwrap();
        assert_eq!(pulled.image.repo_digests.len(), 2);
        assert_eq!(pulled.image.repo_tags.len(), 1, "a digest gives no tag");
        assert_eq!(
            server.requests("/blobs/").len(),
            3,
            "nothing is fetched twice"
        );
        drop(store);
        assert_eq!(place.open().list().len(), 1, "it is there after a restart");
    }
}

#[tokio::test]
async fn the_platform_is_chosen_from_an_index() {
    let mut content = Content::default();
    let arm = content.image_for("arm", &[tar_of(&[("arm", b"")])], gzip, "arm64");
    let amd = content.image_for("amd", &[tar_of(&[("amd", b"")])], gzip, "amd64");
    let index = content.index("multi", &[("arm64", &arm), ("amd64", &amd)]);
    let server = Server::registry(content);
    let (place, reference) = (Place::new(), server.reference("app:multi"));
    let store = place.open();
    let request = |platform: &str| -> Result<PullRequest, PlatformError> {
        let reference = reference.parse().unwrap();
        Ok(PullRequest {
            reference,
            platform: Some(platform.parse()?),
            access: RegistryAccess::default(),
        })
    };
    let pull = async |platform: &str| {
        let request = request(platform).unwrap();
        store
            .pull(&request, Arc::new(engine_image::NoProgress))
            .await
    };
    let pulled = pull("linux/arm64").await.unwrap();
    assert_eq!((pulled.image.id, pulled.digest), (arm.id, index));
    assert_eq!(pull("linux/amd64").await.unwrap().image.id, amd.id);
    let old = store.image(&arm.id).unwrap();
    assert!(old.repo_tags.is_empty(), "the tag moved");
    let error = pull("linux/s390x").await.unwrap_err();
    assert!(matches!(error, PullError::NoPlatform { .. }), "{error}");
    let single = PullRequest {
        reference: server.reference("app:arm").parse().unwrap(),
        ..request("linux/amd64").unwrap()
    };
    let error = store
        .pull(&single, Arc::new(engine_image::NoProgress))
        .await
        .unwrap_err();
    assert!(matches!(error, PullError::OtherPlatform { .. }), "{error}");
}

fn bearer(
    server: &Mutex<Option<String>>,
    content: &Content,
    request: &crate::common::Seen,
) -> Reply {
    let address = server.lock().unwrap().clone().unwrap();
    if request.path.starts_with("/token") {
        let authorized = request.header("authorization") == Some("Basic dXNlcjpwYXNz");
        let scoped = request
            .path
            .contains("scope=repository%3Atest%2Fapp%3Apull")
            && request.path.contains("service=reg");
        return match authorized && scoped {
            true => Reply::body(r#"{"token":"secret-token"}"#),
            false => Reply::status(401),
        };
    }
    if request.header("authorization") == Some("Bearer secret-token") {
        return answer(content, request);
    }
    let challenge = format!(
        r#"Bearer realm="http://{address}/token",service="reg",scope="repository:test/app:pull,push""#
    );
    Reply::status(401).header("WWW-Authenticate", challenge)
}

#[tokio::test]
async fn a_token_is_fetched_once_and_for_pulling_only() {
    let mut content = Content::default();
    content.image("1", &two_layers(), gzip);
    let address = Arc::new(Mutex::new(None));
    let known = Arc::clone(&address);
    let server = Server::start(move |request| bearer(&known, &content, request));
    *address.lock().unwrap() = Some(server.address.to_string());
    let place = Place::new();
    let store = place.open();
    let access = |password: &str| RegistryAccess {
        credential: Some(Credential::Basic {
            username: "user".into(),
            password: password.into(),
        }),
        ..RegistryAccess::default()
    };
    let error = pull_with(&store, &server.reference("app:1"), access("wrong"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::Unauthorized(_))),
        "{error}"
    );
    assert!(!base::failure::chain(&error).contains("wrong"));
    let before = server.requests("/token").len();
    pull_with(&store, &server.reference("app:1"), access("pass"))
        .await
        .unwrap();
    assert_eq!(server.requests("/token").len(), before + 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let mut content = Content::default();
    content.image("1", &two_layers(), gzip);
    let address = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&address);
    let server = Server::start(move |request| {
        if request.path == "/token" {
            let is_right = request.method == "POST"
                && request.body.contains("grant_type=refresh_token")
                && request.body.contains("refresh_token=a%2Fb&");
            return match is_right {
                true => Reply::body(r#"{"access_token":"secret-token"}"#),
                false => Reply::status(400),
            };
        }
        if request.header("authorization") == Some("Bearer secret-token") {
            return answer(&content, request);
        }
        let realm = format!(r#"Bearer realm="http://{}/token""#, known.lock().unwrap());
        Reply::status(401).header("WWW-Authenticate", realm)
    });
    *address.lock().unwrap() = server.address.to_string();
    let place = Place::new();
    let access = RegistryAccess {
        credential: Some(Credential::IdentityToken("a/b".into())),
        ..RegistryAccess::default()
    };
    pull_with(&place.open(), &server.reference("app:1"), access)
        .await
        .unwrap();
}

#[tokio::test]
async fn basic_credentials_are_sent_when_asked_for() {
    let mut content = Content::default();
    content.image("1", &two_layers(), gzip);
    let server = Server::start(move |request| match request.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => answer(&content, request),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let place = Place::new();
    let store = place.open();
    let error = pull(&store, &server.reference("app:1")).await.unwrap_err();
    let expected = format!("Get \"http://{}/v2/test/app/manifests/1\"", server.address);
    assert!(
        matches!(&error, PullError::Registry(RegistryError::NoCredentials { request }) if *request == expected),
        "{error:?}"
    );
    let credential = Credential::Basic {
        username: "user".into(),
        password: "pass".into(),
    };
    let access = RegistryAccess {
        credential: Some(credential),
        ..RegistryAccess::default()
    };
    pull_with(&store, &server.reference("app:1"), access)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_server_elsewhere_gets_no_password_in_the_clear() {
    let thief = Server::start(|_| Reply::body(r#"{"token":"x"}"#));
    let realm = format!(r#"Bearer realm="http://{}/token""#, thief.address);
    let server =
        Server::start(move |_| Reply::status(401).header("WWW-Authenticate", realm.clone()));
    let place = Place::new();
    let credential = Credential::Basic {
        username: "user".into(),
        password: "pass".into(),
    };
    let access = RegistryAccess {
        credential: Some(credential),
        ..RegistryAccess::default()
    };
    let error = pull_with(&place.open(), &server.reference("app:1"), access)
        .await
        .unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::PlainRealm(_))),
        "{error}"
    );
    assert!(thief.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_elsewhere_carries_no_credentials() {
    let mut content = Content::default();
    content.image("1", &two_layers(), gzip);
    let elsewhere = content.clone();
    let storage = Server::start(move |request| answer(&elsewhere, request));
    let target = storage.address;
    let server = Server::start(move |request| {
        if request.header("authorization") != Some("Basic dXNlcjpwYXNz") {
            return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        match request.path.contains("/blobs/") {
            true => {
                Reply::status(307).header("Location", format!("http://{target}{}", request.path))
            }
            false => answer(&content, request),
        }
    });
    let place = Place::new();
    let credential = Credential::Basic {
        username: "user".into(),
        password: "pass".into(),
    };
    let access = RegistryAccess {
        credential: Some(credential),
        ..RegistryAccess::default()
    };
    pull_with(&place.open(), &server.reference("app:1"), access)
        .await
        .unwrap();
    let seen = storage.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|request| request.header("authorization").is_none()),
        "{seen:?}"
    );
}

#[tokio::test]
async fn redirects_without_end_or_to_other_schemes_are_not_followed() {
    let endless = Server::start(|request| match request.path.as_str() {
        "/v2/" => Reply::body("{}"),
        path => Reply::status(302).header("Location", path),
    });
    let place = Place::new();
    let store = place.open();
    let error = pull(&store, &endless.reference("app:1")).await.unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::Redirects(_))),
        "{error}"
    );
    assert!(endless.seen.lock().unwrap().len() < 20);
    let file = Server::start(|request| match request.path.as_str() {
        "/v2/" => Reply::body("{}"),
        _ => Reply::status(302).header("Location", "file:///etc/passwd"),
    });
    let error = pull(&store, &file.reference("app:1")).await.unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::Redirect { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let mut content = Content::default();
    let big = tar_of(&[("big", &noise(3 << 20, 7))]);
    let built = content.image("1", &[big], gzip);
    let (blob, breaks) = (built.layers[0].to_string(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let mut reply = answer(&content, request);
        if request.path.ends_with(&blob) && breaks.fetch_add(1, Ordering::SeqCst) < 3 {
            reply.cut = Some(700_000);
        }
        reply
    });
    let place = Place::new();
    let pulled = pull(&place.open(), &server.reference("app:1"))
        .await
        .unwrap();
    assert_eq!(pulled.image.id, built.id);
    let starts: Vec<_> = server
        .requests(&built.layers[0].to_string())
        .iter()
        .map(range)
        .collect();
    assert_eq!(
        starts,
        [None, Some(700_000), Some(1_400_000), Some(2_100_000)]
    );
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start() {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("big", &noise(1 << 20, 7))])], gzip);
    let (blob, breaks) = (built.layers[0].to_string(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let mut request = request.clone();
        request.headers.remove("range");
        let mut reply = answer(&content, &request);
        if request.path.ends_with(&blob) && breaks.fetch_add(1, Ordering::SeqCst) < 1 {
            reply.cut = Some(500_000);
        }
        reply
    });
    let place = Place::new();
    assert_eq!(
        pull(&place.open(), &server.reference("app:1"))
            .await
            .unwrap()
            .image
            .id,
        built.id
    );
}

#[tokio::test]
async fn a_registry_that_stays_down_ends_the_pull_and_the_next_one_resumes() {
    let mut content = Content::default();
    let built = content.image(
        "1",
        &[
            tar_of(&[("a", &noise(1 << 20, 1))]),
            tar_of(&[("b", &noise(1 << 20, 2))]),
        ],
        gzip,
    );
    let dead = content.clone();
    let blob = built.layers[1].to_string();
    let down = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = answer(&dead, request);
        if request.path.ends_with(&blob) {
            match down.fetch_add(1, Ordering::SeqCst) {
                0 => reply.cut = Some(600_000),
                1..=20 => return Reply::status(503),
                _ => {}
            }
        }
        reply
    });
    let place = Place::new();
    let store = place.open();
    let error = pull(&store, &server.reference("app:1")).await.unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::Status { .. })),
        "{error}"
    );
    let attempts = server.requests(&built.layers[1].to_string()).len();
    assert!((2..=6).contains(&attempts), "{attempts} attempts");
    place.assert_nothing_visible(&store);
    drop(store);
    let healthy = Server::registry(content);
    let store = place.open();
    place.assert_nothing_visible(&store);
    pull(&store, &healthy.reference("app:1")).await.unwrap();
    let resumed = healthy.requests(&built.layers[1].to_string());
    assert_eq!(
        resumed.iter().map(range).collect::<Vec<_>>(),
        [Some(600_000)]
    );
    assert!(
        healthy.requests(&built.layers[0].to_string()).is_empty(),
        "the whole layer was kept"
    );
    assert!(place.names("ingest").is_empty());
}

#[tokio::test]
async fn a_damaged_beginning_is_noticed_and_fetched_anew() {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("a", &noise(1 << 20, 1))])], gzip);
    let place = Place::new();
    drop(place.open());
    let ingest = place
        .directory
        .path()
        .join("ingest")
        .join(built.layers[0].hex());
    base::file::replace(&ingest, &[0; 4096], base::file::FileMode::Private).unwrap();
    let blob = place
        .directory
        .path()
        .join("blobs/sha256")
        .join(built.id.hex());
    base::file::replace(&blob, b"{}", base::file::FileMode::Private).unwrap();
    let server = Server::registry(content);
    assert_eq!(
        pull(&place.open(), &server.reference("app:1"))
            .await
            .unwrap()
            .image
            .id,
        built.id
    );
    drop(place.open());
}

/// A blob whose data a power cut lost is found by the layer's digest.
#[tokio::test]
async fn a_damaged_blob_without_an_image_is_fetched_anew() {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("a", &noise(1 << 16, 1))])], gzip);
    let size = content.blobs[&built.layers[0].to_string()].len();
    let place = Place::new();
    drop(place.open());
    let blob = place
        .directory
        .path()
        .join("blobs/sha256")
        .join(built.layers[0].hex());
    base::file::replace(&blob, &vec![0; size], base::file::FileMode::Private).unwrap();
    let server = Server::registry(content);
    assert_eq!(
        pull(&place.open(), &server.reference("app:1"))
            .await
            .unwrap()
            .image
            .id,
        built.id
    );
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    let mut content = Content::default();
    let built = content.image("1", &two_layers(), gzip);
    let manifest = content.manifests["1"].clone();
    for what in ["layer", "config", "manifest", "short", "long"] {
        let mut bad = content.clone();
        match what {
            "layer" => bad.blobs.get_mut(&built.layers[1].to_string()).unwrap()[20] ^= 1,
            "config" => *bad.blobs.get_mut(&built.id.to_string()).unwrap() = b"{\"a\":1}".to_vec(),
            "manifest" => {
                *bad.manifests.get_mut(&built.manifest.to_string()).unwrap() =
                    [&manifest[..], b" "].concat()
            }
            "short" => drop(
                bad.blobs
                    .get_mut(&built.layers[0].to_string())
                    .unwrap()
                    .pop(),
            ),
            _ => bad
                .blobs
                .get_mut(&built.layers[0].to_string())
                .unwrap()
                .push(0),
        }
        let server = Server::registry(bad);
        let place = Place::new();
        let store = place.open();
        let reference = server.reference(&format!("app@{}", built.manifest));
        let error = pull(&store, &reference).await.unwrap_err();
        let fits = match what {
            "layer" | "config" => matches!(error, PullError::BlobDigest { .. }),
            "manifest" => matches!(error, PullError::ManifestDigest { .. }),
            "short" => matches!(error, PullError::BlobShort { .. } | PullError::Registry(_)),
            _ => matches!(error, PullError::BlobLong { .. }),
        };
        assert!(fits, "{what}: {error:?}");
        place.assert_nothing_visible(&store);
        let good = Server::registry(content.clone());
        pull(&store, &good.reference("app:1")).await.unwrap();
    }
}

#[tokio::test]
async fn hostile_layers_leave_nothing_behind() {
    let cases: [(&str, Vec<u8>, Limits); 3] = [
        (
            "escape",
            tar_of(&[("../../escaped", b"x")]),
            Limits::default(),
        ),
        (
            "bomb",
            tar_of(&[("zeros", &vec![0; 4 << 20])]),
            Limits {
                layer_bytes: 1 << 20,
                ..Limits::default()
            },
        ),
        (
            "full",
            tar_of(&[("a", b"")]),
            Limits {
                reserve_bytes: u64::MAX / 2,
                ..Limits::default()
            },
        ),
    ];
    for (what, layer, limits) in cases {
        let mut content = Content::default();
        content.image("1", &[tar_of(&[("good", b"")]), layer], gzip);
        let server = Server::registry(content);
        let place = Place::new();
        let store = ImageStore::open_with(place.directory.path(), limits).unwrap();
        let error = pull(&store, &server.reference("app:1")).await.unwrap_err();
        assert!(
            matches!(error, PullError::Layer { .. }),
            "{what}: {error:?}"
        );
        place.assert_nothing_visible(&store);
        for part in ["layers", "blobs/sha256", "ingest"] {
            assert!(place.names(part).is_empty(), "{what}: {part}");
        }
        assert!(
            !place
                .directory
                .path()
                .parent()
                .unwrap()
                .join("escaped")
                .exists()
        );
    }
}

#[tokio::test]
async fn what_is_no_image_or_not_there_gets_a_clear_error() {
    let mut content = Content::default();
    let built = content.image("1", &two_layers(), gzip);
    let mut fewer: serde_json::Value = serde_json::from_slice(&content.manifests["1"]).unwrap();
    fewer["layers"].as_array_mut().unwrap().pop();
    content
        .manifests
        .insert("fewer".into(), fewer.to_string().into());
    content.manifests.insert("huge".into(), vec![b' '; 5 << 20]);
    content.manifests.insert("text".into(), b"hello".to_vec());
    content
        .manifests
        .insert("old".into(), br#"{"schemaVersion":1}"#.to_vec());
    content
        .manifests
        .insert("nested".into(), content.manifests["1"].clone());
    let server = Server::registry(content);
    let place = Place::new();
    let store = place.open();
    let fail = async |tag: &str| {
        base::failure::chain(&pull(&store, &server.reference(tag)).await.unwrap_err())
    };
    assert_eq!(
        fail("app:none").await,
        format!(
            "manifest for {} not found: manifest unknown: manifest unknown",
            server.reference("app:none")
        )
    );
    assert!(fail("app:fewer").await.contains("1 layers"));
    assert!(fail("app:huge").await.contains("longer than"));
    assert!(fail("app:text").await.contains("cannot parse the manifest"));
    assert!(fail("app:old").await.contains("schema version 1"));
    let missing = server.reference(&format!("app@{}", Digest::of(b"?")));
    assert!(matches!(
        pull(&store, &missing).await,
        Err(PullError::NotFound { .. })
    ));
    place.assert_nothing_visible(&store);
    assert_eq!(built.layers.len(), 2);
}

#[tokio::test]
async fn a_closed_port_is_known_at_once() {
    let place = Place::new();
    let store = place.open();
    let started = Instant::now();
    let error = pull(&store, "127.0.0.1:1/app").await.unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::Connect { .. })),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "no retries before the registry answered once"
    );
    place.assert_nothing_visible(&store);
}

#[tokio::test]
async fn a_server_that_is_no_registry_or_has_endless_headers_is_refused() {
    let page = Server::start(|_| Reply {
        status: 404,
        ..Reply::body("<html>")
    });
    let place = Place::new();
    let store = place.open();
    let error = pull(&store, &page.reference("app:1")).await.unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::NotARegistry(_))),
        "{error}"
    );
    let wordy = Server::start(|_| Reply::body("{}").header("X", "y".repeat(1 << 20)));
    let error = pull(&store, &wordy.reference("app:1")).await.unwrap_err();
    assert!(
        matches!(error, PullError::Registry(RegistryError::Http { .. })),
        "{error}"
    );
}

#[derive(Default)]
struct Recorder(Mutex<Vec<PullEvent>>);

impl Progress for Recorder {
    fn report(&self, event: &PullEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test]
async fn progress_goes_from_waiting_to_complete() {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("a", &noise(1 << 20, 1))])], gzip);
    let server = Server::registry(content);
    let (place, recorder) = (Place::new(), Arc::new(Recorder::default()));
    let store = place.open();
    let request = PullRequest {
        reference: server.reference("app:1").parse().unwrap(),
        platform: None,
        access: RegistryAccess::default(),
    };
    store
        .pull(&request, Arc::clone(&recorder) as Arc<dyn Progress>)
        .await
        .unwrap();
    let events = recorder.0.lock().unwrap();
    assert_eq!(
        events[0],
        PullEvent::Resolved {
            digest: built.manifest
        }
    );
    let steps: Vec<&LayerStep> = events[1..]
        .iter()
        .map(|event| match event {
            PullEvent::Layer { blob, step } if *blob == built.layers[0] => step,
            other => panic!("{other:?}"),
        })
        .collect();
    let position =
        |wanted: fn(&LayerStep) -> bool| steps.iter().position(|step| wanted(step)).unwrap();
    let order = [
        position(|s| matches!(s, LayerStep::Waiting)),
        position(|s| matches!(s, LayerStep::Downloading { .. })),
        position(|s| matches!(s, LayerStep::Downloaded)),
        position(|s| matches!(s, LayerStep::Extracting { .. })),
        position(|s| matches!(s, LayerStep::Complete)),
    ];
    assert!(order.is_sorted(), "{steps:?}");
    assert!(steps.len() < 100, "reports are bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_and_removals_at_once_leave_a_store_that_is_whole() {
    let mut content = Content::default();
    let shared = tar_of(&[("shared", &noise(1 << 18, 1))]);
    for number in 0..4_u64 {
        let own = tar_of(&[("own", &noise(1 << 16, number + 10))]);
        content.image(&number.to_string(), &[shared.clone(), own], gzip);
    }
    let server = Arc::new(Server::registry(content));
    let place = Place::new();
    let store = place.open();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (store, server) = (store.clone(), Arc::clone(&server));
        tasks.spawn(async move {
            for round in 0..8 {
                let reference = server.reference(&format!("app:{number}"));
                let image = pull(&store, &reference).await.unwrap().image;
                assert!(
                    image.diff_ids().all(|id| store.layer_path(&id).is_dir()),
                    "all layers are there"
                );
                if round < 7 {
                    store
                        .remove(&reference, Force::No, &|_| ImageUse::Unused)
                        .unwrap();
                }
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    assert_eq!(store.list().len(), 4);
    for image in store.list() {
        let removed = store
            .remove(&image.id.to_string(), Force::Yes, &|_| ImageUse::Unused)
            .unwrap();
        assert!(removed.contains(&Removed::Deleted(image.id)));
    }
    store.wait_for_removals();
    for part in ["layers", "blobs/sha256", "ingest", "trash"] {
        assert!(
            place.names(part).is_empty(),
            "{part}: {:?}",
            place.names(part)
        );
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_can_be_made_again() {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("a", &noise(1 << 20, 1))])], gzip);
    let (good, blob) = (content.clone(), built.layers[0].to_string());
    let stalled = Server::start(move |request| {
        let mut reply = answer(&content, request);
        if request.path.ends_with(&blob) {
            (reply.cut, reply.stall) = (Some(300_000), true);
        }
        reply
    });
    let place = Place::new();
    let store = place.open();
    let ingest = place
        .directory
        .path()
        .join("ingest")
        .join(built.layers[0].hex());
    let reference = stalled.reference("app:1");
    tokio::select! {
        _ = pull(&store, &reference) => panic!("it stalls"),
        () = until(|| ingest.metadata().is_ok_and(|m| m.len() >= 300_000)) => {}
    }
    place.assert_nothing_visible(&store);
    let server = Server::registry(good);
    pull(&store, &server.reference("app:1")).await.unwrap();
    assert_eq!(
        range(&server.requests(&built.layers[0].to_string())[0]),
        Some(300_000)
    );
}

async fn until(condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < limit, "waited too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const CHILD: &str = "ENGINE_IMAGE_TEST_CHILD";

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn child_that_pulls() {
    let Ok(arguments) = std::env::var(CHILD) else {
        return;
    };
    let (reference, directory) = arguments.split_once(' ').unwrap();
    let store = ImageStore::open(std::path::Path::new(directory)).unwrap();
    pull(&store, reference).await.unwrap();
}

/// SIGKILL while the manifest, the configuration, the first or the last layer
/// is on its way, while a layer is unpacked, and at the moment it is committed.
#[tokio::test]
async fn a_killed_pull_shows_nothing_and_the_next_one_resumes() {
    let mut content = Content::default();
    let many: Vec<(String, Vec<u8>)> = (0..3000)
        .map(|n| (format!("f{n}"), noise(100, n)))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(n, d)| (n.as_str(), d.as_slice()))
        .collect();
    let layers = [tar_of(&[("a", &noise(1 << 20, 1))]), tar_of(&many)];
    let built = content.image("1", &layers, gzip);
    let first = built.layers[0].to_string();
    let stalls = [
        ("manifest", "/manifests/1".to_owned(), Some(100)),
        ("config", built.id.to_string(), Some(10)),
        ("layer", first.clone(), Some(400_000)),
        ("unpacking", first.clone(), Some(400_000)),
        ("committed", first.clone(), Some(400_000)),
    ];
    for (what, path, cut) in stalls {
        let place = Place::new();
        let stalled = stalling(content.clone(), path, cut);
        kill_when(&place, &stalled, &built, what).await;
        let store = place.open();
        place.assert_nothing_visible(&store);
        let server = Server::registry(content.clone());
        let pulled = pull(&store, &server.reference("app:1")).await.unwrap();
        assert_eq!(pulled.image.id, built.id, "{what}");
        let files = names(&store.layer_path(&built.diff_ids[1])).len();
        assert_eq!(files, 3000, "{what}");
        if what == "layer" {
            assert_eq!(range(&server.requests(&first)[0]), Some(400_000));
        }
        if what == "committed" {
            let again = server.requests(&built.layers[1].to_string());
            assert!(again.is_empty(), "the layer was kept");
        }
        drop(store);
        assert_eq!(place.open().list().len(), 1);
    }
}

/// A registry that sends `cut` bytes of what ends in `path`, then nothing more.
fn stalling(content: Content, path: String, cut: Option<usize>) -> Server {
    Server::start(move |request| {
        let mut reply = answer(&content, request);
        if request.path.ends_with(&path) {
            (reply.cut, reply.stall) = (cut, true);
        }
        reply
    })
}

/// Runs a pull in another process and kills that at the moment `what` names.
async fn kill_when(place: &Place, stalled: &Server, built: &Built, what: &str) {
    let root = place.directory.path();
    let reference = stalled.reference("app:1");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pull::child_that_pulls", "--nocapture"])
        .env(CHILD, format!("{reference} {}", root.display()))
        .spawn()
        .unwrap();
    let layers = || match root.join("layers").is_dir() {
        true => place.names("layers"),
        false => Vec::new(),
    };
    let ingest = root.join("ingest").join(built.layers[0].hex());
    until(|| match what {
        "manifest" => !stalled.requests("/manifests/").is_empty(),
        "config" => !stalled.requests(&built.id.to_string()).is_empty(),
        "layer" => ingest.metadata().is_ok_and(|m| m.len() == 400_000),
        "unpacking" => layers().iter().any(|name| name.starts_with(".tmp")),
        _ => layers().contains(&built.diff_ids[1].hex()),
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn an_image_with_a_missing_layer_or_damaged_configuration_is_not_listed() {
    let mut content = Content::default();
    let built = content.image("1", &two_layers(), gzip);
    let server = Server::registry(content);
    for what in ["layer", "config"] {
        let place = Place::new();
        pull(&place.open(), &server.reference("app:1"))
            .await
            .unwrap();
        let root = place.directory.path();
        match what {
            "layer" => {
                std::fs::remove_dir_all(root.join("layers").join(built.diff_ids[0].hex())).unwrap()
            }
            _ => base::file::replace(
                &root.join("blobs/sha256").join(built.id.hex()),
                b"{}",
                base::file::FileMode::Private,
            )
            .unwrap(),
        }
        let store = place.open();
        assert!(store.list().is_empty(), "{what}");
        pull(&store, &server.reference("app:1")).await.unwrap();
        assert_eq!(store.list().len(), 1, "{what}: pulling again repairs it");
    }
}

#[test]
fn a_store_has_one_user_at_a_time() {
    let place = Place::new();
    let store = place.open();
    let error = ImageStore::open(place.directory.path()).unwrap_err();
    assert!(
        matches!(error, engine_image::StoreError::Locked(_)),
        "{error}"
    );
    drop(store);
    place.open();
}
