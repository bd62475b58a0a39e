//! Commands, files and networks of containers, and their life.

use anyhow::{Context, Result};
use serde_json::json;
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptions, ListNetworksOptions,
};
use testcontainers::core::{CmdWaitFor, ExecCommand, IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{CopyTargetOptions, ImageExt};

use crate::output::{done, say, text};
use crate::waiting::{busybox, staying};

pub(crate) async fn commands() -> Result<()> {
    let container = busybox().with_cmd(staying("echo out; echo err >&2")).start().await?;
    let command = ExecCommand::new(["sh", "-c", "echo to out; echo to err >&2; exit 3"]);
    let exec = say("exec", container.exec(command).await, done);
    let mut exec = exec.context("the command was refused")?;
    say("exec-stdout", exec.stdout_to_vec().await, text);
    say("exec-stderr", exec.stderr_to_vec().await, text);
    say("exec-code", exec.exit_code().await, |code| json!(code));
    let conditions = [
        ("exec-wait-exit", CmdWaitFor::exit_code(3), "exit 3"),
        ("exec-wait-other", CmdWaitFor::exit_code(0), "exit 3"),
        ("exec-wait-output", CmdWaitFor::message_on_stdout("ready"), "sleep 0.3; echo ready; sleep 1"),
        ("exec-wait-errors", CmdWaitFor::message_on_stderr("ready"), "echo ready >&2"),
        ("exec-wait-never", CmdWaitFor::message_on_stdout("never"), "echo once"),
    ];
    for (name, condition, line) in conditions {
        let command = ExecCommand::new(["sh", "-c", line]).with_cmd_ready_condition(condition);
        say(name, container.exec(command).await, done);
    }
    let missing = ExecCommand::new(["/nothing"]).with_cmd_ready_condition(CmdWaitFor::exit());
    if let Some(mut exec) = say("exec-no-program", container.exec(missing).await, done) {
        say("exec-no-program-code", exec.exit_code().await, |code| json!(code));
        say("exec-no-program-output", exec.stdout_to_vec().await, text);
    }
    say("logs-stdout", container.stdout_to_vec().await, text);
    say("logs-stderr", container.stderr_to_vec().await, text);
    container.rm().await?;
    Ok(())
}

pub(crate) async fn files() -> Result<()> {
    let secret = CopyTargetOptions::new("/etc/secret").with_mode(0o600);
    let request = busybox()
        .with_wait_for(WaitFor::message_on_stdout("end of files"))
        .with_cmd(staying("cat /etc/given; stat -c '%a %u' /etc/secret; echo end of files"))
        .with_copy_to("/etc/given", b"given bytes\n".to_vec())
        .with_copy_to(secret, b"secret\n".to_vec());
    let container = say("copy-to", request.start().await, done).context("no copy")?;
    say("copy-to-logs", container.stdout_to_vec().await, text);
    say("copy-from", container.copy_file_from("/etc/given", Vec::new()).await, text);
    say("copy-from-link", container.copy_file_from("/bin/sh", Vec::new()).await, |bytes| json!(bytes.len()));
    say("copy-from-folder", container.copy_file_from("/etc", Vec::new()).await, text);
    say("copy-from-missing", container.copy_file_from("/no/such", Vec::new()).await, text);
    container.rm().await?;
    Ok(())
}

pub(crate) async fn networks(docker: &Docker) -> Result<()> {
    let server = busybox()
        .with_exposed_port(80.tcp())
        .with_network("shared")
        .with_container_name("server")
        .with_cmd(["httpd", "-f", "-p", "80", "-h", "/www"]);
    let server = say("network", server.start().await, done).context("no server")?;
    let found = docker.inspect_network("shared", None::<InspectNetworkOptions>).await?;
    println!(
        "network-inspect {}",
        json!([found.driver, found.scope, found.internal, found.labels, found.options])
    );
    let asking = busybox()
        .with_wait_for(WaitFor::message_on_stdout("it works"))
        .with_network("shared")
        .with_cmd(["wget", "-q", "-O", "-", "http://server/"]);
    let asking = say("network-names", asking.start().await, done);
    say("network-address", server.get_bridge_ip_address().await, |address| json!(address.to_string()));
    if let Some(asking) = asking {
        asking.rm().await?;
    }
    let joined = busybox()
        .with_wait_for(WaitFor::message_on_stdout("it works"))
        .with_network(format!("container:{}", server.id()))
        .with_cmd(["wget", "-q", "-O", "-", "http://127.0.0.1/"]);
    let joined = joined.start().await?;
    say("network-joined", joined.stdout_to_vec().await, text);
    joined.rm().await?;
    server.rm().await?;
    Ok(())
}

pub(crate) async fn life() -> Result<()> {
    let line = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let request = busybox().with_wait_for(WaitFor::message_on_stdout("up")).with_cmd(["sh", "-c", line]);
    let container = request.start().await?;
    say("pause", container.pause().await, done);
    say("pause-again", container.pause().await, done);
    say("unpause", container.unpause().await, done);
    say("unpause-again", container.unpause().await, done);
    say("stop", container.stop().await, done);
    say("stop-again", container.stop().await, done);
    say("stopped-code", container.exit_code().await, |code| json!(code));
    say("stopped-logs", container.stdout_to_vec().await, text);
    say("stopped-exec", container.exec(ExecCommand::new(["true"])).await, done);
    say("start", container.start().await, done);
    say("start-running", container.is_running().await, |is| json!(is));
    say("stop-at-once", container.stop_with_timeout(Some(0)).await, done);
    say("rm", container.rm().await, done);
    Ok(())
}

/// What was started is gone, and the network with its last container; those whose
/// start failed are left.
pub(crate) async fn nothing_left(docker: &Docker) -> Result<()> {
    let all = ListContainersOptions { all: true, ..Default::default() };
    let left = docker.list_containers(Some(all)).await?;
    let left = left.into_iter().map(|one| json!([one.command, one.state, one.status, one.labels]));
    println!("left-containers {}", json!(left.collect::<Vec<_>>()));
    let networks = docker.list_networks(None::<ListNetworksOptions>).await?;
    let mut names: Vec<_> = networks.into_iter().filter_map(|network| network.name).collect();
    names.sort();
    println!("left-networks {}", json!(names));
    Ok(())
}
