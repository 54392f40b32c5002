//! What can be wrong with what parts fetch, and with the stores that have it.

use miette::Diagnostic;
use thiserror::Error;

/// What is wrong with a recording, or with a build by it.
#[derive(Debug, Error, Diagnostic)]
pub enum RecordingError {
    /// The recording that the lock names is not there.
    #[error("pib.lock names a recording of what parts fetch, and the project has no pib.fetch.lock")]
    #[diagnostic(code(pib::recording::absent))]
    #[diagnostic(help(
        "Get the file back from version control, where it belongs beside pib.lock, or begin a new snapshot with \
         `pib update --packages`."
    ))]
    Absent,
    /// The recording is not the one that the lock names.
    #[error("pib.fetch.lock is not the recording that pib.lock names")]
    #[diagnostic(code(pib::recording::foreign))]
    #[diagnostic(help(
        "The two files belong together. Take both of one commit from version control, or begin a new snapshot with \
         `pib update --packages`."
    ))]
    Foreign,
    /// The lock is missing to which the recording belongs.
    #[error("the project has pib.fetch.lock, and not the pib.lock that it belongs to")]
    #[diagnostic(code(pib::recording::lock_lost))]
    #[diagnostic(help(
        "Get pib.lock back from version control, or begin a new snapshot, which takes the packages of today, with \
         `pib update --packages`."
    ))]
    LockLost,
    /// The lock does not name the recording that is there.
    #[error("the project has pib.fetch.lock, and pib.lock does not name it")]
    #[diagnostic(code(pib::recording::unnamed))]
    #[diagnostic(help(
        "The two files belong together. Take both of one commit from version control, or begin a new snapshot with \
         `pib update --packages`."
    ))]
    Unnamed,
    /// The engine cannot carry what parts fetch to pib.
    #[error("pib cannot record what parts fetch: {why}")]
    #[diagnostic(code(pib::recording::impossible))]
    #[diagnostic(help(
        "Build with Docker and BuildKit on a machine of pib's own kind, run pib on the machine of the engine, or leave \
         `network = \"recorded\"` out of [build] in pib.toml."
    ))]
    Impossible {
        /// Why not.
        why: String,
    },
    /// The containers of an engine without BuildKit do not reach pib.
    #[error("parts do not reach pib, which records what they fetch: {engine} leads them to none of {places}")]
    #[diagnostic(code(pib::recording::unreachable))]
    #[diagnostic(help(
        "A firewall may forbid it: let containers reach this machine, for instance with `sudo ufw allow in on docker0`. Or build \
         with Docker and BuildKit, which needs no such way."
    ))]
    Unreachable {
        /// What to call the engine.
        engine: String,
        /// The addresses that were tried.
        places: String,
    },
    /// A build that is to record everything does not, or might not.
    #[error("not everything that parts fetch is recorded: {}", beginning(.why))]
    #[diagnostic(code(pib::recording::bypassed))]
    #[diagnostic(help("Change what is named, or build without --strict."))]
    Bypassed {
        /// What is against it, a sentence each.
        why: Vec<String>,
    },
    /// A build may record nothing, and nothing is recorded.
    #[error("pib.lock names no recording of what parts fetch, and this build may not make one")]
    #[diagnostic(code(pib::recording::empty))]
    #[diagnostic(help(
        "Build once without --locked, --offline and --frozen, and commit pib.lock and pib.fetch.lock."
    ))]
    Empty,
    /// What parts were recorded to fetch is no longer available.
    #[error("{} of the files that pib.fetch.lock names are not available: {}", .missing.len(), beginning(.missing))]
    #[diagnostic(code(pib::recording::not_fetched))]
    #[diagnostic(help(
        "A machine that has built this lock has them: `pib push` puts them into a store, which `[stores]` in pib.toml names. \
         `pib update --packages` begins a new snapshot."
    ))]
    NotFetched {
        /// An address and a reason each.
        missing: Vec<String>,
    },
    /// A store did not get everything that builds need.
    #[error("the store lacks {} of the files that builds need: {}", .missing.len(), beginning(.missing))]
    #[diagnostic(code(pib::recording::not_pushed))]
    #[diagnostic(help(
        "This machine does not have them. `pib fetch` gets what the locks name; then push again."
    ))]
    NotPushed {
        /// What is missing.
        missing: Vec<String>,
    },
    /// A file of this machine cannot be put into a store.
    #[error("a file cannot be put into the store: {why}")]
    #[diagnostic(code(pib::recording::unreadable))]
    #[diagnostic(help("`pib cache verify` finds what is damaged in the cache; `pib fetch` gets it again."))]
    Unreadable {
        /// What the system said.
        why: String,
    },
    /// A store does not take files.
    #[error("writing to the store {store} failed: {why}")]
    #[diagnostic(code(pib::recording::unwritable))]
    #[diagnostic(help(
        "What the store has is whole. Once it can be written to, push again: what is there is not sent twice."
    ))]
    Unwritable {
        /// The store's address.
        store: String,
        /// What is wrong.
        why: String,
    },
    /// Parts asked for more than a recording can hold.
    #[error(
        "parts have asked for {responses} different things, and pib.fetch.lock may have no more than 16 MiB"
    )]
    #[diagnostic(code(pib::recording::too_large))]
    #[diagnostic(help(
        "Give the stage that asks for so many `network = \"open\"`, or have it fetch fewer files, for instance one archive."
    ))]
    TooLarge {
        /// How many responses there are.
        responses: usize,
    },
    /// Parts went on without something that they had asked for.
    #[error("parts were not given what they asked for: {}", beginning(.missing))]
    #[diagnostic(code(pib::recording::unanswered))]
    #[diagnostic(help(
        "`pib fetch` says of each file that pib.fetch.lock names whether it is available. Build once without --locked to record what \
         is new."
    ))]
    Unanswered {
        /// An address and a reason each.
        missing: Vec<String>,
    },
}

impl RecordingError {
    /// Returns the process's exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Absent | Self::Foreign | Self::LockLost | Self::Unnamed | Self::Empty => 3,
            Self::Impossible { .. } | Self::Unreachable { .. } => 5,
            Self::Unanswered { .. } | Self::TooLarge { .. } | Self::Bypassed { .. } => 6,
            Self::Unreadable { .. } | Self::Unwritable { .. } => 1,
            Self::NotFetched { .. } | Self::NotPushed { .. } => 8,
        }
    }
}

/// Returns the first of some reasons, a line each.
fn beginning(reasons: &[String]) -> String {
    const SHOWN: usize = 5;
    let lines: String = reasons.iter().take(SHOWN).map(|reason| format!("\n  {reason}")).collect();
    match reasons.len().saturating_sub(SHOWN) {
        0 => lines,
        more => format!("{lines}\n  and {more} more"),
    }
}
