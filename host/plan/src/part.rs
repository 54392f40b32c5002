//! Checks a part, a stage's Dockerfile fragment, before it becomes a piece of the whole.

use std::ops::Range;

use parse_dockerfile::{Command, Instruction, RunInstruction, Source, Spanned};

use crate::manifest::{ManifestError, ManifestText};
use crate::stage::{ConfigSchema, ConfigType};
use crate::{secret, suggest};

/// The largest part that is read, in bytes.
pub const MAX_PART: usize = 1 << 20;

/// What makes a part a valid Dockerfile for the parser, and is taken off all spans again.
pub(crate) const PREFIX: &str = "FROM scratch\n";

/// A part that may be assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The text, ending in a line break.
    pub text: String,
    /// How many file system layers its instructions make.
    pub layers: usize,
    /// The `ARG`s that it declares.
    pub declares: Vec<String>,
    /// The paths in the context that it copies from.
    pub copies: Vec<CopySource>,
    /// Where the assembler puts something in, in the order of the text.
    pub places: Vec<Place>,
    /// The secrets that its instructions mount.
    pub secrets: Vec<SecretMount>,
    /// The shell that the part leaves for the parts after it, as a JSON list, if it chooses one.
    pub shell: Option<String>,
}

/// A place in a part's text at which an instruction is told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The byte offset.
    pub offset: usize,
    /// What belongs there.
    pub what: Word,
}

/// What an instruction is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Mounts, behind the word `RUN`, for the command at this place of the text.
    Mounts(Range<usize>),
    /// The program that runs the command, as the first item of a JSON list.
    Runner,
    /// Which value the secret has, behind its id: the index in [`Part::secrets`].
    Secret(usize),
}

/// A secret that a `RUN` instruction mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Its id.
    pub id: String,
    /// Where the id stands in the part.
    pub span: Range<usize>,
    /// Whether the instruction says where it wants the secret; else it is `/run/secrets/ID`.
    pub placed: bool,
}

/// A path in the context that a `COPY` or `ADD` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The path as written.
    pub path: String,
    /// Where it stands in the part.
    pub span: Range<usize>,
}

/// Checks the part `text`, which was read from `file`.
///
/// # Errors
/// When the part is empty or no Dockerfile syntax, or has a `FROM` of its own: which container image a
/// stage starts from is what the order decides.
pub fn check(file: &str, text: &str) -> Result<Part, ManifestError> {
    // Editors on Windows put a byte order mark there, which nobody sees; Docker passes over it, too.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = ManifestText::new(file, text);
    if text.len() > MAX_PART {
        let message = format!("the part `{file}` is larger than 1 MiB");
        return Err(source.error(0..0, message, "").with_help("Move data to files and COPY them."));
    }
    if let Some(at) = open_end(text) {
        let message = format!(
            "the last instruction of the part `{file}` has no end: its last line ends in a backslash"
        );
        let help =
            "Remove the backslash, or add the line that is missing: what comes next is another stage's.";
        return Err(source.error(at..at + 1, message, "this backslash").with_help(help));
    }
    let whole = format!("{PREFIX}{text}\n");
    let dockerfile = parse_dockerfile::parse(&whole).map_err(|error| {
        let at = offset(text, error.line().saturating_sub(1), error.column());
        // Its own line is that of the text with the prefix.
        let found = source.error(at..at, format!("could not read the part `{file}`: {error:#}"), "here");
        let heredoc = text[..at].lines().any(|line| line.contains("<<"));
        let help = "A heredoc must begin its command, as in RUN <<EOF. `printf`, or a file and COPY, work on every engine.";
        if heredoc { found.with_help(help) } else { found }
    })?;
    let mut part = Part {
        text: format!("{}\n", text.trim_end()),
        layers: 0,
        declares: vec![],
        copies: vec![],
        places: vec![],
        secrets: vec![],
        shell: None,
    };
    for instruction in dockerfile.instructions.iter().skip(1) {
        match instruction {
            Instruction::From(from) => {
                let span = own(&from.from.span, text);
                let message = format!("the part `{file}` has a FROM of its own");
                let help = "A part continues from the stage before it: remove the FROM. To use files of another \
                            container image, write COPY --from=IMAGE.";
                return Err(source.error(span, message, "this instruction").with_help(help));
            }
            Instruction::Arg(arg) => {
                let words = arg.arguments.value.split_whitespace();
                let names = words.map(|word| word.split_once('=').map_or(word, |(name, _)| name));
                part.declares.extend(names.map(str::to_owned));
            }
            Instruction::Copy(copy) => {
                part.layers += 1;
                if !copy.options.iter().any(|flag| flag.name.value == "from") {
                    part.copies.extend(paths(&copy.src, text));
                }
            }
            Instruction::Add(add) => {
                part.layers += 1;
                part.copies.extend(paths(&add.src, text));
            }
            Instruction::Run(run) => {
                part.layers += 1;
                part.run(&source, run)?;
            }
            Instruction::Shell(shell) => {
                let list = own(&shell.shell.span, text).end..text.len();
                if let Some(at) = text[list.clone()].find('[') {
                    part.place(list.start + at + 1, Word::Runner);
                }
                let words: Vec<String> =
                    shell.arguments.iter().map(|word| json_string(&word.value)).collect();
                part.shell = Some(format!("[{}]", words.join(", ")));
            }
            Instruction::Workdir(_) => part.layers += 1,
            _ => {}
        }
    }
    if dockerfile.instructions.len() < 2 {
        let message = format!("the part `{file}` has no instruction");
        return Err(source.error(0..0, message, "").with_help("A part needs at least one RUN, COPY or ENV."));
    }
    Ok(part)
}

impl Part {
    fn place(&mut self, offset: usize, what: Word) {
        self.places.push(Place { offset, what });
    }

    fn run(&mut self, source: &ManifestText, run: &RunInstruction<'_>) -> Result<(), ManifestError> {
        let text = &*source.text;
        let span = match &run.arguments {
            Command::Exec(Spanned { span, .. }) | Command::Shell(Spanned { span, .. }) => span,
            _ => &run.run.span,
        };
        let mut command = own(span, text);
        let list = matches!(run.arguments, Command::Exec(_)).then_some(command.start + 1);
        command.end = run.here_docs.iter().map(|doc| own(&doc.span, text).end).fold(command.end, usize::max);
        self.place(own(&run.run.span, text).end, Word::Mounts(command));
        for flag in run.options.iter().filter(|flag| flag.name.value == "mount") {
            if let Some(value) = &flag.value {
                self.mount(source, own(&value.span, text))?;
            }
        }
        if let Some(offset) = list {
            self.place(offset, Word::Runner);
        }
        Ok(())
    }

    /// Takes note of a mount, the text at `span`, if it is a secret.
    fn mount(&mut self, source: &ManifestText, span: Range<usize>) -> Result<(), ManifestError> {
        let mut at = span.start;
        let mut fields = Vec::new();
        for field in source.text[span.clone()].split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let start = at + field.len() - value.len();
            fields.push((key, value, start..start + value.len()));
            at += field.len() + 1;
        }
        let find = |keys: &[&str]| fields.iter().find(|(key, ..)| keys.contains(key));
        if find(&["type"]).is_none_or(|(_, kind, _)| *kind != "secret") {
            return Ok(());
        }
        let Some((_, id, place)) = find(&["id", "source", "src"]).filter(|(_, id, _)| !id.is_empty()) else {
            let message = format!("the part `{}` mounts a secret without naming it", source.file);
            let help = "Write --mount=type=secret,id=STAGE.KEY.";
            return Err(source.error(span, message, "which secret?").with_help(help));
        };
        let placed = find(&["target", "dst", "destination", "env"]).is_some();
        self.place(place.end, Word::Secret(self.secrets.len()));
        self.secrets.push(SecretMount { id: (*id).to_owned(), span: place.clone(), placed });
        Ok(())
    }

    /// Checks that the part `file` mounts the secrets of its stage's schema, all of them and no others.
    ///
    /// # Errors
    /// Names the first id that is unknown, at its place, or a secret that no instruction mounts.
    pub fn check_secrets(&self, file: &str, stage: &str, schema: &ConfigSchema) -> Result<(), ManifestError> {
        let source = ManifestText::new(file, &self.text);
        let keys = schema.iter().filter(|(_, key)| key.kind == ConfigType::Secret);
        let known: Vec<String> = keys.map(|(key, _)| secret::id(stage, key)).collect();
        if let Some(mount) = self.secrets.iter().find(|mount| !known.contains(&mount.id)) {
            let message =
                format!("the part `{file}` mounts the secret `{}`, which its stage does not have", mount.id);
            let names = || known.iter().map(String::as_str);
            let help = match suggest::nearest(&mount.id, names()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None if known.is_empty() => {
                    "A secret is a config key: add [config.KEY] with type = \"secret\" to stage.toml."
                        .to_owned()
                }
                None => format!("The stage has {}.", suggest::list(names())),
            };
            return Err(source.error(mount.span.clone(), message, "no such secret").with_help(help));
        }
        if let Some(id) = known.iter().find(|id| self.secrets.iter().all(|mount| mount.id != **id)) {
            let message = format!("the part `{file}` never mounts the secret `{id}` of its stage");
            let help = format!("Add --mount=type=secret,id={id} to the RUN that needs it.");
            return Err(source.error(0..0, message, "in this part").with_help(help));
        }
        Ok(())
    }

    /// Checks that the context has what the part copies; `has` tells whether a path, a file or a folder, is there.
    ///
    /// # Errors
    /// Names the first path that is missing, at its place in the part `file`.
    pub fn check_copies(&self, file: &str, has: impl Fn(&str) -> bool) -> Result<(), ManifestError> {
        for copy in &self.copies {
            let path = copy.path.trim_start_matches("./").trim_matches('/');
            let open = path.is_empty() || path == "." || path.contains(['$', '*', '?', '[', '\\']);
            let remote = path.contains("://") || path.starts_with("git@");
            if !open && !remote && !has(path) {
                let message = format!("the part `{file}` copies `{path}`, which the context does not have");
                let help = "The context has each stage's files under stages/NAME/, nothing else.";
                let source = ManifestText::new(file, &self.text);
                return Err(source.error(copy.span.clone(), message, "not in the context").with_help(help));
            }
        }
        Ok(())
    }
}

/// Returns where the backslash is that continues the last line of a text, if one does.
///
/// Comments and empty lines do not end an instruction, so those behind it are passed over.
fn open_end(text: &str) -> Option<usize> {
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let mut end = text.len();
    for line in text.split_inclusive('\n').rev() {
        let start = end - line.len();
        if !blank(line) {
            let line = line.trim_end();
            return line.ends_with('\\').then(|| start + line.len() - 1);
        }
        end = start;
    }
    None
}

/// Returns a string as JSON writes it.
fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn paths<'a>(sources: &'a [Source<'a>], text: &'a str) -> impl Iterator<Item = CopySource> + 'a {
    sources.iter().filter_map(|source| match source {
        Source::Path(path) => Some(CopySource { path: path.value.to_string(), span: own(&path.span, text) }),
        _ => None,
    })
}

/// Turns a span of the prefixed text into one of the part.
pub(crate) fn own(span: &Range<usize>, text: &str) -> Range<usize> {
    let shift = |at: usize| at.saturating_sub(PREFIX.len()).min(text.len());
    shift(span.start)..shift(span.end)
}

/// Returns the byte offset of a line and column, both counted from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_sources_are_counted() {
        let text =
            "ARG X=1\nENV A=b\nRUN true\nCOPY stages/a/x stages/a/y /z/\nADD http://example.org/f /f\n";
        let part = check("p", text).unwrap();
        assert_eq!((part.layers, part.declares.as_slice()), (3, &["X".to_owned()][..]));
        let paths: Vec<_> = part.copies.iter().map(|copy| copy.path.as_str()).collect();
        assert_eq!(paths, ["stages/a/x", "stages/a/y", "http://example.org/f"]);
        assert_eq!(&text[part.copies[1].span.clone()], "stages/a/y");
    }

    #[test]
    fn a_from_is_refused_at_its_place() {
        let text = "RUN true\nFROM debian\nRUN false\n";
        let error = check("Dockerfile.part", text).unwrap_err();
        assert!(error.to_string().contains("FROM of its own"));
        assert_eq!(&text[error.span().unwrap()], "FROM");
        assert!(check("p", "RUN echo \\\n FROM here\n").is_ok());
    }

    #[test]
    fn a_part_never_reaches_into_the_next() {
        for end in ["\\", "\\\n", "\\ \t\n", "\\\r\n", "\\\n\n  # comment\n", "\\\n#\\\n"] {
            let text = format!("RUN true\nRUN a && {end}");
            let error = check("p", &text).unwrap_err();
            assert!(error.to_string().contains("ends in a backslash"), "{text:?}: {error}");
            assert_eq!(error.span().unwrap().start, "RUN true\nRUN a && ".len(), "{text:?}");
        }
        assert!(check("p", "RUN a\n# comment \\\n").is_ok());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(check("p", "\u{feff}RUN a\n").unwrap(), check("p", "RUN a\n").unwrap());
    }

    #[test]
    fn empty_and_broken_parts_are_refused() {
        assert!(check("p", "").is_err());
        assert!(check("p", "# only a comment\n").is_err());
        let error = check("p", "RUN true\nRNU false\n").unwrap_err();
        assert_eq!(error.span().unwrap().start, "RUN true\n".len(), "{error}");
        assert!(
            error.to_string().ends_with("unknown instruction 'RNU'") && error.advice().is_none(),
            "{error}"
        );
        let error = check("p", "RUN cat <<EOF > /x\ntext\nEOF\n").unwrap_err();
        assert!(error.advice().unwrap().contains("RUN <<EOF"), "{error}");
    }

    #[test]
    fn secrets_are_known_and_mounted() {
        let text = "RUN --network=none --mount=type=secret,id=net.pass \\\n  --mount=type=cache,id=x,target=/c true\n\
                    RUN --mount=id=net.pass,target=/p,type=secret true\n";
        let part = check("p", text).unwrap();
        let mounts: Vec<_> = part.secrets.iter().map(|mount| (mount.id.as_str(), mount.placed)).collect();
        assert_eq!(mounts, [("net.pass", false), ("net.pass", true)]);
        assert_eq!(&text[part.secrets[1].span.clone()], "net.pass");
        assert!(part.places.is_sorted_by_key(|place| place.offset), "{:?}", part.places);
        let schema = |text: &str| toml::from_str::<ConfigSchema>(text).unwrap();
        let pass = schema("pass = { type = 'secret' }");
        assert!(part.check_secrets("p", "net", &pass).is_ok());
        let error = part.check_secrets("p", "ne", &pass).unwrap_err();
        assert_eq!(
            (error.advice(), &text[error.span().unwrap()]),
            (Some("Did you mean `ne.pass`?"), "net.pass")
        );
        let error = part.check_secrets("p", "net", &schema("pass = { type = 'string' }")).unwrap_err();
        assert!(error.advice().unwrap().contains("type = \"secret\""), "{error:?}");
        let two = schema("pass = { type = 'secret' }\nkey = { type = 'secret' }");
        let error = part.check_secrets("p", "net", &two).unwrap_err();
        assert!(error.to_string().contains("never mounts the secret `net.key`"), "{error}");
        assert!(check("p", "RUN --mount=type=secret,target=/x true\n").is_err());
    }

    #[test]
    fn missing_files_are_named() {
        let part =
            check("p", "COPY stages/a/x /x\nCOPY --from=other /y /y\nCOPY stages/a/*.conf /\n").unwrap();
        assert!(part.check_copies("p", |path| path == "stages/a/x").is_ok());
        let error = part.check_copies("p", |_| false).unwrap_err();
        assert!(error.to_string().contains("stages/a/x"));
    }
}
