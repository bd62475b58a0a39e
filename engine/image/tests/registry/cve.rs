//! What has gone wrong in other engines' pulls; each test is named after the CVE.

use base::Digest;
use engine_image::{Credential, ImageStore, RegistryAccess};

use crate::common::{Content, Reply, Server, answer, gzip, pull_with, tar_of};

fn secret() -> RegistryAccess {
    RegistryAccess {
        credential: Some(Credential::Basic {
            username: "user".to_owned(),
            password: "pass".to_owned(),
        }),
        ..RegistryAccess::default()
    }
}

/// Digests that are none became parts of paths and of requests that showed a secret.
#[tokio::test]
async fn cve_2024_3727_a_digest_that_is_none_is_neither_asked_for_nor_a_path() {
    let digests = [
        "sha256:../../../../tmp/escaped",
        "../../../v2/other/blobs/x",
        "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:",
        "",
    ];
    for digest in digests {
        for place in ["layer", "config"] {
            let mut content = Content::default();
            let built = content.image("1", &[tar_of(&[("file", b"x")])], gzip);
            let real = match place {
                "layer" => built.layers[0],
                _ => built.id,
            };
            let manifest = String::from_utf8(content.manifests["1"].clone()).unwrap();
            let manifest = manifest.replace(&real.to_string(), digest);
            content
                .manifests
                .insert("1".to_owned(), manifest.into_bytes());
            let server = Server::registry(content);
            let directory = tempfile::tempdir().unwrap();
            let store = ImageStore::open(directory.path()).unwrap();
            let pulled = pull_with(&store, &server.reference("app:1"), secret()).await;
            pulled.unwrap_err();
            assert!(store.list().is_empty(), "{place} {digest:?}");
            let asked = server.requests("");
            let strays = asked.iter().filter(|request| {
                request.path != "/v2/" && !request.path.ends_with("/test/app/manifests/1")
            });
            let strays: Vec<&str> = strays.map(|request| request.path.as_str()).collect();
            assert!(strays.is_empty(), "{place} {digest:?}: {strays:?}");
        }
    }
}

/// A layer that was said to be elsewhere was fetched from there with the secret.
#[tokio::test]
async fn cve_2020_15157_a_layer_said_to_be_elsewhere_is_not_fetched_with_a_secret() {
    let mut content = Content::default();
    let built = content.image("1", &[tar_of(&[("file", b"x")])], gzip);
    let thief = Server::start(|_| {
        Reply::status(401).header("WWW-Authenticate", "Basic realm=\"give it to me\"")
    });
    let manifest = String::from_utf8(content.manifests["1"].clone()).unwrap();
    let layer = built.layers[0].to_string();
    let urls = format!(
        "\"urls\":[\"http://{}/layer\"],\"digest\":\"{layer}\"",
        thief.address
    );
    let manifest = manifest.replace(&format!("\"digest\":\"{layer}\""), &urls);
    assert!(manifest.contains("urls"), "{manifest}");
    content.blobs.remove(&layer);
    let bytes = manifest.into_bytes();
    content
        .manifests
        .insert(Digest::of(&bytes).to_string(), bytes.clone());
    content.manifests.insert("1".to_owned(), bytes);
    let server = Server::start(move |request| {
        match request.header("authorization") == Some("Basic dXNlcjpwYXNz") {
            true => answer(&content, request),
            false => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let pulled = pull_with(&store, &server.reference("app:1"), secret()).await;
    pulled.unwrap_err();
    for request in thief.requests("") {
        assert_eq!(request.header("authorization"), None, "{}", request.path);
    }
}
