//! Looks beyond one stage: what it takes from others, and what others would do to it.

use std::collections::BTreeSet;

use crate::build_stage;
use crate::id::{CLEANUP, Digest, INIT};
use crate::part::{Assignment, Reach, StageRef};
use crate::suggest;

use super::error::AssembleError;
use super::input::{Arg, ContextFile, FileSource, StageInput};

/// What an instruction copies from beside the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The stage with this index.
    Stage(usize),
    /// A container image.
    Image,
}

/// Checks what stages take from each other; returns what each fetches without saying what that must be.
pub(super) fn check(stages: &[StageInput]) -> Result<Vec<Vec<String>>, AssembleError> {
    let in_part = |error| AssembleError::Part(Box::new(error));
    let mut unpinned = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let part = &stage.part;
        let outside = part.copies.iter().find(|copy| Reach::of(&copy.path, &stage.args) == Reach::Outside);
        if let Some(copy) = outside {
            return Err(in_part(part.outside(copy)));
        }
        let mut fetched = part.unpinned.clone();
        for from in &part.froms {
            if origin(stages, index, from)? == Origin::Image && !from.name.contains("@sha256:") {
                fetched.push(format!("container image {}", from.name));
            }
        }
        fetched.dedup();
        unpinned.push(fetched);
        check_env(&stages[..index], stage)?;
    }
    Ok(unpinned)
}

/// Returns what a name stands for in the stage with this index.
pub(super) fn origin(stages: &[StageInput], index: usize, from: &StageRef) -> Result<Origin, AssembleError> {
    let name = match &*from.name {
        "init__" => INIT,
        "cleanup__" => CLEANUP,
        name => name,
    };
    let (known, _) = stages.split_at(index);
    let stage = &stages[index];
    let is = |stage: &StageInput| stage.name.as_str() == name || build_stage::name(&stage.name) == name;
    if let Some(found) = known.iter().position(is) {
        return Ok(Origin::Stage(found));
    }
    let (what, help) = match stages.iter().position(is) {
        Some(own) if own == index => (
            "which is this stage itself",
            "What it has is there already: copy within it by RUN cp.".to_owned(),
        ),
        Some(later) => {
            let help =
                format!("Order it: before = [\"{}\"] in [order] of `{}`.", stage.name, stages[later].name);
            ("a stage that is built later", help)
        }
        None if name.contains([':', '/', '@']) => return Ok(Origin::Image),
        None => {
            let near = suggest::nearest(name, known.iter().map(|stage| stage.name.as_str()));
            let near = near.map(|near| format!("Did you mean `{near}`? ")).unwrap_or_default();
            let help = format!("{near}A container image is named with its tag, {name}:latest.");
            ("which is no earlier stage of this build", help)
        }
    };
    Err(AssembleError::Part(Box::new(stage.part.unknown_from(from, what, help))))
}

/// Refuses arguments of a stage that the `ENV` of an earlier one overrides.
fn check_env(earlier: &[StageInput], stage: &StageInput) -> Result<(), AssembleError> {
    for before in earlier {
        for env in &before.part.leaves.env {
            let arg = stage.args.iter().find(|arg| arg.name == env.name);
            if let Some(arg) = arg.filter(|arg| !has_value(env, arg, before)) {
                let (stage, by) = (stage.name.clone(), before.name.clone());
                return Err(AssembleError::Hidden { stage, arg: arg.name.clone(), by });
            }
            let own = |own: &&Assignment| arg.is_none() && own.name == env.name && own.value.is_some();
            let other = |own: &&Assignment| plain(own).is_none() || plain(own) != plain(env);
            if let Some(own) = stage.part.declares.iter().filter(own).find(other) {
                let error = stage.part.hidden(own, before.name.as_str());
                return Err(AssembleError::Part(Box::new(error)));
            }
        }
    }
    Ok(())
}

/// Returns whether a variable that the stage `before` sets has the value of an argument all the same.
fn has_value(env: &Assignment, arg: &Arg, before: &StageInput) -> bool {
    let value = env.value.as_deref().unwrap_or_default().trim_matches('"');
    let passed_on = value == format!("${}", env.name) || value == format!("${{{}}}", env.name);
    let given = || before.args.iter().any(|given| given.name == arg.name && given.value == arg.value);
    (passed_on && given()) || plain(env) == Some(&arg.value)
}

/// Returns a value that is what is written.
fn plain(assignment: &Assignment) -> Option<&str> {
    let value = assignment.value.as_deref()?;
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = inner('"').or_else(|| inner('\'')).unwrap_or(value);
    (!value.contains(['$', '\\', '"', '\''])).then_some(value)
}

/// Returns the files of the whole context, sorted by path.
pub(super) fn context(stages: &[StageInput]) -> Vec<ContextFile> {
    let mut files: Vec<ContextFile> = stages.iter().flat_map(|stage| stage.files.iter().cloned()).collect();
    for stage in stages {
        files.extend((0..stage.part.files.len()).map(|index| inline(stage, index)));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

/// Returns a file whose content is part of a stage's part.
fn inline(stage: &StageInput, index: usize) -> ContextFile {
    let bytes = stage.part.files[index].content.clone().into_bytes();
    ContextFile {
        path: inline_path(stage, index),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        source: FileSource::Bytes(bytes),
        mode: crate::mode::Mode::FILE,
    }
}

/// Returns where such a file is in the context: no other stage's source reaches it there.
pub(super) fn inline_path(stage: &StageInput, index: usize) -> String {
    let file = &stage.part.files[index];
    let digest = Digest::of(file.content.as_bytes());
    format!("heredoc/{}/{}/{}", stage.name, &digest.hex()[..16], file.name)
}

/// Returns the files beyond its own that a stage can copy.
pub(super) fn copied<'a>(stage: &StageInput, context: &'a [ContextFile]) -> Vec<&'a ContextFile> {
    let reaches = stage.part.copies.iter().map(|copy| Reach::of(&copy.path, &stage.args));
    let beyond: BTreeSet<Reach> = reaches.filter(|reach| !reach.stays_in(stage.name.as_str())).collect();
    context.iter().filter(|file| beyond.iter().any(|reach| reach.has(&file.path))).collect()
}
