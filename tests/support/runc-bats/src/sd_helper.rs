//! `sd-helper`: starts or stops a transient slice of systemd, below `--parent`.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::arguments::Arguments;

const MANAGER: [&str; 4] = [
    "call",
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
];

/// # Errors
/// When systemd refuses.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let unit = arguments.word(1)?;
    let mut busctl = Command::new("busctl");
    busctl.args(MANAGER);
    match arguments.word(0)? {
        "start" => {
            busctl.args(["StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace"]);
            match arguments.option("parent") {
                Some(parent) => busctl.args(["1", "Wants", "as", "1", parent, "0"]),
                None => busctl.args(["0", "0"]),
            };
        }
        "stop" => {
            busctl.args(["StopUnit", "ss", unit, "replace"]);
        }
        other => bail!("there is no command {other:?}"),
    }
    let status = busctl.status()?;
    ensure!(status.success(), "busctl ended with {status}");
    Ok(())
}
