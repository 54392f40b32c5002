//! Writes results to standard output.

use std::io::{IsTerminal as _, Write as _};

use pib_event::Event;
use serde::Serialize;

use crate::ops::{Error, Session};
use crate::ui;

/// Writes a line to standard error. A terminal that was closed meanwhile is no reason to fail otherwise.
pub(super) fn say(line: &str) {
    _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes a result for people to standard output. Some of it is a stranger's: none of that gives orders to a terminal,
/// also where it comes to one through a file or a pager.
pub(super) fn print(text: impl AsRef<str>) -> Result<(), Error> {
    write_out(&ui::visible(text.as_ref()))
}

/// Writes a file's text to standard output, with a sign for each character that a terminal would not show. Where there is
/// one, it says so: the text is not the file's then.
pub(super) fn print_shown(session: &Session, text: &str) -> Result<(), Error> {
    let shown = ui::visible_in_place(text);
    if shown != text {
        session.reporter.report(Event::Warning {
            message: "it has control characters or others that cannot be seen, which are shown as `?` or another sign; \
                      `pib plan --context DIR` writes the files as they are"
                .to_owned(),
        });
    }
    write_out(&shown)
}

/// Writes a result that programs read to standard output, as it is; a terminal takes no orders from it.
pub(super) fn print_document(text: impl AsRef<str>) -> Result<(), Error> {
    match std::io::stdout().is_terminal() {
        true => write_out(&ui::visible_in_place(text.as_ref())),
        false => write_out(text.as_ref()),
    }
}

/// Writes to standard output; a reader that went away ends the program quietly, and so does a terminal.
fn write_out(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(error) if !is_gone(&error) => Err(Error::io("write to standard output", "", error)),
        _ => Ok(()),
    }
}

/// Returns whether writing to standard output failed since nobody is there any more: what a closed terminal answers is
/// what a broken disk does, but a file on a disk is no character device.
fn is_gone(error: &std::io::Error) -> bool {
    use rustix::fs::FileType;
    let device = || {
        let status = rustix::fs::fstat(std::io::stdout());
        status.is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice)
    };
    let failed = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    error.kind() == std::io::ErrorKind::BrokenPipe || (failed && device())
}

/// Writes a result as JSON, or as text.
pub(super) fn print_as<T: Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Error> {
    if !json {
        return print(text(value));
    }
    let document = serde_json::to_string_pretty(value).map_err(|error| {
        Error::io("write the result as JSON", "", std::io::Error::other(error.to_string()))
    })?;
    write_out(&ui::json(&document))
}

/// A question to a person before something that cannot be taken back.
pub(super) struct Question<'a> {
    /// What it is about, shown before it.
    pub(super) about: &'a str,
    /// The question.
    pub(super) text: &'a str,
    /// What is wrong where nobody can answer.
    pub(super) unasked: &'a str,
    /// What to do then.
    pub(super) help: &'a str,
}

/// Returns whether a person at the terminal says yes.
///
/// # Errors
/// When there is no terminal, or the result is for a program.
pub(super) async fn confirmed(json: bool, question: Question<'_>) -> Result<bool, Error> {
    if json || !std::io::stdin().is_terminal() {
        return Err(Error::usage(question.unasked, question.help));
    }
    say(&ui::visible(question.about));
    agreed(question.text).await
}

/// Asks a person. The answer is awaited on a thread of its own, so that a signal ends the wait.
async fn agreed(question: &str) -> Result<bool, Error> {
    let failed = |error| Error::io("read the answer", "", error);
    _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
