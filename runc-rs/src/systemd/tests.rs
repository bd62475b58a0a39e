//! The client against a manager that answers as told.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::bus::{Bus, BusError};
use super::manager::{Connection, ManagerError};
use super::message::{HEAD_BYTES, Message, sent};
use super::value::Value;
use super::{Property, parse_group_of_init, properties, rounded};

const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const JOB: &str = "/org/freedesktop/systemd1/job/7";

/// What the manager sends for a call.
type Answer = fn(u32) -> Vec<u8>;

fn removed(job: &str, result: &str) -> Vec<u8> {
    let body = [
        Value::Uint32(7),
        Value::text(job),
        Value::text("c.scope"),
        Value::text(result),
    ];
    sent::signal(INTERFACE, "JobRemoved", &body)
}

fn job(serial: u32) -> Vec<u8> {
    sent::answer(serial, None, &[Value::text(JOB)])
}

fn done(serial: u32) -> Vec<u8> {
    sent::answer(serial, None, &[])
}

fn refused(serial: u32, name: &str) -> Vec<u8> {
    let name = format!("org.freedesktop.systemd1.{name}");
    sent::answer(serial, Some(&name), &[Value::text("no")])
}

/// Returns a connection to a manager that takes the calls of these names, one
/// after another.
fn manager(script: Vec<(&'static str, Answer)>) -> (Connection, JoinHandle<()>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let served = std::thread::spawn(move || {
        theirs.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
        let mut greeting = [0; 29];
        theirs.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        for (method, answer) in script {
            let mut head = [0; HEAD_BYTES];
            theirs.read_exact(&mut head).unwrap();
            let mut rest = vec![0; Message::rest_bytes(&head).unwrap()];
            theirs.read_exact(&mut rest).unwrap();
            let call = Message::decode(&head, &rest).unwrap();
            assert_eq!(call.member.as_deref(), Some(method));
            theirs.write_all(&answer(call.serial)).unwrap();
        }
        // Whoever expects more hears the end.
    });
    (Connection::over(ours).unwrap(), served)
}

#[test]
fn a_unit_is_there_once_its_job_has_ended() {
    // The signal of another job, and of this one before its answer.
    let answer: Answer = |serial| {
        let other = removed("/org/freedesktop/systemd1/job/6", "failed");
        [other, removed(JOB, "done"), job(serial)].concat()
    };
    let (mut connection, served) = manager(vec![("StartTransientUnit", answer)]);
    let properties = [Property::new("Delegate", Value::Bool(true))];
    connection.start("c.scope", &properties).unwrap();
    served.join().unwrap();
}

#[test]
fn the_name_of_a_failed_unit_is_taken_over() {
    let (mut connection, served) = manager(vec![
        ("StartTransientUnit", |serial| refused(serial, "UnitExists")),
        ("ResetFailedUnit", done),
        ("StartTransientUnit", |serial| {
            [job(serial), removed(JOB, "done")].concat()
        }),
    ]);
    connection.start("c.scope", &[]).unwrap();
    served.join().unwrap();
    let (mut connection, served) = manager(vec![
        ("StartTransientUnit", |serial| refused(serial, "UnitExists")),
        ("ResetFailedUnit", done),
        ("StartTransientUnit", |serial| refused(serial, "UnitExists")),
    ]);
    let error = connection.start("c.scope", &[]).unwrap_err();
    assert!(error.is_name_taken(), "{error:?}");
    served.join().unwrap();
}

#[test]
fn a_job_that_fails_is_an_error_and_leaves_the_name_free() {
    let (mut connection, served) = manager(vec![
        ("StartTransientUnit", |serial| {
            [job(serial), removed(JOB, "failed")].concat()
        }),
        ("ResetFailedUnit", done),
    ]);
    let error = connection.start("c.scope", &[]).unwrap_err();
    let expected = "systemd could not start unit c.scope: the job is \"failed\"";
    assert_eq!(error.to_string(), expected);
    served.join().unwrap();
}

#[test]
fn a_unit_that_is_gone_has_ended() {
    let (mut connection, served) =
        manager(vec![("StopUnit", |serial| refused(serial, "NoSuchUnit"))]);
    connection.stop("c.scope").unwrap();
    served.join().unwrap();
    let (mut connection, served) = manager(vec![
        ("StopUnit", |serial| {
            [job(serial), removed(JOB, "done")].concat()
        }),
        ("ResetFailedUnit", |serial| refused(serial, "NoSuchUnit")),
    ]);
    connection.stop("c.scope").unwrap();
    served.join().unwrap();
}

#[test]
fn what_systemd_says_is_told() {
    let (mut connection, served) = manager(vec![("SetUnitProperties", |serial| {
        refused(serial, "ReadOnly")
    })]);
    let error = connection.set("c.scope", &[]).unwrap_err();
    let expected = "systemd: no (org.freedesktop.systemd1.ReadOnly)";
    assert_eq!(error.to_string(), expected);
    served.join().unwrap();
    // It goes away without a word.
    let error = connection.set("c.scope", &[]).unwrap_err();
    assert!(matches!(error, ManagerError::Bus(_)), "{error:?}");
}

#[test]
fn a_user_manager_says_where_its_units_are() {
    let (mut connection, served) = manager(vec![("Get", |serial| {
        let value = Value::text("/user.slice/user@1.service");
        sent::answer(serial, None, &[Value::Variant(Box::new(value))])
    })]);
    let group = connection.control_group().unwrap();
    assert_eq!(group, "/user.slice/user@1.service");
    served.join().unwrap();
}

#[test]
fn an_older_manager_is_not_asked_for_no_weight() {
    let check = |said: Answer, expected: usize| {
        let (mut connection, served) = manager(vec![("Get", said)]);
        let weight = Property::new("CPUWeight", Value::Uint64(0));
        let mut wanted = vec![weight, Property::new("TasksMax", Value::Uint64(9))];
        properties::keep_known(&mut wanted, || connection.version()).unwrap();
        assert_eq!(wanted.len(), expected);
        served.join().unwrap();
    };
    let old: Answer = |serial| {
        let value = Value::Variant(Box::new(Value::text("v251.4")));
        sent::answer(serial, None, &[value])
    };
    let new: Answer = |serial| {
        let value = Value::Variant(Box::new(Value::text("252.36-1~deb12u1")));
        sent::answer(serial, None, &[value])
    };
    check(old, 1);
    check(new, 2);
    // Nobody is asked where nothing depends on it.
    let never = || -> Result<u32, ()> { panic!("asked") };
    let mut wanted = vec![Property::new("CPUWeight", Value::Uint64(100))];
    properties::keep_known(&mut wanted, never).unwrap();
    assert_eq!(wanted.len(), 1);
}

#[test]
fn a_manager_that_drips_is_not_waited_for_longer() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
    let mut bus = Bus::over(ours).unwrap();
    let served = std::thread::spawn(move || {
        // Each byte comes in time, the message does not.
        while theirs.write_all(b"l").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begun = Instant::now();
    let error = bus.signal(begun + Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, BusError::Timeout), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(bus);
    served.join().unwrap();
}

#[test]
fn units_are_below_the_group_of_process_1() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse_group_of_init(text), Path::new(expected), "{text}");
    };
    check("0::/init.scope\n", "");
    check("0::/\n", "");
    check(
        "4:memory:/a\n1:name=systemd:/init.scope\n0::/init.scope\n",
        "",
    );
    check("1:name=systemd:/docker/x/init.scope\n0::/y\n", "docker/x");
    check("0::/docker/x/init.scope\n", "docker/x");
}

#[test]
fn a_quota_is_rounded_as_systemd_does_and_stays_so() {
    let quota = |quota: i64, period: Option<u64>| {
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(Some(quota)).set_period(period);
        let mut limits = LinuxResources::default();
        limits.set_cpu(Some(cpu));
        let once = rounded(&limits);
        if quota < i64::MAX {
            assert_eq!(rounded(&once), once);
        }
        once.cpu().as_ref().unwrap().quota().unwrap()
    };
    assert_eq!(quota(500_000, Some(1_000_000)), 500_000);
    assert_eq!(quota(500_000, Some(900_000)), 504_000);
    assert_eq!(quota(33_333, None), 34_000);
    assert_eq!(quota(-1, Some(100_000)), -1);
    // Nobody means that; it is the kernel's to refuse.
    assert!(quota(i64::MAX, Some(1)) > 0);
    let none = LinuxResources::default();
    assert_eq!(rounded(&none), none);
}
