//! What is assembled: stages with their parts and files, and what they start from.

use std::path::PathBuf;
use std::sync::Arc;

use semver::Version;

use crate::emulation::Emulation;
use crate::id::{Digest, StageName};
use crate::mode::Mode;
use crate::native::Native;
use crate::packages::{CacheOwner, PackageCache};
use crate::part::Part;
use crate::relay::Relay;

/// 2000-01-01 in nanoseconds since 1970, from which the times of context files count.
pub const CONTEXT_EPOCH: i64 = 946_684_800 * 1_000_000_000;
/// How many seconds they fall within: a day.
const DAY: u64 = 86_400;
/// How many nanoseconds of a second they use: the first half, for some engines round to seconds, and others cut off.
const HALF: u64 = 500_000_000;

/// An ordered stage, ready to be assembled.
#[derive(Debug, Clone)]
pub struct StageInput {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// The arguments that its part sees, in the order in which they are declared.
    pub args: Vec<Arg>,
    /// The part.
    pub part: Part,
    /// Its files, with their paths in the context.
    pub files: Vec<ContextFile>,
    /// Whether native programs may stand in for the target's while its part runs.
    pub native: bool,
    /// Whether what its part fetches is recorded: it then reaches nothing else.
    pub recorded: bool,
    /// The secrets that the project gives it.
    pub secrets: Vec<StageSecret>,
}

/// A secret of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSecret {
    /// What the part calls it.
    pub id: String,
    /// Tells one value from another; it is keyed, so that the value cannot be guessed from it. Absent where the value is
    /// not known.
    pub digest: Option<Digest>,
}

/// What parts are told beside their own text. Nothing of it changes a key: the result is the same without.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The time that commands are told in `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: Option<u64>,
    /// What runs the target's programs, where that is not the engine's kernel.
    pub emulation: Option<&'a Emulation>,
    /// Native programs that stand in for the target's where they can.
    pub native: Option<&'a Native>,
    /// What records what parts fetch.
    pub relay: Option<&'a Relay>,
    /// Where downloaded packages are kept.
    pub packages: Option<&'a PackageCache>,
    /// Whose the caches are that parts mount: see [`CacheOwner`].
    pub caches: Option<&'a CacheOwner>,
    /// What is run again, whatever the engine has of it.
    pub rerun: Option<Rerun<'a>>,
    /// The index of the last stage whose files are in what the first one starts from: up to there, nothing is run or copied.
    pub prebuilt: Option<usize>,
}

/// The variable by which programs learn the time to write into files
/// (<https://reproducible-builds.org/docs/source-date-epoch/>): one of the day would make each day's image another.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Stages whose instructions are run again.
///
/// Asked for that, BuildKit would also forget what its mounts keep between builds. So each instruction mounts a secret
/// that does not exist, under a name that no build had before: nothing else tells it from the one in the cache.
#[derive(Debug, Clone, Copy)]
pub struct Rerun<'a> {
    /// The first of them; all where there is none.
    pub from: Option<&'a StageName>,
    /// What no build had before.
    pub nonce: &'a str,
}

/// An argument that a part sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The name of the `ARG`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether the value is part of the stage's key. A mirror's address is not: it says where packages come
    /// from, which differs between machines, and not what they are. That there is one always is.
    pub keyed: bool,
}

/// A file of the context, or a folder that is empty or has permissions of its own; other folders are there as soon as
/// something in them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// The path in the context, with `/` between its parts.
    pub path: String,
    /// Where its bytes are.
    pub source: FileSource,
    /// What its bytes must be.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// Its permissions.
    pub mode: Mode,
}

/// Where the bytes of a context file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// In a file on this machine.
    File(PathBuf),
    /// Here. Clones share them.
    Bytes(Arc<[u8]>),
    /// Nowhere: it is a folder.
    Folder,
}

impl ContextFile {
    /// Returns a folder.
    pub fn folder(path: String, mode: Mode) -> Self {
        Self { path, source: FileSource::Folder, digest: Digest::of(b""), size: 0, mode }
    }

    /// Returns whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.source == FileSource::Folder
    }

    /// Returns the time that engines are told that it changed at, in nanoseconds since 1970: another one when its
    /// content is another.
    pub fn modified(&self) -> i64 {
        let first = self.digest.as_bytes().iter().take(8);
        let number = first.fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        let (seconds, nanos) = (number / HALF % DAY, number % HALF);
        CONTEXT_EPOCH + i64::try_from(seconds * 1_000_000_000 + nanos).unwrap_or(0)
    }
}

/// What the first stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRef {
    /// A container image of pib's own, which the engine has under this name.
    ContainerImage(String),
    /// Somebody else's container image, which may choose a user, a shell and a working directory.
    ForeignImage(String),
    /// A tarball in the context, so that the context is all that a build needs.
    ContextTar(String),
}

impl StageSecret {
    /// Returns what a Dockerfile calls the secret: the engine's cache knows its name, and not its value.
    pub(super) fn name(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}.{}", self.id, &digest.hex()[..16]),
            None => self.id.clone(),
        }
    }
}
