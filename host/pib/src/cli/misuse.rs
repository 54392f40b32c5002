//! What the program says to commands that it does not have.

use clap::Command;
use pib_plan::{board, suggest};

/// The words of pi-builder's makefile, and what they are here.
const PI_BUILDER: [(&str, &str); 11] = [
    ("os", "`pib build` builds the image of the project"),
    ("image", "`pib build` writes the image"),
    ("install", "`pib flash` writes the image to a card"),
    ("format", "`pib flash` partitions the card as it writes the image"),
    ("extract", "`pib export` writes the root file system"),
    ("toolbox", "pib needs no toolbox: a container engine is enough, and `pib doctor` checks it"),
    ("base", "`pib lock` decides the base, and `pib build` makes it"),
    ("qemu", "`pib binfmt` sets up the emulation, and `pib boot` starts the image in QEMU"),
    ("clean-all", "`pib clean` removes what builds left, and `pib cache` looks after the rest"),
    ("make", "`pib build` builds the image; `pib import DIR` makes a project of a pi-builder tree"),
    ("flash-card", "`pib flash` writes the image to a card"),
];

/// Returns the commands that the parser had read when it stopped: `["stage"]`, out of `Usage: pib stage [OPTIONS] <COMMAND>`.
pub(super) fn usage(error: &str) -> Vec<String> {
    let line = error.lines().find_map(|line| line.trim().strip_prefix("Usage: pib")).unwrap_or_default();
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    line.split_whitespace().take_while(is_word).map(str::to_owned).collect()
}

/// Returns what to tell somebody who typed a command that is not there, below the command that `above` leads to.
pub(super) fn unknown_command(root: &Command, above: &[String], word: &str) -> String {
    let command = above.iter().try_fold(root, |command, name| command.find_subcommand(name)).unwrap_or(root);
    let help = match known_elsewhere(word).filter(|_| above.is_empty()) {
        Some(help) => help,
        None => {
            let names: Vec<&str> =
                command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name).collect();
            match suggest::only_nearest(word, names.iter().copied()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("The commands are {}.", names.join(", ")),
            }
        }
    };
    let above: String = above.iter().map(|name| format!(" {name}")).collect();
    format!(
        "error: unrecognized subcommand '{word}'\n\n  {help}\n\nUsage: pib{above} [OPTIONS] COMMAND\n\nFor more information, try '--help'."
    )
}

fn known_elsewhere(word: &str) -> Option<String> {
    if let Ok(board) = board::find(word) {
        return Some(format!(
            "{word} is a board: it stands in pib.toml as board = \"{}\". `pib new NAME --board {}` starts a project for it, \
             `pib import DIR` makes one of a pi-builder tree, and `pib build` builds the image.",
            board.name, board.name
        ));
    }
    let (_, help) = PI_BUILDER.iter().find(|(known, _)| *known == word)?;
    Some(format!("{help}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_pi_builder_and_typing_errors_get_an_answer() {
        let command =
            Command::new("pib").subcommands(["build", "boot", "flash", "init", "binfmt"].map(Command::new));
        for (word, says) in [
            ("rpi4", "board = \"rpi4\""),
            ("install", "`pib flash`"),
            ("biuld", "Did you mean `build`?"),
            ("innit", "Did you mean `init`?"),
            ("zzzzzzzz", "The commands are build, boot, flash, init, binfmt."),
        ] {
            let text = unknown_command(&command, &[], word);
            assert!(text.contains(says), "{word}: {text}");
        }
    }

    #[test]
    fn commands_with_commands_of_their_own_list_these() {
        let stage = Command::new("stage").subcommands(["new", "build", "check"].map(Command::new));
        let command = Command::new("pib").subcommands([stage, Command::new("flash")]);
        let above =
            usage("error: unrecognized subcommand 'install'\n\nUsage: pib stage [OPTIONS] <COMMAND>\n");
        assert_eq!(above, ["stage"]);
        for (word, says) in
            [("biuld", "Did you mean `build`?"), ("install", "The commands are new, build, check.")]
        {
            let text = unknown_command(&command, &above, word);
            assert!(text.contains(says) && text.contains("Usage: pib stage [OPTIONS] COMMAND"), "{text}");
        }
    }
}
