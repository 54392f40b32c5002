//! Finds the twin of a program: which file a call means, and whether a native program may stand in for it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::arguments::strings;
use crate::change::{self, Argument, Change};
use crate::format::Format;
use crate::owned::Owned;
use crate::registers::{CURRENT_FOLDER, EMPTY_PATH, Exec};
use crate::sys::{Memory, Pid};
use crate::tools::{Call, ROOT, Tools};
use crate::view::View;

/// Finds twins.
pub(crate) struct TwinFinder {
    tools: Tools,
    owned: Owned,
    /// The file systems that this process sees (`/proc/self/ns/mnt`).
    mounts: Option<PathBuf>,
}

/// The file that a call means.
pub(crate) struct Program {
    /// As the process calls it.
    given: Vec<u8>,
    /// With all links followed.
    pub(crate) file: PathBuf,
    /// Whether the program is named by an open descriptor: its interpreter then gets `/dev/fd/N` instead of a path.
    is_open: bool,
}

impl TwinFinder {
    pub(crate) fn new(tools: Tools, owned: Owned, mounts: Option<PathBuf>) -> Self {
        Self { tools, owned, mounts }
    }

    /// Returns the file that a call means, where this process sees it, too.
    pub(crate) fn program(&self, pid: Pid, call: &Exec, given: &[u8]) -> Option<Program> {
        // With other file systems the same path may be another file.
        if call.flags & !EMPTY_PATH != 0 || View::of(pid, self.mounts.as_deref()) != View::Own {
            return None;
        }
        let descriptor = match given.is_empty() {
            true => (call.flags & EMPTY_PATH != 0).then_some(call.folder),
            false => descriptor(given),
        };
        let file = match descriptor {
            Some(number) => program_file(opened(pid, number)?)?,
            None if given.is_empty() => return None,
            None => resolve(pid, call.folder, given)?,
        };
        Some(Program { given: given.to_vec(), file, is_open: descriptor.is_some() })
    }

    /// Returns how a call goes to a twin, where one may stand in for its program.
    pub(crate) fn change(
        &mut self,
        pid: Pid,
        memory: &Memory,
        program: &Program,
        arguments: &[u64],
    ) -> Option<Change> {
        let Program { given, file, is_open } = program;
        let file = file.clone();
        if self.tools.has(&file) {
            let call = |from: usize| strings(memory, arguments, from);
            return self
                .twin(&file, &|| Call::Program(call(1)))
                .map(|program| Change { program: change::Program::Path(program), head: vec![] });
        }
        // An interpreter finds a script by the descriptor that the kernel makes for it, and not otherwise.
        if *is_open {
            return None;
        }
        let Format::Script { interpreter, option } = Format::read(&fs::File::open(&file).ok()?).ok()? else {
            return None;
        };
        let real = resolve(pid, CURRENT_FOLDER, interpreter.as_bytes())?;
        let call = || Call::Script { option: option.clone(), file: file.clone() };
        let program = self.twin(&real, &call)?;
        let mut head = vec![interpreter.into_vec()];
        head.extend(option.clone().map(OsString::into_vec));
        head.push(given.clone());
        let head = head.into_iter().map(Argument::Text).collect();
        Some(Change { program: change::Program::Path(program), head })
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
    let whole = match (path.is_absolute(), folder) {
        (true, _) => path.to_owned(),
        (false, CURRENT_FOLDER) => fs::read_link(format!("/proc/{pid}/cwd")).ok()?.join(path),
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
