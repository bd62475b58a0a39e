//! `update`: changes limits of a container that runs.
//!
//! The new limits are recorded in its specification, so that the next update
//! knows them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use base::file::{PathContext as _, read_bounded};
use base::lock::FileLock;
use base::size::ByteSize;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxIntelRdt, LinuxMemory, LinuxPids, LinuxResources, Spec,
};

use super::{CommandError, Context, Failure, find};
use crate::resources::{self, rdt};
use crate::spec::{SpecError, parse_resources};
use crate::state::{ContainerDirectory, Status};
use crate::systemd;

const RESOURCES_LIMIT_BYTES: u64 = 16 << 20;
const NO_LIMIT: &str = "-1";

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the limits as JSON, or - for standard input; options for
    /// single limits are then ignored
    #[arg(short, long, allow_hyphen_values = true)]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// Intel RDT/CAT L3 cache schema
    #[arg(long)]
    l3_cache_schema: Option<String>,
    /// Intel RDT/MBA memory bandwidth schema
    #[arg(long)]
    mem_bw_schema: Option<String>,
    /// The container's id
    id: String,
}

/// One option for each limit. Texts, since runc takes an empty one for unset.
#[derive(Debug, Default, clap::Args)]
struct Limits {
    /// Block I/O weight, 10 to 1000
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// CPU period in microseconds
    #[arg(long)]
    cpu_period: Option<String>,
    /// CPU time in microseconds each period, -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// CPU time in microseconds that may be saved up and used at once
    #[arg(long)]
    cpu_burst: Option<String>,
    /// CPU shares, relative to other containers
    #[arg(long)]
    cpu_share: Option<String>,
    /// 1 to run only when nobody else wants to, 0 not to
    #[arg(long)]
    cpu_idle: Option<String>,
    /// Period of realtime scheduling in microseconds
    #[arg(long)]
    cpu_rt_period: Option<String>,
    /// Realtime CPU time in microseconds each period
    #[arg(long, allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// CPUs to use, as a list of ranges
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, as a list of ranges
    #[arg(long)]
    cpuset_mems: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Memory limit, with a unit k, m or g; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory the container keeps when it is short, with a unit
    #[arg(long, allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Limit of memory and swap together, with a unit; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Number of processes, -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

/// Changes the limits. If one cannot be changed, none is.
///
/// # Errors
/// When the container does not exist or does not run, or a limit is refused.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let request = match &args.resources {
        Some(path) => read_resources(path)?,
        None => args.limits.to_resources()?,
    };
    warn_of_ignored(context, &request);
    let (directory, _) = find(context, &args.id)?;
    // Of two updates at once, the second must see what the first has set.
    let _lock = FileLock::acquire(&directory.update_lock())?;
    let mut spec = directory.load_spec()?;
    let schemas = schemas(args, &spec)?;
    change(context, &directory, &mut spec, &request)?;
    for schema in &schemas {
        set_schema(&mut spec, &args.id, schema)?;
    }
    directory.save_spec(&spec)?;
    Ok(ExitCode::SUCCESS)
}

fn change(
    context: &Context<'_>,
    directory: &ContainerDirectory,
    spec: &mut Spec,
    request: &LinuxResources,
) -> Result<(), CommandError> {
    let mut record = directory.load()?;
    if directory.status(&record) == Status::Stopped {
        return Err(CommandError::NotRunning);
    }
    let mut linux = spec.linux().clone().unwrap_or_default();
    let recorded = linux.resources().clone().unwrap_or_default();
    let merged = resources::update::merged(&recorded, request);
    let completed = resources::update::completed(request, &merged);
    let writes = resources::plan_limits(&record.cgroup, &completed)?;
    if resources::widen(&mut record.cgroup, &completed)? {
        directory.save(&record)?;
    }
    let unit = record.cgroup.unit.as_ref();
    // systemd writes to the same files.
    let earlier = resources::earlier(&record.cgroup, &writes);
    if let Some(unit) = unit {
        if let Some(warning) = systemd::contradiction(request) {
            context.log.warn(warning);
        }
        systemd::update(&record.cgroup, unit, &writes)?;
    }
    let mut lost = Vec::new();
    let back = earlier.clone();
    let performed = resources::perform_or_restore(&record.cgroup, &writes, back, &mut lost);
    for error in lost {
        let text = base::failure::chain(&error);
        context.log.warn(&format!("putting a limit back: {text}"));
    }
    if let (Some(unit), true) = (unit, performed.is_err())
        && let Err(error) = systemd::update(&record.cgroup, unit, &earlier)
    {
        let text = base::failure::chain(&error);
        context
            .log
            .warn(&format!("putting a property back: {text}"));
    }
    performed?;
    linux.set_resources(Some(merged));
    spec.set_linux(Some(linux));
    Ok(())
}

fn read_resources(path: &Path) -> Result<LinuxResources, CommandError> {
    let text = match path.to_str() {
        Some("-") => {
            let mut text = Vec::new();
            let mut input = std::io::stdin().lock().take(RESOURCES_LIMIT_BYTES);
            input.read_to_end(&mut text).at("read", path)?;
            text
        }
        _ => read_bounded(path, RESOURCES_LIMIT_BYTES)?,
    };
    parse_resources(&text).map_err(|source| {
        let path = path.to_owned();
        SpecError::Parse { path, source }.into()
    })
}

fn warn_of_ignored(context: &Context<'_>, request: &LinuxResources) {
    let is_given = |memory: &LinuxMemory| memory.kernel().or(memory.kernel_tcp()).is_some();
    if request.memory().as_ref().is_some_and(is_given) {
        context
            .log
            .warn("kernel memory settings are ignored: the kernel has none");
    }
}

impl Limits {
    fn to_resources(&self) -> Result<LinuxResources, CommandError> {
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(size("memory", &self.memory)?)
            .set_swap(size("memory-swap", &self.memory_swap)?)
            .set_reservation(size("memory-reservation", &self.memory_reservation)?)
            .set_kernel(size("kernel-memory", &self.kernel_memory)?)
            .set_kernel_tcp(size("kernel-memory-tcp", &self.kernel_memory_tcp)?);
        let mut cpu = LinuxCpu::default();
        cpu.set_period(number("cpu-period", &self.cpu_period)?)
            .set_quota(number("cpu-quota", &self.cpu_quota)?)
            .set_burst(number("cpu-burst", &self.cpu_burst)?)
            .set_shares(number("cpu-share", &self.cpu_share)?)
            .set_idle(number("cpu-idle", &self.cpu_idle)?)
            .set_realtime_period(number("cpu-rt-period", &self.cpu_rt_period)?)
            .set_realtime_runtime(number("cpu-rt-runtime", &self.cpu_rt_runtime)?)
            .set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone());
        let mut block_io = LinuxBlockIo::default();
        block_io.set_weight(self.blkio_weight);
        let mut pids = LinuxPids::default();
        pids.set_limit(self.pids_limit.unwrap_or_default());
        let mut resources = LinuxResources::default();
        resources
            .set_memory(Some(memory))
            .set_cpu(Some(cpu))
            .set_block_io(Some(block_io))
            .set_pids(Some(pids));
        Ok(resources)
    }
}

/// Reads a number; an empty text means unset.
fn number<T: FromStr>(name: &str, text: &Option<String>) -> Result<Option<T>, CommandError> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(invalid(name, text)),
        },
    }
}

/// Reads a size with an optional unit, or -1 for no limit.
fn size(name: &str, text: &Option<String>) -> Result<Option<i64>, CommandError> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(NO_LIMIT) => Ok(Some(-1)),
        Some(text) => {
            let size = ByteSize::from_str(text).map_err(|_| invalid(name, text))?;
            let size = i64::try_from(size.0).map_err(|_| invalid(name, text))?;
            Ok(Some(size))
        }
    }
}

fn invalid(name: &str, text: &str) -> CommandError {
    CommandError::Usage(format!("invalid value for {name}: {text:?}"))
}

/// A schema to set, and what it is of.
struct Schema<'a> {
    resource: rdt::Resource,
    text: &'a str,
}

/// Returns the schemas to set, once it is certain that there is where.
fn schemas<'a>(args: &'a Args, spec: &Spec) -> Result<Vec<Schema<'a>>, CommandError> {
    let given = [
        (rdt::Resource::L3Cache, &args.l3_cache_schema),
        (rdt::Resource::MemoryBandwidth, &args.mem_bw_schema),
    ];
    let mut schemas = Vec::new();
    for (resource, text) in given {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        rdt::ensure_enabled(Path::new(rdt::ROOT), resource)?;
        schemas.push(Schema { resource, text });
    }
    if !schemas.is_empty() && intel_rdt(spec).is_none() {
        return Err(rdt::RdtError::NoConfiguration.into());
    }
    Ok(schemas)
}

fn intel_rdt(spec: &Spec) -> Option<&LinuxIntelRdt> {
    spec.linux()
        .as_ref()
        .and_then(|linux| linux.intel_rdt().as_ref())
}

fn set_schema(spec: &mut Spec, id: &str, schema: &Schema<'_>) -> Result<(), CommandError> {
    let linux = spec.linux_mut().as_mut();
    let configured = linux.and_then(|linux| linux.intel_rdt_mut().as_mut());
    let Some(configured) = configured else {
        return Err(rdt::RdtError::NoConfiguration.into());
    };
    let named = configured.clos_id().as_deref();
    let class = named.filter(|class| !class.is_empty()).unwrap_or(id);
    let group = rdt::group(Path::new(rdt::ROOT), class)?;
    rdt::set_schema(&group, schema.text)?;
    let text = Some(schema.text.to_owned());
    match schema.resource {
        rdt::Resource::L3Cache => configured.set_l3_cache_schema(text),
        rdt::Resource::MemoryBandwidth => configured.set_mem_bw_schema(text),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_no_limit() {
        let cases = [
            ("50M", Some(50 << 20)),
            ("64k", Some(64 << 10)),
            ("1g", Some(1 << 30)),
            ("4096", Some(4096)),
            ("-1", Some(-1)),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = size("memory", &Some(text.to_owned())).unwrap();
            assert_eq!(found, expected, "{text:?}");
        }
        for bad in ["-2", "x", "1x", "9999999999g"] {
            let error = size("memory", &Some(bad.to_owned())).unwrap_err();
            let text = error.to_string();
            assert_eq!(text, format!("invalid value for memory: {bad:?}"));
        }
    }
}
