//! What parts fetch while they run, where the project has that recorded: `pib.fetch.lock`, and who answers parts by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_buildkit::{Listener, Socket};
use pib_event::ReporterExt as _;
use pib_plan::id::Digest;
use pib_plan::lockfile::Lockfile;
use pib_plan::manifest::project::Network;
use pib_plan::moment::Moment;
use pib_plan::recording::{self, MAX_TEXT, Recording};
use pib_plan::relay::{self, Relay, Way};
use pib_recorder::{Mirror, Options, Past, Recorder, RecorderError, Unknown, Variables};
use tokio::io::DuplexStream;

use super::based::Based;
use super::edition::{self, Edition};
use super::mirrors::{self, Mirrors};
use super::recorder_access::{self, OpenPort};
use super::release_lists::Releases;
use super::{Rendered, StageOptions, stores};
use crate::engine::{Engine, Secret};
use crate::project::{Error, LockMode, Project, RecordingError, Session, pair, user_config};

/// The folder of the bodies, in the cache.
pub(crate) const STORE: &str = "fetched";

/// The network of a build whose parts reach nothing but what pib fetches for them.
pub(crate) struct RecordedNetwork {
    /// What instructions need to reach it.
    pub(crate) relay: Relay,
    recorder: Recorder,
    /// The port at which they do, where that is no socket.
    port: Option<OpenPort>,
    project: Project,
    mode: LockMode,
    strict: bool,
}

/// Checks that an engine can carry what parts fetch to them, where the project has it recorded. A `strict` build needs one
/// that lets parts reach nothing else.
///
/// # Errors
/// Says why the engine cannot.
pub(crate) fn check_engine(
    session: &Session,
    engine: &Engine,
    project: &Project,
    strict: bool,
) -> Result<(), Error> {
    if project.manifest.build.network == Network::Open {
        return Ok(());
    }
    if let Way::Session(_) = recorder_access::way(engine)? {
        return Ok(());
    }
    let why = format!(
        "{} leaves parts their network: what programs fetch without pib's proxy is not recorded",
        engine.builder()
    );
    if strict {
        return Err(bypassed([why]));
    }
    session.warn_once(why);
    Ok(())
}

/// Checks, where a build is strict, that all that its parts fetch is to be recorded.
///
/// # Errors
/// Says what is not.
pub(crate) fn check_strict(rendered: &Rendered, strict: bool) -> Result<(), Error> {
    if !strict {
        return Ok(());
    }
    if rendered.packages.project().manifest.build.network == Network::Open {
        let why = "[build] in pib.toml does not say `network = \"recorded\"`";
        return Err(bypassed([why.to_owned()]));
    }
    let open = open_stages(rendered);
    if open.is_empty() {
        return Ok(());
    }
    let open = open.join("`, `");
    Err(bypassed([format!("`{open}` has `network = \"open\"`: what its part fetches is not recorded")]))
}

/// Returns the names of the stages whose parts reach the network without pib.
fn open_stages(rendered: &Rendered) -> Vec<&str> {
    let open = rendered.inputs.iter().filter(|stage| !stage.recorded);
    open.map(|stage| stage.name.as_str()).collect()
}

/// Returns the error of a strict build that has these reasons against it.
fn bypassed(why: impl Into<Vec<String>>) -> Error {
    RecordingError::Bypassed { why: why.into() }.into()
}

/// Tells what a build that may record nothing cannot be given, before the first of its parts runs, and which stages are given more
/// than what is recorded.
async fn tell_what_is_missing(session: &Session, based: &Based, recorder: &Recorder, mode: LockMode) {
    if mode == LockMode::default() {
        return;
    }
    let open = open_stages(&based.rendered);
    if !open.is_empty() {
        session.warn_once(format!(
            "`{}` has `network = \"open\"`: what its part fetches is not recorded, and comes from the network also with \
             --locked and --offline",
            open.join("`, `")
        ));
    }
    // What a server has to be asked for comes when it is needed.
    let missing = if mode.offline { recorder.fill(|_| ()).await } else { Vec::new() };
    // A part may not ask for it: the recording is of all targets.
    if let Some(list) = some_of(&missing) {
        session.warn_once(format!("{} of the recorded files are not on this machine: {list}", missing.len()));
    }
}

/// Returns the network of a build by a recording.
///
/// # Errors
/// When the engine cannot carry it.
pub(crate) async fn open(
    session: &Session,
    engine: &Engine,
    based: &Based,
    edition: &Edition,
    options: &StageOptions,
) -> Result<RecordedNetwork, Error> {
    let (mode, strict) = (options.lock, options.strict);
    let project = based.rendered.packages.project();
    // The engine knows what it has run by this name.
    let socket = format!("pib.fetch.{}", &edition.name()[..16]);
    let relay = recorder_access::load_relay(session, engine, &project.manifest, socket).await?;
    let make = || {
        let journal = edition.journal.clone();
        // Parts may be given any of it from now on.
        pib_recorder::add_to_journal(&journal, &edition.recording).map_err(RecorderError::from)?;
        let (moment, recording) = (edition.moment, edition.recording.clone());
        let when = (moment, based.lock.as_of);
        let options = recorder_options(session, project, when, recording, mode)?;
        // The archive of the past is never in the middle of an update.
        let lists =
            if based.lock.as_of.is_none() { Releases::of(session, based)? } else { Releases::default() };
        Ok(Recorder::new(Options { journal: Some(journal), lists: Some(Arc::new(lists)), ..options })?)
    };
    let recorder = session.recorders.get_or_make(edition.name(), make)?;
    tell_what_is_missing(session, based, &recorder, mode).await;
    let port = match relay.way {
        Way::Session(_) => None,
        Way::Port => Some(recorder_access::open_port(session, engine, &recorder).await?),
    };
    Ok(RecordedNetwork { relay, recorder, port, project: project.clone(), mode, strict })
}

/// Returns what a recorder works with that keeps no journal.
fn recorder_options(
    session: &Session,
    project: &Project,
    (moment, as_of): (Moment, Option<Moment>),
    recording: Recording,
    mode: LockMode,
) -> Result<Options, Error> {
    let mirrors = Mirrors::of(session, &project.manifest, None);
    let pair = |(public, actual)| Mirror { public, actual };
    let user = user_config::load(session)?;
    let past = pib_debian::past_archives(as_of.unwrap_or(moment), user.snapshots.as_ref());
    // Of another day than today, the archive of the past is what mirrors are otherwise.
    let public = [&mirrors.public, &mirrors.public_security];
    let of_the_past = as_of
        .into_iter()
        .flat_map(|_| public.into_iter().zip(&past))
        .map(|(public, (_, archive))| (public.clone(), archive.clone()));
    let mirrored: Vec<Mirror> = of_the_past.chain(mirrors.own.clone()).map(pair).collect();
    Ok(Options {
        recording,
        store: session.cache.join(STORE),
        journal: None,
        mirrors: mirrored,
        stores: stores::places(session, &project.dir, &project.manifest)?,
        past: past.into_iter().map(|(public, archive)| Past { public: public.to_owned(), archive }).collect(),
        lists: Some(Arc::new(Releases::default())),
        pauses: pib_recorder::PAUSES.to_vec(),
        waiting: Some({
            let reporter = Arc::clone(&session.reporter);
            Arc::new(move |text: &str| reporter.warn(text))
        }),
        private: user.private_servers,
        unknown: if mode == LockMode::default() { Unknown::Record } else { Unknown::Refuse },
        offline: mode.offline,
        variables: variables(as_of.is_some() || !mirrors::host_apt(session)?.dates.check_valid_until),
    })
}

/// Returns a recorder that only knows what the project's lock names, if it names a recording.
fn reader(session: &Session, project: &Project, offline: bool) -> Result<Option<Recorder>, Error> {
    let lock = project.lock.clone().unwrap_or_default();
    let is_wanted = project.is_recorded() && lock.fetch.is_some();
    let Some(moment) = lock.snapshot.filter(|_| is_wanted) else { return Ok(None) };
    let recording = edition::read(session, project, &lock)?;
    let mode = LockMode { locked: true, offline };
    let when = (moment, lock.as_of);
    Ok(Some(Recorder::new(recorder_options(session, project, when, recording, mode)?)?))
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
    recorder.troubles().into_iter().for_each(|trouble| session.warn_once(trouble));
    if !missing.is_empty() {
        return Err(RecordingError::NotFetched { missing }.into());
    }
    session.reporter.finished(STEP, false);
    Ok(bodies)
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

/// Returns what commands are told: where the proxy is, by all the names that programs know it by. What `may_be_old` is as old the
/// first time as later: what is of the past, and what a mirror has whose age this machine's apt does not judge.
fn variables(may_be_old: bool) -> Variables {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let proxies = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
    let here = ["no_proxy", "NO_PROXY"].map(|name| pair(name, "localhost,127.0.0.1,::1"));
    let trust = pib_debian::RECORD_VARIABLES.map(|(name, value)| pair(name, value));
    let (name, value) = pib_debian::REPLAY_VARIABLE;
    let replay = vec![pair(name, value)];
    let old = replay.clone().into_iter().filter(|_| may_be_old);
    // Of two values of a name, the later one counts.
    let all = proxies.map(|name| pair(name, "{proxy}")).into_iter().chain(here).chain(trust).chain(old);
    Variables { always: all.collect(), replay }
}

/// What the parts of a build were given.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) recording: Recording,
    /// The recording that the lock names.
    pub(crate) named: Option<Digest>,
    /// What parts went on without, since it could not be fetched: the addresses, each with the reason.
    pub(crate) without: Vec<(String, String)>,
}

impl RecordedNetwork {
    /// Returns the socket by which instructions reach the recorder, where that is one.
    pub(crate) fn socket(&self) -> Option<Socket> {
        let socket =
            || Socket { id: self.relay.socket.clone(), listener: Arc::new(Serving(self.recorder.clone())) };
        self.port.is_none().then(socket)
    }

    /// Returns the build argument that tells instructions how to reach the recorder, where they need one.
    pub(crate) fn build_arg(&self) -> Option<(String, String)> {
        self.port.as_ref().map(OpenPort::argument)
    }

    /// Returns what is behind the failure of a build, where that is the way to the recorder.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match &self.port {
            Some(port) => port.explain(error),
            None => error,
        }
    }

    /// Returns the certificate of the authority that vouches for the recorder.
    pub(crate) fn authority(&self) -> Secret {
        Secret { id: relay::AUTHORITY.to_owned(), value: self.recorder.authority().as_bytes().to_vec() }
    }

    /// Returns whether the engine may use nothing of what parts have made.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.recorder.is_spoilt()
    }

    /// Returns an error where a part was not given what the recording has, or, of a build that must not add to it, asked for
    /// what it does not have; of a strict build, also where something could not be recorded, or not be fetched.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(why) = distrusted(&self.recorder.distrusted()).filter(|_| self.strict) {
            return Err(bypassed([why]));
        }
        if let Some(why) = not_fetched(&self.recorder.failed()).filter(|_| self.strict) {
            return Err(bypassed([why]));
        }
        let mut missing = self.recorder.undelivered();
        if self.mode != LockMode::default() {
            let refused = self.recorder.refused();
            missing.extend(refused.into_iter().map(|address| format!("{address} is not in pib.fetch.lock")));
        }
        if missing.is_empty() { Ok(()) } else { Err(RecordingError::Unanswered { missing }.into()) }
    }

    /// Writes what parts were given into the project, and its digest into the lock, also of a build that failed: the engine does
    /// not ask again for what it has run. What parts went on without, the next build asks for again. Tells what was not recorded, and, where
    /// the build `failed`, what may be the reason.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(crate) fn finish(&self, session: &Session, failed: bool) -> Result<Given, Error> {
        let without = self.recorder.failed();
        if !failed && !without.is_empty() {
            self.recorder.spoil();
        }
        let told = [
            distrusted(&self.recorder.distrusted()),
            private(&self.recorder.private(), session),
            not_fetched(&without),
            refused(&self.recorder.refused(), self.mode),
            absent(&self.recorder.absent()).filter(|_| failed),
        ];
        let told = told.into_iter().flatten().chain(self.recorder.troubles());
        told.for_each(|message| session.warn_once(message));
        if self.mode != LockMode::default() {
            let named = self.project.lock.as_ref().and_then(|lock| lock.fetch);
            return Ok(Given { recording: self.recorder.recording(), named, without });
        }
        let recording = self.recorder.recording_of_all()?;
        let (text, digest) = (recording.to_text(), recording.digest());
        if text.len() > MAX_TEXT {
            return Err(RecordingError::TooLarge { responses: recording.len() }.into());
        }
        // Another target may have written the lock since this build began.
        let before = self.project.lock_now(session)?;
        if before.fetch != Some(digest) {
            let (all, new) = (recording.len(), self.recorder.count_of_new());
            session.reporter.note(format!(
                "Recorded {}; {} has {all}",
                new_responses(new),
                recording::FILE_NAME
            ));
        }
        if let Some(address) = with_secret(session, &recording) {
            session.warn_once(format!(
                "a part asked for an address with a secret in it, which {} now shows: {address}. Take it out of the part before \
                 you commit the file: send secrets in a header, which is not recorded",
                recording::FILE_NAME
            ));
        }
        let named = before.fetch;
        let lock = Lockfile { fetch: Some(digest), ..before };
        let folders = (self.project.folder()?, self.project.target.make()?);
        pair::replace((&folders.0, &folders.1), (text, digest), named, &lock)?;
        Ok(Given { recording, named: Some(digest), without })
    }
}

fn new_responses(count: usize) -> String {
    match count {
        1 => "1 new response".to_owned(),
        count => format!("{count} new responses"),
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
fn private(addresses: &[String], session: &Session) -> Option<String> {
    let first = addresses.first()?;
    let config = session.config.as_deref().unwrap_or(Path::new("")).join("config.toml");
    let url = url::Url::parse(first).ok();
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or("HOST");
    let port = url.as_ref().and_then(url::Url::port).map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!(
        "parts asked for {first}, which is not on the public internet: if they may, add \"{host}{port}\" to the list \
         private = [...] below [network] in {}",
        config.display()
    ))
}

/// Returns the first address, with its secret hidden, that shows a secret of this build.
fn with_secret(session: &Session, recording: &Recording) -> Option<String> {
    let shown = |text: &str| Some(session.mask.apply(text.to_owned())).filter(|masked| masked != text);
    recording.iter().find_map(|(asked, found)| {
        shown(&asked.url).or_else(|| found.headers.get("location").and_then(|to| shown(to)))
    })
}

/// Says what is recorded not to be there.
fn absent(addresses: &[String]) -> Option<String> {
    let list = some_of(addresses)?;
    Some(format!(
        "{} says that servers did not have {list}: if they have by now, begin a new snapshot with `pib update --packages`",
        recording::FILE_NAME
    ))
}

/// Says what could not be fetched.
fn not_fetched(fetches: &[(String, String)]) -> Option<String> {
    let each: Vec<String> = fetches.iter().map(|(address, reason)| format!("{address} ({reason})")).collect();
    some_of(&each).map(|list| {
        format!(
            "parts asked for what could not be fetched: {list}. If a part went on without it, the next build runs all stages again"
        )
    })
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
        "parts asked for what pib.fetch.lock does not have: {list}. Build once without {why} to record it. The next build runs all \
         stages again, since a part may have gone on without it"
    ))
}

/// Hands the connections of instructions to the recorder.
struct Serving(Recorder);

impl Listener for Serving {
    fn accept(&self, connection: DuplexStream) {
        self.0.serve(connection);
    }
}
