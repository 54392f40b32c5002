//! Keeps all that was ever recorded of a snapshot on this machine, in a file of its own. The engine remembers what it has run
//! and does not ask again: not after a build that was killed, not after the project's recording was taken back to what
//! version control has, and not in another copy of the project.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pib_plan::recording::{self, MAX_TEXT, Recording};

use crate::store::StoreError;

/// A file to which responses are added, a line each.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Journal {
    /// Opens the journal at a path; the file is made when there is something for it.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
        Ok(Self { path, file: Mutex::default() })
    }

    /// Returns what it holds. A line that was cut off, or is none, is passed over: that response is asked for again.
    pub(crate) fn read(&self) -> Recording {
        let mut all = Recording::default();
        let text = pib_file::read_text(&self.path, MAX_TEXT as u64).unwrap_or_default();
        let first = Recording::default().to_text();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Ok(one) = Recording::parse(recording::FILE_NAME, &format!("{first}{line}\n")) {
                all.extend(one);
            }
        }
        all
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn add(&self, line: &str) -> Result<(), StoreError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || {
            if file.is_none() {
                let mut opened = pib_file::open_to_append(&self.path)?;
                // The last line may have been cut off.
                opened.write_all(b"\n")?;
                *file = Some(opened);
            }
            file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()))
        };
        write().map_err(StoreError::io("writing", &self.path))
    }
}
