//! The library behind the binary `pib`: it *does* what `pib-plan` decides.
//!
//! | module | what it is |
//! |---|---|
//! | `cli` | flags to options, results to standard output |
//! | `ops` | one file for each command |
//! | `pipeline` | the build, step by step |
//! | `author` | what authors of stages use |
//! | `project` | a project on disk, the session, errors, logs |
//! | `ui` | draws what operations report |
//! | `child` | children whose life ends with pib's |
//! | `bases` | the root file systems that builds start from |
//! | `emulator` | runs images in QEMU |
//! | `engine` | Docker or Podman over its API |
//! | `hooks` | runs strangers' WASM components in a sandbox |
//! | `inspection` | looks into finished images |
//! | `source` | where stages come from; the cache |

pub mod author;
pub mod bases;
pub mod child;
pub mod cli;
pub mod emulator;
pub mod engine;
pub mod hooks;
pub mod inspection;
pub mod ops;
pub mod pipeline;
pub mod project;
pub mod source;
pub mod ui;
