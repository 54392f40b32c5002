//! The error of operations: one enum above the adapters' own.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use pib_plan::assemble::AssembleError;
use pib_plan::id::Digest;
use pib_plan::manifest::ManifestError;
use thiserror::Error;

use super::irreproducible::{Irreproducible, listed};
use super::placed::Placed;
use super::recording_error::RecordingError;
use super::target_error::InTarget;
use crate::bases::BaseError;
use crate::emulator::EmulatorError;
use crate::engine::EngineError;
use crate::engine::binfmt_misc::BinfmtError;
use crate::hooks::HookError;
use crate::inspection::InspectionError;
use crate::source::SourceError;
use crate::source::git::GitError;
use pib_debian::DebianError;
use pib_disk::{DiskError, FlashError};
use pib_event::Difference;
use pib_file::LinkError;
use pib_recorder::RecorderError;

/// A target of the project that something is wrong with.
pub type TargetError = InTarget<Error>;

/// The folder for what a build leaves, in a project.
pub(super) const TARGET: &str = "target";

/// What is to be done about a link where pib writes.
const FOREIGN_LINK: &str = "pib writes and removes nothing through links in a project, which may be somebody else's. Remove the link.";
/// What else can be done about a link that is called `target`.
const ELSEWHERE: &str =
    " To keep what builds leave elsewhere, e.g. on a larger disk, set PIB_TARGET_DIR to a folder.";
/// What is to be done about a link to a file that pib must not show a line of.
const OUTSIDE: &str = "pib reads no link that leads out of the project. Put a file in its place.";

/// What can go wrong in an operation.
#[derive(Debug, Error, Diagnostic)]
pub enum Error {
    /// The file system refused something.
    #[error("could not {action}{}", shown(.path))]
    #[diagnostic(code(pib::io))]
    Io {
        /// What was being done.
        action: String,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do next, where that can be told.
        #[help]
        help: Option<String>,
    },
    /// A file that describes the project is none that is read.
    #[error("could not read{}", shown(.path))]
    #[diagnostic(code(pib::project::unreadable))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
        /// What to do next, where that can be told.
        #[help]
        help: Option<String>,
    },
    /// The user stopped the program.
    #[error("interrupted")]
    #[diagnostic(code(pib::interrupted))]
    Interrupted,
    /// There is no place for the cache.
    #[error("could not find a folder for pib's cache")]
    #[diagnostic(code(pib::cache::no_folder))]
    #[diagnostic(help("Set PIB_CACHE_DIR, or HOME."))]
    NoCache,
    /// There is no place for the user's config.
    #[error("could not find a folder for pib's config")]
    #[diagnostic(code(pib::config::no_folder))]
    #[diagnostic(help("Set XDG_CONFIG_HOME, or HOME."))]
    NoConfig,
    /// The user's answers cannot be read.
    #[error("`{}`, which says what projects may reach, cannot be read: {what}", path.display())]
    #[diagnostic(code(pib::trust::broken))]
    #[diagnostic(help("Mend that file, or remove it and run `pib trust` in each project again."))]
    BrokenTrust {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A project asks for something of the user's that it may not have.
    #[error(
        "the project in `{}` asks for what is outside of its folder, and you have not allowed it:{}",
        dir.display(),
        list(asks_for)
    )]
    #[diagnostic(code(pib::trust::not_allowed))]
    #[diagnostic(help(
        "Look at its pib.toml and its stages. `pib trust --show` lists all that it asks for. If it may have that, run `pib trust`, or, where nobody can be asked, set PIB_TRUST=1."
    ))]
    Untrusted {
        /// The project's folder.
        dir: PathBuf,
        /// What it asks for.
        asks_for: Vec<String>,
    },
    /// Somebody else can put things into the cache.
    #[error("the cache `{}` cannot be trusted: {reason}", path.display())]
    #[diagnostic(code(pib::cache::foreign))]
    #[diagnostic(help(
        "Take it back (`chown`, `chmod go-w`), or remove it, or set PIB_CACHE_DIR to a folder of your own choice; after \
         `sudo`, `sudo -H` uses root's."
    ))]
    ForeignCache {
        /// Its folder.
        path: PathBuf,
        /// Who can write to it.
        reason: String,
    },
    /// No project here.
    #[error("there is no pib.toml in `{}` or any folder above it", .0.display())]
    #[diagnostic(code(pib::project::none))]
    #[diagnostic(help("Start a project with `pib new NAME`, or name its folder with `-C DIR`."))]
    NoProject(PathBuf),
    /// The command line asks for something that does not make sense.
    #[error("{message}")]
    #[diagnostic(code(pib::usage))]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do next.
        #[help]
        help: Option<String>,
    },
    /// A manifest or part is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Manifest(#[from] ManifestError),
    /// Several things are wrong in manifests.
    #[error("{} things are wrong with the project's stages", .0.len())]
    #[diagnostic(code(pib::manifest::several))]
    Manifests(#[related] Vec<ManifestError>),
    /// `pib.toml` cannot be edited.
    #[error(transparent)]
    #[diagnostic(code(pib::manifest::edit))]
    Edit(#[from] pib_plan::manifest::edit::EditError),
    /// A stage cannot be built.
    #[error("{message}")]
    #[diagnostic(code(pib::stage::unfit))]
    Stage {
        /// What is wrong.
        message: String,
        /// What to do next.
        #[help]
        help: Option<String>,
    },
    /// The user's own config cannot be used.
    #[error("{message}")]
    #[diagnostic(code(pib::config::unusable))]
    UserConfig {
        /// What is wrong.
        message: String,
        /// What to do next.
        #[help]
        help: String,
    },
    /// Stages cannot be assembled.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Assemble(#[from] AssembleError),
    /// No versions fit together.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Resolve(#[from] pib_plan::resolve::ResolveError),
    /// Several things keep versions from fitting together.
    #[error("cannot resolve the stages: {} problems", .0.len())]
    #[diagnostic(code(pib::resolve::several))]
    Unresolved(#[related] Vec<Placed<pib_plan::resolve::Problem>>),
    /// Something is wrong that a line of the manifest asks for.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Placed(#[from] Placed<Error>),
    /// Some targets cannot be built.
    #[error("{} of {total} targets failed", failed.len())]
    #[diagnostic(code(pib::target::several))]
    Targets {
        /// Those that cannot, and why.
        #[related]
        failed: Vec<TargetError>,
        /// How many there are in all.
        total: usize,
    },
    /// The stages cannot be ordered.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Order(#[from] pib_plan::order::OrderError),
    /// The lock is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] pib_plan::lockfile::LockError),
    /// The lock would change, and must not.
    #[error("pib.lock would change, and --locked forbids that{}", list(.0))]
    #[diagnostic(code(pib::lock::stale))]
    #[diagnostic(help(
        "Run `pib lock`, or the same command without --locked, and commit the new pib.lock with what made it \
         necessary."
    ))]
    Locked(Vec<String>),
    /// The lock holds the stages, and not the base.
    #[error("{}", reasons.join("\n"))]
    #[diagnostic(code(pib::lock::no_base))]
    #[diagnostic(help(
        "The stages are locked. Without the base in it, no build with --locked is possible, and others take the packages of their \
         day. Run the command again once the archive can be reached, or with --offline to do without the base."
    ))]
    BaseNotLocked {
        /// Why not, a sentence each.
        reasons: Vec<String>,
    },
    /// The base that the lock holds is no longer available.
    #[error("pib.lock holds the base {locked}, and what the mirror gives now is {found}")]
    #[diagnostic(code(pib::base::moved))]
    #[diagnostic(help(
        "Packages have moved on since the lock was written. Take the new base with `pib update --base`, \
         or copy the old one's file from the cache of a machine that has it."
    ))]
    BaseMoved {
        /// What the lock holds.
        locked: Digest,
        /// What was made.
        found: Digest,
    },
    /// The base is not here, and the network is not to be used.
    #[error(
        "the base is not in the cache, nor are all packages that make it, and the network is not to be used"
    )]
    #[diagnostic(code(pib::base::offline))]
    #[diagnostic(help("Run `pib fetch`, or the build, once with the network."))]
    BaseOffline,
    /// There are no emulators, and none may be fetched.
    #[error("pib's emulators are not in the cache, and the network is not to be used")]
    #[diagnostic(code(pib::emulator::offline))]
    #[diagnostic(help(
        "Run `pib fetch` or a build once with the network, or have this machine's kernel emulate: `sudo pib binfmt`, then `--emulator handlers`."
    ))]
    EmulatorsOffline,
    /// The packages that the lock names did not make the base that it names.
    #[error("pib.lock holds the base {locked}, and the packages that it lists for it made {found}")]
    #[diagnostic(code(pib::base::differs))]
    #[diagnostic(help(
        "Another pib may make bases in another way, or somebody changed pib.lock. Take its last version that built \
         from version control, or make a new base with `pib update --base`."
    ))]
    BaseDiffers {
        /// What the lock holds.
        locked: Digest,
        /// What was made.
        found: Digest,
    },
    /// Something is wrong with what parts fetch, or fetched.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recording(#[from] RecordingError),
    /// The recorder cannot begin.
    #[error(transparent)]
    #[diagnostic(code(pib::recording::recorder))]
    #[diagnostic(help("See whether the disk with pib's cache is full or not writable."))]
    Recorder(#[from] RecorderError),
    /// An image is not what the project and its lock give.
    #[error("`{}` cannot be verified: {reason}", image.display())]
    #[diagnostic(code(pib::image::unverified))]
    Unverified {
        /// The image.
        image: PathBuf,
        /// What is wrong.
        reason: String,
        /// What it is made of that the project does not have so, where that is wrong.
        differences: Vec<Difference>,
        /// What to do next.
        #[help]
        help: String,
    },
    /// An image cannot be looked into.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Inspection(#[from] InspectionError),
    /// An image cannot be run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Emulator(#[from] EmulatorError),
    /// The running system does not do what stages promise.
    #[error("{failed} of {total} tests failed")]
    #[diagnostic(code(pib::test::failed))]
    #[diagnostic(help("Why is said above for each; the console and the journal are kept where it says."))]
    TestsFailed {
        /// How many failed.
        failed: usize,
        /// How many there are.
        total: usize,
    },
    /// An image would not start.
    #[error("`{}` would not start on the board {board}", image.display())]
    #[diagnostic(code(pib::image::unbootable))]
    #[diagnostic(help("What is wrong is listed above, for each model of the board."))]
    Unbootable {
        /// The image.
        image: PathBuf,
        /// The board.
        board: String,
    },
    /// Two builds with nothing cached differ.
    #[error("two builds with nothing cached differ in {} of their files and folders{}", all, listed(.files, *.all))]
    #[diagnostic(code(pib::build::irreproducible))]
    #[diagnostic(help(
        "What a part writes must not depend on when, where or how often it runs: take times from SOURCE_DATE_EPOCH, sort \
         what comes from a folder, and remove logs, caches and random names in the RUN that makes them."
    ))]
    Irreproducible {
        /// The first of what differs.
        files: Vec<Irreproducible>,
        /// How much differs.
        all: usize,
    },
    /// A stage cannot be fetched.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(SourceError),
    /// A hook cannot be run, or gave no answer that can be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Hook(#[from] HookError),
    /// The base cannot be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Base(#[from] BaseError),
    /// Debian's packages are not available.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Debian(#[from] DebianError),
    /// The engine is missing, unfit, or the build failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    /// A handler for ARM programs cannot be registered.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Binfmt(#[from] BinfmtError),
    /// `pib doctor` has found something.
    #[error("{}", unwell(*.0))]
    #[diagnostic(code(pib::doctor::failed))]
    #[diagnostic(help("Follow the advice below each FAIL, and run `pib doctor` again."))]
    Unwell(usize),
    /// The image cannot be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Disk(#[from] DiskError),
    /// The image cannot be written to a device, or is not on it as it should be.
    #[error("could not write `{}`", device.display())]
    #[diagnostic(help("{}", flash_help(source)))]
    Flash {
        /// The device.
        device: PathBuf,
        /// Why.
        source: Box<FlashError>,
    },
    /// Something speaks against writing to a device.
    #[error("`{}` is not written:{}", device.display(), list(reasons))]
    #[diagnostic(code(pib::flash::refused))]
    Refused {
        /// The device.
        device: PathBuf,
        /// What speaks against it.
        reasons: Vec<String>,
        /// What to do next.
        #[help]
        help: String,
    },
}

/// Returns what to do about an image that is not on its device.
fn flash_help(error: &FlashError) -> String {
    error.help().map(|help| help.to_string()).unwrap_or_default()
}

impl Error {
    /// Wraps what the file system said when `action` was done to `path`.
    pub fn io(action: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let help = LinkError::of(&source).map(|link| {
            let mut help = FOREIGN_LINK.to_owned();
            if link.path.ends_with(TARGET) {
                help.push_str(ELSEWHERE);
            }
            help
        });
        Self::Io { action: action.to_owned(), path: path.as_ref().to_owned(), source, help }
    }

    /// Wraps what was said when a file that describes the project was read.
    pub(crate) fn unreadable(path: PathBuf, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput};
        if !matches!(source.kind(), FileTooLarge | InvalidData | InvalidInput) {
            return Self::io("read", path, source);
        }
        let help = LinkError::of(&source).map(|_| OUTSIDE.to_owned());
        Self::Unreadable { path, source, help }
    }

    /// Returns an error about the command line.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// Returns what is wrong with manifests as one error: by itself where it is one thing.
    pub(crate) fn manifests(mut errors: Vec<ManifestError>) -> Self {
        match errors.len() {
            1 => errors.remove(0).into(),
            _ => Self::Manifests(errors),
        }
    }

    /// Collects results, so that all mistakes in manifests are told at once; anything else ends the work.
    ///
    /// # Errors
    /// All mistakes in manifests, or the first error of another kind.
    pub(crate) fn all_manifests<T>(results: impl Iterator<Item = Result<T, Self>>) -> Result<Vec<T>, Self> {
        let (mut good, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(value) => good.push(value),
                Err(Self::Manifest(error)) => errors.push(error),
                Err(Self::Manifests(several)) => errors.extend(several),
                Err(error) => return Err(error),
            }
        }
        if errors.is_empty() { Ok(good) } else { Err(Self::manifests(errors)) }
    }

    /// Returns whether the user has not allowed the project what it asks for.
    pub(crate) fn is_untrusted(&self) -> bool {
        match self {
            Self::Untrusted { .. } => true,
            Self::Placed(placed) => placed.what.is_untrusted(),
            _ => false,
        }
    }

    /// Returns whether versions do not go together, which other answers of an index may mend.
    pub(crate) fn is_unresolved(&self) -> bool {
        match self {
            Self::Resolve(_) | Self::Unresolved(_) => true,
            Self::Placed(placed) => placed.what.is_unresolved(),
            _ => false,
        }
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        match error {
            // It went through where stages come from as it is.
            SourceError::Git(GitError::Denied(denied)) => match denied.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Source(GitError::Denied(other).into()),
            },
            other => Self::Source(other),
        }
    }
}

fn list(changes: &[String]) -> String {
    changes.iter().map(|change| format!("\n  - {change}")).collect()
}

fn unwell(count: usize) -> String {
    match count {
        1 => "1 check failed".to_owned(),
        _ => format!("{count} checks failed"),
    }
}

fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { String::new() } else { format!(" `{}`", path.display()) }
}
