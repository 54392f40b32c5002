//! What arguments offer to a shell that completes them.

use std::ffi::OsStr;
use std::future::Future;
use std::sync::Arc;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use pib_event::Silent;

use crate::ops::completion::{self, Offered};
use crate::ops::{Session, effective_config, explain};

/// Completes the name of a stage that registries have, or `NAME@VERSION`.
pub(super) fn stage() -> ArgValueCompleter {
    completer(|session, typed| wait(completion::stages(session, typed)))
}

/// Completes the name of a stage that the project lists.
pub(super) fn listed_stage() -> ArgValueCompleter {
    completer(|session, _| completion::listed_stages(session))
}

/// Completes `STAGE.KEY=`.
pub(super) fn config_key() -> ArgValueCompleter {
    completer(|session, typed| wait(completion::config_keys(session, typed)))
}

/// Completes the name of a target of the project.
pub(super) fn target() -> ArgValueCompleter {
    completer(|session, _| completion::targets(session))
}

/// Completes the name of a board.
pub(super) fn board() -> ArgValueCompleter {
    completer(|_, _| completion::boards())
}

/// Completes the name of a template of projects.
pub(super) fn template() -> ArgValueCompleter {
    completer(|_, _| completion::templates())
}

/// Completes an architecture.
pub(super) fn arch() -> ArgValueCompleter {
    completer(|_, _| completion::architectures())
}

/// Completes the name of an operating system.
pub(super) fn os() -> ArgValueCompleter {
    completer(|session, _| wait(completion::systems(session)))
}

/// Completes the name of a registry.
pub(super) fn registry() -> ArgValueCompleter {
    completer(|session, _| completion::registry_names(session))
}

/// Completes the name of a setting.
pub(super) fn setting() -> ArgValueCompleter {
    completer(|session, _| {
        let settings = effective_config::settings(session).unwrap_or_default();
        settings.into_iter().map(|setting| Offered { word: setting.key, help: String::new() }).collect()
    })
}

/// Completes the code of an error.
pub(super) fn code() -> ArgValueCompleter {
    completer(|_, typed| {
        let is_whole = typed.starts_with("pib:");
        let word = |code: String| if is_whole { code } else { code.trim_start_matches("pib::").to_owned() };
        let all = explain::all().into_iter();
        all.map(|entry| Offered { word: word(entry.code), help: entry.meaning }).collect()
    })
}

fn completer(offer: impl Fn(&Session, &str) -> Vec<Offered> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let (Some(typed), Ok(session)) = (typed.to_str(), Session::from_environment(None, Arc::new(Silent)))
        else {
            return Vec::new();
        };
        let begun = offer(&session, typed).into_iter().filter(|offered| offered.word.starts_with(typed));
        begun.map(candidate).collect()
    })
}

/// Returns a candidate; its help is a stranger's text, and one line.
fn candidate(offered: Offered) -> CompletionCandidate {
    let line = crate::ui::visible(offered.help.lines().next().unwrap_or_default());
    CompletionCandidate::new(offered.word).help((!line.is_empty()).then(|| line.into()))
}

/// Waits for what only reads files.
fn wait(offered: impl Future<Output = Vec<Offered>>) -> Vec<Offered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(offered)).unwrap_or_default()
}
