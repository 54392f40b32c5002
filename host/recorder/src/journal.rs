//! Keeps all that was ever recorded under one name on this machine, in a file of its own. The engine remembers what it has run
//! and does not ask again: not after a build that was killed, and not after the project's recording was taken back to what
//! version control has.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pib_plan::recording::{self, Recording};

use crate::store::StoreError;

/// The largest journal that is read, in bytes: several recordings of the largest size.
const MAX_JOURNAL: u64 = 256 << 20;

/// Returns what the journal at a path holds; nothing where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read_journal(path: &Path) -> Result<Recording, StoreError> {
    let text = match pib_file::read_text(path, MAX_JOURNAL) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recording::default()),
        Err(error) => return Err(StoreError::io("reading", path)(error)),
    };
    let mut all = Recording::default();
    // A line that was cut off, or is none, is passed over: that response is asked for again.
    text.lines().filter_map(recording::parse_line).for_each(|(request, response)| {
        all.extend(Recording::of(request, response));
    });
    Ok(all)
}

/// Adds to the journal at a path what a recording has and the journal does not.
///
/// # Errors
/// When the file cannot be read or written.
pub fn add_to_journal(path: &Path, recording: &Recording) -> Result<(), StoreError> {
    let lines = recording.lines_beyond(&read_journal(path)?);
    if lines.is_empty() { Ok(()) } else { Journal::open(Some(path.to_owned()))?.add(&lines) }
}

/// Returns whether a part was given something else under the name of the journal at a path than the recording says: a refusal, or
/// an error. The engine may have kept what the part made of it, so that nothing may be built under this name again.
pub fn is_spoilt(path: &Path) -> bool {
    mark_of(path).exists()
}

/// Returns the file whose existence says that a name is spoilt.
fn mark_of(journal: &Path) -> PathBuf {
    journal.with_extension("spoilt")
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
        self.path.as_deref().map_or_else(|| Ok(Recording::default()), read_journal)
    }

    /// Takes note that no build may have this name any more ([`is_spoilt`]). It is on the disk before the part has its answer.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub(crate) fn spoil(&self) -> Result<(), StoreError> {
        let Some(path) = self.path.as_deref().map(mark_of) else { return Ok(()) };
        File::create(&path).and_then(|file| file.sync_all()).map_err(StoreError::io("writing", &path))
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
