//! Turns the ordered, rendered stages into one Dockerfile and its context: the [`BuildPlan`].
//!
//! One pib stage becomes one named Docker build stage, so that its ARGs end with it and a build can stop at
//! it. Every stage starts from a known state: shell, user and working directory are what they are in a base, whatever the part
//! before it chose. Every stage has a key: the digest of the key before it, its arguments, its part and the files that it can
//! copy. Two plans with the same key build the same thing.

use std::path::PathBuf;

use semver::Version;

use crate::build_stage;
use crate::id::{Arch, Digest, KeyHasher, StageName};
use crate::manifest::ManifestError;
use crate::merge::{self, Fitted, Merged};
use crate::mode::Mode;
use crate::native::Native;
use crate::packages::PackageCache;
use crate::part::{self, Part};
use crate::record::Ingredients;

mod reach;
mod write;

/// The most file system layers that engines take (overlay2 allows 128), less those of the base.
pub const MAX_LAYERS: usize = 120;

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
    /// Native programs that stand in for the target's where they can.
    pub native: Option<&'a Native>,
    /// Where downloaded packages are kept.
    pub packages: Option<&'a PackageCache>,
    /// What is run again, whatever the engine has of it.
    pub rerun: Option<Rerun<'a>>,
}

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
    /// from, which differs between machines, and not what they are.
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
    /// Here.
    Bytes(Vec<u8>),
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

/// All that the engine needs for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPlan {
    /// The Dockerfile.
    pub dockerfile: String,
    /// The files of the context, sorted by path.
    pub context: Vec<ContextFile>,
    /// The stages, in order.
    pub stages: Vec<PlannedStage>,
    /// The Dockerfile's instructions, in order.
    pub steps: Vec<PlannedStep>,
    /// The secrets that it uses.
    pub secrets: Vec<PlannedSecret>,
    /// The instructions that became one, since there were more than engines take.
    pub merged: Vec<Merged>,
    /// The key of what the first stage starts from.
    pub base: Digest,
    /// The key of the last stage: it names the result.
    pub key: Digest,
    /// The processor architecture to build for.
    pub arch: Arch,
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStage {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// The name of its Docker build stage.
    pub target: String,
    /// The digest of everything that decides its result.
    pub key: Digest,
    /// What tells whether the engine ran its instructions just so: the key, where none up to its end are merged.
    pub form: Digest,
    /// The line of the Dockerfile, counted from 1, on which its part starts.
    pub part_line: usize,
    /// What its key is made of, beside the key before it.
    pub ingredients: Ingredients,
    /// What it fetches without saying what that must be: no key can know of a change.
    pub unpinned: Vec<String>,
}

/// An instruction of the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// The line on which it starts, counted from 1.
    pub line: usize,
    /// Its keyword, in capitals.
    pub keyword: String,
    /// The index of the stage whose build stage it is in, if it is in one.
    pub stage: Option<usize>,
    /// Whether it stands in the stage's part; else pib has written it.
    pub in_part: bool,
}

impl PlannedStep {
    /// Returns whether engines make a layer of it.
    pub fn makes_layer(&self) -> bool {
        part::makes_layer(&self.keyword)
    }
}

/// A secret of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSecret {
    /// What the part calls it.
    pub id: String,
    /// What the Dockerfile calls it: a name that changes with the value, so that the engine runs what mounts it again.
    pub name: String,
}

/// Says why stages cannot be assembled.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
pub enum AssembleError {
    /// There is nothing to assemble.
    #[error("there is no stage to build")]
    NoStages,
    /// A part is wrong beside the other ones.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Part(Box<ManifestError>),
    /// Engines do not agree on which of two values a part sees.
    #[error("stage `{stage}` takes the argument {arg}, which the ENV of stage `{by}` overrides")]
    #[diagnostic(help(
        "Rename the config key of `{stage}` that becomes {arg}, or take {arg} out of what `{by}` sets by ENV; [patch] in \
         pib.toml replaces a stage of somebody else's."
    ))]
    Hidden {
        /// The stage with the argument.
        stage: StageName,
        /// The argument.
        arg: String,
        /// The stage with the `ENV`.
        by: StageName,
    },
    /// A value that is not one line would become instructions.
    #[error("the argument {arg} of stage `{stage}` has a line break or another control character")]
    #[diagnostic(help("A value of a stage's config is one line of text."))]
    NotOneLine {
        /// The stage.
        stage: StageName,
        /// The argument.
        arg: String,
    },
    /// The engine would refuse the result.
    #[error(
        "the stages make {layers} file system layers{merged}, and container engines take at most {MAX_LAYERS}"
    )]
    #[diagnostic(help("Join RUN instructions with && in the parts that have most: {most}."))]
    TooManyLayers {
        /// How many.
        layers: usize,
        /// How many fewer they would be with what can be merged, as a part of the sentence.
        merged: String,
        /// The stages with most of them.
        most: String,
    },
}

/// Checks that the values of arguments stay values, whoever let them in.
fn check_values(stages: &[StageInput]) -> Result<(), AssembleError> {
    let args = stages.iter().flat_map(|stage| stage.args.iter().map(move |arg| (stage, arg)));
    match args.into_iter().find(|(_, arg)| arg.value.chars().any(char::is_control)) {
        Some((stage, arg)) => {
            Err(AssembleError::NotOneLine { stage: stage.name.clone(), arg: arg.name.clone() })
        }
        None => Ok(()),
    }
}

/// Assembles the stages, which start from `base`, whose content is `base_digest`.
///
/// # Errors
/// When there is no stage, or the stages have more layers than engines take, also after merging.
pub fn assemble(
    arch: Arch,
    base: &BaseRef,
    base_digest: &Digest,
    stages: &[StageInput],
    extras: &Extras<'_>,
) -> Result<BuildPlan, AssembleError> {
    if stages.is_empty() {
        return Err(AssembleError::NoStages);
    }
    check_values(stages)?;
    let mut unpinned = reach::check(stages)?;
    let fitted = merge::fit(stages)?;
    let context = reach::context(stages);
    let base_key = base_key(arch, base_digest);
    let (mut key, mut form) = (base_key, None);
    let mut writer = write::Writer::new(extras, base);
    let mut planned: Vec<PlannedStage> = Vec::with_capacity(stages.len());
    for (index, (stage, fitted)) in stages.iter().zip(&fitted).enumerate() {
        let part = fitted.as_ref().map_or(&stage.part, |fitted| &fitted.part);
        let part_line = writer.stage(stages, index, part);
        let copied = reach::copied(stage, &context);
        key = stage_key(&key, stage, &copied);
        form = form_key(form, &key, fitted.as_ref());
        planned.push(PlannedStage {
            name: stage.name.clone(),
            version: stage.version.clone(),
            target: build_stage::name(&stage.name),
            key,
            form: form.unwrap_or(key),
            part_line,
            ingredients: Ingredients::of(stage, &copied, fitted.as_ref().map(Fitted::digest)),
            unpinned: std::mem::take(&mut unpinned[index]),
        });
    }
    let (dockerfile, steps) = writer.finish(stages);
    let secrets = stages.iter().flat_map(|stage| &stage.secrets);
    let secrets =
        secrets.map(|secret| PlannedSecret { id: secret.id.clone(), name: secret.name() }).collect();
    let merged = fitted.into_iter().flatten().flat_map(|fitted| fitted.merged).collect();
    Ok(BuildPlan { dockerfile, context, stages: planned, steps, secrets, merged, base: base_key, key, arch })
}

/// Checks that stages can be assembled, whatever they start from.
///
/// # Errors
/// As [`assemble`].
pub fn check(stages: &[StageInput]) -> Result<(), AssembleError> {
    if stages.is_empty() {
        return Err(AssembleError::NoStages);
    }
    reach::check(stages)?;
    merge::fit(stages).map(drop)
}

/// Returns the keys of stages, which start from a base of this content: each is the digest of everything that decides its
/// stage's result.
pub fn stage_keys(arch: Arch, base_digest: &Digest, stages: &[StageInput]) -> Vec<Digest> {
    let context = reach::context(stages);
    let mut key = base_key(arch, base_digest);
    let mut next = |stage| {
        key = stage_key(&key, stage, &reach::copied(stage, &context));
        key
    };
    stages.iter().map(&mut next).collect()
}

impl BuildPlan {
    /// Returns the index of the stage whose build stage is called `target`.
    pub fn index_of(&self, target: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.target == target)
    }

    /// Says of each stage, up to the one with the index `last`, what it fetches without saying what that must be.
    pub fn unpinned(&self, last: usize) -> Vec<String> {
        let stages = self.stages.iter().take(last + 1).filter(|stage| !stage.unpinned.is_empty());
        let told = stages.map(|stage| {
            let what = stage.unpinned.join(", ");
            format!(
                "stage `{}` fetches what pib cannot compare: {what}; it is not built again when that changes",
                stage.name
            )
        });
        told.collect()
    }
}

impl StageSecret {
    /// Returns what a Dockerfile calls the secret: the engine's cache knows its name, and not its value.
    fn name(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}.{}", self.id, &digest.hex()[..16]),
            None => self.id.clone(),
        }
    }
}

fn base_key(arch: Arch, digest: &Digest) -> Digest {
    let mut hasher = KeyHasher::new("pib base key 1");
    hasher.field(arch.platform()).field(digest.as_bytes());
    hasher.finish()
}

fn stage_key(before: &Digest, stage: &StageInput, copied: &[&ContextFile]) -> Digest {
    let mut hasher = KeyHasher::new("pib stage key 2");
    hasher.field(before.as_bytes()).field(stage.name.as_str()).field(&stage.part.text);
    let keyed = || stage.args.iter().filter(|arg| arg.keyed);
    hasher.field((keyed().count() as u64).to_le_bytes());
    for arg in keyed() {
        hasher.field(&arg.name).field(&arg.value);
    }
    let mut files: Vec<&ContextFile> = stage.files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // What it can copy of other stages is told from its own by standing last.
    for file in files.into_iter().chain(copied.iter().copied()) {
        hasher.field(&file.path).field(file.digest.as_bytes());
        hasher.field([u8::from(file.is_folder())]).field(file.mode.bits().to_le_bytes());
    }
    for secret in &stage.secrets {
        hasher.field("secret").field(&secret.id);
        hasher.field(secret.digest.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
    }
    hasher.finish()
}

/// Returns the form of a stage, if it differs from its key: what is merged gives the same, and yet the engine's cache
/// has nothing of it, nor of what comes after.
fn form_key(before: Option<Digest>, key: &Digest, fitted: Option<&Fitted>) -> Option<Digest> {
    if before.is_none() && fitted.is_none() {
        return None;
    }
    let mut hasher = KeyHasher::new("pib stage form 1");
    hasher.field(key.as_bytes());
    for digest in before.into_iter().chain(fitted.map(Fitted::digest)) {
        hasher.field(digest.as_bytes());
    }
    Some(hasher.finish())
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
