//! The examples that each command's help and manual page end with, in one table, so that
//! a test can read every one of them as a command line.

use clap::{Command, CommandFactory as _};

use crate::arguments::Arguments;

/// By the command's words; a group's commands that have another name too are found by that.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "attach",
        &[
            "engine attach web",
            "engine attach --no-stdin --sig-proxy=false web",
        ],
    ),
    (
        "commit",
        &[
            "engine commit web web:tried",
            "engine commit -c 'CMD [\"httpd\", \"-f\"]' web web:tried",
        ],
    ),
    (
        "container inspect",
        &["engine container inspect --size web"],
    ),
    (
        "container ls",
        &[
            "engine container ls --all",
            "engine container ls --filter label=site --format '{{.Names}}'",
        ],
    ),
    (
        "container prune",
        &["engine container prune --force --filter until=24h"],
    ),
    (
        "container rm",
        &["engine container rm --force --volumes web"],
    ),
    (
        "context create",
        &[
            "engine context create far --docker host=ssh://me@far.example",
            "engine context create far2 --from far --description 'to try things'",
        ],
    ),
    (
        "context export",
        &[
            "engine context export far",
            "engine context export far - | gzip >far.gz",
        ],
    ),
    (
        "context import",
        &["engine context import far far.dockercontext"],
    ),
    ("context inspect", &["engine context inspect far"]),
    ("context ls", &["engine context ls --quiet"]),
    ("context rm", &["engine context rm far"]),
    ("context show", &["engine context show"]),
    (
        "context update",
        &["engine context update far --description 'the machine in the cellar'"],
    ),
    (
        "context use",
        &["engine context use far", "engine context use default"],
    ),
    (
        "cp",
        &[
            "engine cp web:/etc/hosts .",
            "engine cp site/. web:/www",
            "engine cp web:/var/log - | tar t",
        ],
    ),
    ("create", &["engine create --name web -p 8080:80 web:1"]),
    (
        "daemon",
        &["engine daemon", "engine daemon stop --containers"],
    ),
    ("diff", &["engine diff web"]),
    (
        "events",
        &[
            "engine events --since 10m --filter container=web",
            "engine events --until 0s --format '{{json .}}'",
            "engine events --api --since 1h --format '{{.Type}} {{.Action}}'",
        ],
    ),
    ("events repair", &["engine events repair"]),
    (
        "exec",
        &[
            "engine exec -it web sh",
            "engine exec -e LANG=C -w /www web ls -l",
        ],
    ),
    ("export", &["engine export -o web.tar web"]),
    ("history", &["engine history --no-trunc web:1"]),
    (
        "image inspect",
        &["engine image inspect --format '{{.Config.Cmd}}' web:1"],
    ),
    ("image ls", &["engine image ls --digests"]),
    (
        "image prune",
        &["engine image prune --all --filter until=240h"],
    ),
    ("image rm", &["engine image rm web:1"]),
    (
        "images",
        &[
            "engine images",
            "engine images --filter dangling=true --quiet",
        ],
    ),
    (
        "import",
        &["engine import -c 'CMD [\"sh\"]' root.tar.gz base:1"],
    ),
    (
        "info",
        &["engine info", "engine info --format '{{.ServerVersion}}'"],
    ),
    (
        "inspect",
        &[
            "engine inspect web",
            "engine inspect --type volume --format '{{.Mountpoint}}' data",
        ],
    ),
    (
        "install",
        &[
            "engine install",
            "engine install --docker-socket",
            "engine install --dry-run",
        ],
    ),
    ("kill", &["engine kill --signal HUP web"]),
    (
        "load",
        &[
            "engine load -i images.tar",
            "engine load --platform linux/amd64 <images.tar",
        ],
    ),
    (
        "login",
        &["engine login -u me --password-stdin registry.example <token"],
    ),
    ("logout", &["engine logout registry.example"]),
    (
        "logs",
        &[
            "engine logs --follow --tail 20 web",
            "engine logs --since 10m --timestamps web",
        ],
    ),
    (
        "network connect",
        &["engine network connect --ip 10.9.0.7 --alias db back web"],
    ),
    (
        "network create",
        &["engine network create --subnet 10.9.0.0/24 --internal back"],
    ),
    (
        "network disconnect",
        &["engine network disconnect back web"],
    ),
    ("network inspect", &["engine network inspect back"]),
    ("network ls", &["engine network ls --filter driver=bridge"]),
    ("network prune", &["engine network prune --force"]),
    ("network rm", &["engine network rm back"]),
    ("pause", &["engine pause web"]),
    ("port", &["engine port web 80/tcp"]),
    (
        "ps",
        &[
            "engine ps --all",
            "engine ps --filter status=exited --format '{{.Names}}: {{.Status}}'",
        ],
    ),
    (
        "pull",
        &[
            "engine pull registry.example/web:1",
            "engine pull --all-tags registry.example/web",
        ],
    ),
    ("push", &["engine push registry.example/web:1"]),
    ("rename", &["engine rename web web-old"]),
    ("restart", &["engine restart --timeout 2 web"]),
    ("rm", &["engine rm --force --volumes web"]),
    ("rmi", &["engine rmi web:1"]),
    (
        "run",
        &[
            "engine run --rm busybox echo hello",
            "engine run -d --name web -p 8080:80 -v site:/www web:1",
            "engine run -it --rm --network back --memory 256m busybox",
            "engine run --rm --mount type=image,source=tools:1,target=/tools busybox ls /tools",
        ],
    ),
    ("save", &["engine save -o images.tar web:1 busybox"]),
    (
        "search",
        &["engine search --limit 5 --filter is-official=true busybox"],
    ),
    ("start", &["engine start web", "engine start -ai job"]),
    (
        "stats",
        &[
            "engine stats",
            "engine stats --no-stream --format '{{.Name}} {{.MemUsage}}'",
        ],
    ),
    ("stop", &["engine stop --timeout 30 web"]),
    (
        "system df",
        &["engine system df", "engine system df --verbose"],
    ),
    (
        "system prune",
        &[
            "engine system prune",
            "engine system prune --all --volumes --force",
        ],
    ),
    ("tag", &["engine tag web:1 registry.example/web:1"]),
    ("top", &["engine top web", "engine top web -o pid,args"]),
    (
        "uninstall",
        &["engine uninstall", "engine uninstall --dry-run"],
    ),
    ("unpause", &["engine unpause web"]),
    (
        "update",
        &[
            "engine update --memory 256m --pids-limit 100 web",
            "engine update --restart always web db",
        ],
    ),
    (
        "version",
        &["engine version --format '{{.Server.Version}}'"],
    ),
    (
        "volume create",
        &[
            "engine volume create data",
            "engine volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch",
        ],
    ),
    ("volume inspect", &["engine volume inspect data"]),
    ("volume ls", &["engine volume ls --filter dangling=true"]),
    ("volume prune", &["engine volume prune --all"]),
    ("volume rm", &["engine volume rm data"]),
    ("wait", &["engine wait job"]),
];

/// Returns the definition of all commands in full, each with its examples.
pub(crate) fn command() -> Command {
    let mut command = Arguments::command();
    command.build();
    with_examples(command, &mut Vec::new())
}

fn with_examples(command: Command, words: &mut Vec<String>) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    let mut command = match of(words) {
        [] => command,
        lines => command.after_help(format!("Examples:\n  {}", lines.join("\n  "))),
    };
    for name in names {
        words.push(name.clone());
        command = command.mut_subcommand(name, |subcommand| with_examples(subcommand, words));
        words.pop();
    }
    command
}

/// Returns the examples of a command: `container run` has those of `run`.
fn of(words: &[String]) -> &'static [&'static str] {
    let find = |name: &str| EXAMPLES.iter().find(|(known, _)| *known == name);
    let found = (0..words.len()).find_map(|start| find(&words[start..].join(" ")));
    found.map_or(&[], |(_, lines)| lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn visible(command: &Command) -> impl Iterator<Item = &Command> {
        command
            .get_subcommands()
            .filter(|subcommand| !subcommand.is_hide_set())
    }

    fn check(command: &Command, name: &str) {
        for subcommand in visible(command) {
            let name = format!("{name} {}", subcommand.get_name());
            let is_group = visible(subcommand).next().is_some();
            let has_examples = subcommand.get_after_help().is_some();
            assert!(is_group || has_examples, "{name} has no example");
            check(subcommand, &name);
        }
    }

    #[test]
    fn every_command_has_examples() {
        check(&command(), "engine");
    }

    /// Splits a line as a shell would, up to a pipe or redirection.
    fn words(line: &str) -> Vec<OsString> {
        let mut words = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            match index % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        words
            .into_iter()
            .take_while(|word| !word.starts_with(['|', '<', '>']))
            .map(OsString::from)
            .collect()
    }

    #[test]
    fn every_example_is_a_command_line() {
        for line in EXAMPLES.iter().flat_map(|(_, lines)| *lines) {
            let read = crate::arguments::try_parse(words(line).into_iter());
            assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
        }
    }

    #[test]
    fn no_example_is_of_a_command_that_is_not_there() {
        for (name, lines) in EXAMPLES {
            let mut command = command();
            for word in name.split(' ') {
                let found = command.find_subcommand(word).cloned();
                command = found.unwrap_or_else(|| panic!("there is no {name:?}"));
            }
            for line in *lines {
                assert!(
                    line.starts_with(&format!("engine {name}")),
                    "{name}: {line}"
                );
            }
        }
    }
}
