//! What a requester is told of an error: one of few kinds, and the whole chain.

use std::error::Error;
use std::io::{self, ErrorKind};

use base::{Failure, FailureKind};

use crate::rootfs::RootfsError;
use crate::rootfs::apply::OperationError;
use crate::rootfs::parts::PartError;
use crate::rootfs::plan::PlanError;
use crate::volume::VolumeError;
use crate::volume::backing::BackingError;

/// An error that a requester can be told.
pub trait AsFailure: Error + Sized + 'static {
    /// Returns the kind of this error, a full disk left aside.
    fn kind(&self) -> FailureKind;

    /// Returns what the requester is told.
    fn as_failure(&self) -> Failure {
        let kind = match is_exhausted(self) {
            true => FailureKind::Exhausted,
            false => self.kind(),
        };
        Failure::from_error(kind, self)
    }
}

/// Returns a failure that is our own fault.
pub fn internal(message: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Internal, message)
}

fn is_exhausted(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
        if io.is_some_and(|io| full.contains(&io.kind())) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl AsFailure for RootfsError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Bind(_) | Self::Volume { .. } => FailureKind::Invalid,
            Self::Plan(PlanError::MissingLayer(_)) => FailureKind::NotFound,
            Self::Plan(_) => FailureKind::Invalid,
            Self::Apply(error) => error.source.kind(),
            Self::Differs(_) | Self::InUse { .. } => FailureKind::Conflict,
            Self::Release { .. } | Self::Query(_) | Self::File(_) => FailureKind::Internal,
        }
    }
}

impl AsFailure for OperationError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Volume(error) => error.kind(),
            Self::Backing(BackingError::UnknownFileSystem { .. }) => FailureKind::Unsupported,
            Self::Backing(BackingError::Bind { .. } | BackingError::Mount { .. }) => {
                FailureKind::Invalid
            }
            Self::Part(PartError::File(_)) => FailureKind::Internal,
            Self::Part(_) => FailureKind::Invalid,
            Self::Backing(BackingError::Path(_))
            | Self::Holder(_)
            | Self::File(_)
            | Self::Overlay(_)
            | Self::CopyUp(_) => FailureKind::Internal,
        }
    }
}

impl AsFailure for VolumeError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::UnknownDriver(_) | Self::Missing(_) => FailureKind::NotFound,
            Self::Options { source, .. } => source.kind(),
            Self::Differs(_) | Self::InUse { .. } => FailureKind::Conflict,
            Self::File(_) | Self::Query(_) | Self::Json { .. } => FailureKind::Internal,
        }
    }
}

impl AsFailure for crate::volume::driver::DriverError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Quota | Self::HostName(_) | Self::MountOption(_) => FailureKind::Unsupported,
            Self::Unknown(_) | Self::Required(_) | Self::RelativeDevice(_) | Self::Nul(_) => {
                FailureKind::Invalid
            }
        }
    }
}
