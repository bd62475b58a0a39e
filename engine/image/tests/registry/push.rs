//! Pushes to a registry in this process, which fails where it is told to.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_image::{
    Credential, ImageStore, ImportRequest, NoPushProgress, PullRequest, PushError, PushEvent,
    PushProgress, PushRequest, PushStep, Pushed, RegistryAccess, RegistryError, inspect, log_in,
    search,
};

use crate::common::{Content, Reply, Server, gzip, noise, pull, pull_with, tar_of};
use crate::taking::{Auth, Taking};

/// Of which no time passes between attempts.
const SECOND: Duration = Duration::from_millis(1);

struct Steps(Mutex<Vec<PushEvent>>);

impl PushProgress for Steps {
    fn report(&self, event: &PushEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

struct Place {
    store: ImageStore,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: ImageStore::open(directory.path()).unwrap(),
            _directory: directory,
        }
    }

    /// Makes an image whose only layer is not compressed.
    fn import(&self, name: &str, content: &[u8]) -> engine_image::Image {
        let request = ImportRequest {
            reference: Some(name.parse().unwrap()),
            ..ImportRequest::default()
        };
        let archive = tar_of(&[("file", content)]);
        self.store.import(&archive[..], &request).unwrap()
    }
}

fn user(password: &str) -> RegistryAccess {
    RegistryAccess {
        credential: Some(Credential::Basic {
            username: "user".into(),
            password: password.into(),
        }),
        ..RegistryAccess::default()
    }
}

async fn push_with(
    store: &ImageStore,
    name: &str,
    access: RegistryAccess,
    progress: Arc<dyn PushProgress>,
) -> Result<Vec<Pushed>, PushError> {
    let request = PushRequest {
        reference: name.parse().unwrap(),
        access,
        second: SECOND,
    };
    let push = store.push(&request, progress).await?;
    let mut all = Vec::new();
    for number in 0..push.count() {
        all.push(push.push(number).await?);
    }
    Ok(all)
}

async fn push(store: &ImageStore, name: &str) -> Result<Vec<Pushed>, PushError> {
    let access = RegistryAccess::default();
    push_with(store, name, access, Arc::new(NoPushProgress)).await
}

/// Pushes and returns the steps, without those of bytes.
async fn steps(store: &ImageStore, name: &str) -> Vec<PushStep> {
    let steps = Arc::new(Steps(Mutex::default()));
    let access = RegistryAccess::default();
    push_with(store, name, access, Arc::clone(&steps) as _)
        .await
        .unwrap();
    let steps = steps.0.lock().unwrap();
    let is_step = |step: &PushStep| !matches!(step, PushStep::Pushing { .. });
    steps
        .iter()
        .map(|event| event.step.clone())
        .filter(is_step)
        .collect()
}

#[tokio::test]
async fn an_image_goes_as_it_came_and_comes_back_the_same() {
    let mut content = Content::default();
    let layers = [tar_of(&[("a", b"1")]), tar_of(&[("b", &noise(400_000, 1))])];
    let built = content.image("1", &layers, gzip);
    let (source, target) = (Server::registry(content), Taking::start(Auth::Open));
    let place = Place::new();
    let from = source.reference("app:1");
    pull(&place.store, &from).await.unwrap();
    let name = target.server.reference("app:1");
    place.store.tag(&from, &name).unwrap();
    let said = steps(&place.store, &name).await;
    use PushStep as S;
    assert_eq!(said, [S::Preparing, S::Preparing, S::Pushed, S::Pushed]);
    assert_eq!(
        target.count("PATCH", "/uploads/"),
        0,
        "the digests are known"
    );
    let pushed = push(&place.store, &name).await.unwrap();
    assert_eq!(pushed[0].digest, built.manifest, "its own manifest");
    assert_eq!(
        steps(&place.store, &name).await,
        [S::Preparing, S::Preparing, S::Exists, S::Exists]
    );
    let image = place.store.image(&built.id).unwrap();
    let by_digest = target.server.reference(&format!("app@{}", built.manifest));
    assert!(image.repo_digests.contains(&by_digest), "{image:?}");
    let other = Place::new();
    let back = pull(&other.store, &name).await.unwrap();
    assert_eq!((back.image.id, back.digest), (built.id, built.manifest));
}

#[tokio::test]
async fn layers_without_compression_are_compressed_the_same_every_time() {
    let target = Taking::start(Auth::Open);
    let place = Place::new();
    let name = target.server.reference("app:1");
    let image = place.import(&name, &noise(3 << 20, 1));
    let first = push(&place.store, &name).await.unwrap();
    assert_eq!(first[0].tag, "1");
    let manifest = target.manifest("test/app", "1");
    let media = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(manifest["mediaType"], media);
    let layer = manifest["layers"][0]["mediaType"].as_str().unwrap();
    assert!(layer.ends_with("tar.gzip"), "{layer}");
    assert_eq!(target.count("PATCH", "/uploads/"), 1);
    assert_eq!(push(&place.store, &name).await.unwrap(), first);
    assert_eq!(target.count("PATCH", "/uploads/"), 1, "it is known by now");
    let other = Place::new();
    let back = pull(&other.store, &name).await.unwrap();
    assert_eq!((back.image.id, back.digest), (image.id, first[0].digest));
    let same = pull(&place.store, &name).await.unwrap();
    assert_eq!(same.status, engine_image::PullStatus::UpToDate);
    let third = Taking::start(Auth::Open);
    let elsewhere = third.server.reference("app:1");
    place.store.tag(&name, &elsewhere).unwrap();
    assert_eq!(push(&place.store, &elsewhere).await.unwrap(), first);
}

#[tokio::test]
async fn what_another_repository_has_is_mounted() {
    for auth in [Auth::Open, Auth::Token] {
        let target = Taking::start(auth);
        let place = Place::new();
        let name = target.server.reference("app:1");
        place.import(&name, b"x");
        let quiet = || Arc::new(NoPushProgress);
        push_with(&place.store, &name, user("pass"), quiet())
            .await
            .unwrap();
        let other = target.server.reference("deep/other:2");
        place.store.tag(&name, &other).unwrap();
        let before = target.count("PATCH", "/uploads/");
        let steps = Arc::new(Steps(Mutex::default()));
        push_with(&place.store, &other, user("pass"), Arc::clone(&steps) as _)
            .await
            .unwrap();
        let mounted = PushStep::Mounted {
            from: "test/app".to_owned(),
        };
        let last = steps.0.lock().unwrap().last().unwrap().step.clone();
        assert_eq!(last, mounted, "{auth:?}");
        assert_eq!(target.count("PATCH", "/uploads/"), before);
        let back = pull_with(&Place::new().store, &other, user("pass")).await;
        back.unwrap();
    }
}

#[tokio::test]
async fn a_mount_that_fails_becomes_an_upload() {
    let target = Taking::start(Auth::Open);
    let place = Place::new();
    let name = target.server.reference("app:1");
    place.import(&name, b"x");
    push(&place.store, &name).await.unwrap();
    target.state.lock().unwrap().repositories.clear();
    let other = target.server.reference("other:1");
    place.store.tag(&name, &other).unwrap();
    let said = steps(&place.store, &other).await;
    assert_eq!(said, [PushStep::Preparing, PushStep::Pushed]);
    let mounts = target.server.requests("mount=").len();
    assert_eq!(mounts, 1);
    let begun = target.count("POST", "/other/blobs/uploads/");
    assert_eq!(
        begun, 2,
        "its session is used, and one for the configuration"
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_begun_again() {
    for is_packed in [true, false] {
        let target = Taking::start(Auth::Open);
        let place = Place::new();
        let name = target.server.reference("app:1");
        match is_packed {
            true => drop(place.import(&name, &noise(2 << 20, 7))),
            false => {
                let mut content = Content::default();
                content.image("1", &[tar_of(&[("b", &noise(2 << 20, 1))])], gzip);
                let source = Server::registry(content);
                pull(&place.store, &source.reference("app:1"))
                    .await
                    .unwrap();
                let from = source.reference("app:1");
                place.store.tag(&from, &name).unwrap();
            }
        }
        target.server.breaks.store(2, Ordering::SeqCst);
        target.state.lock().unwrap().failures = 1;
        let said = steps(&place.store, &name).await;
        let pauses: Vec<u32> = said
            .iter()
            .filter_map(|step| match step {
                PushStep::Retrying { seconds } => Some(*seconds),
                _ => None,
            })
            .collect();
        let expected: Vec<u32> = (1..=5).rev().chain((1..=10).rev()).collect();
        assert_eq!(pauses, expected, "{said:?}");
        pull(&Place::new().store, &name).await.unwrap();
    }
}

#[tokio::test]
async fn a_push_gives_up_after_five_attempts_and_names_nothing() {
    let target = Taking::start(Auth::Open);
    let place = Place::new();
    let name = target.server.reference("app:1");
    place.import(&name, &noise(1 << 20, 7));
    target.server.breaks.store(usize::MAX, Ordering::SeqCst);
    let error = push(&place.store, &name).await.unwrap_err();
    assert!(
        matches!(error, PushError::Registry(RegistryError::Http { .. })),
        "{error:?}"
    );
    assert_eq!(target.count("POST", "/uploads/"), 5);
    assert_eq!(target.count("PUT", "/manifests/"), 0);
    target.server.breaks.store(0, Ordering::SeqCst);
    target.state.lock().unwrap().forgotten = 1;
    push(&place.store, &name).await.unwrap();
}

#[tokio::test]
async fn credentials_are_asked_for_and_refused() {
    for auth in [Auth::Basic, Auth::Token] {
        let target = Taking::start(auth);
        let place = Place::new();
        let name = target.server.reference("app:1");
        place.import(&name, b"x");
        let quiet = || Arc::new(NoPushProgress);
        let wrong = push_with(&place.store, &name, user("wrong"), quiet()).await;
        let wrong = wrong.unwrap_err();
        assert!(
            matches!(wrong, PushError::Registry(RegistryError::Unauthorized(_))),
            "{wrong:?}"
        );
        let begun = target.count("POST", "/uploads/");
        assert!(begun <= 2, "it is not tried again: {begun}");
        assert!(!format!("{wrong:?}").contains("wrong"), "{wrong:?}");
        push_with(&place.store, &name, user("pass"), quiet())
            .await
            .unwrap();
    }
    let denied = "denied: requested access to the resource is denied";
    for (auth, expected) in [
        (Auth::Basic, "no basic auth credentials"),
        (Auth::Token, denied),
    ] {
        let target = Taking::start(auth);
        let place = Place::new();
        let name = target.server.reference("app:1");
        place.import(&name, b"x");
        let none = push(&place.store, &name).await.unwrap_err();
        assert_eq!(none.to_string(), expected);
        let none = pull(&place.store, &name).await.unwrap_err();
        assert_eq!(
            none.to_string().contains(denied),
            auth == Auth::Token,
            "{none}"
        );
    }
}

#[tokio::test]
async fn names_that_cannot_be_pushed_are_refused_before_anything_is_asked() {
    let target = Taking::start(Auth::Open);
    let place = Place::new();
    let here = target.server.reference("app");
    place.import(&format!("{here}:1"), b"x");
    let refused = async |name: &str| push(&place.store, name).await.unwrap_err().to_string();
    let other = target.server.reference("other");
    let unknown = format!("An image does not exist locally with the tag: {other}");
    assert_eq!(refused(&other).await, unknown);
    assert_eq!(refused(&format!("{other}:1")).await, unknown);
    let absent = format!("tag does not exist: {here}:2");
    assert_eq!(refused(&format!("{here}:2")).await, absent);
    let digest = format!("{here}@sha256:{}", "0".repeat(64));
    assert_eq!(refused(&digest).await, "cannot push a digest reference");
    assert!(target.server.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn all_tags_of_a_repository_are_pushed_and_listed() {
    let target = Taking::start(Auth::Open);
    let place = Place::new();
    let name = target.server.reference("app");
    for tag in ["c", "a", "b"] {
        place.import(&format!("{name}:{tag}"), tag.as_bytes());
    }
    let pushed = push(&place.store, &name).await.unwrap();
    let tags: Vec<&str> = pushed.iter().map(|one| one.tag.as_str()).collect();
    assert_eq!(tags, ["a", "b", "c"]);
    let request = PullRequest {
        reference: name.parse().unwrap(),
        platform: None,
        access: RegistryAccess::default(),
    };
    let listed = place.store.remote_tags(&request).await.unwrap();
    let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["a", "b", "c"].map(|tag| format!("{name}:{tag}")));
    let unknown = PullRequest {
        reference: target.server.reference("nope").parse().unwrap(),
        ..request
    };
    let error = place.store.remote_tags(&unknown).await.unwrap_err();
    let nope = target.server.reference("nope");
    let text =
        format!("repository {nope} not found: name unknown: repository name not known to registry");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_login_is_asked_of_the_registry() {
    for (auth, token) in [
        (Auth::Open, ""),
        (Auth::Basic, ""),
        (Auth::Token, "identity"),
    ] {
        let target = Taking::start(auth);
        let domain = target.server.address.to_string();
        assert_eq!(
            log_in(&domain, &user("pass")).await.unwrap(),
            token,
            "{auth:?}"
        );
        let wrong = log_in(&domain, &user("wrong")).await;
        match (auth, wrong) {
            (Auth::Open, Ok(_)) => {}
            (Auth::Basic, Err(RegistryError::Login { url, status })) => {
                assert_eq!(
                    (url, status.as_u16()),
                    (format!("http://{domain}/v2/"), 401)
                );
            }
            (Auth::Token, Err(RegistryError::Unauthorized(said))) => {
                assert_eq!(said, "incorrect username or password");
            }
            (_, other) => panic!("{auth:?}: {other:?}"),
        }
    }
    let target = Taking::start(Auth::Basic);
    let domain = target.server.address.to_string();
    let none = log_in(&domain, &RegistryAccess::default()).await;
    assert!(
        matches!(none, Err(RegistryError::NoCredentials { .. })),
        "{none:?}"
    );
}

#[tokio::test]
async fn a_name_is_looked_up_without_a_pull() {
    let mut content = Content::default();
    let arm = content.image_for("arm", &[tar_of(&[("arm", b"")])], gzip, "arm64");
    let index = content.index("multi", &[("arm64", &arm)]);
    let server = Server::registry(content);
    let of = async |rest: &str| {
        let reference = server.reference(rest).parse().unwrap();
        inspect(&reference, &RegistryAccess::default()).await
    };
    let single = of("app:arm").await.unwrap();
    assert_eq!(single.descriptor.digest, arm.manifest);
    assert_eq!(single.descriptor.media_type, crate::common::OCI_MANIFEST);
    assert_eq!(single.platforms[0].architecture, "arm64");
    let several = of("app:multi").await.unwrap();
    assert_eq!(several.descriptor.digest, index);
    assert_eq!(several.platforms, single.platforms);
    assert!(of("app:nope").await.is_err());
}

#[tokio::test]
async fn five_layers_go_at_once_and_the_others_wait() {
    let mut content = Content::default();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let layers = names.map(|name| tar_of(&[(name, b"x")]));
    content.image("1", &layers, gzip);
    let (source, target) = (Server::registry(content), Taking::start(Auth::Open));
    let place = Place::new();
    let name = target.server.reference("app:1");
    pull(&place.store, &source.reference("app:1"))
        .await
        .unwrap();
    place.store.tag(&source.reference("app:1"), &name).unwrap();
    let said = steps(&place.store, &name).await;
    let count = |step: &PushStep| said.iter().filter(|one| *one == step).count();
    assert_eq!(count(&PushStep::Pushed), names.len());
    assert!(count(&PushStep::Waiting) >= names.len() - 5, "{said:?}");
    let most = target.most.load(Ordering::SeqCst);
    assert!((2..=5).contains(&most), "{most} at once");
}

#[tokio::test]
async fn a_push_that_is_given_up_leaves_nothing_running() {
    let target = Taking::start(Auth::Open);
    let place = Place::new();
    let name = target.server.reference("app:1");
    place.import(&name, &noise(8 << 20, 3));
    let progress = Arc::new(Steps(Mutex::default()));
    let pushing = push_with(
        &place.store,
        &name,
        RegistryAccess::default(),
        Arc::clone(&progress) as _,
    );
    let begun = async {
        while progress.0.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = pushing => panic!("it was to be given up"),
        () = begun => {}
    }
    // The thread that read the layer holds the last of the others.
    let limit = std::time::Instant::now() + Duration::from_secs(10);
    while Arc::strong_count(&progress) > 1 {
        assert!(std::time::Instant::now() < limit, "it goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(target.count("PUT", "/manifests/"), 0);
    push(&place.store, &name).await.unwrap();
}

#[tokio::test]
async fn a_search_goes_to_the_older_interface() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v1/search?q=a%2Fb%26c&n=2" => Reply::body(
            r#"{"num_results":3,"results":[{"name":"a","star_count":3,"is_official":true},
            {"name":"b","description":"x"},{"name":"too many"}]}"#,
        ),
        _ => Reply::status(404),
    });
    let domain = server.address.to_string();
    let of = async |term: &str| search(Some(&domain), term, 2, &user("pass")).await;
    let found = of("a/b&c").await.unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((found[0].star_count, found[0].is_official), (3, true));
    let asked = server.requests("/v1/search").pop().unwrap();
    assert_eq!(asked.header("authorization"), Some("Basic dXNlcjpwYXNz"));
    let none = of("other").await.unwrap_err();
    assert_eq!(none.to_string(), "Unexpected status code 404");
    drop(server);
    let gone = search(Some("127.0.0.1:1"), "x", 2, &RegistryAccess::default()).await;
    let gone = gone.unwrap_err().to_string();
    let begin =
        "invalid registry endpoint \"http://127.0.0.1:1/v1/\". HTTPS attempt: cannot connect";
    assert!(gone.starts_with(begin), "{gone}");
}
