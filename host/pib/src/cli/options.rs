//! Options that several commands have.

use clap::Args;

use pib_event::ReporterExt as _;

use super::completer;
use crate::ops::{Error, LockMode, Session};

/// How the lock is treated, and whether the network may be used.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// Fail if pib.lock would change
    #[arg(long)]
    locked: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
    /// Both --locked and --offline
    #[arg(long)]
    frozen: bool,
}

impl LockArgs {
    pub(super) fn mode(&self) -> LockMode {
        LockMode { locked: self.locked || self.frozen, offline: self.offline || self.frozen }
    }
}

/// Fails where the lock does not hold some of the bases, for these reasons. The user who asked for no network only hears of it.
pub(super) fn report_missing_bases(
    session: &Session,
    reasons: Vec<String>,
    offline: bool,
) -> Result<(), Error> {
    match reasons.is_empty() || offline {
        true => {
            reasons.into_iter().for_each(|reason| session.reporter.note(reason));
            Ok(())
        }
        false => Err(Error::BaseNotLocked { reasons }),
    }
}

/// Which of the project's variants is meant.
#[derive(Debug, Args)]
pub(super) struct TargetArg {
    /// Take this target of the project instead of the project itself
    #[arg(long, value_name = "NAME", add = completer::target())]
    target: Option<String>,
}

impl TargetArg {
    /// Returns the session for the target.
    pub(super) fn session(&self, session: &Session) -> Session {
        session.for_target(self.target.as_deref())
    }
}
