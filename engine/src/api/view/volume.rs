//! Volumes.

use engine_api::volume::Volume;
use volumed_api::VolumeConfig;
use volumed_api::query::data_directory;

use crate::Engine;

/// Returns a volume as lists and inspect show it.
pub(in crate::api) fn volume(engine: &Engine, volume: &VolumeConfig) -> Volume {
    Volume {
        created_at: volume.created.to_string(),
        driver: volume.driver.clone(),
        labels: Some(volume.labels.clone()).filter(|labels| !labels.is_empty()),
        mountpoint: data_directory(&engine.instance, &volume.name)
            .display()
            .to_string(),
        name: volume.name.to_string(),
        options: Some(volume.options.clone()).filter(|options| !options.is_empty()),
        scope: "local".into(),
        ..Volume::default()
    }
}
