//! Writes the report of a build as one page of HTML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pib_debian::InstalledPackage;
use pib_event::{Event, Reporter, ReporterExt as _};
use pib_plan::boot::chain::Chain;

use super::build::{BuildOutcome, build};
use super::diff::no_system;
use crate::inspection::{ImageSummary, OpenedImage, ReportPage, StepTime, Summaries, SystemContent, Watch};
use crate::pipeline::{self, BuildReport, StageOptions, StagePackages};
use crate::project::{Error, Project, Session, blocking, files};

/// The id of the step in events.
const STEP: &str = "report";
/// How the names of reports end, and of what is remembered for the next one.
const PAGE: &str = ".report.html";
const MEMORY: &str = ".report.json";

/// Builds the project's image, and writes the report of that: to `file`, or beside the image where none is named.
///
/// # Errors
/// When the build fails, the image has no system that can be read, or the report cannot be written.
pub async fn build_with_report(
    session: &Session,
    options: &StageOptions,
    file: Option<&Path>,
) -> Result<(BuildOutcome, PathBuf), Error> {
    let clock = Arc::new(StepClock::new(session.reporter.clone()));
    let timed = Session { reporter: clock.clone(), ..session.clone() };
    let outcome = build(&timed, options).await?;
    let BuildOutcome::Image(report) = &outcome else {
        return Err(Error::usage("a report is of an image, and none was built", "Leave --until out."));
    };
    // What the image has had before says nothing of how long it took.
    let times = if report.up_to_date { Vec::new() } else { clock.times() };
    let page = write(session, options, report, times, file).await?;
    Ok((outcome, page))
}

async fn write(
    session: &Session,
    options: &StageOptions,
    report: &BuildReport,
    times: Vec<StepTime>,
    file: Option<&Path>,
) -> Result<PathBuf, Error> {
    session.reporter.started(STEP, "Writing the report");
    let project = Project::load(session)?;
    let target = project.target.make()?;
    let stem = project.manifest.project.file_stem();
    let board = project.manifest.project.board.clone();
    let foreign_root = project.manifest.image.layout.foreign_root;
    let rendered = pipeline::decide_only(session, project, options).await?;
    let stages = StagePackages::of(&rendered);
    let (path, reporter) = (report.image.clone(), session.reporter.clone());
    let looked = blocking::run(move |stopped| -> Result<Look, Error> {
        let image = OpenedImage::open(&path, Watch::new(stopped, reporter, STEP))?;
        let system = image.system(false)?.ok_or_else(|| no_system(&path))?;
        Ok(Look { chains: image.chains(&board, foreign_root), system, image })
    });
    let look = looked.await??;
    let memory = format!("{stem}{MEMORY}");
    let text = files::read_written(&target, &memory).unwrap_or_default();
    // What cannot be read says nothing: the report is then the first one.
    let mut summaries: Summaries = serde_json::from_str(&text).unwrap_or_default();
    let packages: Vec<&InstalledPackage> =
        look.system.packages.iter().map(|content| &content.package).collect();
    let (stages, brought) = (stages.stages(), stages.brought(&packages));
    summaries.add(ImageSummary::of(report.digest, &stages, &look.system));
    let text = page(&look, report, &stages, &brought, &times, &summaries);
    let output = match file {
        Some(file) => {
            let path = session.cwd.join(file);
            pib_file::Output::at(&path).map_err(|error| Error::io("write", &path, error))?
        }
        None => {
            let name = format!("{stem}{PAGE}");
            target.output(&name).map_err(|error| Error::io("write", target.path().join(&name), error))?
        }
    };
    let path = output.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files::replace_text(output.folder(), &name, &session.mask.apply(text))?;
    let kept = serde_json::to_string(&summaries).map_err(|error| Error::io("write", &path, error.into()))?;
    files::replace_text(&target, &memory, &kept)?;
    session.reporter.finished(STEP, false);
    Ok(path)
}

/// What was found in the image.
struct Look {
    image: OpenedImage,
    system: SystemContent,
    chains: Vec<Chain>,
}

fn page(
    look: &Look,
    report: &BuildReport,
    stages: &[(String, String)],
    brought: &BTreeMap<String, String>,
    times: &[StepTime],
    summaries: &Summaries,
) -> String {
    let changes = summaries.current.as_ref().zip(summaries.earlier.as_ref());
    let changes = changes.map(|(current, earlier)| current.changes_since(earlier));
    let page = ReportPage {
        name: &report.image.file_name().unwrap_or_default().to_string_lossy(),
        digest: report.digest,
        sizes: (report.size, report.layout.size),
        stages,
        partitions: look.image.disk().partitions(),
        system: &look.system,
        brought,
        chains: &look.chains,
        times,
        changes: changes.as_deref(),
    };
    page.to_text()
}

/// Passes events on, and notes how long each step takes.
struct StepClock {
    inner: Arc<dyn Reporter>,
    steps: Mutex<Vec<Step>>,
}

struct Step {
    id: String,
    title: String,
    began: Instant,
    ended: Option<(Duration, bool)>,
}

impl StepClock {
    fn new(inner: Arc<dyn Reporter>) -> Self {
        Self { inner, steps: Mutex::new(Vec::new()) }
    }

    /// Returns the steps that have ended, in the order in which they began.
    fn times(&self) -> Vec<StepTime> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let time = |step: &Step| {
            let (time, cached) = step.ended?;
            Some(StepTime { title: step.title.clone(), time, cached })
        };
        steps.iter().filter_map(time).collect()
    }
}

impl Reporter for StepClock {
    fn report(&self, event: Event) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match &event {
            Event::StepStarted { id, title } => {
                steps.push(Step { id: id.clone(), title: title.clone(), began: Instant::now(), ended: None });
            }
            Event::StepFinished { id, cached } => {
                if let Some(step) = steps.iter_mut().rev().find(|step| step.id == *id) {
                    step.ended = Some((step.began.elapsed(), *cached));
                }
            }
            _ => {}
        }
        drop(steps);
        self.inner.report(event);
    }
}
