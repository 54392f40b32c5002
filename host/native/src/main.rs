//! Runs a command in a root file system of another processor: starts an emulator for the target's programs, and has native
//! programs take the place of those that have a native twin in the companion at `/.pib`. Where pib records what the command
//! fetches, it leads that there.
//!
//! ```text
//! /.pib/run [--fresh] [--emulate] [--open] COMMAND [ARGUMENT...]
//! /.pib/run --tidy
//! ```
//!
//! It is the first process of a `RUN` instruction. It follows every process below it and looks at each `execve` and
//! `execveat`:
//! where the file is a tool that the companion has, of the same package and version and with the contents that
//! the package database vouches for, the call is pointed at the twin. With `--emulate`, every other program of the target is
//! started by the companion's emulator, and the kernel needs no handler for it; without, the kernel's handler starts it. Nothing is
//! ever written to the root file system, so nothing has to be taken out again,
//! and a tool that the build upgrades, replaces, diverts or removes is the target's own from that moment on.
//!
//! | module | what it does |
//! |---|---|
//! | `sys` | the system calls |
//! | `registers` | a call as the processor's registers have it, and how it is changed |
//! | `arguments`, `change` | what a process passes to a call, and other words in its place |
//! | `follow` | the loop over all processes |
//! | `exec` | decides on one `execve` |
//! | `emulation` | which emulator runs a program, and how it is called |
//! | `format` | what a file is that is to be run |
//! | `view`, `credentials` | which file a path means to a process, and what the process may do with it |
//! | `relay` | leads what the command fetches to pib; with `--open`, nothing is led there |
//! | `route` | how pib is reached |
//! | `twin` | which twin stands in for a program |
//! | `tools` | which tools there are, and their rules |
//! | `set_id` | what is done about programs that would gain rights |
//! | `owned` | whether a file is the one that its package brought |
//! | `md5` | what the package database's checksums are made with |
//!
//! With `--tidy` it removes the empty folder that some engines leave at the place of its mount.
//!
//! It is compiled on its own by the build script of `pib`, linked statically, and has no dependencies: it must run
//! in any root file system.

mod arguments;
mod change;
mod credentials;
mod emulation;
mod exec;
mod follow;
mod format;
mod md5;
mod message;
mod owned;
mod registers;
mod relay;
mod route;
mod set_id;
mod sys;
mod tools;
mod twin;
mod view;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// The exit code where the command cannot be started.
const NOT_STARTED: u8 = 125;

/// How the command is run.
#[derive(Debug, Default)]
struct Options {
    /// There is no package database yet: every file is the one that its package brought.
    fresh: bool,
    /// The companion's emulators start the target's programs.
    emulate: bool,
    /// What the command fetches is not recorded, although that of others is.
    open: bool,
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "--tidy") {
        return tidy(Path::new(tools::ROOT));
    }
    let options = options(&mut arguments);
    if arguments.is_empty() {
        message::say("usage: run [--fresh] [--emulate] [--open] COMMAND [ARGUMENT...]");
        return ExitCode::from(NOT_STARTED);
    }
    let root = Path::new(tools::ROOT);
    let emulators = match options.emulate.then(|| emulation::Emulators::open(root)).transpose() {
        Ok(emulators) => emulators,
        Err(error) => {
            message::say(&format!("could not open an emulator: {error}"));
            return ExitCode::from(NOT_STARTED);
        }
    };
    if let Err(error) = relay::start(Path::new(relay::SOCKET), options.open) {
        message::say(&format!("could not reach pib, which records what this command fetches: {error}"));
        return ExitCode::from(NOT_STARTED);
    }
    let tools = read_tools(root);
    let code = match tools.is_empty() && emulators.is_none() {
        true => follow::run_alone(&arguments),
        false => {
            let owned =
                if options.fresh { owned::Owned::everything() } else { owned::Owned::new("/var/lib/dpkg") };
            let set_id = set_id::SetId::read(root);
            follow::run(&arguments, &mut exec::Decider::new(tools, owned, set_id, emulators))
        }
    };
    ExitCode::from(code)
}

/// Removes the folder, which is empty, where it is there.
fn tidy(folder: &Path) -> ExitCode {
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            message::say(&format!("could not remove {}: {error}", folder.display()));
            ExitCode::from(NOT_STARTED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Takes the options off the front of the arguments.
fn options(arguments: &mut Vec<OsString>) -> Options {
    let mut options = Options::default();
    while let Some(word) = arguments.first().and_then(|word| word.to_str()) {
        match word {
            "--fresh" => options.fresh = true,
            "--emulate" => options.emulate = true,
            "--open" => options.open = true,
            _ => break,
        }
        arguments.remove(0);
    }
    options
}

fn read_tools(root: &Path) -> tools::Tools {
    tools::Tools::read(root).unwrap_or_else(|error| {
        message::say(&format!("native tools are off: could not read {}/tools: {error}", root.display()));
        tools::Tools::default()
    })
}
