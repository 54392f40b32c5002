//! Checks a part, a stage's Dockerfile fragment, before it becomes a piece of the whole.

use std::ops::Range;

use parse_dockerfile::{Command, Instruction, Source};

use crate::manifest::{ManifestError, ManifestText};

/// The largest part that is read, in bytes.
pub const MAX_PART: usize = 1 << 20;

/// What makes a part a valid Dockerfile for the parser, and is taken off all spans again.
const PREFIX: &str = "FROM scratch\n";

/// A part that may be assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The text, ending in a line break.
    pub text: String,
    /// How many file system layers its instructions make.
    pub layers: usize,
    /// The paths in the context that it copies from.
    pub copies: Vec<CopySource>,
    /// Where native tools are put in, in the order of the text.
    pub places: Vec<NativePlace>,
    /// The shell that the part leaves for the parts after it, as a JSON list, if it chooses one.
    pub shell: Option<String>,
}

/// A place in a part's text at which an instruction is told of native tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativePlace {
    /// The byte offset.
    pub offset: usize,
    /// What belongs there.
    pub what: NativeWord,
}

/// What tells an instruction of native tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeWord {
    /// The mount, behind the word `RUN`.
    Mount,
    /// The program that runs the command, as the first item of a JSON list.
    Runner,
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
    let source = ManifestText::new(file, text);
    if text.len() > MAX_PART {
        let message = format!("the part `{file}` is larger than 1 MiB");
        return Err(source.error(0..0, message, "").with_help("Move data to files and COPY them."));
    }
    let whole = format!("{PREFIX}{text}\n");
    let dockerfile = parse_dockerfile::parse(&whole).map_err(|error| {
        let at = offset(text, error.line().saturating_sub(1), error.column());
        source.error(at..at, format!("could not read the part `{file}`: {error}"), "here")
    })?;
    let mut part = Part {
        text: format!("{}\n", text.trim_end()),
        layers: 0,
        copies: vec![],
        places: vec![],
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
                part.place(own(&run.run.span, text).end, NativeWord::Mount);
                if let Command::Exec(list) = &run.arguments {
                    part.place(own(&list.span, text).start + 1, NativeWord::Runner);
                }
            }
            Instruction::Shell(shell) => {
                let list = own(&shell.shell.span, text).end..text.len();
                if let Some(at) = text[list.clone()].find('[') {
                    part.place(list.start + at + 1, NativeWord::Runner);
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
    fn place(&mut self, offset: usize, what: NativeWord) {
        self.places.push(NativePlace { offset, what });
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
fn own(span: &Range<usize>, text: &str) -> Range<usize> {
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
        assert_eq!(part.layers, 3);
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
    fn empty_and_broken_parts_are_refused() {
        assert!(check("p", "").is_err());
        assert!(check("p", "# only a comment\n").is_err());
        let error = check("p", "RUN true\nRNU false\n").unwrap_err();
        assert_eq!(error.span().unwrap().start, "RUN true\n".len(), "{error}");
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
