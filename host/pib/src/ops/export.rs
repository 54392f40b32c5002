//! Takes a project's root file system out of the engine, as it would be in an image: as a tar, or as a folder.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::engine::Loss;
use crate::pipeline::{self, StageOptions};
use crate::project::{self, Error, Project, Session, blocking};
use pib_disk::{Exported, STEP};
use pib_event::ReporterExt as _;

/// What to export, and where to.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The stages of the system.
    pub stages: StageOptions,
    /// A tar file; in `target/` where neither this nor a folder is given.
    pub tar: Option<PathBuf>,
    /// A new or empty folder.
    pub dir: Option<PathBuf>,
}

/// What was exported.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExportReport {
    /// The file or folder.
    pub path: PathBuf,
    /// What it has.
    #[serde(flatten)]
    pub exported: Exported,
}

/// What a tar archive has at this place of its first header (POSIX.1-2017, pax, "ustar Interchange Format").
const MAGIC: &[u8] = b"ustar";
const MAGIC_AT: usize = 257;

/// Exports the root file system, as it is after the stages that are asked for.
///
/// # Errors
/// When the stages cannot be built, or the file or folder not be written; what was there before is then as it was.
pub async fn export(session: &Session, options: &ExportOptions) -> Result<ExportReport, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let folder = options.dir.as_ref().map(|folder| session.cwd.join(folder));
    if let Some(folder) = &folder {
        pib_disk::check_folder(folder)?;
    }
    let file = options.tar.as_ref().map(|file| session.cwd.join(file));
    if let Some(file) = &file {
        pib_disk::check_file(file)?;
        check_archive(session, file)?;
    }
    let built = pipeline::build(session, &options.stages).await?;
    let project = built.based.rendered.packages.project();
    let stem = project.manifest.project.file_stem();
    let file = file.unwrap_or_else(|| project.target().join(format!("{stem}.tar")));
    session.reporter.started(STEP, "Exporting the root file system");
    let tree = built.engine.export(&built.tag).await?;
    if let Some(warning) = Loss::warning(tree.losses()) {
        session.reporter.warn(warning);
    }
    let fault = tree.fault();
    let (identity, reporter) = (built.based.identity(), session.reporter.clone());
    let path = folder.clone().unwrap_or_else(|| file.clone());
    let write = move |tree: blocking::Stoppable<_>| match folder {
        Some(folder) => pib_disk::write_folder(tree, &identity, &folder, &*reporter),
        None => pib_disk::write_tar(tree, &identity, &file, &*reporter),
    };
    let exported = blocking::read(tree, write).await?;
    let exported = match exported {
        Ok(exported) => exported,
        Err(error) => {
            let error = fault.take().map_or_else(|| error.into(), Error::from);
            return Err(pipeline::origin::stage_of(session, &built, error).await);
        }
    };
    session.reporter.finished(STEP, false);
    for loss in &exported.losses {
        session.reporter.warn(loss.clone());
    }
    Ok(ExportReport { path, exported })
}

/// Checks that an archive may be written to `file`: nobody loses what is no archive.
fn check_archive(session: &Session, file: &Path) -> Result<(), Error> {
    let shown = session.show(file).display();
    let refused = |message: String| Err(Error::usage(message, "Name a new file, or an earlier archive."));
    if file.file_name().is_some_and(|name| name == "-") {
        return refused("an archive is written to a file, and `-` is none".to_owned());
    }
    if file.is_symlink() {
        return refused(format!("`{shown}` is a symbolic link"));
    }
    let mut head = [0; MAGIC_AT + MAGIC.len()];
    let Ok(mut old) = pib_file::open(file) else { return Ok(()) };
    let is_empty = old.metadata().is_ok_and(|metadata| metadata.len() == 0);
    match is_empty || (old.read_exact(&mut head).is_ok() && head.ends_with(MAGIC)) {
        true => Ok(()),
        false => refused(format!("`{shown}` is there already, and is no tar archive")),
    }
}
