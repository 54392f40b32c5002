//! Writes a part's instructions for engines, from what was read of them and never from their text.

use super::checked::{Command, Copy, Form, Mount, Part, Run, RunOption, Source, Step};
use crate::dockerfile::Line;

/// What a part is assembled with.
pub(crate) trait Surroundings {
    /// Returns the program that runs commands, with its options; nothing where that is the engine.
    fn runner(&self) -> &[&str];
    /// Returns further options of a `RUN` of this command.
    fn mounts(&self, command: &str) -> Vec<String>;
    /// Returns what the engine calls what an instruction copies from: the index in [`Part::froms`].
    fn origin(&self, from: usize) -> String;
    /// Returns what the engine calls a secret: the index in [`Part::secrets`].
    fn secret(&self, secret: usize) -> String;
    /// Returns the value of an argument that is declared without one.
    fn value(&self, name: &str) -> Option<&str>;
    /// Returns what the engine calls a cache that a part calls `id`.
    fn cache(&self, id: &str) -> String;
    /// Returns where a file of the part's own is in the context: the index in [`Part::files`].
    fn file(&self, file: usize) -> String;
}

impl Part {
    /// Returns what engines get for an instruction: one, or for an `ARG` one for each name.
    pub(crate) fn lines(&self, step: &Step, surroundings: &dyn Surroundings) -> Vec<Line> {
        let line = Line::new(&step.keyword);
        vec![match &step.form {
            Form::Run(run) => self.run_line(line, run, surroundings),
            Form::Copy(copy) => copy_line(line, copy, surroundings),
            Form::Assignments(pairs) => {
                pairs.iter().fold(line, |line, (name, value)| line.assignment(&name.bare(), value))
            }
            Form::Declarations(range) => return self.declarations(range.clone(), surroundings),
            Form::Words(words) => words.iter().fold(line, Line::word),
            Form::List(words) => {
                let runner = if step.keyword == "SHELL" { surroundings.runner() } else { &[] };
                line.list(runner.iter().copied().chain(words.iter().map(String::as_str)))
            }
            Form::Text(text) => line.command(text),
        }]
    }

    fn run_line(&self, line: Line, run: &Run, surroundings: &dyn Surroundings) -> Line {
        let command = run.command.text();
        let line = surroundings.mounts(&command).iter().fold(line, |line, mount| line.name(mount));
        let line = run.options.iter().fold(line, |line, option| match option {
            RunOption::Plain(name, value) => line.flag(name, value.as_deref()),
            RunOption::Mount(mount) => line.flag("mount", Some(&self.mount_text(mount, surroundings))),
        });
        match &run.command {
            Command::Shell(command) => line.command(command),
            Command::List(words) => {
                line.list(surroundings.runner().iter().copied().chain(words.iter().map(String::as_str)))
            }
        }
    }

    fn mount_text(&self, mount: &Mount, surroundings: &dyn Surroundings) -> String {
        let mut text = format!("type={}", mount.kind);
        if mount.kind == "cache" {
            // Without an id, engines call a cache by the folder that it is mounted on.
            let named = ["id", "target"].iter().find_map(|name| mount.field(name));
            text.push_str(&format!(",id={}", surroundings.cache(named.unwrap_or_default())));
        }
        for (name, value) in &mount.fields {
            let value = match (*name, mount.from, mount.secret) {
                ("from", Some(from), _) => Some(surroundings.origin(from)),
                ("id" | "source", _, Some(secret)) => {
                    text.push_str(&self.secret_text(secret, surroundings));
                    continue;
                }
                ("id", ..) if mount.kind == "cache" => continue,
                _ => value.clone(),
            };
            text.push(',');
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(&value);
            }
        }
        text
    }

    fn secret_text(&self, secret: usize, surroundings: &dyn Surroundings) -> String {
        let name = surroundings.secret(secret);
        let mount = &self.secrets[secret];
        match name == mount.id || mount.placed {
            true => format!(",id={name}"),
            // Without a target the engine would place it by the name that it knows.
            false => format!(",id={name},target=/run/secrets/{}", mount.id),
        }
    }

    fn declarations(&self, range: std::ops::Range<usize>, surroundings: &dyn Surroundings) -> Vec<Line> {
        let line = |index: usize| {
            let own = &self.declares[index];
            let given = || surroundings.value(&own.name).map(crate::dockerfile::Template::literal);
            match own.value.clone().or_else(given) {
                Some(value) => Line::new("ARG").assignment(&own.name, &value),
                None => Line::new("ARG").name(&own.name),
            }
        };
        range.map(line).collect()
    }
}

impl Mount {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name)?.1.as_deref()
    }
}

impl Command {
    /// Returns what it runs as one text, to look for words in.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Shell(command) => command.clone(),
            Self::List(words) => words.join(" "),
        }
    }
}

fn copy_line(line: Line, copy: &Copy, surroundings: &dyn Surroundings) -> Line {
    let from = copy.from.map(|from| surroundings.origin(from));
    let line = from.iter().fold(line, |line, from| line.flag("from", Some(from)));
    let options = copy.options.iter();
    let line = options.fold(line, |line, (name, value)| line.flag(name, value.as_deref()));
    let sources = copy.sources.iter().map(|source| match source {
        Source::Template(word) => word.bare(),
        Source::File(file) => surroundings.file(*file),
    });
    let words: Vec<String> = sources.chain([copy.target.bare()]).collect();
    line.list(words.iter().map(String::as_str))
}

/// A part by itself.
pub(crate) struct Alone<'a>(pub(crate) &'a Part);

impl Alone<'_> {
    /// Returns its instructions, each on a line.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let lines = self.0.steps.iter().flat_map(|step| self.0.lines(step, self));
        lines.map(|line| format!("{}\n", line.text())).collect()
    }
}

impl Surroundings for Alone<'_> {
    fn cache(&self, id: &str) -> String {
        id.to_owned()
    }

    fn runner(&self) -> &[&str] {
        &[]
    }

    fn mounts(&self, _: &str) -> Vec<String> {
        vec![]
    }

    fn origin(&self, from: usize) -> String {
        self.0.froms[from].name.clone()
    }

    fn secret(&self, secret: usize) -> String {
        self.0.secrets[secret].id.clone()
    }

    fn value(&self, _: &str) -> Option<&str> {
        None
    }

    fn file(&self, file: usize) -> String {
        format!("heredoc/{}", self.0.files[file].name)
    }
}
