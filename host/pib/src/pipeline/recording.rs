//! What parts fetch while they run, where the project has that recorded: `pib.fetch.lock`, and who answers parts by it.

use std::path::PathBuf;
use std::sync::Arc;

use pib_buildkit::{Listener, Socket};
use pib_event::ReporterExt as _;
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::lockfile::{self, Lockfile};
use pib_plan::manifest::project::Network;
use pib_plan::moment::Moment;
use pib_plan::recording::{self, Recording};
use pib_plan::relay::{self, Relay};
use pib_recorder::{Mirror, Options, Past, Recorder, Unknown, Variables};
use tokio::io::DuplexStream;

use super::based::Based;
use super::mirrors::Mirrors;
use super::{StageOptions, native, stores};
use crate::engine::{Engine, Secret};
use crate::project::{Error, LockMode, Project, Session, files, user_config};

/// The folder of the bodies, in the cache.
pub(crate) const STORE: &str = "fetched";
/// The folder of what builds have recorded on this machine, by snapshot.
const JOURNALS: &str = "fetched/journals";

/// The network of a build whose parts reach nothing but what pib fetches for them.
pub(crate) struct RecordedNetwork {
    /// What instructions mount.
    pub(crate) relay: Relay,
    recorder: Recorder,
    project: Project,
    mode: LockMode,
}

/// Returns the network of a build, where the project has it recorded.
///
/// # Errors
/// When the engine cannot carry it, or the recording is not the one that the lock names.
pub(crate) async fn open(
    session: &Session,
    engine: &Engine,
    based: &Based,
    options: &StageOptions,
) -> Result<Option<RecordedNetwork>, Error> {
    let project = based.rendered.packages.project();
    let recorded = project.manifest.build.network == Network::Recorded;
    let Some(moment) = based.lock.snapshot.filter(|_| recorded) else { return Ok(None) };
    let (machine, image) = native::load_runner(session, engine).await?;
    let before = read(session, project, based.lock.fetch.as_ref())?;
    // The engine knows what it has run by this name. Another project, and another copy of this one, has a name of its own:
    // what was given to their parts is in their recordings.
    let name = name_of(project, moment);
    let socket = format!("pib.fetch.{}", &name[..16]);
    let make = || Ok(Recorder::new(recorder_options(session, project, moment, before, options.lock)?)?);
    let recorder = session.recorders.get_or_make(name, make)?;
    let relay = Relay { image, machine, socket };
    Ok(Some(RecordedNetwork { relay, recorder, project: project.clone(), mode: options.lock }))
}

/// Returns the name of a project's snapshot on this machine.
fn name_of(project: &Project, moment: Moment) -> String {
    let mut name = KeyHasher::new("pib recorder 1");
    let folder = project.dir.canonicalize().unwrap_or_else(|_| project.dir.clone());
    name.field(folder.as_os_str().as_encoded_bytes()).field(moment.to_string());
    name.finish().hex()
}

fn recorder_options(
    session: &Session,
    project: &Project,
    moment: Moment,
    recording: Recording,
    mode: LockMode,
) -> Result<Options, Error> {
    let mirrors = Mirrors::of(session, &project.manifest);
    let pair = |(public, actual)| Mirror { public, actual };
    let past = pib_debian::past_archives(moment);
    Ok(Options {
        recording,
        store: session.cache.join(STORE),
        journal: session.cache.join(JOURNALS).join(name_of(project, moment)),
        mirrors: mirrors.own.into_iter().map(pair).collect(),
        stores: stores::places(&project.dir, &project.manifest),
        past: past.into_iter().map(|(public, archive)| Past { public: public.to_owned(), archive }).collect(),
        private: user_config::load(session)?.private_servers,
        unknown: if mode == LockMode::default() { Unknown::Record } else { Unknown::Refuse },
        offline: mode.offline,
        variables: variables(),
    })
}

/// Returns a recorder that only knows what the project's lock names, if it names a recording.
fn reader(session: &Session, project: &Project, offline: bool) -> Result<Option<Recorder>, Error> {
    let lock = project.lock.clone().unwrap_or_default();
    let (Some(moment), Some(named)) = (lock.snapshot, &lock.fetch) else { return Ok(None) };
    let recording = read(session, project, Some(named))?;
    let mode = LockMode { locked: true, offline };
    Ok(Some(Recorder::new(recorder_options(session, project, moment, recording, mode)?)?))
}

/// Fetches what the project's parts were recorded to fetch and the cache does not have; returns how many files that is, with
/// those that were there.
///
/// # Errors
/// When the recording is not the one that the lock names, or some of it is not to be had.
pub(crate) async fn fill(session: &Session, project: &Project, mode: LockMode) -> Result<usize, Error> {
    const STEP: &str = "fetched";
    let Some(recorder) = reader(session, project, mode.offline)? else { return Ok(0) };
    let bodies = recorder.recording().iter().filter(|(asked, found)| found.has_body(asked.method)).count();
    session.reporter.started(STEP, "Fetching what parts fetch");
    let missing = recorder.fill(stores::progress(session, STEP, bodies)).await;
    if !missing.is_empty() {
        return Err(Error::NotFetched { missing });
    }
    session.reporter.finished(STEP, false);
    Ok(bodies)
}

/// Returns what the project's parts were given, by a lock.
///
/// # Errors
/// When the recording is not the one that the lock names.
pub(crate) fn recorded(session: &Session, project: &Project, lock: &Lockfile) -> Result<Recording, Error> {
    read(session, project, lock.fetch.as_ref())
}

/// The files of a store, each with where it is.
type Files = Vec<(Digest, PathBuf)>;

/// Returns the files that the project's parts were recorded to fetch, and the addresses of those that the cache does not have.
///
/// # Errors
/// When the recording is not the one that the lock names.
pub(crate) fn bodies(session: &Session, project: &Project) -> Result<(Files, Vec<String>), Error> {
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    let Some(recorder) = reader(session, project, true)? else { return Ok((files, missing)) };
    for (asked, found) in recorder.recording().iter().filter(|(asked, found)| found.has_body(asked.method)) {
        match recorder.body(found) {
            Some(path) => files.push((found.digest, path)),
            None => missing.push(asked.url.clone()),
        }
    }
    Ok((files, missing))
}

/// Returns what the project has recorded so far: nothing where the lock names no recording, which is so after a new
/// snapshot was begun.
fn read(session: &Session, project: &Project, named: Option<&Digest>) -> Result<Recording, Error> {
    let Some(named) = named else { return Ok(Recording::default()) };
    let shown = session.show(&project.dir.join(recording::FILE_NAME)).display().to_string();
    let text = files::read_own(&project.folder()?, recording::FILE_NAME)?;
    let Some(text) = text else { return Err(Error::NoRecording) };
    let recording = Recording::parse(&shown, &text)?;
    // By what it says: version control may have changed the ends of its lines.
    if recording.digest() == *named { Ok(recording) } else { Err(Error::ForeignRecording) }
}

/// Returns what commands are told: where the proxy is, by all the names that programs know it by.
fn variables() -> Variables {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let proxies = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
    let here = ["no_proxy", "NO_PROXY"].map(|name| pair(name, "localhost,127.0.0.1,::1"));
    let trust = pib_debian::RECORD_VARIABLES.map(|(name, value)| pair(name, value));
    let (name, value) = pib_debian::REPLAY_VARIABLE;
    Variables {
        always: proxies.map(|name| pair(name, "{proxy}")).into_iter().chain(here).chain(trust).collect(),
        replay: vec![pair(name, value)],
    }
}

impl RecordedNetwork {
    /// Returns the socket by which instructions reach the recorder.
    pub(crate) fn socket(&self) -> Socket {
        Socket { id: self.relay.socket.clone(), listener: Arc::new(Serving(self.recorder.clone())) }
    }

    /// Returns the certificate of the authority that vouches for the recorder.
    pub(crate) fn authority(&self) -> Secret {
        Secret { id: relay::AUTHORITY.to_owned(), value: self.recorder.authority().as_bytes().to_vec() }
    }

    /// Returns an error where a part was not given what the recording has, or, of a build that must not add to it, asked for
    /// what it does not have.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut missing = self.recorder.undelivered();
        if self.mode != LockMode::default() {
            let refused = self.recorder.refused();
            missing.extend(refused.into_iter().map(|address| format!("{address} is not in pib.fetch.lock")));
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::Unanswered { missing }) }
    }

    /// Writes what parts were given into the project, and its digest into the lock, also of a build that failed: the engine does
    /// not ask again for what it has run. Tells what was not recorded. Returns the digest.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(crate) fn finish(&self, session: &Session) -> Result<Digest, Error> {
        let told = [
            distrusted(&self.recorder.distrusted()),
            private(&self.recorder.private()),
            failed(&self.recorder.failed()),
            refused(&self.recorder.refused(), self.mode),
        ];
        told.into_iter().flatten().for_each(|message| session.warn_once(message));
        if self.mode != LockMode::default() {
            return Ok(self.recorder.recording().digest());
        }
        let recording = self.recorder.recording_of_all();
        let digest = recording.digest();
        // Another target may have written the lock since this build began.
        let lock = Lockfile { fetch: Some(digest), ..self.project.lock_now(session)? };
        let texts = [(recording::FILE_NAME, recording.to_text()), (lockfile::FILE_NAME, lock.to_text())];
        files::replace_together(&self.project.folder()?, &texts)?;
        Ok(digest)
    }
}

/// Says which servers could not be recorded.
fn distrusted(hosts: &[String]) -> Option<String> {
    (!hosts.is_empty()).then(|| {
        format!(
            "parts reached {} by programs that do not take pib's word for them, so that nothing could be recorded: have them \
             take the authority that SSL_CERT_FILE names, or give the stage `network = \"open\"`",
            hosts.join(", ")
        )
    })
}

/// Says what was asked for on this machine or its network.
fn private(addresses: &[String]) -> Option<String> {
    let first = addresses.first()?;
    Some(format!(
        "parts asked for {first}, which is not on the public internet: if they may, name the server in config.toml, \
         [network] private = [\"HOST\"]"
    ))
}

/// Says what could not be fetched.
fn failed(fetches: &[(String, String)]) -> Option<String> {
    let each: Vec<String> = fetches.iter().map(|(address, reason)| format!("{address} ({reason})")).collect();
    some_of(&each).map(|list| format!("parts asked for what could not be fetched: {list}"))
}

/// Returns the first of a list, and how many more there are.
fn some_of(all: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let mut list = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        list += &format!(", and {} more", all.len() - SHOWN);
    }
    (!all.is_empty()).then_some(list)
}

/// Says what was asked for in vain.
fn refused(addresses: &[String], mode: LockMode) -> Option<String> {
    let list = some_of(addresses)?;
    let why = match mode {
        LockMode { locked: true, .. } => "--locked",
        LockMode { offline: true, .. } => "--offline",
        LockMode { .. } => return Some(format!("parts asked for what pib cannot record: {list}")),
    };
    Some(format!(
        "parts asked for what pib.fetch.lock does not have: {list}. Build once without {why} to record it."
    ))
}

/// Hands the connections of instructions to the recorder.
struct Serving(Recorder);

impl Listener for Serving {
    fn accept(&self, connection: DuplexStream) {
        self.0.serve(connection);
    }
}
