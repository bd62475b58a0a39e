//! What every route does, as far as permission is concerned. A route of the
//! router that is not declared here is not served to anybody; a test reads the
//! router and compares.

use engine_security::access::Action;
use hyper::Method;

/// A declared route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Route {
    /// The path, with what varies in braces; one of few, for measurements.
    pub label: &'static str,
    pub action: Action,
}

/// Returns what a request for `path` does; `None` where no route is declared.
pub(in crate::api) fn route_of(method: &Method, path: &[String]) -> Option<Route> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let (area, rest) = parts.split_first()?;
    let (label, action) = match *area {
        "containers" => container(method.as_str(), rest)?,
        "exec" => exec(method.as_str(), rest)?,
        "images" => image(method.as_str(), rest)?,
        "networks" => network(method.as_str(), rest)?,
        "volumes" => volume(method.as_str(), rest)?,
        _ => system(method.as_str(), &parts)?,
    };
    Some(Route { label, action })
}

type Declared = Option<(&'static str, Action)>;

fn system(method: &str, parts: &[&str]) -> Declared {
    use Action as A;
    Some(match (method, parts) {
        ("GET" | "HEAD", ["_ping"]) => ("/_ping", A::Ping),
        ("GET", ["version"]) => ("/version", A::ReadSystem),
        ("GET", ["info"]) => ("/info", A::ReadSystem),
        ("GET", ["metrics"]) => ("/metrics", A::ReadMetrics),
        ("GET", ["system", "df"]) => ("/system/df", A::ReadDiskUsage),
        ("GET", ["events"]) => ("/events", A::FollowEvents),
        ("GET", ["plugins"]) => ("/plugins", A::ReadSystem),
        ("POST", ["auth"]) => ("/auth", A::AskRegistry),
        ("POST", ["commit"]) => ("/commit", A::CommitContainer),
        ("GET", ["distribution", _, ..]) => ("/distribution/{name}/json", A::AskRegistry),
        ("POST", ["build", "prune"]) => ("/build/prune", A::Prune),
        ("POST", ["build" | "session" | "grpc", ..]) => ("/build", A::Build),
        (
            _,
            [
                "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs",
                ..,
            ],
        ) => ("/swarm", A::NotBuilt),
        (_, ["plugins", ..]) => ("/plugins/{name}", A::NotBuilt),
        _ => return None,
    })
}

fn container(method: &str, parts: &[&str]) -> Declared {
    use Action as A;
    Some(match (method, parts) {
        ("GET", ["json"]) => ("/containers/json", A::ListContainers),
        ("POST", ["create"]) => ("/containers/create", A::CreateContainer),
        ("POST", ["prune"]) => ("/containers/prune", A::Prune),
        ("GET", [_, "json"]) => ("/containers/{id}/json", A::ReadContainer),
        ("GET", [_, "top"]) => ("/containers/{id}/top", A::ReadContainer),
        ("GET", [_, "stats"]) => ("/containers/{id}/stats", A::ReadContainer),
        ("GET" | "HEAD", [_, "archive"]) => ("/containers/{id}/archive", A::ReadContainer),
        ("PUT", [_, "archive"]) => ("/containers/{id}/archive", A::WriteContainerFiles),
        ("GET", [_, "changes"]) => ("/containers/{id}/changes", A::ReadContainer),
        ("GET", [_, "export"]) => ("/containers/{id}/export", A::ReadContainer),
        ("GET", [_, "logs"]) => ("/containers/{id}/logs", A::ReadContainer),
        ("POST", [_, "wait"]) => ("/containers/{id}/wait", A::ReadContainer),
        ("POST", [_, "start"]) => ("/containers/{id}/start", A::StartContainer),
        ("POST", [_, "restart"]) => ("/containers/{id}/restart", A::StartContainer),
        ("POST", [_, "stop"]) => ("/containers/{id}/stop", A::ControlContainer),
        ("POST", [_, "kill"]) => ("/containers/{id}/kill", A::ControlContainer),
        ("POST", [_, "pause"]) => ("/containers/{id}/pause", A::ControlContainer),
        ("POST", [_, "unpause"]) => ("/containers/{id}/unpause", A::ControlContainer),
        ("POST", [_, "rename"]) => ("/containers/{id}/rename", A::ControlContainer),
        ("POST", [_, "resize"]) => ("/containers/{id}/resize", A::ControlContainer),
        ("POST", [_, "update"]) => ("/containers/{id}/update", A::UpdateContainer),
        ("POST", [_, "attach"]) => ("/containers/{id}/attach", A::AttachContainer),
        ("GET", [_, "attach", "ws"]) => ("/containers/{id}/attach/ws", A::AttachContainer),
        ("POST", [_, "exec"]) => ("/containers/{id}/exec", A::CreateExec),
        // With two parts it is a link; see `super::admit`.
        ("DELETE", [_] | [_, _]) => ("/containers/{id}", A::RemoveContainer),
        (_, [_, "checkpoints", ..]) => ("/containers/{id}/checkpoints", A::ControlContainer),
        _ => return None,
    })
}

fn exec(method: &str, parts: &[&str]) -> Declared {
    use Action as A;
    Some(match (method, parts) {
        ("POST", [_, "start"]) => ("/exec/{id}/start", A::UseExec),
        ("POST", [_, "resize"]) => ("/exec/{id}/resize", A::UseExec),
        ("GET", [_, "json"]) => ("/exec/{id}/json", A::ReadExec),
        _ => return None,
    })
}

fn image(method: &str, parts: &[&str]) -> Declared {
    use Action as A;
    Some(match (method, parts) {
        ("GET", ["json"]) => ("/images/json", A::ReadImages),
        ("GET", ["search"]) => ("/images/search", A::AskRegistry),
        ("POST", ["create"]) => ("/images/create", A::ChangeImages),
        ("POST", ["load"]) => ("/images/load", A::ChangeImages),
        ("POST", ["prune"]) => ("/images/prune", A::Prune),
        ("GET", ["get"]) => ("/images/get", A::ReadImages),
        ("GET", [.., "get"]) => ("/images/{name}/get", A::ReadImages),
        ("GET", [.., "json"]) => ("/images/{name}/json", A::ReadImages),
        ("GET", [.., "history"]) => ("/images/{name}/history", A::ReadImages),
        ("POST", [.., "tag"]) => ("/images/{name}/tag", A::ChangeImages),
        ("DELETE", _) => ("/images/{name}", A::ChangeImages),
        (_, [.., "push"]) => ("/images/{name}/push", A::ChangeImages),
        _ => return None,
    })
}

fn network(method: &str, parts: &[&str]) -> Declared {
    use Action as A;
    Some(match (method, parts) {
        ("GET", []) => ("/networks", A::ReadNetworks),
        ("GET", [_]) => ("/networks/{id}", A::ReadNetworks),
        ("POST", ["create"]) => ("/networks/create", A::ChangeNetworks),
        ("POST", ["prune"]) => ("/networks/prune", A::Prune),
        ("DELETE", [_]) => ("/networks/{id}", A::ChangeNetworks),
        ("POST", [_, "connect"]) => ("/networks/{id}/connect", A::ChangeNetworks),
        ("POST", [_, "disconnect"]) => ("/networks/{id}/disconnect", A::ChangeNetworks),
        _ => return None,
    })
}

fn volume(method: &str, parts: &[&str]) -> Declared {
    use Action as A;
    Some(match (method, parts) {
        ("GET", []) => ("/volumes", A::ListVolumes),
        ("POST", ["create"]) => ("/volumes/create", A::CreateVolume),
        ("POST", ["prune"]) => ("/volumes/prune", A::Prune),
        ("GET", [_]) => ("/volumes/{name}", A::ReadVolume),
        ("DELETE", [_]) => ("/volumes/{name}", A::RemoveVolume),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: &str = include_str!("../router.rs");

    fn route(line: &str) -> Option<Route> {
        let (method, path) = line.split_once(" /").unwrap();
        let path: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        route_of(&method.parse().unwrap(), &path)
    }

    /// Takes the arms of a table of the router apart: `(Method::GET, [id, "json"])`.
    fn arms(table: &str) -> Vec<(Vec<String>, String)> {
        let arms = table
            .split("=>")
            .filter_map(|text| text.rsplit_once("(Method::"));
        let mut found = Vec::new();
        for (_, pattern) in arms {
            let (methods, parts) = pattern.split_once(',').unwrap();
            let methods = methods.split('|').map(|it| it.replace("Method::", ""));
            let methods = methods.map(|it| it.trim().to_owned()).collect();
            found.push((methods, parts.trim().trim_end_matches(')').to_owned()));
        }
        found
    }

    /// Returns paths that a pattern of the router's matches, without the area.
    fn samples(pattern: &str) -> Vec<String> {
        let pattern = pattern.split_once('@').map_or(pattern, |(before, after)| {
            // `id @ ([_] | [_, _])` is a binding of alternatives, `[name @ .., "get"]` of a rest.
            if before.contains('[') { pattern } else { after }
        });
        let pattern = pattern.trim().trim_matches(['(', ')']);
        if !pattern.starts_with('[') {
            return vec!["a/b".to_owned()];
        }
        let lists = pattern
            .split("] | [")
            .map(|list| list.trim_matches(['[', ']']));
        lists.flat_map(sample).collect()
    }

    fn sample(list: &str) -> Vec<String> {
        let mut paths = vec![String::new()];
        for item in list
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let words: Vec<&str> = item
                .split('|')
                .map(|word| word.trim())
                .map(|word| {
                    word.strip_prefix('"')
                        .and_then(|it| it.strip_suffix('"'))
                        .unwrap_or("x")
                })
                .collect();
            paths = paths
                .iter()
                .flat_map(|path| words.iter().map(move |word| format!("{path}/{word}")))
                .collect();
        }
        paths
    }

    #[test]
    fn every_route_of_the_router_is_declared() {
        let mut seen = 0;
        for (function, area) in [
            ("system_table", ""),
            ("containers_table", "/containers"),
            ("exec_table", "/exec"),
            ("images_table", "/images"),
            ("networks_table", "/networks"),
            ("volumes_table", "/volumes"),
        ] {
            let (_, table) = ROUTER.split_once(&format!("async fn {function}(")).unwrap();
            let table = table.split("\n}\n").next().unwrap();
            for (methods, pattern) in arms(table) {
                for path in samples(&pattern) {
                    for method in &methods {
                        let line = format!("{method} {area}/{}", path.trim_start_matches('/'));
                        assert!(route(&line).is_some(), "{line} is not declared ({pattern})");
                        seen += 1;
                    }
                }
            }
        }
        assert!(
            seen > 50,
            "only {seen} routes found: the router has changed its form"
        );
    }

    #[test]
    fn what_is_not_declared_is_nothing() {
        for line in [
            "GET /",
            "POST /nonsense",
            "PATCH /containers/json",
            "GET /containers/x",
            "POST /containers/x/y",
            "TRACE /_ping",
            "GET /exec",
            "PUT /volumes/x",
            // An encoded slash does not make two parts of one.
            "POST /containers%2Fcreate",
        ] {
            assert_eq!(route(line), None, "{line}");
        }
    }

    #[test]
    fn what_changes_something_is_not_declared_as_reading() {
        for (line, action) in [
            ("POST /containers/create", Action::CreateContainer),
            ("PUT /containers/x/archive", Action::WriteContainerFiles),
            ("POST /containers/x/exec", Action::CreateExec),
            ("POST /exec/x/start", Action::UseExec),
            ("DELETE /images/a/b", Action::ChangeImages),
            ("POST /images/prune", Action::Prune),
            ("POST /build/prune", Action::Prune),
            ("POST /volumes/create", Action::CreateVolume),
        ] {
            assert_eq!(route(line).unwrap().action, action, "{line}");
        }
    }
}
