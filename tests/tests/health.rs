//! What becomes of containers that are unhealthy.

use tests::{Installation, wait_until, words_and};

/// Healthy until the file is gone; a run makes the file anew and counts itself.
const SICK_LATER: &str = "date +%N >>/www/runs; touch /tmp/well; sleep 600";

const HEALTH: &str = "container.health";
const KINDS: [&str; 3] = [HEALTH, "container.started", "container.restarted"];

fn inspect(host: &Installation, format: &str) -> String {
    host.ok(&["inspect", "--format", format, "web"])
        .trim()
        .to_owned()
}

fn run(host: &Installation, label: &str) -> tests::Said {
    let options = format!(
        "run -d --name web --label {label} -v runs:/www --stop-timeout 0 --health-interval 100ms \
         --health-retries 2 --health-cmd"
    );
    let mut words: Vec<&str> = options.split_whitespace().collect();
    words.extend(["test -e /tmp/well", "busybox:1", "sh", "-c", SICK_LATER]);
    host.engine(&words)
}

#[test]
fn an_unhealthy_container_is_restarted_where_that_is_asked_for() {
    let host = Installation::new();
    assert_eq!(run(&host, "engine.restart-on-unhealthy=true").code, 0);
    wait_until("it is healthy", || {
        inspect(&host, "{{.State.Health.Status}}") == "healthy"
    });
    let first = inspect(&host, "{{.State.StartedAt}}");
    host.ok(&words_and("exec web rm", "/tmp/well"));
    wait_until("it has been restarted", || {
        inspect(&host, "{{.State.StartedAt}}") != first
    });
    wait_until("it is healthy again", || {
        inspect(&host, "{{.State.Health.Status}}") == "healthy"
    });
    let runs = host.ok(&["exec", "web", "cat", "/www/runs"]);
    assert_eq!(runs.lines().count(), 2, "{runs}");
    let events = host.ok(&["events", "--no-follow", "--format", "{{.type}}"]);
    let ends: Vec<&str> = events.lines().filter(|kind| KINDS.contains(kind)).collect();
    let wanted = [
        HEALTH,
        HEALTH,
        "container.started",
        "container.restarted",
        HEALTH,
    ];
    assert_eq!(ends[1..], wanted, "{events}");

    host.ok(&["stop", "web"]);
    assert_eq!(inspect(&host, "{{.State.Status}}"), "exited");
    host.ok(&["rm", "-v", "web"]);
    host.ok(&["volume", "rm", "runs"]);
    host.finish();
}

#[test]
fn an_unhealthy_container_is_left_alone_where_it_is_not() {
    let host = Installation::new();
    assert_eq!(run(&host, "engine.restart-on-unhealthy=false").code, 0);
    let first = inspect(&host, "{{.State.StartedAt}}");
    host.ok(&words_and("exec web rm", "/tmp/well"));
    wait_until("it is unhealthy", || {
        inspect(&host, "{{.State.Health.Status}}") == "unhealthy"
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(inspect(&host, "{{.State.StartedAt}}"), first);
    // What has ended is unhealthy, whoever asks, and stays so.
    host.ok(&["kill", "web"]);
    let listed = |health: &str| {
        let filter = format!("health={health}");
        host.ok(&["ps", "-aq", "--filter", &filter]).lines().count()
    };
    host.kill_9("engine");
    assert_eq!(inspect(&host, "{{.State.Health.Status}}"), "unhealthy");
    assert_eq!((listed("unhealthy"), listed("none")), (1, 0));
    host.ok(&["rm", "-f", "-v", "web"]);
    host.ok(&["volume", "rm", "runs"]);

    let said = run(&host, "engine.restart-on-unhealthy=perhaps");
    assert_eq!(said.code, 125);
    assert!(
        said.stderr.contains("it can be \"true\" or \"false\""),
        "{said:?}"
    );
    host.fails(
        125,
        "the container has no health check",
        &[
            "run",
            "--label",
            "engine.restart-on-unhealthy=true",
            "busybox:1",
            "true",
        ],
    );
    host.finish();
}
