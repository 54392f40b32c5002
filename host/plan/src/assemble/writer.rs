//! Writes the Dockerfile, and notes where each instruction stands in it.

use crate::build_stage;
use crate::native::{self, Native};
use crate::part::{Content, DEFAULT_SHELL, Part};

use super::input::{BaseRef, Extras, StageInput, StageSecret};
use super::plan::PlannedStep;
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
    /// Whether native tools have been in use, so that their folder may be there.
    native: bool,
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
            native: false,
        };
        writer.push("# Written by pib. Changes here are lost.\n");
        if let Some(native) = extras.native {
            writer.push("\n");
            native.stage().lines().for_each(|line| writer.instruction(line));
        }
        writer
    }

    /// Writes a stage, whose part may be merged; returns the line on which the part starts.
    pub(super) fn stage(&mut self, stages: &[StageInput], index: usize, part: &Part) -> usize {
        let stage = &stages[index];
        self.current = Some(index);
        self.push("\n");
        self.start(stages, index);
        self.push(&format!("# stage {} {}\n", stage.name, stage.version));
        self.reset(stages, index);
        for arg in &stage.args {
            self.instruction(&format!("ARG {}=\"{}\"", arg.name, quoted(&arg.value)));
        }
        let part_line = self.line;
        self.part(stages, index, part);
        part_line
    }

    /// Ends the Dockerfile.
    pub(super) fn finish(mut self, stages: &[StageInput]) -> (String, Vec<PlannedStep>) {
        if self.native {
            self.push("\n# The end of native tools: nothing of them stays.\n");
            if stages.last().is_some_and(|stage| stage.part.leaves.user) {
                self.instruction("USER root");
            }
            self.without_native();
        }
        (self.text, self.steps)
    }

    /// Writes what a stage starts from.
    fn start(&mut self, stages: &[StageInput], index: usize) {
        let target = build_stage::name(&stages[index].name);
        match (index.checked_sub(1), self.base) {
            (Some(before), _) => {
                self.instruction(&format!("FROM {} AS {target}", build_stage::name(&stages[before].name)));
            }
            (None, BaseRef::ContainerImage(name) | BaseRef::ForeignImage(name)) => {
                self.instruction(&format!("FROM {name} AS {target}"));
            }
            (None, BaseRef::ContextTar(path)) => {
                self.instruction(&format!("FROM scratch AS {target}"));
                self.instruction(&format!("ADD {path} /"));
            }
        }
    }

    /// Undoes what the part before, or somebody's container image, has chosen.
    fn reset(&mut self, stages: &[StageInput], index: usize) {
        let before = index.checked_sub(1).map(|before| &stages[before].part.leaves);
        let foreign = matches!(self.base, BaseRef::ForeignImage(_));
        if before.map_or(foreign, |left| left.user) {
            self.instruction("USER root");
        }
        if before.map_or(foreign, |left| left.workdir) {
            self.instruction("WORKDIR /");
        }
        if self.extras.native.is_some() && stages[index].native {
            self.native = true;
            let shell = std::iter::once(native::RUNNER.to_owned()).chain(default_shell());
            self.choose(shell.collect());
        } else if self.native {
            self.without_native();
        } else {
            self.choose(default_shell());
        }
    }

    /// Ends the use of native tools.
    fn without_native(&mut self) {
        self.native = false;
        self.choose(default_shell());
        if let Some(native) = self.extras.native {
            self.instruction(native.tidy().trim_end());
        }
    }

    /// Chooses a shell, where it is not chosen already.
    fn choose(&mut self, shell: Vec<String>) {
        if self.shell.as_ref() != Some(&shell) {
            let words: Vec<String> =
                shell.iter().map(|word| serde_json::Value::from(&**word).to_string()).collect();
            self.instruction(&format!("SHELL [{}]", words.join(", ")));
            self.shell = Some(shell);
        }
    }

    /// Writes a part, its instructions told of what they are to use.
    fn part(&mut self, stages: &[StageInput], index: usize, part: &Part) {
        let stage = &stages[index];
        let native = self.extras.native.filter(|_| stage.native);
        let first = self.line;
        self.steps.extend(part.steps.iter().map(|step| PlannedStep {
            line: first + step.line - 1,
            keyword: step.keyword.clone(),
            stage: Some(index),
            in_part: true,
        }));
        let mut written = 0;
        for insertion in &part.insertions {
            self.push(&part.text[written..insertion.span.start]);
            written = insertion.span.end;
            let text = match &insertion.content {
                Content::Mounts(command) => self.mounts(stages, index, &part.text[command.clone()]),
                Content::Runner => native.map(|_| native::runner()).unwrap_or_default(),
                Content::Secret(secret) => secret_suffix(stage, part, *secret),
                Content::Stage(from) => self.origin(stages, index, part, *from),
                Content::Value(name) => value_of(stage, name),
                Content::File(file) => reach::inline_path(stage, *file),
                Content::Text(text) => text.clone(),
            };
            self.push(&text);
        }
        self.push(&part.text[written..]);
        if let Some(shell) = &part.leaves.shell {
            let runner = native.map(|_| native::RUNNER.to_owned());
            self.shell = Some(runner.into_iter().chain(shell.iter().cloned()).collect());
        }
    }

    /// Returns the mounts of a `RUN` with this command.
    fn mounts(&self, stages: &[StageInput], index: usize, command: &str) -> String {
        let native = self.extras.native.filter(|_| stages[index].native).map(Native::mount);
        let packages = self.extras.packages.and_then(|packages| packages.mount(command));
        let again = self.extras.rerun.filter(|rerun| {
            rerun.from.is_none_or(|from| stages[..=index].iter().any(|stage| stage.name == *from))
        });
        let again = again.map(|rerun| format!("--mount=type=secret,id=pib.anew.{}", rerun.nonce));
        native.into_iter().chain(packages).chain(again).map(|mount| format!(" {mount}")).collect()
    }

    /// Returns what the engine calls what an instruction copies from.
    fn origin(&self, stages: &[StageInput], index: usize, part: &Part, from: usize) -> String {
        let from = &part.froms[from];
        match reach::origin(stages, index, from) {
            Ok(Origin::Stage(stage)) => build_stage::name(&stages[stage].name),
            // What is neither has been refused.
            Ok(Origin::Image) | Err(_) => from.name.clone(),
        }
    }

    /// Writes an instruction of pib's own.
    fn instruction(&mut self, text: &str) {
        let keyword = text.split(' ').next().unwrap_or_default().to_owned();
        self.steps.push(PlannedStep { line: self.line, keyword, stage: self.current, in_part: false });
        self.push(text);
        self.push("\n");
    }

    fn push(&mut self, text: &str) {
        self.line += text.matches('\n').count();
        self.text.push_str(text);
    }
}

fn default_shell() -> Vec<String> {
    DEFAULT_SHELL.map(str::to_owned).to_vec()
}

/// Returns what stands behind a secret's id.
fn secret_suffix(stage: &StageInput, part: &Part, secret: usize) -> String {
    let mount = &part.secrets[secret];
    let given = stage.secrets.iter().find(|secret| secret.id == mount.id);
    let name = given.map_or_else(|| mount.id.clone(), StageSecret::name);
    let mut suffix = name.strip_prefix(&mount.id).unwrap_or_default().to_owned();
    if name != mount.id && !mount.placed {
        // Without a target the engine would place it by the name that it knows.
        suffix.push_str(&format!(",target=/run/secrets/{}", mount.id));
    }
    suffix
}

/// Returns the value of an `ARG` that pib gives, where a part declares it once more: without it, it would be empty.
fn value_of(stage: &StageInput, name: &str) -> String {
    let given = stage.args.iter().find(|arg| arg.name == name);
    given.map(|arg| format!("=\"{}\"", quoted(&arg.value))).unwrap_or_default()
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
