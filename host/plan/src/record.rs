//! What earlier builds left, and why a stage is built again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::assemble::{BuildPlan, PlannedStage};
use crate::id::{Digest, StageName};

pub use crate::ingredients::Ingredients;

/// The newest form of a record that this code reads and writes.
const VERSION: u32 = 1;
/// How many keys are kept of builds before the last one: who changes something back finds it built.
const MAX_KEYS: usize = 2000;
/// How many differences are told; more would not be read.
const MAX_REASONS: usize = 3;

/// The record of a project's builds with one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    version: u32,
    base: Option<Digest>,
    stages: Vec<Recorded>,
    /// The forms of all stages that were built, the newest last.
    keys: Vec<Digest>,
    /// Which of these no part ran for: they came from a shared cache.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pulled: BTreeSet<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    name: StageName,
    key: Digest,
    #[serde(flatten)]
    ingredients: Ingredients,
}

/// Whether a stage must be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was built before, just so.
    Built,
    /// It must be built, for this reason.
    ToBuild(String),
}

impl Default for BuildRecord {
    fn default() -> Self {
        Self { version: VERSION, base: None, stages: Vec::new(), keys: Vec::new(), pulled: BTreeSet::new() }
    }
}

impl BuildRecord {
    /// Returns the record that a file's text holds; an empty one where it holds none that this code reads, since all
    /// that a record says is why.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).ok().filter(|record: &Self| record.version == VERSION).unwrap_or_default()
    }

    /// Returns the text of a file.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Takes note that the stages of `plan` are built, up to the one called `last`, or all of them.
    pub fn note(&mut self, plan: &BuildPlan, last: Option<&StageName>) {
        let end = last.and_then(|last| plan.stages.iter().position(|stage| stage.name == *last));
        let (built, rest) = plan.stages.split_at(end.map_or(plan.stages.len(), |end| end + 1));
        let mut stages: Vec<Recorded> = built.iter().map(Recorded::of).collect();
        // What was not asked for keeps what is known of it.
        let known = self.stages.drain(..).filter(|old| rest.iter().any(|stage| stage.name == old.name));
        stages.extend(known);
        self.stages = stages;
        self.base = Some(plan.base);
        self.keys.retain(|key| built.iter().all(|stage| stage.form != *key));
        self.keys.extend(built.iter().map(|stage| stage.form));
        let old = self.keys.len().saturating_sub(MAX_KEYS);
        self.keys.drain(..old);
        self.pulled.retain(|form| self.keys.contains(form));
    }

    /// Takes note that of the first `count` stages of `plan`, those up to the index `pulled` came from a shared cache, and the
    /// others ran.
    pub fn note_pulled(&mut self, plan: &BuildPlan, count: usize, pulled: Option<usize>) {
        for (index, stage) in plan.stages.iter().take(count).enumerate() {
            match pulled.is_some_and(|last| index <= last) {
                true => self.pulled.insert(stage.form),
                false => self.pulled.remove(&stage.form),
            };
        }
    }

    /// Returns whether the stage's part has run in a build, just so.
    pub fn has_run(&self, stage: &PlannedStage) -> bool {
        self.keys.contains(&stage.form) && !self.pulled.contains(&stage.form)
    }

    /// Returns the keyed digest of a secret, as the last build had it.
    pub fn secret(&self, id: &str) -> Option<Digest> {
        self.stages.iter().find_map(|stage| *stage.ingredients.secrets.get(id)?)
    }

    /// Tells for each stage of `plan` whether it must be built, and why.
    pub fn judge(&self, plan: &BuildPlan) -> Vec<Verdict> {
        let mut changed: Option<&StageName> = None;
        let stages = plan.stages.iter().enumerate();
        stages
            .map(|(index, stage)| {
                if self.keys.contains(&stage.form) {
                    return Verdict::Built;
                }
                let before = index.checked_sub(1).and_then(|index| plan.stages.get(index));
                let why = self.why(plan, stage, before, changed);
                changed.get_or_insert(&stage.name);
                Verdict::ToBuild(why)
            })
            .collect()
    }

    fn why(
        &self,
        plan: &BuildPlan,
        stage: &PlannedStage,
        before: Option<&PlannedStage>,
        changed: Option<&StageName>,
    ) -> String {
        if self.stages.is_empty() {
            return "nothing was built yet".to_owned();
        }
        let Some(index) = self.stages.iter().position(|old| old.name == stage.name) else {
            return "it is new".to_owned();
        };
        let mut reasons = stage.ingredients.differences(&self.stages[index].ingredients);
        if reasons.is_empty() {
            let earlier = index.checked_sub(1).and_then(|index| self.stages.get(index)).map(|old| &old.name);
            let now = before.map(|stage| &stage.name);
            return match (changed, now) {
                (Some(changed), _) => format!("{changed} is built before it"),
                (None, Some(now)) if earlier != Some(now) => format!("it comes after {now} now"),
                // The key that the first stage stands on is of both.
                (None, None) if self.base != Some(plan.base) && stage.ingredients.recorded => {
                    "the base or the snapshot changed".to_owned()
                }
                (None, None) if self.base != Some(plan.base) => "the base changed".to_owned(),
                _ => "what it starts from is not as it was".to_owned(),
            };
        }
        let more = reasons.len().saturating_sub(MAX_REASONS);
        reasons.truncate(MAX_REASONS);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{}{more}", reasons.join(", "))
    }
}

impl Recorded {
    fn of(stage: &PlannedStage) -> Self {
        Self { name: stage.name.clone(), key: stage.key, ingredients: stage.ingredients.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{Arg, BaseRef, Extras, StageInput, StageSecret, assemble};
    use crate::id::Arch;
    use crate::part;

    fn stage(name: &str, value: &str, text: &str) -> StageInput {
        StageInput {
            name: name.parse().unwrap(),
            version: semver::Version::new(1, 0, 0),
            args: vec![Arg { name: "X".to_owned(), value: value.to_owned(), keyed: true }],
            part: part::check("p", text).unwrap(),
            files: vec![],
            native: true,
            recorded: false,
            secrets: vec![],
        }
    }

    fn plan(base: &str, stages: &[StageInput]) -> BuildPlan {
        let name = BaseRef::ContainerImage("b".to_owned());
        assemble(Arch::Arm64, &name, &Digest::of(base.as_bytes()), stages, &Extras::default()).unwrap()
    }

    fn reasons(record: &BuildRecord, plan: &BuildPlan) -> Vec<String> {
        let verdicts = record.judge(plan).into_iter();
        verdicts
            .map(|verdict| match verdict {
                Verdict::Built => String::new(),
                Verdict::ToBuild(why) => why,
            })
            .collect()
    }

    #[test]
    fn what_was_pulled_has_not_run() {
        let plan = plan("base", &[stage("a", "1", "RUN a"), stage("b", "1", "RUN b")]);
        let mut record = BuildRecord::default();
        let ran =
            |record: &BuildRecord| plan.stages.iter().map(|stage| record.has_run(stage)).collect::<Vec<_>>();
        record.note(&plan, None);
        record.note_pulled(&plan, 2, Some(0));
        assert_eq!(ran(&record), [false, true]);
        let mut read = BuildRecord::parse(&record.to_text());
        assert_eq!(read, record);
        // What the engine has already is noted once more, and nothing of it has run since.
        read.note(&plan, None);
        assert_eq!(ran(&read), [false, true]);
        read.note_pulled(&plan, 2, None);
        assert_eq!(ran(&read), [true, true]);
        assert_eq!(ran(&BuildRecord::default()), [false, false]);
        assert_eq!(record.judge(&plan), [Verdict::Built, Verdict::Built]);
    }

    #[test]
    fn each_change_is_told_at_its_stage() {
        let stages = [stage("a", "1", "RUN a"), stage("b", "1", "RUN b"), stage("c", "1", "RUN c")];
        let first = plan("base", &stages);
        let mut record = BuildRecord::default();
        assert_eq!(reasons(&record, &first)[1], "nothing was built yet");
        record.note(&first, None);
        assert_eq!(reasons(&record, &first), ["", "", ""]);
        record = BuildRecord::parse(&record.to_text());
        let changed = |index: usize, other: StageInput| {
            let mut stages = stages.clone();
            stages[index] = other;
            reasons(&record, &plan("base", &stages))
        };
        assert_eq!(
            changed(1, stage("b", "2", "RUN b")),
            ["", "X changed from `1` to `2`", "b is built before it"]
        );
        assert_eq!(changed(2, stage("c", "1", "RUN d")), ["", "", "its part changed"]);
        let mut secret = stage("c", "1", "RUN c");
        secret.secrets.push(StageSecret { id: "c.k".to_owned(), digest: None });
        assert_eq!(changed(2, secret), ["", "", "the secret c.k is new"]);
        assert_eq!(changed(1, stage("n", "1", "RUN n")), ["", "it is new", "n is built before it"]);
        assert_eq!(reasons(&record, &plan("other", &stages))[0], "the base changed");
        let recorded = stages.clone().map(|stage| StageInput { recorded: true, ..stage });
        let mut of_recorded = BuildRecord::default();
        of_recorded.note(&plan("base", &recorded), None);
        assert_eq!(reasons(&of_recorded, &plan("other", &recorded))[0], "the base or the snapshot changed");
        let gone = plan("base", &[stages[0].clone(), stages[2].clone()]);
        assert_eq!(reasons(&record, &gone), ["", "it comes after a now"]);
    }

    #[test]
    fn a_stage_whose_instructions_are_merged_otherwise_is_told() {
        let runs = |count: usize| "RUN true\n".repeat(count);
        let stages = [stage("a", "1", &runs(60)), stage("b", "1", &runs(60)), stage("c", "1", "RUN c")];
        let (two, three) = (plan("base", &stages[..2]), plan("base", &stages));
        let mut record = BuildRecord::default();
        record.note(&two, None);
        record = BuildRecord::parse(&record.to_text());
        assert_eq!(reasons(&record, &two), ["", ""]);
        assert_eq!(two.stages[1].key, three.stages[1].key);
        assert_eq!(reasons(&record, &three), ["", "other instructions of it are merged", "it is new"]);
    }

    #[test]
    fn what_was_built_once_stays_built_and_a_piece_is_noted_as_a_piece() {
        let one = plan("base", &[stage("a", "1", "RUN a"), stage("b", "1", "RUN b")]);
        let two = plan("base", &[stage("a", "2", "RUN a"), stage("b", "1", "RUN b")]);
        let mut record = BuildRecord::default();
        record.note(&one, None);
        record.note(&two, Some(&"a".parse().unwrap()));
        assert_eq!(reasons(&record, &two), ["", "what it starts from is not as it was"]);
        assert_eq!(reasons(&record, &one), ["", ""]);
        assert_eq!(BuildRecord::parse("{}"), BuildRecord::default());
        assert_eq!(BuildRecord::parse("nonsense"), BuildRecord::default());
    }
}
