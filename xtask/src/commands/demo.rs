//! `cargo xtask demo`: what a user can do, from an empty machine to a clean one.
//!
//! Installs what is missing, builds what ships, serves two real images from
//! Debian's registry, and then uses our binaries alone, as an installation of its
//! own. Fails when an answer is not the one expected or anything stays behind.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::commands::{dist, leaks};
use crate::debian;
use crate::host;
use crate::images;
use crate::process::{Background, Cmd};
use crate::snapshot::Snapshot;
use crate::workspace::{self, read_text, write_file};

const PACKAGES: &[&str] = &[
    "bsdutils",
    "busybox-static",
    "curl",
    "docker-registry",
    "iproute2",
    "nftables",
    "skopeo",
    "util-linux",
];
/// An installation beside whatever engine is on this machine already.
const ROOT: &str = "/var/lib/engine-demo";
const RUN: &str = "/run/engine-demo";
const STEP_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const KEYS: &str = "echo answer=$((6*7)); test -t 0 && echo terminal=yes; exit 5\n";
/// `$1` runs on a terminal; the keys come when it prompts, since setting the terminal
/// up drops what was typed before.
const TERMINAL: &str = "touch screen; { until grep -q '[#$] ' screen; do sleep 0.1; done; cat keys; } \
    | script --quiet --flush --return --command \"$1\" screen";

/// Shows everything once.
///
/// # Errors
/// Fails when a step does not give what it must, or something stays behind.
pub(crate) fn run() -> Result<()> {
    host::ensure_root("the demo")?;
    host::ensure_packages(PACKAGES)?;
    dist::programs()?;
    let work = workspace::scratch("")?.join(format!("demo-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let before = Snapshot::take(Path::new("/"))?;
    let shown = show(&work);
    let cleaned = clean_up().context("clean up");
    std::fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    shown?;
    cleaned?;
    leaks::expect_none(&before)?;
    println!("\nnothing was left behind: the demo passed");
    Ok(())
}

/// Where the demo's images and its web server are.
struct Places {
    web: String,
    debian: String,
    port: u16,
}

fn show(work: &Path) -> Result<()> {
    let (registry, places) = serve_images(work)?;
    pull_and_serve(&places)?;
    look_around()?;
    use_a_terminal(&places, work)?;
    follow_to_the_end(work)?;
    remove(&places)?;
    registry.stop()
}

fn serve_images(work: &Path) -> Result<(Background, Places)> {
    eprintln!("making two images and pushing them to a registry");
    let (registry_port, port) = (free_port()?, free_port()?);
    let folder = work.join("registry");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let registry = images::start_registry(registry_port, &folder)?;
    let web = format!("localhost:{registry_port}/web:1");
    images::busybox_root(&work.join("busybox"))?;
    images::write_layout(&work.join("web"), "1", &[work.join("busybox")], &["sh"])?;
    images::push(&work.join("web"), "1", &web)?;
    let debian = format!("localhost:{registry_port}/debian:12");
    let layers = debian_layers(work)?;
    images::write_layout(&work.join("debian"), "12", &layers, &["bash"])?;
    images::push(&work.join("debian"), "12", &debian)?;
    Ok((registry, Places { web, debian, port }))
}

/// Returns a real Debian and two layers of files over it.
fn debian_layers(work: &Path) -> Result<Vec<PathBuf>> {
    let layers: Vec<PathBuf> = (0..3)
        .map(|index| work.join(format!("layer-{index}")))
        .collect();
    debian::Tree::new(&debian::suite()?, &[]).unpack(&layers[0])?;
    write_file(&layers[1].join("etc/motd"), "a second layer\n")?;
    write_file(
        &layers[2].join("usr/local/share/demo/third"),
        "a third layer\n",
    )?;
    Ok(layers)
}

fn pull_and_serve(places: &Places) -> Result<()> {
    engine(&["pull", &places.web])?;
    engine(&["images"])?.expect("web")?;
    let publish = format!("{}:80", places.port);
    let serve = ["httpd", "-f", "-p", "80", "-h", "/www"];
    let options = [
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        &publish,
        "-v",
        "site:/www",
        &places.web,
    ];
    engine(&[&options[..], &serve].concat())?;
    fetch(places, "it works")?;
    engine(&[
        "exec",
        "web",
        "sh",
        "-c",
        "echo hello >/www/index.html; echo changed",
    ])?
    .expect("changed")?;
    fetch(places, "hello")
}

fn look_around() -> Result<()> {
    engine(&["ps", "-a"])?.expect("web")?;
    engine(&["volume", "ls"])?.expect("site")?;
    engine(&["network", "ls"])?.expect("bridge")?;
    engine(&["events", "--since", "1h", "--no-follow"])?.expect("container")?;
    engine(&["logs", "web"]).map(|_| ())
}

/// Runs a shell on a terminal that `script` makes, and types once it prompts.
fn use_a_terminal(places: &Places, work: &Path) -> Result<()> {
    engine(&["pull", &places.debian])?;
    let command = format!("engine run --rm -it {} bash", places.debian);
    println!("\n$ {command}");
    write_file(&work.join("keys"), KEYS)?;
    let terminal = environment(Cmd::new("sh"))
        .args(["-c", TERMINAL, "sh", &command])
        .directory(work)
        .timeout(STEP_LIMIT)
        .output()?;
    let shown = Shown {
        line: command,
        output: terminal.stdout_text(),
    };
    println!("{}", shown.output.trim_end());
    shown.expect("answer=42")?;
    shown.expect("terminal=yes")?;
    ensure!(
        terminal.code() == 5,
        "the shell ended with {} instead of 5",
        terminal.code()
    );
    Ok(())
}

/// Follows the log until the container is stopped, which must end it.
fn follow_to_the_end(work: &Path) -> Result<()> {
    let log = work.join("follow.log");
    println!("\n$ engine logs -f web &");
    let follower = environment(Cmd::new(program()))
        .args(["logs", "-f", "web"])
        .background(&log)?;
    engine(&["stop", "web"])?;
    let pid = PathBuf::from(format!("/proc/{}/stat", follower.pid()));
    let ended = || std::fs::read_to_string(&pid).is_ok_and(|stat| stat.contains(") Z "));
    wait_for("the end of `engine logs -f`", ended)?;
    follower.stop()?;
    engine(&["ps", "-a"])?.expect("Exited")
}

fn remove(places: &Places) -> Result<()> {
    engine(&["rm", "web"])?;
    engine(&["volume", "rm", "site"])?;
    engine(&["rmi", &places.web, &places.debian]).map(|_| ())
}

/// Ends the daemon and removes the installation's two folders.
fn clean_up() -> Result<()> {
    if Path::new(RUN).exists() {
        environment(Cmd::new(program()))
            .args(["daemon", "stop", "--containers"])
            .read()?;
    }
    // The folder of mounts and, where /run is on a disk, the tmpfs below it are the
    // installation's own; anything deeper is a leak.
    let below = format!("{RUN}/");
    let mut points: Vec<String> = mount_points()?;
    points.retain(|point| point == RUN || point.starts_with(&below));
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in &points {
        ensure!(
            *point == RUN || *point == format!("{RUN}/mnt"),
            "{point} is still mounted"
        );
        Cmd::new("umount").arg(point).read()?;
    }
    for folder in [RUN, ROOT] {
        if Path::new(folder).exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("remove {folder}"))?;
        }
    }
    Ok(())
}

fn mount_points() -> Result<Vec<String>> {
    let text = read_text(Path::new("/proc/self/mountinfo"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect())
}

/// A command that was shown, with what it printed.
struct Shown {
    line: String,
    output: String,
}

impl Shown {
    fn expect(&self, word: &str) -> Result<()> {
        ensure!(
            self.output.contains(word),
            "`{}` did not print `{word}`",
            self.line
        );
        Ok(())
    }
}

fn engine(args: &[&str]) -> Result<Shown> {
    let line = format!("engine {}", args.join(" "));
    println!("\n$ {line}");
    let output = environment(Cmd::new(program()))
        .args(args)
        .timeout(STEP_LIMIT)
        .read()?;
    println!("{output}");
    Ok(Shown { line, output })
}

/// Fetches the page; the server needs a moment after its start.
fn fetch(places: &Places, expected: &str) -> Result<()> {
    let address = format!("http://localhost:{}/", places.port);
    println!("\n$ curl {address}");
    let page = || {
        Cmd::new("curl")
            .args(["--silent", "--fail", &address])
            .read()
    };
    wait_for(&format!("`{expected}` from {address}"), || {
        page().is_ok_and(|text| text == expected)
    })?;
    println!("{expected}");
    Ok(())
}

fn wait_for(what: &str, ready: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    while !ready() {
        if Instant::now() > deadline {
            bail!("{what} did not come within {ANSWER_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn program() -> PathBuf {
    dist::folder().join("engine")
}

fn environment(command: Cmd) -> Cmd {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", dist::folder().display()))
        .env("ENGINE_ROOT", ROOT)
        .env("ENGINE_RUN", RUN)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr().context("read the free port")?.port())
}
