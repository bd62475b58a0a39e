//! Networks with IPv6, through the command line: what is given, what clients see,
//! what reaches what, and what comes back.

use std::net::{Ipv6Addr, TcpStream};

use tests::{Installation, words, words_and};

/// Returns the words of what a field of `inspect` holds.
fn shown_words<const N: usize>(host: &Installation, what: &str, format: &str) -> [String; N] {
    let text = shown(host, what, format);
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words.try_into().unwrap_or_else(|_| panic!("{text}"))
}

/// Returns what a field of `inspect` holds.
fn shown(host: &Installation, what: &str, format: &str) -> String {
    let text = host.ok(&words_and(&format!("inspect {what} --format"), format));
    text.trim_end().to_owned()
}

#[test]
fn containers_of_a_network_with_ipv6_have_it_in_all_they_see() {
    let host = Installation::new();
    host.ok(&words("network create --ipv6 six"));
    let pools =
        "{{.EnableIPv4}} {{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{end}}";
    let [four, six, subnet4, _, subnet6, gateway6] = shown_words(&host, "six", pools);
    assert_eq!([four, six], ["true", "true"]);
    assert!(subnet4.starts_with("172.") && subnet6.starts_with("fd"));
    let gateway: Ipv6Addr = gateway6.parse().unwrap();
    host.ok(&words(
        "run -d --name server --network six -p 8080:80 busybox:1 httpd -f -p [::]:80 -h /www",
    ));
    let fields = "{{with .NetworkSettings.Networks.six}}{{.GlobalIPv6Address}} \
                  {{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}}{{end}}";
    let [address, bits, shown_gateway] = shown_words(&host, "server", fields);
    assert_eq!(bits, "64");
    assert_eq!(shown_gateway.parse(), Ok(gateway));
    let members = "{{range .Containers}}{{.IPv6Address}}{{end}}";
    assert_eq!(shown(&host, "six", members), format!("{address}/64"));
    let hosts = host.ok(&words("exec server cat /etc/hosts"));
    assert!(hosts.contains(&format!("\n{address}\t")), "{hosts}");
    let routes = host.ok(&words("exec server ip -6 route"));
    assert!(
        routes.contains(&format!("default via {gateway6}")),
        "{routes}"
    );
    let ports = host.ok(&words("port server"));
    assert_eq!(ports, "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
    let bound = "{{range (index .NetworkSettings.Ports \"80/tcp\")}}{{.HostIp}} {{end}}";
    assert_eq!(shown(&host, "server", bound), "0.0.0.0 ::");
    // By name and by address, and through the host.
    let found = host.ok(&words("run --rm --network six busybox:1 nslookup server"));
    assert!(found.contains(&address), "{found}");
    let get = format!("run --rm --network six busybox:1 wget -q -O - http://[{address}]/");
    host.ok(&words(&get));
    TcpStream::connect((gateway, 8080)).unwrap();
    host.ok(&words("rm -f server"));
    assert!(TcpStream::connect((gateway, 8080)).is_err());
    host.ok(&words("network rm six"));
    host.finish();
}

#[test]
fn addresses_are_those_that_were_asked_for_and_outlive_the_daemons() {
    let host = Installation::new();
    host.ok(&words(
        "network create --ipv6 --subnet fd00:83::/64 --subnet 10.83.0.0/24 --gateway fd00:83::ff --gateway 10.83.0.1 \
         --ip-range fd00:83::a:0/112 --ip-range 10.83.0.128/25 --aux-address printer=10.83.0.9 --aux-address nas=fd00:83::9 six",
    ));
    let pools = "{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}} {{.Gateway}} \
                 {{range $name, $ip := .AuxiliaryAddresses}}{{$name}}={{$ip}}{{end}};{{end}}";
    let expected = "10.83.0.0/24 10.83.0.128/25 10.83.0.1 printer=10.83.0.9;\
                    fd00:83::/64 fd00:83::a:0/112 fd00:83::ff nas=fd00:83::9;";
    assert_eq!(shown(&host, "six", pools), expected);
    host.ok(&words(
        "run -d --name box --network six --ip6 fd00:83::77 --link-local-ip fe80::77 busybox:1 sleep 1000",
    ));
    let addresses = || host.ok(&words("exec box ip -o -6 addr show eth0"));
    let before = addresses();
    assert!(before.contains("fd00:83::77/64"), "{before}");
    assert!(before.contains("fe80::77/64"), "{before}");
    let asked = "{{with .NetworkSettings.Networks.six}}{{.IPAMConfig.IPv6Address}} \
                 {{range .IPAMConfig.LinkLocalIPs}}{{.}}{{end}} {{.GlobalIPv6Address}}{{end}}";
    let expected = "fd00:83::77 fe80::77 fd00:83::77";
    assert_eq!(shown(&host, "box", asked), expected);
    host.kill_9("netd");
    host.kill_9("engine");
    assert_eq!(shown(&host, "box", asked), expected);
    assert_eq!(addresses(), before);
    host.fails(
        125,
        "Address already in use: fd00:83::9",
        &words("run --name late --network six --ip6 fd00:83::9 busybox:1 true"),
    );
    host.ok(&words("network create plain"));
    host.ok(&words("network disconnect six box"));
    assert_eq!(host.ok(&words("exec box ip -6 route")), "");
    host.ok(&words("network connect --ip6 fd00:83::78 six box"));
    assert!(addresses_of(&host, "eth0").contains("fd00:83::78/64"));
    host.fails(
        1,
        "only when connecting to networks with user configured subnets",
        &words("network connect --ip6 fd00::1 plain box"),
    );
    host.ok(&words("rm -f box late"));
    host.finish();
}

fn addresses_of(host: &Installation, interface: &str) -> String {
    host.ok(&words(&format!("exec box ip -o -6 addr show {interface}")))
}

#[test]
fn a_network_may_do_without_ipv4() {
    let host = Installation::new();
    host.ok(&words(
        "network create --ipv4=false --ipv6 --subnet fd00:84::/64 only",
    ));
    assert_eq!(
        host.ok(&words_and(
            "network ls --filter name=only --format",
            "{{.IPv4}} {{.IPv6}}"
        )),
        "false true\n"
    );
    host.ok(&words(
        "run -d --name server --network only -p 8080:80 busybox:1 httpd -f -p [::]:80 -h /www",
    ));
    assert_eq!(host.ok(&words("port server")), "80/tcp -> [::]:8080\n");
    let found = host.ok(&words("run --rm --network only busybox:1 nslookup server"));
    assert!(found.contains("fd00:84::2"), "{found}");
    TcpStream::connect(("fd00:84::1", 8080)).unwrap();
    let fields = "{{with .NetworkSettings.Networks.only}}[{{.IPAddress}}] [{{.Gateway}}] {{.IPv6Gateway}}{{end}}";
    assert_eq!(shown(&host, "server", fields), "[] [] fd00:84::1");
    host.ok(&words("rm -f server"));
    host.finish();
}

#[test]
fn what_makes_no_sense_is_refused_with_dockers_sentences() {
    let host = Installation::new();
    let cases = [
        (
            "--subnet 10.1.0.0/16 --subnet 10.2.0.0/16",
            "doesn't support multiple subnets",
        ),
        (
            "--ipv6 --subnet fd00:1::/64 --subnet fd00:2::/64",
            "doesn't support multiple subnets",
        ),
        (
            "--ipv6 --subnet fd00:1::7/64",
            "invalid subnet fd00:1::7/64: it should be fd00:1::/64",
        ),
        ("--ipv6 --subnet fd00:1::/127", "has no room"),
        (
            "--ipv6 --subnet fd00:1::/64 --gateway fd00:2::1",
            "no matching subnet for gateway",
        ),
        ("--ipv4=false", "IPv4 or IPv6 must be enabled"),
    ];
    for (options, sentence) in cases {
        host.fails(
            1,
            sentence,
            &words(&format!("network create {options} odd")),
        );
    }
    host.finish();
}

#[test]
fn a_subnet_of_a_family_that_is_not_asked_for_is_shown_and_not_used() {
    let host = Installation::new();
    host.ok(&words("network create --subnet fd00:1::/64 plain"));
    let format = "{{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let plain = shown(&host, "plain", format);
    let shown_too = plain.strip_prefix("false 172.");
    assert!(
        shown_too.is_some_and(|rest| rest.ends_with(" fd00:1::/64")),
        "{plain}"
    );
    let refused = "no network of the container that leads out has addresses of that family";
    host.fails(
        125,
        refused,
        &words("run --rm --network plain -p [2001:db8::1]:8080:80 busybox:1 true"),
    );
    // An address in it is taken and left out; any other is refused.
    let run = "run --rm --network plain --ip6 fd00:1::5 busybox:1 ip -6 address show eth0";
    assert_eq!(host.ok(&words(run)), "");
    host.fails(
        1,
        "invalid config for network plain: invalid endpoint settings:\nno configured subnet",
        &words("create --network plain --ip6 fd00:2::5 busybox:1 true"),
    );
    host.ok(&words("network rm plain"));
    // A network that has become another one since does not drop what was asked of it.
    host.ok(&words("network create --ipv6 --subnet fd00:84::/64 lake"));
    host.ok(&words(
        "create --name box --network lake --ip6 fd00:84::5 busybox:1 true",
    ));
    host.ok(&words("network rm lake"));
    host.ok(&words("network create lake"));
    host.fails(
        1,
        "user specified IP address is supported only",
        &words("start box"),
    );
    host.ok(&words("rm box"));
    host.ok(&words("network rm lake"));
    host.finish();
}
