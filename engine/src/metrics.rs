//! What the daemon counts of itself, and the text that Prometheus reads.
//!
//! Labels are of closed sets: routes as they are declared, never paths.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::Position;
use hyper::Method;

use crate::container::lock;

/// Upper ends of the classes of latency, seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5, 10.0];
/// What routes are called that are none.
const OTHER: &str = "other";

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    request: AtomicU64,
    refused: AtomicU64,
    execs: AtomicU64,
    restarts: Mutex<BTreeMap<&'static str, u64>>,
    probes: Mutex<BTreeMap<&'static str, u64>>,
    requests: Mutex<BTreeMap<Answered, u64>>,
    latencies: Mutex<BTreeMap<&'static str, Latency>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Answered {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Latency {
    counts: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Latency {
    fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.seconds += seconds;
        for (count, bound) in self.counts.iter_mut().zip(BOUNDS) {
            *count += u64::from(seconds <= bound);
        }
    }
}

/// How things are at the moment.
#[derive(Debug, Default)]
pub struct Levels {
    /// Containers by state.
    pub containers: BTreeMap<&'static str, usize>,
    pub images: usize,
    pub volumes: usize,
    /// The last record of the event log.
    pub position: Position,
    /// Seconds since 1970.
    pub started: f64,
}

impl Metrics {
    /// Returns a request's number, for logs.
    pub fn next_request(&self) -> u64 {
        self.request.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a request that has been answered; the body may still be coming.
    pub fn observe(
        &self,
        route: Option<&'static str>,
        method: &Method,
        status: u16,
        took: Duration,
    ) {
        let route = route.unwrap_or(OTHER);
        let answered = Answered {
            route,
            method: method_name(method),
            status,
        };
        *lock(&self.requests).entry(answered).or_default() += 1;
        let mut latencies = lock(&self.latencies);
        latencies.entry(route).or_default().add(took.as_secs_f64());
    }

    /// Counts a request that policy, host or origin refused.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an exec that was started.
    pub fn count_exec(&self) {
        self.execs.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a health probe by what it said.
    pub fn count_probe(&self, result: &'static str) {
        *lock(&self.probes).entry(result).or_default() += 1;
    }

    /// Counts a helper that was started again.
    pub fn count_restart(&self, helper: &'static str) {
        *lock(&self.restarts).entry(helper).or_default() += 1;
    }

    /// Returns everything as text, in Prometheus' format.
    pub fn render(&self, levels: &Levels) -> String {
        let mut page = Page(String::new());
        page.gauge(
            "engine_info",
            "Build of the engine",
            [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        );
        page.plain(
            "engine_start_time_seconds",
            "When the daemon started",
            levels.started,
        );
        let containers = levels.containers.iter();
        page.gauge(
            "engine_containers",
            "Containers by state",
            containers.map(|(state, count)| (vec![("state", *state)], *count as f64)),
        );
        page.plain("engine_images", "Images", levels.images as f64);
        page.plain("engine_volumes", "Volumes", levels.volumes as f64);
        let epoch = levels.position.epoch as f64;
        page.plain("engine_events_epoch", "Epoch of the event log", epoch);
        page.plain(
            "engine_events_position",
            "Last record of the event log, in its epoch",
            levels.position.seq as f64,
        );
        self.render_counters(&mut page);
        self.render_requests(&mut page);
        page.0
    }

    fn render_counters(&self, page: &mut Page) {
        let restarts = lock(&self.restarts).clone();
        page.counter(
            "engine_helper_restarts_total",
            "Helpers that ended and were started again",
            restarts
                .iter()
                .map(|(name, count)| (vec![("helper", *name)], *count as f64)),
        );
        let probes = lock(&self.probes).clone();
        page.counter(
            "engine_health_probes_total",
            "Health probes by result",
            probes
                .iter()
                .map(|(result, count)| (vec![("result", *result)], *count as f64)),
        );
        for (name, help, value) in [
            (
                "engine_execs_total",
                "Execs that were started, probes included",
                &self.execs,
            ),
            (
                "engine_api_refused_total",
                "Requests that policy, host or origin refused",
                &self.refused,
            ),
        ] {
            let value = value.load(Ordering::Relaxed) as f64;
            page.counter(name, help, [(Vec::new(), value)]);
        }
    }

    fn render_requests(&self, page: &mut Page) {
        let requests = lock(&self.requests).clone();
        let name = "engine_api_requests_total";
        page.head(name, "Requests by route, method and status", "counter");
        for (answered, count) in &requests {
            let status = answered.status.to_string();
            let labels = [
                ("route", answered.route),
                ("method", answered.method),
                ("status", status.as_str()),
            ];
            page.line(name, &labels, *count as f64);
        }
        let latencies = lock(&self.latencies).clone();
        let name = "engine_api_request_seconds";
        page.head(name, "Time until requests were answered", "histogram");
        for (route, latency) in &latencies {
            let bucket = format!("{name}_bucket");
            for (bound, count) in BOUNDS.iter().zip(latency.counts) {
                let bound = bound.to_string();
                page.line(&bucket, &[("route", route), ("le", &bound)], count as f64);
            }
            page.line(
                &bucket,
                &[("route", route), ("le", "+Inf")],
                latency.count as f64,
            );
            page.line(&format!("{name}_sum"), &[("route", route)], latency.seconds);
            page.line(
                &format!("{name}_count"),
                &[("route", route)],
                latency.count as f64,
            );
        }
    }
}

/// Only the methods that routes have are told apart: a client could make up any number.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => OTHER,
    }
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// The text as it is written.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}")
            .expect("writing to a string cannot fail");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        writeln!(self.0, "{name}{labels} {value}").expect("writing to a string cannot fail");
    }

    fn plain(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, [(Vec::new(), value)]);
    }

    fn gauge<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        self.head(name, help, "gauge");
        for (labels, value) in values {
            self.line(name, &labels, value);
        }
    }

    fn counter<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        self.head(name, help, "counter");
        for (labels, value) in values {
            self.line(name, &labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(7);
        metrics.observe(Some("/info"), &Method::GET, 200, took);
        metrics.observe(Some("/info"), &Method::GET, 200, took);
        metrics.observe(None, &"MADEUP".parse().unwrap(), 404, took);
        metrics.count_restart("netd");
        metrics.count_probe("healthy");
        metrics.count_exec();
        let levels = Levels {
            containers: [("running", 2)].into(),
            position: Position { epoch: 1, seq: 17 },
            ..Levels::default()
        };
        let text = metrics.render(&levels);
        for line in [
            "engine_containers{state=\"running\"} 2",
            "engine_events_position 17",
            "engine_helper_restarts_total{helper=\"netd\"} 1",
            "engine_health_probes_total{result=\"healthy\"} 1",
            "engine_execs_total 1",
            "engine_api_requests_total{route=\"/info\",method=\"GET\",status=\"200\"} 2",
            "engine_api_requests_total{route=\"other\",method=\"other\",status=\"404\"} 1",
            "engine_api_request_seconds_bucket{route=\"/info\",le=\"0.005\"} 0",
            "engine_api_request_seconds_bucket{route=\"/info\",le=\"0.01\"} 2",
            "engine_api_request_seconds_bucket{route=\"/info\",le=\"+Inf\"} 2",
            "engine_api_request_seconds_count{route=\"/info\"} 2",
            "# TYPE engine_api_request_seconds histogram",
        ] {
            assert!(
                text.lines().any(|it| it == line),
                "{line} is not in\n{text}"
            );
        }
        let is_told = |line: &str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let base = name.trim_end_matches("_bucket").trim_end_matches("_sum");
            let base = base.trim_end_matches("_count");
            line.starts_with('#') || text.contains(&format!("# TYPE {base} "))
        };
        assert!(text.lines().all(is_told), "{text}");
    }
}
