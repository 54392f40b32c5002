//! Which emulator runs a program of the target, and how it is called: as the kernel's handler with flag P would call it.
//!
//! The emulators are the companion's. A process that has another root, or other file systems, does not see the companion;
//! it gets the emulator as a file in memory, which its next program closes.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::change::Argument;
use crate::credentials::Credentials;
use crate::format::{Format, Processor};
use crate::message;
use crate::registers::{CURRENT_FOLDER, EMPTY_PATH, Exec, NO_LINK};
use crate::sys::{self, Pid};
use crate::view::View;

/// The folder of the emulators in the companion.
const FOLDER: &str = "emulators";
/// How many scripts may name each other as interpreters, as in the kernel.
const MAX_SCRIPTS: usize = 5;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
/// Does not wait for the other end of a pipe.
const O_NONBLOCK: i32 = 0o4000;
/// Closed by the next program (`O_CLOEXEC`), as `fdinfo` has it.
const CLOSED: u32 = 0o2_000_000;

/// The emulators of the companion.
#[derive(Debug)]
pub(crate) struct Emulators {
    programs: BTreeMap<Processor, (PathBuf, File)>,
    /// What was said of strange programs.
    told: HashSet<PathBuf>,
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel does it itself, or knows why it cannot be.
    Leave,
    /// It fails, with this error.
    Fail(i32),
    /// An emulator runs the program, with these words before the second of the arguments.
    Emulate(Processor, Vec<Argument>),
}

/// A call that runs a program, with what is known of it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) pid: Pid,
    pub(crate) call: Exec,
    /// The path, as the process gives it.
    pub(crate) given: &'a [u8],
    /// The first of the arguments, where there is one.
    pub(crate) first: Option<u64>,
    pub(crate) view: View,
    /// The folder that the process is in.
    pub(crate) folder: &'a Path,
}

impl Emulators {
    /// Opens the emulators of the companion at `root`.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let program = |processor: Processor| {
            let path = root.join(FOLDER).join(processor.emulator());
            let file = File::open(&path);
            let file =
                file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            Ok((processor, (path, file)))
        };
        let programs = [Processor::Arm64, Processor::Arm].map(program);
        Ok(Self { programs: programs.into_iter().collect::<io::Result<_>>()?, told: HashSet::new() })
    }

    /// Returns the path of an emulator.
    pub(crate) fn path(&self, processor: Processor) -> &Path {
        self.programs.get(&processor).map_or(Path::new(""), |(path, _)| path)
    }

    /// Writes an emulator to a file that a process has open.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn copy(&self, processor: Processor, pid: Pid, descriptor: i32) -> io::Result<()> {
        let (_, from) = self.programs.get(&processor).ok_or(io::ErrorKind::NotFound)?;
        let mut from: &File = from;
        let mut to = File::options().write(true).open(format!("/proc/{pid}/fd/{descriptor}"))?;
        from.rewind()?;
        io::copy(&mut from, &mut to).map(drop)
    }

    /// Decides what becomes of a call.
    pub(crate) fn decide(&mut self, request: &Request<'_>) -> Verdict {
        let Some((start, mut name)) = request.named() else { return Verdict::Leave };
        let Ok(mut file) = request.view.find(request.pid, &start, request.given) else {
            return Verdict::Leave;
        };
        if request.call.flags & NO_LINK != 0
            && fs::symlink_metadata(&file).is_ok_and(|data| data.is_symlink())
        {
            return Verdict::Leave;
        }
        let credentials = Credentials::of(request.pid);
        let mut words = Vec::new();
        let mut first = request.first.map_or_else(|| Argument::Text(Vec::new()), Argument::Pointer);
        for _ in 0..=MAX_SCRIPTS {
            let (format, readable) = match open(&file, credentials.as_ref()) {
                Ok(found) => found,
                Err(verdict) => return self.unreadable(&file, verdict),
            };
            match format {
                Format::Native => return Verdict::Leave,
                Format::Unknown => return Verdict::Fail(ENOEXEC),
                Format::Strange(processor) => return self.strange(&file, &processor),
                _ if request.is_closed() => return Verdict::Fail(ENOENT),
                Format::Foreign(_) if !readable => return self.unreadable(&file, Verdict::Fail(EACCES)),
                Format::Foreign(processor) => {
                    let emulator = processor.emulator().as_bytes().to_vec();
                    let own = [
                        Argument::Text(emulator),
                        Argument::text("-0"),
                        first,
                        Argument::text("--"),
                        Argument::Text(name),
                    ];
                    return Verdict::Emulate(processor, own.into_iter().chain(words).collect());
                }
                Format::Script { interpreter, option } => {
                    let interpreter = interpreter.into_vec();
                    let option = option.map(OsString::into_vec);
                    let Ok(next) = request.view.find(request.pid, request.folder, &interpreter) else {
                        return Verdict::Leave;
                    };
                    words.splice(0..0, option.into_iter().chain([name]).map(Argument::Text));
                    (file, name, first) = (next, interpreter.clone(), Argument::Text(interpreter));
                }
            }
        }
        Verdict::Leave
    }

    /// Says, once, for which processor a program is.
    fn strange(&mut self, file: &Path, processor: &str) -> Verdict {
        if self.told.insert(file.to_owned()) {
            message::say(&format!(
                "cannot run {}: it is a program for {processor}, for which there is no emulator here",
                file.display()
            ));
        }
        Verdict::Fail(ENOEXEC)
    }

    /// Says, once, that a program cannot be read.
    fn unreadable(&mut self, file: &Path, verdict: Verdict) -> Verdict {
        if verdict == Verdict::Fail(EACCES) && self.told.insert(file.to_owned()) {
            message::say(&format!(
                "cannot run {}: whoever runs it must be allowed to read it too, since it is emulated",
                file.display()
            ));
        }
        verdict
    }
}

/// Returns what a file is that a process is to run, and whether the process may read it; the kernel says itself why it may
/// not be run.
fn open(path: &Path, credentials: Option<&Credentials>) -> Result<(Format, bool), Verdict> {
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path);
    let file = file.map_err(|error| {
        // What cannot be looked at may still be run, by whoever may not read it.
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let runs = fs::metadata(path).is_ok_and(|data| credentials.is_none_or(|own| own.may_run(&data)));
        if denied && runs { Verdict::Fail(EACCES) } else { Verdict::Leave }
    })?;
    let data = file.metadata().map_err(|_| Verdict::Leave)?;
    let runs = credentials.map_or(data.permissions().mode() & 0o111 != 0, |own| own.may_run(&data));
    if !data.is_file() || !runs || sys::is_noexec(&file) {
        return Err(Verdict::Leave);
    }
    let readable = credentials.is_none_or(|own| own.may_read(&data));
    Format::read(&file).map(|format| (format, readable)).map_err(|_| Verdict::Leave)
}

impl Request<'_> {
    /// Returns from where the path goes, and what the kernel calls the program; `None` for a call that is out of the
    /// ordinary.
    fn named(&self) -> Option<(PathBuf, Vec<u8>)> {
        if self.call.flags & !(EMPTY_PATH | NO_LINK) != 0 {
            return None;
        }
        let Self { pid, call: Exec { folder, flags, .. }, given, .. } = *self;
        let opened = || PathBuf::from(format!("/proc/{pid}/fd/{folder}"));
        match given {
            [] if flags & EMPTY_PATH == 0 => None,
            [] if folder == CURRENT_FOLDER => None,
            [] => Some((opened(), format!("/dev/fd/{folder}").into_bytes())),
            [b'/', ..] => Some((PathBuf::from("/"), given.to_vec())),
            _ if folder == CURRENT_FOLDER => Some((self.folder.to_owned(), given.to_vec())),
            _ => Some((opened(), [format!("/dev/fd/{folder}/").as_bytes(), given].concat())),
        }
    }

    /// Returns whether the program is named by a descriptor that is closed before an interpreter could open it.
    fn is_closed(&self) -> bool {
        let Self { pid, call: Exec { folder, .. }, given, .. } = *self;
        if folder == CURRENT_FOLDER || given.first() == Some(&b'/') {
            return false;
        }
        let flags = fs::read_to_string(format!("/proc/{pid}/fdinfo/{folder}")).ok().and_then(|text| {
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
            u32::from_str_radix(&flags, 8).ok()
        });
        flags.is_some_and(|flags| flags & CLOSED != 0)
    }
}

impl Processor {
    /// Returns the name of the program that emulates it.
    pub(crate) fn emulator(self) -> &'static str {
        match self {
            Self::Arm64 => "qemu-aarch64",
            Self::Arm => "qemu-arm",
        }
    }
}
