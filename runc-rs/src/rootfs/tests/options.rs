//! The table of options, and what lists of them mean.

use super::*;

const NOTHING: MountAttrFlags = MountAttrFlags::empty();

fn attributes(options: &[&str]) -> (MountAttrFlags, MountAttrFlags, Option<AccessTime>) {
    let found = parse(options.iter().copied()).attributes;
    (found.set, found.clear, found.access_time)
}

fn tree(options: &[&str]) -> (MountAttrFlags, MountAttrFlags, Option<AccessTime>) {
    let found = parse(options.iter().copied()).tree_attributes;
    (found.set, found.clear, found.access_time)
}

#[test]
fn the_table_is_sorted_and_has_every_name_once() {
    let all: Vec<&str> = names().collect();
    assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    let known = "acl async atime bind defaults dev diratime dirsync exec idmap iversion lazytime \
        loud mand noacl noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime \
        nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount \
        rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
        rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow \
        runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable";
    assert_eq!(all, known.split_ascii_whitespace().collect::<Vec<_>>());
}

#[test]
fn of_contradicting_options_the_last_counts() {
    assert_eq!(attributes(&[]), (NOTHING, NOTHING, None));
    assert_eq!(attributes(&["ro"]), (READ_ONLY, NOTHING, None));
    assert_eq!(attributes(&["rw", "ro"]), (READ_ONLY, NOTHING, None));
    assert_eq!(attributes(&["ro", "rw"]), (NOTHING, READ_ONLY, None));
    assert_eq!(
        attributes(&["nosuid", "noexec", "nodev", "exec"]),
        (NO_SUID | NO_DEV, NO_EXEC, None)
    );
    assert_eq!(
        attributes(&["nosymfollow", "nodiratime"]),
        (NO_SYMLINK | NO_DIR_TIME, NOTHING, None)
    );
    assert_eq!(attributes(&["symfollow"]), (NOTHING, NO_SYMLINK, None));
}

#[test]
fn access_times_are_one_choice() {
    let of = |options: &[&str]| attributes(options).2;
    assert_eq!(of(&["noatime"]), Some(AccessTime::Never));
    assert_eq!(of(&["noatime", "relatime"]), Some(AccessTime::Relative));
    assert_eq!(of(&["noatime", "strictatime"]), Some(AccessTime::Always));
    assert_eq!(of(&["noatime", "atime"]), None);
    assert_eq!(of(&["strictatime", "atime"]), Some(AccessTime::Always));
    assert_eq!(of(&["atime"]), None);
    assert_eq!(of(&["nostrictatime"]), None);
}

#[test]
fn in_a_tree_not_that_one_means_the_default() {
    let of = |options: &[&str]| tree(options).2;
    assert_eq!(of(&["ratime"]), Some(AccessTime::Relative));
    assert_eq!(of(&["rnostrictatime"]), Some(AccessTime::Relative));
    assert_eq!(of(&["rnorelatime"]), Some(AccessTime::Relative));
    assert_eq!(of(&["rnoatime", "rnostrictatime"]), Some(AccessTime::Never));
    assert_eq!(of(&["rstrictatime"]), Some(AccessTime::Always));
    assert_eq!(tree(&["rro"]), (READ_ONLY, NOTHING, None));
    assert_eq!(tree(&["rro", "rrw"]), (NOTHING, READ_ONLY, None));
    assert_eq!(
        tree(&[
            "rnosuid",
            "rnodev",
            "rnoexec",
            "rnosymfollow",
            "rnodiratime"
        ])
        .0,
        NO_SUID | NO_DEV | NO_EXEC | NO_SYMLINK | NO_DIR_TIME
    );
    assert_eq!(
        tree(&["rsuid", "rdev", "rexec", "rsymfollow", "rdiratime"]).1,
        NO_SUID | NO_DEV | NO_EXEC | NO_SYMLINK | NO_DIR_TIME
    );
}

#[test]
fn options_about_the_mount_itself_are_explicit() {
    let of = |option: &str| parse([option]).explicit;
    for option in [
        "ro", "rw", "suid", "atime", "noatime", "sync", "async", "silent", "mand",
    ] {
        assert!(of(option), "{option}");
    }
    for option in [
        "bind",
        "rbind",
        "rro",
        "shared",
        "defaults",
        "remount",
        "idmap",
        "tmpcopyup",
    ] {
        assert!(!of(option), "{option}");
    }
}

#[test]
fn everything_else_has_its_own_place() {
    let parsed = parse([
        "bind",
        "rbind",
        "bind",
        "sync",
        "dirsync",
        "lazytime",
        "nolazytime",
        "iversion",
        "size=1m",
        "acl",
        "rslave",
        "shared",
        "tmpcopyup",
        "ridmap",
        "remount",
        "defaults",
        "",
    ]);
    assert_eq!(parsed.bind, BindKind::Bind(Reach::Tree));
    assert_eq!(
        parsed.superblock,
        MountFlags::SYNCHRONOUS | MountFlags::DIRSYNC | INODE_VERSION
    );
    assert_eq!(parsed.data, ["size=1m", "acl"]);
    let kinds: Vec<_> = parsed
        .propagation
        .iter()
        .map(|p| (p.kind, p.reach))
        .collect();
    assert_eq!(
        kinds,
        [
            (PropagationKind::Slave, Reach::Tree),
            (PropagationKind::Shared, Reach::Mount)
        ]
    );
    assert!(parsed.copy_up && parsed.remount);
    assert_eq!(parsed.id_map, Some(Reach::Tree));
    assert_eq!(parse(["bind"]).bind, BindKind::Bind(Reach::Mount));
    assert_eq!(parse(["idmap"]).id_map, Some(Reach::Mount));
}

#[test]
fn a_propagation_is_found_by_its_name() {
    let found = propagation("rshared");
    let wanted = Propagation {
        kind: PropagationKind::Shared,
        reach: Reach::Tree,
    };
    assert_eq!(found, Some(wanted));
    for name in ["", "ro", "sharedd"] {
        assert_eq!(propagation(name), None, "{name}");
    }
}

#[test]
fn what_a_bind_mount_does_not_ask_for_is_cleared_but_times() {
    let of = |options: &[&str]| {
        let change = parse(options.iter().copied()).attributes.change_all();
        (change.set, change.clear)
    };
    let switches = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC | NO_SYMLINK;
    let all_times = MountAttrFlags::MOUNT_ATTR__ATIME;
    assert_eq!(of(&["rw"]), (NOTHING, switches));
    assert_eq!(of(&["ro"]), (READ_ONLY, switches.difference(READ_ONLY)));
    assert_eq!(of(&["atime", "diratime"]), (NOTHING, switches));
    assert_eq!(of(&["nodiratime"]), (NO_DIR_TIME, switches | all_times));
    assert_eq!(
        of(&["noatime"]),
        (AccessTime::Never.bits(), switches | all_times | NO_DIR_TIME)
    );
    assert_eq!(
        of(&["relatime"]),
        (NOTHING, switches | all_times | NO_DIR_TIME)
    );
}
