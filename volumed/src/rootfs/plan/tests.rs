//! Plans as they are, from facts and without a host.

use super::*;
use crate::volume::driver::{BindBacking, FileSystemBacking};
use base::{ContainerId, RunId, RunNumber};
use rustix::mount::MountFlags;
use volumed_api::{BindUse, MissingSource, ResolvedBind, VolumeUse};

fn instance() -> Instance {
    Instance::from_canonical("/r".into(), "/n".into(), None)
}

fn request() -> MountRootfs {
    let id: ContainerId = "c".repeat(64).parse().unwrap();
    MountRootfs {
        user_namespace: None,
        run: RunId::new(id, RunNumber(4)),
        layers: vec![Digest::of(b"low"), Digest::of(b"high")],
        upper: Upper::Persistent,
        volumes: Vec::new(),
        binds: Vec::new(),
        images: Vec::new(),
        shared_memory_bytes: None,
    }
}

fn volume(name: &str, destination: &str, copy_up: bool) -> VolumeUse {
    VolumeUse {
        name: name.parse().unwrap(),
        destination: destination.into(),
        copy_up,
        labels: BTreeMap::new(),
        subpath: None,
    }
}

/// Prints a plan, a line an operation, ids and digests by their role.
fn print(request: &MountRootfs, facts: &Facts) -> String {
    let (operations, _) = plan(&instance(), request, facts).unwrap();
    let lines = operations.iter().map(|operation| match operation {
        Operation::BeginHolder(_) => "begin holder".to_owned(),
        Operation::CommitHolder => "commit holder".to_owned(),
        other => format!("{other:?}"),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace(&"c".repeat(64), "<id>")
        .replace(&Digest::of(b"low").hex(), "<low>")
        .replace(&Digest::of(b"high").hex(), "<high>")
}

#[test]
fn a_first_start() {
    let expected = r#"begin holder
MakeUpper { upper: "/r/containers/<id>/upper", like: "/r/images/layers/<high>" }
MakeWork("/r/containers/<id>/work")
MakeMountPoint("/n/mnt/<id>.4")
MountOverlay(Overlay { lowers: ["/r/images/layers/<high>", "/r/images/layers/<low>"], padding: [], writable: Some(Writable { upper: "/r/containers/<id>/upper", work: "/r/containers/<id>/work", durability: Synced }), target: "/n/mnt/<id>.4", mappings: None })
commit holder"#;
    assert_eq!(print(&request(), &Facts::default()), expected);
}

#[test]
fn a_volatile_start_after_a_crash_without_layers() {
    let mut request = request();
    request.layers.clear();
    request.upper = Upper::Volatile;
    let facts = Facts {
        upper: UpperState::Incomplete,
        ..Facts::default()
    };
    let expected = r#"begin holder
DiscardUpper("/r/containers/<id>")
MakeUpper { upper: "/r/containers/<id>/upper", like: "/n/volumed/empty" }
MakeWork("/r/containers/<id>/work")
MakeMountPoint("/n/mnt/<id>.4")
MountOverlay(Overlay { lowers: [], padding: ["/n/volumed/empty"], writable: Some(Writable { upper: "/r/containers/<id>/upper", work: "/r/containers/<id>/work", durability: Volatile }), target: "/n/mnt/<id>.4", mappings: None })
commit holder"#;
    assert_eq!(print(&request, &facts), expected);
}

#[test]
fn a_restart_with_volumes_and_binds() {
    let mut request = request();
    request.layers.push(Digest::of(b"low"));
    request.volumes = vec![
        volume("plain", "/a", true),
        volume("memory", "/b", true),
        volume("memory", "/c", false),
    ];
    request.binds.push(BindUse {
        source: "/link/new".into(),
        missing: MissingSource::Create,
    });
    let memory = Backing::FileSystem(FileSystemBacking {
        kind: "tmpfs".into(),
        device: "tmpfs".into(),
        flags: MountFlags::empty(),
        data: "size=1m".into(),
    });
    let bind = VettedBind {
        resolved: ResolvedBind {
            source: "/real/new".into(),
            is_directory: true,
        },
        create: vec!["/real/new".into()],
    };
    let facts = Facts {
        upper: UpperState::Usable,
        volumes: BTreeMap::from([("memory".parse().unwrap(), memory)]),
        binds: vec![bind],
        ..Facts::default()
    };
    let expected = r#"begin holder
MakeBindSource("/real/new")
EnsureVolume { name: VolumeName("plain"), labels: {} }
EnsureVolume { name: VolumeName("memory"), labels: {} }
MountVolume { name: VolumeName("memory"), backing: FileSystem(FileSystemBacking { kind: "tmpfs", device: "tmpfs", flags: MountFlags(0x0), data: "size=1m" }) }
MakeWork("/r/containers/<id>/work")
MakeMountPoint("/n/mnt/<id>.4")
MountOverlay(Overlay { lowers: ["/r/images/layers/<low>", "/r/images/layers/<high>"], padding: [], writable: Some(Writable { upper: "/r/containers/<id>/upper", work: "/r/containers/<id>/work", durability: Synced }), target: "/n/mnt/<id>.4", mappings: None })
CopyUp { name: VolumeName("plain"), data: "/r/volumes/plain/_data", rootfs: "/n/mnt/<id>.4", destination: "/a" }
CopyUp { name: VolumeName("memory"), data: "/n/mnt/volumes/memory", rootfs: "/n/mnt/<id>.4", destination: "/b" }
commit holder"#;
    assert_eq!(print(&request, &facts), expected);
    let (_, mounted) = plan(&instance(), &request, &facts).unwrap();
    let paths: Vec<_> = mounted.volumes.iter().map(|v| v.path.to_str()).collect();
    let memory = Some("/n/mnt/volumes/memory");
    assert_eq!(paths, [Some("/r/volumes/plain/_data"), memory, memory]);
    assert_eq!(mounted.binds[0].source.to_str(), Some("/real/new"));
}

#[test]
fn images_are_mounted_without_a_layer_for_writes_and_a_part_of_one_by_itself() {
    let mut request = request();
    let image = |layers: &[&str], subpath: Option<&str>| ImageUse {
        layers: layers
            .iter()
            .map(|layer| Digest::of(layer.as_bytes()))
            .collect(),
        subpath: subpath.map(str::to_owned),
    };
    request.images = vec![
        image(&["low", "high"], None),
        image(&["low"], Some("a/b")),
        image(&[], None),
    ];
    let facts = Facts {
        upper: UpperState::Usable,
        ..Facts::default()
    };
    let expected = r#"begin holder
MakeMountPoint("/n/mnt/parts/<id>.4.image0")
MountOverlay(Overlay { lowers: ["/r/images/layers/<high>", "/r/images/layers/<low>"], padding: [], writable: None, target: "/n/mnt/parts/<id>.4.image0", mappings: None })
MakeMountPoint("/n/mnt/parts/<id>.4.image1")
MountOverlay(Overlay { lowers: ["/r/images/layers/<low>"], padding: ["/n/volumed/empty"], writable: None, target: "/n/mnt/parts/<id>.4.image1", mappings: None })
MountFolder { data: "/n/mnt/parts/<id>.4.image1", subpath: "a/b", target: "/n/mnt/parts/<id>.4.image1-part" }
MakeMountPoint("/n/mnt/parts/<id>.4.image2")
MountOverlay(Overlay { lowers: [], padding: ["/n/volumed/empty", "/n/volumed/empty-too"], writable: None, target: "/n/mnt/parts/<id>.4.image2", mappings: None })
MakeWork("/r/containers/<id>/work")"#;
    let plan_of_it = print(&request, &facts);
    assert!(plan_of_it.starts_with(expected), "{plan_of_it}");
    let (_, mounted) = plan(&instance(), &request, &facts).unwrap();
    let undone = parts(&instance(), &request);
    let names = |paths: &[PathBuf]| {
        let name = |path: &PathBuf| {
            path.display()
                .to_string()
                .rsplit('.')
                .next()
                .unwrap()
                .to_owned()
        };
        paths.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&mounted.images), ["image0", "image1-part", "image2"]);
    assert_eq!(
        names(&undone),
        ["image0", "image1-part", "image1", "image2"]
    );
}

#[test]
fn a_bound_volume_is_used_below_our_mounts() {
    let mut request = request();
    request.volumes = vec![volume("bound", "/a", false)];
    let backing = Backing::Bind(BindBacking {
        device: "/srv".into(),
        is_recursive: false,
        flags: MountFlags::RDONLY,
    });
    let facts = Facts {
        volumes: BTreeMap::from([("bound".parse().unwrap(), backing)]),
        ..Facts::default()
    };
    let (_, mounted) = plan(&instance(), &request, &facts).unwrap();
    assert_eq!(
        mounted.volumes[0].path.to_str(),
        Some("/n/mnt/volumes/bound")
    );
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let missing = Facts {
        missing_layers: vec![Digest::of(b"low")],
        ..Facts::default()
    };
    let refused =
        |request: &MountRootfs, facts: &Facts| plan(&instance(), request, facts).unwrap_err();
    let layer = Digest::of(b"low");
    assert_eq!(
        refused(&request(), &missing),
        PlanError::MissingLayer(layer)
    );
    let mut many = request();
    many.layers = vec![layer; LAYER_LIMIT + 1];
    assert_eq!(
        refused(&many, &Facts::default()),
        PlanError::TooManyLayers(LAYER_LIMIT + 1)
    );
    let mut deep = request();
    deep.images.push(ImageUse {
        layers: vec![layer; LAYER_LIMIT + 2],
        subpath: None,
    });
    assert_eq!(
        refused(&deep, &Facts::default()),
        PlanError::TooManyLayers(LAYER_LIMIT + 2)
    );
    let mut relative = request();
    relative.volumes.push(volume("data", "a/b", true));
    let expected = PlanError::RelativeDestination("a/b".into());
    assert_eq!(refused(&relative, &Facts::default()), expected);
    let mut uses = request();
    uses.volumes = vec![volume("data", "/a", true); USE_LIMIT + 1];
    assert_eq!(
        refused(&uses, &Facts::default()),
        PlanError::TooManyUses(USE_LIMIT + 1)
    );
}
