//! Looks beyond one stage: what it takes from others, and what others would do to it.

use std::collections::BTreeSet;

use crate::build_stage;
use crate::id::{CLEANUP, Digest, INIT};
use crate::part::{Assignment, Reach, StageRef};
use crate::suggest;
use crate::variable::Variable;

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

/// What BuildKit tells parts of the machine that builds (<https://docs.docker.com/build/building/variables/#pre-defined-build-arguments>).
const BUILDER: [&str; 4] = ["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"];

/// Checks what stages take from each other, and that what the engine fetches for recorded ones is what their parts say; returns
/// what each has it fetch without saying what that must be.
pub(super) fn check(stages: &[StageInput]) -> Result<Vec<Vec<String>>, AssembleError> {
    let in_part = |error| AssembleError::Part(Box::new(error));
    let mut all = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let part = &stage.part;
        for copy in &part.copies {
            let reach = part.reach(copy, &stage.args);
            match &reach {
                Reach::Outside => return Err(in_part(part.outside(copy))),
                Reach::Path(path) if !reach.stays_in(stage.name.as_str()) && !has(stages, path) => {
                    return Err(in_part(part.missing(copy, path, "no stage of this build has")));
                }
                _ => {}
            }
        }
        if let Some(remote) = part.remotes.first().filter(|_| stage.recorded) {
            let instead = "Fetch it with RUN, by a program such as curl: pib records that.";
            return Err(in_part(part.unrecorded(remote.span.clone(), &remote.text, instead)));
        }
        if let Some(own) =
            part.declares.iter().find(|own| BUILDER.contains(&&*own.name)).filter(|_| stage.recorded)
        {
            return Err(in_part(part.of_builder(own)));
        }
        let unpinned = part.remotes.iter().filter(|remote| !remote.is_pinned);
        let mut fetched: Vec<String> = unpinned.map(|remote| remote.text.clone()).collect();
        for from in &part.froms {
            if origin(stages, index, from)? != Origin::Image || from.is_pinned() {
                continue;
            }
            let image = format!("container image {}", from.name);
            if stage.recorded {
                let instead = "Name it with its digest, NAME@sha256:DIGEST.";
                return Err(in_part(part.unrecorded(from.span.clone(), &image, instead)));
            }
            fetched.push(image);
        }
        fetched.dedup();
        all.push(fetched);
        check_env(&stages[..index], stage)?;
    }
    Ok(all)
}

/// Returns whether the stages' files have a path of the context, as a file or a folder.
fn has(stages: &[StageInput], path: &str) -> bool {
    let is = |file: &ContextFile| {
        file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path == "stages" || stages.iter().any(|stage| stage.files.iter().any(is))
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
        None if from.is_image() => return Ok(Origin::Image),
        None => {
            let near = suggest::nearest(name, known.iter().map(|stage| stage.name.as_str()));
            let near = near.map(|near| format!("Did you mean `{near}`? ")).unwrap_or_default();
            let help = format!("{near}A container image is named with its tag, {name}:latest.");
            ("which is no earlier stage of this build", help)
        }
    };
    Err(AssembleError::Part(Box::new(stage.part.unknown_from(from, what, help))))
}

/// Returns for each stage whether a build may start from its result alone, as another machine made it: no later stage takes
/// files from one before it, and neither it nor one before it has a secret, which its files may show.
pub(super) fn starting_points(stages: &[StageInput]) -> Vec<bool> {
    let earliest = |index: usize| {
        let froms = stages[index].part.froms.iter();
        let found = froms.filter_map(move |from| match origin(stages, index, from) {
            Ok(Origin::Stage(found)) => Some(found),
            Ok(Origin::Image) | Err(_) => None,
        });
        found.min().unwrap_or(index)
    };
    let secret = stages.iter().position(|stage| !stage.secrets.is_empty()).unwrap_or(stages.len());
    let is_one =
        |index: usize| index < secret && (index + 1..stages.len()).all(|later| earliest(later) >= index);
    (0..stages.len()).map(is_one).collect()
}

/// Refuses arguments of a stage that the `ENV` of an earlier one overrides.
fn check_env(earlier: &[StageInput], stage: &StageInput) -> Result<(), AssembleError> {
    for before in earlier {
        for env in &before.part.leaves.env {
            let declared = || stage.part.declares.iter().filter(|own| own.name == env.name);
            let arg = stage.args.iter().find(|arg| arg.name == env.name);
            if let Some(arg) = arg.filter(|arg| !has_value(env, arg, before)) {
                return Err(match declared().next() {
                    // The part's own, which the command line gives a value.
                    Some(own) => hidden_in_part(stage, own, before),
                    None => hidden(stage, arg, before),
                });
            }
            let own = |own: &&Assignment| arg.is_none() && own.value.is_some();
            let other = |own: &&Assignment| text(own).is_none() || text(own) != text(env);
            if let Some(own) = declared().filter(own).find(other) {
                return Err(hidden_in_part(stage, own, before));
            }
        }
    }
    Ok(())
}

fn hidden_in_part(stage: &StageInput, own: &Assignment, by: &StageInput) -> AssembleError {
    AssembleError::Part(Box::new(stage.part.hidden(own, by.name.as_str())))
}

fn hidden(stage: &StageInput, arg: &Arg, by: &StageInput) -> AssembleError {
    let (name, arg, by) = (stage.name.clone(), arg.name.clone(), by.name.clone());
    let is_variable = Variable::ALL.iter().any(|variable| variable.arg() == arg);
    let own = match is_variable {
        true => format!("Take {arg} out of `uses` of `{name}`"),
        false => {
            format!("Rename what becomes {arg} for `{name}`: its config key, or the variable in [variables]")
        }
    };
    let help = format!(
        "{own}, or take {arg} out of what `{by}` sets by ENV; [patch] in pib.toml replaces a stage of somebody else's."
    );
    AssembleError::Hidden { stage: name, arg, by, help }
}

/// Returns whether a variable that the stage `before` sets has the value of an argument all the same.
fn has_value(env: &Assignment, arg: &Arg, before: &StageInput) -> bool {
    let passed_on = env.value.as_ref().is_some_and(|value| value.is_variable(&env.name));
    let given = || before.args.iter().any(|given| given.name == arg.name && given.value == arg.value);
    (passed_on && given()) || text(env) == Some(&arg.value)
}

/// Returns a value that has no variables.
fn text(assignment: &Assignment) -> Option<&str> {
    assignment.value.as_ref()?.text()
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
        source: FileSource::Bytes(bytes.into()),
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
    let reaches = stage.part.copies.iter().map(|copy| stage.part.reach(copy, &stage.args));
    let beyond: BTreeSet<Reach> = reaches.filter(|reach| !reach.stays_in(stage.name.as_str())).collect();
    context.iter().filter(|file| beyond.iter().any(|reach| reach.has(&file.path))).collect()
}
