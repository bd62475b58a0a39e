//! `engine-shim <run>/shim/<id>.<run>`: supervises one run of one container.
//!
//! `docker-init -- COMMAND`, a link or mount of it: the init of a container.
//!
//! `engine-shim --compress-log <FROM >TO`: its child, which compresses a log's file.
//!
//! The engine starts the first; it is of no use to people. It writes `ready` to its
//! standard output once its lock is held and its sockets listen.

use std::ffi::OsString;
use std::process::ExitCode;

use engine_shim::init;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(command) = init::command(&arguments) {
        return init::run(command);
    }
    engine_shim::close_inherited();
    if let [_, argument] = &arguments[..]
        && argument == engine_shim::COMPRESS_ARGUMENT
    {
        return told(engine_shim::compress_log());
    }
    let mut arguments = arguments.into_iter().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: engine-shim <directory of the run>");
        return ExitCode::from(2);
    };
    told(engine_shim::run(
        directory.as_ref(),
        std::env::vars_os().collect(),
    ))
}

fn told<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine-shim: {}", base::failure::chain(&error));
            ExitCode::FAILURE
        }
    }
}
