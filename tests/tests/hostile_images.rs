//! Images that mean harm and a disk without space: one clear error each, by a
//! pull, a run and a load alike, nothing left behind, and a daemon that goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::file::{FileMode, replace};
use tests::layout::{Entry, Layer, archive_of, gzip, write_layout};
use tests::{Installation, Registry, wait_until, words, words_and};

const BAD: &str = "localhost:5000/bad:1";
/// What an escape writes if it succeeds; no other file has the name.
const ESCAPED: &str = "escaped-from-its-layer";
const CANARY: &str = "as it was\n";
/// No message is longer.
const MESSAGE_LIMIT_BYTES: usize = 600;

/// A registry beside an installation, and what this held before anything bad came.
struct Stage {
    host: Installation,
    registry: Registry,
    daemon: Option<i32>,
    stored: Vec<String>,
    traces: Vec<String>,
}

impl Stage {
    fn new(host: Installation) -> Self {
        let registry = Registry::start(host.scratch());
        put(&host.scratch().join("canary"), CANARY);
        let files = host.files();
        says_hello(&host);
        let traces = host.settled_traces(&files);
        Self {
            registry,
            daemon: host.pid_of("engine"),
            stored: stored(&host),
            traces,
            host,
        }
    }

    /// Writes a layout of the image `name` with busybox below `layers`.
    fn layout(&self, name: &str, layers: &[Layer]) -> PathBuf {
        let directory = self.host.scratch().join("layout");
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("it is ours");
        }
        let busybox = fs::read(self.host.scratch().join("busybox.tar")).expect("it was imported");
        let layers = [&[Layer::plain(busybox)], layers].concat();
        write_layout(&directory, name, &layers);
        directory
    }

    fn push(&self, layers: &[Layer]) -> PathBuf {
        let layout = self.layout(BAD, layers);
        self.registry.push_layout(&layout, "bad:1");
        layout
    }

    /// Checks that an image is refused with `text` however it comes.
    fn refused(&self, layers: &[Layer], text: &str) {
        let layout = self.push(layers);
        self.fails(1, text, &["pull", BAD]);
        self.fails(125, text, &["run", "--rm", BAD, "true"]);
        let archive = archive_of(&layout).display().to_string();
        self.fails(1, text, &["load", "-i", &archive]);
    }

    /// Checks that a command fails with one clear error and leaves nothing.
    fn fails(&self, code: i32, text: &str, words: &[&str]) {
        let said = self.host.engine(words);
        let errors: Vec<&str> = said
            .stderr
            .lines()
            .filter(|line| line.contains(text))
            .collect();
        assert!(
            said.code == code
                && errors.len() == 1
                && errors[0].len() < MESSAGE_LIMIT_BYTES
                && !said.stdout.contains("Digest: "),
            "expected {code} and {text:?} of {words:?}: {said:?}"
        );
        self.is_as_it_was(&format!("{words:?}, {text}"));
    }

    fn is_as_it_was(&self, context: &str) {
        let host = &self.host;
        assert_eq!(host.pid_of("engine"), self.daemon, "it is the same daemon");
        wait_until(&format!("the store is as it was after {context}"), || {
            stored(host) == self.stored
        });
        assert_eq!(listed(host), "busybox:1\n", "{context}");
        host.wait_until_traces(&self.traces, context);
        self.nothing_escaped(context);
    }

    /// Looks at everything but layers and containers, where it may be.
    fn nothing_escaped(&self, context: &str) {
        let canary = self.host.scratch().join("canary");
        let text = fs::read_to_string(&canary).expect("it is there");
        assert_eq!(text, CANARY, "{context}");
        let instance = &self.host.instance;
        let inside = [instance.images().join("layers"), instance.run().join("mnt")];
        let mut found = Vec::new();
        find_escaped(self.host.scratch(), &inside, &mut found);
        for directory in ["/", "/etc", "/tmp"] {
            found.extend(Some(Path::new(directory).join(ESCAPED)).filter(|path| path.exists()));
        }
        assert!(found.is_empty(), "{context}: {found:?}");
    }

    fn finish(self) {
        says_hello(&self.host);
        self.host.finish();
    }
}

fn find_escaped(directory: &Path, inside: &[PathBuf], found: &mut Vec<PathBuf>) {
    // What is being removed may go away meanwhile.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == ESCAPED) {
            found.push(path.clone());
        }
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory && !inside.contains(&path) {
            find_escaped(&path, inside, found);
        }
    }
}

fn put(path: &Path, text: &str) {
    replace(path, text.as_bytes(), FileMode::Public).expect("written");
}

fn listed(host: &Installation) -> String {
    host.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
}

/// Returns the names of everything in the image store.
fn stored(host: &Installation) -> Vec<String> {
    let mut names = Vec::new();
    for part in ["blobs/sha256", "layers", "ingest", "trash"] {
        let directory = host.instance.images().join(part);
        for entry in fs::read_dir(directory).expect("it is made").flatten() {
            names.push(format!("{part}/{}", entry.file_name().to_string_lossy()));
        }
    }
    names.sort();
    names
}

fn says_hello(host: &Installation) {
    let said = host.ok(&words("run --rm busybox:1 cat /www/index.html"));
    assert_eq!(said, "from the image\n");
}

#[test]
fn names_that_lead_out_of_a_layer_are_refused() {
    let stage = Stage::new(Installation::new());
    let up = "../".repeat(12);
    for name in [
        format!("../{ESCAPED}"),
        format!("/../../{ESCAPED}"),
        format!("a/../../{ESCAPED}"),
        format!("{up}{ESCAPED}"),
        format!("{up}tmp/{ESCAPED}"),
    ] {
        let text = format!("layer entry {name:?} leads out of the layer");
        let good = Entry::file("good", "");
        stage.refused(&[Layer::of(&[good, Entry::file(&name, "x")])], &text);
    }
    stage.finish();
}

#[test]
fn hard_links_to_what_the_layer_does_not_have_are_refused() {
    let stage = Stage::new(Installation::new());
    let scratch = stage.host.scratch().display().to_string();
    let canary = format!("{scratch}/canary");
    let climbing = format!("{}{canary}", "..".to_owned() + &"/..".repeat(11));
    let text = format!("layer entry {climbing:?} leads out of the layer");
    let link = Entry::hard_link("link", &climbing);
    stage.refused(&[Layer::of(&[link, Entry::file("link", "x")])], &text);
    let no_file = "which is not a file of this layer";
    let text = format!("hard link \"link\" refers to {canary:?}, {no_file}");
    let link = Entry::hard_link("link", &canary);
    stage.refused(&[Layer::of(&[link, Entry::file("link", "x")])], &text);
    let text = format!("hard link \"link\" refers to \"out/canary\", {no_file}");
    let through = [
        Entry::symlink("out", &scratch),
        Entry::hard_link("link", "out/canary"),
    ];
    stage.refused(&[Layer::of(&through)], &text);
    let text = format!("hard link \"link\" refers to \"etc/passwd\", {no_file}");
    let lower = Entry::hard_link("link", "etc/passwd");
    stage.refused(&[Layer::of(&[lower])], &text);
    stage.finish();
}

/// Writes through links and by absolute names; all of it must stay in the layer.
fn through_links(scratch: &str) -> [Layer; 2] {
    let same = [
        Entry::symlink("out", scratch),
        Entry::file(&format!("out/{ESCAPED}"), "by a link\n"),
        Entry::file("out/canary", "by a link\n"),
        Entry::symlink("up", &format!("../../../..{scratch}")),
        Entry::file("up/climbed", "by a climbing link\n"),
        Entry::symlink("top", "/"),
        Entry::file("top/at-the-top", "by a link to the root\n"),
        Entry::symlink("over", &format!("{scratch}/canary")),
        Entry::file("over", "in place of a link\n"),
        Entry::file(&format!("{scratch}/absolute"), "by its name\n"),
    ];
    let later = [
        Entry::file("out/canary", "by a later layer\n"),
        Entry::file("top/canary", "by a later layer\n"),
    ];
    [Layer::of(&same), Layer::of(&later)]
}

/// Commands in the container and what they print: as in Docker, a later layer's
/// directory takes the place of the link that a lower layer has there.
fn shown(scratch: &str) -> Vec<(String, &'static str)> {
    vec![
        (format!("cat {scratch}/{ESCAPED}"), "by a link\n"),
        (format!("cat {scratch}/canary"), "by a link\n"),
        (format!("cat {scratch}/climbed"), "by a climbing link\n"),
        (format!("cat {scratch}/absolute"), "by its name\n"),
        ("cat /at-the-top".into(), "by a link to the root\n"),
        ("cat /over".into(), "in place of a link\n"),
        ("cat /up/absolute".into(), "by its name\n"),
        ("ls /out /top".into(), "/out:\ncanary\n\n/top:\ncanary\n"),
        ("cat /out/canary".into(), "by a later layer\n"),
        ("stat -c %F /out /top".into(), "directory\ndirectory\n"),
    ]
}

#[test]
fn what_is_written_through_links_stays_in_the_layer() {
    let stage = Stage::new(Installation::new());
    let scratch = stage.host.scratch().display().to_string();
    let layout = stage.push(&through_links(&scratch));
    let archive = archive_of(&layout).display().to_string();
    for arrive in [["pull", "-q", BAD], ["load", "-qi", &archive]] {
        stage.host.ok(&arrive);
        stage.nothing_escaped(arrive[0]);
        for (command, expected) in shown(&scratch) {
            let mut words = vec!["run", "--rm", BAD];
            words.extend(command.split(' '));
            assert_eq!(stage.host.ok(&words), expected, "{command}");
        }
        stage.nothing_escaped("run");
        stage.host.ok(&["rmi", BAD]);
        stage.is_as_it_was("rmi");
    }
    stage.finish();
}

#[test]
fn a_layer_that_is_cut_or_not_what_the_configuration_says_is_refused() {
    let stage = Stage::new(Installation::new());
    let scratch = stage.host.scratch();
    let archive = Layer::of(&[Entry::file("file", &"text ".repeat(10_000))]).blob;
    let right = Layer::packed(&archive, scratch);
    let cut = Layer {
        blob: right.blob[..right.blob.len() / 2].to_vec(),
        ..right.clone()
    };
    stage.refused(&[cut], "cannot decompress the layer");
    // The stream is whole, the archive in it is not.
    let half = &archive[..archive.len() / 2];
    let short = Layer {
        blob: gzip(half, scratch),
        ..right.clone()
    };
    stage.refused(&[short], "cannot read the layer's archive");
    let other = Layer::of(&[Entry::file("other", "")]);
    let text = format!(
        "the layer's content is {}, the image's configuration says {}",
        right.diff_id, other.diff_id
    );
    let wrong = Layer {
        diff_id: other.diff_id,
        ..right
    };
    stage.refused(&[wrong], &text);
    stage.finish();
}

/// What the configuration allows in the test below.
const LAYER_MIB: usize = 64;
/// Expands to 4 GiB.
const BOMB_PIECES: usize = 256;
const ENTRIES: usize = 200;

#[test]
fn a_layer_that_expands_without_end_is_stopped_at_the_configured_limit() {
    let host = Installation::new();
    let file = host.scratch().join("config.toml");
    put(
        &file,
        &format!("[images]\nlayer-size-mib = {LAYER_MIB}\nlayer-entries = {ENTRIES}\n"),
    );
    host.ok(&["daemon", "stop"]);
    host.ok(&["--config", &file.display().to_string(), "daemon"]);
    let stage = Stage::new(host);
    let bomb = Layer::bomb(BOMB_PIECES, stage.host.scratch());
    assert!(bomb.blob.len() > 2 << 20, "{}", bomb.blob.len());
    let limit = LAYER_MIB << 20;
    let text = format!("the layer expands to more than the limit of {limit} bytes");
    stage.refused(&[bomb], &text);
    let many: Vec<Entry> = (0..=ENTRIES)
        .map(|number| Entry::file(&number.to_string(), ""))
        .collect();
    let text = format!("the layer has more than {ENTRIES} entries");
    stage.refused(&[Layer::of(&many)], &text);
    stage.finish();
}

/// Room for the image below and what is kept free, with a little to spare.
const DISK_MIB: u64 = 288;
/// What the image store keeps free, as it says it.
const RESERVE: &str = "67108864 are kept back";
/// Room to begin with the image below, not to end with it.
const TOO_LITTLE_MIB: u64 = 64 + 40;
/// What the larger of its layers expands to.
const LARGE_MIB: usize = 96;
/// Longer than a helper waits before it stores how far it has read.
const CURSOR_INTERVAL: Duration = Duration::from_millis(600);
/// Writes all there is as soon as it may, and again when there is more.
const FILLER: &str = "while [ ! -e /go ]; do sleep 0.05; done; \
    while :; do cat /dev/zero >>/filled 2>/dev/null; sleep 0.05; done";

fn free_bytes(host: &Installation) -> u64 {
    let stat = rustix::fs::statvfs(host.instance.root()).expect("it is mounted");
    stat.f_bavail * stat.f_frsize
}

/// Takes all but so many MiB of the small disk until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn leaving(host: &Installation, mebibytes: u64) -> Self {
        let ballast = Self(host.instance.root().join("ballast"));
        let file = fs::File::create(&ballast.0).expect("it can be made");
        let flags = rustix::fs::FallocateFlags::empty();
        let bytes = free_bytes(host) - (mebibytes << 20);
        rustix::fs::fallocate(&file, flags, 0, bytes).expect("so much is free");
        ballast
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

/// Pushes two layers: one that compression makes hardly smaller, and one that
/// becomes large only when it is unpacked. Returns the layout.
fn push_large(stage: &Stage) -> PathBuf {
    let mut noise = vec![0; 4 << 20];
    let mut random = fs::File::open("/dev/urandom").expect("it is a device");
    std::io::Read::read_exact(&mut random, &mut noise).expect("it never ends");
    let noise: String = noise.iter().map(|byte| char::from(byte & 0x7f)).collect();
    let zeros = "\0".repeat(LARGE_MIB << 20);
    let large = Layer::of(&[Entry::file("large", &zeros)]).blob;
    stage.push(&[
        Layer::of(&[Entry::file("noise", &noise)]),
        Layer::packed(&large, stage.host.scratch()),
    ])
}

fn state(host: &Installation, name: &str) -> String {
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    host.ok(&["inspect", "-f", format, name]).trim().to_owned()
}

/// Ends containers in every way while another one leaves no room for anything.
fn end_containers(host: &Installation) {
    let helpers = || ["netd", "volumed"].map(|helper| host.pid_of(helper));
    let before = helpers();
    host.ok(&words("exec filler touch /go"));
    wait_until("the disk is full", || free_bytes(host) == 0);
    assert_eq!(host.ok(&["ps", "-q"]).lines().count(), 4);
    host.ok(&words("exec ender touch /end"));
    assert_eq!(host.ok(&["wait", "ender"]), "7\n");
    assert_eq!(state(host, "ender"), "exited 7");
    host.ok(&words("stop -t 0 stopped"));
    assert_eq!(state(host, "stopped"), "exited 137");
    // Each must have tried to store its place in the log.
    std::thread::sleep(CURSOR_INTERVAL);
    assert_eq!(helpers(), before, "no helper ended");
    // What was written without room must be there for the next daemon.
    host.kill_9("engine");
    assert_eq!(state(host, "ender"), "exited 7");
    assert_eq!(state(host, "stopped"), "exited 137");
    host.fails(1, "No space left on device", &["start", "stopped"]);
    assert!(state(host, "stopped").starts_with("exited "));
    host.ok(&["rm", "stopped"]);
    host.ok(&words("rm -f removed"));
    host.ok(&words("stop -t 0 filler"));
    assert_eq!(host.ok(&["ps", "-aq"]).lines().count(), 2);
    host.ok(&["rm", "ender", "filler"]);
}

/// Returns the kinds of the facts that are recorded of a container's end.
fn recorded(host: &Installation, id: &str) -> Vec<String> {
    let filter = format!("container={}", id.trim());
    let words = words_and("events --from 0:0 --no-follow --filter", &filter);
    let said = host.ok(&words);
    let kinds = said.lines().filter_map(|line| line.split(' ').nth(1));
    let ends = ["stopped", "exited", "cleaned", "removed"].map(|end| format!("container.{end}"));
    let mut found: Vec<String> = kinds.map(str::to_owned).collect();
    found.retain(|kind| ends.contains(kind));
    found
}

#[test]
fn a_full_disk_refuses_images_and_lets_containers_end() {
    let host = Installation::on_small_disk(DISK_MIB);
    host.ok(&words_and("run -d --name filler busybox:1 sh -c", FILLER));
    let ender = "while [ ! -e /end ]; do sleep 0.05; done; exit 7";
    host.ok(&words_and("run -d --name ender busybox:1 sh -c", ender));
    host.ok(&words("run -d --name removed busybox:1 sleep 1000"));
    let stopped = host.ok(&words("run -d --name stopped busybox:1 sleep 1000"));
    let stage = Stage::new(host);
    let host = &stage.host;
    let archive = archive_of(&push_large(&stage)).display().to_string();
    for mebibytes in [TOO_LITTLE_MIB, 0] {
        let ballast = Ballast::leaving(host, mebibytes);
        let text = "no space left for the layer: ";
        stage.fails(1, text, &["pull", BAD]);
        stage.fails(1, RESERVE, &["pull", BAD]);
        stage.fails(1, text, &["load", "-i", &archive]);
        drop(ballast);
    }
    let ballast = Ballast::leaving(host, 8);
    end_containers(host);
    let mut recorded = recorded(host, &stopped);
    recorded.sort();
    let expected =
        ["cleaned", "exited", "removed", "stopped"].map(|end| format!("container.{end}"));
    assert_eq!(recorded, expected);
    drop(ballast);
    host.ok(&["pull", "-q", BAD]);
    let size = host.ok(&["run", "--rm", BAD, "stat", "-c", "%s", "/large"]);
    assert_eq!(size, format!("{}\n", LARGE_MIB << 20));
    stage.finish();
}
