//! What a request carries beside its body, and the names of its answers.

use std::time::Duration;

use base::boot::{BootId, BootInstant};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A kind of request: the body is `Self`, each kind is answered by one event
/// of type `REPLY` with a `Reply`, or one of type `FAILED` with a [`base::Failure`].
pub trait RequestBody: Serialize + DeserializeOwned {
    /// The request event's type, `network.attach`.
    const KIND: &'static str;
    /// The type of the reply that grants it, `network.attached`.
    const REPLY: &'static str;
    /// The type of the reply that refuses it, `network.attach_failed`.
    const FAILED: &'static str;
    /// The payload of the granting reply.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// The payload of a request event: who asks until when, and what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request<B> {
    pub requester: Requester,
    pub body: B,
}

/// Who asks: an epoch, a boot, and the moment after which nobody waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub epoch: u64,
    pub boot_id: BootId,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub deadline: BootInstant,
}

impl Requester {
    /// Returns a requester of this boot that waits for `patience`.
    pub fn new(epoch: u64, boot_id: BootId, patience: Duration) -> Self {
        Self {
            epoch,
            boot_id,
            deadline: BootInstant::now().after(patience),
        }
    }

    /// Returns whether somebody of this boot still waits.
    pub fn is_waiting(&self, boot_id: &BootId) -> bool {
        self.boot_id == *boot_id && self.deadline > BootInstant::now()
    }
}

/// The type of the event that withdraws a request; its `request` names it.
pub const CANCELLED: &str = "request.cancelled";
