//! Decides on one `execve`: a twin stands in for the program, the companion's emulator runs it, or the kernel does what it
//! always did.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::arguments::{pointers, string};
use crate::change::{Change, Program, Unchanged};
use crate::emulation::{Emulators, Request, Verdict};
use crate::owned::Owned;
use crate::registers::{CURRENT_FOLDER, Exec, FOLDER_LENGTH, Question, Registers};
use crate::set_id::SetId;
use crate::sys::{Memory, Pid};
use crate::tools::Tools;
use crate::twin::TwinFinder;
use crate::view::View;

const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;
/// What a process calls the file in memory that has the emulator.
const EMULATOR: &[u8] = b"pib-emulator\0";

/// Decides which calls are changed.
pub(crate) struct Decider {
    twins: TwinFinder,
    set_id: SetId,
    /// What runs the target's programs; the kernel does where there are none.
    emulators: Option<Emulators>,
    /// The file systems that this process sees (`/proc/self/ns/mnt`).
    mounts: Option<PathBuf>,
    /// What processes were asked before their calls are decided on.
    answers: HashMap<Pid, Answers>,
}

/// What becomes of a call.
#[allow(clippy::large_enum_variant, reason = "a decision is made and carried out at once, never kept")]
pub(crate) enum Decision {
    /// The kernel does what it always did.
    Leave,
    /// It is made with these registers.
    Redirect(Registers),
    /// It is not made, and fails with this error.
    Fail(i32),
    /// Another call comes first, and then this one again.
    Ask(Question),
    /// The build ends.
    Refuse,
}

/// What a process was asked.
#[derive(Debug, Default)]
struct Answers {
    dumpable: bool,
    folder: Option<Result<PathBuf, i32>>,
    file: Option<Result<i32, i32>>,
    space: Option<Result<u64, i32>>,
    /// Whether its file has the emulator.
    copied: bool,
}

impl Decider {
    pub(crate) fn new(tools: Tools, owned: Owned, set_id: SetId, emulators: Option<Emulators>) -> Self {
        let mounts = fs::read_link("/proc/self/ns/mnt").ok();
        let twins = TwinFinder::new(tools, owned, mounts.clone());
        Self { twins, set_id, emulators, mounts, answers: HashMap::new() }
    }

    /// Returns what to say where the engine forbids what this takes.
    pub(crate) fn cannot_follow(&self, what: &str, error: &io::Error) -> String {
        match self.emulators {
            None => format!("native tools are off: this engine lets no {what}: {error}"),
            Some(_) => format!(
                "this engine lets no {what}, which pib's emulation takes: {error}; the kernel's handlers must run the \
                 target's programs, which `pib binfmt` registers"
            ),
        }
    }

    /// Decides on the call that a process is about to make.
    pub(crate) fn decide(&mut self, pid: Pid, registers: &Registers) -> Decision {
        let mut answers = self.answers.remove(&pid).unwrap_or_default();
        // Whatever cannot be read or is out of the ordinary is left alone.
        let decision = self.judge(pid, registers, &mut answers).unwrap_or(Decision::Leave);
        if matches!(decision, Decision::Ask(_)) {
            self.answers.insert(pid, answers);
        }
        decision
    }

    /// Hears what a process was given for the call that it made first.
    pub(crate) fn answer(&mut self, pid: Pid, question: Question, result: Result<u64, i32>) {
        let answers = self.answers.entry(pid).or_default();
        match question {
            Question::Dumpable => {}
            Question::Folder(address) => {
                let text = result.map(|_| string(&Memory::of(pid), address).unwrap_or_default());
                answers.folder = Some(text.map(|text| PathBuf::from(OsString::from_vec(text))));
            }
            Question::File(_) => {
                answers.file = Some(result.and_then(|number| i32::try_from(number).map_err(|_| EINVAL)));
            }
            Question::Space(_) => answers.space = Some(result),
        }
    }

    /// Forgets a process that has ended.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.answers.remove(&pid);
    }

    fn judge(&mut self, pid: Pid, registers: &Registers, answers: &mut Answers) -> Option<Decision> {
        let call = registers.exec()?;
        let memory = Memory::of(pid);
        let Some(given) = string(&memory, call.path) else {
            let hidden = self.emulators.is_some() && !answers.dumpable && !memory.is_readable(call.path);
            answers.dumpable = true;
            return hidden.then_some(Decision::Ask(Question::Dumpable));
        };
        let program = self.twins.program(pid, &call, &given);
        if program.as_ref().is_some_and(|program| !self.set_id.allows(pid, &program.file)) {
            return Some(Decision::Refuse);
        }
        let arguments = pointers(&memory, call.arguments)?;
        let twin = program.and_then(|program| self.twins.change(pid, &memory, &program, &arguments));
        let change = match twin {
            Some(change) => change,
            None => match self.emulated(pid, registers, (&call, &given, &arguments), answers)? {
                Ok(change) => change,
                Err(decision) => return Some(decision),
            },
        };
        let space = answers.space.and_then(Result::ok);
        Some(match change.apply(&memory, registers, &arguments, space) {
            Ok(after) => Decision::Redirect(after),
            Err(Unchanged::Space(length)) if answers.space.is_none() => {
                Decision::Ask(Question::Space(length))
            }
            // A twin that cannot be called is not missed where something else runs the program.
            Err(_) if self.emulators.is_none() => Decision::Leave,
            Err(_) => Decision::Fail(ENOMEM),
        })
    }

    /// Returns how a call goes to an emulator, or what else becomes of it; `None` to leave it alone.
    fn emulated(
        &mut self,
        pid: Pid,
        registers: &Registers,
        (call, given, arguments): (&Exec, &[u8], &[u64]),
        answers: &mut Answers,
    ) -> Option<Result<Change, Decision>> {
        let emulators = self.emulators.as_mut()?;
        let view = View::of(pid, self.mounts.as_deref());
        let is_relative = call.folder == CURRENT_FOLDER && given.first() != Some(&b'/');
        let folder = match &answers.folder {
            _ if view != View::Hidden || !is_relative => PathBuf::from(format!("/proc/{pid}/cwd")),
            None => {
                let address = registers.unused(FOLDER_LENGTH)?;
                return Some(Err(Decision::Ask(Question::Folder(address))));
            }
            Some(folder) => folder.clone().ok()?,
        };
        let first = arguments.first().copied();
        let (processor, head) =
            match emulators.decide(&Request { pid, call: *call, given, first, view, folder: &folder }) {
                Verdict::Leave => return None,
                Verdict::Fail(error) => return Some(Err(Decision::Fail(error))),
                Verdict::Emulate(processor, head) => (processor, head),
            };
        if view != View::Other {
            let program = Program::Path(emulators.path(processor).to_owned());
            return Some(Ok(Change { program, head }));
        }
        let descriptor = match answers.file {
            None => {
                let address = registers.unused(EMULATOR.len() as u64)?;
                let asked = Memory::of(pid).write(address, EMULATOR);
                return asked.then_some(Err(Decision::Ask(Question::File(address))));
            }
            Some(Err(error)) => return Some(Err(Decision::Fail(error))),
            Some(Ok(descriptor)) => descriptor,
        };
        if !answers.copied && emulators.copy(processor, pid, descriptor).is_err() {
            return Some(Err(Decision::Fail(ENOMEM)));
        }
        answers.copied = true;
        Some(Ok(Change { program: Program::Open(descriptor), head }))
    }
}
