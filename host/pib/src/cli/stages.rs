//! What all commands take that have stages built.

use clap::{Args, ValueEnum};

use super::options::LockArgs;
use crate::ops::{EmulatorChoice, NoCache, StageOptions};

/// How stages are built.
#[derive(Debug, Args)]
pub(super) struct StageArgs {
    /// Emulate everything: no native program stands in for the target's
    #[arg(long)]
    no_native: bool,
    /// What emulates: pib's own emulators, or the kernel's handlers
    #[arg(long, value_enum, default_value_t = Emulator::Own)]
    emulator: Emulator,
    /// Give a value to an ARG that a part declares; without VALUE that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Take a secret of a stage from elsewhere than pib.toml says
    #[arg(long, value_name = "id=STAGE.KEY,src=FILE|env=VARIABLE")]
    secret: Vec<String>,
    #[command(flatten)]
    lock: LockArgs,
}

/// What runs the target's programs that have no native twin.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Emulator {
    /// The emulators that pib brings: the machine needs nothing for it
    Own,
    /// The kernel's binfmt_misc handlers, which `pib binfmt` registers
    Handlers,
}

impl Emulator {
    fn choice(self) -> EmulatorChoice {
        match self {
            Self::Own => EmulatorChoice::Own,
            Self::Handlers => EmulatorChoice::Handlers,
        }
    }
}

impl StageArgs {
    /// Returns the options, with the last stage that is to be built.
    pub(super) fn options(self, until: Option<String>) -> StageOptions {
        StageOptions {
            until,
            no_cache: NoCache::Nothing,
            no_native: self.no_native,
            emulator: self.emulator.choice(),
            build_args: self.build_arg,
            secrets: self.secret,
            trial: None,
            image_only: false,
            strict: false,
            lock: self.lock.mode(),
        }
    }
}
