//! Writes the Dockerfile, and notes where each instruction stands in it.

use crate::build_stage;
use crate::dockerfile::{Line, Template};
use crate::emulation::{self, Emulation};
use crate::native::{self, Native};
use crate::packages;
use crate::part::{self, DEFAULT_SHELL, Part, Surroundings};
use crate::relay::{self, Relay};

use super::input::{BaseRef, EPOCH, Extras, StageInput, StageSecret};
use super::plan::{PlannedStep, Written};
use super::reach::{self, Origin};

/// A Dockerfile under way.
pub(super) struct Writer<'a> {
    extras: &'a Extras<'a>,
    base: &'a BaseRef,
    text: String,
    steps: Vec<PlannedStep>,
    /// The line that is written next, counted from 1.
    line: usize,
    /// The index of the stage that is written.
    current: Option<usize>,
    /// The shell that the engine uses now; none where a container image may have chosen one.
    shell: Option<Vec<String>>,
    /// Whether pib's program has started the commands before, so that the folder may be there in which it was mounted.
    runner: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(extras: &'a Extras<'a>, base: &'a BaseRef) -> Self {
        let foreign = matches!(base, BaseRef::ForeignImage(_));
        let mut writer = Self {
            extras,
            base,
            text: String::new(),
            steps: Vec::new(),
            line: 1,
            current: None,
            shell: (!foreign).then(default_shell),
            runner: false,
        };
        writer.push("# Written by pib. Changes here are lost.\n");
        if let Some(emulation) = extras.emulation {
            writer.push("\n");
            writer.own(&emulation.stage_line());
        }
        if let Some(native) = extras.native {
            writer.push("\n");
            native.stage_lines().iter().for_each(|line| writer.own(line));
        }
        if let Some(relay) = extras.relay {
            writer.push("\n");
            writer.own(&relay.stage_line());
        }
        writer
    }

    /// Writes a stage, whose part may be merged.
    pub(super) fn stage(&mut self, stages: &[StageInput], index: usize, part: &Part) {
        let stage = &stages[index];
        self.current = Some(index);
        self.push("\n");
        self.start(stages, index);
        self.push(&format!("# stage {} {}\n", stage.name, stage.version));
        self.reset(stages, index);
        for arg in &stage.args {
            self.own(&Line::new("ARG").assignment(&arg.name, &Template::literal(&arg.value)));
        }
        self.part(stages, index, part);
    }

    /// Ends the Dockerfile.
    pub(super) fn finish(mut self, stages: &[StageInput]) -> (String, Vec<PlannedStep>) {
        if self.runner {
            self.push("\n# The end of pib's own tools: nothing of them stays.\n");
            if stages.last().is_some_and(|stage| stage.part.leaves.user) {
                self.own(&Line::new("USER").name(ROOT));
            }
            self.without_runner();
        }
        (self.text, self.steps)
    }

    /// Writes what a stage starts from.
    fn start(&mut self, stages: &[StageInput], index: usize) {
        let target = build_stage::name(&stages[index].name);
        let from = |name: &str| Line::new("FROM").name(name).name("AS").name(&target);
        match (index.checked_sub(1), self.base) {
            (Some(before), _) => self.own(&from(&build_stage::name(&stages[before].name))),
            (None, BaseRef::ContainerImage(name) | BaseRef::ForeignImage(name)) => self.own(&from(name)),
            (None, BaseRef::ContextTar(path)) => {
                self.own(&from("scratch"));
                self.own(&Line::new("ADD").list([path, "/"]));
            }
        }
        if let (0, Some(epoch)) = (index, self.extras.epoch) {
            self.own(&Line::new("ENV").assignment(EPOCH, &Template::literal(&epoch.to_string())));
        }
    }

    /// Undoes what the part before, or somebody's container image, has chosen.
    fn reset(&mut self, stages: &[StageInput], index: usize) {
        let before = index.checked_sub(1).map(|before| &stages[before].part.leaves);
        let foreign = matches!(self.base, BaseRef::ForeignImage(_));
        if before.map_or(foreign, |left| left.user) {
            self.own(&Line::new("USER").name(ROOT));
        }
        if before.map_or(foreign, |left| left.workdir) {
            self.own(&Line::new("WORKDIR").name("/"));
        }
        let runner = self.runner_of(&stages[index]);
        if !runner.is_empty() {
            if !self.runner {
                self.extras
                    .relay
                    .iter()
                    .flat_map(|relay| relay.copy_lines())
                    .for_each(|line| self.own(&line));
            }
            self.runner = true;
            self.choose(started_by(runner, &default_shell()));
        } else if self.runner {
            self.without_runner();
        } else {
            self.choose(default_shell());
        }
    }

    /// Returns pib's own program with its options, where it starts the commands of a stage.
    fn runner_of(&self, stage: &StageInput) -> &'static [&'static str] {
        let is_native = self.extras.native.is_some() && stage.native;
        match self.extras {
            Extras { emulation: Some(_), .. } => &emulation::RUNNER,
            Extras { relay, .. } if is_native || (relay.is_some() && stage.recorded) => &native::RUNNER,
            // The build argument with the port's address is there for every command; `--open` has this one not use it.
            Extras { relay: Some(relay), .. } if relay.is_copied() => &relay::OPEN,
            _ => &[],
        }
    }

    /// Has commands start by themselves again.
    fn without_runner(&mut self) {
        self.runner = false;
        self.choose(default_shell());
        let tidy = match (self.extras.emulation, self.extras.relay) {
            (Some(emulation), _) => emulation.tidy_line(),
            (None, Some(relay)) => relay.tidy_line(),
            (None, None) => native::tidy_line(),
        };
        self.own(&tidy);
    }

    /// Chooses a shell, where it is not chosen already.
    fn choose(&mut self, shell: Vec<String>) {
        if self.shell.as_ref() != Some(&shell) {
            self.own(&Line::new("SHELL").list(shell.iter().map(String::as_str)));
            self.shell = Some(shell);
        }
    }

    /// Writes a part, its instructions told of what they are to use.
    fn part(&mut self, stages: &[StageInput], index: usize, part: &Part) {
        let native = self.extras.native.filter(|_| stages[index].native);
        let runner = self.runner_of(&stages[index]);
        let surroundings = Assembled { extras: self.extras, stages, index, part, native, runner };
        for step in &part.steps {
            let written = Written { line: step.line, text: step.source.clone() };
            for line in part.lines(step, &surroundings) {
                self.instruction(&line, Some(written.clone()));
            }
        }
        if let Some(shell) = &part.leaves.shell {
            self.shell = Some(started_by(runner, shell));
        }
    }

    /// Writes an instruction of pib's own.
    fn own(&mut self, line: &Line) {
        self.instruction(line, None);
    }

    fn instruction(&mut self, line: &Line, written: Option<Written>) {
        let keyword = line.text().split(' ').next().unwrap_or_default().to_owned();
        if part::makes_layer(&keyword) && self.is_prebuilt() {
            return;
        }
        self.steps.push(PlannedStep { line: self.line, keyword, stage: self.current, written });
        self.push(line.text());
        self.push("\n");
    }

    /// Returns whether the files of the stage that is written are there already. What it sets for later ones is not.
    fn is_prebuilt(&self) -> bool {
        self.current.zip(self.extras.prebuilt).is_some_and(|(current, last)| current <= last)
    }

    fn push(&mut self, text: &str) {
        self.line += text.matches('\n').count();
        self.text.push_str(text);
    }
}

fn default_shell() -> Vec<String> {
    DEFAULT_SHELL.map(str::to_owned).to_vec()
}

/// Returns a shell that a program starts.
fn started_by(runner: &[&str], shell: &[String]) -> Vec<String> {
    runner.iter().map(|word| (*word).to_owned()).chain(shell.iter().cloned()).collect()
}

/// What the part of a stage is assembled with.
struct Assembled<'a> {
    extras: &'a Extras<'a>,
    stages: &'a [StageInput],
    index: usize,
    part: &'a Part,
    /// Native tools, where it has any.
    native: Option<&'a Native>,
    /// The program that starts its commands, with its options, where that is pib's own.
    runner: &'static [&'static str],
}

/// The user root with its group, by their numbers: BuildKit looks anything else up in the base's `/etc/passwd`, and fails where a
/// container image has none.
const ROOT: &str = "0:0";

impl Assembled<'_> {
    fn stage(&self) -> &StageInput {
        &self.stages[self.index]
    }

    /// Returns what records what its part fetches, where something does.
    fn relay(&self) -> Option<&Relay> {
        self.extras.relay.filter(|_| self.stage().recorded)
    }
}

impl Surroundings for Assembled<'_> {
    fn runner(&self) -> &[&str] {
        self.runner
    }

    fn mounts(&self, command: &str) -> Vec<String> {
        let packages = self.extras.packages.and_then(|packages| packages.mount(command));
        let again = self.extras.rerun.filter(|rerun| {
            rerun.from.is_none_or(|from| self.stages[..=self.index].iter().any(|stage| stage.name == *from))
        });
        let again = again.map(|rerun| format!("--mount=type=secret,id=pib.anew.{}", rerun.nonce));
        let relay = self.relay();
        let emulation = self.extras.emulation;
        let beside = emulation.filter(|_| self.native.is_some()).map(Emulation::mount_beside);
        let program = self.native.map(Native::mount).or_else(|| emulation.map(Emulation::mount));
        let program = program.or_else(|| relay.and_then(Relay::program));
        program
            .into_iter()
            .chain(beside)
            .chain(relay.into_iter().flat_map(Relay::mounts))
            .chain(packages)
            .chain(again)
            .collect()
    }

    fn cache(&self, id: &str) -> String {
        // What a cache has, nobody asks for: each snapshot has caches of its own.
        let id = match self.relay() {
            Some(relay) => format!("{id}.{}", relay.socket),
            None => id.to_owned(),
        };
        self.extras.caches.map_or_else(|| id.clone(), |owner| packages::part_cache(owner, &id))
    }

    fn origin(&self, from: usize) -> String {
        let from = &self.part.froms[from];
        match reach::origin(self.stages, self.index, from) {
            Ok(Origin::Stage(stage)) => build_stage::name(&self.stages[stage].name),
            // What is neither has been refused.
            Ok(Origin::Image) | Err(_) => from.name.clone(),
        }
    }

    fn secret(&self, secret: usize) -> String {
        let id = &self.part.secrets[secret].id;
        let given = self.stage().secrets.iter().find(|secret| secret.id == *id);
        given.map_or_else(|| id.clone(), StageSecret::name)
    }

    /// Returns the value of an `ARG` that pib gives, where a part declares it once more: without it, it would be empty.
    fn value(&self, name: &str) -> Option<&str> {
        self.stage().args.iter().find(|arg| arg.name == name).map(|arg| arg.value.as_str())
    }

    fn file(&self, file: usize) -> String {
        reach::inline_path(self.stage(), file)
    }
}
