//! Which files of the cache are used, and which are not.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::seccomp::bpf::verdict;
use crate::seccomp::plan::{Action, Rule};
use crate::state::{ContainerName, Store};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn plan(errno: u16) -> ProgramPlan {
    ProgramPlan {
        architectures: Vec::new(),
        default: Action::Allow,
        rules: vec![Rule {
            names: vec!["mkdir".to_owned()],
            action: Action::Errno(errno),
            conditions: Vec::new(),
        }],
    }
}

fn key_of(plan: &ProgramPlan) -> Digest {
    key(plan, Platform::detect().unwrap())
}

/// A cache with a program that no translation makes.
struct Planted {
    root: tempfile::TempDir,
    cache: Cache,
    path: PathBuf,
    program: Program,
}

fn planted() -> Planted {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::below(root.path());
    let program = Program::new(vec![verdict(ALLOW)]).unwrap();
    let key = key_of(&plan(1));
    cache.write(&key, &program).unwrap();
    let path = cache.directory.join(key.hex());
    Planted {
        root,
        cache,
        path,
        program,
    }
}

impl Planted {
    fn is_used(&self) -> bool {
        self.cache.program(&plan(1)).unwrap() == self.program
    }
}

#[test]
fn what_is_there_is_not_made_again() {
    let planted = planted();
    assert!(planted.is_used());
    let other = planted.cache.program(&plan(2)).unwrap();
    assert_ne!(other, planted.program);
    assert_eq!(planted.cache.read(&key_of(&plan(2))), Some(other));
}

#[test]
fn files_and_directory_are_the_owners_alone() {
    let planted = planted();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&planted.path), 0o600);
    assert_eq!(mode(&planted.cache.directory), 0o700);
}

#[test]
fn the_directory_is_no_container() {
    let planted = planted();
    assert!(DIRECTORY.parse::<ContainerName>().is_err());
    let store = Store::new(planted.root.path().to_owned());
    assert!(store.ids().unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_replaced() {
    let sound = fs::read(planted().path).unwrap();
    let longer = [&sound[..], &[0; INSTRUCTION_BYTES]].concat();
    let mut damaged = vec![Vec::new(), sound[..8].to_vec(), longer];
    damaged.extend((0..sound.len()).map(|at| {
        let mut content = sound.clone();
        content[at] ^= 1;
        content
    }));
    damaged.extend((0..sound.len()).map(|length| sound[..length].to_vec()));
    let planted = planted();
    for content in damaged {
        replace(&planted.path, &content, FileMode::Private).unwrap();
        assert!(!planted.is_used(), "{content:?}");
        assert_ne!(fs::read(&planted.path).unwrap(), content);
    }
}

#[test]
fn a_sound_file_under_another_name_is_not_used() {
    let planted = planted();
    let other = key_of(&plan(2));
    let name = planted.cache.directory.join(other.hex());
    fs::copy(&planted.path, name).unwrap();
    assert_eq!(planted.cache.read(&other), None);
}

#[test]
fn a_file_others_may_have_written_is_not_used() {
    let planted = planted();
    for mode in [0o620, 0o602] {
        fs::set_permissions(&planted.path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(planted.cache.read(&key_of(&plan(1))), None, "{mode:o}");
    }
    let elsewhere = planted.root.path().join("elsewhere");
    fs::rename(&planted.path, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&elsewhere, &planted.path).unwrap();
    assert_eq!(planted.cache.read(&key_of(&plan(1))), None);
}

#[test]
fn a_directory_others_may_write_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::below(root.path());
    fs::create_dir(&cache.directory).unwrap();
    fs::set_permissions(&cache.directory, fs::Permissions::from_mode(0o777)).unwrap();
    cache.program(&plan(1)).unwrap();
    assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 0);
}

#[test]
fn the_oldest_files_go() {
    let planted = planted();
    for errno in 100..100 + FILES_LIMIT as u16 {
        planted.cache.program(&plan(errno)).unwrap();
    }
    let count = fs::read_dir(&planted.cache.directory).unwrap().count();
    assert_eq!(count, FILES_LIMIT);
    assert!(!planted.is_used());
}

#[test]
fn a_root_that_is_not_there_is_no_failure() {
    let cache = Cache::below(Path::new("/proc/nowhere"));
    cache.program(&plan(1)).unwrap();
}

#[test]
fn the_key_is_of_all_a_program_depends_on() {
    let platform = Platform::detect().unwrap();
    let mut other = platform;
    other.library[2] += 1;
    assert_ne!(key(&plan(1), platform), key(&plan(1), other));
    assert_ne!(key(&plan(1), platform), key(&plan(2), platform));
    let mut foreign = plan(1);
    foreign.architectures = vec![oci_spec::runtime::Arch::ScmpArchX32];
    assert_ne!(key(&plan(1), platform), key(&foreign, platform));
}
