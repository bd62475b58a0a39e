//! The health check.

use std::time::Duration;

use engine_api::config::Healthcheck;
use engine_model::{ContainerConfig, HealthConfig};

use crate::container::health::RESTART_LABEL;
use crate::error::{Result, invalid};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// Docker refuses shorter durations.
const SHORTEST: Duration = Duration::from_millis(1);

/// Fills in from the image: the whole check where the request has none, else
/// each duration it leaves at zero.
pub(super) fn complete(check: &mut Option<Healthcheck>, of_image: Option<&Healthcheck>) {
    let Some(of_image) = of_image else { return };
    let Some(check) = check else {
        *check = Some(of_image.clone());
        return;
    };
    if check.test.is_empty() {
        check.test.clone_from(&of_image.test);
    }
    for (field, default) in [
        (&mut check.interval, of_image.interval),
        (&mut check.timeout, of_image.timeout),
        (&mut check.start_period, of_image.start_period),
        (&mut check.start_interval, of_image.start_interval),
        (&mut check.retries, of_image.retries),
    ] {
        if *field == 0 {
            *field = default;
        }
    }
}

/// Converts the health check; none, or one that is switched off, is `None`.
///
/// # Errors
/// Invalid for an unknown form or a duration under a millisecond.
pub(super) fn convert(check: Option<&Healthcheck>) -> Result<Option<HealthConfig>> {
    let Some(check) = check else { return Ok(None) };
    let Some((form, words)) = check.test.split_first() else {
        return Ok(None);
    };
    let arguments = match form.as_str() {
        "NONE" => return Ok(None),
        "CMD" => words.to_vec(),
        "CMD-SHELL" => [&["/bin/sh".to_owned(), "-c".to_owned()], words].concat(),
        other => return Err(invalid(format!("Unknown healthcheck type '{other}'"))),
    };
    if words.is_empty() {
        return Err(invalid("the health check has no command"));
    }
    Ok(Some(HealthConfig {
        arguments,
        interval: duration(check.interval, INTERVAL, "Interval")?,
        timeout: duration(check.timeout, TIMEOUT, "Timeout")?,
        start_period: duration(check.start_period, Duration::ZERO, "StartPeriod")?,
        start_interval: duration(check.start_interval, START_INTERVAL, "StartInterval")?,
        retries: match u32::try_from(check.retries) {
            Ok(0) => RETRIES,
            Ok(retries) => retries,
            Err(_) => return Err(invalid("Retries in Healthcheck cannot be negative")),
        },
    }))
}

/// Zero stands for the default.
fn duration(nanoseconds: i64, default: Duration, name: &str) -> Result<Duration> {
    if nanoseconds == 0 {
        return Ok(default);
    }
    let short = || invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
    let duration = Duration::from_nanos(u64::try_from(nanoseconds).map_err(|_| short())?);
    if duration < SHORTEST {
        Err(short())
    } else {
        Ok(duration)
    }
}

/// Refuses a label that would be passed over in silence.
///
/// # Errors
/// Invalid for a value that is neither yes nor no, and where there is no check.
pub(super) fn check_label(config: &ContainerConfig) -> Result<()> {
    match config.labels.get(RESTART_LABEL).map(String::as_str) {
        None | Some("false") => Ok(()),
        Some("true") if config.health.is_some() => Ok(()),
        Some("true") => Err(invalid(format!(
            "label {RESTART_LABEL}: the container has no health check"
        ))),
        Some(other) => Err(invalid(format!(
            "label {RESTART_LABEL} is {other:?}: it can be \"true\" or \"false\""
        ))),
    }
}
