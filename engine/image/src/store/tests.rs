//! Names, ids and the file that holds them.

use std::collections::BTreeSet;

use base::{Digest, Timestamp};

use super::record::{ImageRecord, Records};
use super::resolve::{ResolveError, resolve};
use crate::reference::Reference;

fn image(content: &str, tags: &[&str], digests: &[&str]) -> ImageRecord {
    let names = |names: &[&str]| -> BTreeSet<Reference> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    ImageRecord {
        id: Digest::of(content.as_bytes()),
        manifest: Digest::of(b"manifest"),
        layers: Vec::new(),
        tags: names(tags),
        digests: names(digests),
        last_tagged: Timestamp::default(),
    }
}

fn records(images: Vec<ImageRecord>) -> Records {
    Records(images.into_iter().map(|image| (image.id, image)).collect())
}

#[test]
fn names_come_before_ids() {
    let digest = Digest::of(b"index");
    let by_digest = format!("busybox@{digest}");
    let first = image("first", &["busybox:latest", "busybox:1"], &[&by_digest]);
    let id = first.id.hex();
    // A repository whose name could be the beginning of the id.
    let short = &id[..4];
    let second = image("second", &[&format!("{short}:latest")], &[]);
    let all = records(vec![first.clone(), second.clone()]);
    let found = |text: &str| resolve(&all, text).map(|record| record.id);
    for text in [
        "busybox",
        "busybox:1",
        "docker.io/library/busybox",
        &by_digest,
        &format!("busybox:9@{digest}"),
        &id,
        &id[..5],
        &format!("sha256:{id}"),
        &format!("sha256:{}", &id[..6]),
    ] {
        assert_eq!(found(text).unwrap(), first.id, "{text}");
    }
    assert_eq!(found(short).unwrap(), second.id);
    assert_eq!(
        found("busybox:2").unwrap_err().to_string(),
        "no such image: busybox:2"
    );
    assert_eq!(
        found("nothing").unwrap_err().to_string(),
        "no such image: nothing:latest"
    );
    assert!(matches!(found("UPPER"), Err(ResolveError::Invalid(_))));
    assert!(matches!(
        found(&"0".repeat(64)),
        Err(ResolveError::NotFound { .. })
    ));
}

#[test]
fn an_id_that_several_images_begin_with_is_ambiguous() {
    let all = records((0..40).map(|n| image(&n.to_string(), &[], &[])).collect());
    let digit = |c: char| resolve(&all, &c.to_string());
    let ambiguous = "0123456789abcdef"
        .chars()
        .filter(|c| matches!(digit(*c), Err(ResolveError::Ambiguous(_))));
    assert!(ambiguous.count() > 1);
}

#[test]
fn a_tag_moves_and_a_digest_stays() {
    let mut all = records(vec![image("a", &["x:1"], &[]), image("b", &[], &[])]);
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let digest: Reference = format!("x@{}", Digest::of(b"m")).parse().unwrap();
    all.name(a, &digest, Timestamp::now());
    all.name(b, &digest, Timestamp::now());
    all.name(b, &"x:1".parse().unwrap(), Timestamp::now());
    assert!(all.0[&a].tags.is_empty() && all.0[&a].digests.len() == 1);
    assert_eq!((all.0[&b].tags.len(), all.0[&b].digests.len()), (1, 1));
}

#[test]
fn the_references_survive_a_round_trip_and_refuse_another_format() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refs.json");
    assert_eq!(Records::read(&path).unwrap(), Records::default());
    let all = records(vec![image(
        "a",
        &["x:1", "localhost:5000/y:2"],
        &[&format!("x@{}", Digest::of(b"m"))],
    )]);
    all.write(&path).unwrap();
    assert_eq!(Records::read(&path).unwrap(), all);
    for bad in [
        "{",
        "{\"format\":2}",
        "{\"format\":1,\"images\":[{}]}",
        "[]",
    ] {
        base::file::replace(&path, bad.as_bytes(), base::file::FileMode::Private).unwrap();
        Records::read(&path).unwrap_err();
    }
}
