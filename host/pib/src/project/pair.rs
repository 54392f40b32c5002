//! Replaces `pib.lock` and `pib.fetch.lock`, which name each other, so that a process that is killed between the two leaves no pair that
//! does not fit.
//!
//! Before the first is replaced, a note in the folder for what builds leave says what the second will be. The next
//! pib that works on the project does what the note says.

use std::path::Path;

use pib_file::Folder;
use pib_plan::id::Digest;
use pib_plan::lockfile::{self, Lockfile};
use pib_plan::recording::{self, Recording};
use serde::{Deserialize, Serialize};

use super::{Error, files};

/// The name of the note.
const NOTE: &str = ".pib-recording.json";

/// What is being replaced.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The recording that the lock named before.
    before: Option<Digest>,
    /// The recording that it is to name; nothing where a new snapshot begins, and the recording is to go.
    after: Option<Digest>,
}

/// Replaces the recording of a project and the lock, which named the recording `before` so far. The caller must hold the lock on
/// the project.
///
/// # Errors
/// When a file cannot be written; then both are as they were.
pub(crate) fn replace(
    (folder, target): (&Folder, &Folder),
    recording: (String, Digest),
    before: Option<Digest>,
    lock: &Lockfile,
) -> Result<(), Error> {
    let (text, after) = recording;
    note(target, &Note { before, after: Some(after) })?;
    let texts = [(recording::FILE_NAME, text), (lockfile::FILE_NAME, lock.to_text())];
    files::replace_together(folder, &texts)?;
    // One that stays says what has been done.
    let _ = target.remove_file(NOTE);
    Ok(())
}

/// Replaces the lock of a project by one that names no recording, and removes the recording, which the lock named `before` so far, if
/// any. The caller must hold the lock on the project.
///
/// # Errors
/// When the lock cannot be written, or the recording not be removed.
pub(super) fn forget(
    (folder, target): (&Folder, &Folder),
    before: Option<Digest>,
    lock: &Lockfile,
) -> Result<(), Error> {
    note(target, &Note { before, after: None })?;
    files::replace_bytes(folder, lockfile::FILE_NAME, lock.to_text().as_bytes())?;
    remove_recording(folder)?;
    let _ = target.remove_file(NOTE);
    Ok(())
}

fn note(target: &Folder, note: &Note) -> Result<(), Error> {
    files::replace_text(target, NOTE, &serde_json::to_string(note).unwrap_or_default())
}

fn remove_recording(folder: &Folder) -> Result<(), Error> {
    match folder.remove_file(recording::FILE_NAME) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", Path::new(recording::FILE_NAME), error))
        }
        _ => Ok(()),
    }
}

/// What is still to be done of what a killed process has begun.
enum Rest {
    /// The lock is to be this.
    Lock(Box<Lockfile>),
    /// The recording is to go.
    Recording,
}

/// Does what a killed process has not done any more: has the lock name the recording that is there already, or removes the one that
/// the lock does not name any more. The caller must hold the lock on the project.
///
/// # Errors
/// When the lock cannot be written, or the recording not be removed.
pub(super) fn complete(folder: &Folder, target: &Folder) -> Result<(), Error> {
    let Some(text) = files::read_written(target, NOTE) else { return Ok(()) };
    match rest(folder, &text) {
        Some(Rest::Lock(lock)) => {
            files::replace_bytes(folder, lockfile::FILE_NAME, lock.to_text().as_bytes())?;
        }
        Some(Rest::Recording) => remove_recording(folder)?,
        None => {}
    }
    let _ = target.remove_file(NOTE);
    Ok(())
}

/// Returns what the note still wants; nothing where the files are not those that the note is of.
fn rest(folder: &Folder, note: &str) -> Option<Rest> {
    let Note { before, after } = serde_json::from_str(note).ok()?;
    let read = |name: &str| files::read_own(folder, name).ok().flatten();
    let lock = Lockfile::parse(lockfile::FILE_NAME, &read(lockfile::FILE_NAME)?).ok()?;
    let found = Recording::parse(recording::FILE_NAME, &read(recording::FILE_NAME)?).ok()?.digest();
    match after {
        Some(after) => {
            let fits = lock.snapshot.is_some() && lock.fetch == before && found == after;
            fits.then(|| Rest::Lock(Box::new(Lockfile { fetch: Some(after), ..lock })))
        }
        None => {
            (lock.fetch.is_none() && before.is_none_or(|before| found == before)).then_some(Rest::Recording)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MOMENT: &str = "2026-11-28T03:50:00Z";

    fn recording(digest: &[u8]) -> (String, Digest) {
        let line = format!(
            "{{\"method\":\"GET\",\"url\":\"http://a.example/x\",\"status\":200,\"digest\":\"{}\",\"size\":3}}\n",
            Digest::of(digest)
        );
        let head = Recording::default().to_text();
        let found = Recording::parse("x", &(head + &line)).unwrap();
        (found.to_text(), found.digest())
    }

    fn lock(fetch: Option<Digest>) -> Lockfile {
        Lockfile { snapshot: Some(MOMENT.parse().unwrap()), fetch, ..Lockfile::default() }
    }

    fn named(dir: &Path) -> Option<Digest> {
        let text = fs::read_to_string(dir.join(lockfile::FILE_NAME)).unwrap();
        Lockfile::parse("x", &text).unwrap().fetch
    }

    /// Makes a project whose lock names the first recording, and its folders.
    fn project() -> (tempfile::TempDir, Folder, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let target = folder.make_folder("target").unwrap();
        let (text, digest) = recording(b"one");
        replace((&folder, &target), (text, digest), None, &lock(Some(digest))).unwrap();
        (dir, folder, target)
    }

    #[test]
    fn both_are_replaced_and_no_note_stays() {
        let (dir, _, _) = project();
        let (text, digest) = recording(b"one");
        assert_eq!(fs::read_to_string(dir.path().join(recording::FILE_NAME)).unwrap(), text);
        assert_eq!(named(dir.path()), Some(digest));
        assert!(!dir.path().join("target").join(NOTE).exists());
    }

    #[test]
    fn what_a_killed_process_began_is_completed_and_nothing_else() {
        let (one, two, three) = (recording(b"one"), recording(b"two"), recording(b"three"));
        // What the note says, which recording is there, and what the lock names in the end.
        for (before, after, there, expected) in [
            (Some(one.1), two.1, &two, two.1),
            // The process was killed before it replaced anything.
            (Some(one.1), two.1, &one, one.1),
            // Somebody took files of another commit since.
            (Some(one.1), two.1, &three, one.1),
            (Some(three.1), two.1, &two, one.1),
            (None, two.1, &two, one.1),
        ] {
            let (dir, folder, target) = project();
            note(&target, &Note { before, after: Some(after) }).unwrap();
            fs::write(dir.path().join(recording::FILE_NAME), &there.0).unwrap();
            complete(&folder, &target).unwrap();
            assert_eq!(named(dir.path()), Some(expected));
            assert!(!dir.path().join("target").join(NOTE).exists());
        }
    }

    #[test]
    fn a_recording_that_no_lock_names_any_more_goes() {
        let (dir, folder, target) = project();
        let before = named(dir.path());
        forget((&folder, &target), before, &lock(None)).unwrap();
        assert!(
            !dir.path().join(recording::FILE_NAME).exists() && !dir.path().join("target").join(NOTE).exists()
        );
        assert_eq!(named(dir.path()), None);
    }

    #[test]
    fn a_killed_process_leaves_no_recording_that_no_lock_names() {
        let (one, two) = (recording(b"one"), recording(b"two"));
        // What the lock names by now, which recording is there, and whether it stays.
        for (fetch, there, stays) in [
            (None, &one, false),
            // The process was killed before it replaced the lock.
            (Some(one.1), &one, true),
            // Somebody took files of another commit since.
            (None, &two, true),
        ] {
            let (dir, folder, target) = project();
            note(&target, &Note { before: Some(one.1), after: None }).unwrap();
            fs::write(dir.path().join(lockfile::FILE_NAME), lock(fetch).to_text()).unwrap();
            fs::write(dir.path().join(recording::FILE_NAME), &there.0).unwrap();
            complete(&folder, &target).unwrap();
            assert_eq!(dir.path().join(recording::FILE_NAME).exists(), stays);
            assert_eq!(named(dir.path()), fetch);
            assert!(!dir.path().join("target").join(NOTE).exists());
        }
    }

    #[test]
    fn a_note_that_says_nothing_changes_nothing() {
        for note in ["", "{", "{\"after\":\"x\"}", "[]"] {
            let (dir, folder, target) = project();
            let before = named(dir.path());
            fs::write(dir.path().join("target").join(NOTE), note).unwrap();
            complete(&folder, &target).unwrap();
            assert_eq!(named(dir.path()), before);
        }
    }
}
