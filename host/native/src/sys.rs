//! The system calls: starting a traced process, its stops, its registers and its memory.
//!
//! Constants are those of Linux's `ptrace.h`, `seccomp.h`, `prctl.h` and `audit.h`.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

use crate::registers::{EXECVE, EXECVEAT, Registers};

/// A process or thread.
pub(crate) type Pid = c_int;

unsafe extern "C" {
    fn ptrace(request: c_int, pid: Pid, address: *mut c_void, data: *mut c_void) -> c_long;
    fn syscall(number: c_long, ...) -> c_long;
    fn fstatfs(file: c_int, data: *mut c_void) -> c_int;
    fn waitpid(pid: Pid, status: *mut c_int, options: c_int) -> Pid;
    fn fork() -> Pid;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn execv(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn pipe(ends: *mut c_int) -> c_int;
    fn read(file: c_int, buffer: *mut c_void, count: usize) -> isize;
    fn close(file: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// The number of `ptrace` on x86-64.
const PTRACE: c_long = 101;
const PTRACE_PEEKDATA: c_int = 2;
const PTRACE_POKEDATA: c_int = 5;
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

/// An instruction of a filter (`struct sock_filter`).
#[repr(C)]
struct Instruction(u16, u8, u8, u32);

/// A filter (`struct sock_fprog`).
#[repr(C)]
struct Filter {
    length: u16,
    instructions: *const Instruction,
}

/// Why a process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ended, with the exit code that a shell would tell.
    Ended(u8),
    /// It is about to call `execve` or `execveat`.
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
///
/// `no_filter` says what it means that no calls can be looked at.
pub(crate) fn start(command: &[OsString], no_filter: &dyn Fn(&io::Error) -> String) -> io::Result<Pid> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { pipe(ends.as_mut_ptr()) })?;
    let command = Command::new(command)?;
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
        }
        if let Err(error) = filter() {
            crate::message::say(&no_filter(&error));
        }
        let error = command.run();
        crate::message::say(&format!("could not run {}: {error}", command.name));
        // SAFETY: this ends the process.
        unsafe { _exit(exit_code(&error)) }
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

/// Starts the command, and does not follow it.
pub(crate) fn start_alone(command: &[OsString]) -> io::Result<Pid> {
    let command = Command::new(command)?;
    // SAFETY: this process has one thread, so that the child may go on as it likes.
    let pid = check(unsafe { fork() })?;
    if pid == 0 {
        let error = command.run();
        crate::message::say(&format!("could not run {}: {error}", command.name));
        // SAFETY: this ends the process.
        unsafe { _exit(exit_code(&error)) }
    }
    Ok(pid)
}

/// Goes on twice: returns whether this is the child.
pub(crate) fn split() -> io::Result<bool> {
    // SAFETY: this process has one thread, so that the child may go on as it likes.
    check(unsafe { fork() }).map(|pid| pid == 0)
}

/// Becomes the command; returns why that cannot be.
pub(crate) fn become_command(command: &[OsString]) -> io::Error {
    match Command::new(command) {
        Ok(command) => command.run(),
        Err(error) => error,
    }
}

/// Returns the exit code by which shells tell that a command could not be run.
pub(crate) fn exit_code(error: &io::Error) -> c_int {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// A command that is ready to be run: nothing is allocated between its fork and its start.
struct Command {
    name: String,
    /// The files that its name may mean, in the order in which they are tried.
    files: Vec<CString>,
    _words: Vec<CString>,
    argv: Vec<*const c_char>,
}

impl Command {
    #[allow(
        clippy::disallowed_methods,
        reason = "a program of its own, which looks for what a command names as exec does"
    )]
    fn new(words: &[OsString]) -> io::Result<Self> {
        let words: Vec<CString> =
            words.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
        let first = words.first().ok_or_else(|| io::Error::other("there is no command"))?;
        let files = match first.as_bytes().contains(&b'/') {
            true => vec![first.clone()],
            false => files(first.as_bytes(), &std::env::var_os("PATH").unwrap_or_default()),
        };
        let name = first.to_string_lossy().into_owned();
        let argv = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self { name, files, _words: words, argv })
    }

    /// Becomes the command; returns why that cannot be.
    ///
    /// A file that is no program is not given to a shell, as `execvp` does: no engine does that.
    fn run(&self) -> io::Error {
        let mut reason = io::Error::from_raw_os_error(2); // ENOENT
        for file in &self.files {
            // SAFETY: the path and the arguments are alive, and the list of these ends in a null pointer.
            unsafe { execv(file.as_ptr(), self.argv.as_ptr()) };
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                // Another folder may have one that may be run.
                io::ErrorKind::PermissionDenied => reason = error,
                _ => return error,
            }
        }
        reason
    }
}

/// Returns the files that a command's name may mean.
fn files(name: &[u8], path: &std::ffi::OsStr) -> Vec<CString> {
    let folders = path.as_bytes().split(|byte| *byte == b':').filter(|folder| !folder.is_empty());
    let files = folders.map(|folder| CString::new([folder, b"/", name].concat()));
    files.filter_map(Result::ok).collect()
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

/// Has the kernel stop this process and its children at every `execve` and `execveat`.
///
/// A filter needs either privileges that containers lack or the promise that no program gains any. With most handlers the
/// promise costs nothing: emulated programs gain none by their set-user-id bit anyway. With the others see `set_id`.
fn filter() -> io::Result<()> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ALLOW: u32 = 0x7fff_0000;
    const TRACE: u32 = 0x7ff0_0000;
    const X86_64: u32 = 0xc000_003e;
    let program = [
        Instruction(LOAD, 0, 0, 4), // the architecture
        Instruction(JUMP_IF_EQUAL, 0, 4, X86_64),
        Instruction(LOAD, 0, 0, 0), // the number
        Instruction(JUMP_IF_EQUAL, 1, 0, EXECVE as u32),
        Instruction(JUMP_IF_EQUAL, 0, 1, EXECVEAT as u32),
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
pub(crate) enum Memory {
    /// All at once.
    File(File),
    /// Word by word: a process that has changed its user is another user's, and its file cannot be opened.
    Words(Pid),
}

impl Memory {
    /// Opens the memory of a process that is followed. One that has changed its user must have allowed it
    /// ([`DUMPABLE`](crate::registers::Question::Dumpable)).
    pub(crate) fn of(pid: Pid) -> Self {
        let file = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
        file.map_or(Self::Words(pid), Self::File)
    }

    /// Returns whether the process lets itself be looked into.
    pub(crate) fn is_readable(&self, address: u64) -> bool {
        self.read(address & !7, &mut [0; 8]) == 8
    }

    /// Reads what is at the address; returns how much there was.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        match self {
            Self::File(file) => file.read_at(buffer, address).unwrap_or(0),
            Self::Words(pid) => read_words(*pid, address, buffer),
        }
    }

    /// Writes to the address, which is a multiple of eight; returns whether all was written.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> bool {
        let Self::Words(pid) = self else {
            return matches!(self, Self::File(file) if file.write_all_at(bytes, address).is_ok());
        };
        bytes.chunks(8).zip((address..).step_by(8)).all(|(piece, at)| {
            let mut word = [0; 8];
            // What stands behind the end stays.
            let whole = piece.len() == 8 || read_words(*pid, at, &mut word) == 8;
            word[..piece.len()].copy_from_slice(piece);
            // SAFETY: the kernel checks the address; the process is followed and stopped.
            whole && unsafe { request(PTRACE_POKEDATA, *pid, at as usize, usize::from_le_bytes(word)) } >= 0
        })
    }
}

/// Reads words of a process from an address; returns how many bytes there were.
fn read_words(pid: Pid, address: u64, buffer: &mut [u8]) -> usize {
    let mut count = 0;
    while count < buffer.len() {
        let (at, mut word) = (address + count as u64, 0_u64);
        let (start, skipped) = (at & !7, (at & 7) as usize);
        // SAFETY: the kernel checks the address and writes one word to `word`; the library's function would return it.
        let result = unsafe { syscall(PTRACE, PTRACE_PEEKDATA, pid, start, &raw mut word) };
        if result < 0 {
            break;
        }
        let piece = &word.to_le_bytes()[skipped..];
        let length = piece.len().min(buffer.len() - count);
        buffer[count..count + length].copy_from_slice(&piece[..length]);
        count += length;
    }
    count
}

/// Returns whether no program may be started from the file system that has the file.
pub(crate) fn is_noexec(file: &File) -> bool {
    use std::os::fd::AsRawFd as _;
    /// Where `struct statfs` of x86-64 has the flags, in words.
    const FLAGS: usize = 10;
    const NOEXEC: u64 = 8;
    let mut data = [0_u64; 15];
    // SAFETY: the place has the size of `struct statfs`.
    let result = unsafe { fstatfs(file.as_raw_fd(), data.as_mut_ptr().cast()) };
    result == 0 && data[FLAGS] & NOEXEC != 0
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
    fn a_name_is_looked_for_in_the_folders_of_the_path() {
        let found = files(b"x", "/a::/b/c:".as_ref());
        assert_eq!(found, [c"/a/x".to_owned(), c"/b/c/x".to_owned()]);
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let command = Command::new(&words(&["./x", "y"])).unwrap();
        assert_eq!((command.files, command.argv.len()), (vec![c"./x".to_owned()], 3));
        assert!(Command::new(&[]).is_err() && Command::new(&words(&["x\0"])).is_err());
        let folder = std::env::temp_dir().to_string_lossy().into_owned();
        for (name, code) in [("/no/such/program", 127), (&*folder, 126), ("pib-no-such-program", 127)] {
            assert_eq!(exit_code(&become_command(&words(&[name]))), code, "{name}");
        }
    }

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
