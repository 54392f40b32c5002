//! `pib completions`

use clap::{Args, Command, ValueEnum, ValueHint};
use clap_complete::env::Shells;

use super::output::print_document;
use crate::ops::Error;

/// The variable by which the scripts ask pib what to offer.
pub(super) const VARIABLE: &str = "PIB_COMPLETE";

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
  zsh    pib completions zsh > ~/.local/share/zsh/site-functions/_pib    (in fpath, before compinit)
  fish   pib completions fish > ~/.config/fish/completions/pib.fish
The script asks the program, so that it must be written again when pib is updated.";

pub(super) fn run(args: &Completions) -> Result<(), Error> {
    let name = args.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let failed = |error| Error::io("write the completion script", "", error);
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&name) {
        shell.write_registration(VARIABLE, "pib", "pib", "pib", &mut script).map_err(failed)?;
    }
    // Where pib has nothing to offer, bash offers files.
    let script = String::from_utf8_lossy(&script).replace("-o bashdefault", "-o bashdefault -o default");
    print_document(script)
}

/// Returns what makes the command line as the shell that asks is offered it.
///
/// Bash puts what it is offered on the command line as it is, and a file of a stranger's may be called `x$(command)`. So pib
/// offers it no files: bash does that itself, and quotes their names. Other shells quote what they are offered.
#[expect(clippy::disallowed_methods, reason = "there is no session yet; the library reads the same variable")]
pub(super) fn offered(command: impl Fn() -> Command) -> impl Fn() -> Command {
    // The library takes the variable away before it asks for the command line.
    let is_bash = std::env::var_os(VARIABLE).is_some_and(|shell| shell == "bash");
    move || if is_bash { without_files(command()) } else { command() }
}

fn without_files(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_value_hint() {
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath | ValueHint::ExecutablePath => {
            arg.value_hint(ValueHint::Other)
        }
        _ => arg,
    });
    command.mut_subcommands(without_files)
}
