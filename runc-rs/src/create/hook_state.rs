//! Gives the hooks that libcontainer runs the caller's bundle.
//!
//! libcontainer reads the normalised specification from the record's
//! directory, takes that for the bundle and says so to hooks. Each is therefore
//! run through this program, which corrects the state on its way. poststart and
//! poststop hooks are run by ourselves. startContainer hooks are left as they are: they run inside the container, where this
//! program's file is not theirs to execute.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, HookBuilder, Hooks, Spec};
use rustix::fs::MemfdFlags;

/// The hidden command that this program is called by as a wrapper.
pub const COMMAND: &str = "hook-with-bundle";
const STATE_LIMIT_BYTES: u64 = 1 << 20;

/// Says why a hook could not be run through this program.
#[derive(Debug, thiserror::Error)]
pub enum HookStateError {
    #[error("cannot read the state for hook {0:?}")]
    Read(PathBuf, #[source] io::Error),
    #[error("the state for hook {0:?} is not an object")]
    Parse(PathBuf),
    #[error("cannot pass the state to hook {0:?}")]
    Pass(PathBuf, #[source] io::Error),
    #[error("cannot execute hook {0:?}")]
    Execute(PathBuf, #[source] io::Error),
}

/// Returns `spec` with its hooks wrapped, or as it is without any.
pub(super) fn wrap(mut spec: Spec, bundle: &Path) -> Spec {
    let Some(hooks) = spec.hooks().clone() else {
        return spec;
    };
    let wrapped = |hooks: &Option<Vec<Hook>>| {
        let hooks = hooks.iter().flatten();
        Some(hooks.map(|hook| wrap_one(hook, bundle)).collect::<Vec<_>>())
    };
    let prestart = wrapped(hooks.prestart());
    let mut all = Hooks::default();
    all.set_prestart(prestart);
    all.set_create_runtime(wrapped(hooks.create_runtime()));
    all.set_create_container(wrapped(hooks.create_container()));
    all.set_start_container(hooks.start_container().clone());
    all.set_poststart(hooks.poststart().clone());
    all.set_poststop(hooks.poststop().clone());
    spec.set_hooks(Some(all));
    spec
}

fn wrap_one(hook: &Hook, bundle: &Path) -> Hook {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments = vec![
        "runc-rs".to_owned(),
        COMMAND.to_owned(),
        text(bundle),
        text(hook.path()),
        "--".to_owned(),
    ];
    match hook.args() {
        Some(own) if !own.is_empty() => arguments.extend(own.clone()),
        _ => arguments.push(text(hook.path())),
    }
    let mut wrapper = HookBuilder::default()
        .path("/proc/self/exe")
        .args(arguments);
    if let Some(environment) = hook.env() {
        wrapper = wrapper.env(environment.clone());
    }
    if let Some(seconds) = hook.timeout() {
        wrapper = wrapper.timeout(seconds);
    }
    wrapper.build().expect("path and arguments are set")
}

/// Becomes the hook at `path`, with the state on standard input changed to say
/// `bundle`.
///
/// # Errors
/// When the state is not one or the hook cannot be executed.
pub fn become_hook(
    bundle: &Path,
    path: &Path,
    arguments: &[String],
) -> Result<std::convert::Infallible, HookStateError> {
    let mut text = Vec::new();
    let mut input = io::stdin().lock().take(STATE_LIMIT_BYTES);
    let read = input.read_to_end(&mut text);
    read.map_err(|error| HookStateError::Read(path.to_owned(), error))?;
    let unparsed = || HookStateError::Parse(path.to_owned());
    let mut state: serde_json::Value = serde_json::from_slice(&text).map_err(|_| unparsed())?;
    let fields = state.as_object_mut().ok_or_else(unparsed)?;
    fields.insert("bundle".to_owned(), bundle.to_string_lossy().into());
    pass(&state).map_err(|error| HookStateError::Pass(path.to_owned(), error))?;
    execute(path, arguments).map_err(|error| HookStateError::Execute(path.to_owned(), error))
}

fn pass(state: &serde_json::Value) -> io::Result<()> {
    let mut file = File::from(rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(state.to_string().as_bytes())?;
    file.rewind()?;
    Ok(rustix::stdio::dup2_stdin(&file)?)
}

fn execute(path: &Path, arguments: &[String]) -> io::Result<std::convert::Infallible> {
    let arguments = arguments.iter().map(|text| CString::new(text.as_bytes()));
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let mut environment = Vec::new();
    for (name, value) in std::env::vars() {
        environment.push(CString::new(format!("{name}={value}"))?);
    }
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    Ok(nix::unistd::execve(&path, &arguments, &environment)?)
}
