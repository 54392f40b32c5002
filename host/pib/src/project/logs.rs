//! The full log of a build, in `target/logs/`: everything that was reported, and how it ended.
//!
//! A log is bounded: of what is too long, the beginning and the end are kept, and how much is missing is said. So
//! is their number. A log that cannot be written is a warning, and no reason to stop a build.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::target_folder::{LOGS, TargetFolder};
use crate::project::{Error, Project, Session};
use pib_event::{Event, Masked, Reporter, ReporterExt as _};

mod file;
mod name;

use file::LogFile;

/// How many logs a project keeps.
const KEEP: usize = 20;
/// The name that always leads to the newest log.
const LATEST: &str = "latest.log";

/// An operation that is logged.
pub(crate) struct Log {
    session: Session,
    tee: Arc<Tee>,
}

/// Returns the log of an operation on a project.
///
/// The file is made when the first step begins: what fails before that has said all there is to say.
pub(crate) fn open(session: &Session, project: &Project) -> Log {
    begun_later(session, &project.target, &project.manifest.project.file_stem())
}

fn begun_later(session: &Session, target: &TargetFolder, what: &str) -> Log {
    let file = Destination::Waiting { early: Vec::new() };
    let state = Mutex::new(State { file, running: HashSet::new() });
    let (target, what) = (target.clone(), what.to_owned());
    let tee = Arc::new(Tee { session: session.clone(), target, what, state });
    // What is logged is masked as what is shown is.
    let reporter = Arc::new(Masked::new(session.mask.clone(), tee.clone()));
    Log { session: Session { reporter, ..session.clone() }, tee }
}

fn begin(target: &TargetFolder, what: &str) -> std::io::Result<(PathBuf, LogFile)> {
    let folder = target.make().map_err(std::io::Error::other)?.make_folder(LOGS)?;
    let now = SystemTime::now();
    let (name, file) = name::create(&folder, now, what)?;
    let mut log = LogFile::new(file);
    log.line(&format!("pib {}: {what}, {} UTC", env!("CARGO_PKG_VERSION"), name::time(now)))?;
    folder.point(LATEST, OsStr::new(&name))?;
    name::keep_newest(&folder, KEEP)?;
    Ok((folder.path().join(name), log))
}

impl Log {
    /// Returns the session whose events are logged.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the log with how the operation ended, and passes that on.
    pub(crate) fn close<T>(self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            Ok(_) => self.tee.end("done"),
            Err(error) => {
                // Steps that an error cut short would seem to run on, where other work goes on beside.
                for id in self.tee.running() {
                    self.session.reporter.failed(&id);
                }
                self.tee.end(&self.session.mask.apply(message(error)));
            }
        }
        outcome
    }
}

/// Returns an error with its causes and its help, for the log.
fn message(error: &Error) -> String {
    let mut text = format!("failed: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    if let Some(help) = miette::Diagnostic::help(error) {
        text.push_str(&format!("\n{help}"));
    }
    text
}

/// Passes events on, and writes them to the log.
struct Tee {
    session: Session,
    target: TargetFolder,
    what: String,
    state: Mutex<State>,
}

struct State {
    file: Destination,
    /// The steps that have not ended.
    running: HashSet<String>,
}

enum Destination {
    /// No step has begun yet; what was said before the first one waits.
    Waiting {
        early: Vec<String>,
    },
    Open(LogFile),
    /// The log could not be written.
    Lost,
}

impl Tee {
    fn running(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running: Vec<String> = state.running.iter().cloned().collect();
        running.sort();
        running
    }

    /// Makes the file, if that was not done yet.
    fn begin(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Destination::Waiting { early } = &mut state.file else { return };
        let early = std::mem::take(early);
        let begun = begin(&self.target, &self.what).and_then(|(path, mut file)| {
            early.iter().try_for_each(|line| file.line(line))?;
            Ok((path, file))
        });
        match begun {
            Ok((path, file)) => {
                state.file = Destination::Open(file);
                drop(state);
                self.session.logs.add(path.clone());
                let path = self.session.show(&path).display().to_string();
                self.session.reporter.report(Event::LogFile { path });
            }
            Err(error) => {
                state.file = Destination::Lost;
                drop(state);
                let folder = self.target.path().join(LOGS);
                let message = format!("there will be no log in {}: {error}", folder.display());
                self.session.reporter.warn(message);
            }
        }
    }

    fn end(&self, last: &str) {
        self.write(|file| {
            file.line(last)?;
            file.end()
        });
    }

    fn write(&self, work: impl FnOnce(&mut LogFile) -> std::io::Result<()>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Destination::Open(file) = &mut state.file else { return };
        if let Err(error) = work(file) {
            // Once is enough: a disk that is full stays so.
            state.file = Destination::Lost;
            drop(state);
            self.session.reporter.warn(format!("the log ends here: {error}"));
        }
    }

    /// Writes a line that may come before the first step.
    fn say(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Destination::Waiting { early } = &mut state.file {
            early.push(line.to_owned());
            return;
        }
        drop(state);
        self.write(|file| file.line(line));
    }

    fn log(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { id, .. } => _ = state.running.insert(id.clone()),
            Event::StepFinished { id, .. } | Event::StepFailed { id } => _ = state.running.remove(id),
            _ => {}
        }
        drop(state);
        if matches!(event, Event::StepStarted { .. } | Event::Log { .. }) {
            self.begin();
        }
        match event {
            Event::StepStarted { id, title } => self.write(|file| file.step(id, &format!("{title} ..."))),
            Event::StepDetail { id, detail } => self.write(|file| file.step(id, detail)),
            Event::StepFinished { id, cached } => {
                self.write(|file| file.step(id, if *cached { "cached" } else { "done" }));
            }
            Event::StepFailed { id } => self.write(|file| file.step(id, "failed")),
            Event::Log { id, line } => self.write(|file| file.output(id, line)),
            Event::Warning { message } => self.say(&format!("warning: {message}")),
            Event::Note { message } => self.say(message),
            // How far a step is would be a line for every moment.
            Event::StepProgress { .. }
            | Event::LogFile { .. }
            | Event::FileRead { .. }
            | Event::Error { .. } => {}
        }
    }
}

impl Reporter for Tee {
    fn report(&self, event: Event) {
        self.log(&event);
        self.session.reporter.report(event);
    }
}

impl Drop for Tee {
    /// A log that was not closed is of an operation that was stopped.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Destination::Open(file) = &mut state.file
            && !file.ended()
        {
            _ = file.line("stopped").and_then(|()| file.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use pib_event::Silent;

    fn session(folder: &Path) -> Session {
        Session { reporter: Arc::new(Silent), ..Session::for_tests(folder) }
    }

    fn latest(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("target/logs/latest.log")).unwrap()
    }

    #[test]
    fn everything_is_logged_with_how_it_ended_and_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let log = begun_later(&session, &TargetFolder::inside(folder.path()), "router-rpi4-arm64");
        session.mask.hide(b"hunter2");
        log.session().reporter.note("early");
        assert!(!folder.path().join("target").exists(), "nothing has begun");
        let reporter = log.session().reporter.clone();
        reporter.started("stage:os", "Building stage os");
        reporter.report(Event::Log { id: "stage:os".into(), line: "password hunter2".into() });
        reporter.started("image", "Writing");
        reporter.finished("stage:os", false);
        reporter.warn("odd");
        let failed: Result<(), Error> = log.close(Err(Error::usage("no hunter2", "Try again.")));
        assert!(failed.is_err());
        let text = latest(folder.path());
        for part in [
            "router-rpi4-arm64",
            "s early\n",
            "stage:os: Building stage os ...",
            "stage:os| password ***",
            "stage:os: done",
            "warning: odd",
            "image: failed",
            "failed: no ***\nTry again.\n",
        ] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        assert_eq!(session.logs.paths().len(), 1);
    }

    #[test]
    fn a_dropped_log_says_so_and_only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let target = folder.path().join("target");
        std::fs::create_dir_all(target.join("logs")).unwrap();
        std::fs::write(target.join("logs/mine.txt"), "not a log").unwrap();
        for _ in 0..KEEP + 5 {
            let log = begun_later(&session, &TargetFolder::inside(folder.path()), "router");
            log.session().reporter.started("image", "Writing");
        }
        assert!(latest(folder.path()).ends_with("stopped\n"));
        let names = std::fs::read_dir(target.join("logs")).unwrap().count();
        assert_eq!(names, KEEP + 2, "the logs, the link to the newest, and what is not pib's");
    }

    #[test]
    fn without_a_place_for_it_there_is_a_warning_and_no_log() {
        struct Warnings(Mutex<Vec<String>>);
        impl Reporter for Warnings {
            fn report(&self, event: Event) {
                if let Event::Warning { message } = event {
                    self.0.lock().unwrap().push(message);
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let warnings = Arc::new(Warnings(Mutex::default()));
        let session = Session { reporter: warnings.clone(), ..session(folder.path()) };
        std::fs::write(folder.path().join("target"), "a file").unwrap();
        let log = begun_later(&session, &TargetFolder::inside(folder.path()), "router");
        log.session().reporter.started("image", "goes on");
        assert!(log.close(Ok(())).is_ok());
        let warnings = warnings.0.lock().unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("there will be no log"), "{warnings:?}");
    }
}
