//! The system calls: starting a traced process, its stops, its registers and its memory.
//!
//! Constants are those of Linux's `ptrace.h`, `seccomp.h`, `prctl.h` and `audit.h`.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

/// A process or thread.
pub(crate) type Pid = c_int;

unsafe extern "C" {
    fn ptrace(request: c_int, pid: Pid, address: *mut c_void, data: *mut c_void) -> c_long;
    fn waitpid(pid: Pid, status: *mut c_int, options: c_int) -> Pid;
    fn fork() -> Pid;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn pipe(ends: *mut c_int) -> c_int;
    fn read(file: c_int, buffer: *mut c_void, count: usize) -> isize;
    fn close(file: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const PTRACE_GETREGS: c_int = 12;
const PTRACE_SETREGS: c_int = 13;
const PTRACE_CONT: c_int = 7;
const PTRACE_SYSCALL: c_int = 24;
const PTRACE_SEIZE: c_int = 0x4206;
const PTRACE_LISTEN: c_int = 0x4208;
const OPTIONS: usize = 1 | 2 | 4 | 8 | 0x80 | 0x10_0000; // SYSGOOD FORK VFORK CLONE SECCOMP EXITKILL
const WALL: c_int = 0x4000_0000;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
const PR_SET_SECCOMP: c_int = 22;
const SECCOMP_MODE_FILTER: c_ulong = 2;
/// The number of `execve` on x86-64.
const EXECVE: u64 = 59;

/// An instruction of a filter (`struct sock_filter`).
#[repr(C)]
struct Instruction(u16, u8, u8, u32);

/// A filter (`struct sock_fprog`).
#[repr(C)]
struct Filter {
    length: u16,
    instructions: *const Instruction,
}

/// The registers of a stopped process (`struct user_regs_struct` of x86-64).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Registers {
    before: [u64; 10],
    rax: u64,
    rcx: u64,
    rdx: u64,
    pub(crate) rsi: u64,
    pub(crate) rdi: u64,
    orig_rax: u64,
    rip: u64,
    cs: u64,
    eflags: u64,
    pub(crate) rsp: u64,
    after: [u64; 7],
}

impl Registers {
    /// Returns whether the process is about to call `execve`.
    pub(crate) fn is_execve(&self) -> bool {
        self.orig_rax == EXECVE
    }

    /// Returns whether the system call that just ended failed.
    pub(crate) fn failed(&self) -> bool {
        self.rax.cast_signed() < 0
    }
}

/// Why a process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ended, with the exit code that a shell would tell.
    Ended(u8),
    /// It is about to call `execve`.
    Exec,
    /// A system call that was watched has returned.
    Returned,
    /// It is stopped as a shell stops jobs.
    Group,
    /// It is to get this signal, or none.
    Signal(c_int),
}

/// How a stopped process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// With a signal, or none (0).
    Run(c_int),
    /// Until its system call has returned.
    UntilReturn,
    /// Stays stopped until it is woken.
    Listen,
}

/// Starts the command and follows it. Where the system does not let processes be followed, nothing is started.
pub(crate) fn start(command: &[OsString]) -> io::Result<Pid> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { pipe(ends.as_mut_ptr()) })?;
    let strings: Vec<CString> =
        command.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    let mut argv: Vec<*const c_char> = strings.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: this process has one thread, so that the child may go on as it likes.
    let pid = check(unsafe { fork() })?;
    if pid == 0 {
        // SAFETY: the descriptors are the pipe's; `argv` ends in a null pointer and its strings are alive.
        unsafe {
            close(ends[1]);
            let mut byte = 0_u8;
            // Released when the parent closes its end: it follows this process then.
            while read(ends[0], (&raw mut byte).cast(), 1) < 0 {}
            close(ends[0]);
            if filter().is_ok() {
                execvp(argv[0], argv.as_ptr());
            }
            _exit(127)
        }
    }
    // SAFETY: the child is ours and has not run yet.
    let seized = check(unsafe { request(PTRACE_SEIZE, pid, 0, OPTIONS) });
    // SAFETY: the descriptors are the pipe's.
    unsafe {
        close(ends[0]);
        if seized.is_err() {
            kill_child(pid);
        }
        close(ends[1]);
    }
    seized.map(|_| pid)
}

/// Becomes the command.
pub(crate) fn become_command(command: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    std::process::Command::new(&command[0]).args(&command[1..]).exec()
}

unsafe fn kill_child(pid: Pid) {
    unsafe extern "C" {
        fn kill(pid: Pid, signal: c_int) -> c_int;
    }
    // SAFETY: the child is ours and blocked in `read`.
    unsafe {
        kill(pid, 9);
        waitpid(pid, std::ptr::null_mut(), 0);
    }
}

/// Has the kernel stop this process and its children at every `execve`.
///
/// A filter needs either privileges that containers lack or the promise that no program gains any. The promise costs
/// nothing here: emulated programs gain none by their set-user-id bit anyway.
fn filter() -> io::Result<()> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ALLOW: u32 = 0x7fff_0000;
    const TRACE: u32 = 0x7ff0_0000;
    const X86_64: u32 = 0xc000_003e;
    let program = [
        Instruction(LOAD, 0, 0, 4), // the architecture
        Instruction(JUMP_IF_EQUAL, 0, 3, X86_64),
        Instruction(LOAD, 0, 0, 0), // the number
        Instruction(JUMP_IF_EQUAL, 0, 1, EXECVE as u32),
        Instruction(RETURN, 0, 0, TRACE),
        Instruction(RETURN, 0, 0, ALLOW),
    ];
    let filter = Filter { length: program.len() as u16, instructions: program.as_ptr() };
    // SAFETY: the filter and its instructions are alive during the call; the kernel checks them.
    unsafe {
        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (&raw const filter) as c_ulong, 0, 0))?;
    }
    Ok(())
}

/// Waits for the next stop of any process; `None` when none is left.
pub(crate) fn wait() -> Option<(Pid, Stop)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place.
        let pid = unsafe { waitpid(-1, &raw mut status, WALL) };
        if pid > 0 {
            return Some((pid, stop(status)));
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Reads a status as `wait(2)` and `ptrace(2)` describe it.
fn stop(status: c_int) -> Stop {
    const SECCOMP: c_int = 7;
    const STOPPED: c_int = 128;
    const SIGTRAP: c_int = 5;
    const STOPS: [c_int; 4] = [19, 20, 21, 22];
    if status & 0x7f == 0 {
        return Stop::Ended((status >> 8) as u8);
    }
    if status & 0xff != 0x7f {
        return Stop::Ended(128 + (status & 0x7f) as u8);
    }
    let (signal, event) = ((status >> 8) & 0xff, status >> 16);
    match event {
        SECCOMP => Stop::Exec,
        STOPPED if STOPS.contains(&signal) => Stop::Group,
        0 if signal == SIGTRAP | 0x80 => Stop::Returned,
        0 => Stop::Signal(signal),
        _ => Stop::Signal(0),
    }
}

/// Lets a stopped process go on. One that died meanwhile is none of our concern.
pub(crate) fn resume(pid: Pid, how: Resume) {
    let (what, signal) = match how {
        Resume::Run(signal) => (PTRACE_CONT, signal),
        Resume::UntilReturn => (PTRACE_SYSCALL, 0),
        Resume::Listen => (PTRACE_LISTEN, 0),
    };
    // SAFETY: the process is followed by this one and stopped.
    let _ = unsafe { request(what, pid, 0, signal as usize) };
}

/// Returns the registers of a stopped process.
pub(crate) fn registers(pid: Pid) -> Option<Registers> {
    let mut registers = Registers::default();
    // SAFETY: the place has the size that the kernel writes.
    let result = unsafe { request(PTRACE_GETREGS, pid, 0, (&raw mut registers) as usize) };
    (result >= 0).then_some(registers)
}

/// Sets the registers of a stopped process.
pub(crate) fn set_registers(pid: Pid, registers: &Registers) -> bool {
    // SAFETY: the place has the size that the kernel reads.
    let result = unsafe { request(PTRACE_SETREGS, pid, 0, std::ptr::from_ref(registers) as usize) };
    result >= 0
}

/// The memory of a process. The calls made for this (`process_vm_readv`) are forbidden in many containers; the file
/// is not.
pub(crate) struct Memory(File);

impl Memory {
    /// Opens the memory of a process that is followed. One that has changed its user cannot be looked into.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).ok().map(Self)
    }

    /// Reads what is at the address; returns how much there was.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.0.read_at(buffer, address).unwrap_or(0)
    }

    /// Writes to the address; returns whether all was written.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> bool {
        self.0.write_all_at(bytes, address).is_ok()
    }
}

unsafe fn request(what: c_int, pid: Pid, address: usize, data: usize) -> c_int {
    // SAFETY: what the request needs is the caller's promise.
    unsafe { ptrace(what, pid, address as *mut c_void, data as *mut c_void) as c_int }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_the_kernel_means_it() {
        assert_eq!(stop(3 << 8), Stop::Ended(3));
        assert_eq!(stop(9), Stop::Ended(137));
        assert_eq!(stop(0x7f | 5 << 8 | 7 << 16), Stop::Exec);
        assert_eq!(stop(0x7f | 19 << 8 | 128 << 16), Stop::Group);
        assert_eq!(stop(0x7f | 0x85 << 8), Stop::Returned);
        assert_eq!(stop(0x7f | 17 << 8), Stop::Signal(17));
        assert_eq!(stop(0x7f | 5 << 8 | 1 << 16), Stop::Signal(0));
    }
}
