//! Mounts that show other owners than the disk has.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use runc_rs::rootfs::{Content, SourceRequest, Step, open_source};
use rustix::mount::MountFlags;
use serde_json::{Value, json};

use crate::build::{Build, Image, Kernel, give, options, owned, put, read, tmpfs};
use crate::child::{HOST_ID, IDS, in_user_namespace, in_user_namespace_of, send, user_namespace};

/// Users 100 to 102 on the disk are 1000 to 1002 in the mount.
const MAP: &str = "100 1000 3";

fn mapped(destination: &str, options: &[&str]) -> Value {
    let map = json!([{"containerID": 100, "hostID": 1000, "size": 3}]);
    json!({"destination": destination, "source": "source", "options": options,
        "uidMappings": map, "gidMappings": map})
}

/// A source with a file of user 101, and a mount with another below it.
fn source(image: &Image) -> PathBuf {
    let source = image.source("source");
    owned(&source.join("file"), 101, 102);
    source
}

fn mount_below(source: PathBuf) -> Box<dyn FnMut()> {
    Box::new(move || {
        let below = source.join("below");
        tmpfs(&below, MountFlags::empty());
        put(&below.join("file"), "below");
        owned(&below.join("file"), 100, 100);
    })
}

fn owner(path: &str) -> String {
    let found = fs::metadata(path).unwrap();
    format!("{}:{}", found.uid(), found.gid())
}

#[test]
fn owners_are_mapped_in_one_mount_or_in_the_tree() {
    for (asked, below) in [
        (&["rbind"][..], "100:100"),
        (&["rbind", "idmap"], "100:100"),
        (&["rbind", "ridmap"], "1000:1000"),
    ] {
        let image = Image::new();
        let source = source(&image);
        let mut build = Build::new(&image, json!([mapped("/m", asked)]));
        build.id_maps = vec![user_namespace(MAP)];
        build.prepare = mount_below(source);
        let seen = build.see(|| format!("{} {}", owner("/m/file"), owner("/m/below/file")));
        assert_eq!(seen, format!("1001:1002 {below}"), "{asked:?}");
    }
}

#[test]
fn a_mapped_mount_has_its_attributes_as_well() {
    let image = Image::new();
    source(&image);
    let mounts = json!([
        crate::build::proc(),
        mapped("/m", &["bind", "ro", "nosuid"])
    ]);
    let mut build = Build::new(&image, mounts);
    build.id_maps = vec![user_namespace(MAP)];
    let seen = build.see(|| format!("{} {}", options("/m"), owner("/m/file")));
    assert_eq!(seen, "ro,nosuid,relatime,idmapped 1001:1002");
}

#[test]
fn what_cannot_be_mapped_says_why() {
    let fails = |source: &'static str, kernel, maps, text: &str| {
        let image = Image::new();
        self::source(&image);
        let mut mount = mapped("/m", &["bind"]);
        mount["source"] = source.into();
        let mut build = Build::new(&image, json!([mount]));
        build.id_maps = maps;
        build.kernel = kernel;
        build.fails(text);
    };
    let map = || vec![user_namespace(MAP)];
    fails(
        "source",
        Kernel::Todays,
        vec![],
        "no user namespace was handed over",
    );
    fails(
        "/proc",
        Kernel::Todays,
        map(),
        "may not support it on this kernel): Invalid argument",
    );
    for kernel in [Kernel::Old, Kernel::WithoutAttributes] {
        fails("source", kernel, map(), "this needs Linux 5.12");
    }
}

/// Builds in a user namespace; the caller answers for sources as the parent of
/// a container does.
fn with_parent(
    mut build: Build<'_>,
    look: impl FnOnce() -> String,
    id_map: Option<OwnedFd>,
) -> String {
    let plan = build.plan();
    let binds = plan.steps.iter().filter_map(|step| match step {
        Step::Mount(mount) => match &mount.content {
            Content::Bind(bind) => Some(bind),
            _ => None,
        },
        _ => None,
    });
    let requests: Vec<SourceRequest> = binds
        .map(|bind| SourceRequest {
            index: bind.index.unwrap(),
            path: bind.source.clone(),
            reach: bind.reach,
            id_map: bind.id_map,
        })
        .collect();
    let (child, parent) = UnixStream::pair().unwrap();
    build.source = Box::new(move |request| {
        use std::io::Write as _;
        let index = u8::try_from(request.index).unwrap();
        (&child).write_all(&[index]).unwrap();
        runc_rs::handover::receive(child.as_fd()).map_err(|error| error.to_string())
    });
    in_user_namespace_of(
        || (),
        || match build.build() {
            Ok(()) => look(),
            Err(error) => error,
        },
        move |pidfd| serve(&parent, &pidfd, &requests, id_map),
    )
}

fn serve(socket: &UnixStream, child: &OwnedFd, requests: &[SourceRequest], map: Option<OwnedFd>) {
    use std::io::Read as _;
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(1)))
        .unwrap();
    let mut index = [0];
    while (&*socket).read_exact(&mut index).is_ok() {
        let request = requests
            .iter()
            .find(|request| request.index == usize::from(index[0]));
        let map = map.as_ref().map(|map| map.as_fd());
        let opened = open_source(child.as_fd(), request.unwrap(), map).unwrap();
        send(socket, &opened);
    }
}

fn user_linux() -> Value {
    json!({"namespaces": [{"type": "user"}]})
}

#[test]
fn in_a_user_namespace_the_parent_maps() {
    let image = Image::new();
    image.give();
    let source = image.source("source");
    // Root of the host on the disk, root of the container in the mount.
    owned(&source.join("file"), 0, 0);
    let map = json!([{"containerID": 0, "hostID": HOST_ID, "size": IDS}]);
    let plain = json!({"destination": "/p", "source": "source", "options": ["bind"]});
    let mount = json!({"destination": "/m", "source": "source", "options": ["bind", "ro"],
        "uidMappings": map, "gidMappings": map});
    let mut build = Build::new(&image, json!([plain, mount]));
    build.linux = user_linux();
    let namespace = user_namespace(&format!("0 {HOST_ID} {IDS}"));
    let seen = with_parent(
        build,
        || format!("{} {}", owner("/m/file"), owner("/p/file")),
        Some(namespace),
    );
    assert_eq!(seen, "0:0 65534:65534");
}

#[test]
fn in_a_user_namespace_the_parent_opens_what_is_out_of_reach() {
    let image = Image::new();
    image.give();
    let source = image.source("secret/source");
    give(&source);
    fs::set_permissions(
        image.bundle().join("secret"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let mount = json!({"destination": "/m", "source": "secret/source", "options": ["bind"]});
    let mut build = Build::new(&image, json!([mount]));
    build.linux = user_linux();
    assert_eq!(
        with_parent(build, || read("/m/file"), None),
        "secret/source"
    );
    let mut build = Build::new(&image, json!([mount]));
    build.linux = user_linux();
    let said = in_user_namespace(|| {
        build
            .build()
            .map_or_else(|error| error, |()| "built".to_owned())
    });
    assert!(said.contains("not in this test"), "{said}");
}

/// What the parent opens comes from the container's own mount namespace, in
/// which the kernel has locked what the host has made read-only.
#[test]
fn what_the_parent_opens_stays_locked() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    crate::build::separate();
    let image = Image::new();
    image.give();
    let source = image.bundle().join("secret/source");
    tmpfs(&source, MountFlags::empty());
    put(&source.join("file"), "x");
    rustix::mount::mount_remount(&source, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    fs::set_permissions(
        image.bundle().join("secret"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let mount = json!({"destination": "/m", "source": "secret/source", "options": ["bind"]});
    let mut build = Build::new(&image, json!([mount]));
    build.linux = user_linux();
    let seen = with_parent(
        build,
        || {
            let flags = MountFlags::BIND;
            let remounted = rustix::mount::mount_remount("/m", flags, "");
            format!("{remounted:?}")
        },
        None,
    );
    rustix::mount::unmount(&source, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(seen.contains("Err"), "{seen}");
}
