//! Prints what a root filesystem of five layers costs, warm: what the kernel takes
//! for the bare calls, the work alone, and from request to reply through the event
//! log with volumed in this process. The first two alternate.
//! Needs root; works in a mount namespace of its own.
//!
//!     cargo run --release -p volumed --example mount_cost

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::Steps;
use base::{ContainerId, Digest, Instance, RunId, RunNumber};
use events::{Log, Requester};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use volumed::daemon::Daemon;
use volumed::overlay::{self, Durability, MountWay, Overlay, Writable};
use volumed::rootfs;
use volumed::storage::Storage;
use volumed_api::{ImageUse, MountRootfs, Upper};

const ROUNDS: usize = 200;
const LAYERS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let directory = tempfile::tempdir()?;
    let (root, run) = (directory.path().join("root"), directory.path().join("run"));
    fs::create_dir(&run)?;
    mount("tmpfs", &run, "tmpfs", MountFlags::empty(), None)?;
    let instance = Instance::open(&root, &run, None)?;
    let layers = make_layers(&instance)?;
    measure_work(&instance, &layers)?;
    measure_round_trip(&instance, &layers)?;
    let detach = rustix::mount::UnmountFlags::DETACH;
    rustix::mount::unmount(instance.mounts(), detach)?;
    Ok(rustix::mount::unmount(&run, detach)?)
}

fn make_layers(instance: &Instance) -> anyhow::Result<Vec<Digest>> {
    let layers = (0..LAYERS).map(|n| Digest::of(&n.to_le_bytes()));
    let layers: Vec<Digest> = layers.collect();
    for layer in &layers {
        fs::create_dir_all(instance.layer(layer).join("etc"))?;
    }
    Ok(layers)
}

fn request(layers: &[Digest]) -> MountRootfs {
    request_with_images(layers, 0)
}

/// With an image beside the root filesystem that often, of the same layers.
fn request_with_images(layers: &[Digest], images: usize) -> MountRootfs {
    let image = ImageUse {
        layers: layers.to_vec(),
        subpath: None,
    };
    MountRootfs {
        user_namespace: None,
        run: RunId::new(ContainerId::random(), RunNumber(1)),
        layers: layers.to_vec(),
        upper: Upper::Volatile,
        volumes: Vec::new(),
        binds: Vec::new(),
        images: vec![image; images],
        shared_memory_bytes: None,
    }
}

fn measure_work(instance: &Instance, layers: &[Digest]) -> anyhow::Result<()> {
    let storage = Storage::open(instance.clone(), Steps::harmless(), None)?;
    let mut floor = Vec::new();
    let mut plain = [Vec::new(), Vec::new()];
    let mut with_image = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        floor.push(measure_floor(instance, layers)?);
        measure_one(&storage, &request(layers), &mut plain)?;
        measure_one(&storage, &request_with_images(layers, 1), &mut with_image)?;
    }
    report("three mkdir and an overlay mount", &mut floor);
    for (what, [mounts, releases]) in [("", &mut plain), (" with an image", &mut with_image)] {
        report(&format!("mount{what}, work alone"), mounts);
        report(&format!("release of a volatile run{what}"), releases);
    }
    Ok(())
}

/// Adds what a mount and its release take.
fn measure_one(
    storage: &Storage,
    request: &MountRootfs,
    [mounts, releases]: &mut [Vec<Duration>; 2],
) -> anyhow::Result<()> {
    make_container(&storage.instance, request)?;
    let started = Instant::now();
    rootfs::mount(storage, request)?;
    mounts.push(started.elapsed());
    let started = Instant::now();
    rootfs::release(storage, &request.run)?;
    releases.push(started.elapsed());
    Ok(())
}

/// Nothing but what the kernel has to be asked for.
fn measure_floor(instance: &Instance, layers: &[Digest]) -> anyhow::Result<Duration> {
    let request = request(layers);
    make_container(instance, &request)?;
    let directory = instance.container(&request.run.container);
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    let spec = Overlay {
        mappings: None,
        lowers: layers.iter().rev().map(|l| instance.layer(l)).collect(),
        padding: Vec::new(),
        writable: Some(Writable {
            upper: upper.clone(),
            work: work.clone(),
            durability: Durability::Volatile,
        }),
        target: instance.rootfs(&request.run),
    };
    let started = Instant::now();
    for path in [&upper, &work, &spec.target] {
        fs::create_dir(path)?;
    }
    overlay::mount(MountWay::Append, &spec, &Steps::harmless())?;
    let taken = started.elapsed();
    volumed::mounts::detach_and_remove(&spec.target)?;
    Ok(taken)
}

/// The engine makes a container's directory long before it asks.
fn make_container(instance: &Instance, request: &MountRootfs) -> anyhow::Result<()> {
    let directory = instance.container(&request.run.container);
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {directory:?}"))
}

fn measure_round_trip(instance: &Instance, layers: &[Digest]) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let daemon = Daemon {
        instance: instance.clone(),
        config: Default::default(),
        steps: Steps::harmless(),
        mount_way: None,
    };
    let serving = std::thread::spawn(move || daemon.run(&told));
    let result = ask_often(instance, layers, &instance.events());
    stop.store(true, Ordering::Relaxed);
    serving.join().expect("the daemon does not panic")?;
    result
}

fn ask_often(instance: &Instance, layers: &[Digest], events: &Path) -> anyhow::Result<()> {
    let log = Log::open(events)?;
    let requester = Requester::new(log.clone(), "engine");
    let mut reader = log.read_after(log.last()?)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let request = request(layers);
        make_container(instance, &request)?;
        let (sender, receiver) = sync_channel(1);
        let started = Instant::now();
        let subject = request.run.to_string();
        requester.send(&subject, &request, PATIENCE, move |reply| {
            drop(sender.send(reply));
        })?;
        let reply = loop {
            for record in reader.read_batch()? {
                requester.observe(&record);
            }
            if let Ok(reply) = receiver.try_recv() {
                break reply;
            }
            reader.wait(PATIENCE)?;
        };
        times.push(started.elapsed());
        reply?;
    }
    report("request to reply", &mut times);
    Ok(())
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_micros();
    println!("{what}: p50 {} µs, p95 {} µs", at(50), at(95));
}
