//! Which of the recordings of a snapshot a build begins with, and what it is called.
//!
//! The engine keeps what a part made, and does not ask again what the part was given. A project may have several recordings of one
//! snapshot, for instance on two branches, that answer the same request with different files. Each needs a name of its own, or the
//! engine would give the result of one to a build by another. So pib keeps a journal of the responses behind each name, and
//! builds under the first name whose journal does not contradict the recording, and under which every part was given what it asked for.

use std::path::PathBuf;

use pib_plan::id::{Digest, KeyHasher};
use pib_plan::lockfile::Lockfile;
use pib_plan::manifest::project::Network;
use pib_plan::moment::Moment;
use pib_plan::recording::{self, Recording};
use pib_recorder::RecorderError;

use super::based::Based;
use crate::project::{Error, LockMode, Project, RecordingError, Session, files};

/// The folder of what builds have recorded on this machine, in the cache: a file for each name.
const JOURNALS: &str = "fetched/journals";

/// A recording of a snapshot, and the name of what is built by it.
pub(crate) struct Edition {
    pub(crate) moment: Moment,
    /// What the project has recorded so far.
    pub(crate) recording: Recording,
    /// The digest of the project's folder, the snapshot, and a number that tells contradicting recordings apart.
    name: Digest,
}

impl Edition {
    /// Returns the edition that a build is of, where its project records what parts fetch.
    ///
    /// # Errors
    /// When the project's recording is not the one that the lock names, or is missing where `mode` forbids to make it, or a
    /// journal cannot be read.
    pub(crate) fn of(session: &Session, based: &Based, mode: LockMode) -> Result<Option<Self>, Error> {
        let project = based.rendered.packages.project();
        let Some(moment) = based.lock.snapshot.filter(|_| records(project)) else { return Ok(None) };
        let recording = read(session, project, &based.lock)?;
        if is_empty(project, &based.lock) && mode != LockMode::default() {
            return Err(RecordingError::Empty.into());
        }
        let mut number = 0;
        loop {
            let name = name(project, moment, number);
            let journal = journal(session, &name);
            let earlier = pib_recorder::read_journal(&journal).map_err(RecorderError::from)?;
            if !pib_recorder::is_spoilt(&journal) && !recording.contradicts(&earlier) {
                return Ok(Some(Self { moment, recording, name }));
            }
            number += 1;
        }
    }

    /// Returns the file that keeps every response behind this name.
    pub(crate) fn journal(&self, session: &Session) -> PathBuf {
        journal(session, &self.name)
    }

    /// Returns the name, as hexadecimal digits.
    pub(crate) fn name(&self) -> String {
        self.name.hex()
    }

    /// Returns what the tag of a container image ends with, so that no other edition has the same tag.
    pub(crate) fn tag_suffix(&self) -> String {
        format!("-{}", &self.name()[..8])
    }
}

/// Returns whether pib records what this project's, or this target's, parts fetch.
fn records(project: &Project) -> bool {
    project.manifest.build.network == Network::Recorded
}

/// Returns whether nothing is recorded yet of what is to be recorded.
fn is_empty(project: &Project, lock: &Lockfile) -> bool {
    records(project) && lock.snapshot.is_some() && lock.fetch.is_none()
}

/// Says that nothing is recorded yet, where that is so: builds that may record nothing cannot begin then.
pub(crate) fn tell_if_empty(session: &Session, project: &Project, lock: &Lockfile) {
    if is_empty(project, lock) {
        session.warn_once(
            "pib.lock names no recording of what parts fetch yet: build once without --locked, --offline and --frozen to make it"
                .to_owned(),
        );
    }
}

/// Returns what the project has recorded so far: nothing where the lock names no recording, which is so after a new
/// snapshot was begun, or where nothing is to be recorded.
///
/// # Errors
/// When the recording is missing, or not the one that the lock names.
pub(crate) fn read(session: &Session, project: &Project, lock: &Lockfile) -> Result<Recording, Error> {
    let Some(named) = lock.fetch.filter(|_| project.is_recorded()) else { return Ok(Recording::default()) };
    let shown = session.show(&project.dir.join(recording::FILE_NAME)).display().to_string();
    let text = files::read_own(&project.folder()?, recording::FILE_NAME)?;
    let Some(text) = text else { return Err(RecordingError::Absent.into()) };
    let recording = Recording::parse(&shown, &text)?;
    // By what it says: version control may have changed the ends of its lines.
    if recording.digest() == named { Ok(recording) } else { Err(RecordingError::Foreign.into()) }
}

/// Returns a name. Another copy of the project has names of its own: it has other recordings.
fn name(project: &Project, moment: Moment, number: u32) -> Digest {
    let mut name = KeyHasher::new("pib recorder 2");
    let folder = project.dir.canonicalize().unwrap_or_else(|_| project.dir.clone());
    name.field(folder.as_os_str().as_encoded_bytes()).field(moment.to_string()).field(number.to_le_bytes());
    name.finish()
}

fn journal(session: &Session, name: &Digest) -> PathBuf {
    session.cache.join(JOURNALS).join(name.hex())
}
