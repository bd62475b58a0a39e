//! Names: of containers on user networks, of everybody else through the host's
//! name servers, and the process that answers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use netd::dns::message::{self, TYPE_A};
use netd::resolver::EMBEDDED;
use netd_api::{Attached, Connect, CreateNetwork};

use crate::support::*;

/// Looks `name` up with busybox in a container; returns what it prints.
fn nslookup(from: &Attached, name: &str) -> String {
    let server = from.resolver.servers[0].to_string();
    let output = inside(&from.namespace, || {
        Command::new("busybox")
            .args(["nslookup", name, &server])
            .output()
            .unwrap()
    });
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns whether `name` has the address, after a while.
fn resolves(from: &Attached, name: &str, address: Ipv4Addr) {
    let expected = format!("Address: {address}\n");
    until(&format!("{name} is {address}"), || {
        nslookup(from, name).contains(&expected)
    });
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// Sends `query` over UDP; returns the answer.
fn ask(namespace: &Path, server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    ask_within(Duration::from_secs(2), namespace, server, query)
}

fn ask_within(
    limit: Duration,
    namespace: &Path,
    server: SocketAddr,
    query: &[u8],
) -> Option<Vec<u8>> {
    inside(namespace, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(limit)).unwrap();
        socket.connect(server).unwrap();
        let mut buffer = [0; 1024];
        socket.send(query).ok()?;
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    })
}

fn ask_tcp(namespace: &Path, server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    inside(namespace, || {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, query].concat()).ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).ok()?;
        Some(answer)
    })
}

fn server_of(attached: &Attached) -> SocketAddr {
    (attached.resolver.servers[0], 53).into()
}

/// The last four bytes: the address of an answer with one.
fn last_address(answer: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from(*answer.last_chunk::<4>().unwrap())
}

#[test]
fn containers_of_a_network_find_each_other_by_name() {
    let mut host = Sandbox::new();
    let (mine, other) = (
        host.network(network("mine")),
        host.network(network("other")),
    );
    let mut web = attach(&[&mine.id]);
    web.container_name = "web".to_owned();
    web.endpoints[0].aliases = vec!["www".to_owned()];
    let web_at = host.attach(&web);
    assert_eq!(web_at.endpoints[0].dns_names[..2], ["web", "www"]);
    let client = host.attach(&attach(&[&mine.id]));
    assert_eq!(client.resolver.servers, [std::net::IpAddr::V4(EMBEDDED)]);
    assert_eq!(client.resolver.options, ["ndots:0"]);
    resolves(&client, "web", address(&web_at));
    for name in ["www", "WEB", "web.mine", web.run.container.short()] {
        assert!(
            nslookup(&client, name).contains(&format!("Address: {}\n", address(&web_at))),
            "{name}"
        );
    }
    let pointer = nslookup(&client, &address(&web_at).to_string());
    assert!(pointer.contains("name = web.mine"), "{pointer}");
    let stranger = host.attach(&attach(&[&other.id]));
    assert!(!nslookup(&stranger, "web").contains(&address(&web_at).to_string()));
    let answer = ask_tcp(
        &client.namespace,
        server_of(&client),
        &question("web", TYPE_A),
    )
    .unwrap();
    assert_eq!(last_address(&answer), address(&web_at), "over TCP");
    host.exited(&web.run);
    until("the name is gone", || {
        !nslookup(&client, "web").contains(&address(&web_at).to_string())
    });
}

#[test]
fn names_follow_a_container_that_is_called_otherwise() {
    let mut host = Sandbox::new();
    let mine = host.network(network("mine"));
    let mut web = attach(&[&mine.id]);
    web.container_name = "web".to_owned();
    let web_at = host.attach(&web);
    let client = host.attach(&attach(&[&mine.id]));
    resolves(&client, "web", address(&web_at));
    host.renamed(&web.run, "shop");
    resolves(&client, "shop", address(&web_at));
    let expected = format!("Address: {}\n", address(&web_at));
    assert!(
        !nslookup(&client, "web").contains(&expected),
        "the old name"
    );
    let short = web.run.container.short();
    assert!(nslookup(&client, short).contains(&expected), "its id");
    host.kill();
    host.start(&[]);
    resolves(&client, "shop", address(&web_at));
    // What is told while nobody listens is learnt afterwards.
    host.kill();
    host.renamed(&web.run, "store");
    host.start(&[]);
    resolves(&client, "store", address(&web_at));
    host.renamed(&run(), "nobody");
    host.detach(&web.run);
    assert_eq!(host.leases().len(), 1, "the client's alone");
}

/// A name server in a namespace: answers every A question with `address`.
fn name_server(namespace: &Path, at: Ipv4Addr, address: Ipv4Addr) {
    let (udp, tcp) = inside(namespace, || {
        let tcp = std::net::TcpListener::bind((at, 53)).unwrap();
        (UdpSocket::bind((at, 53)).unwrap(), tcp)
    });
    let answer = move |query: &[u8]| {
        let question = message::parse(query).unwrap();
        message::addresses(query, &question, &[address.into()], 60)
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            // What is forged comes first and must be ignored.
            let mut forged = answer(&buffer[..length]);
            message::set_id(&mut forged, u16::from_be_bytes([buffer[0], buffer[1]]) ^ 1);
            udp.send_to(&forged, client).unwrap();
            udp.send_to(&answer(&buffer[..length]), client).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let answer = answer(&query);
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &answer].concat()).unwrap();
        }
    });
}

#[test]
fn other_names_are_asked_of_the_hosts_name_servers() {
    let mut host = Sandbox::without_netd();
    // The first server does not answer: nobody listens there.
    host.resolv_conf(&format!("nameserver {HOST}\nnameserver {OUTSIDE}\n"));
    let known = Ipv4Addr::new(192, 0, 2, 80);
    name_server(&host.outside, OUTSIDE, known);
    host.start(&[]);
    let mine = host.network(network("mine"));
    let client = host.attach(&attach(&[&mine.id]));
    let mut answer = None;
    let asked = question("example.com", TYPE_A);
    for _ in 0..20 {
        answer = answer.or_else(|| ask(&client.namespace, server_of(&client), &asked));
    }
    let answer = answer.unwrap();
    assert_eq!(
        (last_address(&answer), &answer[..2]),
        (known, &[0x12, 0x34][..])
    );
    let answer = ask_tcp(&client.namespace, server_of(&client), &asked).unwrap();
    assert_eq!(
        (last_address(&answer), &answer[..2]),
        (known, &[0x12, 0x34][..])
    );
    let inner = host.network(CreateNetwork {
        internal: true,
        ..network("inner")
    });
    let hidden = host.attach(&attach(&[&inner.id]));
    until("refused", || {
        ask(&hidden.namespace, server_of(&hidden), &asked)
            .is_some_and(|answer| answer[3] & 0xf == 5)
    });
    let mut own = attach(&[&mine.id]);
    own.dns.servers = vec!["203.0.113.77".parse().unwrap()];
    let own = host.attach(&own);
    let answer = ask(&own.namespace, server_of(&own), &asked);
    assert_ne!(
        answer.map(|answer| last_address(&answer)),
        Some(known),
        "asks its own server"
    );
}

#[test]
fn where_the_host_has_only_loopback_name_servers_the_dns_process_forwards() {
    let mut host = Sandbox::without_netd();
    host.resolv_conf("nameserver 127.0.0.53\n");
    let here = Ipv4Addr::new(127, 0, 0, 53);
    let known = Ipv4Addr::new(192, 0, 2, 81);
    name_server(Path::new("/proc/thread-self/ns/net"), here, known);
    host.start(&[]);
    let bridge = host.bridge();
    let client = host.attach(&attach(&[&bridge]));
    assert_eq!(client.resolver.servers, [std::net::IpAddr::V4(EMBEDDED)]);
    resolves(&client, "example.com", known);
    // The forwarder names no containers on the default network.
    assert_eq!(client.endpoints[0].dns_names, [] as [String; 0]);
}

#[test]
fn the_dns_process_has_no_privilege_and_comes_back() {
    let mut host = Sandbox::new();
    let mine = host.network(network("mine"));
    let mut web = attach(&[&mine.id]);
    web.container_name = "web".to_owned();
    let web = host.attach(&web);
    resolves(&web, "web", address(&web));
    let child = host.dns_process().unwrap();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{child}/{file}")).unwrap();
    let status = read("status");
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "Groups:\t \n",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let root = std::fs::read_dir(format!("/proc/{child}/root")).unwrap();
    assert_eq!(root.count(), 0, "an empty root");
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("another child", || {
        host.dns_process().is_some_and(|other| other != child)
    });
    resolves(&web, "web", address(&web));
    host.kill();
    host.start(&[]);
    resolves(&web, "web", address(&web));
}

#[test]
fn malformed_messages_do_not_stop_the_answers() {
    let mut host = Sandbox::new();
    let mine = host.network(network("mine"));
    let mut web = attach(&[&mine.id]);
    web.container_name = "web".to_owned();
    let web = host.attach(&web);
    resolves(&web, "web", address(&web));
    let child = host.dns_process();
    let whole = question("web", TYPE_A);
    inside(&web.namespace, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(server_of(&web)).unwrap();
        for at in 0..whole.len() {
            socket.send(&whole[..at]).unwrap();
            let mut message = whole.clone();
            message[at] ^= 0xff;
            socket.send(&message).unwrap();
        }
        // Connections that say nothing, more than one client may have.
        let silent: Vec<_> = (0..20)
            .filter_map(|_| TcpStream::connect(server_of(&web)).ok())
            .collect();
        assert!(silent.len() > 8);
    });
    resolves(&web, "web", address(&web));
    assert_eq!(host.dns_process(), child, "still the same process");
}

#[test]
fn a_container_may_listen_on_port_53_itself() {
    let mut host = Sandbox::new();
    let mine = host.network(network("mine"));
    let mut web = attach(&[&mine.id]);
    web.container_name = "web".to_owned();
    let web = host.attach(&web);
    let known = Ipv4Addr::new(192, 0, 2, 53);
    name_server(&web.namespace, Ipv4Addr::UNSPECIFIED, known);
    resolves(&web, "web", address(&web));
    let own = SocketAddr::from((address(&web), 53));
    let answer = ask(&web.namespace, own, &question("web", TYPE_A)).unwrap();
    assert_eq!(last_address(&answer), known, "its own server");
}

#[test]
fn answers_come_back_within_a_second_of_the_daemon() {
    let mut host = Sandbox::new();
    let mine = host.network(network("mine"));
    let clients: Vec<_> = (0..20).map(|_| host.attach(&attach(&[&mine.id]))).collect();
    let name = clients[0].endpoints[0].dns_names[0].clone();
    let asked = question(&name, TYPE_A);
    // One that keeps its socket, as some resolvers do.
    let kept = inside(&clients[0].namespace, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(server_of(&clients[0])).unwrap();
        socket
    });
    kept.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut buffer = [0; 512];
    kept.send(&asked).unwrap();
    kept.recv(&mut buffer).unwrap();
    host.kill();
    host.start(&[]);
    let begun = std::time::Instant::now();
    for client in &clients {
        until("an answer", || {
            let limit = Duration::from_millis(50);
            ask_within(limit, &client.namespace, server_of(client), &asked).is_some()
        });
    }
    until("an answer to who keeps its socket", || {
        kept.send(&asked).is_ok() && kept.recv(&mut [0; 512]).is_ok()
    });
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_container_that_joins_a_users_network_asks_from_then_on() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mine = host.network(network("mine"));
    let mut web = attach(&[&mine.id]);
    web.container_name = "web".to_owned();
    let web = host.attach(&web);
    let request = attach(&[&bridge]);
    let before = host.attach(&request);
    assert_ne!(before.resolver.servers, [std::net::IpAddr::V4(EMBEDDED)]);
    let body = Connect {
        run: request.run.clone(),
        endpoint: endpoint(&mine.id),
    };
    let joined = host.call(&request.run.to_string(), &body).unwrap().attached;
    assert!(nslookup(&joined, "web").contains(&format!("Address: {}\n", address(&web))));
}
