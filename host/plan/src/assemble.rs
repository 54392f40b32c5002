//! Turns the ordered, rendered stages into one Dockerfile and its context: the [`BuildPlan`].
//!
//! One pib stage becomes one named Docker build stage, so that its ARGs end with it and a build can stop at
//! it. Every stage has a key: the digest of the key before it, its arguments, its part and its files. Two
//! plans with the same key build the same thing.

use std::fmt::Write as _;
use std::path::PathBuf;

use semver::Version;

use crate::build_stage;
use crate::id::{Arch, Digest, KeyHasher, StageName};
use crate::merge::{self, Fitted, Merged};
use crate::native::{self, Native, Tools};
use crate::packages::PackageCache;
use crate::part::{Part, Word};
use crate::record::Ingredients;

/// The most file system layers that engines take (overlay2 allows 128), less those of the base.
pub const MAX_LAYERS: usize = 120;

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
    pub anew: Option<Anew<'a>>,
}

/// Stages whose instructions are run again.
///
/// Asked for that, BuildKit would also forget what its mounts keep between builds. So each instruction mounts a secret
/// that does not exist, under a name that no build had before: nothing else tells it from the one in the cache.
#[derive(Debug, Clone, Copy)]
pub struct Anew<'a> {
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

/// A file of the context.
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
    /// Whether it may be executed: its mode is 0755, else 0644.
    pub executable: bool,
}

/// Where the bytes of a context file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// In a file on this machine.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// What the first stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRef {
    /// A container image that the engine has under this name.
    ContainerImage(String),
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum AssembleError {
    /// There is nothing to assemble.
    #[error("there is no stage to build")]
    NoStages,
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
    let fitted = merge::fit(stages)?;
    let base_key = base_key(arch, base_digest);
    let (mut key, mut form) = (base_key, None);
    let mut dockerfile = String::from("# Written by pib. Changes here are lost.\n");
    let mut planned: Vec<PlannedStage> = Vec::with_capacity(stages.len());
    let mut tools = extras.native.map(|native| native.begin(&mut dockerfile));
    for (stage, fitted) in stages.iter().zip(&fitted) {
        let target = build_stage::name(&stage.name);
        write_head(&mut dockerfile, stage, &target, planned.last(), base);
        if let Some(tools) = &mut tools {
            tools.shell(&mut dockerfile, stage.native);
        }
        let part_line = dockerfile.lines().count() + 1;
        let anew = extras.anew.filter(|anew| {
            anew.from
                .is_none_or(|from| stage.name == *from || planned.iter().any(|before| before.name == *from))
        });
        let more = Mounts { packages: extras.packages, anew };
        let part = fitted.as_ref().map_or(&stage.part, |fitted| &fitted.part);
        write_part(&mut dockerfile, stage, part, tools.as_mut(), more);
        key = stage_key(&key, stage);
        form = form_key(form, &key, fitted.as_ref());
        let (name, version) = (stage.name.clone(), stage.version.clone());
        planned.push(PlannedStage {
            name,
            version,
            target,
            key,
            form: form.unwrap_or(key),
            part_line,
            ingredients: Ingredients::of(stage, fitted.as_ref().map(Fitted::digest)),
        });
    }
    if let Some(tools) = tools {
        tools.end(&mut dockerfile);
    }
    let mut context: Vec<ContextFile> = stages.iter().flat_map(|stage| stage.files.iter().cloned()).collect();
    context.sort_by(|a, b| a.path.cmp(&b.path));
    let secrets = stages.iter().flat_map(|stage| &stage.secrets);
    let secrets =
        secrets.map(|secret| PlannedSecret { id: secret.id.clone(), name: secret.name() }).collect();
    let merged = fitted.into_iter().flatten().flat_map(|fitted| fitted.merged).collect();
    Ok(BuildPlan { dockerfile, context, stages: planned, secrets, merged, base: base_key, key, arch })
}

/// Returns the keys of stages, which start from a base of this content: each is the digest of everything that decides its
/// stage's result.
pub fn stage_keys(arch: Arch, base_digest: &Digest, stages: &[StageInput]) -> Vec<Digest> {
    let mut key = base_key(arch, base_digest);
    let mut next = |stage| {
        key = stage_key(&key, stage);
        key
    };
    stages.iter().map(&mut next).collect()
}

impl BuildPlan {
    /// Returns the index of the stage whose build stage is called `target`.
    pub fn index_of(&self, target: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.target == target)
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

/// What a stage's instructions mount beside native tools.
struct Mounts<'a> {
    packages: Option<&'a PackageCache>,
    anew: Option<Anew<'a>>,
}

/// Writes what stands above a part: what it starts from, and its arguments.
fn write_head(
    dockerfile: &mut String,
    stage: &StageInput,
    target: &str,
    previous: Option<&PlannedStage>,
    base: &BaseRef,
) {
    let _ = match (previous, base) {
        (Some(previous), _) => writeln!(dockerfile, "\nFROM {} AS {target}", previous.target),
        (None, BaseRef::ContainerImage(tag)) => writeln!(dockerfile, "\nFROM {tag} AS {target}"),
        (None, BaseRef::ContextTar(path)) => {
            writeln!(dockerfile, "\nFROM scratch AS {target}\nADD {path} /")
        }
    };
    let _ = writeln!(dockerfile, "# stage {} {}", stage.name, stage.version);
    for arg in &stage.args {
        let _ = writeln!(dockerfile, "ARG {}=\"{}\"", arg.name, quoted(&arg.value));
    }
}

/// Writes a part, its instructions told of what they are to use.
fn write_part(
    dockerfile: &mut String,
    stage: &StageInput,
    part: &Part,
    tools: Option<&mut Tools<'_>>,
    more: Mounts<'_>,
) {
    let native = tools.map(|tools| tools.part(part)).filter(|_| stage.native);
    let mut written = 0;
    for place in &part.places {
        dockerfile.push_str(&part.text[written..place.offset]);
        written = place.offset;
        match &place.what {
            Word::Mounts(command) => {
                let kept = more.packages.and_then(|packages| packages.mount(part.text.get(command.clone())?));
                let anew = more.anew.map(|anew| format!("--mount=type=secret,id=pib.anew.{}", anew.nonce));
                for mount in native.iter().chain(&kept).chain(&anew) {
                    let _ = write!(dockerfile, " {mount}");
                }
            }
            Word::Runner if native.is_some() => dockerfile.push_str(&native::runner()),
            Word::Runner => {}
            Word::Secret(index) => {
                let Some(mount) = part.secrets.get(*index) else { continue };
                let given = stage.secrets.iter().find(|secret| secret.id == mount.id);
                let name = given.map_or_else(|| mount.id.clone(), StageSecret::name);
                dockerfile.push_str(name.strip_prefix(&mount.id).unwrap_or_default());
                if name != mount.id && !mount.placed {
                    // Without a target the engine would place it by the name that it knows.
                    let _ = write!(dockerfile, ",target=/run/secrets/{}", mount.id);
                }
            }
        }
    }
    dockerfile.push_str(&part.text[written..]);
}

fn base_key(arch: Arch, digest: &Digest) -> Digest {
    let mut hasher = KeyHasher::new("pib base key 1");
    hasher.field(arch.platform()).field(digest.as_bytes());
    hasher.finish()
}

fn stage_key(before: &Digest, stage: &StageInput) -> Digest {
    let mut hasher = KeyHasher::new("pib stage key 1");
    hasher.field(before.as_bytes()).field(stage.name.as_str()).field(&stage.part.text);
    let keyed = || stage.args.iter().filter(|arg| arg.keyed);
    hasher.field((keyed().count() as u64).to_le_bytes());
    for arg in keyed() {
        hasher.field(&arg.name).field(&arg.value);
    }
    let mut files: Vec<&ContextFile> = stage.files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for file in files {
        hasher.field(&file.path).field(file.digest.as_bytes()).field([u8::from(file.executable)]);
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

/// Escapes what Docker would expand or end the string at, within double quotes.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
