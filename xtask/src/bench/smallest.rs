//! The smallest limit of memory with which a container starts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Who;
use super::bundle;
use super::runtime::{ID, OUTPUT, bundle_of, process, runtime};

/// What the answer is a multiple of.
const STEP_KIB: u64 = 64;
/// With so many steps everybody starts.
const LARGEST: u64 = 1024;
/// A container that has not enough may begin to wait for it.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns it in KiB.
///
/// # Errors
/// Fails when the runtime does not start with any limit.
pub(super) fn limit(who: Who) -> Result<f64> {
    let (mut fails, mut works) = (0, LARGEST);
    let largest = starts(who, works)?;
    ensure!(largest, "{} does not start with a limit", who.name());
    while works - fails > 1 {
        let middle = (fails + works) / 2;
        match starts(who, middle)? {
            true => works = middle,
            false => fails = middle,
        }
    }
    bundle::set_memory(&bundle_of(who)?, None)?;
    Ok((works * STEP_KIB) as f64)
}

fn starts(who: Who, steps: u64) -> Result<bool> {
    let (bundle, token) = (bundle_of(who)?, bundle::fresh_token()?);
    bundle::set_process(&bundle, &process(&token, "exit 0"))?;
    bundle::set_memory(&bundle, Some(steps * STEP_KIB * 1024))?;
    let run = runtime(who).args(["run", "--bundle"]).arg(bundle).arg(ID);
    let run = run.timeout(LIMIT).timed(Path::new(OUTPUT));
    // One that failed may have left its container.
    runtime(who).args(["delete", "--force", ID]).output()?;
    Ok(run.is_ok_and(|run| run.code == 0 && run.output.contains(&token)))
}
