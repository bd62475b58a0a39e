//! The processes of a container, as `ps` of the host tells of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use base::PathContext as _;
use engine_api::container::TopResponse;
use tokio::process::Command;

use crate::Engine;
use crate::container::Container;
use crate::container::start::cgroup_of;
use crate::error::{OrFail as _, Result, internal};

/// How long `ps` may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Processes that are asked for by their number; of more, all of the host are read.
const ASKED_LIMIT: usize = 4096;
/// How `ps` writes blanks.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\x0b', '\x0c'];

/// Returns the processes of a running container as `ps` shows them.
///
/// # Errors
/// Internal, with the words of `ps`, for arguments that it refuses; for those that give
/// a column another's name, or show no numbers of processes.
pub(in crate::api) async fn processes(
    engine: &Engine,
    container: &Container,
    arguments: &str,
) -> Result<TopResponse> {
    check(arguments)?;
    let pids = pids(&cgroup_of(&engine.instance, container))?;
    let words: Vec<&str> = arguments
        .split(BLANKS)
        .filter(|word| !word.is_empty())
        .collect();
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut output = None;
    if !pids.is_empty() && pids.len() <= ASKED_LIMIT {
        let asked = ps(&words, &["-q", &list.join(",")]).await?;
        output = Some(asked).filter(|output| output.status.success());
    }
    // Some arguments cannot be used together with numbers.
    let output = match output {
        Some(output) => output,
        None => ps(&words, &[]).await?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty());
        let first = first.unwrap_or("it failed").trim();
        return Err(internal(format!("ps: {first}")));
    }
    parse(&String::from_utf8_lossy(&output.stdout), &pids)
}

/// Refuses to have another column called `PID`: containers would see others' processes.
fn check(arguments: &str) -> Result<()> {
    let words: Vec<&str> = arguments
        .split(BLANKS)
        .filter(|word| !word.is_empty())
        .collect();
    let begins = usize::from(!arguments.starts_with(BLANKS));
    for (index, word) in words.iter().enumerate().skip(begins) {
        let Some((column, name)) = word.split_once('=') else {
            continue;
        };
        let name = match name {
            "" => words.get(index + 1).copied().unwrap_or_default(),
            name => name,
        };
        if name.starts_with("PID") && column != "pid" {
            return Err(internal(format!(
                "specifying \"{column}={name}\" is not allowed"
            )));
        }
    }
    Ok(())
}

async fn ps(words: &[&str], more: &[&str]) -> Result<Output> {
    let child = Command::new("ps")
        .args(words)
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(LIMIT, child).await {
        Ok(output) => output.map_err(|error| internal(format!("ps: {error}"))),
        Err(_) => Err(internal(format!("ps did not end within {LIMIT:?}"))),
    }
}

fn parse(output: &str, pids: &BTreeSet<u32>) -> Result<TopResponse> {
    let fields = |line: &str| -> Vec<String> {
        let words = line.split(BLANKS).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let mut lines = output.lines();
    let titles = fields(lines.next().unwrap_or_default());
    let place = titles.iter().position(|title| title == "PID");
    let place = place.ok_or_else(|| internal("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    let mut is_ours = false;
    for line in lines.map(fields).filter(|line| !line.is_empty()) {
        let pid = line.get(place).map(String::as_str).unwrap_or_default();
        // A line that belongs to the process above has a dash there.
        if pid != "-" {
            let number = pid
                .parse()
                .map_err(|error| internal(format!("Unexpected pid '{pid}': {error}")));
            is_ours = pids.contains(&number?);
        }
        if is_ours {
            let (first, last) = line.split_at(line.len().min(titles.len() - 1));
            let mut row = first.to_vec();
            row.push(last.join(" "));
            processes.push(row);
        }
    }
    Ok(TopResponse { titles, processes })
}

fn pids(cgroup: &str) -> Result<BTreeSet<u32>> {
    let path = processes_file(cgroup);
    let text = std::fs::read_to_string(&path)
        .at("read", &path)
        .or_internal()?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn processes_file(cgroup: &str) -> PathBuf {
    let mount = Path::new("/sys/fs/cgroup");
    let hierarchy = if mount.join("cgroup.controllers").exists() {
        mount.to_owned()
    } else {
        mount.join("pids")
    };
    hierarchy
        .join(cgroup.trim_start_matches('/'))
        .join("cgroup.procs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let output = "UID  PID  CMD\nroot   1  init  first\nweb   20  sleep  1000\nweb   -   -\nroot 30 other\n";
        let top = parse(output, &[20].into()).unwrap();
        assert_eq!(top.titles, ["UID", "PID", "CMD"]);
        assert_eq!(
            top.processes,
            [vec!["web", "20", "sleep 1000"], vec!["web", "-", "-"]]
        );
    }

    #[test]
    fn numbers_have_to_be_shown() {
        let message = parse("CMD\nsleep\n", &BTreeSet::new()).unwrap_err().message;
        assert_eq!(message, "Couldn't find PID field in ps output");
    }

    #[test]
    fn no_other_column_is_called_pid() {
        for good in ["-ef", "-o pid=PID,cmd", "aux", "-o cmd=NAME"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["-e -o ppid=PID", "-o ppid= PID"] {
            assert!(
                check(bad).unwrap_err().message.contains("is not allowed"),
                "{bad}"
            );
        }
    }
}
