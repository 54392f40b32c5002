//! Reads a `RUN`: its command, its options and what they mount.

use std::ops::Range;

use super::checked::{Command, CopySource, DEFAULT_SHELL, Form, Part, Run, RunOption, SecretMount, StageRef};
use super::instructions::{Flag, Instruction};
use super::lines::Fault;
use super::{flags, heredoc, shell};
use crate::dockerfile::{Template, is_image_name, is_plain_command};

/// The longest argument that kernels give to a program.
const MAX_ARGUMENT: usize = (128 << 10) - 1;

impl Part {
    pub(super) fn run(&mut self, run: &Instruction) -> Result<Form, Fault> {
        let options = run.options.iter().map(|flag| match &*flag.name {
            "mount" => self.mount(flag),
            name => Ok(RunOption::Plain(name.to_owned(), flag.value.clone())),
        });
        let options = options.collect::<Result<Vec<_>, _>>()?;
        let command = self.command(run)?;
        let written = written_file(run);
        if let Some(file) = written {
            let what =
                format!("has a RUN that writes to {file}, which is the engine's own while a command runs");
            let help =
                format!("COPY a file to {file}; engines lose what a command writes there, or refuse it.");
            return Err(Fault::new(run.at.clone(), what, "this instruction", help));
        }
        Ok(Form::Run(Run { options, command }))
    }

    /// Returns the shell that runs the commands at this place of the part.
    pub(super) fn shell(&self) -> Vec<String> {
        self.leaves.shell.clone().unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec())
    }

    fn command(&self, run: &Instruction) -> Result<Command, Fault> {
        let arguments = &run.arguments;
        let command = match &run.list {
            Some(list) => Command::List(list.clone()),
            None if run.heredocs.is_empty() && is_plain_command(&arguments.text) => {
                Command::Shell(arguments.text.clone())
            }
            None => Command::List(heredoc::command(&self.shell(), arguments, &run.heredocs)),
        };
        match &command {
            Command::List(words) if words.iter().any(|word| word.len() > MAX_ARGUMENT) => {
                let what = "has a command of more than 128 KiB, which kernels do not start";
                let help = "Move it to a file, COPY that, and RUN it.";
                Err(Fault::new(run.at.clone(), what, "this command", help))
            }
            _ => Ok(command),
        }
    }

    /// Takes note of a build stage or container image; returns its index.
    pub(super) fn copy_from(&mut self, name: &str, span: Range<usize>) -> Result<usize, Fault> {
        if !is_image_name(name.trim_matches('_')) {
            let what = "does not say plainly which stage or container image it copies from";
            let help = "Write the name of an earlier stage, or of a container image with its tag.";
            return Err(Fault::new(span, what, "here", help));
        }
        self.froms.push(StageRef { name: name.to_owned(), span });
        Ok(self.froms.len() - 1)
    }

    /// Reads a mount, and takes note of what it needs.
    fn mount(&mut self, flag: &Flag) -> Result<RunOption, Fault> {
        let fields = flags::mount(flag)?;
        let target = fields.get("target");
        self.mount_points.extend(target.and_then(|(path, _)| mount_point(path)));
        let from = match fields.get("from") {
            Some((name, span)) => Some(self.copy_from(name, span)?),
            None => None,
        };
        let mut secret = None;
        match fields.mount.kind {
            "bind" if from.is_none() => {
                let (path, span) = fields.get("source").unwrap_or(("", flag.span.clone()));
                self.copies.push(CopySource { path: Template::literal(path), span });
            }
            "secret" => {
                let id = fields.get("id").or_else(|| fields.get("source"));
                let Some((id, span)) = id.filter(|(id, _)| !id.is_empty()) else {
                    let help = "Write --mount=type=secret,id=STAGE.KEY.";
                    let what = "mounts a secret without naming it";
                    return Err(Fault::new(flag.span.clone(), what, "which secret?", help));
                };
                let placed = fields.get("target").is_some() || fields.get("env").is_some();
                secret = Some(self.secrets.len());
                self.secrets.push(SecretMount { id: id.to_owned(), span, placed });
            }
            _ => {}
        }
        let mut mount = fields.mount;
        (mount.from, mount.secret) = (from, secret);
        Ok(RunOption::Mount(mount))
    }
}

/// Returns the file of the engine's that a command writes to, as far as its text shows.
fn written_file(run: &Instruction) -> Option<&'static str> {
    if let Some(list) = &run.list {
        return shell::file_written_by_list(list);
    }
    let text = &run.arguments.text;
    let script = run.heredocs.iter().find(|heredoc| heredoc.word == (0..text.len()));
    shell::written_file(script.map(|script| script.content()).as_deref().unwrap_or(text))
}

/// Returns the place of a mount, where its text alone tells it.
fn mount_point(target: &str) -> Option<String> {
    let path = target.strip_prefix('/')?.trim_end_matches('/');
    let plain = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    plain.then(|| path.to_owned())
}
