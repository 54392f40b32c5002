//! Finds the line of a part that an engine's message speaks of.
//!
//! Engines know only the assembled Dockerfile, and old ones not even its lines: they number the steps. The plan knows where
//! each of them stands.

use pib_plan::assemble::{BuildPlan, PlannedStep, Written};

/// A line of a stage's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) stage: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// The instruction there, as its author wrote it.
    pub(super) text: String,
}

/// Returns the location of a line of the assembled Dockerfile, where it belongs to a part.
pub(super) fn of_line(plan: &BuildPlan, line: usize) -> Option<Location> {
    of_planned(plan, plan.steps.iter().rev().find(|step| step.line <= line)?)
}

/// Returns the location that a message like `dockerfile parse error line 12: unknown instruction` names.
pub(super) fn of_message(plan: &BuildPlan, message: &str) -> Option<Location> {
    let (_, rest) = message.split_once("parse error")?;
    let (_, rest) = rest.split_once("line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    of_line(plan, digits.parse().ok()?)
}

/// Returns the location of the only instruction that `text`, an address or path, stands in.
pub(super) fn of_text(plan: &BuildPlan, text: &str) -> Option<Location> {
    let mut lines = plan.dockerfile.lines().enumerate().filter(|(_, line)| line.contains(text));
    let (index, _) = lines.next()?;
    let only = lines.next().is_none();
    of_line(plan, index + 1).filter(|_| only)
}

/// Returns the location of the instruction `number`, counted from 1 over the whole Dockerfile.
pub(super) fn of_number(plan: &BuildPlan, number: usize) -> Option<Location> {
    of_planned(plan, plan.steps.get(number.checked_sub(1)?)?)
}

/// Returns the location of BuildKit's step `[os 2/5]` of the stage with the index `stage`.
///
/// BuildKit counts what makes layers, and FROM where that is not another stage. It gives no number to `WORKDIR /`, which makes
/// nothing, and yet counts it in the sum.
pub(super) fn of_step(plan: &BuildPlan, stage: usize, step: usize, steps: usize) -> Option<Location> {
    let own = plan.steps.iter().filter(|step| step.stage == Some(stage));
    let layers: Vec<&PlannedStep> = own.filter(|step| step.makes_layer()).collect();
    let before = steps.checked_sub(layers.len()).filter(|&before| before <= 1)?;
    let mut numbered = layers.into_iter().filter(|step| line(plan, step) != Some("WORKDIR /"));
    of_planned(plan, numbered.nth(step.checked_sub(before + 1)?)?)
}

fn line<'a>(plan: &'a BuildPlan, step: &PlannedStep) -> Option<&'a str> {
    plan.dockerfile.lines().nth(step.line.checked_sub(1)?)
}

fn of_planned(plan: &BuildPlan, step: &PlannedStep) -> Option<Location> {
    let Written { line, text } = step.written.clone()?;
    let stage = plan.stages.get(step.stage?)?;
    Some(Location { stage: stage.name.to_string(), line, text })
}

#[cfg(test)]
mod tests {
    use pib_plan::assemble::{Arg, BaseRef, Extras, StageInput, assemble};
    use pib_plan::id::{Arch, Digest};

    use super::*;

    fn plan(base: &BaseRef) -> BuildPlan {
        let stage = |name: &str, text: &str| StageInput {
            name: name.parse().unwrap(),
            version: semver::Version::new(1, 0, 0),
            args: vec![Arg { name: "A".to_owned(), value: "1".to_owned(), keyed: true }],
            part: pib_plan::part::check("part", text).unwrap(),
            files: vec![],
            native: true,
            recorded: false,
            secrets: vec![],
        };
        let stages = [
            stage("one", "# comment\nENV X=1\nRUN a \\\n  # inside\n\n  && b\nRUN c\n"),
            stage("two", "RUN d\nCOPY stages/two/x /x\nWORKDIR /srv\n"),
            stage("three", "RUN e\nRUN f\n"),
        ];
        assemble(Arch::Arm64, base, &Digest::of(b""), &stages, &Extras::default()).unwrap()
    }

    fn location(stage: &str, line: usize) -> Option<Location> {
        let text = match (stage, line) {
            ("one", 3) => "RUN a   && b",
            ("one", 7) => "RUN c",
            ("two", 1) => "RUN d",
            ("three", 1) => "RUN e",
            ("three", 2) => "RUN f",
            _ => "COPY stages/two/x /x",
        };
        Some(Location { stage: stage.to_owned(), line, text: text.to_owned() })
    }

    #[test]
    fn steps_lead_to_lines() {
        for base in [BaseRef::ContainerImage("b".to_owned()), BaseRef::ContextTar("base.tar".to_owned())] {
            let plan = plan(&base);
            assert_eq!(of_step(&plan, 0, 1, 3), None);
            assert_eq!(of_step(&plan, 0, 2, 3), location("one", 3));
            assert_eq!(of_step(&plan, 0, 3, 3), location("one", 7));
            assert_eq!(of_step(&plan, 1, 1, 3), location("two", 1));
            assert_eq!(of_step(&plan, 1, 2, 3), location("two", 2));
            // The stage begins with `WORKDIR /`.
            assert_eq!(of_step(&plan, 2, 1, 3), location("three", 1));
            assert_eq!(of_step(&plan, 2, 2, 3), location("three", 2));
            assert_eq!(of_step(&plan, 2, 3, 3), None);
            assert_eq!(of_step(&plan, 1, 2, 9), None);
            assert_eq!(of_step(&plan, 5, 0, 0), None);
        }
    }

    #[test]
    fn numbers_and_messages_lead_to_lines() {
        let plan = plan(&BaseRef::ContainerImage("b".to_owned()));
        // FROM, ARG, ENV, RUN, RUN, FROM, ARG, RUN, COPY.
        assert_eq!(of_number(&plan, 4), location("one", 3));
        assert_eq!(of_number(&plan, 9), location("two", 2));
        assert_eq!(of_number(&plan, 99), None);
        let line = plan.steps[8].line;
        let message = format!("dockerfile parse error line {line}: unknown instruction: FOO");
        assert_eq!(of_message(&plan, &message), location("two", 2));
        assert_eq!(of_message(&plan, "something else on line 3"), None);
        assert_eq!(of_text(&plan, "stages/two/x"), location("two", 2));
        assert_eq!((of_text(&plan, "RUN"), of_text(&plan, "stages/y")), (None, None));
    }
}
