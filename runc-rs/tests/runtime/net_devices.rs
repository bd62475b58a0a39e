//! Network devices that are moved into containers.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Output, finish};

/// Makes a device with two addresses. The other end must stay for it to stay.
const PREPARE: &str = "ip link set lo up && ip link add from0 type veth peer name peer0 && \
    ip addr add 10.9.8.7/24 brd + dev from0 && ip -6 addr add fd00:9::7/64 dev from0 nodad && \
    ip link set peer0 up && ip link set from0 up && echo ready && exec sleep 1000";

/// A network namespace that has a device.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", PREPARE]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let output = child.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// Calls the binary in there.
    fn runc(&self, bundle: &Bundle, arguments: &[&str]) -> Output {
        let call = bundle.command(arguments);
        let mut command = Command::new("nsenter");
        let pid = self.0.id().to_string();
        command.args(["--target", &pid, "--net", "--"]);
        command.arg(call.get_program()).args(call.get_args());
        command.current_dir(bundle.path()).stdin(Stdio::null());
        finish(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself, which a test has seen then.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns what `ip` says in the container's network namespace.
fn ip(bundle: &Bundle, id: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("nsenter");
    let pid = bundle.pid(id).to_string();
    command
        .args(["--target", &pid, "--net", "ip"])
        .args(arguments);
    finish(command).ok()
}

fn bundle(devices: serde_json::Value) -> Bundle {
    let mut bundle = Bundle::idle();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({"type": "network"}));
    bundle.config["linux"]["netDevices"] = devices;
    bundle
}

#[test]
fn a_device_moves_with_its_addresses_and_gets_a_name() {
    let bundle = bundle(json!({"from0": {"name": "to0"}}));
    let namespace = Namespace::new();
    namespace.runc(&bundle, &["run", "--detach", "c"]).ok();
    let link = ip(&bundle, "c", &["-o", "link", "show", "to0"]);
    assert!(link.contains("UP"), "{link}");
    let addresses = ip(&bundle, "c", &["-o", "addr", "show", "to0"]);
    let expected = ["10.9.8.7/24 brd 10.9.8.255", "fd00:9::7/64 scope global"];
    for address in expected {
        assert!(addresses.contains(address), "{addresses}");
    }
    let names = bundle.exec("c", "ls /sys/class/net");
    assert!(names.contains("to0") && !names.contains("from0"), "{names}");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_template_is_a_name_with_the_first_free_number() {
    let mut bundle = bundle(json!({"from0": {"name": "eth%d"}, "peer0": {"name": "eth%d"}}));
    bundle.config["process"]["capabilities"] = json!({});
    let namespace = Namespace::new();
    namespace.runc(&bundle, &["run", "--detach", "c"]).ok();
    let addresses = ip(&bundle, "c", &["-o", "-4", "addr", "show", "eth0"]);
    assert!(addresses.contains("10.9.8.7/24"), "{addresses}");
    let links = ip(&bundle, "c", &["-o", "link", "show", "up"]);
    assert!(links.contains("eth0") && links.contains("eth1"), "{links}");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_device_keeps_its_name_also_in_a_user_namespace() {
    let mut bundle = bundle(json!({"from0": {}}));
    bundle.use_user_namespace();
    let namespace = Namespace::new();
    namespace.runc(&bundle, &["run", "--detach", "c"]).ok();
    let addresses = ip(&bundle, "c", &["-o", "-4", "addr", "show", "from0"]);
    assert!(addresses.contains("10.9.8.7/24"), "{addresses}");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn what_cannot_be_moved_is_one_clear_error() {
    let namespace = Namespace::new();
    let check = |devices: serde_json::Value, text: &str| {
        let bundle = bundle(devices);
        namespace
            .runc(&bundle, &["run", "--detach", "c"])
            .fails(1, text);
        bundle.assert_clean();
    };
    check(
        json!({"none0": {}}),
        "network device \"none0\": cannot find it",
    );
    check(
        json!({"from0": {"name": "lo"}}),
        "\"from0\": cannot move it into the container",
    );
    check(json!({"from0": {"name": "a/b"}}), "\"a/b\" is not a name");
    let mut shared = bundle(json!({"from0": {}}));
    let namespaces = shared.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespace
        .runc(&shared, &["run", "c"])
        .fails(1, "without a private network namespace");
    shared.assert_clean();
}
