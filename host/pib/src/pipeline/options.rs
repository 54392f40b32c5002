//! How stages are built.

use pib_plan::manifest::project::ProjectManifest;

use crate::project::LockMode;

/// How stages are built.
#[derive(Debug, Clone, Default)]
pub struct StageOptions {
    /// The last stage to be built; all of them otherwise.
    pub until: Option<String>,
    /// What is built again, whatever the engine has of it.
    pub no_cache: NoCache,
    /// Emulate everything.
    pub no_native: bool,
    /// What emulates.
    pub emulator: EmulatorChoice,
    /// Values for the `ARG`s that parts declare, as `NAME=VALUE`, or `NAME` for the environment's.
    pub build_args: Vec<String>,
    /// Where secrets come from instead of what `pib.toml` says: `id=ID,src=FILE` or `id=ID,env=VARIABLE`.
    pub secrets: Vec<String>,
    /// Which of two builds that are compared this is, where it is one.
    pub trial: Option<Trial>,
    /// Only the image is wanted: what a shared cache has of the last stage need not be in the engine as well.
    pub image_only: bool,
    /// Whether a build fails in which parts fetch what is not recorded, or could.
    pub strict: bool,
    /// How the lock is treated.
    pub lock: LockMode,
}

/// One of two builds that are compared. Neither has anything of an earlier build, nor leaves anything for a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// The first.
    First,
    /// The second, in containers of another host name.
    Second,
}

impl Trial {
    /// Returns how the name ends that the engine has for the result.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::First => "-first",
            Self::Second => "-second",
        }
    }

    /// Returns what containers of the build are called; the first's are called as the engine likes.
    pub(crate) fn host_name(self) -> Option<String> {
        (self == Self::Second).then(|| "second-build".to_owned())
    }
}

/// What runs the target's programs that have no native twin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmulatorChoice {
    /// The emulators that pib brings.
    #[default]
    Own,
    /// What the kernel's binfmt_misc handlers start.
    Handlers,
}

/// What stands in for the target's processor while a base is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToolOptions {
    /// Whether native tools are wanted.
    pub(crate) native: bool,
    /// What emulates.
    pub(crate) emulator: EmulatorChoice,
}

/// Which stages are built again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None without need.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// This one and those after it.
    From(String),
}

impl StageOptions {
    /// Returns what is to stand in for the target's processor.
    pub(crate) fn tools(&self, manifest: &ProjectManifest) -> ToolOptions {
        ToolOptions { native: self.wants_native(manifest), emulator: self.emulator }
    }

    /// Returns whether native tools are to stand in for the target's.
    pub(crate) fn wants_native(&self, manifest: &ProjectManifest) -> bool {
        manifest.build.native && !self.no_native
    }
}
