//! The `runc-rs` binary: parses nothing and decides nothing, both are in the
//! library.

fn main() -> std::process::ExitCode {
    runc_rs::main(std::env::args_os())
}
