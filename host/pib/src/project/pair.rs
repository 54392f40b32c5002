//! Replaces `pib.lock` and `pib.fetch.lock`, which name each other, so that a process that is killed between the two leaves no pair that
//! does not fit.
//!
//! Before the first is replaced, a note in the folder for what builds leave says what the second will be. The next
//! pib that works on the project does what the note says.

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
    /// The recording that it is to name.
    after: Digest,
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
    let note = serde_json::to_string(&Note { before, after }).unwrap_or_default();
    files::replace_text(target, NOTE, &note)?;
    let texts = [(recording::FILE_NAME, text), (lockfile::FILE_NAME, lock.to_text())];
    files::replace_together(folder, &texts)?;
    // One that stays says what has been done.
    let _ = target.remove_file(NOTE);
    Ok(())
}

/// Has the lock name the recording that a killed process has written, where it still names the one before. The caller
/// must hold the lock on the project.
///
/// # Errors
/// When the lock cannot be written.
pub(super) fn complete(folder: &Folder, target: &Folder) -> Result<(), Error> {
    let Some(text) = files::read_written(target, NOTE) else { return Ok(()) };
    if let Some(lock) = completed(folder, &text) {
        files::replace_bytes(folder, lockfile::FILE_NAME, lock.to_text().as_bytes())?;
    }
    let _ = target.remove_file(NOTE);
    Ok(())
}

/// Returns the lock as the note wants it; nothing where the files are not those that the note is of.
fn completed(folder: &Folder, note: &str) -> Option<Lockfile> {
    let Note { before, after } = serde_json::from_str(note).ok()?;
    let read = |name: &str| files::read_own(folder, name).ok().flatten();
    let lock = Lockfile::parse(lockfile::FILE_NAME, &read(lockfile::FILE_NAME)?).ok()?;
    let found = Recording::parse(recording::FILE_NAME, &read(recording::FILE_NAME)?).ok()?;
    let fits = lock.snapshot.is_some() && lock.fetch == before && found.digest() == after;
    fits.then(|| Lockfile { fetch: Some(after), ..lock })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

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
            let note = serde_json::to_string(&Note { before, after }).unwrap();
            fs::write(dir.path().join("target").join(NOTE), note).unwrap();
            fs::write(dir.path().join(recording::FILE_NAME), &there.0).unwrap();
            complete(&folder, &target).unwrap();
            assert_eq!(named(dir.path()), Some(expected));
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
