//! SIGKILL at every step in turn: after a restart the same request succeeds, new
//! ones work, and nothing is left once everything is removed.

use std::collections::BTreeMap;
use std::fs;

use base::IdMappings;
use volumed_api::{CreateVolume, MountRootfs, RemoveVolume, Upper};

use crate::support::{
    Host, Propagation, bind, id_mappings, image, put, read, request, run, volume,
};

/// A scenario has fewer steps than this.
const STEP_LIMIT: u64 = 100;
/// A scenario has more steps than this.
const STEPS_AT_LEAST: u64 = 25;

/// How often volumed dies in one scenario.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deaths {
    One,
    /// The second at the same number of steps after the restart.
    Two,
}

/// Runs `scenario` with a fault at step 1, 2, … until volumed survives it.
fn at_every_step(propagation: Propagation, deaths: Deaths, scenario: fn(&mut Host) -> bool) {
    for step in 1..STEP_LIMIT {
        let text = step.to_string();
        let fault = ["--fault-step", &text];
        let mut host = Host::with(propagation, None, &fault);
        if deaths == Deaths::Two {
            host.after_death = fault.map(str::to_owned).to_vec();
        }
        let died = scenario(&mut host);
        host.assert_clean();
        if !died {
            assert!(
                step > STEPS_AT_LEAST,
                "only {step} steps: too few to test much"
            );
            return;
        }
    }
    panic!("more than {STEP_LIMIT} steps");
}

fn ask_mount(host: &mut Host, asked: &MountRootfs) -> bool {
    let (mounted, died) = host.ask_through_crashes(&asked.run.to_string(), asked);
    let mounted = mounted.unwrap();
    assert_eq!(read(mounted.rootfs.join("etc/name")), "image");
    for volume in &mounted.volumes {
        assert_eq!(read(volume.path.join("a")), "1");
        assert_eq!(read(volume.path.join("b")), "2");
    }
    assert_eq!(read(mounted.images[0].join("etc/name")), "image");
    assert_eq!(read(mounted.images[1].join("name")), "image");
    died
}

fn mount_and_release(host: &mut Host, upper: Upper, user_namespace: Option<IdMappings>) -> bool {
    let layer = host.layer(&[("etc/name", "image"), ("data/a", "1"), ("data/b", "2")]);
    let options = [("type", "tmpfs"), ("device", "tmpfs")];
    let options = options.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let memory = CreateVolume {
        name: "memory".parse().unwrap(),
        driver: "local".to_owned(),
        labels: BTreeMap::new(),
        options: BTreeMap::from(options),
    };
    let (made, mut died) = host.ask_through_crashes("memory", &memory);
    made.unwrap();
    let run = run(1);
    let mut asked = request(&run, &[layer]);
    (asked.upper, asked.user_namespace) = (upper, user_namespace);
    asked.volumes = vec![volume("data", "/data"), volume("memory", "/data")];
    asked.binds.push(bind(host.path("bound")));
    asked.images = vec![image(&[layer], None), image(&[layer], Some("etc"))];
    died |= ask_mount(host, &asked);
    assert!(host.path("bound").is_dir());
    died |= host.release(&run);
    for name in ["data", "memory"] {
        let body = RemoveVolume {
            name: name.parse().unwrap(),
        };
        let (removed, died_here) = host.ask_through_crashes(name, &body);
        removed.unwrap();
        died |= died_here;
    }
    let body = volumed_api::RemoveFiles {
        container: run.container.clone(),
    };
    let (removed, died_here) = host.ask_through_crashes(run.container.as_str(), &body);
    removed.unwrap();
    died | died_here
}

#[test]
fn a_persistent_run_survives_a_kill_at_every_step() {
    at_every_step(Propagation::Private, Deaths::One, |host| {
        mount_and_release(host, Upper::Persistent, None)
    });
}

#[test]
fn a_volatile_run_survives_two_kills_at_every_step_under_a_shared_root() {
    at_every_step(Propagation::Shared, Deaths::Two, |host| {
        mount_and_release(host, Upper::Volatile, None)
    });
}

#[test]
fn a_run_in_a_user_namespace_survives_a_kill_at_every_step() {
    at_every_step(Propagation::Private, Deaths::One, |host| {
        let user_namespace = Some(id_mappings(100_000, 200_000));
        mount_and_release(host, Upper::Persistent, user_namespace)
    });
}

#[test]
fn a_copy_that_was_killed_is_not_taken_for_whole() {
    let mut host = Host::new();
    let layer = host.layer(&[("data/a", "1"), ("data/b", "2")]);
    let first = run(1);
    let mut asked = request(&first, &[layer]);
    asked.volumes.push(volume("data", "/data"));
    asked.volumes[0].copy_up = false;
    let data = host.mount(&asked).unwrap().volumes[0].path.clone();
    host.release(&first);
    put(
        &data.with_file_name(".engine-copy-up.partial").join("a"),
        "torn",
    );
    asked.run = run(1);
    asked.volumes[0].copy_up = true;
    host.mount(&asked).unwrap();
    assert_eq!(
        (read(data.join("a")), read(data.join("b"))),
        ("1".into(), "2".into())
    );
    assert_eq!(fs::read_dir(data.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn slow_work_on_one_container_does_not_delay_another() {
    let mut host = Host::new();
    let layer = host.layer(&[("data/a", "1")]);
    let many = host.instance.layer(&layer).join("data");
    for number in 0..3000 {
        put(&many.join(format!("f{number}")), "content");
    }
    let slow = run(1);
    let mut asked = request(&slow, &[layer]);
    asked.volumes.push(volume("data", "/data"));
    let replied = host.send(&asked.run.to_string(), &asked);
    let quick = run(1);
    host.mount(&request(&quick, &[])).unwrap();
    assert!(
        replied.try_recv().is_err(),
        "the copy was not slow enough to show anything"
    );
    host.wait_for("the copy", |host| host.holder(&slow).exists());
}

#[test]
fn a_volume_that_was_never_finished_is_discarded_but_data_is_not() {
    let mut host = Host::new();
    host.kill();
    let volumes = host.instance.volumes();
    fs::create_dir_all(volumes.join("begun/_data")).unwrap();
    put(&volumes.join("begun/.volume.json.1.tmp"), "{");
    put(&volumes.join("orphan/_data/file"), "precious");
    host.start(&[]);
    host.wait_for("the discard", |_| !volumes.join("begun").exists());
    host.mount(&request(&run(1), &[])).unwrap();
    assert_eq!(read(volumes.join("orphan/_data/file")), "precious");
}
