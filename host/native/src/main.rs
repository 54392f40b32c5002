//! Runs a command in a root file system of another processor, and has native programs take the place of those that
//! have a native twin in the companion at `/.pib`. Where pib records what the command fetches, it leads that there.
//!
//! ```text
//! /.pib/run [--fresh] COMMAND [ARGUMENT...]
//! ```
//!
//! It is the first process of a `RUN` instruction. It follows every process below it and looks at each `execve` and
//! `execveat`:
//! where the file is a tool that the companion has, of the same package and version and with the contents that
//! the package database vouches for, the call is pointed at the twin. Everything else is left alone and runs under
//! the kernel's emulation. Nothing is ever written to the root file system, so nothing has to be taken out again,
//! and a tool that the build upgrades, replaces, diverts or removes is the target's own from that moment on.
//!
//! | module | what it does |
//! |---|---|
//! | `sys` | the system calls |
//! | `follow` | the loop over all processes |
//! | `exec` | decides on one `execve` |
//! | `relay` | leads what the command fetches to pib |
//! | `tools` | which tools there are, and their rules |
//! | `set_id` | what is done about programs that would gain rights |
//! | `owned` | whether a file is the one that its package brought |
//! | `md5` | what the package database's checksums are made with |
//!
//! It is compiled on its own by the build script of `pib`, linked statically, and has no dependencies: it must run
//! in any root file system.

mod exec;
mod follow;
mod md5;
mod message;
mod owned;
mod relay;
mod set_id;
mod sys;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let fresh = arguments.first().is_some_and(|argument| argument == "--fresh");
    if fresh {
        arguments.remove(0);
    }
    if arguments.is_empty() {
        message::say("usage: run [--fresh] COMMAND [ARGUMENT...]");
        return ExitCode::from(125);
    }
    let tools = match tools::Tools::read(std::path::Path::new(tools::ROOT)) {
        Ok(tools) => tools,
        Err(error) => {
            message::say(&format!("native tools are off: could not read {}/tools: {error}", tools::ROOT));
            tools::Tools::default()
        }
    };
    let owned = if fresh { owned::Owned::everything() } else { owned::Owned::new("/var/lib/dpkg") };
    let set_id = set_id::SetId::read(std::path::Path::new(tools::ROOT));
    if let Err(error) = relay::start(std::path::Path::new(relay::SOCKET)) {
        message::say(&format!("could not reach pib, which records what this command fetches: {error}"));
        return ExitCode::from(125);
    }
    let code = match tools.is_empty() {
        true => follow::run_alone(&arguments),
        false => follow::run(&arguments, &mut exec::Decider::new(tools, owned, set_id)),
    };
    ExitCode::from(code)
}
