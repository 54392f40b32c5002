//! An error as an event, and as text for people: what is wrong, where, and what to do next.
//!
//! Errors quote strangers: a line of a stage's manifest, a name in a registry, what an engine said. So an error is
//! copied, text by text, through the filter before anything draws it.

use std::collections::BTreeMap;
use std::fmt;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

use super::error_style::ErrorStyle;
use crate::ops::Error;
use crate::ui::{visible, visible_in_place};
use pib_disk::FlashError;
use pib_event::{Event, Location, Problem};
use pib_plan::redaction::{stars_in_place, without_logins};

/// A longer line of a source, in bytes, is shown in part.
const WIDE: usize = 240;
/// How much of a long line is shown before and after the place that is to blame.
const BEFORE: usize = 80;
/// How many of the errors that one is made of are shown.
const MAX_PROBLEMS: usize = 200;

/// Returns the event that ends a run which failed.
pub(super) fn event(error: &Error, logs: Vec<String>) -> Event {
    let Problem { code, message, help, causes, places, problems } = problem(error);
    let (differences, exit_code) = (error.differences(), error.exit_code());
    Event::Error { code, message, help, causes, places, problems, differences, exit_code, logs }
}

/// Returns one error, with those that it is made of.
fn problem(error: &dyn Diagnostic) -> Problem {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    Problem {
        code: code(error),
        message: error.to_string(),
        help: error.help().map(|help| help.to_string()),
        causes,
        places: places(error),
        problems: error.related().into_iter().flatten().map(problem).collect(),
    }
}

/// Returns the name of an error. One of a card is named by what went wrong with the card.
fn code(error: &dyn Diagnostic) -> Option<String> {
    let code = error.code().map(|code| code.to_string());
    code.or_else(|| {
        let cause = std::error::Error::source(error)?.downcast_ref::<Box<FlashError>>()?;
        cause.code().map(|code| code.to_string())
    })
}

/// Returns the names of errors that there is more to say of, each once: those of the errors that one is made of instead of
/// its own.
pub(super) fn codes(error: &Error) -> Vec<String> {
    let mut found = Vec::new();
    leaves(&problem(error), &mut found);
    // Who stops the program knows what it means, and the message of a wrong command line says what to type.
    found.retain(|code| !["pib::interrupted", "pib::usage"].contains(&code.as_str()));
    found
}

fn leaves(problem: &Problem, found: &mut Vec<String>) {
    problem.problems.iter().for_each(|problem| leaves(problem, found));
    let own = problem.code.iter().filter(|code| problem.problems.is_empty() && !found.contains(code));
    found.extend(own.cloned().collect::<Vec<_>>());
}

/// Returns the places in files that are to blame; lines and columns count from 1.
fn places(error: &dyn Diagnostic) -> Vec<Location> {
    let Some(source) = error.source_code() else { return Vec::new() };
    let place = |label: LabeledSpan| {
        let found = source.read_span(label.inner(), 0, 0).ok()?;
        Some(Location {
            file: found.name().map(str::to_owned),
            line: found.line() + 1,
            column: found.column() + 1,
            label: label.label().map(str::to_owned),
        })
    };
    error.labels().into_iter().flatten().filter_map(place).collect()
}

/// Returns the error for people: what is wrong, and below it, with numbers, the errors that it is made of. `hide` takes
/// secrets out of its texts.
pub(super) fn text(error: &dyn Diagnostic, style: &ErrorStyle, hide: &dyn Fn(String) -> String) -> String {
    let shown = Shown::of(error, &|text| visible(&without_logins(hide(text))));
    let mut text = style.draw(&shown, None);
    draw_problems(&shown.problems, "", style, &mut text);
    text
}

/// Draws errors below the one that is made of them; `above` is its own number.
fn draw_problems(problems: &[Shown], above: &str, style: &ErrorStyle, text: &mut String) {
    for (at, problem) in problems.iter().enumerate() {
        let number = format!("{above}{}.", at + 1);
        text.push('\n');
        text.push_str(&style.draw(problem, Some(&number)));
        draw_problems(&problem.problems, &number, style, text);
    }
}

/// A copy of an error that has only texts fit to be shown.
#[derive(Debug)]
struct Shown {
    message: String,
    help: Option<String>,
    cause: Option<Box<Cause>>,
    excerpt: Option<Excerpt>,
    labels: Vec<LabeledSpan>,
    problems: Vec<Shown>,
}

impl Shown {
    fn of(error: &dyn Diagnostic, fit: &dyn Fn(String) -> String) -> Self {
        let labels: Vec<LabeledSpan> = error.labels().into_iter().flatten().collect();
        let (excerpt, labels) = match error.source_code().and_then(|source| Excerpt::of(source, &labels, fit))
        {
            Some((excerpt, labels)) => (Some(excerpt), labels),
            None => (None, Vec::new()),
        };
        let mut problems: Vec<Self> =
            error.related().into_iter().flatten().map(|problem| Self::of(problem, fit)).collect();
        if problems.len() > MAX_PROBLEMS {
            let message = format!("{} more are not shown", problems.len() - MAX_PROBLEMS);
            problems.truncate(MAX_PROBLEMS);
            problems.push(Self {
                message,
                help: None,
                cause: None,
                excerpt: None,
                labels: vec![],
                problems: vec![],
            });
        }
        Self {
            message: fit(error.to_string()),
            help: error.help().map(|help| fit(help.to_string())),
            cause: Cause::of(std::error::Error::source(error), fit),
            excerpt,
            labels,
            problems,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| excerpt as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as _)
    }
}

/// What led to an error.
#[derive(Debug)]
struct Cause {
    message: String,
    cause: Option<Box<Cause>>,
}

impl Cause {
    fn of(
        error: Option<&(dyn std::error::Error + 'static)>,
        fit: &dyn Fn(String) -> String,
    ) -> Option<Box<Self>> {
        error.map(|error| {
            Box::new(Self { message: fit(error.to_string()), cause: Self::of(error.source(), fit) })
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// A source's text, fit to be shown: nothing hidden in it, and of long lines only the piece around the place.
#[derive(Debug)]
struct Excerpt {
    name: String,
    text: String,
    /// The columns that places in pieces of lines have in the whole lines, by their offsets in `text`.
    columns: BTreeMap<usize, usize>,
}

/// A line of the source, and where it went.
struct Line {
    start: usize,
    end: usize,
    /// What is shown of it, as offsets in the source.
    from: usize,
    to: usize,
    /// Where that begins in the excerpt.
    at: usize,
}

impl Excerpt {
    /// Returns what is shown of a source, and the labels at their places in that.
    fn of(
        source: &dyn SourceCode,
        labels: &[LabeledSpan],
        fit: &dyn Fn(String) -> String,
    ) -> Option<(Self, Vec<LabeledSpan>)> {
        let whole = source.read_span(labels.first()?.inner(), usize::MAX, usize::MAX).ok()?;
        let text = visible_in_place(&stars_in_place(&String::from_utf8_lossy(whole.data())));
        let mut excerpt = Self {
            name: fit(whole.name().unwrap_or_default().to_owned()),
            text: String::with_capacity(text.len()),
            columns: BTreeMap::new(),
        };
        let mut lines = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.trim_end_matches('\n').len();
            let place = labels.iter().map(LabeledSpan::offset).find(|offset| (start..=end).contains(offset));
            let (from, to) = piece(&text, start, end, place.unwrap_or(start));
            excerpt.text.push_str(if from > start { "…" } else { "" });
            lines.push(Line { start, end, from, to, at: excerpt.text.len() });
            excerpt.text.push_str(&text[from..to]);
            excerpt.text.push_str(if to < end { "…\n" } else { &text[end..start + line.len()] });
            start += line.len();
        }
        let placed = labels.iter().map(|label| {
            let (from, to) = (label.offset(), label.offset() + label.len());
            let (at, until) = (moved(&lines, from), moved(&lines, to));
            if let Some(line) =
                lines.iter().find(|line| line.from > line.start && (line.start..=line.end).contains(&from))
            {
                excerpt.columns.insert(at, from - line.start);
            }
            let text = label.label().map(|text| fit(text.to_owned()));
            match label.primary() {
                true => LabeledSpan::new_primary_with_span(text, (at, until.saturating_sub(at))),
                false => LabeledSpan::new_with_span(text, (at, until.saturating_sub(at))),
            }
        });
        let placed = placed.collect();
        Some((excerpt, placed))
    }
}

/// Returns which piece of a line is shown: all of it, or so much around the place.
fn piece(text: &str, start: usize, end: usize, place: usize) -> (usize, usize) {
    if end - start <= WIDE {
        return (start, end);
    }
    let mut from = place.saturating_sub(BEFORE).clamp(start, end);
    // At the end of a line, what stands before it says more.
    from = from.min(end - WIDE).max(start);
    let mut to = from + WIDE;
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    (from, to)
}

/// Returns where a place of the source is in the excerpt.
fn moved(lines: &[Line], place: usize) -> usize {
    let number = lines.partition_point(|line| line.start <= place).saturating_sub(1);
    lines.get(number).map_or(0, |line| line.at + place.clamp(line.from, line.to) - line.from)
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.text.read_span(span, before, after)?;
        // So the place itself is asked for, whose line and column head the excerpt.
        let whole = self.columns.get(&span.offset()).filter(|_| before == 0 && after == 0);
        let column = whole.copied().unwrap_or(found.column());
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            found.data(),
            *found.span(),
            found.line(),
            column,
            found.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use miette::NamedSource;

    use super::*;

    #[derive(Debug, thiserror::Error, Diagnostic)]
    #[error("{message}")]
    struct Hostile {
        message: String,
        #[source_code]
        text: NamedSource<String>,
        #[label("{message}")]
        span: SourceSpan,
        #[help]
        help: String,
        #[related]
        others: Vec<Hostile>,
        source: Option<std::io::Error>,
    }

    fn hostile(text: &str, span: (usize, usize)) -> Hostile {
        let bad = "x\u{1b}[31m\u{9b}2J\u{202e}y\r".to_owned();
        Hostile {
            message: bad.clone(),
            text: NamedSource::new(bad.clone(), text.to_owned()),
            span: span.into(),
            help: bad.clone(),
            others: vec![],
            source: Some(std::io::Error::other(bad)),
        }
    }

    fn shown(error: &Hostile) -> String {
        text(error, &ErrorStyle::plain(), &|text| text)
    }

    #[test]
    fn no_text_of_an_error_reaches_a_terminal_as_it_is() {
        let mut error = hostile("a = 1\n\u{1b}]0;t\u{7}\u{202e} = 2\r\nb = 3\n", (6, 4));
        error.others.push(hostile("\u{1b}[2J", (0, 1)));
        let text = shown(&error);
        let hidden: Vec<char> = text.chars().filter(|&c| c != '\n' && crate::ui::is_hidden(c)).collect();
        assert!(hidden.is_empty() && text.contains("?]0;t?"), "{hidden:?} in\n{text}");
    }

    #[test]
    fn a_place_in_a_line_of_any_length_is_shown_with_its_column() {
        for (lead, tail) in [(0, 0), (0, 70_000), (70_000, 0), (70_000, 200_000), (239, 1), (100, 139)] {
            let text = format!("first = 1\n{}x = = 1{}\nlast = 2\n", "ä".repeat(lead / 2), " ".repeat(tail));
            let at = text.find("= =").unwrap();
            let shown = shown(&hostile(&text, (at + 2, 1)));
            let column = at + 2 - "first = 1\n".len() + 1;
            assert!(
                shown.contains(&format!(":2:{column}]")) && shown.contains("x = = 1"),
                "{lead} {tail}:\n{shown}"
            );
            assert!(shown.contains("first = 1") && shown.contains("last = 2"), "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() < 400), "{shown}");
        }
    }

    #[test]
    fn places_at_the_edges_are_shown() {
        for (text, span) in [("", (0, 0)), ("a", (1, 0)), ("a\n", (2, 0)), ("a\nb", (0, 3)), ("\n\n", (1, 1))]
        {
            assert!(shown(&hostile(text, span)).contains('x'), "{text:?} {span:?}");
        }
        let long = "y".repeat(1000);
        assert!(shown(&hostile(&format!("{long}\n{long}\n"), (500, 1000))).contains('y'));
    }
}
