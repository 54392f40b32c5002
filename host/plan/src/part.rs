//! Checks a part, a stage's Dockerfile fragment, before it becomes one of the whole.
//!
//! A part stands for itself: it may not reach into the next one, and what it leaves for later ones is known. What engines
//! get is written anew from what was read here ([`Form`]): nothing of the text is left for them to read in another way.
//! What cannot be written as engines of all ages read it is refused.

use std::collections::BTreeSet;

use crate::dockerfile::{MAX_PART_LINE, Template};
use crate::manifest::{ManifestError, ManifestText};

mod arguments;
mod checked;
mod context;
mod copy;
mod flags;
mod heredoc;
mod instructions;
mod lines;
mod refused;
mod run;
mod shell;
mod stage_checks;
mod written;

pub(crate) use context::Reach;
pub(crate) use written::{Alone, Surroundings};

pub use checked::{
    Assignment, Command, Copy, CopySource, DEFAULT_SHELL, Form, InlineFile, Mount, Part, RemoteSource, Run,
    RunOption, SecretMount, Source, StageRef, State, Step,
};
use instructions::Instruction;
use lines::Fault;

/// The largest part that is read, in bytes.
pub const MAX_PART: usize = 1 << 20;
/// The code of what is wrong with a part.
const PART: &str = "pib::part::invalid";

/// Checks the part `text`, which was read from `file`.
///
/// # Errors
/// When the part is empty or is not valid, has an instruction that cannot stand in a part, or one that engines read in
/// different ways.
pub fn check(file: &str, text: &str) -> Result<Part, ManifestError> {
    if text.len() > MAX_PART {
        let message = format!("the part `{file}` is larger than 1 MiB");
        let error = ManifestText::new(file, "").error(0..0, message, "");
        return Err(error.with_code(PART).with_help("Move data to files and COPY them."));
    }
    // Editors and git on Windows leave these; nobody means them, and the same part has the same key everywhere.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut part = Part::empty(file, format!("{}\n", text.trim_end_matches([' ', '\t', '\n'])));
    match part.read() {
        Ok(()) => Ok(part),
        Err(fault) => Err(part.error(fault)),
    }
}

impl Part {
    fn empty(file: &str, text: String) -> Self {
        Self {
            file: file.to_owned(),
            text,
            steps: vec![],
            declares: vec![],
            copies: vec![],
            secrets: vec![],
            files: vec![],
            froms: vec![],
            remotes: vec![],
            mount_points: BTreeSet::new(),
            leaves: State::default(),
        }
    }

    /// Returns how many file system layers its instructions make.
    pub fn layers(&self) -> usize {
        self.steps.iter().filter(|step| step.makes_layer()).count()
    }

    /// Returns an error at a place of the part.
    fn error(&self, fault: Fault) -> ManifestError {
        let message = format!("the part `{}` {}", self.file, fault.what);
        let end = fault.span.end.min(self.text.len());
        let span = fault.span.start.min(end)..end;
        let error = ManifestText::new(&self.file, &self.text).error(span, message, fault.label);
        error.with_code(PART).with_help(fault.help)
    }

    fn read(&mut self) -> Result<(), Fault> {
        refused::directives(&self.text)?;
        let instructions = instructions::read(&self.text)?;
        if instructions.is_empty() {
            return Err(Fault::new(
                0..0,
                "has no instruction",
                "",
                "A part needs at least one RUN, COPY or ENV.",
            ));
        }
        instructions.iter().try_for_each(|instruction| self.take(instruction))
    }

    /// Takes note of an instruction.
    fn take(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        refused::instruction(instruction)?;
        flags::check(instruction)?;
        let form = match &*instruction.keyword {
            "RUN" => self.run(instruction)?,
            "COPY" | "ADD" => self.copy(instruction)?,
            "ARG" => self.arg(instruction)?,
            "ENV" => {
                let set = refused::env(instruction)?;
                self.leaves.env.extend(set.iter().cloned());
                let pair = |set: Assignment| (Template::literal(&set.name), set.value.unwrap_or_default());
                Form::Assignments(set.into_iter().map(pair).collect())
            }
            "LABEL" => Form::Assignments(refused::labels(instruction)?),
            "SHELL" => {
                self.leaves.shell.clone_from(&instruction.list);
                Form::List(instruction.list.clone().unwrap_or_default())
            }
            "CMD" => Form::List(instruction.list.clone().unwrap_or_else(|| {
                self.shell().into_iter().chain([instruction.arguments.text.clone()]).collect()
            })),
            "USER" => {
                self.leaves.user = true;
                Form::Words(vec![instruction.whole_word()?])
            }
            "WORKDIR" => {
                self.leaves.workdir = true;
                Form::Words(vec![instruction.whole_word()?])
            }
            "EXPOSE" => Form::Words(instruction.bare_words()?),
            _ => Form::Text(instruction.plain_text()?),
        };
        let (line, keyword) = (instruction.line, instruction.keyword.clone());
        let step = Step { line, keyword, source: instruction.source.clone(), form };
        let longest = self.lines(&step, &Alone(self)).iter().map(|line| line.text().len()).max();
        if longest.is_some_and(|length| length > MAX_PART_LINE) {
            let what = "has an instruction of more than 63,000 bytes when it is written on one line, which engines do not read";
            let help = "Move a command or data to a file of the stage, and COPY it.";
            return Err(Fault::new(instruction.at.clone(), what, "this instruction", help));
        }
        self.steps.push(step);
        Ok(())
    }

    fn arg(&mut self, instruction: &Instruction) -> Result<Form, Fault> {
        refused::same_words(instruction)?;
        let start = self.declares.len();
        for word in instruction.arguments.words() {
            let text = &instruction.arguments.text[word.clone()];
            let span = instruction.arguments.span(word.clone());
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => {
                    let place = word.start + name.len() + 1..word.end;
                    (name, Some(instruction.word(value, &place)?))
                }
                None => (text, None),
            };
            refused::variable_name(instruction, name, span.clone())?;
            self.declares.push(Assignment { name: name.to_owned(), value, span });
        }
        Ok(Form::Declarations(start..self.declares.len()))
    }
}

impl Step {
    /// Returns whether it makes a file system layer.
    pub fn makes_layer(&self) -> bool {
        makes_layer(&self.keyword)
    }
}

/// Returns whether engines make a file system layer of an instruction with this keyword, in capitals.
pub(crate) fn makes_layer(keyword: &str) -> bool {
    matches!(keyword, "RUN" | "COPY" | "ADD" | "WORKDIR")
}

#[cfg(test)]
mod tests;
