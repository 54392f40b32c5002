//! Keeps `host/docs/reference/commands.md` what the command line is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory as _};

use super::help::{self, GROUPS};

const HEAD: &str = "# Commands

<!-- The test `cli::reference_tests` makes this page from the command line. INSTA_UPDATE=always has it write the page again. -->

What each command and each of its options does. `pib help COMMAND` shows the same in the terminal.

## Options of all commands

";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/commands.md")
}

/// Returns the page: the options of all commands, then the commands in the groups of the first page of the help.
fn page() -> String {
    let mut root = help::with_first_page(super::Cli::command());
    root.build();
    let mut text = HEAD.to_owned();
    let shared: Vec<&Arg> = root.get_arguments().filter(|arg| arg.get_id() != "version").collect();
    table(&mut text, &shared);
    for (title, names) in GROUPS {
        let _ = write!(text, "\n## {title}\n");
        for name in names {
            // The parser's own, which shows the other pages.
            let Some(command) = root.find_subcommand(name).filter(|_| *name != "help") else { continue };
            command_to(&mut text, command, &format!("pib {name}"), 3);
        }
    }
    text
}

/// Adds the section of a command, and those of its subcommands.
fn command_to(text: &mut String, command: &Command, name: &str, level: usize) {
    let _ = write!(text, "\n{} {name}\n\n", "#".repeat(level));
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "{}.\n", escaped(about.trim_end_matches('.')));
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(text, "```text\n{}\n```", usage.trim_start_matches("Usage: ").trim_end());
    let own = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help" && !arg.is_hide_set();
    let own: Vec<&Arg> = command.get_arguments().filter(own).collect();
    if !own.is_empty() {
        text.push('\n');
        table(text, &own);
    }
    if let Some(more) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = writeln!(text, "\n```text\n{}\n```", more.to_string().trim_end());
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        command_to(text, sub, &format!("{name} {}", sub.get_name()), level + 1);
    }
}

fn table(text: &mut String, args: &[&Arg]) {
    text.push_str("| argument or option | meaning |\n|---|---|\n");
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) = args.iter().partition(|arg| arg.is_positional());
    for arg in positional.into_iter().chain(options) {
        let _ = writeln!(text, "| {} | {} |", names(arg), meaning(arg));
    }
}

/// Returns what is typed: the names of an option, and those of its values.
fn names(arg: &Arg) -> String {
    let takes_values = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>"));
    let values = values.collect::<Vec<_>>().join(" ");
    if arg.is_positional() {
        return cell(&values);
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    let aliases = aliases.into_iter().map(|alias| format!("--{alias}"));
    let with_values =
        |name: String| if takes_values { cell(&format!("{name} {values}")) } else { cell(&name) };
    short.into_iter().chain(long).chain(aliases).map(with_values).collect::<Vec<_>>().join(", ")
}

/// Returns what an argument means, with its choices and its default.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = escaped(&help).replace("\n\n", " ");
    if arg.get_action().takes_values() {
        let choices: Vec<String> =
            arg.get_possible_values().iter().map(|value| cell(value.get_name())).collect();
        if !choices.is_empty() {
            let _ = write!(text, ". One of {}", choices.join(", "));
        }
        let defaults = arg.get_default_values().iter().map(|value| cell(&value.to_string_lossy()));
        let defaults: Vec<String> = defaults.collect();
        if !defaults.is_empty() {
            let _ = write!(text, ". Default: {}", defaults.join(", "));
        }
    }
    text
}

/// Returns a text as code in a cell of a table.
fn cell(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// Returns a text of the help for a page: it is plain, but for code in backticks.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for (number, piece) in text.split('`').enumerate() {
        let is_code = number % 2 == 1;
        if number > 0 {
            shown.push('`');
        }
        let piece = piece.replace('|', "\\|");
        shown.push_str(&if is_code { piece } else { piece.replace('<', "\\<").replace('_', "\\_") });
    }
    shown.replace("\n\n", "\u{0}").replace('\n', " ").replace('\u{0}', "\n\n")
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to write what it compares with")]
fn the_reference_is_that_of_the_command_line() {
    let page = page();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        std::fs::write(path(), &page).unwrap();
    }
    let published = std::fs::read_to_string(path()).unwrap();
    assert!(
        published == page,
        "run this test once with INSTA_UPDATE=always, and commit host/docs/reference/commands.md"
    );
}
