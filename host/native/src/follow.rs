//! The loop over all processes of the command.

use std::collections::HashMap;
use std::ffi::OsString;

use crate::exec::{Decider, Decision};
use crate::sys::{self, Pid, Registers, Resume, Stop};

/// The exit code where a program may not be run here.
const REFUSED: u8 = 125;

/// Runs the command to its end and returns its exit code. What it left in the background ends with it.
pub(crate) fn run(command: &[OsString], decider: &mut Decider) -> u8 {
    let main = match sys::start(command) {
        Ok(pid) => pid,
        Err(error) => {
            crate::message::say(&format!(
                "native tools are off: this engine lets no process be followed: {error}"
            ));
            let error = sys::become_command(command);
            crate::message::say(&format!("could not run {}: {error}", command[0].display()));
            return u8::try_from(sys::exit_code(&error)).unwrap_or(127);
        }
    };
    // What the registers were before a call was changed: a call that fails must leave them so.
    let mut changed: HashMap<Pid, Registers> = HashMap::new();
    while let Some((pid, stop)) = sys::wait() {
        let resume = match stop {
            Stop::Ended(code) if pid == main => return code,
            Stop::Ended(_) => {
                changed.remove(&pid);
                continue;
            }
            Stop::Exec => match exec(pid, decider, &mut changed) {
                Some(resume) => resume,
                // All that is followed ends with this process.
                None => return REFUSED,
            },
            Stop::Returned => {
                restore(pid, changed.remove(&pid));
                Resume::Run(0)
            }
            Stop::Group => Resume::Listen,
            Stop::Signal(signal) => Resume::Run(signal),
        };
        sys::resume(pid, resume);
    }
    0
}

/// Runs the command to its end without looking at what it does, and returns its exit code. What it left in the background
/// ends with it.
pub(crate) fn run_alone(command: &[OsString]) -> u8 {
    let main = match sys::start_alone(command) {
        Ok(pid) => pid,
        Err(error) => {
            crate::message::say(&format!("could not start {}: {error}", command[0].display()));
            return 126;
        }
    };
    while let Some((pid, stop)) = sys::wait() {
        if let Stop::Ended(code) = stop
            && pid == main
        {
            return code;
        }
    }
    0
}

/// Decides on a call; `None` where the build must not go on.
fn exec(pid: Pid, decider: &mut Decider, changed: &mut HashMap<Pid, Registers>) -> Option<Resume> {
    let Some(before) = sys::registers(pid) else { return Some(Resume::Run(0)) };
    let after = match decider.decide(pid, &before) {
        Decision::Leave => return Some(Resume::Run(0)),
        Decision::Refuse => return None,
        Decision::Redirect(after) => after,
    };
    if !sys::set_registers(pid, &after) {
        return Some(Resume::Run(0));
    }
    changed.insert(pid, before);
    Some(Resume::UntilReturn)
}

fn restore(pid: Pid, before: Option<Registers>) {
    let (Some(before), Some(mut now)) = (before, sys::registers(pid)) else { return };
    if now.failed() {
        now.restore_from(&before);
        sys::set_registers(pid, &now);
    }
}
