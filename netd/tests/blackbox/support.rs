//! A host of its own for a test: new mount and network namespaces of the test's
//! thread, an "outside" namespace joined by a veth pair, directories, and the
//! real netd in it, asked through the real event log. The machine's interfaces,
//! rules and mounts are never touched.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::id::RunNumber;
use base::{ContainerId, Instance, NetworkId, RunId};
use events::{CallError, Draft, Log, Reader, RequestBody, Requester};
use netd::netlink::route::RouteSocket;
use netd_api::*;
use nix::sched::CloneFlags;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// No step of a test takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The host's address on the wire to the outside, and the outside's.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The address of the second outside.
pub(crate) const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The test's host.
pub(crate) struct Sandbox {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) instance: Instance,
    pub(crate) log: Log,
    requester: Requester,
    reader: Reader,
    netd: Option<Child>,
    /// Reads what netd says; returns whether it was killed at a step.
    output: Option<JoinHandle<bool>>,
    pub(crate) outside: PathBuf,
}

impl Sandbox {
    /// Moves the calling thread into a new host and starts netd there.
    pub(crate) fn new() -> Self {
        let mut sandbox = Self::without_netd();
        sandbox.start(&[]);
        sandbox
    }

    pub(crate) fn without_netd() -> Self {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let instance = Instance::open(&at("root"), &at("run"), None).unwrap();
        let log = Log::open(&instance.events()).unwrap();
        let outside = at("outside");
        wire("wire0", &outside, HOST, OUTSIDE);
        Self {
            requester: Requester::new(log.clone(), "engine"),
            reader: log.read_after(log.last().unwrap()).unwrap(),
            instance,
            log,
            directory,
            netd: None,
            output: None,
            outside,
        }
    }

    /// Starts netd and returns once it has reconciled, or has ended.
    pub(crate) fn start(&mut self, arguments: &[&str]) {
        assert!(self.netd.is_none());
        let mut child = Command::new(env!("CARGO_BIN_EXE_netd"))
            .arg("--root")
            .arg(self.instance.root())
            .arg("--run-dir")
            .arg(self.instance.run())
            .args(["--log-level", "debug"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, reconciled) = sync_channel(1);
        self.output = Some(std::thread::spawn(move || {
            let mut killed = false;
            for line in errors.lines().map_while(Result::ok) {
                eprintln!("netd: {line}");
                if line.contains("reconciled counts") {
                    sender.try_send(()).ok();
                }
                killed |= line.contains("killed at this step");
            }
            killed
        }));
        reconciled.recv_timeout(LIMIT).ok();
        self.netd = Some(child);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.netd.as_ref().unwrap().id()
    }

    /// Stops netd and returns whether it ended well.
    pub(crate) fn stop(&mut self) -> bool {
        self.end(rustix::process::Signal::TERM)
    }

    pub(crate) fn kill(&mut self) {
        self.end(rustix::process::Signal::KILL);
    }

    /// Ends netd, and returns whether it had ended at the step it was to die at.
    pub(crate) fn kill_unless_dead(&mut self) -> bool {
        self.kill();
        let output = self.output.take().expect("netd was started");
        output.join().unwrap()
    }

    fn end(&mut self, signal: rustix::process::Signal) -> bool {
        let Some(mut child) = self.netd.take() else {
            return true;
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).ok();
        child.wait().unwrap().success()
    }

    /// Returns whether netd has ended by itself, and forgets it then.
    pub(crate) fn has_died(&mut self) -> bool {
        let died = self
            .netd
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some());
        if died {
            self.netd = None;
        }
        died
    }

    pub(crate) fn call<B: RequestBody>(
        &mut self,
        subject: &str,
        body: &B,
    ) -> Result<B::Reply, CallError> {
        self.call_within(subject, body, LIMIT)
    }

    /// Asks netd and waits for the answer, or until netd dies.
    pub(crate) fn call_within<B: RequestBody>(
        &mut self,
        subject: &str,
        body: &B,
        limit: Duration,
    ) -> Result<B::Reply, CallError> {
        let (sender, reply) = sync_channel(1);
        let answered = move |result| sender.try_send(result).unwrap();
        let request = self.requester.send(subject, body, limit, answered)?;
        let deadline = Instant::now() + limit;
        loop {
            for record in self.reader.read_batch().unwrap() {
                self.requester.observe(&record);
            }
            if let Ok(result) = reply.try_recv() {
                return result;
            }
            if Instant::now() > deadline || self.has_died() {
                self.requester.cancel(&request).unwrap();
                let kind = B::KIND;
                return Err(CallError::TimedOut { kind, limit });
            }
            self.reader.wait(Duration::from_millis(50)).unwrap();
        }
    }

    pub(crate) fn attach(&mut self, attach: &Attach) -> Attached {
        self.try_attach(attach).unwrap()
    }

    pub(crate) fn try_attach(&mut self, attach: &Attach) -> Result<Attached, CallError> {
        self.call(&attach.run.to_string(), attach)
    }

    pub(crate) fn detach(&mut self, run: &RunId) {
        let body = Detach { run: run.clone() };
        self.call(&run.to_string(), &body).unwrap();
    }

    pub(crate) fn network(&mut self, request: CreateNetwork) -> NetworkConfig {
        self.try_network(request).unwrap()
    }

    pub(crate) fn try_network(
        &mut self,
        request: CreateNetwork,
    ) -> Result<NetworkConfig, CallError> {
        self.call(request.id.as_str(), &request)
    }

    pub(crate) fn remove_network(&mut self, id: &NetworkId) -> Result<NetworkRemoved, CallError> {
        self.call(id.as_str(), &RemoveNetwork { id: id.clone() })
    }

    pub(crate) fn bridge(&self) -> NetworkId {
        self.network_named("bridge").id
    }

    pub(crate) fn network_named(&self, name: &str) -> NetworkConfig {
        self.find_network(name).unwrap()
    }

    /// Returns a network if there is one; a daemon that was killed while it
    /// began has made none.
    pub(crate) fn find_network(&self, name: &str) -> Option<NetworkConfig> {
        let networks = netd_api::query::networks(&self.instance).unwrap();
        networks.into_iter().find(|network| network.name == name)
    }

    /// Says in the log that a run has ended, as its shim does.
    pub(crate) fn exited(&self, run: &RunId) {
        self.exited_at_once(&[run]);
    }

    /// Tells that several have ended, in one write.
    pub(crate) fn exited_at_once(&self, runs: &[&RunId]) {
        let draft = |run: &&RunId| {
            let (subject, nothing) = (run.to_string(), serde_json::json!({}));
            Draft::new("shim", "container.exited", subject, &nothing).unwrap()
        };
        let drafts: Vec<_> = runs.iter().map(draft).collect();
        self.log.append(&drafts).unwrap();
    }

    pub(crate) fn renamed(&self, run: &RunId, name: &str) {
        let payload = Renamed {
            old_name: String::new(),
            name: name.to_owned(),
        };
        let subject = run.container.to_string();
        let draft = Draft::new("engine", CONTAINER_RENAMED, subject, &payload);
        self.log.append(&[draft.unwrap()]).unwrap();
    }

    pub(crate) fn links(&self) -> Vec<String> {
        let links = RouteSocket::open().unwrap().links().unwrap();
        let prefix = self.instance.interface_prefix();
        links
            .into_iter()
            .map(|link| link.name)
            .filter(|name| name.starts_with(&prefix))
            .collect()
    }

    pub(crate) fn namespaces(&self) -> Vec<String> {
        names_in(&self.instance.run().join("netns"))
    }

    pub(crate) fn leases(&self) -> Vec<String> {
        names_in(&self.instance.netd().join("leases"))
    }

    pub(crate) fn intents(&self) -> Vec<String> {
        names_in(&self.instance.netd().join("intents"))
    }

    /// The elements of our table that publish ports.
    pub(crate) fn published(&self) -> usize {
        let mut firewall = netd::firewall::Firewall::open(&self.instance.firewall_table()).unwrap();
        let elements = firewall.elements().unwrap();
        elements
            .iter()
            .filter(|element| element.value.is_some() || element.set.starts_with("open"))
            .count()
    }

    /// Fails unless what is on the host is what `runs` runs and their networks need.
    pub(crate) fn assert_holds(&self, runs: usize, bridges: usize) {
        let state = || {
            format!(
                "{:?} {:?} {:?}",
                self.links(),
                self.namespaces(),
                self.intents()
            )
        };
        let settled = || {
            self.links().len() == runs + bridges
                && self.namespaces().len() == runs
                && self.leases().len() == runs
                && self.intents().is_empty()
        };
        until(
            &format!("{runs} runs and {bridges} bridges, not {}", state()),
            settled,
        );
    }
}

impl Sandbox {
    /// Makes another outside on a wire of its own.
    pub(crate) fn second_outside(&self) -> PathBuf {
        let path = self.directory.path().join("second");
        wire("second", &path, Ipv4Addr::new(198, 51, 100, 1), SECOND);
        path
    }

    /// Empties a chain of our table while netd is away, to show what its rules are
    /// for.
    pub(crate) fn flush(&mut self, chain: &str) {
        self.kill();
        let table = self.instance.firewall_table();
        let flush = ["flush", "chain", "inet", &table, chain];
        assert!(Command::new("nft").args(flush).status().unwrap().success());
    }

    /// The pid of the process that answers names.
    pub(crate) fn dns_process(&self) -> Option<i32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let children = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok());
        let mut all = children.collect::<String>();
        all = all.trim().to_owned();
        all.split_whitespace().next()?.parse().ok()
    }

    /// Gives the test's host another resolv.conf.
    pub(crate) fn resolv_conf(&self, content: &str) {
        let path = self.directory.path().join("resolv.conf");
        base::file::replace(&path, content.as_bytes(), base::file::FileMode::Public).unwrap();
        rustix::mount::mount_bind(&path, "/etc/resolv.conf").unwrap();
    }

    /// Waits until `condition` holds or netd has died.
    pub(crate) fn wait_while_alive(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !self.has_died() && !condition(self) {
            assert!(Instant::now() < deadline, "neither done nor dead");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
        // Mounts of this thread's own namespace, so that the directory can go.
        netd::namespace::release(&self.outside).ok();
        netd::namespace::release(&self.directory.path().join("second")).ok();
        let netns = self.instance.run().join("netns");
        for name in self.namespaces() {
            netd::namespace::release(&netns.join(name)).ok();
        }
        netd::namespace::dissolve(&netns).ok();
        let owners = self.instance.run().join(netd::namespace::OWNERS);
        netd::namespace::dissolve(&owners).ok();
    }
}

/// Makes an outside: a namespace with a wire `name` to the host and a default
/// route through it.
fn wire(name: &str, path: &Path, here: Ipv4Addr, there: Ipv4Addr) {
    let mut host = RouteSocket::open().unwrap();
    host.set_up(1).unwrap();
    let mut outside = netd::namespace::create(path).unwrap();
    let ends = [
        "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
    ];
    let made = Command::new("ip").args(ends).arg(path).status().unwrap();
    assert!(made.success());
    let wire = host.index(name).unwrap();
    host.add_address(wire, format!("{here}/24").parse().unwrap())
        .unwrap();
    host.set_up(wire).unwrap();
    let eth0 = outside.route.index("eth0").unwrap();
    outside
        .route
        .add_address(eth0, format!("{there}/24").parse().unwrap())
        .unwrap();
    outside.route.set_up(eth0).unwrap();
    let way = netd::plan::Way::Router(here.into());
    outside.route.set_default_route(&way).unwrap();
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Runs `ip` in a namespace and returns what it prints.
pub(crate) fn ip(namespace: &Path, arguments: &str) -> String {
    inside(namespace, || {
        let mut command = Command::new("ip");
        let output = command.args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    })
}

/// Runs `work` in the network namespace bound at `path`.
pub(crate) fn inside<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(path).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(rustix::fd::AsFd::as_fd(&file), kind).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A run of a new container.
pub(crate) fn run() -> RunId {
    RunId::new(ContainerId::random(), RunNumber(1))
}

/// A request of a new run on `networks`.
pub(crate) fn attach(networks: &[&NetworkId]) -> Attach {
    let run = run();
    Attach {
        user_namespace: None,
        container_name: format!("c{}", &run.container.short()[..6]),
        hostname: run.container.short().to_owned(),
        run,
        endpoints: networks.iter().map(|id| endpoint(id)).collect(),
        ports: Vec::new(),
        dns: Dns::default(),
    }
}

pub(crate) fn endpoint(network: &NetworkId) -> EndpointRequest {
    EndpointRequest {
        network: network.clone(),
        aliases: Vec::new(),
        ipv4: None,
        ipv6: None,
        link_local: Vec::new(),
        mac: None,
        links: Vec::new(),
        gateway_priority: 0,
        interface: netd_api::InterfaceOptions::default(),
    }
}

pub(crate) fn port(protocol: Protocol, host: u16, container: u16) -> PortRequest {
    PortRequest {
        protocol,
        container_port: container,
        host_ip: None,
        host_ports: Some(HostPorts {
            first: host,
            last: host,
        }),
    }
}

pub(crate) fn network(name: &str) -> CreateNetwork {
    CreateNetwork {
        id: NetworkId::random(),
        name: name.to_owned(),
        driver: NetworkDriver::Bridge,
        ipv4: PoolRequest::default(),
        without_ipv4: false,
        ipv6: None,
        unused: Vec::new(),
        internal: false,
        labels: Default::default(),
        options: Default::default(),
        attachable: false,
        template: None,
        config_from: None,
        ipam_options: Default::default(),
    }
}

pub(crate) fn address(attached: &Attached) -> Ipv4Addr {
    attached.endpoints[0].ipv4.unwrap().addr()
}

/// How long a connection that must not come about is waited for: longer than
/// the first packet is sent again, since a bridge port may not be ready for it.
const REFUSED_AFTER: Duration = Duration::from_millis(1500);

/// A server in a namespace that answers one question of one client over TCP
/// with the address it sees.
pub(crate) struct TcpServer {
    listener: std::net::TcpListener,
}

impl TcpServer {
    pub(crate) fn new(namespace: &Path, port: u16) -> Self {
        inside(namespace, || Self::here(port))
    }

    /// A server that is reached by both families.
    pub(crate) fn of_both(namespace: &Path, port: u16) -> Self {
        inside(namespace, || Self::here_of_both(port))
    }

    /// The same of the test's host.
    pub(crate) fn here_of_both(port: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
        Self { listener }
    }

    /// A server of the test's host.
    pub(crate) fn here(port: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        Self { listener }
    }

    /// Connects from `namespace` to `to`; returns the client's address as the
    /// server sees it, `None` if no connection came about.
    pub(crate) fn reach(&self, namespace: &Path, to: SocketAddr) -> Option<Ipv4Addr> {
        self.reach_any(namespace, to).map(as_ipv4)
    }

    /// The same from the test's host.
    pub(crate) fn reach_from_host(&self, to: SocketAddr) -> Option<Ipv4Addr> {
        reach_tcp(&self.listener, to).map(as_ipv4)
    }

    /// The same in either family.
    pub(crate) fn reach_any(&self, namespace: &Path, to: SocketAddr) -> Option<IpAddr> {
        inside(namespace, || reach_tcp(&self.listener, to))
    }

    pub(crate) fn reach_any_from_host(&self, to: SocketAddr) -> Option<IpAddr> {
        reach_tcp(&self.listener, to)
    }
}

fn as_ipv4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => panic!("{address}"),
    }
}

fn reach_tcp(listener: &std::net::TcpListener, to: SocketAddr) -> Option<IpAddr> {
    let client = std::net::TcpStream::connect_timeout(&to, REFUSED_AFTER).ok()?;
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + LIMIT;
    let seen = loop {
        match listener.accept() {
            Ok((_, seen)) => break seen.ip().to_canonical(),
            Err(_) if Instant::now() < deadline => std::thread::yield_now(),
            // Connected, but to somebody else.
            Err(_) => return None,
        }
    };
    drop(client);
    Some(seen)
}

/// A server in a namespace that sends each datagram back, with the client's
/// address as it sees it.
pub(crate) struct UdpServer {
    socket: std::net::UdpSocket,
}

impl UdpServer {
    pub(crate) fn new(namespace: &Path, port: u16) -> Self {
        let bind = || std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let socket = inside(namespace, bind);
        socket.set_read_timeout(Some(REFUSED_AFTER / 3)).unwrap();
        Self { socket }
    }

    pub(crate) fn reach(&self, namespace: &Path, to: SocketAddr) -> Option<Ipv4Addr> {
        inside(namespace, || self.reach_from_host(to))
    }

    pub(crate) fn reach_from_host(&self, to: SocketAddr) -> Option<Ipv4Addr> {
        let client = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        client.connect(to).unwrap();
        client.set_read_timeout(Some(REFUSED_AFTER)).unwrap();
        // Datagrams of earlier clients may still be under way.
        let token = client.local_addr().unwrap().port().to_be_bytes();
        let mut buffer = [0; 64];
        let mut tries = 0..3;
        let (length, seen) = tries.find_map(|_| {
            client.send(&token).ok()?;
            loop {
                let (length, seen) = self.socket.recv_from(&mut buffer).ok()?;
                if buffer[..length] == token {
                    return Some((length, seen));
                }
            }
        })?;
        self.socket.send_to(&buffer[..length], seen).unwrap();
        let length = client.recv(&mut buffer).ok()?;
        assert_eq!(buffer[..length], token);
        match seen {
            SocketAddr::V4(seen) => Some(*seen.ip()),
            SocketAddr::V6(_) => None,
        }
    }
}
