//! Options of file systems on their way to the kernel.

use super::*;

fn tmpfs(kind: &str) -> Filesystem {
    Filesystem {
        kind: kind.to_owned(),
        source: None,
        superblock: MountFlags::empty(),
        data: Vec::new(),
        place: super::super::steps::Place::Any,
        copy_up: false,
        label: None,
    }
}

#[test]
fn one_option_with_commas_is_several() {
    let of = |text| split(text).collect::<Vec<_>>();
    assert_eq!(of("mode=755"), ["mode=755"]);
    assert_eq!(of("mode=755,,size=1m,"), ["mode=755", "size=1m"]);
    assert_eq!(
        of(r"lowerdir=/a\,b:/c,index=off"),
        [r"lowerdir=/a\,b:/c", "index=off"]
    );
    assert_eq!(of(r"x=\\,y"), [r"x=\\", "y"]);
}

#[test]
fn what_parameters_cannot_say_goes_the_old_way() {
    let long = "x".repeat(VALUE_LIMIT_BYTES + 1);
    assert!(!needs_old_call(&tmpfs("tmpfs"), &[]));
    assert!(needs_old_call(
        &tmpfs("overlay"),
        &[format!("lowerdir={long}")]
    ));
    assert!(needs_old_call(&tmpfs("fuse.sshfs"), &[]));
    let versioned = Filesystem {
        superblock: options::INODE_VERSION,
        ..tmpfs("ext4")
    };
    assert!(needs_old_call(&versioned, &[]));
}

#[test]
fn only_a_disk_is_told_to_be_read_only() {
    let of = |kind| {
        let filesystem = Filesystem {
            superblock: MountFlags::SYNCHRONOUS | MountFlags::LAZYTIME | MountFlags::SILENT,
            ..tmpfs(kind)
        };
        let attributes = Attributes::setting(MountAttrFlags::MOUNT_ATTR_RDONLY);
        flags(&filesystem, &attributes).collect::<Vec<_>>()
    };
    assert_eq!(of("ext4"), ["sync", "lazytime", "ro"]);
    assert_eq!(of("proc"), ["sync", "lazytime"]);
}
