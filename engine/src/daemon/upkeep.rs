//! What the daemon does by the clock: giving up on overdue requests, keeping
//! the event log within its limits.

use std::sync::Arc;
use std::time::Duration;

use events::{Class, RetentionPolicy};
use tokio::time::{Instant, interval};

use crate::Engine;
use crate::error::OrFail as _;
use crate::event::TABLES;

/// How often overdue requests are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log is compacted.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
/// Requests and replies older than this are dropped.
const EXCHANGE_AGE: Duration = Duration::from_secs(3600);
/// The log may grow to so many times its limit while a consumer is behind.
const HARD_FACTOR: u64 = 4;
const DAY_SECONDS: u64 = 86_400;

/// Runs until the daemon ends.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut tick = interval(EXPIRY_INTERVAL);
    let mut next_retention = Instant::now() + RETENTION_INTERVAL;
    loop {
        tick.tick().await;
        engine.bus.expire();
        if Instant::now() >= next_retention {
            next_retention = Instant::now() + RETENTION_INTERVAL;
            retain(&engine).await;
        }
    }
}

async fn retain(engine: &Arc<Engine>) {
    let (log, policy) = (engine.bus.log().clone(), policy(engine));
    match crate::blocking(move || log.retain(&policy).or_internal()).await {
        Ok(retained) => tracing::debug!(?retained, "compacted the event log"),
        Err(error) => tracing::warn!(%error, "cannot compact the event log"),
    }
}

fn policy(engine: &Engine) -> RetentionPolicy {
    let limits = &engine.config.events;
    let max_bytes = limits.size_mib.saturating_mul(1 << 20);
    RetentionPolicy {
        max_bytes,
        hard_bytes: max_bytes.saturating_mul(HARD_FACTOR),
        fact_age: Duration::from_secs(u64::from(limits.days) * DAY_SECONDS),
        exchange_age: EXCHANGE_AGE,
        class_of,
    }
}

/// Returns the class of an event type; one nobody describes is kept as a fact.
fn class_of(kind: &str) -> Class {
    TABLES
        .iter()
        .flat_map(|table| table.events)
        .find(|known| known.kind == kind)
        .map_or(Class::Fact, |known| known.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_kept_and_exchanges_are_not() {
        assert_eq!(class_of("network.attach"), Class::Request);
        assert_eq!(class_of("rootfs.mounted"), Class::Reply);
        assert_eq!(class_of("container.exited"), Class::Fact);
        assert_eq!(class_of("request.cancelled"), Class::Request);
        assert_eq!(class_of("something.new"), Class::Fact);
    }
}
