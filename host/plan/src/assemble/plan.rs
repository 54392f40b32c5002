//! What an engine builds.

use semver::Version;

use super::error::MAX_LAYERS;
use super::input::ContextFile;
use crate::id::{Arch, Digest, StageName};
use crate::ingredients::Ingredients;
use crate::{part, suggest};

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
    /// Where it comes from in the stage's part; else it is pib's own.
    pub written: Option<Written>,
}

/// An instruction as the author of a part wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The line of the part on which it starts, counted from 1.
    pub line: usize,
    /// Its own lines as one; those of a heredoc are left out.
    pub text: String,
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

/// Instructions of a part that became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The part's stage.
    pub stage: StageName,
    /// The instructions, in order.
    pub instructions: Vec<Instruction>,
}

/// An instruction, as it stands in its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The line of the part on which it starts, counted from 1.
    pub line: usize,
    /// Its text on one line, without its options.
    pub text: String,
}

impl BuildPlan {
    /// Returns the index of the stage whose build stage is called `target`.
    pub fn index_of(&self, target: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.target == target)
    }

    /// Says of each stage, up to the one with the index `last`, what it fetches without saying what that must be.
    pub fn unpinned(&self, last: usize) -> Vec<String> {
        let stages = self.stages.iter().take(last + 1).filter(|stage| !stage.unpinned.is_empty());
        let warnings = stages.map(|stage| {
            let what = stage.unpinned.join(", ");
            format!(
                "stage `{}` fetches what pib cannot compare: {what}; it is not built again when that changes",
                stage.name
            )
        });
        warnings.collect()
    }

    /// Says of which stages instructions are merged, where there are any.
    pub fn merged_text(&self) -> Option<String> {
        merged_summary(&self.merged)
    }

    /// Returns the instructions that became the one that starts on `line` of the part of `stage`, if it was merged.
    pub fn merged_at(&self, stage: &str, line: usize) -> Option<&Merged> {
        self.merged.iter().find(|merged| {
            merged.stage.as_str() == stage
                && merged.instructions.first().is_some_and(|first| first.line == line)
        })
    }
}

/// Returns how many layers fewer there are for what was merged.
pub(crate) fn saved_layers(merged: &[Merged]) -> usize {
    merged.iter().map(|merged| merged.instructions.len() - 1).sum()
}

/// Says which stages have merged instructions, where there are any.
pub(crate) fn merged_summary(merged: &[Merged]) -> Option<String> {
    let mut stages: Vec<&str> = merged.iter().map(|merged| merged.stage.as_str()).collect();
    stages.dedup();
    (!stages.is_empty()).then(|| {
        let saved = saved_layers(merged);
        let stages = suggest::list(stages);
        format!("container engines take at most {MAX_LAYERS} layers: {saved} fewer by merging instructions of {stages}")
    })
}
