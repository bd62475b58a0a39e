//! Plans from facts, without a host.

use super::*;
use base::{ContainerId, RunNumber};
use volumed_api::{Holder, MountRootfs, RootfsMounted, Upper, VolumeUse};

fn instance() -> Instance {
    Instance::from_canonical("/r".into(), "/run/r".into(), None)
}

fn run(digit: &str, number: u64) -> RunId {
    let id: ContainerId = digit.repeat(64).parse().unwrap();
    RunId::new(id, RunNumber(number))
}

fn holder(run: &RunId, phase: Phase, lives: bool) -> HolderFact {
    let volume = VolumeUse {
        name: "data".parse().unwrap(),
        destination: "/data".into(),
        copy_up: true,
        labels: Default::default(),
        subpath: None,
    };
    let request = MountRootfs {
        user_namespace: None,
        run: run.clone(),
        layers: Vec::new(),
        upper: Upper::Volatile,
        volumes: vec![volume],
        binds: Vec::new(),
        images: Vec::new(),
        shared_memory_bytes: None,
    };
    let mounted = RootfsMounted {
        rootfs: instance().rootfs(run),
        volumes: Vec::new(),
        binds: Vec::new(),
        images: Vec::new(),
    };
    let holder = Holder { request, mounted };
    HolderFact {
        held: Held { holder, phase },
        lives,
    }
}

fn facts(holders: Vec<HolderFact>, mounted: &[PathBuf], directories: &[PathBuf]) -> Facts {
    Facts {
        holders,
        mounted: mounted.iter().cloned().collect(),
        directories: directories.iter().cloned().collect(),
    }
}

#[test]
fn what_is_whole_or_lives_is_kept() {
    let (whole, unmounted) = (run("a", 1), run("b", 2));
    let rootfs = instance().rootfs(&whole);
    let volume = backing::mount_point(&instance(), &"data".parse().unwrap());
    let facts = facts(
        vec![
            holder(&whole, Phase::Ready, false),
            holder(&unmounted, Phase::Ready, true),
        ],
        &[rootfs.clone(), volume.clone()],
        &[rootfs, volume, backing::directory(&instance())],
    );
    assert_eq!(plan(&instance(), &facts), []);
}

#[test]
fn half_done_work_is_undone() {
    let (begun, lost) = (run("a", 1), run("b", 1));
    let rootfs = instance().rootfs(&begun);
    let holders = vec![
        holder(&begun, Phase::Preparing, false),
        holder(&lost, Phase::Ready, false),
    ];
    let facts = facts(holders, &[rootfs], &[]);
    let expected = [Action::Release(begun), Action::Release(lost)];
    assert_eq!(plan(&instance(), &facts), expected);
}

#[test]
fn strays_of_ours_are_removed_and_others_only_told() {
    let mnt = instance().mounts();
    let stray = instance().rootfs(&run("c", 3));
    let volume = mnt.join("volumes/old");
    let parts = mnt.join("parts");
    let part = parts.join(format!("{}.0", run("c", 3)));
    let image = parts.join(format!("{}.image1-part", run("c", 3)));
    let mapped = parts.join(format!("{}.image0.layers0", run("c", 3)));
    let noise = parts.join("noise");
    let other = mnt.join("notes");
    let facts = facts(
        Vec::new(),
        &[stray.clone(), stray.join("proc"), volume.clone()],
        &[
            stray.clone(),
            volume.clone(),
            other.clone(),
            part.clone(),
            image.clone(),
            mapped.clone(),
            noise.clone(),
            parts,
            mnt.join("volumes"),
        ],
    );
    let expected = [
        Action::Remove(stray),
        Action::LeaveAlone(other),
        Action::Remove(part),
        Action::Remove(mapped),
        Action::Remove(image),
        Action::LeaveAlone(noise),
        Action::Remove(volume),
    ];
    assert_eq!(plan(&instance(), &facts), expected);
}
