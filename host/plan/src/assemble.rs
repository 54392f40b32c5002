//! Turns the ordered, rendered stages into one Dockerfile and its context: the [`BuildPlan`].
//!
//! One pib stage becomes one named Docker build stage, so that its ARGs end with it and a build can stop at
//! it. Every stage starts from a known state: shell, user and working directory are what they are in a base, whatever the part
//! before it chose. Every stage has a key: the digest of the key before it, its arguments, its part and the files that it can
//! copy. Two plans with the same key build the same thing.

pub(crate) mod error;
pub(crate) mod input;
pub(crate) mod plan;
mod reach;
mod writer;

use crate::build_stage;
use crate::dockerfile::{Line, MAX_PART_LINE, Template, is_image_name, is_variable_name};
use crate::id::{Arch, Digest, KeyHasher};
use crate::ingredients::Ingredients;
use crate::merge::{self, Fitted};
use crate::moment::Moment;

pub use error::{AssembleError, MAX_LAYERS};
pub use input::{
    Arg, BaseRef, CONTEXT_EPOCH, ContextFile, Extras, FileSource, Rerun, StageInput, StageSecret,
};
pub use plan::{BuildPlan, Instruction, Merged, PlannedSecret, PlannedStage, PlannedStep, Written};

/// Checks that the values of arguments stay values, whoever let them in.
fn check_values(stages: &[StageInput]) -> Result<(), AssembleError> {
    for (stage, value) in stages.iter().flat_map(|stage| stage.args.iter().map(move |arg| (stage, arg))) {
        let (stage, arg) = (stage.name.clone(), value.name.clone());
        if value.value.chars().any(char::is_control) || !is_variable_name(&arg) {
            return Err(AssembleError::NotOneLine { stage, arg });
        }
        if Line::new("ARG").assignment(&arg, &Template::literal(&value.value)).text().len() > MAX_PART_LINE {
            return Err(AssembleError::TooLong { stage, arg, size: value.value.len() });
        }
    }
    Ok(())
}

/// Checks that what stages start from is a name.
fn check_base(base: &BaseRef, extras: &Extras<'_>) -> Result<(), AssembleError> {
    let (BaseRef::ContainerImage(name) | BaseRef::ForeignImage(name) | BaseRef::ContextTar(name)) = base;
    let (native, relay) = (extras.native.map(|native| &native.image), extras.relay.map(|relay| &relay.image));
    let mut names = native.into_iter().chain(relay).chain([name]);
    match names.find(|name| !is_image_name(name)) {
        Some(name) => Err(AssembleError::NotABase { name: name.clone() }),
        None => Ok(()),
    }
}

/// Assembles the stages, which start from `base` and stand on what has the digest `ground` ([`ground()`]).
///
/// # Errors
/// When there is no stage, or the stages have more layers than engines take, also after merging.
pub fn assemble(
    arch: Arch,
    base: &BaseRef,
    ground: &Digest,
    stages: &[StageInput],
    extras: &Extras<'_>,
) -> Result<BuildPlan, AssembleError> {
    if stages.is_empty() {
        return Err(AssembleError::NoStages);
    }
    check_values(stages)?;
    check_base(base, extras)?;
    let mut unpinned = reach::check(stages)?;
    let fitted = merge::fit(stages)?;
    let context = reach::context(stages);
    let base_key = base_key(arch, ground);
    let (mut key, mut form) = (base_key, None);
    let mut writer = writer::Writer::new(extras, base);
    let mut planned: Vec<PlannedStage> = Vec::with_capacity(stages.len());
    for (index, (stage, fitted)) in stages.iter().zip(&fitted).enumerate() {
        let part = fitted.as_ref().map_or(&stage.part, |fitted| &fitted.part);
        writer.stage(stages, index, part);
        let copied = reach::copied(stage, &context);
        key = stage_key(&key, stage, &copied);
        form = form_key(form, &key, fitted.as_ref());
        planned.push(PlannedStage {
            name: stage.name.clone(),
            version: stage.version.clone(),
            target: build_stage::name(&stage.name),
            key,
            form: form.unwrap_or(key),
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
    check_values(stages)?;
    reach::check(stages)?;
    merge::fit(stages).map(drop)
}

/// Returns the keys of stages, which stand on what has the digest `ground` ([`ground()`]): each is the digest of everything that decides its
/// stage's result.
pub fn stage_keys(arch: Arch, ground: &Digest, stages: &[StageInput]) -> Vec<Digest> {
    let context = reach::context(stages);
    let mut key = base_key(arch, ground);
    let mut next = |stage| {
        key = stage_key(&key, stage, &reach::copied(stage, &context));
        key
    };
    stages.iter().map(&mut next).collect()
}

/// Returns for each stage whether a build may start from its result alone, as another machine made it: no later stage takes
/// files from one before it, and neither it nor one before it has a secret.
pub fn starting_points(stages: &[StageInput]) -> Vec<bool> {
    reach::starting_points(stages)
}

/// Returns the digest of what the stages of a project stand on: the base, the moment that the packages are of which their parts
/// install, where that is settled, and the time that commands are told, in seconds since 1970.
pub fn ground(base: &Digest, snapshot: Option<Moment>, epoch: u64) -> Digest {
    let mut hasher = KeyHasher::new("pib ground 2");
    hasher.field(base.as_bytes()).field(snapshot.map_or_else(String::new, |moment| moment.to_string()));
    hasher.field(epoch.to_le_bytes());
    hasher.finish()
}

fn base_key(arch: Arch, digest: &Digest) -> Digest {
    let mut hasher = KeyHasher::new("pib base key 1");
    hasher.field(arch.platform()).field(digest.as_bytes());
    hasher.finish()
}

/// What decides a stage's result is taken by name, here and below: a further field cannot be forgotten. A version is in the
/// lock, and native programs give the same.
fn stage_key(before: &Digest, stage: &StageInput, copied: &[&ContextFile]) -> Digest {
    let StageInput { name, version: _, args, part, files, native: _, recorded, secrets } = stage;
    let mut hasher = KeyHasher::new("pib stage key 3");
    hasher.field(before.as_bytes()).field(name.as_str()).field(&part.text);
    if *recorded {
        hasher.field("recorded");
    }
    hasher.field((args.len() as u64).to_le_bytes());
    for Arg { name, value, keyed } in args {
        // Whatever its value is, a part sees whether there is one.
        hasher.field(name).field([u8::from(*keyed)]).field(if *keyed { value } else { "" });
    }
    let mut files: Vec<&ContextFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // What it can copy of other stages is told from its own by standing last.
    for file in files.into_iter().chain(copied.iter().copied()) {
        let ContextFile { path, source, digest, size: _, mode } = file;
        let is_folder = matches!(source, FileSource::Folder);
        hasher.field(path).field(digest.as_bytes());
        hasher.field([u8::from(is_folder)]).field(mode.bits().to_le_bytes());
    }
    for StageSecret { id, digest } in secrets {
        hasher.field("secret").field(id);
        hasher.field(digest.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
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
