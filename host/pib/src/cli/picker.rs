//! A list to search and choose from, on a terminal.

use std::io::IsTerminal as _;

use dialoguer::FuzzySelect;
use dialoguer::console::Term;
use dialoguer::theme::SimpleTheme;

use super::tty::KeptTerminal;
use crate::ops::Error;
use crate::ui;

/// Returns whether a person can choose: the list is drawn on standard error, the keys come from standard input.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Has a person choose one of the lines; returns its number, or nothing where Escape was pressed.
///
/// # Errors
/// When the terminal cannot be used, or the person stops the program.
pub(super) async fn pick(prompt: &'static str, lines: Vec<String>) -> Result<Option<usize>, Error> {
    let lines: Vec<String> = lines.iter().map(|line| ui::visible(line)).collect();
    // The terminal is as it was once this is dropped, also where a signal ends the wait.
    let kept = (KeptTerminal::new(), ShownCursor);
    // The keys are awaited on a thread of their own, so that a signal ends the wait.
    let picked = tokio::task::spawn_blocking(move || {
        let list = FuzzySelect::with_theme(&SimpleTheme).with_prompt(prompt).items(&lines).default(0);
        list.max_length(15).interact_on_opt(&Term::stderr())
    });
    let picked = picked.await.map_err(|error| failed(std::io::Error::other(error)))?;
    drop(kept);
    picked.map_err(|dialoguer::Error::IO(error)| match error.kind() {
        std::io::ErrorKind::Interrupted => Error::Interrupted,
        _ => failed(error),
    })
}

/// Shows the cursor again when it is dropped: the library leaves it hidden where the wait ends by Ctrl-C.
struct ShownCursor;

impl Drop for ShownCursor {
    fn drop(&mut self) {
        _ = Term::stderr().show_cursor();
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("read the choice", "", error)
}
