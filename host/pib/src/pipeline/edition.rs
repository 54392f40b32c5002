//! Which of the recordings of a snapshot a build begins with, and what it is called.
//!
//! The engine keeps what a part made, and does not ask again what the part was given. A project may have several recordings of one
//! snapshot, for instance on two branches, that answer the same request with different files. Each needs a name of its own, or the
//! engine would give the result of one to a build by another. So pib keeps a journal of the responses behind each name, and
//! builds under the first name whose journal does not contradict the recording, and under which every part was given what it asked for.
//! A build that may record nothing takes a name only where the recording has everything that its journal has: a part may have been
//! given any of that. A journal that is lost takes its name along (`pib_recorder::known_name`): the engine then builds again.

use std::path::PathBuf;

use pib_plan::id::{Digest, KeyHasher};
use pib_plan::lockfile::Lockfile;
use pib_plan::manifest::project::Network;
use pib_plan::moment::Moment;
use pib_plan::recording::{self, Recording};
use pib_recorder::{KnownName, RecorderError};

use super::based::Based;
use crate::project::{Error, LockMode, Project, RecordingError, Session, files};

/// The folder of what builds have recorded on this machine, in the cache: a file for each name.
const JOURNALS: &str = "fetched/journals";

/// A recording of a snapshot, and the name of what is built by it.
pub(crate) struct Edition {
    pub(crate) moment: Moment,
    /// What the project has recorded so far.
    pub(crate) recording: Recording,
    /// The file of every response behind the name.
    pub(crate) journal: PathBuf,
    /// By what an engine knows that something was built by this recording.
    name: Digest,
}

impl Edition {
    /// Returns the edition that a build is of, where its project records what parts fetch.
    ///
    /// # Errors
    /// As [`recording_of`], or when a journal cannot be read or begun.
    pub(crate) fn of(session: &Session, based: &Based, mode: LockMode) -> Result<Option<Self>, Error> {
        let project = based.rendered.packages.project();
        let Some((moment, recording)) = recording_of(session, based, mode)? else { return Ok(None) };
        let mut number = 0;
        loop {
            let journal = journal(session, project, moment, number);
            let name = match pib_recorder::known_name(&journal).map_err(RecorderError::from)? {
                Some(known) if known.is_spoilt => None,
                None => None,
                Some(known) if fits(&known, &recording, mode) => Some(known.name),
                Some(_) => {
                    number += 1;
                    continue;
                }
            };
            let name =
                name.map_or_else(|| pib_recorder::begin_name(&journal), Ok).map_err(RecorderError::from)?;
            return Ok(Some(Self { moment, recording, journal, name }));
        }
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

/// Returns the recording that a build begins with, where its project records what parts fetch, and the moment that it is of.
///
/// # Errors
/// When the project's recording is not the one that the lock names, or is missing where `mode` forbids to make it.
pub(crate) fn recording_of(
    session: &Session,
    based: &Based,
    mode: LockMode,
) -> Result<Option<(Moment, Recording)>, Error> {
    let project = based.rendered.packages.project();
    let Some(moment) = based.lock.snapshot.filter(|_| records(project)) else { return Ok(None) };
    let recording = read(session, project, &based.lock)?;
    if is_empty(project, &based.lock) && mode != LockMode::default() {
        return Err(RecordingError::Empty.into());
    }
    Ok(Some((moment, recording)))
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

/// Returns whether what an engine made by a name is what this recording makes. What a build records, it adds to the rest.
fn fits(known: &KnownName, recording: &Recording, mode: LockMode) -> bool {
    let is_all = || known.responses.lines_beyond(recording).is_empty();
    !recording.contradicts(&known.responses) && (mode == LockMode::default() || is_all())
}

/// Returns the file of one of the names of a snapshot. Another copy of the project has names of its own: it has other recordings.
fn journal(session: &Session, project: &Project, moment: Moment, number: u32) -> PathBuf {
    let mut name = KeyHasher::new("pib journal 1");
    let folder = project.dir.canonicalize().unwrap_or_else(|_| project.dir.clone());
    name.field(folder.as_os_str().as_encoded_bytes()).field(moment.to_string()).field(number.to_le_bytes());
    session.cache.join(JOURNALS).join(name.finish().hex())
}
