//! The system, images, volumes, networks and events.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bollard::Docker;
use bollard::models::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateImageOptions, DataUsageOptions, EventsOptions, ListImagesOptions, ListNetworksOptions,
    ListVolumesOptions, PushImageOptions, RemoveImageOptions, RemoveVolumeOptions, TagImageOptions,
    WaitContainerOptions,
};
use serde_json::{from_value, json};

use crate::IMAGE;
use crate::containers::{body, force, named};
use crate::output::{all, say};

fn filters(key: &str, value: &str) -> Option<HashMap<String, Vec<String>>> {
    Some(HashMap::from([(key.to_owned(), vec![value.to_owned()])]))
}

pub(crate) async fn system(docker: &Docker) {
    say("ping", docker.ping().await);
    let version = docker.version().await;
    say("version", version.map(|found| (found.api_version, found.min_api_version, found.os, found.arch)));
    say("client-version", Ok(docker.client_version().to_string()));
    let info = docker.info().await;
    say(
        "info",
        info.map(|found| {
            json!({
                "containers": found.containers, "driver": found.driver, "type": found.os_type,
                "logging": found.logging_driver, "plugins": found.plugins, "cgroups": found.cgroup_driver,
                "runtime": found.default_runtime, "security": found.security_options,
                "live": found.live_restore_enabled, "swarm": found.swarm, "warnings": found.warnings,
            })
        }),
    );
    say("usage", docker.df(None::<DataUsageOptions>).await);
}

pub(crate) async fn images(docker: &Docker) -> Result<()> {
    let pull = |name: &str| CreateImageOptions { from_image: Some(name.to_owned()), ..Default::default() };
    let pulled = all(docker.create_image(Some(pull(IMAGE)), None, None)).await;
    say("pull", pulled.map(|steps| steps.into_iter().filter_map(|step| step.status).next_back()));
    say("pull-missing", all(docker.create_image(Some(pull("localhost:5000/no:1")), None, None)).await);
    say("image", docker.inspect_image(IMAGE).await);
    say("image-missing", docker.inspect_image("nothing:1").await);
    say("image-registry", docker.inspect_registry_image("localhost:5000/library/busybox:latest", None).await);
    let listed = ListImagesOptions { filters: filters("reference", "busy*"), ..Default::default() };
    say("images", docker.list_images(Some(listed)).await);
    let tag = |repo: &str| Some(TagImageOptions { repo: Some(repo.to_owned()), tag: Some("1".to_owned()) });
    say("tag", docker.tag_image(IMAGE, tag("localhost:5000/of-bollard")).await);
    say("tag-missing", docker.tag_image("nothing:1", tag("x")).await);
    let push = PushImageOptions { tag: Some("1".to_owned()), ..Default::default() };
    let pushed = all(docker.push_image("localhost:5000/of-bollard", Some(push), None)).await;
    say("push", pushed.map(|steps| steps.into_iter().filter_map(|step| step.status).next_back()));
    let remove = RemoveImageOptions { force: true, ..Default::default() };
    say("untag", docker.remove_image("localhost:5000/of-bollard:1", Some(remove), None).await);
    let none: Option<RemoveImageOptions> = None;
    say("remove-missing-image", docker.remove_image("nothing:1", none, None).await);
    let saved = all(docker.export_image(IMAGE)).await;
    say("save", saved.map(|chunks| !chunks.concat().is_empty()));
    let history = docker.image_history(IMAGE).await;
    say("history", history.map(|layers| layers.len()));
    Ok(())
}

pub(crate) async fn volumes(docker: &Docker) {
    let config = VolumeCreateRequest {
        name: Some("of-bollard".to_owned()),
        labels: Some(HashMap::from([("l".to_owned(), "1".to_owned())])),
        ..Default::default()
    };
    say("volume-create", docker.create_volume(config).await);
    say("volume-anonymous", docker.create_volume(VolumeCreateRequest::default()).await);
    say("volume", docker.inspect_volume("of-bollard").await);
    say("volume-missing", docker.inspect_volume("nothing").await);
    let listed = ListVolumesOptions { filters: filters("label", "l") };
    say("volumes", docker.list_volumes(Some(listed)).await);
    say("volume-remove", docker.remove_volume("of-bollard", None::<RemoveVolumeOptions>).await);
    say("volume-remove-missing", docker.remove_volume("of-bollard", None::<RemoveVolumeOptions>).await);
    let pruned = docker.prune_volumes(None::<bollard::query_parameters::PruneVolumesOptions>).await;
    say("volumes-prune", pruned);
}

pub(crate) async fn networks(docker: &Docker) -> Result<()> {
    let config: NetworkCreateRequest = from_value(json!({
        "Name": "of-bollard", "Driver": "bridge", "Labels": {"l": "1"},
        "IPAM": {"Config": [{"Subnet": "10.55.0.0/24", "IPRange": "10.55.0.128/25", "Gateway": "10.55.0.1"}]},
    }))?;
    say("network-create", docker.create_network(config.clone()).await);
    say("network-taken", docker.create_network(config).await);
    let bad: NetworkCreateRequest = from_value(json!({
        "Name": "bad", "IPAM": {"Config": [{"Subnet": "nonsense"}]},
    }))?;
    say("network-bad", docker.create_network(bad).await);
    say("network", docker.inspect_network("of-bollard", None).await);
    say("network-missing", docker.inspect_network("nothing", None).await);
    let listed = ListNetworksOptions { filters: filters("label", "l=1") };
    say("networks", docker.list_networks(Some(listed)).await);
    let member = json!({"Image": IMAGE, "Cmd": ["sleep", "1000"]});
    docker.create_container(named("member"), body(member)?).await?;
    docker.start_container("member", None).await?;
    let join = || NetworkConnectRequest { container: "member".to_owned(), ..Default::default() };
    say("network-connect", docker.connect_network("of-bollard", join()).await);
    say("network-connect-again", docker.connect_network("of-bollard", join()).await);
    say("network-connect-missing", docker.connect_network("nothing", join()).await);
    let joined = docker.inspect_container("member", None).await?;
    let settings = joined.network_settings.and_then(|settings| settings.networks);
    say("network-settings", Ok(settings.and_then(|mut all| all.remove("of-bollard"))));
    say("network-remove-used", docker.remove_network("of-bollard").await);
    let leave = || NetworkDisconnectRequest { container: "member".to_owned(), force: Some(false) };
    say("network-disconnect", docker.disconnect_network("of-bollard", leave()).await);
    say("network-disconnect-again", docker.disconnect_network("of-bollard", leave()).await);
    docker.remove_container("member", force()).await?;
    say("network-remove", docker.remove_network("of-bollard").await);
    say("network-remove-missing", docker.remove_network("of-bollard").await);
    let pruned = docker.prune_networks(None::<bollard::query_parameters::PruneNetworksOptions>).await;
    say("networks-prune", pruned);
    Ok(())
}

pub(crate) async fn events(docker: &Docker) -> Result<()> {
    let since = now()?;
    let config = json!({"Image": IMAGE, "Cmd": ["false"], "HostConfig": {"NetworkMode": "none"}});
    docker.create_container(named("eventful"), body(config)?).await?;
    let next = WaitContainerOptions { condition: "next-exit".to_owned() };
    let waited = docker.wait_container("eventful", Some(next));
    let (started, ended) = tokio::join!(docker.start_container("eventful", None), all(waited));
    started?;
    say("wait-failed", ended);
    docker.remove_container("eventful", None).await?;
    let range = |key: &str, value: &str| EventsOptions {
        since: Some(since.clone()),
        until: now().ok(),
        filters: filters(key, value),
    };
    say("events", all(docker.events(Some(range("type", "container")))).await);
    say("events-none", all(docker.events(Some(range("label", "nothing")))).await);
    say("events-bad", all(docker.events(Some(range("type", "nonsense")))).await);
    Ok(())
}

/// Seconds and nanoseconds, as the daemon reads them.
fn now() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(format!("{}.{:09}", now.as_secs(), now.subsec_nanos()))
}
