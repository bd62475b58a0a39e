//! The process: command, environment, user, terminal.

use engine_api::config::ContainerConfig as RequestedConfig;
use engine_api::host_config::HostConfig;
use engine_model::container::{ConsoleSize, ProcessConfig, StdinConfig};

use crate::error::{Result, invalid};

/// Fills in from the image what the request leaves open. A request that sets
/// the entrypoint does not inherit the image's command.
pub(in crate::container) fn complete(config: &mut RequestedConfig, of_image: &RequestedConfig) {
    let is_empty = |list: &Option<engine_api::wire::StringList>| {
        list.as_ref().is_none_or(|list| list.is_empty())
    };
    // One empty word resets the image's.
    let is_reset = config
        .entrypoint
        .as_ref()
        .is_some_and(|list| list.0 == [""]);
    if is_reset {
        config.entrypoint = None;
    } else if config.entrypoint.is_none() {
        if is_empty(&config.cmd) {
            config.cmd = of_image.cmd.clone();
        }
        config.entrypoint = of_image.entrypoint.clone();
    }
    config.env = merged_environment(&of_image.env, &config.env);
    for (field, default) in [
        (&mut config.user, &of_image.user),
        (&mut config.working_dir, &of_image.working_dir),
        (&mut config.stop_signal, &of_image.stop_signal),
    ] {
        if field.is_empty() {
            field.clone_from(default);
        }
    }
    for (key, value) in &of_image.labels {
        config
            .labels
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    for port in of_image.exposed_ports.keys() {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    for volume in of_image.volumes.iter().flat_map(|volumes| volumes.keys()) {
        config
            .volumes
            .get_or_insert_default()
            .entry(volume.clone())
            .or_default();
    }
    super::health::complete(&mut config.healthcheck, of_image.healthcheck.as_ref());
}

/// The request's variables, of two with one name the later, and those of the image's
/// that it has not. A name without a value removes
/// the image's; it stays to be seen, and no process gets it.
fn merged_environment(image: &[String], request: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = Vec::new();
    for entry in request {
        match merged.iter_mut().find(|it| name(it) == name(entry)) {
            Some(earlier) => earlier.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    for entry in image {
        if !merged.iter().any(|it| name(it) == name(entry)) {
            merged.push(entry.clone());
        }
    }
    merged
}

/// What has no value is no variable of the process's.
fn variables(env: &[String]) -> Vec<String> {
    let set = env.iter().filter(|entry| entry.contains('='));
    set.cloned().collect()
}

/// Converts to the model.
///
/// # Errors
/// Invalid when there is no command, or a path is not absolute.
pub(super) fn convert(config: &RequestedConfig, host: &HostConfig) -> Result<ProcessConfig> {
    let words = |list: &Option<engine_api::wire::StringList>| {
        list.iter().flat_map(|list| list.0.clone()).collect()
    };
    let mut arguments: Vec<String> = words(&config.entrypoint);
    // `--entrypoint ""` resets it.
    arguments.retain({
        let only_empty = arguments == [""];
        move |_| !only_empty
    });
    arguments.extend::<Vec<String>>(words(&config.cmd));
    if arguments.is_empty() {
        return Err(invalid("no command specified"));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(bad) = config
        .env
        .iter()
        .find(|entry| entry.starts_with('=') || entry.contains('\0'))
    {
        return Err(invalid(format!("invalid environment variable: {bad}")));
    }
    let stdin = match (config.open_stdin, config.stdin_once) {
        (false, _) => StdinConfig::Closed,
        (true, false) => StdinConfig::Open,
        (true, true) => StdinConfig::Once,
    };
    Ok(ProcessConfig {
        arguments,
        environment: variables(&config.env),
        working_directory: config.working_dir.clone(),
        user: config.user.clone(),
        additional_groups: host.group_add.clone().unwrap_or_default(),
        terminal: config.tty,
        console_size: ConsoleSize::from_api(host.console_size).filter(|_| config.tty),
        stdin,
        init: host.init.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_requests_environment_goes_over_the_images() {
        let image = list(&["PATH=/bin", "A=1", "B=2"]);
        let merged = merged_environment(&image, &list(&["A=8", "B", "C=", "A=9"]));
        assert_eq!(merged, list(&["A=9", "B", "C=", "PATH=/bin"]));
    }

    #[test]
    fn an_empty_entrypoint_takes_nothing_of_the_image() {
        let image = RequestedConfig {
            entrypoint: Some(list(&["init"]).into()),
            cmd: Some(list(&["serve"]).into()),
            ..Default::default()
        };
        let mut config = RequestedConfig {
            entrypoint: Some(list(&[""]).into()),
            ..Default::default()
        };
        complete(&mut config, &image);
        assert_eq!((config.entrypoint, config.cmd), (None, None));
    }

    #[test]
    fn an_empty_entrypoint_resets_it_and_no_command_is_refused() {
        let mut config = RequestedConfig {
            entrypoint: Some(list(&[""]).into()),
            ..Default::default()
        };
        let host = HostConfig::default();
        assert_eq!(
            convert(&config, &host).unwrap_err().message,
            "no command specified"
        );
        config.cmd = Some(list(&["sh", "-c", "id"]).into());
        assert_eq!(
            convert(&config, &host).unwrap().arguments,
            list(&["sh", "-c", "id"])
        );
        config.entrypoint = Some(list(&["env"]).into());
        assert_eq!(
            convert(&config, &host).unwrap().arguments,
            list(&["env", "sh", "-c", "id"])
        );
    }
}
