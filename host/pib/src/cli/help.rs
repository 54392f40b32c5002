//! The first page of the help: the commands by what they are for.

use std::fmt::Write as _;

use clap::Command;

/// The commands, in the order in which a person meets them. What is in no group is listed at the end.
pub(super) const GROUPS: [(&str, &[&str]); 7] = [
    (
        "Describe a device",
        &["new", "init", "import", "add", "remove", "update", "lock", "fetch", "push", "vendor"],
    ),
    (
        "Build it, and look inside",
        &["build", "plan", "shell", "run", "export", "verify", "flash", "format", "clean"],
    ),
    ("Try an image without a board", &["boot", "test"]),
    ("Look into an image", &["inspect", "diff", "sbom"]),
    ("Ask", &["tree", "why", "outdated", "search", "info", "config", "explain"]),
    (
        "Make stages",
        &["stage", "package", "publish", "yank", "owner", "login", "logout", "whoami", "registry"],
    ),
    ("This machine", &["scan", "trust", "doctor", "binfmt", "cache", "schema", "man", "completions", "help"]),
];
/// The width of the column of names.
const NAMES: usize = 13;

/// Returns the command line with its first page.
pub(super) fn with_first_page(command: Command) -> Command {
    let page = format!(
        "{{about}}\n\n{{usage-heading}} pib [OPTIONS] COMMAND\n{}\nOptions:\n{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(page)
}

fn groups(command: &Command) -> String {
    let mut commands: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| (command.get_name().to_owned(), about(command)))
        .collect();
    // The parser adds it only when it is built.
    commands.push(("help".to_owned(), "Show this page, or all about a command".to_owned()));
    let mut text = String::new();
    for (title, names) in GROUPS {
        let group = names.iter().filter_map(|name| {
            let at = commands.iter().position(|(known, _)| known == name)?;
            Some(commands.remove(at))
        });
        list(&mut text, title, &group.collect::<Vec<_>>());
    }
    list(&mut text, "More", &commands);
    text
}

fn list(text: &mut String, title: &str, commands: &[(String, String)]) {
    if commands.is_empty() {
        return;
    }
    let _ = write!(text, "\n{title}:\n");
    for (name, about) in commands {
        let _ = writeln!(text, "  {name:NAMES$}{about}");
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    about.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_has_its_place_and_says_what_it_does() {
        let command = with_first_page(crate::cli::Cli::command());
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = sub.get_name();
            assert!(GROUPS.iter().any(|(_, names)| names.contains(&name)), "put `{name}` into a group");
            let about = about(sub);
            assert!(!about.is_empty() && about.len() <= 80 - NAMES - 2, "{name}: `{about}`");
            for argument in sub.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: `{}` says nothing", argument.get_id());
            }
        }
        command.debug_assert();
    }
}
