//! From start to cleaned.

use engine_shim_api::control::Notice;
use engine_shim_api::{ControlReply, ControlRequest};

use crate::support::host::{is_alive, runc, runtimes};
use crate::support::{Fixture, LIMIT, eventually};

#[test]
fn a_run_is_logged_recorded_deleted_and_cleaned_in_this_order() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, "echo out; echo err >&2; exit 7");
        fixture.run();
        let record = fixture.wait();
        assert_eq!(record.exit_code, 7);
        assert!(!record.oom_killed && !record.shim_lost);
        assert_eq!(record.run, fixture.config.run);
        assert_eq!(fixture.stdout(), "out\n");
        let expected = ["container.started", "container.exited", "container.cleaned"];
        assert_eq!(fixture.events(), expected);
        let state = fixture
            .config
            .runtime
            .state_root
            .join(fixture.config.run.to_string());
        assert!(!state.exists(), "delete has run");
        assert!(!fixture.file("control.sock").exists());
    }
}

#[test]
fn a_signal_ends_init_with_128_more_and_everybody_is_told() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, "trap 'exit 3' TERM; while :; do sleep 1; done");
        let pid = fixture.run();
        assert!(is_alive(pid));
        let mut control = fixture.control();
        let kill = ControlRequest::Signal {
            signal: 9,
            all: false,
        };
        assert_eq!(control.call(kill, LIMIT).unwrap(), ControlReply::Done);
        assert_eq!(
            control.next_notice(LIMIT).unwrap(),
            Notice::Exited { exit_code: 137 }
        );
        assert_eq!(fixture.wait().exit_code, 137);
        eventually("init is gone", || !is_alive(pid));
    }
}

#[test]
fn a_container_begins_with_no_signal_blocked_or_ignored() {
    let mut fixture = Fixture::new(&runc());
    // No shell: it has its own way with signals.
    crate::support::bundle::write(&fixture.config, &["/bin/cat", "/proc/self/status"]);
    fixture.run();
    fixture.wait();
    let status = fixture.stdout();
    for name in ["SigBlk", "SigIgn"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16);
        // The C library's own two signals are left out of every set by it.
        assert_eq!(mask.unwrap() & !(0b11 << 31), 0, "{line}");
    }
}

#[test]
fn a_paused_container_says_so_and_goes_on_when_resumed() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, "sleep 0.3; sleep 1; exit 4");
        fixture.run();
        let paused = |fixture: &Fixture| match fixture.ask(ControlRequest::Status) {
            ControlReply::Status { paused, .. } => paused,
            other => panic!("{other:?}"),
        };
        fixture.ask(ControlRequest::Pause);
        assert!(paused(&fixture));
        // Longer than it would have lived.
        std::thread::park_timeout(std::time::Duration::from_millis(600));
        assert!(!fixture.file("exit.json").exists());
        fixture.ask(ControlRequest::Resume);
        assert!(!paused(&fixture));
        assert_eq!(fixture.wait().exit_code, 4);
    }
}
