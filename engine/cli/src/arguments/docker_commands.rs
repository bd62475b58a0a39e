//! Docker's commands and options against ours: what Docker's command line takes, ours takes,
//! but for what is named here with its reason.

use std::collections::BTreeSet;

use clap::Command;

use crate::examples;

/// Written by `cargo xtask record docker-commands`.
const LIST: &str = include_str!("../../../../tests/conform/docker-commands.txt");

const WINDOWS: &str = "of Windows";
const CLUSTER: &str = "of volumes of a swarm";
const GONE: &str = "Docker does nothing by it any more";

/// Options that ours does not have: of which command (`*` of all), which, and why not.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("*", "cpu-count", WINDOWS),
    ("*", "cpu-percent", WINDOWS),
    ("*", "io-maxbandwidth", WINDOWS),
    ("*", "io-maxiops", WINDOWS),
    ("*", "kernel-memory", GONE),
    ("*", "disable-content-trust", GONE),
    (
        "*",
        "use-api-socket",
        "experimental; gives the container the engine",
    ),
    ("*", "checkpoint", "there are no checkpoints"),
    ("*", "checkpoint-dir", "there are no checkpoints"),
    ("*", "tree", "experimental"),
    ("", "debug", "--log-level debug"),
    ("", "tls", "a daemon is always verified"),
    ("volume ls", "cluster", CLUSTER),
    ("volume create", "availability", CLUSTER),
    ("volume create", "group", CLUSTER),
    ("volume create", "limit-bytes", CLUSTER),
    ("volume create", "required-bytes", CLUSTER),
    ("volume create", "scope", CLUSTER),
    ("volume create", "secret", CLUSTER),
    ("volume create", "sharing", CLUSTER),
    ("volume create", "topology-preferred", CLUSTER),
    ("volume create", "topology-required", CLUSTER),
    ("volume create", "type", CLUSTER),
];
/// Commands that ours does not have.
const COMMANDS_LEFT_OUT: &[(&str, &str)] = &[("volume update", CLUSTER)];

/// Returns the command of these words.
fn find<'a>(all: &'a Command, words: &str) -> Option<&'a Command> {
    words
        .split_whitespace()
        .try_fold(all, |command, word| command.find_subcommand(word))
}

fn options(command: &Command) -> BTreeSet<&str> {
    let arguments = command.get_arguments();
    let names = arguments.flat_map(|argument| {
        let aliases = argument.get_all_aliases().unwrap_or_default();
        argument.get_long().into_iter().chain(aliases)
    });
    names.collect()
}

#[test]
fn what_docker_takes_ours_takes() {
    let all = examples::command();
    let mut missing = Vec::new();
    let mut used = BTreeSet::new();
    for line in LIST.lines().filter(|line| !line.starts_with('#')) {
        let (words, wanted) = line.split_once(':').expect("a command and its options");
        let Some(command) = find(&all, words) else {
            match COMMANDS_LEFT_OUT.iter().find(|(known, _)| *known == words) {
                Some((known, _)) => drop(used.insert((*known, ""))),
                None => missing.push(words.to_owned()),
            }
            continue;
        };
        let ours = options(command);
        for option in wanted.split_whitespace().filter(|it| !ours.contains(it)) {
            let is_it = |(of, name, _): &&(&str, &str, &str)| {
                *name == option && (*of == "*" || *of == words)
            };
            match LEFT_OUT.iter().find(is_it) {
                Some((of, name, _)) => drop(used.insert((*of, *name))),
                None => missing.push(format!("{words} --{option}")),
            }
        }
    }
    assert!(missing.is_empty(), "missing: {missing:#?}");
    let listed = LEFT_OUT.iter().map(|(of, name, _)| (*of, *name));
    let listed = listed.chain(COMMANDS_LEFT_OUT.iter().map(|(of, _)| (*of, "")));
    let unused: Vec<_> = listed.filter(|row| !used.contains(row)).collect();
    assert!(unused.is_empty(), "left out no more: {unused:?}");
}
