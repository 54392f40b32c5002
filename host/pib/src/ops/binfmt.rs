//! Registers the emulators for ARM programs with the kernel, takes them away, or says what is registered.

use std::collections::BTreeMap;

use pib_plan::id::Arch;
use serde::Serialize;

use crate::engine::Engine;
use crate::engine::binfmt_misc::{Binfmt, BinfmtError, BinfmtStatus, Changed, FarKernel};
use crate::pipeline::labels::LABEL;
use crate::project::{Error, Session};

/// The program that shows and changes the handlers of another machine's kernel. Empty where there is none.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/handlers"));
/// The architectures that have a handler of their own; one emulator serves both 32-bit ones.
pub(super) const ARCHS: [Arch; 2] = [Arch::Arm64, Arch::Armv7];

/// What to do with the handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinfmtAction {
    /// Register what is missing.
    Install {
        /// Replace what somebody else registered.
        force: bool,
    },
    /// Only look.
    Status,
    /// Take away what pib registered.
    Remove {
        /// Take away what somebody else registered, too.
        force: bool,
    },
}

/// What the kernel does with the programs of each architecture.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BinfmtReport {
    /// Whose kernel it is, where it is not this machine's.
    pub machine: Option<String>,
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

/// Looks at the handlers of the engine's kernel, or changes them: of this machine directly, of another one through
/// a container.
///
/// # Errors
/// When a handler cannot be registered: no emulator, not root, or somebody else's handler is in the way.
pub async fn binfmt(session: &Session, action: BinfmtAction) -> Result<BinfmtReport, Error> {
    let engine = match Engine::connect(&session.engine).await {
        Ok(engine) if engine.is_this_kernel() => None,
        Ok(engine) => Some(engine),
        // This machine's own kernel needs no engine.
        Err(_) if Engine::would_be_local(&session.engine) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(engine) = engine else {
        let kernel = Binfmt::default();
        let line = |arch| -> Result<BinfmtLine, BinfmtError> {
            Ok(match action {
                BinfmtAction::Install { force } => changed(arch, kernel.install(arch, force)?),
                BinfmtAction::Remove { force } => changed(arch, kernel.remove(arch, force)?),
                BinfmtAction::Status => looked(arch, &kernel.read().status(arch)),
            })
        };
        let archs = ARCHS.into_iter().map(line).collect::<Result<_, _>>()?;
        return Ok(BinfmtReport { machine: None, archs });
    };
    let wanted: &[Arch] = if matches!(action, BinfmtAction::Install { .. }) { &ARCHS } else { &[] };
    let labels = BTreeMap::from([(LABEL.to_owned(), "binfmt".to_owned())]);
    let kernel = FarKernel::open(&engine, PROGRAM, wanted, &labels, &*session.reporter).await?;
    let archs = far(&kernel, action).await;
    let closed = kernel.close().await;
    let archs = archs?;
    closed?;
    Ok(BinfmtReport { machine: Some(engine.info().address.clone()), archs })
}

async fn far(kernel: &FarKernel, action: BinfmtAction) -> Result<Vec<BinfmtLine>, BinfmtError> {
    let mut lines = Vec::new();
    for arch in ARCHS {
        lines.push(match action {
            BinfmtAction::Install { force } => changed(arch, kernel.install(arch, force).await?),
            BinfmtAction::Remove { force } => changed(arch, kernel.remove(arch, force).await?),
            BinfmtAction::Status => looked(arch, &kernel.read().await?.status(arch)),
        });
    }
    Ok(lines)
}

fn changed(arch: Arch, changed: Changed) -> BinfmtLine {
    let (ready, state) = match changed {
        Changed::Already { interpreter } => (true, format!("registered already: {}", interpreter.display())),
        Changed::Registered { interpreter } => (true, format!("registered {}", interpreter.display())),
        Changed::Removed { names } => (false, format!("removed {}", names.join(", "))),
        Changed::Nothing { others } if others.is_empty() => (false, "nothing is registered".to_owned()),
        Changed::Nothing { others } => (
            true,
            format!("pib has registered nothing; {} stays (`--force` takes it away)", others.join(", ")),
        ),
    };
    BinfmtLine { arch, ready, state }
}

fn looked(arch: Arch, status: &BinfmtStatus) -> BinfmtLine {
    BinfmtLine { arch, ready: matches!(status, BinfmtStatus::Registered { .. }), state: words(status) }
}

/// Returns what a kernel would do with a program, in words.
pub(super) fn words(status: &BinfmtStatus) -> String {
    match status {
        BinfmtStatus::Registered { name, interpreter, flags } => {
            format!("ready: {} (handler {name}, flags {flags})", interpreter.display())
        }
        BinfmtStatus::NotFixed { name } => format!("the handler {name} lacks flag F: useless in containers"),
        BinfmtStatus::Disabled { name } => format!("the handler {name} is switched off"),
        BinfmtStatus::Missing => "no handler".to_owned(),
        BinfmtStatus::NotMounted => "binfmt_misc is not mounted".to_owned(),
    }
}
