//! `engine-shim <run>/shim/<id>.<run>`: supervises one run of one container.
//!
//! The engine starts it; it is of no use to people. It writes `ready` to its
//! standard output once its lock is held and its sockets listen.
use std::process::ExitCode;

fn main() -> ExitCode {
    engine_shim::close_inherited();
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: engine-shim <directory of the run>");
        return ExitCode::from(2);
    };
    match engine_shim::run(directory.as_ref(), std::env::vars_os().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine-shim: {}", base::failure::chain(&error));
            ExitCode::FAILURE
        }
    }
}
