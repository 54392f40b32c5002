//! Checks a part, a stage's Dockerfile fragment, before it becomes one of the whole.
//!
//! A part stands for itself: it may not reach into the next one, and what it leaves for later ones is known. Whatever
//! engines of different ages read differently is refused, or written as all of them read it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::manifest::{ManifestError, ManifestText};

mod checked;
mod context;
mod heredoc;
pub(crate) mod instructions;
mod lines;
mod refused;
mod shell;
mod stage_checks;

pub(crate) use context::Reach;

pub use checked::{
    Assignment, Content, CopySource, DEFAULT_SHELL, InlineFile, Insertion, Part, SecretMount, StageRef,
    State, Step,
};
use heredoc::Heredoc;
use instructions::{Flag, Instruction};
use lines::Fault;

/// The largest part that is read, in bytes.
pub const MAX_PART: usize = 1 << 20;
/// Checks the part `text`, which was read from `file`.
///
/// # Errors
/// When the part is empty or is not valid, has an instruction that cannot stand in a part, or one that engines read in
/// different ways.
pub fn check(file: &str, text: &str) -> Result<Part, ManifestError> {
    if text.len() > MAX_PART {
        let message = format!("the part `{file}` is larger than 1 MiB");
        let error = ManifestText::new(file, "").error(0..0, message, "");
        return Err(error.with_help("Move data to files and COPY them."));
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
            insertions: vec![],
            secrets: vec![],
            files: vec![],
            froms: vec![],
            unpinned: vec![],
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
        ManifestText::new(&self.file, &self.text).error(span, message, fault.label).with_help(fault.help)
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
        instructions.iter().try_for_each(|instruction| self.take(instruction))?;
        self.insertions.sort_by_key(|insertion| insertion.span.start);
        Ok(())
    }

    fn insert(&mut self, span: Range<usize>, content: Content) {
        self.insertions.push(Insertion { span, content });
    }

    /// Takes note of an instruction.
    fn take(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        refused::instruction(instruction)?;
        let line = instruction.line;
        self.steps.push(Step { line, keyword: instruction.keyword.clone() });
        match &*instruction.keyword {
            "RUN" => self.run(instruction)?,
            "COPY" | "ADD" => self.copy(instruction)?,
            "ARG" => self.arg(instruction),
            "ENV" => self.leaves.env.extend(refused::env(instruction)?),
            "SHELL" => {
                let at = instruction.arguments.span(0..1).end;
                self.insert(at..at, Content::Runner);
                self.leaves.shell.clone_from(&instruction.list);
            }
            "USER" => self.leaves.user = true,
            "WORKDIR" => self.leaves.workdir = true,
            _ => {}
        }
        Ok(())
    }

    fn arg(&mut self, instruction: &Instruction) {
        for word in instruction.arguments.words() {
            let text = &instruction.arguments.text[word.clone()];
            let span = instruction.arguments.span(word);
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            if value.is_none() {
                self.insert(span.end..span.end, Content::Value(name.to_owned()));
            }
            self.declares.push(Assignment { name: name.to_owned(), value, span });
        }
    }

    fn run(&mut self, run: &Instruction) -> Result<(), Fault> {
        let arguments = &run.arguments;
        let start = arguments.span(0..1).start;
        if let Some(file) = self.written_file(run) {
            let what =
                format!("has a RUN that writes to {file}, which is the engine's own while a command runs");
            let help =
                format!("COPY a file to {file}; engines lose what a command writes there, or refuse it.");
            return Err(Fault::new(run.at.clone(), what, "this instruction", help));
        }
        self.insert(run.at.end..run.at.end, Content::Mounts(start..run.whole_end));
        for flag in run.options.iter().filter(|flag| flag.name == "mount") {
            self.mount(flag)?;
        }
        if run.list.is_some() {
            let at = arguments.span(0..1).end;
            self.insert(at..at, Content::Runner);
        } else if arguments.text.contains("<<") {
            let default = || DEFAULT_SHELL.map(str::to_owned).to_vec();
            let shell = self.leaves.shell.clone().unwrap_or_else(default);
            let words = heredoc::command(&shell, arguments, &run.heredocs);
            let breaks = self.text[start..run.whole_end].matches('\n').count();
            let list = heredoc::write_list(&words, breaks, run.at.clone())?;
            self.insert(start..start, Content::Text("[".to_owned()));
            self.insert(start..start, Content::Runner);
            self.insert(start..run.whole_end, Content::Text(list));
        }
        Ok(())
    }

    fn written_file(&self, run: &Instruction) -> Option<&'static str> {
        let scripts = run.heredocs.iter().filter(|heredoc| heredoc.word == (0..run.arguments.text.len()));
        let script = scripts.map(|heredoc| heredoc.content()).next();
        shell::written_file(script.as_deref().unwrap_or(&run.arguments.text)).filter(|_| run.list.is_none())
    }

    fn copy(&mut self, copy: &Instruction) -> Result<(), Fault> {
        let from = copy.options.iter().find(|flag| flag.name == "from" && copy.keyword == "COPY");
        if let Some(flag) = from {
            self.copy_from(flag.value.as_deref().unwrap_or_default(), flag.span.clone())?;
        }
        let arguments = &copy.arguments;
        let sources: Vec<(String, Range<usize>)> = match &copy.list {
            Some(list) => {
                let span = arguments.span(0..arguments.text.len());
                list.iter().map(|word| (word.clone(), span.clone())).collect()
            }
            None => {
                let words = arguments.plain_words().into_iter();
                words.map(|word| (arguments.text[word.clone()].to_owned(), arguments.span(word))).collect()
            }
        };
        let Some((_, sources)) = sources.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            let what = format!("has a {} without a source or a destination", copy.keyword);
            let help = format!("Write {} SOURCE DESTINATION.", copy.keyword);
            return Err(Fault::new(copy.at.clone(), what, "this instruction", help));
        };
        for (path, span) in sources {
            let heredoc = copy.heredocs.iter().find(|heredoc| arguments.span(heredoc.word.clone()) == *span);
            match heredoc {
                Some(heredoc) => self.inline(heredoc, span.clone())?,
                None if from.is_some() => {}
                None if copy.keyword == "ADD" && is_remote(path) => self.remote(copy, path),
                None => self.copies.push(CopySource { path: path.clone(), span: span.clone() }),
            }
        }
        if copy.whole_end > copy.end {
            let breaks = self.text[copy.end..copy.whole_end].matches('\n').count();
            self.insert(copy.end..copy.whole_end, Content::Text("\n#".repeat(breaks)));
        }
        Ok(())
    }

    /// Makes a file of a heredoc that is copied.
    fn inline(&mut self, heredoc: &Heredoc, span: Range<usize>) -> Result<(), Fault> {
        let content = heredoc.content();
        if !heredoc.quoted && content.contains(['$', '\\']) {
            let what = "copies a heredoc with `$` or a backslash, whose variables not every engine puts in";
            let help = format!(
                "Write <<'{name}' where they are part of the text. To have variables put in, write RUN cat <<{name} > FILE.",
                name = heredoc.name
            );
            return Err(Fault::new(span, what, "this heredoc", help));
        }
        self.insert(span, Content::File(self.files.len()));
        self.files.push(InlineFile { name: heredoc.name.clone(), content });
        Ok(())
    }

    /// Takes note of what an `ADD` fetches.
    fn remote(&mut self, add: &Instruction, address: &str) {
        if add.options.iter().any(|flag| flag.name == "checksum") {
            return;
        }
        // What stands before the host, or behind the path, may be a password.
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.rsplit('@').next().unwrap_or_default();
        let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
        self.unpinned.push(format!("ADD {scheme}{host}{path} (line {})", add.line));
    }

    /// Takes note of a build stage or container image.
    fn copy_from(&mut self, name: &str, span: Range<usize>) -> Result<(), Fault> {
        if name.is_empty() || name.contains('$') {
            let what = "does not say plainly which stage or container image it copies from";
            let help = "Write the name of an earlier stage, or of a container image with its tag.";
            return Err(Fault::new(span, what, "here", help));
        }
        self.insert(span.clone(), Content::Stage(self.froms.len()));
        self.froms.push(StageRef { name: name.to_owned(), span });
        Ok(())
    }

    /// Takes note of a mount.
    fn mount(&mut self, flag: &Flag) -> Result<(), Fault> {
        let value = flag.value.as_deref().unwrap_or_default();
        let mut at = flag.span.start;
        let mut fields = Vec::new();
        for field in value.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let start = at + field.len() - value.len();
            fields.push((key, value, start..start + value.len()));
            at += field.len() + 1;
        }
        let find = |keys: &[&str]| fields.iter().find(|(key, ..)| keys.contains(key));
        let target = find(&["target", "dst", "destination"]);
        self.mount_points.extend(target.and_then(|(_, path, _)| mount_point(path)));
        let from = find(&["from"]);
        if let Some((_, name, span)) = from {
            self.copy_from(name, span.clone())?;
        }
        match find(&["type"]).map_or("bind", |(_, kind, _)| kind) {
            "bind" if from.is_none() => {
                let source = find(&["source", "src"]);
                let (path, span) =
                    source.map_or(("", flag.span.clone()), |(_, path, span)| (*path, span.clone()));
                self.copies.push(CopySource { path: path.to_owned(), span });
            }
            "secret" => {
                let Some((_, id, place)) = find(&["id", "source", "src"]).filter(|(_, id, _)| !id.is_empty())
                else {
                    let help = "Write --mount=type=secret,id=STAGE.KEY.";
                    let what = "mounts a secret without naming it";
                    return Err(Fault::new(flag.span.clone(), what, "which secret?", help));
                };
                let placed = find(&["target", "dst", "destination", "env"]).is_some();
                self.insert(place.end..place.end, Content::Secret(self.secrets.len()));
                self.secrets.push(SecretMount { id: (*id).to_owned(), span: place.clone(), placed });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Step {
    /// Returns whether it makes a file system layer.
    pub fn makes_layer(&self) -> bool {
        makes_layer(&self.keyword)
    }
}

/// Returns the place of a mount, where its text alone tells it.
fn mount_point(target: &str) -> Option<String> {
    let path = target.strip_prefix('/')?.trim_end_matches('/');
    let plain = !path.contains('$') && path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    plain.then(|| path.to_owned())
}

/// Returns whether engines make a file system layer of an instruction with this keyword, in capitals.
pub(crate) fn makes_layer(keyword: &str) -> bool {
    matches!(keyword, "RUN" | "COPY" | "ADD" | "WORKDIR")
}

fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@")
}

#[cfg(test)]
mod tests;
