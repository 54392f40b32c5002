//! `pib completions`

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::print_document;
use crate::ops::Error;

/// Write the completion script of a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = INSTALL)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

const INSTALL: &str = "\
To have the commands and options of pib completed:
  bash   pib completions bash > ~/.local/share/bash-completion/completions/pib
  zsh    pib completions zsh > ~/.zfunc/_pib    (with ~/.zfunc in fpath, before compinit)
  fish   pib completions fish > ~/.config/fish/completions/pib.fish";

pub(super) fn run(args: &Completions, mut command: Command) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "pib", &mut script);
    print_document(String::from_utf8_lossy(&script))
}
