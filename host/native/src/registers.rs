//! The registers of a stopped process of x86-64: which call it is about to make, and how that is changed.

/// The number of `execve` on x86-64.
pub(crate) const EXECVE: u64 = 59;
/// The number of `execveat` on x86-64.
pub(crate) const EXECVEAT: u64 = 322;
/// Stands for the folder that a process is in (`AT_FDCWD`).
pub(crate) const CURRENT_FOLDER: i32 = -100;
/// A flag of `execveat`: the file is the descriptor's own (`AT_EMPTY_PATH`).
pub(crate) const EMPTY_PATH: u64 = 0x1000;
/// A flag of `execveat`: the last part of the path must be no link (`AT_SYMLINK_NOFOLLOW`).
pub(crate) const NO_LINK: u64 = 0x100;
/// How much of the stack below a process's frame belongs to the function that runs (x86-64's red zone).
const RED_ZONE: u64 = 128;
/// How long the instruction is that makes a system call.
const SYSCALL_LENGTH: u64 = 2;

/// The registers of a stopped process (`struct user_regs_struct` of x86-64).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    before: [u64; 7],
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    orig_rax: u64,
    rip: u64,
    cs: u64,
    eflags: u64,
    rsp: u64,
    after: [u64; 7],
}

/// A call that runs a program: addresses in the memory of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exec {
    /// The descriptor of the folder from which a relative path goes.
    pub(crate) folder: i32,
    pub(crate) path: u64,
    pub(crate) arguments: u64,
    pub(crate) flags: u64,
}

/// A system call that a process makes in the place of its own, before that is made after all: what only the process itself
/// can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Let itself be looked into, though it has changed its user. The next program that it runs forgets that.
    Dumpable,
    /// Write the path of the folder that it is in to an address.
    Folder(u64),
    /// Have a new file in memory, whose name is at an address.
    File(u64),
    /// Have so many more bytes of memory.
    Space(u64),
}

impl Registers {
    /// Returns the call that the process is about to make, where it runs a program.
    pub(crate) fn exec(&self) -> Option<Exec> {
        match self.orig_rax {
            EXECVE => Some(Exec { folder: CURRENT_FOLDER, path: self.rdi, arguments: self.rsi, flags: 0 }),
            // The kernel reads no more than the lower half of what is an `int`.
            EXECVEAT => Some(Exec {
                folder: self.rdi as u32 as i32,
                path: self.rsi,
                arguments: self.rdx,
                flags: self.r8 & 0xffff_ffff,
            }),
            _ => None,
        }
    }

    /// Returns the address of so many bytes of the stack that nothing uses, a multiple of 16.
    pub(crate) fn unused(&self, length: u64) -> Option<u64> {
        Some(self.rsp.checked_sub(RED_ZONE.checked_add(length)?)? & !15)
    }

    /// Returns the registers of the same call for the program at an absolute path.
    #[must_use]
    pub(crate) fn with_program(&self, path: u64, arguments: u64) -> Self {
        match self.orig_rax {
            EXECVEAT => Self { rsi: path, rdx: arguments, r8: 0, ..*self },
            _ => Self { rdi: path, rsi: arguments, ..*self },
        }
    }

    /// Returns the registers of the same call for the program that a descriptor of the process has open; `empty` is the
    /// address of an empty text.
    #[must_use]
    pub(crate) fn with_open_program(&self, descriptor: i32, empty: u64, arguments: u64) -> Self {
        let environment = if self.orig_rax == EXECVEAT { self.r10 } else { self.rdx };
        Self {
            orig_rax: EXECVEAT,
            rdi: u64::from(descriptor.cast_unsigned()),
            rsi: empty,
            rdx: arguments,
            r10: environment,
            r8: EMPTY_PATH,
            ..*self
        }
    }

    /// Returns the registers of a call that is not made, and fails with an error.
    #[must_use]
    pub(crate) fn with_error(&self, error: i32) -> Self {
        Self { orig_rax: u64::MAX, rax: (-i64::from(error)).cast_unsigned(), ..*self }
    }

    /// Returns the registers of another call, which is made first.
    #[must_use]
    pub(crate) fn with_question(&self, question: Question) -> Self {
        const PRCTL: u64 = 157;
        const SET_DUMPABLE: u64 = 4;
        const GETCWD: u64 = 79;
        const MEMFD_CREATE: u64 = 319;
        const CLOSE_ON_EXEC: u64 = 1;
        const MMAP: u64 = 9;
        const READ_WRITE: u64 = 3;
        const PRIVATE_ANONYMOUS: u64 = 0x22;
        match question {
            Question::Dumpable => {
                Self { orig_rax: PRCTL, rdi: SET_DUMPABLE, rsi: 1, rdx: 0, r10: 0, r8: 0, ..*self }
            }
            Question::Folder(address) => Self { orig_rax: GETCWD, rdi: address, rsi: FOLDER_LENGTH, ..*self },
            Question::File(name) => Self { orig_rax: MEMFD_CREATE, rdi: name, rsi: CLOSE_ON_EXEC, ..*self },
            Question::Space(length) => Self {
                orig_rax: MMAP,
                rdi: 0,
                rsi: length,
                rdx: READ_WRITE,
                r10: PRIVATE_ANONYMOUS,
                r8: u64::MAX,
                r9: 0,
                ..*self
            },
        }
    }

    /// Returns the registers with which a process that was to make this call makes it, after it has made another one.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        Self { rax: self.orig_rax, orig_rax: u64::MAX, rip: self.rip - SYSCALL_LENGTH, ..*self }
    }

    /// Returns the registers of this call after one that was made in its place has returned what `now` says.
    #[must_use]
    pub(crate) fn returning(&self, now: &Self) -> Self {
        Self { rax: now.rax, rcx: now.rcx, rip: now.rip, ..*self }
    }

    /// Returns what the system call that just ended gave, or the number of the error.
    pub(crate) fn result(&self) -> Result<u64, i32> {
        match self.rax.cast_signed() {
            error @ -4095..0 => Err(i32::try_from(-error).unwrap_or(i32::MAX)),
            _ => Ok(self.rax),
        }
    }
}

/// The longest path of a folder that a process is asked for.
pub(crate) const FOLDER_LENGTH: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_calls_are_read_and_changed() {
        let execve =
            Registers { orig_rax: EXECVE, rdi: 1, rsi: 2, rdx: 3, r10: 5, r8: 4, ..Registers::default() };
        let exec = Exec { folder: CURRENT_FOLDER, path: 1, arguments: 2, flags: 0 };
        assert_eq!(execve.exec(), Some(exec));
        let at = Registers { orig_rax: EXECVEAT, rdi: u64::from(u32::MAX), r8: EMPTY_PATH, ..execve };
        assert_eq!(at.exec(), Some(Exec { folder: -1, path: 2, arguments: 3, flags: EMPTY_PATH }));
        assert_eq!(Registers { orig_rax: 1, ..execve }.exec(), None);
        for (before, environment) in [(execve, 3), (at, 5)] {
            let after = before.with_program(70, 80);
            let exec = after.exec().unwrap();
            assert_eq!((exec.path, exec.arguments, exec.flags), (70, 80, 0));
            let open = before.with_open_program(9, 70, 80);
            let exec = Exec { folder: 9, path: 70, arguments: 80, flags: EMPTY_PATH };
            assert_eq!((open.exec(), open.r10), (Some(exec), environment));
            let now = Registers { rax: u64::MAX, ..open };
            assert_eq!(before.returning(&now), Registers { rax: u64::MAX, ..before });
            assert_eq!(now.result(), Err(1));
        }
    }

    #[test]
    fn a_call_that_waits_for_another_one_is_made_again() {
        let before = Registers { orig_rax: EXECVE, rip: 102, rsp: 10_000, rdi: 1, ..Registers::default() };
        let question = before.with_question(Question::Dumpable);
        assert_eq!((question.exec(), question.rip), (None, 102));
        assert_eq!(before.again(), Registers { rax: EXECVE, orig_rax: u64::MAX, rip: 100, ..before });
        assert_eq!((before.with_error(8).result(), before.with_error(8).exec()), (Err(8), None));
        assert_eq!(before.unused(100), Some(9760));
        assert_eq!(before.unused(u64::MAX), None);
    }
}
