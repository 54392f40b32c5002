//! The exit code of each kind of error. The help of the command line and the book list them.

use pib_debian::DebianError;
use pib_disk::{DiskError, FlashError};
use pib_file::LinkError;

use super::error::Error;
use super::error::TargetError;
use crate::bases::BaseError;
use crate::engine::EngineError;
use crate::hooks::HookError;
use crate::source::SourceError;
use crate::source::git::GitError;

impl Error {
    /// Returns the process's exit code; the help of the command line lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { source, .. } if LinkError::of(source).is_some() => 3,
            Self::Untrusted { .. } => 9,
            Self::NoConfig | Self::BrokenTrust { .. } | Self::Recorder(_) => 1,
            Self::Io { .. } | Self::NoCache | Self::ForeignCache { .. } | Self::Unwell(_) => 1,
            Self::Usage { .. } => 2,
            Self::NoProject(_)
            | Self::Manifest(_)
            | Self::Manifests(_)
            | Self::Edit(_)
            | Self::Unreadable { .. }
            | Self::Stage { .. } => 3,
            Self::UserConfig { .. } => 3,
            Self::Assemble(_)
            | Self::Lock(_)
            | Self::Locked(_)
            | Self::BaseMoved { .. }
            | Self::BaseDiffers { .. } => 3,
            Self::Resolve(_) | Self::Unresolved(_) | Self::Order(_) => 4,
            Self::Placed(placed) => placed.what.exit_code(),
            Self::Targets { failed, .. } => targets_code(failed),
            Self::Engine(
                EngineError::BuildFailed { .. }
                | EngineError::Packages { .. }
                | EngineError::BuildRefused { .. },
            ) => 6,
            Self::Recording(error) => error.exit_code(),
            Self::Engine(EngineError::DamagedBase { .. }) => 8,
            // As a shell gives them.
            Self::Engine(EngineError::CannotRun { missing, .. }) => 126 + u8::from(*missing),
            Self::Engine(_) | Self::Binfmt(_) => 5,
            Self::Disk(DiskError::NotEmpty { .. }) => 2,
            Self::Flash { source, .. } if matches!(**source, FlashError::Digest { .. }) => 8,
            Self::Disk(_) | Self::Flash { .. } | Self::Refused { .. } => 7,
            Self::Irreproducible { .. } => 10,
            Self::Inspection(_) | Self::Unbootable { .. } => 7,
            Self::TestsFailed { .. } => 12,
            Self::Emulator(_) => 13,
            Self::BaseNotLocked { .. }
            | Self::BaseOffline
            | Self::EmulatorsOffline
            | Self::Unverified { .. } => 8,
            Self::Source(error) => source_code(error),
            Self::Base(error) => base_code(error),
            Self::Debian(error) => debian_code(error),
            Self::Hook(HookError::Sandbox { .. } | HookError::Unreadable { .. }) => 1,
            Self::Hook(HookError::Stopped { .. }) => 130,
            Self::Hook(_) => 3,
            Self::Interrupted => 130,
        }
    }
}

/// Returns the code that all targets agree on; another failure where they do not.
fn targets_code(failed: &[TargetError]) -> u8 {
    let mut codes = failed.iter().map(|target| target.error.exit_code());
    let first = codes.next().unwrap_or(1);
    if codes.all(|code| code == first) { first } else { 1 }
}

/// Tells what is wrong on this machine from what did not arrive, or not as promised.
fn source_code(error: &SourceError) -> u8 {
    match error {
        SourceError::Io { .. } | SourceError::Git(GitError::Database { .. }) => 1,
        SourceError::VendorInTheWay { .. } => 1,
        SourceError::VendorChanged { .. } | SourceError::VendorNotLocked { .. } => 8,
        SourceError::Git(error) if error.is_content() => 3,
        SourceError::Git(GitError::Interrupted { .. }) => 130,
        SourceError::Git(_) => 8,
        SourceError::Net { .. }
        | SourceError::Objects { .. }
        | SourceError::Slow { .. }
        | SourceError::Offline { .. }
        | SourceError::WrongDigest { .. }
        | SourceError::ChangedSinceLock { .. }
        | SourceError::BadArchive { .. }
        | SourceError::NoArchive { .. }
        | SourceError::Denied { .. }
        | SourceError::DamagedRegistry { .. }
        | SourceError::Registry(_)
        | SourceError::BadRegistry { .. } => 8,
        _ => 3,
    }
}

fn base_code(error: &BaseError) -> u8 {
    match error {
        BaseError::Io { .. } | BaseError::Worker(_) => 1,
        _ => 8,
    }
}

fn debian_code(error: &DebianError) -> u8 {
    match error {
        DebianError::Io { .. } | DebianError::Worker(_) => 1,
        DebianError::UnsupportedOs { .. }
        | DebianError::UnsupportedArch { .. }
        | DebianError::BadRelease { .. }
        | DebianError::BadMirror { .. } => 3,
        _ => 8,
    }
}
