//! Installing below a prefix: what is made, what is left alone, what is refused.

use std::collections::BTreeMap;

use super::*;

fn plan(prefix: &Path, docker: bool) -> Plan {
    Plan::new(&Options {
        prefix: prefix.to_owned(),
        program: "/opt/engine/bin/engine".into(),
        docker_socket: docker,
        docker_names: docker,
    })
    .unwrap()
}

/// All below `root`: files with their content, links with their target.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            let text = match (path.is_symlink(), path.is_dir()) {
                (true, _) => format!("-> {}", fs::read_link(&path).unwrap().display()),
                (false, true) => {
                    left.push(path);
                    "directory".to_owned()
                }
                (false, false) => fs::read_to_string(&path).unwrap(),
            };
            all.insert(name, text);
        }
    }
    all
}

fn write(path: &Path, text: &str) {
    make_directories(path.parent().unwrap(), 0o755).unwrap();
    base::file::replace(path, text.as_bytes(), FileMode::Public).unwrap();
}

#[test]
fn what_is_installed_is_there_and_goes_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(&root.join("etc/hostname"), "h");
    let before = tree(root);
    let steps = install(&plan(root, true), false).unwrap();
    assert!(steps.iter().all(|step| matches!(step, Step::Made(_))));
    let there = tree(root);
    let at = |path: &str| there[Path::new(path)].as_str();
    assert!(
        at("etc/systemd/system/engine.service").contains("ExecStart=/opt/engine/bin/engine daemon")
    );
    assert!(at("etc/sysusers.d/engine.conf").contains("g engine"));
    let wanted = "etc/systemd/system/multi-user.target.wants/engine.service";
    assert_eq!(at(wanted), "-> ../engine.service");
    assert!(root.join(wanted).is_file());
    assert!(at("etc/tmpfiles.d/engine-docker-socket.conf").contains("L /run/docker.sock"));
    assert_eq!(at("run/docker.sock"), "-> engine/engine.sock");
    assert_eq!(at("usr/local/bin/docker"), "-> /opt/engine/bin/engine");
    assert_eq!(at("usr/local/bin/dockerd"), "-> /opt/engine/bin/engine");

    let again = install(&plan(root, true), false).unwrap();
    assert!(again.iter().all(|step| matches!(step, Step::Unchanged(_))));
    assert_eq!(tree(root), there);

    let steps = uninstall(root, false).unwrap();
    assert_eq!(steps.len(), 7);
    assert_eq!(tree(root), before);
    assert_eq!(uninstall(root, false).unwrap(), []);
}

#[test]
fn a_dry_run_makes_and_removes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert_eq!(install(&plan(root, false), true).unwrap().len(), 3);
    assert!(tree(root).is_empty());
    install(&plan(root, false), false).unwrap();
    let there = tree(root);
    assert_eq!(uninstall(root, true).unwrap().len(), 3);
    assert_eq!(tree(root), there);
}

#[test]
fn what_is_the_users_stops_all_and_stays() {
    for taken in [
        "run/docker.sock",
        "usr/local/bin/docker",
        "etc/systemd/system/engine.service",
    ] {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join(taken), "mine");
        let before = tree(root.path());
        let error = install(&plan(root.path(), true), false).unwrap_err();
        assert!(
            matches!(&error, InstallError::Taken { path } if path.ends_with(taken)),
            "{error}"
        );
        assert_eq!(tree(root.path()), before);
        // What was not asked for is in nobody's way.
        if !taken.starts_with("etc") {
            install(&plan(root.path(), false), false).unwrap();
        }
    }
}

#[test]
fn what_the_user_made_the_same_is_not_removed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    make_directories(&root.join("run"), 0o755).unwrap();
    symlink("engine/engine.sock", root.join("run/docker.sock")).unwrap();
    install(&plan(root, true), false).unwrap();
    uninstall(root, false).unwrap();
    assert!(root.join("run/docker.sock").is_symlink());
}

#[test]
fn what_was_changed_since_is_refused_and_left() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    install(&plan(root, false), false).unwrap();
    let unit = root.join("etc/systemd/system/engine.service");
    write(&unit, "mine now");
    let error = install(&plan(root, false), false).unwrap_err();
    assert!(matches!(error, InstallError::Changed { .. }), "{error}");
    let steps = uninstall(root, false).unwrap();
    assert!(steps.contains(&Step::Left(unit.clone())), "{steps:?}");
    assert_eq!(fs::read_to_string(unit).unwrap(), "mine now");
}

#[test]
fn a_unit_of_an_older_program_is_brought_up_to_date() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    install(&plan(root, false), false).unwrap();
    let options = Options {
        prefix: root.to_owned(),
        program: "/usr/bin/engine".into(),
        docker_socket: false,
        docker_names: false,
    };
    let steps = install(&Plan::new(&options).unwrap(), false).unwrap();
    let made = steps.iter().filter(|step| matches!(step, Step::Made(_)));
    assert_eq!(made.count(), 1);
    let unit = fs::read_to_string(root.join("etc/systemd/system/engine.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/engine daemon"), "{unit}");
    uninstall(root, false).unwrap();
    assert!(tree(root).is_empty());
}

#[test]
fn no_link_leads_out_of_the_prefix_and_no_word_into_the_unit() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), root.path().join("etc")).unwrap();
    let error = install(&plan(root.path(), false), false).unwrap_err();
    assert!(matches!(error, InstallError::Leads { .. }), "{error}");
    assert!(tree(outside.path()).is_empty());
    for program in [
        "/a b/engine",
        "/a\nExecStartPre=/x",
        "/a%b",
        "engine",
        "/a$b",
    ] {
        let options = Options {
            prefix: root.path().to_owned(),
            program: program.into(),
            docker_socket: false,
            docker_names: false,
        };
        let error = Plan::new(&options).unwrap_err();
        assert!(matches!(error, InstallError::Program { .. }), "{error}");
    }
}

#[test]
fn a_record_that_cannot_be_read_removes_nothing() {
    let root = tempfile::tempdir().unwrap();
    install(&plan(root.path(), false), false).unwrap();
    for bad in [
        "",
        "{",
        r#"{"items":{"../../x":{"link":"y"}},"directories":[]}"#,
    ] {
        write(&root.path().join("etc/engine/installed.json"), bad);
        assert!(uninstall(root.path(), false).is_err(), "{bad}");
        assert!(
            root.path()
                .join("etc/systemd/system/engine.service")
                .is_file()
        );
    }
}
