//! Measures attach and detach in namespaces of its own: the controller alone,
//! without the event log, with one published port, among more and more
//! containers and then fewer again. Prints medians, and what the steps of an
//! attach take; nothing of the machine's network is touched.
//!
//! `cargo run --release --example attach [containers]`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::Steps;
use base::id::RunNumber;
use base::{ContainerId, Instance, NetworkId, RunId};
use netd::config::NetworkSection;
use netd::controller::Controller;
use netd::dns::Names;
use netd_api::{Attach, Dns, EndpointRequest, HostPorts, PortRequest, Protocol};
use nix::sched::CloneFlags;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

const WARM_UP: usize = 20;
/// At each of the two visits of a number of containers.
const ROUNDS: usize = 50;
/// The kernel takes a namespace apart after the detach; an attach at that time is
/// measured on its own.
const PAUSE: Duration = Duration::from_millis(30);
const FIRST_PORT: u16 = 10_000;
/// A step that is never reached: with one, steps are told to who listens.
const NEVER: &str = "never#1";

/// How long something took, each time.
type Times = Vec<Duration>;

fn main() -> anyhow::Result<()> {
    let most: usize = std::env::args()
        .nth(1)
        .map_or(Ok(500), |text| text.parse())?;
    let clock = Clock::default();
    let listener = tracing_subscriber::registry().with(clock.clone());
    tracing::subscriber::set_global_default(listener)?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let directory = tempfile::tempdir()?;
    let (root, run) = (directory.path().join("root"), directory.path().join("run"));
    std::fs::create_dir(&run)?;
    mount("tmpfs", &run, "tmpfs", MountFlags::empty(), None)?;
    let instance = Instance::open(&root, &run, None)?;
    netd::namespace::prepare(&instance.run().join("netns"))?;
    netd::firewall::base::load(&instance.firewall_table(), "")?;
    let steps = Steps::new("netd", Some(NEVER.parse()?));
    let (section, names) = (NetworkSection::default(), Names::default());
    let controller = Controller::new(instance.clone(), steps, section, names)?;
    controller.reconcile()?;
    let networks = netd_api::query::networks(&instance)?;
    let mut networks = networks.into_iter();
    let bridge = networks.find(|network| network.name == "bridge");
    let mut bench = Bench {
        controller: Arc::new(controller),
        bridge: bridge.context("no default network")?.id,
        clock,
        standing: Vec::new(),
        levels: BTreeMap::new(),
    };
    bench.visit_all(most)?;
    bench.controller.finish();
    print(&bench.levels);
    netd::namespace::dissolve(&instance.run().join("netns"))?;
    unmount(&run, UnmountFlags::DETACH)?;
    Ok(())
}

/// Notes when a step is reached.
#[derive(Clone, Default)]
struct Clock(Arc<Mutex<Vec<(String, Instant)>>>);

impl Clock {
    fn take(&self) -> Vec<(String, Instant)> {
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut reached)
    }
}

struct Name(Option<String>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: tracing::Subscriber> Layer<S> for Clock {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let now = Instant::now();
        let mut name = Name(None);
        event.record(&mut name);
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reached.extend(name.0.map(|name| (name, now)));
    }
}

/// What was measured among a number of containers; steps in the order they come.
#[derive(Default)]
struct Level {
    all: BTreeMap<&'static str, Times>,
    steps: Vec<(String, Times)>,
}

impl Level {
    fn note(&mut self, what: &'static str, start: Instant) {
        self.all.entry(what).or_default().push(start.elapsed());
    }

    fn note_steps(&mut self, start: Instant, reached: Vec<(String, Instant)>) {
        let mut previous = ("ports, lease".to_owned(), start);
        for (name, at) in reached {
            let took = at - previous.1;
            match self.steps.iter_mut().find(|(step, _)| *step == previous.0) {
                Some((_, times)) => times.push(took),
                None => self.steps.push((previous.0, vec![took])),
            }
            previous = (name, at);
        }
    }
}

struct Bench {
    controller: Arc<Controller>,
    bridge: NetworkId,
    clock: Clock,
    standing: Vec<(u16, RunId)>,
    levels: BTreeMap<usize, Level>,
}

impl Bench {
    fn visit_all(&mut self, most: usize) -> anyhow::Result<()> {
        let up = [0, most / 5, most / 2, most];
        self.measure(WARM_UP)?;
        self.levels.clear();
        for level in up.into_iter().chain(up.into_iter().rev()) {
            self.stand(level)?;
            self.measure(ROUNDS)?;
        }
        Ok(())
    }

    /// Brings the number of attached containers to `count`.
    fn stand(&mut self, count: usize) -> anyhow::Result<()> {
        while self.standing.len() < count {
            let port = self
                .standing
                .last()
                .map_or(FIRST_PORT, |(port, _)| port + 1);
            let request = request(&self.bridge, port);
            self.controller.attach(&request)?;
            self.standing.push((port, request.run));
        }
        for (_, run) in self.standing.split_off(count) {
            self.controller.detach(&run)?;
        }
        Ok(())
    }

    fn measure(&mut self, rounds: usize) -> anyhow::Result<()> {
        let level = self.levels.entry(self.standing.len()).or_default();
        for _ in 0..rounds {
            let (first, second) = [1, 2].map(|n| request(&self.bridge, FIRST_PORT - n)).into();
            std::thread::sleep(PAUSE);
            self.clock.take();
            let start = Instant::now();
            self.controller.attach(&first)?;
            level.note("attach", start);
            level.note_steps(start, self.clock.take());
            let start = Instant::now();
            self.controller.release(&first.run)?;
            level.note("release", start);
            let start = Instant::now();
            self.controller.attach(&second)?;
            level.note("attach, one going", start);
            self.controller.detach(&first.run)?;
            let start = Instant::now();
            self.controller.detach(&second.run)?;
            level.note("detach", start);
        }
        Ok(())
    }
}

fn print(levels: &BTreeMap<usize, Level>) {
    let columns: String = levels.keys().map(|count| format!("{count:>16}")).collect();
    println!("{:24}{columns}", "ms, p50 (p90), among");
    let steps = levels.values().next().map(|level| &level.steps);
    let steps = steps.into_iter().flatten().map(|(step, _)| step);
    for what in ["attach", "attach, one going", "release", "detach"] {
        let of = |level: &Level| level.all.get(what).cloned();
        print_row(what, levels.values().map(of));
    }
    for step in steps {
        let of = |level: &Level| {
            let mut steps = level.steps.iter();
            steps
                .find(|(name, _)| name == step)
                .map(|(_, times)| times.clone())
        };
        print_row(&format!("  {step}"), levels.values().map(of));
    }
}

fn print_row(what: &str, levels: impl Iterator<Item = Option<Times>>) {
    let cell = |times: Option<Times>| {
        let mut times = times.unwrap_or_default();
        times.sort();
        let at = |part: usize| {
            times
                .get(times.len() * part / 100)
                .map_or(0.0, milliseconds)
        };
        format!("{:9.2} ({:4.1})", at(50), at(90))
    };
    let cells: String = levels.map(cell).collect();
    println!("{what:24}{cells}");
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn request(network: &NetworkId, port: u16) -> Attach {
    let run = RunId::new(ContainerId::random(), RunNumber(1));
    Attach {
        user_namespace: None,
        container_name: run.container.short().to_owned(),
        hostname: run.container.short().to_owned(),
        run,
        endpoints: vec![EndpointRequest {
            network: network.clone(),
            aliases: Vec::new(),
            ipv4: None,
            ipv6: None,
            link_local: Vec::new(),
            mac: None,
            links: Vec::new(),
            gateway_priority: 0,
            interface: netd_api::InterfaceOptions::default(),
        }],
        ports: vec![PortRequest {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: None,
            host_ports: Some(HostPorts {
                first: port,
                last: port,
            }),
        }],
        dns: Dns::default(),
    }
}
