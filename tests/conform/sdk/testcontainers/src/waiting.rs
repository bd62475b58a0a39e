//! Containers that are waited for, by each means, and those that never come.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use testcontainers::core::wait::{ExitWaitStrategy, HealthWaitStrategy, LogWaitStrategy};
use testcontainers::core::{Healthcheck, IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::output::{done, say};

pub(crate) fn busybox() -> GenericImage {
    GenericImage::new("busybox", "latest")
}

/// Runs a line of the shell, then stays.
pub(crate) fn staying(line: &str) -> [String; 3] {
    ["sh", "-c", &format!("{line}; exec sleep 1000")].map(str::to_owned)
}

fn waiting_for(line: &str, condition: WaitFor) -> ContainerRequest<GenericImage> {
    busybox().with_wait_for(condition).with_cmd(staying(line))
}

fn checked(test: &str) -> Healthcheck {
    Healthcheck::cmd_shell(test)
        .with_interval(Duration::from_millis(200))
        .with_timeout(Duration::from_secs(5))
        .with_retries(2)
}

pub(crate) async fn strategies() -> Result<()> {
    let health = HealthWaitStrategy::new().with_poll_interval(Duration::from_millis(100));
    let twice = LogWaitStrategy::stdout("tick").with_times(2);
    let requests = [
        ("wait-nothing", waiting_for("true", WaitFor::Nothing)),
        ("wait-stdout", waiting_for("sleep 0.5; echo here it is", WaitFor::message_on_stdout("it is"))),
        ("wait-stderr", waiting_for("echo here it is >&2", WaitFor::message_on_stderr("here"))),
        ("wait-either", waiting_for("echo here it is >&2", WaitFor::message_on_either_std("here"))),
        ("wait-twice", waiting_for("echo tick; sleep 0.3; echo tick", WaitFor::log(twice))),
        (
            "wait-healthy",
            waiting_for("sleep 0.3; touch /tmp/up", WaitFor::Healthcheck(health))
                .with_health_check(checked("test -e /tmp/up")),
        ),
    ];
    for (name, request) in requests {
        let started = request.start().await;
        let container = say(name, started, done).context("it did not come")?;
        let running = container.is_running().await;
        say(&format!("{name}-running"), running, |is| json!(is));
        container.rm().await?;
    }
    let exit = ExitWaitStrategy::new().with_exit_code(4);
    let request = busybox().with_wait_for(WaitFor::exit(exit)).with_cmd(["sh", "-c", "exit 4"]);
    let container = say("wait-exit", request.start().await, done).context("it did not end")?;
    say("wait-exit-code", container.exit_code().await, |code| json!(code));
    container.rm().await?;
    Ok(())
}

pub(crate) async fn refused() -> Result<()> {
    let wrong_exit = ExitWaitStrategy::new().with_exit_code(4);
    let requests = [
        (
            "never-logged",
            busybox().with_wait_for(WaitFor::message_on_stdout("never")).with_cmd(["echo", "once"]),
        ),
        ("never-healthy", waiting_for("true", WaitFor::healthcheck()).with_health_check(checked("false"))),
        ("no-healthcheck", waiting_for("true", WaitFor::healthcheck())),
        ("other-exit", busybox().with_wait_for(WaitFor::exit(wrong_exit)).with_cmd(["false"])),
        (
            "too-late",
            waiting_for("true", WaitFor::message_on_stdout("never"))
                .with_startup_timeout(Duration::from_secs(1)),
        ),
        ("no-program", busybox().with_cmd(["/nothing"])),
        ("no-image", GenericImage::new("localhost:5000/nothing", "1").into()),
        ("bad-image", GenericImage::new("Bad//Name", "1").into()),
        ("bad-platform", busybox().with_platform("linux/arm64")),
        ("bad-name", busybox().with_container_name("a b")),
        ("bad-capability", busybox().with_cap_add("NOTHING")),
        ("bad-network", busybox().with_network("container:nobody")),
        ("bad-user", busybox().with_user("nobody-here").with_cmd(["true"])),
        ("bad-directory", busybox().with_working_dir("relative").with_cmd(["true"])),
        ("bad-security", busybox().with_security_opt("nothing=1").with_cmd(["true"])),
    ];
    for (name, request) in requests {
        if let Some(container) = say(name, request.start().await, done) {
            container.rm().await?;
        }
    }
    let first = busybox().with_container_name("taken").with_mapped_port(18090, 80.tcp());
    let first = first.with_cmd(staying("true")).start().await?;
    let second = busybox().with_container_name("taken").start().await;
    say("name-taken", second, done);
    let second = busybox().with_container_name("second").with_mapped_port(18090, 80.tcp()).start().await;
    say("port-taken", second, done);
    first.rm().await?;
    Ok(())
}
