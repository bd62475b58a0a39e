//! Images from and to the outside: a real registry, archives, and what is
//! listed of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base::file::{FileMode, replace};
use tests::{Installation, PART_BYTES, Registry, finish, run, wait_until};

const NAME: &str = "localhost:5000/box";
const TAGGED: &str = "localhost:5000/box:1";

/// Pushes the image `busybox:1` as [`TAGGED`] and removes it here.
fn pushed(host: &Installation) -> Registry {
    let registry = Registry::start(host.scratch());
    let archive = save(host, "busybox:1", "pushed.tar");
    registry.push(&archive, "box:1");
    host.ok(&["rmi", "busybox:1"]);
    assert_eq!(listed(host), "");
    registry
}

fn save(host: &Installation, image: &str, name: &str) -> PathBuf {
    let archive = host.scratch().join(name);
    host.ok(&["save", "-o", &archive.display().to_string(), image]);
    archive
}

fn listed(host: &Installation) -> String {
    host.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
}

fn digest(host: &Installation) -> String {
    let said = host.ok(&["images", "--digests", "--format", "{{.Digest}}", NAME]);
    said.trim().to_owned()
}

fn says_hello(host: &Installation, image: &str) {
    let said = host.ok(&["run", "--rm", image, "cat", "/www/index.html"]);
    assert_eq!(said, "from the image\n");
}

#[test]
fn an_image_is_pulled_by_tag_and_by_digest() {
    let host = Installation::new();
    let registry = pushed(&host);
    let said = host.ok(&["pull", TAGGED]);
    for text in [
        "1: Pulling from box\n",
        ": Pull complete\n",
        "\nDigest: sha256:",
    ] {
        assert!(said.contains(text), "{text:?} is missing: {said}");
    }
    let end = format!("Status: Downloaded newer image for {TAGGED}\n{TAGGED}\n");
    assert!(said.ends_with(&end), "{said}");
    says_hello(&host, TAGGED);
    let again = host.ok(&["pull", TAGGED]);
    assert!(again.contains(&format!("Status: Image is up to date for {TAGGED}\n")));
    let requests = registry.requests();
    let by_us = |line: &&str| line.contains("/blobs/") && line.contains("engine/");
    let blobs = requests.lines().filter(by_us).count();
    assert_eq!(blobs, 2, "configuration and layer, once: {requests}");
    let digest = digest(&host);
    assert!(said.contains(&format!("Digest: {digest}\n")), "{said}");
    let untagged = host.ok(&["rmi", TAGGED]);
    assert!(
        untagged.contains(&format!("Untagged: {TAGGED}\n")),
        "{untagged}"
    );
    assert!(untagged.contains("Deleted: sha256:"), "{untagged}");
    let exact = format!("{NAME}@{digest}");
    assert_eq!(host.ok(&["pull", "-q", &exact]), format!("{exact}\n"));
    says_hello(&host, &exact);
    assert_eq!(listed(&host), format!("{NAME}:<none>\n"));
    host.ok(&["rmi", &exact]);
    assert_eq!(listed(&host), "");
    let ran = host.engine(&["run", "--rm", TAGGED, "echo", "pulled for this"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "pulled for this\n"),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .starts_with(&format!("Unable to find image '{TAGGED}' locally\n"))
    );
    host.finish();
}

#[test]
fn what_is_not_in_the_registry_is_one_error() {
    let host = Installation::new();
    let registry = pushed(&host);
    let nobody = format!("{NAME}@sha256:{}", "0".repeat(64));
    for name in ["localhost:5000/box:nope", "localhost:5000/nope:1", &nobody] {
        let text = format!("manifest for {name} not found: manifest unknown");
        host.fails(1, &text, &["pull", name]);
        host.fails(125, &text, &["run", "--rm", name, "true"]);
    }
    drop(registry);
    host.fails(
        1,
        "cannot connect to http://localhost:5000",
        &["pull", TAGGED],
    );
    assert_eq!(listed(&host), "");
    host.finish();
}

#[test]
fn a_layer_with_another_digest_is_refused_until_it_is_right() {
    let host = Installation::new();
    let registry = pushed(&host);
    host.ok(&["pull", "-q", TAGGED]);
    let said = registry.requests();
    let blobs = said.lines().filter_map(|line| line.split("/blobs/").nth(1));
    let digests = blobs.filter_map(|rest| rest.split(' ').next());
    let layer = digests
        .map(|digest| registry.blob(digest))
        .max_by_key(|path| fs::metadata(path).map_or(0, |file| file.len()))
        .expect("blobs were asked for");
    host.ok(&["rmi", TAGGED]);
    let right = fs::read(&layer).expect("it is a file");
    let mut wrong = right.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    replace(&layer, &wrong, FileMode::Public).expect("written");
    host.fails(1, "digest", &["pull", TAGGED]);
    assert_eq!(listed(&host), "");
    replace(&layer, &right[..middle], FileMode::Public).expect("written");
    host.fails(1, "", &["pull", TAGGED]);
    assert_eq!(listed(&host), "");
    replace(&layer, &right, FileMode::Public).expect("written");
    host.ok(&["pull", "-q", TAGGED]);
    says_hello(&host, TAGGED);
    host.finish();
}

#[test]
fn a_pull_whose_registry_dies_fails_and_the_next_one_goes_on() {
    let host = Installation::new();
    host.import_large("large:1");
    let registry = Registry::start(host.scratch());
    let archive = save(&host, "large:1", "large.tar");
    registry.push(&archive, "large:1");
    host.ok(&["rmi", "large:1"]);
    host.slow_down();
    let name = "localhost:5000/large:1";
    let mut pull = host.command(&["pull", name]);
    let pull = pull
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let pull = pull.spawn().expect("the command is built");
    wait_until("a part has come", || host.downloaded() > PART_BYTES);
    drop(registry);
    let said = finish(pull);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("localhost:5000"), "{said:?}");
    assert_eq!(listed(&host), "busybox:1\n");
    assert!(host.downloaded() > PART_BYTES, "what has come is kept");
    host.speed_up();
    let registry = Registry::start(host.scratch());
    host.ok(&["pull", "-q", name]);
    assert!(
        registry.requests().contains(" 206 "),
        "{}",
        registry.requests()
    );
    assert_eq!(host.downloaded(), 0);
    host.ok(&["rmi", name]);
    host.finish();
}

fn image_id(host: &Installation, name: &str) -> String {
    host.ok(&["images", "-q", "--no-trunc", name])
}

#[test]
fn an_image_survives_its_way_through_archives() {
    let host = Installation::new();
    let id = image_id(&host, "busybox:1");
    host.ok(&["tag", "busybox:1", "other:2"]);
    assert_eq!(image_id(&host, "other:2"), id);
    let archive = save(&host, "other:2", "other.tar");
    let listing = run(Command::new("tar").arg("-tf").arg(&archive)).stdout;
    for name in ["manifest.json", "index.json", "oci-layout"] {
        assert!(listing.lines().any(|line| line == name), "{listing}");
    }
    assert_eq!(host.ok(&["rmi", "other:2"]), "Untagged: other:2\n");
    host.ok(&["rmi", "busybox:1"]);
    assert_eq!(listed(&host), "");
    let loaded = host.ok(&["load", "-i", &archive.display().to_string()]);
    assert_eq!(loaded, "Loaded image: other:2\n");
    assert_eq!(image_id(&host, "other:2"), id);
    says_hello(&host, "other:2");
    host.finish();
}

#[test]
fn an_archive_goes_through_pipes() {
    let host = Installation::new();
    let id = image_id(&host, "busybox:1");
    let bytes = host
        .command(&["save", "busybox:1"])
        .stdin(Stdio::null())
        .output();
    let bytes = bytes.expect("the command is built").stdout;
    let file = host.scratch().join("piped.tar");
    replace(&file, &bytes, FileMode::Private).expect("written");
    host.ok(&["rmi", "busybox:1"]);
    let input = fs::File::open(&file).expect("it was written");
    let said = run(host.command(&["load"]).stdin(input));
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "Loaded image: busybox:1\n"),
        "{said:?}"
    );
    assert_eq!(image_id(&host, "busybox:1"), id);
    let cut = host.scratch().join("cut.tar");
    replace(&cut, &bytes[..bytes.len() / 2], FileMode::Private).expect("written");
    host.ok(&["rmi", "busybox:1"]);
    host.fails(1, "", &["load", "-i", &cut.display().to_string()]);
    assert_eq!(listed(&host), "");
    host.finish();
}

#[test]
fn images_in_use_or_by_their_id_are_removed_as_docker_does() {
    let host = Installation::new();
    host.ok(&["create", "--name", "user", "busybox:1", "true"]);
    host.fails(1, "conflict", &["rmi", "busybox:1"]);
    host.ok(&["rm", "user"]);
    let id = image_id(&host, "busybox:1");
    let short = id
        .trim()
        .trim_start_matches("sha256:")
        .get(..12)
        .expect("an id");
    host.ok(&["tag", short, "other:2"]);
    host.fails(1, "conflict", &["rmi", short]);
    host.ok(&["rmi", "-f", short]);
    assert_eq!(listed(&host), "");
    let layers = host.instance.root().join("images/layers");
    wait_until("its layers are gone", || is_empty(&layers));
    host.finish();
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}
