//! Children of pib whose life ends with pib's, however that ends.
//!
//! A child is pib itself, started under a word of its own: it ties its life to its parent's, and then does its work or becomes
//! another program. So nothing runs between a fork and a start, and a pib that is killed leaves nothing behind.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::Signal;

/// The word under which pib is started to become another program.
const WORD: &str = "__become";
/// The exit code of a child whose program is not there, as shells have it.
pub const NOT_FOUND: u8 = 127;
/// The exit code of a child whose program cannot be started, as shells have it.
pub const NOT_STARTED: u8 = 126;

/// Returns this program's own file, also where it was replaced or moved after it had been started.
pub fn own_program() -> PathBuf {
    let own = Path::new("/proc/self/exe");
    match own.exists() {
        true => own.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| own.to_owned()),
    }
}

/// Returns the command that starts `program` with its life tied to this process's; arguments are added to it.
///
/// The kernel ends the child with the *thread* that starts it: that thread must live as long as the child may.
pub fn tied(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(own_program());
    command.arg(WORD).arg(std::process::id().to_string()).arg(program);
    command
}

/// Becomes another program where this process was started by [`tied`]; returns only where that failed, or where it was not.
pub fn become_program(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let parent = arguments.next().and_then(|text| text.to_str()?.parse().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else { return Some(NOT_STARTED.into()) };
    let error = match tie(parent) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    };
    _ = write!(io::stderr().lock(), "{error}");
    Some(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND.into(),
        _ => NOT_STARTED.into(),
    })
}

/// Has the kernel end this process when its parent, the process with this number, ends.
///
/// # Errors
/// When the parent has ended before.
pub fn tie(parent: u64) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    match u64::try_from(now) == Ok(parent) {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
    }
}
