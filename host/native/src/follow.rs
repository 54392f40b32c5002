//! The loop over all processes of the command.

use std::collections::HashMap;
use std::ffi::OsString;

use crate::exec::{Decider, Decision};
use crate::registers::{Question, Registers};
use crate::sys::{self, Pid, Resume, Stop};

/// The exit code where a program may not be run here.
const REFUSED: u8 = 125;

/// A call that was changed.
struct Changed {
    /// What the registers were: a call that fails must leave them so.
    before: Registers,
    /// What the process was asked instead, where it was.
    question: Option<Question>,
}

/// Runs the command to its end and returns its exit code. What it left in the background ends with it.
pub(crate) fn run(command: &[OsString], decider: &mut Decider) -> u8 {
    let main = match sys::start(command, &|error| decider.cannot_follow("calls be looked at", error)) {
        Ok(pid) => pid,
        Err(error) => {
            crate::message::say(&decider.cannot_follow("process be followed", &error));
            let error = sys::become_command(command);
            crate::message::say(&format!("could not run {}: {error}", command[0].display()));
            return u8::try_from(sys::exit_code(&error)).unwrap_or(127);
        }
    };
    let mut changed: HashMap<Pid, Changed> = HashMap::new();
    while let Some((pid, stop)) = sys::wait() {
        let resume = match stop {
            Stop::Ended(code) if pid == main => return code,
            Stop::Ended(_) => {
                changed.remove(&pid);
                decider.forget(pid);
                continue;
            }
            Stop::Exec => match exec(pid, decider, &mut changed) {
                Some(resume) => resume,
                // All that is followed ends with this process.
                None => return REFUSED,
            },
            Stop::Returned => {
                if let Some(before) = changed.remove(&pid) {
                    returned(pid, decider, &before);
                }
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
fn exec(pid: Pid, decider: &mut Decider, changed: &mut HashMap<Pid, Changed>) -> Option<Resume> {
    let Some(before) = sys::registers(pid) else { return Some(Resume::Run(0)) };
    let (after, question) = match decider.decide(pid, &before) {
        Decision::Leave => return Some(Resume::Run(0)),
        Decision::Refuse => return None,
        Decision::Fail(error) => {
            sys::set_registers(pid, &before.with_error(error));
            return Some(Resume::Run(0));
        }
        Decision::Redirect(after) => (after, None),
        Decision::Ask(question) => (before.with_question(question), Some(question)),
    };
    if !sys::set_registers(pid, &after) {
        return Some(Resume::Run(0));
    }
    changed.insert(pid, Changed { before, question });
    Some(Resume::UntilReturn)
}

/// Puts the registers back after a call that was changed has returned.
fn returned(pid: Pid, decider: &mut Decider, changed: &Changed) {
    let Some(now) = sys::registers(pid) else { return };
    match changed.question {
        Some(question) => {
            decider.answer(pid, question, now.result());
            sys::set_registers(pid, &changed.before.again());
        }
        None if now.result().is_err() => _ = sys::set_registers(pid, &changed.before.returning(&now)),
        None => {}
    }
}
