//! `pib completions`

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use super::output::print_document;
use crate::ops::Error;

/// The variable by which the scripts ask pib what to offer.
pub(super) const VARIABLE: &str = "COMPLETE";

/// Write the completion script of a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = INSTALL)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

const INSTALL: &str = "\
To have commands, options, stages, config keys, targets and boards completed:
  bash   pib completions bash > ~/.local/share/bash-completion/completions/pib
  zsh    pib completions zsh > ~/.zfunc/_pib    (with ~/.zfunc in fpath, before compinit)
  fish   pib completions fish > ~/.config/fish/completions/pib.fish
The script asks the program, so that it must be written again when pib is updated.";

pub(super) fn run(args: &Completions) -> Result<(), Error> {
    let name = args.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let failed = |error| Error::io("write the completion script", "", error);
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&name) {
        shell.write_registration(VARIABLE, "pib", "pib", "pib", &mut script).map_err(failed)?;
    }
    print_document(String::from_utf8_lossy(&script))
}
