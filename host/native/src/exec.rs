//! Decides on one `execve`: which file it means, whether that has a twin, and what the call is changed to.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::owned::Owned;
use crate::set_id::SetId;
use crate::sys::{self, Exec, Memory, Pid, Registers};
use crate::tools::{Call, ROOT, Tools};

/// The longest path that is looked at.
const MAX_PATH: usize = 4096;
/// How many arguments a call may have; one with more is left alone.
const MAX_ARGUMENTS: usize = 1 << 16;
/// How much of the stack below a process's frame belongs to the function that runs (x86-64's red zone).
const RED_ZONE: u64 = 128;

/// Decides which calls are redirected.
pub(crate) struct Decider {
    tools: Tools,
    owned: Owned,
    set_id: SetId,
    /// The file systems that this process sees (`/proc/self/ns/mnt`).
    mounts: Option<PathBuf>,
}

/// What becomes of a call.
#[allow(clippy::large_enum_variant, reason = "a decision is made and carried out at once, never kept")]
pub(crate) enum Decision {
    /// The kernel does what it always did.
    Leave,
    /// It is made with these registers.
    Redirect(Registers),
    /// The build ends.
    Refuse,
}

/// The file that a call means.
struct Program {
    /// As the process calls it.
    given: Vec<u8>,
    /// With all links followed.
    file: PathBuf,
    /// Whether the program is named by an open descriptor: its interpreter then gets `/dev/fd/N` instead of a path.
    is_open: bool,
}

/// A call, as it will be made.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// The twin.
    program: PathBuf,
    /// What stands before the second of the old arguments; empty where they stay as they are.
    head: Vec<Vec<u8>>,
}

impl Decider {
    pub(crate) fn new(tools: Tools, owned: Owned, set_id: SetId) -> Self {
        Self { tools, owned, set_id, mounts: mounts("self") }
    }

    /// Decides on the call that a process is about to make.
    pub(crate) fn decide(&mut self, pid: Pid, registers: &Registers) -> Decision {
        match self.redirect(pid, registers) {
            None => Decision::Leave,
            Some(Err(Refused)) => Decision::Refuse,
            Some(Ok(after)) => Decision::Redirect(after),
        }
    }

    /// Returns the registers with which the call goes to a twin, or `None` to leave it alone.
    ///
    /// Whatever cannot be read or is out of the ordinary is left alone: then the kernel does what it always did.
    fn redirect(&mut self, pid: Pid, registers: &Registers) -> Option<Result<Registers, Refused>> {
        let call = registers.exec()?;
        let memory = Memory::of(pid)?;
        let program = self.program(pid, &memory, &call)?;
        if !self.set_id.allows(pid, &program.file) {
            return Some(Err(Refused));
        }
        let arguments = pointers(&memory, call.arguments)?;
        let change = self.change(pid, &memory, &program, &arguments)?;
        apply(&memory, registers, &change, &arguments).map(Ok)
    }

    /// Returns the file that a call means, where this process sees it, too.
    fn program(&self, pid: Pid, memory: &Memory, call: &Exec) -> Option<Program> {
        const KNOWN: u64 = sys::EMPTY_PATH;
        let given = string(memory, call.path)?;
        // With other file systems the same path may be another file.
        if call.flags & !KNOWN != 0 || self.mounts.is_none() || mounts(&pid.to_string()) != self.mounts {
            return None;
        }
        let descriptor = match given.is_empty() {
            true => (call.flags & sys::EMPTY_PATH != 0).then_some(call.folder),
            false => descriptor(&given),
        };
        let file = match descriptor {
            Some(number) => program_file(opened(pid, number)?)?,
            None if given.is_empty() => return None,
            None => resolve(pid, call.folder, &given)?,
        };
        Some(Program { given, file, is_open: descriptor.is_some() })
    }

    fn change(&mut self, pid: Pid, memory: &Memory, program: &Program, arguments: &[u64]) -> Option<Change> {
        let Program { given, file, is_open } = program;
        let file = file.clone();
        if self.tools.has(&file) {
            let call = |from: usize| strings(memory, arguments, from);
            return self
                .twin(&file, &|| Call::Program(call(1)))
                .map(|program| Change { program, head: vec![] });
        }
        // An interpreter finds a script by the descriptor that the kernel makes for it, and not otherwise.
        if *is_open {
            return None;
        }
        let (interpreter, option) = shebang(&file)?;
        let real = resolve(pid, sys::CURRENT_FOLDER, interpreter.as_bytes())?;
        let call = || Call::Script { option: option.clone(), file: file.clone() };
        let program = self.twin(&real, &call)?;
        let mut head = vec![interpreter.into_vec()];
        head.extend(option.clone().map(OsString::into_vec));
        head.push(given.clone());
        Some(Change { program, head })
    }

    /// Returns the twin of the tool at `file`, if it may stand in for it in this call.
    fn twin(&mut self, file: &Path, call: &dyn Fn() -> Call) -> Option<PathBuf> {
        let tool = self.tools.get(file)?;
        (tool.fits(call) && self.owned.is_original(file, tool)).then(|| {
            let below = file.strip_prefix("/").unwrap_or(file);
            Path::new(ROOT).join(below)
        })
    }
}

/// Writes what the new call needs below the stack of the process.
fn apply(memory: &Memory, before: &Registers, change: &Change, arguments: &[u64]) -> Option<Registers> {
    let mut bytes = change.program.as_os_str().as_bytes().to_vec();
    bytes.push(0);
    let mut offsets = Vec::with_capacity(change.head.len());
    for word in &change.head {
        offsets.push(bytes.len() as u64);
        bytes.extend(word);
        bytes.push(0);
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let array = bytes.len() as u64;
    let rest = arguments.get(1..).unwrap_or_default();
    let count = if change.head.is_empty() { 0 } else { change.head.len() + rest.len() + 1 };
    let start = (before.rsp.checked_sub(RED_ZONE + array + 8 * count as u64)?) & !15;
    if !change.head.is_empty() {
        let pointers = offsets.iter().map(|offset| start + offset).chain(rest.iter().copied()).chain([0]);
        bytes.extend(pointers.flat_map(u64::to_le_bytes));
    }
    let list = if change.head.is_empty() { before.exec()?.arguments } else { start + array };
    memory.write(start, &bytes).then(|| before.with_program(start, list))
}

/// A program that must not be run.
struct Refused;

/// Returns what tells the file systems that a process sees from those that others see.
fn mounts(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/mnt")).ok()
}

/// Returns the number in a path such as `/proc/self/fd/3`, which means another file to every process.
fn descriptor(path: &[u8]) -> Option<i32> {
    let folders = [&b"/proc/self/fd/"[..], b"/dev/fd/"];
    let number = folders.iter().find_map(|folder| path.strip_prefix(*folder))?;
    std::str::from_utf8(number).ok()?.parse().ok().filter(|number| *number >= 0)
}

/// Returns the file that a process has opened.
fn opened(pid: Pid, number: i32) -> Option<PathBuf> {
    let link = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
    let path = fs::read_link(&link).ok()?;
    // A file that was removed or replaced since is told by its old path.
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    let is_there = same(fs::metadata(&link).ok()?, fs::metadata(&path).ok()?);
    (path.is_absolute() && is_there).then_some(path)
}

/// Returns the file that a path, from a folder of the process's, means to it, with all links followed.
fn resolve(pid: Pid, folder: i32, path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    // `/proc/self`, also by `/dev/fd`, would be this process.
    if path.starts_with("/proc") || path.starts_with("/dev") {
        return None;
    }
    if fs::read_link(format!("/proc/{pid}/root")).ok()? != Path::new("/") {
        return None;
    }
    let whole = match (path.is_absolute(), folder) {
        (true, _) => path.to_owned(),
        (false, sys::CURRENT_FOLDER) => fs::read_link(format!("/proc/{pid}/cwd")).ok()?.join(path),
        (false, folder) => opened(pid, folder)?.join(path),
    };
    program_file(whole)
}

/// Returns the real path of a file that may be run; what is in the companion is native already.
fn program_file(path: PathBuf) -> Option<PathBuf> {
    let file = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&file).ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 && !file.starts_with(ROOT))
        .then_some(file)
}

/// Returns the interpreter that a script names in its first line, and the one argument that it may have.
fn shebang(file: &Path) -> Option<(OsString, Option<OsString>)> {
    let mut start = Vec::with_capacity(256);
    fs::File::open(file).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?;
    // A line that does not end here may be cut off in the middle of a path.
    let end = line.iter().position(|byte| *byte == b'\n')?;
    let line = line[..end].trim_ascii();
    let split = line.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let (interpreter, option) = line.split_at(split.unwrap_or(line.len()));
    let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let option = option.trim_ascii();
    (!interpreter.is_empty()).then(|| (word(interpreter), (!option.is_empty()).then(|| word(option))))
}

/// Reads a string of a process.
fn string(memory: &Memory, address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut at = address;
    while text.len() < MAX_PATH {
        let piece = piece(memory, at)?;
        match piece.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend(&piece[..end]);
                return Some(text);
            }
            None => text.extend(&piece),
        }
        at += piece.len() as u64;
    }
    None
}

/// Reads the list of pointers to the arguments.
fn pointers(memory: &Memory, address: u64) -> Option<Vec<u64>> {
    let mut list = Vec::new();
    // A pointer that lies across two pieces is nothing that a compiler makes.
    let mut at = address.is_multiple_of(8).then_some(address)?;
    while list.len() < MAX_ARGUMENTS {
        let piece = piece(memory, at)?;
        for pointer in piece.chunks_exact(8) {
            match u64::from_le_bytes(pointer.try_into().ok()?) {
                0 => return Some(list),
                pointer => list.push(pointer),
            }
        }
        at += piece.len() as u64;
    }
    None
}

/// Reads some bytes, a multiple of eight where the address is one; none of another page, which may not be there.
fn piece(memory: &Memory, address: u64) -> Option<Vec<u8>> {
    const PAGE: u64 = 4096;
    let mut piece = vec![0; 256.min(PAGE - address % PAGE) as usize];
    (memory.read(address, &mut piece) == piece.len()).then_some(piece)
}

/// Reads the first of the arguments; that is where options and scripts stand.
fn strings(memory: &Memory, arguments: &[u64], from: usize) -> Vec<OsString> {
    const LOOKED_AT: usize = 16;
    let words = arguments.iter().skip(from).take(LOOKED_AT);
    words.map_while(|address| string(memory, *address).map(OsString::from_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(text: &[u8]) -> Option<(String, Option<String>)> {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pib-native-{}-{number}", std::process::id()));
        fs::write(&path, text).unwrap();
        let found = shebang(&path);
        fs::remove_file(&path).unwrap();
        found.map(|(a, b)| (a.into_string().unwrap(), b.map(|b| b.into_string().unwrap())))
    }

    #[test]
    fn the_first_line_is_read_as_the_kernel_reads_it() {
        let plain = |name: &str| Some((name.to_owned(), None));
        assert_eq!(first_line(b"#!/bin/sh\nx"), plain("/bin/sh"));
        assert_eq!(first_line(b"#! /bin/sh  \nx"), plain("/bin/sh"));
        let both = Some(("/usr/bin/perl".to_owned(), Some("-w -T".to_owned())));
        assert_eq!(first_line(b"#!/usr/bin/perl -w -T\n"), both);
        for other in
            [&b"\x7fELF"[..], b"", b"#!", b"#!\n", b"echo\n", &[b"#!/".to_vec(), vec![b'x'; 400]].concat()]
        {
            assert_eq!(first_line(other), None);
        }
    }

    #[test]
    fn descriptors_are_known_by_their_paths() {
        for (path, number) in [("/proc/self/fd/3", Some(3)), ("/dev/fd/10", Some(10)), ("/dev/fd/x", None)] {
            assert_eq!(descriptor(path.as_bytes()), number, "{path}");
        }
        assert_eq!((descriptor(b"/dev/fd/-1"), descriptor(b"/bin/sh")), (None, None));
    }

    #[test]
    fn a_file_that_was_replaced_since_it_was_opened_is_not_the_one_at_its_path() {
        use std::os::fd::AsRawFd as _;
        let own = Pid::try_from(std::process::id()).unwrap();
        let path = std::env::temp_dir().join(format!("pib-native-opened-{own}"));
        fs::write(&path, "one").unwrap();
        let path = fs::canonicalize(path).unwrap();
        let file = fs::File::open(&path).unwrap();
        assert_eq!(opened(own, file.as_raw_fd()), Some(path.clone()));
        fs::remove_file(&path).unwrap();
        assert_eq!(opened(own, file.as_raw_fd()), None);
        fs::write(&path, "other").unwrap();
        assert_eq!(opened(own, file.as_raw_fd()), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(opened(own, 9999), None);
    }

    #[test]
    fn this_process_can_read_its_own_memory() {
        let (text, memory) = (c"some text", Memory::of(std::process::id().try_into().unwrap()).unwrap());
        assert_eq!(string(&memory, text.as_ptr() as u64).unwrap(), b"some text");
        let list = [text.as_ptr() as u64, text.as_ptr() as u64, 0];
        assert_eq!(pointers(&memory, list.as_ptr() as u64).unwrap(), list[..2]);
        assert_eq!(strings(&memory, &list[..2], 1), ["some text"]);
        assert_eq!(string(&memory, 8), None);
        assert_eq!(pointers(&memory, list.as_ptr() as u64 + 4), None);
    }
}
