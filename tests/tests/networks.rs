//! Networks of containers, through the command line.

use serde_json::Value;
use tests::api::{User, send};
use tests::{Installation, Served, words, words_and};

#[test]
fn a_container_that_runs_joins_networks_and_leaves_them() {
    let host = Installation::new();
    host.ok(&words("network create front"));
    host.ok(&words("network create back"));
    host.ok(&words(
        "run -d --name server --network back busybox:1 httpd -f -p 80 -h /www",
    ));
    host.ok(&words("run -d --name box busybox:1 sleep 1000"));
    let resolver = || host.ok(&words("exec box cat /etc/resolv.conf"));
    let before = resolver();
    host.ok(&words_and(
        "exec box sh -c",
        "echo '192.0.2.1 mine' >>/etc/hosts",
    ));
    host.ok(&words("network connect --alias www --alias w2 back box"));
    host.ok(&words("network connect front box"));
    let ask = words("exec box nslookup server");
    assert!(host.ok(&ask).contains("Address"), "no answer");
    host.ok(&words("exec server nslookup w2"));
    let links = host.ok(&words("exec box ls /sys/class/net"));
    assert_eq!(links, "eth0\neth1\neth2\nlo\n");
    let hosts = host.ok(&words("exec box cat /etc/hosts"));
    assert_eq!(hosts.matches("\n172.").count(), 3, "{hosts}");
    host.fails(
        1,
        "endpoint with name box already exists in network back",
        &words("network connect back box"),
    );
    host.ok(&words("network disconnect back box"));
    host.ok(&words("network disconnect front box"));
    assert_eq!(resolver(), before);
    let hosts = host.ok(&words("exec box cat /etc/hosts"));
    assert_eq!(hosts.matches("\n172.").count(), 1, "{hosts}");
    assert!(hosts.contains("192.0.2.1 mine"), "{hosts}");
    host.fails(
        1,
        "is not connected to network back",
        &words("network disconnect back box"),
    );
    let format = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(
        host.ok(&words_and("inspect box --format", format)),
        "bridge \n"
    );
    host.ok(&words("rm -f box server"));
    host.ok(&words("network rm front back"));
    host.finish();
}

#[test]
fn one_that_does_not_run_finds_its_networks_when_it_starts() {
    let host = Installation::new();
    host.ok(&words("network create --subnet 10.83.0.0/24 front"));
    host.ok(&words("create --name box busybox:1 sleep 1000"));
    host.ok(&words("network connect --ip 10.83.0.77 front box"));
    host.ok(&words("network disconnect bridge box"));
    host.ok(&words("start box"));
    let shown = host.ok(&words("exec box ip -o -4 addr show eth0"));
    assert!(shown.contains("10.83.0.77/24"), "{shown}");
    // Told so again after a restart.
    host.ok(&words("restart -t 0 box"));
    let format = "{{.NetworkSettings.Networks.front.IPAddress}}";
    let shown = host.ok(&words_and("inspect box --format", format));
    assert_eq!(shown, "10.83.0.77\n");
    host.ok(&words("rm -f box"));
    host.ok(&words("create --name alone --network none busybox:1 true"));
    host.fails(
        1,
        "private (none) mode",
        &words("network connect front alone"),
    );
    host.ok(&words("create --name open --network host busybox:1 true"));
    host.fails(
        1,
        "cannot be connected to any other network",
        &words("network connect front open"),
    );
    host.fails(1, "not found", &words("network connect nonsense alone"));
    host.finish();
}

#[test]
fn containers_that_are_linked_know_each_other_by_names_of_their_own() {
    let host = Installation::new();
    host.ok(&words(
        "run -d --name db -e FOO=1 --expose 5432 busybox:1 httpd -f -p 80 -h /www",
    ));
    host.ok(&words(
        "run -d --name web --link db:my-store busybox:1 sleep 1000",
    ));
    let names = words_and("ps --format", "{{.Names}}");
    assert_eq!(host.ok(&names), "web\ndb,web/my-store\n");
    let shown = words_and("inspect web --format", "{{json .HostConfig.Links}}");
    assert_eq!(host.ok(&shown), "[\"/db:/web/my-store\"]\n");
    let environment = host.ok(&words("exec web env"));
    for variable in [
        "MY_STORE_NAME=/web/my-store",
        "MY_STORE_ENV_FOO=1",
        "MY_STORE_PORT_5432_TCP_PORT=5432",
    ] {
        assert!(environment.contains(variable), "{environment}");
    }
    let fetch = words("exec web wget -qO- http://my-store/");
    assert_eq!(host.ok(&fetch), "from the image\n");
    // Where the other has moved to, its names follow.
    host.ok(&words("stop -t 0 db"));
    host.ok(&words("run -d --name other busybox:1 sleep 1000"));
    host.ok(&words("start db"));
    assert_eq!(host.ok(&fetch), "from the image\n");
    host.ok(&words("stop -t 0 db web"));
    host.fails(
        1,
        "Cannot link to a non running container: /db AS /web/my-store",
        &words("start web"),
    );
    host.ok(&words("rm --link web/my-store"));
    host.ok(&words("start web"));
    host.fails(1, "No such container", &words("rm --link web/my-store"));
    host.fails(
        125,
        "could not get container for nobody",
        &words("run --rm --link nobody busybox:1 true"),
    );
    host.finish();
}

#[test]
fn a_link_on_a_users_network_is_a_name_for_one_container_only() {
    let host = Installation::new();
    host.ok(&words("network create front"));
    host.ok(&words(
        "run -d --name db --network front busybox:1 sleep 1000",
    ));
    let ask = "run --rm --network front";
    host.ok(&words(&format!(
        "{ask} --link db:store busybox:1 nslookup store"
    )));
    let stranger = host.engine(&words(&format!("{ask} busybox:1 nslookup store")));
    assert_ne!(stranger.code, 0, "{stranger:?}");
    host.finish();
}

#[test]
fn volumes_come_from_other_containers() {
    let host = Installation::new();
    host.ok(&words_and(
        "run --name first -v data:/data -v /anonymous --tmpfs /mem busybox:1 sh -c",
        "echo kept >/data/file; echo too >/anonymous/file",
    ));
    let read = "cat /data/file /anonymous/file; test ! -e /mem";
    let both = words_and("run --rm --volumes-from first busybox:1 sh -c", read);
    assert_eq!(host.ok(&both), "kept\ntoo\n");
    let written = host.engine(&words(
        "run --rm --volumes-from first:ro busybox:1 touch /data/new",
    ));
    assert!(written.stderr.contains("Read-only"), "{written:?}");
    // What is its own stays its own.
    let own = words("run --rm --volumes-from first -v own:/data busybox:1 ls /data");
    assert_eq!(host.ok(&own), "");
    host.fails(
        125,
        "No such container: nobody",
        &words("run --rm --volumes-from nobody busybox:1 true"),
    );
    host.fails(
        125,
        "invalid mode",
        &words("run --rm --volumes-from first:rx busybox:1 true"),
    );
    host.finish();
}

/// The kinds and actions of the events of a container and of its networks.
fn told(host: &Installation, container: &str) -> Vec<String> {
    let until = base::Timestamp::now().seconds() + 1;
    let line = format!("GET /v1.51/events?since=1&until={until}");
    let socket = host.instance.socket();
    let answer = send(&socket, User::new(tests::ROOT), &line, None);
    let all = serde_json::Deserializer::from_str(&answer.body).into_iter::<Value>();
    let all = all.map(|event| event.expect("events are JSON"));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let shown = all.filter_map(|event| {
        let attributes = &event["Actor"]["Attributes"];
        let of_network = attributes["container"].as_str() == Some(container);
        let is_its = event["Actor"]["ID"].as_str() == Some(container);
        let network = match of_network && text(&event, "Type") == "network" {
            true => format!(" {} {}", text(attributes, "name"), text(attributes, "type")),
            false if is_its => String::new(),
            false => return None,
        };
        let (kind, action) = (text(&event, "Type"), text(&event, "Action"));
        // The signal is told of when it was sent, and the end may be told before.
        if action == "kill" {
            return None;
        }
        Some(format!("{kind} {action}{network}"))
    });
    shown.collect()
}

#[test]
fn events_tell_when_a_run_joins_and_leaves_its_networks() {
    let host = Installation::new();
    host.ok(&words("network create sea"));
    let id = host.ok(&words(
        "run -d --name box --network sea busybox:1 sleep 1000",
    ));
    let id = id.trim();
    host.ok(&words("kill box"));
    host.ok(&words("wait box"));
    let begin = [
        "container create",
        "network connect sea bridge",
        "container start",
    ];
    let end = ["network disconnect sea bridge", "container die"];
    assert_eq!(told(&host, id), [&begin[..], &end[..]].concat());
    host.ok(&words("start box"));
    host.ok(&words("network connect bridge box"));
    host.ok(&words("network disconnect sea box"));
    // Who reads later and from elsewhere is told the same.
    host.kill_9("engine");
    host.ok(&words("kill box"));
    host.ok(&words("wait box"));
    host.ok(&words("rm box"));
    let again = [
        "network connect sea bridge",
        "container start",
        "network connect bridge bridge",
        "network disconnect sea bridge",
        "network disconnect bridge bridge",
        "container die",
        "container destroy",
    ];
    assert_eq!(told(&host, id)[5..], again);
    host.finish();
}

#[test]
fn events_tell_of_the_networks_that_every_installation_has_and_of_starts_that_fail() {
    let host = Installation::new();
    host.ok(&words("network create sea"));
    for (network, kind) in [("none", "null"), ("host", "host")] {
        let line = format!("create --network {network} busybox:1 true");
        let id = host.ok(&words(&line));
        host.ok(&["start", "-a", id.trim()]);
        let expected = [
            format!("network connect {network} {kind}"),
            "container start".to_owned(),
            format!("network disconnect {network} {kind}"),
            "container die".to_owned(),
        ];
        assert_eq!(told(&host, id.trim()).split_off(2), expected);
        host.ok(&["rm", id.trim()]);
    }
    let id = host.ok(&words("create --name bad --network sea busybox:1 /nope"));
    assert_ne!(host.engine(&words("start bad")).code, 0);
    let expected = ["container create", "network disconnect sea bridge"];
    assert_eq!(told(&host, id.trim()), expected);
    host.ok(&words("rm bad"));
    host.finish();
}

#[test]
fn the_default_route_goes_by_priority() {
    let host = Installation::new();
    host.ok(&words("network create --subnet 10.85.0.0/24 aa"));
    host.ok(&words("network create --subnet 10.86.0.0/24 bb"));
    host.ok(&words("network create --subnet 10.87.0.0/24 cc"));
    host.ok(&words(
        "run -d --name box --network aa --network name=bb,gw-priority=1 busybox:1 sleep 1000",
    ));
    let route = || host.ok(&words("exec box ip route show default"));
    assert!(route().contains("10.86.0.1"), "{}", route());
    host.ok(&words("network connect --gw-priority 2 cc box"));
    assert!(route().contains("10.87.0.1"), "{}", route());
    host.ok(&words("restart -t 0 box"));
    assert!(route().contains("10.87.0.1"), "{}", route());
    host.ok(&words("network disconnect cc box"));
    host.ok(&words("network disconnect bb box"));
    assert!(route().contains("10.85.0.1"), "{}", route());
    host.fails(
        125,
        "invalid gw-priority (high)",
        &words("run --rm --network name=aa,gw-priority=high busybox:1 true"),
    );
    host.ok(&words("rm -f box"));
    host.finish();
}

#[test]
fn a_network_is_made_of_options_parents_and_templates() {
    let host = Installation::new();
    host.ok(&words(
        "network create --opt com.docker.network.bridge.enable_icc=false \
         --opt com.docker.network.bridge.name=br-apart --subnet 10.88.0.0/24 apart",
    ));
    host.ok(&words(
        "run -d --name server --network apart -p 18089:80 busybox:1 httpd -f -p 80 -h /www",
    ));
    let fetch = "run --rm --network apart busybox:1 sh -c";
    let published = words_and(fetch, "wget -qO- http://10.88.0.1:18089/");
    assert_eq!(host.ok(&published), "from the image\n");
    let direct = host.engine(&words_and(
        fetch,
        "timeout 2 wget -qO- http://server/; exit $?",
    ));
    assert_ne!(direct.code, 0, "{direct:?}");
    host.ok(&words(
        "network create --driver macvlan --subnet 10.90.0.0/16 --ip-range 10.90.9.0/24 \
         --gateway 10.90.0.1 --opt parent=br-apart lan",
    ));
    let route = host.ok(&words("run --rm --network lan busybox:1 ip route"));
    assert!(route.contains("default via 10.90.0.1"), "{route}");
    host.ok(&words(
        "network create --config-only --subnet 10.89.0.0/24 form",
    ));
    host.ok(&words("network create --config-from form real"));
    let shown = words_and(
        "network inspect real --format",
        "{{.ConfigFrom.Network}} {{range .IPAM.Config}}{{.Subnet}}{{end}}",
    );
    assert_eq!(host.ok(&shown), "form 10.89.0.0/24\n");
    host.fails(1, "is in use", &words("network rm form"));
    host.fails(
        125,
        "cannot create endpoint on configuration-only network",
        &words("run --rm --network form busybox:1 true"),
    );
    host.ok(&words("rm -f server"));
    host.ok(&words("network rm lan real form apart"));
    host.finish();
}

#[test]
fn the_default_network_has_ipv6_where_the_configuration_says_so() {
    let served = Served::new("[network]\ndefault-bridge-ipv6 = true\n");
    let host = &served.host;
    let shown = host.ok(&words("run --rm busybox:1 ip -o -6 addr show eth0"));
    assert!(shown.contains("scope global"), "{shown}");
    let format = words_and("network inspect bridge --format", "{{.EnableIPv6}}");
    assert_eq!(host.ok(&format), "true\n");
    served.finish();
}
