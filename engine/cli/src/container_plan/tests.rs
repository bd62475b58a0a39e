//! Option lines to bodies, compared with what the stock command sends.

use clap::Parser as _;
use serde_json::Value;

use super::*;

#[derive(clap::Parser)]
struct Words {
    #[command(flatten)]
    options: ContainerOptions,
}

fn options(line: &[&str]) -> ContainerOptions {
    Words::try_parse_from([&["create"], line].concat())
        .unwrap_or_else(|e| panic!("{e}"))
        .options
}

fn environment() -> Environment {
    Environment {
        variables: [("HOME".to_owned(), "/root".to_owned())].into(),
        directory: "/home/user".into(),
    }
}

fn body(line: &[&str], mode: Mode) -> Result<ContainerCreateBody, ParseError> {
    plan(&options(line), mode, Gathered::default(), &environment())
}

/// Checks that every field of `expected` that says something is in our body.
fn assert_holds(path: &str, expected: &Value, ours: &Value) {
    match (expected, ours) {
        (Value::Object(fields), Value::Object(found)) => {
            for (name, value) in fields {
                let missing = Value::Null;
                let path = format!("{path}.{name}");
                // What only the stock command sends, as its own defaults.
                if ["MemorySwappiness", "EndpointsConfig.default"]
                    .iter()
                    .any(|p| path.ends_with(p))
                {
                    continue;
                }
                assert_holds(&path, value, found.get(name).unwrap_or(&missing));
            }
        }
        (Value::Null, ours) | (ours, Value::Null) if says_nothing(ours) => {}
        (expected, ours) if says_nothing(expected) => assert!(says_nothing(ours), "{path}: {ours}"),
        (expected, ours) => assert_eq!(expected, ours, "{path}"),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(says_nothing),
        Value::Object(map) => map.is_empty(),
    }
}

fn check_golden(line: &[&str], golden: &str) {
    let ours = serde_json::to_value(body(line, Mode::Foreground).unwrap()).unwrap();
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_holds("", &golden, &ours);
    assert_holds("(ours)", &ours, &golden);
}

#[test]
fn a_plain_create_is_what_docker_sends() {
    check_golden(
        &[
            "--name",
            "web",
            "-p",
            "8080:80",
            "-v",
            "data:/data",
            "busybox",
            "sh",
            "-c",
            "echo hi",
        ],
        include_str!("../../../api/src/golden/create-plain.json"),
    );
}

#[test]
fn every_option_is_what_docker_sends() {
    let line = "-i -t -h hh -e FOO=bar -e A=b -e HOME -u 1:2 -w /w --entrypoint sh -m 64m --memory-swap 128m \
        --cpus 1.5 --cpu-shares 5 --cpuset-cpus 0-1 --pids-limit 100 --cap-add net_admin --cap-drop ALL \
        --security-opt no-new-privileges --read-only --add-host a:1.2.3.4 --dns 1.1.1.1 --dns-search x \
        --dns-option ndots:1 --network foo --network-alias al --ip 10.0.0.5 --mac-address 02:42:ac:11:00:02 \
        -l a=b -l c --stop-signal TERM --stop-timeout 5 --privileged --ulimit nofile=10:20 --shm-size 1m \
        --device /dev/null:/dev/x:rw --pid host --ipc host --uts host --userns host --init \
        --restart on-failure:3 --health-cmd true --health-interval 5s --health-retries 2 --health-timeout 1s \
        --health-start-period 3s --log-driver local --log-opt max-size=1m --group-add 5 \
        --sysctl net.ipv4.ip_forward=1 --runtime runc --cgroupns host --oom-score-adj 5 --tmpfs /t:size=1m \
        --tmpfs /u --mount type=bind,src=/tmp,dst=/x,readonly,bind-propagation=rslave \
        --mount type=volume,src=v,dst=/y,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=o=x \
        --mount type=tmpfs,dst=/z,tmpfs-size=1m,tmpfs-mode=1770 -P -p 127.0.0.1:9000-9001:90-91/udp \
        --expose 77 -v /tmp:/b:ro -v /anon -v ./rel:/rel --platform linux/amd64 busybox a b";
    check_golden(
        &line.split_whitespace().collect::<Vec<_>>(),
        include_str!("../../../api/src/golden/create-every-option.json"),
    );
}

#[test]
fn a_detached_container_is_not_watched() {
    let config = body(&["-i", "busybox"], Mode::Detached).unwrap().config;
    assert!(config.open_stdin && !config.stdin_once);
    assert!(!config.attach_stdin && !config.attach_stdout && !config.attach_stderr);
    let config = body(&["-a", "STDOUT", "busybox"], Mode::Foreground)
        .unwrap()
        .config;
    assert!(config.attach_stdout && !config.attach_stderr && !config.attach_stdin);
}

#[test]
fn contradictions_are_refused() {
    let said = |line: &[&str], mode| body(line, mode).unwrap_err().to_string();
    assert_eq!(
        said(&["--rm", "--restart", "always", "x"], Mode::Foreground),
        "conflicting options: cannot specify both --restart and --rm"
    );
    assert!(body(&["--rm", "--restart", "no", "x"], Mode::Foreground).is_ok());
    assert!(said(&["-a", "stdout", "x"], Mode::Detached).contains("--attach and --detach"));
    assert!(said(&["--cpus", "1", "--cpu-quota", "5", "x"], Mode::Foreground).contains("--cpus"));
    assert!(
        said(&["--network", "a", "--network", "a", "x"], Mode::Foreground)
            .contains("multiple times")
    );
}

#[test]
fn networks_keep_their_own_options_and_the_first_gets_the_rest() {
    let line = [
        "--network",
        "a",
        "--network",
        "name=b,alias=x,ip=1.2.3.4",
        "--network-alias",
        "y",
        "i",
    ];
    let body = body(&line, Mode::Detached).unwrap();
    let endpoints = body.networking_config.endpoints_config;
    let aliases = |name: &str| endpoints[name].clone().unwrap().aliases.unwrap();
    assert_eq!(
        (aliases("a"), aliases("b")),
        (vec!["y".to_owned()], vec!["x".to_owned()])
    );
    assert_eq!(body.host_config.network_mode, "a");
}

#[test]
fn security_options_and_health_are_turned_off_by_name() {
    let line = [
        "--security-opt",
        "systempaths=unconfined",
        "--no-healthcheck",
        "--entrypoint",
        "",
        "i",
    ];
    let body = body(&line, Mode::Detached).unwrap();
    assert_eq!(body.host_config.masked_paths, Some(Vec::new()));
    assert_eq!(body.host_config.security_opt, None);
    assert_eq!(body.config.healthcheck.unwrap().test, ["NONE"]);
    assert_eq!(body.config.entrypoint.unwrap().0, [""]);
}

#[test]
fn files_are_read_and_what_is_wrong_with_them_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        base::file::replace(&path, content, base::file::FileMode::Private).unwrap();
        path.display().to_string()
    };
    let (env, labels) = (write("env", b"A=1\nHOME\n"), write("labels", b"a=1\n"));
    let profile = write("p.json", b"{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }");
    let seccomp = format!("seccomp={profile}");
    let options = options(&[
        "--env-file",
        &env,
        "--label-file",
        &labels,
        "--security-opt",
        &seccomp,
        "-l",
        "b",
        "i",
    ]);
    let body = plan(
        &options,
        Mode::Detached,
        gather(&options).unwrap(),
        &environment(),
    )
    .unwrap();
    assert_eq!(body.config.env, ["A=1", "HOME=/root"]);
    assert_eq!(body.config.labels.len(), 2);
    assert_eq!(
        body.host_config.security_opt.unwrap(),
        ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]
    );
    let broken = format!("seccomp={}", write("broken.json", b"{"));
    let said = |line: &[&str]| gather(&self::options(line)).unwrap_err().message();
    assert!(said(&["--security-opt", &broken, "i"]).contains("is not JSON"));
    assert!(said(&["--env-file", "/nonexistent", "i"]).contains("/nonexistent"));
    assert!(said(&["--env-file", &write("bin", b"\xff"), "i"]).contains("not UTF-8"));
}
