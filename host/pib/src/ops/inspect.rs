//! Says what is in an image: its partitions, its boot chain, and the system on it.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use pib_disk::{FoundPartition, TableKind};
use pib_event::ReporterExt as _;
use pib_plan::board;
use pib_plan::boot::chain::Chain;
use serde::{Serialize, Serializer};

use crate::inspection::{InspectionError, OpenedImage, SystemContent, Watch};
use crate::pipeline::{self, BuildReport};
use crate::project::{Error, Project, Session, blocking};

/// The id of the step in events.
const STEP: &str = "inspect";
/// The largest report of a build that is read.
const MAX_REPORT: u64 = 16 << 20;

/// What to look into.
#[derive(Debug, Clone, Default)]
pub struct InspectOptions {
    /// The image; the project's own where none is named.
    pub image: Option<PathBuf>,
    /// The board whose boot chain is checked; the project's own, or all boards, where none is named.
    pub board: Option<String>,
}

/// What is in an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// The image's file.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub image: PathBuf,
    /// Its size in bytes, unpacked.
    pub size: u64,
    /// The kind of its partition table.
    pub table: TableKind,
    /// Its partitions.
    pub partitions: Vec<FoundPartition>,
    /// The stages that it was built of, in order, where the build's report stands beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// The system on it; none where no partition has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemContent>,
    /// Why the system cannot be read, where one file system is damaged; the rest is told all the same.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub system_error: Option<InspectionError>,
    /// The board that was asked for; none where all boards were tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// The boot chain on each model.
    pub boot: Vec<Chain>,
}

impl Inspection {
    /// Returns whether something keeps a model of the board that was asked for from starting.
    pub fn has_faults(&self) -> bool {
        self.board.is_some() && self.boot.iter().any(|chain| !chain.faults.is_empty())
    }
}

/// Looks into an image.
///
/// # Errors
/// When there is no such image or board, or the image cannot be read.
pub async fn inspect(session: &Session, options: &InspectOptions) -> Result<Inspection, Error> {
    let Subject { path, board, foreign_root } = Subject::of(session, options)?;
    session.reporter.started(STEP, "Looking into the image");
    let (shown, reporter) = (path.clone(), session.reporter.clone());
    let looked =
        blocking::run(move |stopped| look(&path, board, foreign_root, Watch::new(stopped, reporter, STEP)));
    let inspection = looked.await??;
    session.reporter.finished(STEP, false);
    Ok(Inspection { stages: stages_of(&shown, inspection.size), ..inspection })
}

/// The image that is meant, and the board that it is for.
struct Subject {
    path: PathBuf,
    board: Option<String>,
    foreign_root: bool,
}

impl Subject {
    fn of(session: &Session, options: &InspectOptions) -> Result<Self, Error> {
        if let Some(name) = &options.board {
            board::find(name).map_err(|error| Error::usage(error.to_string(), error.help()))?;
        }
        let Some(image) = &options.image else {
            let project = Project::load(session)?;
            let manifest = &project.manifest;
            return Ok(Self {
                path: existing(&project)?,
                board: options.board.clone().or_else(|| Some(manifest.project.board.clone())),
                foreign_root: manifest.image.layout.foreign_root,
            });
        };
        Ok(Self { path: session.cwd.join(image), board: options.board.clone(), foreign_root: false })
    }
}

/// Returns the image that a project's last build left.
pub(super) fn existing(project: &Project) -> Result<PathBuf, Error> {
    let path = pipeline::image_path(project);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::usage(
        format!("there is no image of the project yet: `{}` is missing", path.display()),
        "Build it with `pib build`, or name another image.",
    ))
}

fn look(path: &Path, board: Option<String>, foreign_root: bool, watch: Watch) -> Result<Inspection, Error> {
    let image = OpenedImage::open(path, watch)?;
    let boot = match &board {
        Some(board) => image.chains(board, foreign_root),
        None => board::BOARDS.iter().flat_map(|board| image.chains(board.name, foreign_root)).collect(),
    };
    let (system, system_error) = match image.system(false) {
        Ok(system) => (system, None),
        Err(error) => (None, Some(error)),
    };
    Ok(Inspection {
        image: path.to_owned(),
        size: image.disk().size(),
        table: image.disk().table(),
        partitions: image.disk().partitions().to_vec(),
        stages: Vec::new(),
        system,
        system_error,
        board,
        boot,
    })
}

fn as_text<S: Serializer>(error: &Option<InspectionError>, to: S) -> Result<S::Ok, S::Error> {
    let Some(error) = error else { return to.serialize_none() };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    to.serialize_str(&text)
}

/// Returns the stages, as `name version`, by the report that the build left beside the image, if it is of an image of this size.
pub(super) fn stages_of(image: &Path, size: u64) -> Vec<String> {
    let report = || {
        let text = pib_file::read_text(pipeline::report_of(image), MAX_REPORT).ok()?;
        let report: BuildReport = serde_json::from_str(&text).ok()?;
        (report.layout.size == size).then_some(report.stages)
    };
    report().unwrap_or_default()
}
