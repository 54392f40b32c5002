//! Keeps all that was ever recorded under one name on this machine, in a file of its own. The engine remembers what it has run
//! and does not ask again: not after a build that was killed, and not after the project's recording was taken back to what
//! version control has.
//!
//! The name is made up where the file is, and stands in it. A file that is lost takes its name along, and so does one that was copied or
//! restored: the engine may know more by that name than the copy says. The first line tells by the file's number in its file system.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pib_plan::id::{Digest, KeyHasher};
use pib_plan::recording::{self, Recording};

use crate::store::StoreError;

/// The largest journal that is read, in bytes: several recordings of the largest size.
const MAX_JOURNAL: u64 = 256 << 20;

/// What the first line begins with.
const HEAD: &str = "pib-journal-1";
/// The line that says that nothing may be built by this name any more.
const SPOILT: &str = "pib-spoilt";

/// What the journal of a name says.
#[derive(Debug)]
pub struct KnownName {
    /// The name.
    pub name: Digest,
    /// Every response that parts may have been given under it.
    pub responses: Recording,
    /// Whether a part was given something else under it: a refusal, or an error. The engine may have kept what the part made of it, so
    /// that nothing may be built under this name again.
    pub is_spoilt: bool,
}

/// Returns the name whose journal is at a path; nothing where there is none, or only the copy of one.
///
/// # Errors
/// When it cannot be read.
pub fn known_name(path: &Path) -> Result<Option<KnownName>, StoreError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let mark = mark_of(path).map_err(StoreError::io("reading", path))?;
    let Some(name) = text.lines().next().and_then(|line| name_in(line, &mark)) else { return Ok(None) };
    let (responses, is_spoilt) = content(&text);
    Ok(Some(KnownName { name, responses, is_spoilt }))
}

/// Makes up a name, and begins its journal at a path, in the place of whatever is there.
///
/// # Errors
/// When the file cannot be written.
pub fn begin_name(path: &Path) -> Result<Digest, StoreError> {
    let fail = |error| StoreError::io("writing", path)(error);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| fail(io::Error::other(error.to_string())))?;
    let mut name = KeyHasher::new("pib recorder 3");
    name.field(random);
    let name = name.finish();
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    let mark = mark_of(file.path()).map_err(fail)?;
    writeln!(file, "{HEAD} {name} {mark}").and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    file.persist(path).map_err(|error| fail(error.error))?;
    Ok(name)
}

/// Returns the name in a first line, where that was written into the file with this mark.
fn name_in(line: &str, mark: &str) -> Option<Digest> {
    let (name, written) = line.strip_prefix(HEAD)?.strip_prefix(' ')?.split_once(' ')?;
    name.parse().ok().filter(|_| written == mark)
}

/// Returns what tells a file from a copy of it: its number, and when it was made, where the file system says that.
fn mark_of(path: &Path) -> io::Result<String> {
    let pib_file::Identity { inode, born, .. } = pib_file::identity(path)?;
    let (seconds, nanoseconds) = born.unwrap_or_default();
    Ok(format!("{inode} {seconds}.{nanoseconds}"))
}

/// Returns a journal's text, if there is one.
fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match pib_file::read_text(path, MAX_JOURNAL) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("reading", path)(error)),
    }
}

/// Returns the responses in a journal, and whether its name is spoilt.
fn content(text: &str) -> (Recording, bool) {
    let mut all = Recording::default();
    // A line that was cut off, or is none, is passed over: that response is asked for again.
    text.lines().filter_map(recording::parse_line).for_each(|(request, response)| {
        all.extend(Recording::of(request, response));
    });
    (all, text.lines().any(|line| line == SPOILT))
}

/// Adds to the journal at a path what a recording has and the journal does not.
///
/// # Errors
/// When the file cannot be read or written.
pub fn add_to_journal(path: &Path, recording: &Recording) -> Result<(), StoreError> {
    let journal = Journal::open(Some(path.to_owned()))?;
    let lines = recording.lines_beyond(&journal.read()?);
    if lines.is_empty() { Ok(()) } else { journal.add(&lines).and_then(|()| journal.sync()) }
}

/// A file to which responses are added, a line each.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Where it is, if one is kept.
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

impl Journal {
    /// Opens the journal at a path; the file is made when there is something for it.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, StoreError> {
        if let Some(folder) = path.as_deref().and_then(Path::parent) {
            fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
        }
        Ok(Self { path, file: Mutex::default() })
    }

    /// Returns what it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&self) -> Result<Recording, StoreError> {
        self.content().map(|(responses, _)| responses)
    }

    /// Takes note that no build may have this name any more ([`KnownName::is_spoilt`]). It is on the disk before the part has its answer.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn spoil(&self) -> Result<(), StoreError> {
        if self.is_spoilt() {
            return Ok(());
        }
        self.add(&format!("{SPOILT}\n")).and_then(|()| self.sync())
    }

    /// Returns whether that was noted.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.content().is_ok_and(|(_, is_spoilt)| is_spoilt)
    }

    fn content(&self) -> Result<(Recording, bool), StoreError> {
        let Some(path) = &self.path else { return Ok((Recording::default(), false)) };
        Ok(read(path)?.map_or_else(|| (Recording::default(), false), |text| content(&text)))
    }

    /// Has everything that was added on the disk: what an engine keeps of it outlives a power failure, too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or(Ok(()), File::sync_data).map_err(StoreError::io("writing", path))
    }

    /// Adds lines.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn add(&self, lines: &str) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || {
            if file.is_none() {
                let mut opened = pib_file::open_to_append(path)?;
                // The last line may have been cut off.
                opened.write_all(b"\n")?;
                *file = Some(opened);
            }
            file.as_mut().map_or(Ok(()), |file| file.write_all(lines.as_bytes()))
        };
        write().map_err(StoreError::io("writing", path))
    }
}
