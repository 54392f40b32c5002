//! A project on disk, and what every command shares: the session, errors, logs, files that are replaced whole.
//!
//! | module | what it is |
//! |---|---|
//! | `open` | finds the project, reads its manifest and lock |
//! | `target_folder` | where what builds leave is kept |
//! | `session` | the frozen facts about this run of the program |
//! | `error`, `exit_code` | the error of operations, and the exit code of each kind |
//! | `recording_error` | what can be wrong with what parts fetch |
//! | `target_error` | what is wrong with a target |
//! | `irreproducible`, `differences` | what two builds do not have alike, and how events tell it |
//! | `placed`, `locate` | an error with the lines of `pib.toml` that it comes from |
//! | `pair` | replaces the lock and the recording that it names, which belong together |
//! | `files` | reads small files, and replaces them in one step |
//! | `logs` | the full log of a build |
//! | `cache_folder` | who may write to the cache |
//! | `cache_lock` | who uses the cache, and who takes things out of it |
//! | `reach`, `consent` | what a project names outside of its folder, and whether the user allows that |
//! | `contained` | whether what is in a folder of the project stays in the project |
//! | `user_config` | the user's own config file, and tokens for registries |
//! | `path_text` | paths in results as JSON |
//! | `blocking`, `slow` | work in threads, and work that is shown once it takes long |

pub(crate) mod blocking;
mod cache_folder;
pub(crate) mod cache_lock;
pub(crate) mod consent;
mod contained;
mod differences;
mod error;
mod exit_code;
pub(crate) mod files;
mod irreproducible;
pub(crate) mod locate;
pub(crate) mod logs;
mod manifest_result;
mod open;
pub(crate) mod pair;
pub(crate) mod path_text;
mod placed;
pub(crate) mod reach;
mod recording_error;
mod session;
pub(crate) mod slow;
mod target_error;
pub(crate) mod target_folder;
pub(crate) mod user_config;

pub use error::{Error, TargetError};
pub use irreproducible::Irreproducible;
pub(crate) use manifest_result::ManifestResult;
pub use open::trace_files;
pub(crate) use open::{Held, Project, find, find_folder, make_folder, manifest_text, output};
pub use placed::Placed;
pub use recording_error::RecordingError;
pub use session::{LockMode, Logs, Session};
pub(crate) use target_folder::TargetFolder;
