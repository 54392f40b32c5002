//! Runs images in QEMU: the machine, its console, and a shell in it for tests.
//!
//! | module | what it does |
//! |---|---|
//! | `hardware` | writes QEMU's command line for each kind of machine |
//! | `process` | starts QEMU, keeps the end of what it and its console say, ends it |
//! | `agent` | speaks with the agent that runs tests in the system |
//! | `additions` | what is added to an initramfs so that the system has that agent |
//! | `error` | why an image could not be run |
//!
//! The image is never written to: QEMU keeps what the system writes in a temporary file of its own. It ends with the
//! [`Machine`] that stands for it.

mod additions;
mod agent;
mod error;
mod hardware;
mod process;

pub use additions::with_agent;
pub use agent::{Agent, AgentPort};
pub use error::EmulatorError;
pub use hardware::{BootFiles, Console, Hardware, MachineOptions};
pub use process::Machine;
