//! Containers from their making to their end.

use std::io::Read;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, ContainerUpdateBody};
use bollard::query_parameters::{
    AttachContainerOptions, CommitContainerOptions, ContainerArchiveInfoOptions, CreateContainerOptions,
    DownloadFromContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    LogsOptions, PruneContainersOptions, RemoveContainerOptions, RenameContainerOptions,
    ResizeContainerTTYOptions, RestartContainerOptions, StatsOptions, StopContainerOptions, TopOptions,
    UploadToContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::IMAGE;
use crate::output::{all, say, text};

/// The container of most calls.
const MAIN: &str = "kept";

pub(crate) fn body(value: Value) -> Result<ContainerCreateBody> {
    serde_json::from_value(value).context("a body for create")
}

pub(crate) fn named(name: &str) -> Option<CreateContainerOptions> {
    Some(CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() })
}

pub(crate) fn force() -> Option<RemoveContainerOptions> {
    Some(RemoveContainerOptions { force: true, v: true, ..Default::default() })
}

fn inspect() -> Option<InspectContainerOptions> {
    None
}

/// Making them, and what is refused.
pub(crate) async fn created(docker: &Docker) -> Result<()> {
    let main = json!({
        "Image": IMAGE, "Cmd": ["sh", "-c", "echo begun; while :; do sleep 0.1; done"],
        "Labels": {"sdk": "bollard"}, "Env": ["A=1"], "ExposedPorts": {"7/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]}, "StopTimeout": 1,
        "HostConfig": {
            "Memory": 67108864, "CpuPeriod": 100000, "CpuQuota": 50000, "PidsLimit": 100,
            "CapDrop": ["ALL"], "CapAdd": ["CHOWN"], "ReadonlyPaths": ["/proc/sys"],
            "Binds": ["/tmp:/host:ro"], "PublishAllPorts": true,
            "Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 128}],
        },
    });
    say("create", docker.create_container(named(MAIN), body(main)?).await);
    say("inspect-created", docker.inspect_container(MAIN, inspect()).await);
    // Others are refused by our engine when they are made, and when they start by dockerd.
    let starts = ["create-bad-user", "create-bad-port"];
    for (name, config) in [
        ("create-taken", json!({"Image": IMAGE})),
        ("create-no-image", json!({"Image": ""})),
        ("create-missing-image", json!({"Image": "nothing:1"})),
        ("create-bad-image", json!({"Image": "Bad//Name"})),
        ("create-bad-user", json!({"Image": IMAGE, "User": "nobody-here"})),
        ("create-bad-port", json!({"Image": IMAGE, "ExposedPorts": {"x/tcp": {}}})),
        (
            "create-bad-ulimit",
            json!({"Image": IMAGE, "HostConfig":
            {"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}}),
        ),
        (
            "create-bad-device",
            json!({"Image": IMAGE, "HostConfig":
            {"Devices": [{"PathOnHost": "/dev/no", "PathInContainer": "/dev/no", "CgroupPermissions": "q"}]}}),
        ),
    ] {
        let options = named(if name == "create-taken" { MAIN } else { "other" });
        let made = docker.create_container(options, body(config)?).await;
        if say(name, made).is_some() {
            if !starts.contains(&name) {
                docker.remove_container("other", force()).await?;
                continue;
            }
            say(&format!("{name}-start"), docker.start_container("other", None).await);
            docker.remove_container("other", force()).await?;
        }
    }
    started(docker).await
}

async fn started(docker: &Docker) -> Result<()> {
    say("logs-created", text(docker.logs(MAIN, logs("all"))).await);
    say("start", docker.start_container(MAIN, None).await);
    say("start-again", docker.start_container(MAIN, None).await);
    say("start-missing", docker.start_container("nobody", None).await);
    Ok(())
}

fn logs(tail: &str) -> Option<LogsOptions> {
    Some(LogsOptions { stdout: true, stderr: true, tail: tail.to_owned(), ..Default::default() })
}

/// One that runs.
pub(crate) async fn running(docker: &Docker) -> Result<()> {
    say("inspect-running", docker.inspect_container(MAIN, inspect()).await);
    let listed = ListContainersOptions { size: true, ..Default::default() };
    say("list", docker.list_containers(Some(listed)).await);
    let one_shot = StatsOptions { stream: false, one_shot: true };
    say("stats", all(docker.stats(MAIN, Some(one_shot))).await);
    let columns = TopOptions { ps_args: "-o pid,comm".to_owned() };
    let top = docker.top_processes(MAIN, Some(columns)).await;
    say("top", top.map(|top| top.titles));
    say("changes", docker.container_changes(MAIN).await);
    let update: ContainerUpdateBody =
        serde_json::from_value(json!({"Memory": 134217728, "MemorySwap": -1, "PidsLimit": 50}))?;
    say("update", docker.update_container(MAIN, update).await);
    let updated = docker.inspect_container(MAIN, inspect()).await;
    say(
        "update-inspect",
        updated.map(|found| {
            let host = found.host_config.unwrap_or_default();
            (host.memory, host.memory_swap, host.pids_limit)
        }),
    );
    let rename = |name: &str| RenameContainerOptions { name: name.to_owned() };
    say("rename", docker.rename_container(MAIN, rename("moved")).await);
    say("rename-back", docker.rename_container("moved", rename(MAIN)).await);
    say("rename-bad", docker.rename_container(MAIN, rename("a b")).await);
    say("pause", docker.pause_container(MAIN).await);
    let paused = docker.inspect_container(MAIN, inspect()).await;
    say("pause-state", paused.map(|found| found.state.and_then(|state| state.status)));
    say("unpause", docker.unpause_container(MAIN).await);
    say("unpause-missing", docker.unpause_container("nobody").await);
    let resize = ResizeContainerTTYOptions { h: 20, w: 70 };
    say("resize", docker.resize_container_tty(MAIN, resize).await);
    say("remove-running", docker.remove_container(MAIN, None).await);
    let commit = CommitContainerOptions {
        container: Some(MAIN.to_owned()),
        repo: Some("local/bollard".to_owned()),
        tag: Some("1".to_owned()),
        ..Default::default()
    };
    say("commit", docker.commit_container(commit, ContainerConfigOf::default()).await);
    let none: Option<bollard::query_parameters::RemoveImageOptions> = None;
    say("commit-remove", docker.remove_image("local/bollard:1", none, None).await);
    Ok(())
}

type ContainerConfigOf = bollard::models::ContainerConfig;

fn exec(words: &[&str]) -> CreateExecOptions<String> {
    CreateExecOptions {
        cmd: Some(words.iter().map(|word| (*word).to_owned()).collect()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..Default::default()
    }
}

/// Exec and attach, by a connection that is taken over.
pub(crate) async fn streams(docker: &Docker) -> Result<()> {
    let made = docker.create_exec(MAIN, exec(&["sh", "-c", "echo out; echo err >&2; exit 6"])).await;
    let made = say("exec", made).context("exec was refused")?;
    let started = docker.start_exec(&made.id, None).await?;
    if let StartExecResults::Attached { output, .. } = started {
        say("exec-output", text(output).await);
    }
    say("exec-inspect", docker.inspect_exec(&made.id).await);
    let again = docker.start_exec(&made.id, None).await;
    say("exec-again", again.map(|_| "started"));
    let mut typed = exec(&["sh", "-c", "read word; echo $word; stty size"]);
    typed.attach_stdin = Some(true);
    typed.tty = Some(true);
    let typed = docker.create_exec(MAIN, typed).await?;
    let options = StartExecOptions { tty: true, ..Default::default() };
    if let StartExecResults::Attached { output, mut input } =
        docker.start_exec(&typed.id, Some(options)).await?
    {
        let size = ResizeExecOptions { height: 21, width: 63 };
        say("exec-resize", docker.resize_exec(&typed.id, size).await);
        input.write_all(b"word\n").await?;
        say("exec-terminal", text(output).await);
    }
    let detached = docker.create_exec(MAIN, exec(&["true"])).await?;
    let options = StartExecOptions { detach: true, ..Default::default() };
    let started = docker.start_exec(&detached.id, Some(options)).await;
    say("exec-detached", started.map(|_| "started"));
    say("exec-missing", docker.create_exec("nobody", exec(&["true"])).await);
    say("exec-empty", docker.create_exec(MAIN, exec(&[])).await);
    attached(docker).await
}

async fn attached(docker: &Docker) -> Result<()> {
    let cat = json!({"Image": IMAGE, "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true,
        "AttachStdin": true, "HostConfig": {"NetworkMode": "none"}});
    docker.create_container(named("cat"), body(cat)?).await?;
    let options = AttachContainerOptions {
        stdin: true,
        stdout: true,
        stderr: true,
        stream: true,
        logs: true,
        ..Default::default()
    };
    let mut found = docker.attach_container("cat", Some(options)).await?;
    docker.start_container("cat", None).await?;
    found.input.write_all(b"through and back\n").await?;
    found.input.shutdown().await?;
    say("attach", text(found.output).await);
    say("attach-wait", all(docker.wait_container("cat", None)).await);
    let missing = docker.attach_container("nobody", None).await;
    say("attach-missing", missing.map(|_| "attached"));
    docker.remove_container("cat", None).await?;
    Ok(())
}

/// Files in and out.
pub(crate) async fn archives(docker: &Docker) -> Result<()> {
    let packed = packed("folder/file", b"content")?;
    let to = |path: &str| Some(UploadToContainerOptions { path: path.to_owned(), ..Default::default() });
    let put = |path| docker.upload_to_container(MAIN, to(path), bollard::body_full(packed.clone().into()));
    say("archive-put", put("/tmp").await);
    say("archive-put-read-only", put("/host").await);
    say("archive-put-missing", put("/no/such").await);
    say("archive-put-file", put("/bin/sh").await);
    let get = async |path: &str| {
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let chunks = all(docker.download_from_container(MAIN, Some(options))).await?;
        Ok(unpacked(&chunks.concat()).unwrap_or_default())
    };
    say("archive-get", get("/tmp/folder").await);
    say("archive-get-link", get("/bin/sh").await);
    say("archive-get-missing", get("/no/such").await);
    let info = ContainerArchiveInfoOptions { path: "/tmp/folder/file".to_owned() };
    let stat = docker.get_container_archive_info(MAIN, Some(info)).await;
    say("archive-info", stat.map(|stat| json!([stat.name, stat.size, stat.file_mode, stat.link_target])));
    let exported = all(docker.export_container(MAIN)).await;
    say("export", exported.map(|chunks| unpacked(&chunks.concat()).is_some_and(|found| found.len() > 10)));
    Ok(())
}

fn packed(name: &str, content: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o604);
    header.set_uid(3);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, content)?;
    Ok(archive.into_inner()?)
}

/// Returns name, kind, mode, owner and content of each entry; none if it is no archive.
fn unpacked(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().ok()?.map(|entry| {
        let mut entry = entry.ok()?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        let header = entry.header();
        let kind = char::from(header.entry_type().as_byte());
        let (mode, uid) = (header.mode().ok()?, header.uid().ok()?);
        let link = entry.link_name().ok()?.map(|link| link.display().to_string());
        let name = entry.path().ok()?.display().to_string();
        let content = String::from_utf8_lossy(&content);
        Some(json!([name, kind, mode, uid, link, content]))
    });
    entries.collect()
}

/// Waits until a restarted container has spoken again.
async fn said_twice(docker: &Docker) -> Result<()> {
    for _ in 0..200 {
        let said = text(docker.logs(MAIN, logs("all"))).await?;
        if said["stdout"].as_str().is_some_and(|said| said.lines().count() == 2) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("it did not speak again")
}

/// How they end.
pub(crate) async fn endings(docker: &Docker) -> Result<()> {
    let signal = |name: &str| Some(KillContainerOptions { signal: name.to_owned() });
    say("kill-bad", docker.kill_container(MAIN, signal("SIGNOTHING")).await);
    let restart = RestartContainerOptions { t: Some(1), ..Default::default() };
    say("restart", docker.restart_container(MAIN, Some(restart)).await);
    said_twice(docker).await?;
    say("logs", text(docker.logs(MAIN, logs("all"))).await);
    say("logs-last", text(docker.logs(MAIN, logs("1"))).await);
    let stop = StopContainerOptions { t: Some(1), ..Default::default() };
    say("stop", docker.stop_container(MAIN, Some(stop)).await);
    say("stop-again", docker.stop_container(MAIN, None).await);
    say("kill-stopped", docker.kill_container(MAIN, signal("SIGTERM")).await);
    say("wait", all(docker.wait_container(MAIN, None)).await);
    say("inspect-stopped", docker.inspect_container(MAIN, inspect()).await);
    say("prune", docker.prune_containers(None::<PruneContainersOptions>).await);
    say("remove-missing", docker.remove_container(MAIN, None).await);
    say("wait-missing", all(docker.wait_container(MAIN, None)).await);
    let short = json!({"Image": IMAGE, "Cmd": ["sh", "-c", "sleep 1; kill -9 $$"],
        "HostConfig": {"NetworkMode": "none", "AutoRemove": true}});
    docker.create_container(named("short"), body(short)?).await?;
    docker.start_container("short", None).await?;
    let removed = WaitContainerOptions { condition: "removed".to_owned() };
    let mut waited = std::pin::pin!(docker.wait_container("short", Some(removed)));
    if let Some(ended) = waited.next().await {
        say("wait-removed", ended);
    }
    Ok(())
}
