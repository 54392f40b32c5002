//! Reads a `COPY` or `ADD`: what it copies, from where and where to.

use std::ops::Range;

use super::checked::{Copy, CopySource, Form, InlineFile, Part, RemoteSource, Source};
use super::heredoc::Heredoc;
use super::instructions::Instruction;
use super::lines::Fault;
use super::refused::article;
use crate::dockerfile::Template;

impl Part {
    pub(super) fn copy(&mut self, copy: &Instruction) -> Result<Form, Fault> {
        let mut from = None;
        let mut options = Vec::new();
        for flag in &copy.options {
            match &*flag.name {
                "from" => {
                    let name = flag.value.as_deref().unwrap_or_default();
                    from = Some(self.copy_from(name, flag.span.clone())?);
                }
                name => options.push((name.to_owned(), flag.value.clone())),
            }
        }
        let words = words(copy);
        let Some(((target, place), sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty())
        else {
            let what = format!("has a {} without a source or a destination", copy.keyword);
            let help = format!("Write {} SOURCE DESTINATION.", copy.keyword);
            return Err(Fault::new(copy.at.clone(), what, "this instruction", help));
        };
        heredocs_are_sources(copy, sources)?;
        let target = copy.word(target, place)?;
        let sources = sources.iter().map(|(path, place)| self.source(copy, path, place, from.is_some()));
        let sources = sources.collect::<Result<_, _>>()?;
        Ok(Form::Copy(Copy { options, from, sources, target }))
    }

    fn source(
        &mut self,
        copy: &Instruction,
        path: &str,
        place: &Range<usize>,
        elsewhere: bool,
    ) -> Result<Source, Fault> {
        let heredoc = copy.heredocs.iter().find(|heredoc| heredoc.word == *place);
        let span = copy.arguments.span(place.clone());
        if let Some(heredoc) = heredoc {
            return self.inline(heredoc, span);
        }
        let word = copy.word(path, place)?;
        if copy.keyword == "ADD" && is_remote(&word) {
            self.remote(copy, path, span);
        } else if !elsewhere {
            self.copies.push(CopySource { path: word.clone(), span });
        }
        Ok(Source::Template(word))
    }

    /// Makes a file of a heredoc that is copied.
    fn inline(&mut self, heredoc: &Heredoc, span: Range<usize>) -> Result<Source, Fault> {
        let content = heredoc.content();
        if !heredoc.quoted && content.contains(['$', '\\']) {
            let what = "copies a heredoc with `$` or a backslash, whose variables not every engine puts in";
            let help = format!(
                "Write <<'{name}' where they are part of the text. To have variables put in, write RUN cat <<{name} > FILE.",
                name = heredoc.name
            );
            return Err(Fault::new(span, what, "this heredoc", help));
        }
        self.files.push(InlineFile { name: heredoc.name.clone(), content });
        Ok(Source::File(self.files.len() - 1))
    }

    /// Takes note of what an `ADD` fetches.
    fn remote(&mut self, add: &Instruction, address: &str, span: Range<usize>) {
        // What stands before the host, or behind the path, may be a password.
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.rsplit('@').next().unwrap_or_default();
        let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
        self.remotes.push(RemoteSource {
            text: format!("ADD {scheme}{host}{path} (line {})", add.line),
            is_pinned: add.options.iter().any(|flag| flag.name == "checksum"),
            span,
        });
    }
}

/// Refuses heredocs that would get lost: engines of different ages agree only on one that is a source by itself, without `--from`.
fn heredocs_are_sources(copy: &Instruction, sources: &[(String, Range<usize>)]) -> Result<(), Fault> {
    let elsewhere = copy.options.iter().any(|flag| flag.name == "from");
    let lost = |heredoc: &&Heredoc| elsewhere || sources.iter().all(|(_, place)| *place != heredoc.word);
    let Some(heredoc) = copy.heredocs.iter().find(lost) else { return Ok(()) };
    let (what, help) = match elsewhere {
        true => ("has a --from and a heredoc", "Copy the heredoc with an instruction of its own."),
        false => (
            "has a heredoc that is no source",
            "Write the heredoc before the destination, with plain spaces around it.",
        ),
    };
    let what = format!("has {} {} that {what}", article(&copy.keyword), copy.keyword);
    Err(Fault::new(copy.arguments.span(heredoc.word.clone()), what, "this heredoc", help))
}

/// Returns the sources and the destination, and where each stands in the arguments.
fn words(copy: &Instruction) -> Vec<(String, Range<usize>)> {
    let arguments = &copy.arguments;
    match &copy.list {
        Some(list) => list.iter().map(|word| (word.clone(), 0..arguments.text.len())).collect(),
        None => {
            let words = arguments.plain_words().into_iter();
            words.map(|word| (arguments.text[word.clone()].to_owned(), word)).collect()
        }
    }
}

/// Returns whether an engine fetches what a source of an `ADD` names.
fn is_remote(source: &Template) -> bool {
    let (start, _) = source.expand(|_| None);
    let scheme = start.split_once("://").map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    scheme.is_some_and(is_scheme) || start.starts_with("git@")
}
