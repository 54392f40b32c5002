//! Builds several targets of a project.
//!
//! What they share is made once: bases and stages are the same for all that ask for the same. What must happen one after
//! the other (the lock, the base, what goes into the engine) does; then the engine builds several at once. Where the user has named
//! several engines, they are spread over these.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use miette::Diagnostic as _;
use serde::Serialize;

use super::build::{Begun, BuildOutcome, begin};
use super::spread;
use crate::pipeline::StageOptions;
use crate::project::{self, Error, Project, Session, TargetError};
use pib_event::{Event, Reporter};

/// How many targets the engine builds at the same time.
const AT_ONCE: usize = 4;

/// Which targets to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// These.
    Named(Vec<String>),
    /// All that `pib.toml` describes.
    All,
}

/// What became of each target.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Outcomes {
    /// The targets, in the order in which they were named, or by name.
    pub targets: Vec<Outcome>,
}

/// What became of one target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// The target.
    pub target: String,
    /// What was built, where it could be.
    pub report: Option<BuildOutcome>,
    /// Why it could not, where that is so.
    pub error: Option<Failure>,
    #[serde(skip)]
    cause: Option<Error>,
}

/// Why a target could not be built, in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// The exit code of a build of this target alone.
    pub exit_code: u8,
}

/// Builds targets of the project. What is wrong with one does not stop the others.
///
/// # Errors
/// When there is no project, or it has no such target. What else goes wrong is in the target's outcome.
pub async fn build(session: &Session, options: &StageOptions, which: &Which) -> Result<Outcomes, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let names = names(session, which)?;
    if let Some(crew) = spread::crew(session).await? {
        let targets: Vec<Session> = names.iter().map(|name| of_target(session, name)).collect();
        let results = crew.build(&targets, options).await?;
        let outcomes = names.into_iter().zip(results).map(|(name, result)| Outcome::new(name, result));
        return Ok(Outcomes { targets: outcomes.collect() });
    }
    let mut begun = Vec::with_capacity(names.len());
    for name in names {
        let session = of_target(session, &name);
        let started = begin(&session, options).await;
        begun.push((name, started));
    }
    let work = begun.into_iter().map(async |(name, started)| {
        let result = match started {
            Ok(Begun::UpToDate(report)) => Ok(BuildOutcome::Image(report)),
            Ok(Begun::Job(job)) => job.finish(options).await,
            Err(error) => Err(error),
        };
        Outcome::new(name, result)
    });
    Ok(Outcomes { targets: stream::iter(work).buffered(AT_ONCE).collect().await })
}

/// Returns the names of the targets that are meant, each once.
pub(super) fn names(session: &Session, which: &Which) -> Result<Vec<String>, Error> {
    let project = Project::load(session)?;
    let mut names: Vec<String> = Vec::new();
    match which {
        Which::Named(given) => {
            for name in given {
                project.of_target(name)?;
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        Which::All => names.extend(project.target_names().map(str::to_owned)),
    }
    if names.is_empty() {
        let help = "Describe some in pib.toml: [target.NAME], with the keys that differ from the project's. \
                    `pib build` alone builds the project itself.";
        return Err(Error::usage("the project has no targets", help));
    }
    Ok(names)
}

/// Returns the session for a target, whose reports say which target they are about.
pub(super) fn of_target(session: &Session, name: &str) -> Session {
    let inner = Arc::clone(&session.reporter);
    let reporter = Arc::new(OfTarget { target: name.to_owned(), inner });
    Session { reporter, ..session.for_target(Some(name)) }
}

/// Tells the reports of one target from those of the others.
struct OfTarget {
    target: String,
    inner: Arc<dyn Reporter>,
}

impl Reporter for OfTarget {
    fn report(&self, mut event: Event) {
        let own = |id: &mut String| *id = format!("{}/{id}", self.target);
        let said = |text: &mut String| *text = format!("{}: {text}", self.target);
        match &mut event {
            Event::StepStarted { id, title, .. } => {
                own(id);
                said(title);
            }
            Event::StepProgress { id, .. }
            | Event::StepDetail { id, .. }
            | Event::StepFinished { id, .. }
            | Event::StepFailed { id, .. }
            | Event::Log { id, .. } => own(id),
            Event::Warning { message, .. } | Event::Note { message, .. } => said(message),
            Event::LogFile { .. } | Event::FileRead { .. } | Event::Error { .. } => {}
        }
        self.inner.report(event);
    }
}

impl Outcome {
    fn new(target: String, result: Result<BuildOutcome, Error>) -> Self {
        match result {
            Ok(report) => Self { target, report: Some(report), error: None, cause: None },
            Err(cause) => {
                let help = cause.help().map(|help| help.to_string());
                let error = Failure { message: cause.to_string(), help, exit_code: cause.exit_code() };
                Self { target, report: None, error: Some(error), cause: Some(cause) }
            }
        }
    }
}

impl Outcomes {
    /// Returns the error that says which targets could not be built, where some could not.
    ///
    /// # Errors
    /// Exactly that.
    pub fn into_result(self) -> Result<(), Error> {
        let total = self.targets.len();
        let failed = self.targets.into_iter().filter_map(|outcome| {
            let cause = outcome.cause?;
            Some(TargetError::new(Some(&outcome.target), cause))
        });
        let mut failed: Vec<TargetError> = failed.collect();
        match failed.pop() {
            None => Ok(()),
            Some(only) if total == 1 => Err(*only.error),
            Some(last) => Err(Error::Targets { failed: failed.into_iter().chain([last]).collect(), total }),
        }
    }
}
