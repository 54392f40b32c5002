//! `pib login`, `pib logout` and `pib whoami`

use std::io::{IsTerminal as _, Read as _};

use clap::Args;
use rustix::termios::{self, LocalModes, OptionalActions};

use super::completer;
use super::output::{print_as, say};
use super::text::logins_text;
use super::tty::KeptTerminal;
use crate::ops::registry_login::{self, Login as LoggedIn, LoginOptions, Logout as LoggedOut};
use crate::ops::{Error, Session};

/// The longest token that is read, in bytes.
const MAX_TOKEN: u64 = 4096;

/// Keep your token for a registry, in your config
///
/// The token is asked for, or read from standard input. Once the registry's server has said that it knows it, it is written to
/// `config.toml`, which only you can read then.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// Your name for the registry
    #[arg(add = completer::registry())]
    registry: String,
    /// Its address, where your config does not have it yet
    #[arg(value_name = "ADDRESS")]
    index: Option<String>,
}

/// Remove your token for a registry from your config
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Your name for the registry
    #[arg(add = completer::registry())]
    registry: String,
}

/// Say whose your tokens are, and what they allow
#[derive(Debug, Args)]
pub(super) struct Whoami {
    /// The registry: an address, or the name of one of the project's or yours [default: all that you have tokens for]
    #[arg(value_name = "URL|NAME", add = completer::registry())]
    registry: Option<String>,
}

pub(super) async fn login(session: &Session, json: bool, args: Login) -> Result<(), Error> {
    let Login { registry, index } = args;
    // What cannot work is told before anybody types a token.
    let index = registry_login::address_of(session, &registry, index)?;
    let token = token(&registry).await?;
    let done = registry_login::login(session, &LoginOptions { registry, index, token }).await?;
    print_as(json, &done, LoggedIn::to_text)
}

pub(super) fn logout(session: &Session, json: bool, args: &Logout) -> Result<(), Error> {
    print_as(json, &registry_login::logout(session, &args.registry)?, LoggedOut::to_text)
}

pub(super) async fn whoami(session: &Session, json: bool, args: Whoami) -> Result<(), Error> {
    let logins = registry_login::whoami(session, args.registry.as_deref()).await?;
    print_as(json, &logins, |logins| logins_text(logins))
}

/// Reads a token: from a person, whose terminal does not show it, or from whatever standard input is.
async fn token(registry: &str) -> Result<String, Error> {
    let failed = |error| Error::io("read the token from", "standard input", error);
    // The terminal shows again what is typed once this is dropped, also where a signal ends the wait.
    let kept = KeptTerminal::new();
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        hide_typing().map_err(|error| failed(error.into()))?;
        say(&format!("Token for the registry `{registry}` (it is not shown):"));
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let mut input = std::io::stdin().take(MAX_TOKEN + 1);
        match is_terminal {
            true => std::io::BufRead::read_line(&mut std::io::BufReader::new(input), &mut text),
            false => input.read_to_string(&mut text),
        }
        .map(|_| text)
    });
    let text = read.await.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
    drop(kept);
    let token = text.trim();
    if token.is_empty() {
        let help = "Type it, or hand it over: pib login NAME ADDRESS < FILE";
        return Err(Error::usage("there is no token on standard input", help));
    }
    if text.len() as u64 > MAX_TOKEN {
        let help = "Copy the whole token, and nothing else, as `pib registry token` showed it.";
        return Err(Error::usage(
            format!("what is on standard input is longer than {MAX_TOKEN} bytes"),
            help,
        ));
    }
    Ok(token.to_owned())
}

fn hide_typing() -> rustix::io::Result<()> {
    let mut modes = termios::tcgetattr(std::io::stdin())?;
    modes.local_modes.remove(LocalModes::ECHO);
    modes.local_modes.insert(LocalModes::ECHONL);
    termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &modes)
}
