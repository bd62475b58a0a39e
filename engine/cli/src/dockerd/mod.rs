//! The program called by the name `dockerd`: it takes Docker's options of a daemon
//! and its `daemon.json`, and becomes our daemon, so that whatever starts a dockerd
//! can start us. Each option is mapped, or the log says that it means nothing here.
//!
//! `options` reads the command line, `file` the file, `translate` makes of both the
//! words and the configuration of `engine daemon`.

mod file;
mod options;
mod pid_file;
mod translate;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use base::PathError;
use base::file::{FileMode, make_directories, replace};
use clap::{CommandFactory as _, FromArgMatches as _};

use options::Options;
use pid_file::PidFile;
use translate::{Translation, translate};

/// The name that the program answers to as Docker's daemon.
const NAME: &str = "dockerd";

/// Why the daemon cannot be started this way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    File(#[from] file::FileError),
    #[error(transparent)]
    Option(#[from] translate::OptionError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Pid(#[from] pid_file::PidFileError),
    #[error("cannot write the configuration")]
    Config(#[from] toml::ser::Error),
}

/// Returns whether the program was called as Docker's daemon.
pub(crate) fn is_meant(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// What `engine` is called with in its place.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) words: Vec<OsString>,
    /// Removed when this is dropped, as the daemon ends.
    _pid_file: Option<PidFile>,
}

/// Reads Docker's command line and file; prints what means nothing here.
///
/// # Errors
/// The exit code, once the error, the help or the file's verdict has been printed.
pub(crate) fn launch(words: impl Iterator<Item = OsString>) -> Result<Launch, ExitCode> {
    let mut command = Options::command();
    let options = command
        .try_get_matches_from_mut(words)
        .and_then(|matches| Options::from_arg_matches(&matches));
    let options = options.map_err(|error| {
        let error = error.format(&mut command);
        // There is nobody left to tell if the terminal is gone.
        drop(error.print());
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
    })?;
    match prepare(&options) {
        Ok(Some(launch)) => Ok(launch),
        Ok(None) => {
            eprintln!("configuration OK");
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{NAME}: {}", base::failure::chain(&error));
            Err(ExitCode::FAILURE)
        }
    }
}

/// Returns `None` where the configuration was only to be looked at.
fn prepare(options: &Options) -> Result<Option<Launch>, LaunchError> {
    let file = file::read(options.config_file.as_deref())?;
    let Translation {
        mut words,
        config,
        root,
        pid_file,
        notes,
    } = translate(options, &file)?;
    if options.validate {
        return Ok(None);
    }
    for note in notes {
        eprintln!("{NAME}: {note}");
    }
    // Not in the run directory, over which the daemon may mount.
    make_directories(&root, 0o711)?;
    let path = root.join("dockerd.toml");
    replace(
        &path,
        toml::to_string(&config)?.as_bytes(),
        FileMode::Private,
    )?;
    words.extend(["--config".into(), path.into_os_string()]);
    let pid_file = pid_file.as_deref().map(PidFile::write).transpose()?;
    Ok(Some(Launch {
        words,
        _pid_file: pid_file,
    }))
}
