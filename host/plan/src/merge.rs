//! Merges instructions, where the stages together make more file system layers than engines take.
//!
//! What is merged gives the same files as before. Consecutive `RUN`s become one that runs each command in a shell of
//! its own, and ends with the first that fails; consecutive `COPY`s of files into one folder become one. What cannot be
//! shown to be independent by its text stays as it is.
//!
//! No more is merged than must be, from the last stage back: so the engine's cache of the stages before stays good.
//! No key changes.

use crate::assemble::error::{AssembleError, MAX_LAYERS};
use crate::assemble::input::StageInput;
use crate::assemble::plan::{Instruction, Merged, saved_layers};
use crate::id::Digest;
use crate::part::Part;

mod candidates;
mod join;

use candidates::{Alike, Candidate};

/// The most instructions that become one; a failure of one runs all of them again.
const MAX_GROUP: usize = 64;
/// The most bytes that their commands may have together: kernels take 128 KiB as one argument of a program.
const MAX_TEXT: usize = 32 << 10;

/// A part some of whose instructions are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fitted {
    pub(crate) part: Part,
    pub(crate) merged: Vec<Merged>,
}

/// Returns the line of a part on which the command starts that failed, where `line` of an instruction's output is what
/// merged instructions say of that.
pub fn failed_line(line: &str) -> Option<usize> {
    let (start, end) = join::MARK;
    line.trim().strip_prefix(start)?.strip_suffix(end)?.parse().ok()
}

/// Merges instructions of the stages until there are no more layers than engines take; returns the parts that change.
///
/// # Errors
/// When there are more all the same.
pub(crate) fn fit(stages: &[StageInput]) -> Result<Vec<Option<Fitted>>, AssembleError> {
    let layers = layers(stages);
    let mut over = layers.saturating_sub(MAX_LAYERS);
    let mut fitted: Vec<Option<Fitted>> = stages.iter().map(|_| None).collect();
    if over == 0 {
        return Ok(fitted);
    }
    // However they are merged, these are too many: what a stranger writes is not read for that.
    if layers > MAX_LAYERS * MAX_GROUP {
        return Err(AssembleError::TooManyLayers { layers, merged: fewer(0), most: most(stages, &fitted) });
    }
    for (index, stage) in stages.iter().enumerate().rev() {
        if let Some(part) = merge(stage, over) {
            over -= saved_layers(&part.merged);
            fitted[index] = Some(part);
        }
        if over == 0 {
            return Ok(fitted);
        }
    }
    let merged = layers - MAX_LAYERS - over;
    Err(AssembleError::TooManyLayers { layers, merged: fewer(merged), most: most(stages, &fitted) })
}

/// Counts the layers. Those of native tools and emulators count with them and without, so that the same is merged each time.
fn layers(stages: &[StageInput]) -> usize {
    let own: usize = stages.iter().map(|stage| stage.part.layers()).sum();
    // After each row of stages with native tools an instruction takes their place away, and one does after the last stage that
    // is emulated. A stage after one that leaves another working directory goes back.
    let tidied = stages.chunk_by(|a, b| a.native == b.native).filter(|row| row[0].native).count();
    let followed = stages.split_last().map_or(&[][..], |(_, followed)| followed);
    own + tidied.max(1) + followed.iter().filter(|stage| stage.part.leaves.workdir).count()
}

fn fewer(merged: usize) -> String {
    match merged {
        0 => String::new(),
        saved => format!(", {saved} fewer where instructions can be merged"),
    }
}

/// Names the stages with most layers.
fn most(stages: &[StageInput], fitted: &[Option<Fitted>]) -> String {
    let layers = |index: usize| match &fitted[index] {
        Some(fitted) => fitted.part.layers(),
        None => stages[index].part.layers(),
    };
    let mut by_layers: Vec<usize> = (0..stages.len()).collect();
    by_layers.sort_by_key(|&index| std::cmp::Reverse(layers(index)));
    let most = by_layers.iter().take(3);
    most.map(|&index| format!("{} ({})", stages[index].name, layers(index))).collect::<Vec<_>>().join(", ")
}

/// Merges instructions of one part, so that it has up to `over` layers fewer.
fn merge(stage: &StageInput, over: usize) -> Option<Fitted> {
    let candidates = candidates::candidates(stage);
    let groups = group(&candidates, over);
    if groups.is_empty() {
        return None;
    }
    let merged = groups.iter().map(|group| instructions(stage, group)).collect();
    Some(Fitted { part: join::part(&stage.part, &groups), merged })
}

/// Chooses the candidates that become one, from the end of the part back.
fn group(candidates: &[Option<Candidate>], mut over: usize) -> Vec<Vec<&Candidate>> {
    let mut groups: Vec<Vec<&Candidate>> = Vec::new();
    let mut next: Option<Group<'_>> = None;
    for candidate in candidates.iter().rev() {
        let Some(candidate) = candidate else {
            groups.extend(next.take().map(Group::done));
            continue;
        };
        match &mut next {
            Some(group) if over > 0 && group.takes(candidate) => {
                group.candidates.push(candidate);
                over -= 1;
            }
            _ => {
                groups.extend(next.take().map(Group::done));
                next = Some(Group { candidates: vec![candidate] });
            }
        }
    }
    groups.extend(next.map(Group::done));
    groups.retain(|group| group.len() > 1);
    groups.reverse();
    groups
}

/// Candidates that become one, the last first.
struct Group<'a> {
    candidates: Vec<&'a Candidate>,
}

impl<'a> Group<'a> {
    /// Returns whether the candidate before the group may become one with it.
    fn takes(&self, candidate: &Candidate) -> bool {
        let size: usize = self.candidates.iter().map(|candidate| candidate.size).sum();
        let alike = self.candidates.iter().all(|other| other.alike == candidate.alike);
        alike
            && self.candidates.len() < MAX_GROUP
            && size + candidate.size <= MAX_TEXT
            && match candidate.alike {
                Alike::Run { .. } => self.downloads_as(candidate),
                // Of two files with one name the second would win in both cases; but engines refuse that in one.
                Alike::Copy { .. } => self
                    .candidates
                    .iter()
                    .all(|other| other.names.iter().all(|name| !candidate.names.contains(name))),
            }
    }

    /// Returns whether the kept downloads of packages are seen by all the commands or by none.
    fn downloads_as(&self, candidate: &Candidate) -> bool {
        let mut all = candidate.packages;
        self.candidates.iter().for_each(|other| all.add(&other.packages));
        self.candidates.iter().all(|other| other.packages.keeps() == all.keeps())
            && candidate.packages.keeps() == all.keeps()
    }

    fn done(mut self) -> Vec<&'a Candidate> {
        self.candidates.reverse();
        self.candidates
    }
}

fn instructions(stage: &StageInput, group: &[&Candidate]) -> Merged {
    let instructions = group.iter().map(|candidate| Instruction {
        line: candidate.line,
        text: match &candidate.alike {
            Alike::Run { .. } => format!("RUN {}", candidate.text),
            Alike::Copy { folder, .. } => format!("COPY {} {folder}", candidate.text),
        },
    });
    Merged { stage: stage.name.clone(), instructions: instructions.collect() }
}

impl Fitted {
    /// Returns the digest of how the instructions are merged.
    pub(crate) fn digest(&self) -> Digest {
        let lines = |merged: &Merged| -> String {
            let lines = merged.instructions.iter().map(|own| format!(" {}", own.line));
            format!("{}\n", lines.collect::<String>())
        };
        Digest::of(self.merged.iter().map(lines).collect::<String>().as_bytes())
    }
}

#[cfg(test)]
mod tests;
