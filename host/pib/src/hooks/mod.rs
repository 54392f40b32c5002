//! Runs the hooks of stages: strangers' code, in a sandbox.
//!
//! | module | what it is |
//! |---|---|
//! | `host` | loads components, runs their calls |
//! | `ask` | validate and render in one, with the cache of answers |
//! | `answer` | what an answer may look like |
//! | `compile` | compiles in a process of its own, with bounds of time and memory |
//! | `data` | what pib and a hook tell each other |
//! | `guest` | the state and the limits of one call |
//! | `sandbox` | the engine and its settings |
//! | `v0_1` | the interface `pib:stage@0.1` |
//! | `error` | what goes wrong, with stage, cause and the guest's backtrace |
//!
//! Invariants: a call runs in a fresh store, in a thread of its own, with all limits of [`Limits`] in force; nothing of
//! the machine is reachable from it but [`Files`] and the log; what it answers is bounded before it is copied. The same
//! input gives the same answer, which is what lets answers be kept. A component is compiled in a child process with
//! bounds of its own. Machine code comes from that process, or from a file that this user's pib has sealed. Deliberately absent: WASI, and any knowledge of projects and packages.

mod answer;
mod ask;
mod compile;
mod data;
mod error;
mod excerpt;
mod guest;
mod host;
mod sandbox;
mod v0_1;

pub use ask::{Answer, Question};
pub use compile::compiler;
pub use data::{Context, Diagnostic, File, Level, Project, ProjectFile, Rendered, Severity, StageRef, Value};
pub use error::{During, GuestTrace, HookError, HookName};
pub use host::{Call, Hook, Host};
pub use pib_plan::hook::Limits;

use pib_plan::id::Digest;

/// The name of the cache's folder for compiled code and answers.
pub const CACHE_FOLDER: &str = "hooks";

/// The files that a hook may read: those of its package, and those that its config names.
pub trait Files: Send + Sync {
    /// Returns the file at `path`, if it is one of them and has at most `room` bytes.
    ///
    /// # Errors
    /// A sentence for the hook that says why not.
    fn read(&self, path: &str, room: u64) -> Result<Vec<u8>, String>;

    /// Returns the digest of all that could be read.
    fn digest(&self) -> Digest;
}

/// Files for a hook that reads none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str, _: u64) -> Result<Vec<u8>, String> {
        Err(format!("there is no file `{path}`"))
    }

    fn digest(&self) -> Digest {
        Digest::of(b"")
    }
}
