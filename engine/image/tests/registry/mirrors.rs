//! Pulls of images that are at a mirror, and of those that are not.

use base::Digest;
use engine_image::{Credential, ImageStore, PullRequest, RegistryAccess};

use crate::common::{Content, Reply, Server, answer, gzip, pull_with, tar_of};

fn content(file: &[u8]) -> (Content, Digest) {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("file", file)])], gzip);
    (content, built.id)
}

fn access(mirrors: &[&Server]) -> RegistryAccess {
    let mirrors = mirrors
        .iter()
        .map(|server| format!("http://{}", server.address));
    RegistryAccess {
        mirrors: mirrors.map(|mirror| mirror.parse().unwrap()).collect(),
        credential: Some(Credential::RegistryToken("secret".to_owned())),
        ..RegistryAccess::default()
    }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_shown_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let (content, id) = content(b"mirrored");
    let mirror = Server::registry(content);
    // Nothing of that name is there to be asked.
    let reference = "registry.invalid/test/image:1";
    let pulled = pull_with(&store, reference, access(&[&mirror])).await;
    let image = pulled.unwrap().image;
    assert_eq!(image.id, id);
    assert_eq!(image.repo_tags, [reference]);
    assert!(!mirror.requests("/v2/test/image/blobs/").is_empty());
    for request in mirror.requests("") {
        assert_eq!(request.header("authorization"), None, "{}", request.path);
    }
}

#[tokio::test]
async fn what_no_mirror_has_comes_from_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let (content, id) = content(b"of the registry");
    let registry = Server::registry(content);
    let empty = Server::registry(Content::default());
    let gone = Server::registry(Content::default());
    let access = access(&[&empty, &gone]);
    drop(gone);
    let pulled = pull_with(&store, &registry.reference("image:1"), access).await;
    assert_eq!(pulled.unwrap().image.id, id);
    assert!(!empty.requests("manifests").is_empty());
}

#[tokio::test]
async fn what_nobody_has_is_the_registrys_to_say() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let (registry, mirror) = (
        Server::registry(Content::default()),
        Server::registry(Content::default()),
    );
    let reference = registry.reference("image:1");
    let pulled = pull_with(&store, &reference, access(&[&mirror])).await;
    let message = pulled.unwrap_err().to_string();
    assert!(message.contains(&reference), "{message}");
}

#[tokio::test]
async fn a_mirror_is_asked_for_tags_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let (content, _) = content(b"mirrored");
    let mirror = Server::start(move |request| match request.path.as_str() {
        "/v2/test/image/tags/list" => Reply::body(r#"{"name": "test/image", "tags": ["1"]}"#),
        _ => answer(&content, request),
    });
    let request = PullRequest {
        reference: "registry.invalid/test/image".parse().unwrap(),
        platform: None,
        access: access(&[&mirror]),
    };
    let tags = store.remote_tags(&request).await.unwrap();
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["registry.invalid/test/image:1"]);
}
