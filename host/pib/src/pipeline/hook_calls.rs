//! Asks the hooks of a build: what they say of the config, and what they make of the parts.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::board;
use pib_plan::config::Setting;
use pib_plan::id::{Digest, KeyHasher, StageName};
use pib_plan::manifest::ManifestError;
use pib_plan::secret;
use pib_plan::size::ByteSize;

use super::config_error::config_error;
use super::settle::{Settled, SettledStage, SettledValue};
use crate::hooks::{
    Answer, Context, Files, HookError, HookName, Host, Level, ProjectFile, Question, Severity, StageRef,
    Value,
};
use crate::project::{Error, Project, Session, blocking, user_config};
use crate::source::Package;
use pib_event::{Event, Reporter, ReporterExt as _};

/// The answers of a build's hooks, by stage.
pub(crate) type Answers = BTreeMap<StageName, Answer>;

/// A question to a hook, and where its component is.
pub(crate) struct Job {
    pub(crate) stage: StageName,
    pub(crate) question: Question,
    pub(crate) component: PathBuf,
}

/// Returns a host for hooks with the limits that the user has set.
pub(crate) fn host(session: &Session) -> Result<Host, Error> {
    Ok(Host::new(&session.cache, user_config::load(session)?.hooks))
}

/// Asks the hooks of all `packages`, which are in build order; those that do not depend on each other, which is all of
/// them, at the same time. Warnings are reported; errors in the config are part of the answers.
///
/// # Errors
/// When a hook cannot be run, fails, or answers what cannot be used: the first of them, in build order.
pub(crate) async fn ask(session: &Session, settled: &Settled) -> Result<Answers, Error> {
    let (project, packages) = (settled.packages.project(), &settled.packages.list);
    let mut answers = Answers::new();
    if packages.iter().all(|package| package.manifest.hook.is_none()) {
        return Ok(answers);
    }
    let host = host(session)?;
    let stages: Vec<StageRef> = packages.iter().map(stage_ref).collect();
    let mut open = Vec::new();
    for (package, stage) in packages.iter().zip(&settled.stages) {
        // What is wrong with a stage's config already is told together with all other mistakes.
        let Ok(stage) = stage else { continue };
        let Some(job) = job(project, &stages, package, stage)? else { continue };
        match host.recall(&job.question) {
            Some(answer) => drop(answers.insert(job.stage, answer)),
            None => open.push(job),
        }
    }
    if let Some(trouble) = host.cache_trouble() {
        session.reporter.warn(format!("hooks are compiled and run again each time: {trouble}"));
    }
    if !open.is_empty() {
        answers.extend(run(session, host, open).await?);
    }
    for (stage, answer) in &answers {
        warn(session, project, stage, answer);
    }
    Ok(answers)
}

/// Runs the hooks whose answers are not known yet.
async fn run(session: &Session, host: Host, jobs: Vec<Job>) -> Result<Answers, Error> {
    const STEP: &str = "hooks";
    let title = match jobs.as_slice() {
        [one] => format!("Running the hook of {}", one.stage),
        many => format!("Running the hooks of {} stages", many.len()),
    };
    session.reporter.started(STEP, title);
    let reporter = Arc::clone(&session.reporter);
    let found = blocking::run(move |stop| ask_all(&host, &jobs, &*reporter, &stop)).await?;
    let answers = found.into_iter().collect::<Result<_, HookError>>()?;
    session.reporter.finished(STEP, false);
    Ok(answers)
}

/// Asks as many hooks at once as the machine has processors; returns the answers in the order of the jobs.
fn ask_all(
    host: &Host,
    jobs: &[Job],
    reporter: &dyn Reporter,
    stop: &Arc<AtomicBool>,
) -> Vec<Result<(StageName, Answer), HookError>> {
    let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(jobs.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..at_once {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some((number, job)) = take(next, jobs) {
                    let _ = sender.send((number, ask_one(host, job, reporter, stop)));
                }
            });
        }
        drop(sender);
    });
    let mut found: Vec<_> = receiver.into_iter().collect();
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, answer)| answer).collect()
}

fn take<'a>(next: &AtomicUsize, jobs: &'a [Job]) -> Option<(usize, &'a Job)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(number).map(|job| (number, job))
}

fn ask_one(
    host: &Host,
    job: &Job,
    reporter: &dyn Reporter,
    stop: &Arc<AtomicBool>,
) -> Result<(StageName, Answer), HookError> {
    let log = |level: Level, line: &str| {
        let line = format!("{} hook, {}: {line}", job.stage, level.as_str());
        reporter.report(Event::Log { id: "hooks".to_owned(), line });
    };
    let most = host.limits().component.0;
    let answer = host.ask(&job.question, || read_component(&job.component, most), &log, stop)?;
    Ok((job.stage.clone(), answer))
}

/// Reads a component of at most `most` bytes, and one more, which tells that it is larger.
pub(crate) fn read_component(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    pib_file::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the question to a package's hook, where it has one.
///
/// # Errors
/// When the package has no part for the project's operating system.
pub(crate) fn job(
    project: &Project,
    stages: &[StageRef],
    package: &Package,
    settled: &SettledStage,
) -> Result<Option<Job>, Error> {
    let Some(hook) = &package.manifest.hook else { return Ok(None) };
    let mut readable = StageFiles::of(package);
    let config = settled.config.iter();
    let config = config.map(|(key, value)| (key.clone(), hook_value(package, key, value, &mut readable)));
    let config = config.collect();
    let this = stage_ref(package);
    let name = HookName {
        stage: this.name.clone(),
        version: this.version.clone(),
        component: hook.component.clone(),
    };
    // That the component is there was checked when the package was read.
    let component = package.hook().unwrap_or_else(|| Digest::of(b""));
    let (_, part) = package.part(&project.manifest.project.os)?;
    let context = Context {
        project: facts(project),
        board_traits: board::find(&project.manifest.project.board)
            .map(|board| board.traits())
            .unwrap_or_default(),
        stages: stages.to_vec(),
        this,
        config,
    };
    let question = Question { hook: name, component, context, part, files: Arc::new(readable) };
    Ok(Some(Job { stage: package.name.clone(), question, component: package.root.join(&hook.component) }))
}

pub(crate) fn stage_ref(package: &Package) -> StageRef {
    StageRef { name: package.name.to_string(), version: package.version.to_string() }
}

fn facts(project: &Project) -> crate::hooks::Project {
    let project = &project.manifest.project;
    crate::hooks::Project {
        name: project.name.clone(),
        os: project.os.clone(),
        release: project.release.clone(),
        board: project.board.clone(),
        arch: project.arch.to_string(),
        hostname: project.hostname.clone(),
        locale: project.locale.clone(),
        timezone: project.timezone.clone(),
    }
}

/// Returns a config value as a hook sees it; the files that it names become readable.
fn hook_value(package: &Package, key: &str, value: &SettledValue, readable: &mut StageFiles) -> Value {
    match value.setting.clone() {
        Setting::Text(text) => Value::Text(text),
        Setting::Integer(number) => Value::Integer(number),
        Setting::Boolean(value) => Value::Boolean(value),
        Setting::List(items) => Value::List(items),
        Setting::Size(bytes) => Value::Size(bytes),
        Setting::Secret(_) => Value::Secret(secret::id(package.name.as_str(), key)),
        Setting::Files { .. } => {
            let files = value.files.iter().map(|found| readable.add(found.name.clone(), found.file.clone()));
            Value::Files(files.collect())
        }
    }
}

/// Tells what the hooks only warn of.
fn warn(session: &Session, project: &Project, stage: &StageName, answer: &Answer) {
    let warnings = answer.diagnostics.iter().filter(|found| found.severity == Severity::Warning);
    for found in warnings {
        let error = diagnostic(project, stage, found);
        let source = &project.manifest.source;
        let start = error.span().map_or(0, |span| span.start);
        let line = source.text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        let help = error.advice().map(|help| format!(" ({help})")).unwrap_or_default();
        session.reporter.warn(format!("{}:{line}: {error}{help}", source.file));
    }
}

/// Returns what a hook says of the config as an error at the place that it speaks of.
pub(crate) fn diagnostic(
    project: &Project,
    stage: &StageName,
    found: &crate::hooks::Diagnostic,
) -> ManifestError {
    let request = project.manifest.stages.iter().find(|request| request.name == *stage);
    let message = match &found.key {
        Some(key) => format!("config key `{key}` of stage `{stage}`: {}", found.message),
        None => format!("stage `{stage}`: {}", found.message),
    };
    let error = config_error(&project.manifest, request, found.key.as_deref().unwrap_or_default(), message);
    match &found.help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// The files that a hook may read.
struct StageFiles {
    files: BTreeMap<String, ContextFile>,
}

impl StageFiles {
    /// Returns the files of a package.
    fn of(package: &Package) -> Self {
        let file = |file: &crate::source::PackageFile| {
            let readable = ContextFile {
                path: file.path.clone(),
                source: package.source_of(file),
                digest: file.digest,
                size: file.size,
                mode: file.mode,
            };
            (file.path.clone(), readable)
        };
        Self { files: package.files.iter().map(file).collect() }
    }

    /// Adds a file of the project, which its config calls `name`.
    ///
    /// Where the package has a file of that path, the project's gets another name for the same place.
    fn add(&mut self, mut name: String, file: ContextFile) -> ProjectFile {
        while self.files.get(&name).is_some_and(|other| other.digest != file.digest) {
            name.insert_str(0, "./");
        }
        let context_path = file.path.clone();
        self.files.insert(name.clone(), file);
        ProjectFile { path: name, context_path }
    }
}

impl Files for StageFiles {
    fn read(&self, path: &str, room: u64) -> Result<Vec<u8>, String> {
        let Some(file) = self.files.get(path) else {
            return Err(
                "it is no file of the stage's package, nor one that the stage's config names".to_owned()
            );
        };
        if file.size > room {
            return Err(format!(
                "it has {}, and a call may read {} more",
                ByteSize(file.size),
                ByteSize(room)
            ));
        }
        let bytes = match &file.source {
            FileSource::Bytes(bytes) => bytes.to_vec(),
            // Whatever the machine says about its files is not the hook's to know.
            FileSource::File(from) => {
                pib_file::read(from, file.size).map_err(|_| "it cannot be read".to_owned())?
            }
            FileSource::Folder => return Err("it is a folder".to_owned()),
        };
        match Digest::of(&bytes) == file.digest {
            true => Ok(bytes),
            false => Err("it has changed since the stage was read".to_owned()),
        }
    }

    fn digest(&self) -> Digest {
        let mut hasher = KeyHasher::new("pib hook files 1");
        for (name, file) in &self.files {
            hasher.field(name).field(file.digest.as_bytes());
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> ContextFile {
        ContextFile {
            path: "stages/mine/config/key/000-motd".to_owned(),
            source: FileSource::Bytes(content.into()),
            digest: Digest::of(content),
            size: content.len() as u64,
            mode: pib_plan::mode::Mode::FILE,
        }
    }

    #[test]
    fn only_what_was_listed_is_read_and_no_more_than_there_is_room_for() {
        let mut files = StageFiles { files: BTreeMap::new() };
        let before = files.digest();
        assert_eq!(files.add("motd".to_owned(), file(b"project")).path, "motd");
        assert_ne!(files.digest(), before);
        assert_eq!(files.read("motd", 7), Ok(b"project".to_vec()));
        assert!(files.read("motd", 6).unwrap_err().contains("may read 6B more"));
        for other in ["/etc/passwd", "../pib.toml", "pib.toml", ""] {
            assert!(files.read(other, 100).is_err(), "{other}");
        }
    }

    #[test]
    fn files_of_the_same_name_stay_apart() {
        let mut files = StageFiles { files: BTreeMap::from([("motd".to_owned(), file(b"package"))]) };
        let added = files.add("motd".to_owned(), file(b"project"));
        assert_eq!(added.path, "./motd");
        assert_eq!(files.read("motd", 100), Ok(b"package".to_vec()));
        assert_eq!(files.read("./motd", 100), Ok(b"project".to_vec()));
    }
}
