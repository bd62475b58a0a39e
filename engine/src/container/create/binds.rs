//! Whether the sources of binds are there when a container is made.

use std::path::Path;
use std::time::Duration;

use engine_model::{MountConfig, MountSource};
use tokio::sync::Semaphore;

use crate::error::{OrFail as _, Result, internal, invalid};

/// How long sources of binds may take to be looked at.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How many containers' binds are looked at at once.
const LOOKERS: usize = 8;
static LOOKING: Semaphore = Semaphore::const_new(LOOKERS);

/// Looks whether the sources of binds that are not made where they are missing are there;
/// one that goes away until the start is found missing there. A file system that does
/// not answer holds up whoever asked, and few of them, but nobody else.
///
/// # Errors
/// Invalid, with Docker's sentence, for one that is missing; when none answers in time.
pub(super) async fn check(mounts: &[MountConfig]) -> Result<()> {
    check_within(LOOK_LIMIT, mounts).await
}

async fn check_within(limit: Duration, mounts: &[MountConfig]) -> Result<()> {
    let sources = mounts.iter().filter_map(source_to_be_there);
    let sources: Vec<String> = sources.map(str::to_owned).collect();
    if sources.is_empty() {
        return Ok(());
    }
    let looked = async {
        let place = LOOKING.acquire().await.or_internal()?;
        let look = move || {
            let _place = place;
            sources.iter().try_for_each(|source| check_source(source))
        };
        crate::blocking(look).await
    };
    let late = |_| internal("the sources of binds cannot be looked at: a file system is silent");
    tokio::time::timeout(limit, looked).await.map_err(late)?
}

fn source_to_be_there(mount: &MountConfig) -> Option<&str> {
    match &mount.source {
        MountSource::Bind {
            host_path,
            create: false,
            ..
        } => Some(host_path),
        _ => None,
    }
}

fn check_source(host_path: &str) -> Result<()> {
    match Path::new(host_path).exists() {
        true => Ok(()),
        false => Err(invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {host_path}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use engine_model::Propagation;

    use super::*;

    fn bind(host_path: &str, create: bool) -> MountConfig {
        MountConfig {
            destination: "/y".into(),
            read_only: false,
            source: MountSource::Bind {
                host_path: host_path.into(),
                propagation: Propagation::default(),
                create,
                recursive: true,
            },
        }
    }

    #[tokio::test]
    async fn a_bind_that_is_not_made_has_to_be_there() {
        let missing = check(&[bind("/", false), bind("/no/such/folder", false)]).await;
        let said = missing.unwrap_err().message;
        assert!(said.ends_with("does not exist: /no/such/folder"), "{said}");
        let there = [bind("/no/such/folder", true), bind("/", false)];
        assert!(check(&there).await.is_ok());
    }

    #[tokio::test]
    async fn binds_that_nobody_answers_for_are_given_up() {
        let all = LOOKING.acquire_many(LOOKERS as u32).await.unwrap();
        let bind = bind("/", false);
        let late = check_within(Duration::from_millis(1), &[bind])
            .await
            .unwrap_err();
        assert!(late.message.contains("silent"), "{late:?}");
        drop(all);
    }
}
