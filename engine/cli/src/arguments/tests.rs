//! Whole command lines: what clap takes, and the exit codes of what it refuses.

use clap::CommandFactory as _;

use super::*;
use crate::cmd::verbs::ContainerVerb;

fn read(line: &str) -> Result<Arguments, clap::Error> {
    let words = std::iter::once("engine").chain(line.split_whitespace());
    try_parse(words.map(OsString::from))
}

#[test]
fn the_definition_is_consistent() {
    Arguments::command().debug_assert();
}

const USAGES: &[&str] = &[
    "run --rm -it -p 8080:80 -v data:/data -e A=b --name x busybox sh -c x",
    "run -d -h host --mount type=tmpfs,dst=/x --restart=on-failure:3 busybox",
    "run --sig-proxy=false --detach-keys=ctrl-a --pids-limit -1 --memory-swap -1 busybox",
    "create --health-cmd true --health-interval 5s --stop-timeout -1 busybox",
    "start -a -i web",
    "stop -t 5 a b",
    "stop --time 5 a",
    "restart --timeout=5 -s HUP a",
    "kill -s HUP a",
    "rm -fv a",
    "ps -aq --no-trunc -f status=exited --format {{.ID}} -n 3 -l -s",
    "logs -f -t -n 5 --since 1h --until 5m web",
    "attach --no-stdin --sig-proxy=false web",
    "exec -it -u 1 -w /x -e A=b web sh -c ls -l",
    "exec -d web ls",
    "inspect -f {{.Id}} --type container -s a b",
    "port web 80/tcp",
    "pull -q --platform linux/amd64 busybox",
    "pull -a busybox",
    "push -a -q localhost:5000/x",
    "image push x:1",
    "image pull x:1",
    "search -f stars=3 --limit 5 --no-trunc --format {{.Name}} busybox",
    "login -u u --password-stdin localhost:5000",
    "login -u u -p p",
    "logout localhost:5000",
    "images -a --digests --no-trunc -f dangling=true busybox",
    "rmi -f --no-prune x",
    "tag a b:c",
    "load -q -i file",
    "save -o file a b",
    "import -c CMD=x -m hello - x:y",
    "volume create -d local -o type=tmpfs --label a=b v",
    "volume ls -q -f dangling=true",
    "volume rm -f v",
    "volume prune -a -f --filter label=x",
    "network create --subnet 10.5.0.0/16 --gateway 10.5.0.1 --aux-address x=10.5.0.9 --internal n",
    "network ls --no-trunc",
    "network inspect n",
    "network prune -f",
    "events --since 1h -f type=container --format json",
    "events --from 1:20 --no-follow",
    "events repair",
    "top web -o pid,args",
    "history --no-trunc -q busybox",
    "container ls -a",
    "container prune -f --filter until=1h",
    "image ls -q",
    "image rm -f x",
    "image prune -a -f",
    "version -f json",
    "info",
    "daemon --foreground",
    "daemon stop --containers",
    "completion bash",
    "man dir",
    "-H unix:///x ps",
    "--root /a --run-dir /b --instance ci --config /c --log-level debug ps",
    "ps --root /a",
];

#[test]
fn every_command_reads_its_dockers_usage() {
    for line in USAGES {
        if let Err(error) = read(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn words_behind_the_image_are_the_containers() {
    let words = |line: &str| match read(line).unwrap().command {
        Command::OfContainers(ContainerVerb::Run(run)) => run.image_and_command().to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        words("run busybox -d --rm -x"),
        ["busybox", "-d", "--rm", "-x"]
    );
    assert_eq!(
        words("run --rm busybox sh -- a"),
        ["busybox", "sh", "--", "a"]
    );
    assert_eq!(words("run -- busybox --help"), ["busybox", "--help"]);
}

#[test]
fn exit_codes_are_dockers() {
    let cases = [
        ("run --bogus busybox", 125),
        ("run -p 99999:1 busybox", 125),
        ("create -m 1x busybox", 125),
        ("create --restart bogus busybox", 125),
        ("ps --bogus", 125),
        ("ps -f bogus", 125),
        ("run", 1),
        ("stop", 1),
        ("ps extra", 1),
        ("bogus", 1),
        ("", 1),
        ("exec web", 1),
        ("run --no-healthcheck --health-cmd x busybox", 125),
        ("-H npipe://h ps", 125),
        ("events --from x", 125),
        ("--help", 0),
        ("run --help", 0),
        ("--version", 0),
    ];
    for (line, code) in cases {
        let error = read(line).expect_err(line);
        assert_eq!(exit_code(&error), code, "{line}: {error}");
    }
}

#[test]
fn the_help_of_a_command_begins_as_the_list_of_commands_has_it() {
    let said = |line: &str| read(line).unwrap_err().to_string();
    let list = said("--help");
    for command in ["run", "ps", "volume", "system"] {
        let help = said(&format!("{command} --help"));
        let about = help.lines().next().unwrap();
        assert!(list.contains(about), "{about:?} is not in {list}");
    }
}

#[test]
fn a_typing_mistake_gets_a_suggestion() {
    let said = |line: &str| read(line).unwrap_err().to_string();
    assert!(said("imagse").contains("images"));
    assert!(said("run --publsih 1:1 x").contains("--publish"));
    assert!(said("run -p 99999:1 busybox").contains("invalid hostPort: 99999"));
}

#[test]
fn the_daemon_is_told_what_the_command_was_told() {
    let line = "--root /a --run-dir /b --instance ci --config /c --host unix:///d --log-level debug --log-format json ps";
    let relative = read("--root a --run-dir b ps")
        .unwrap()
        .global
        .daemon_options();
    assert!(relative.root.is_absolute() && relative.run.ends_with("b"));
    let options = read(line).unwrap().global.daemon_options();
    let again = options.to_arguments().into_iter().chain(["ps".into()]);
    let words = std::iter::once(OsString::from("engine")).chain(again);
    assert_eq!(try_parse(words).unwrap().global.daemon_options(), options);
    assert_eq!(
        read("ps").unwrap().global.socket(),
        PathBuf::from("/run/engine/engine.sock")
    );
    assert_eq!(
        read("--run-dir /b ps").unwrap().global.socket(),
        PathBuf::from("/b/engine.sock")
    );
}
