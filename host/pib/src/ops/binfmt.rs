//! Registers the emulators for ARM programs with the kernel, or says what is registered.

use pib_plan::id::Arch;
use serde::Serialize;

use super::Error;
use crate::engine::binfmt::{Binfmt, BinfmtStatus, Installed};

/// What the kernel does with the programs of each architecture.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BinfmtReport {
    /// One line for each architecture.
    pub archs: Vec<BinfmtLine>,
}

/// What the kernel does with the programs of one architecture.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BinfmtLine {
    /// The architecture.
    pub arch: Arch,
    /// Whether a container can run its programs.
    pub ready: bool,
    /// In words.
    pub state: String,
}

/// Registers what is missing, or only looks with `status_only`.
///
/// # Errors
/// When a handler cannot be registered: no emulator, not root, or somebody else's handler is in the way.
pub fn binfmt(status_only: bool, replace: bool) -> Result<BinfmtReport, Error> {
    let kernel = Binfmt::default();
    let line = |arch| -> Result<BinfmtLine, Error> {
        let (ready, state) = if status_only {
            status(kernel.status(arch))
        } else {
            match kernel.install(arch, replace)? {
                Installed::Already { interpreter } => {
                    (true, format!("registered already: {}", interpreter.display()))
                }
                Installed::Registered { interpreter } => {
                    (true, format!("registered {}", interpreter.display()))
                }
            }
        };
        Ok(BinfmtLine { arch, ready, state })
    };
    // One emulator serves both 32-bit architectures.
    let archs = [Arch::Arm64, Arch::Armv7].into_iter().map(line).collect::<Result<_, _>>()?;
    Ok(BinfmtReport { archs })
}

fn status(status: BinfmtStatus) -> (bool, String) {
    match status {
        BinfmtStatus::Registered { interpreter } => (true, format!("ready: {}", interpreter.display())),
        BinfmtStatus::NotFixed { name } => {
            (false, format!("the handler {name} lacks flag F: useless in containers"))
        }
        BinfmtStatus::Disabled { name } => (false, format!("the handler {name} is switched off")),
        BinfmtStatus::Missing => (false, "no handler".to_owned()),
        BinfmtStatus::NotMounted => (false, "binfmt_misc is not mounted".to_owned()),
    }
}

impl BinfmtReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        self.archs.iter().map(|line| format!("{}: {}\n", line.arch, line.state)).collect()
    }
}
